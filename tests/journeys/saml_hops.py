"""Every hop of a login at a SAML service provider, and of leaving it, as `tests.journeys.hops` has them for OpenID Connect."""

import base64
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from tests.downstream.saml_party import PARTNERS, Party, Received, Sp
from tests.journeys.hops import Act, Hop, is_logged_out, pressing, shows
from tests.stage import PEOPLE, Answer, Browser

AGREED = {
    "\npartners:\n": PARTNERS.replace(
        "      tell_logout: true\n", "      tell_logout: true\n      unsolicited: true\n", 1
    )
}
"""The hotel may be sent customers unasked."""


class People:
    """Customers of these service providers, one for each hop."""

    def __init__(self, party: Party) -> None:
        self.party = party
        self._count = 0

    def person(self) -> "Person":
        who = f"guest-{self._count}"
        self._count += 1
        PEOPLE[who] = {"name": "Maja Lind", "email": f"{who}@example.com"}
        return Person(self.party, self.party.stage.browser(), who)

    async def guest(self) -> "Person":
        """Somebody who is logged in at the hotel."""
        person = self.person()
        await person.enter()
        return person

    def leave(self) -> None:
        for number in range(self._count):
            del PEOPLE[f"guest-{number}"]


class Person:
    """Somebody with a browser of her own."""

    def __init__(self, party: Party, browser: Browser, who: str) -> None:
        self.party, self.hotel, self.browser, self.who = party, party.hotel, browser, who
        self.received: Received | None = None

    async def enter(self) -> Answer:
        """She logs in at the hotel, by a request of its own."""
        answer = await self.through(self.hotel.redirect())
        self.received = self.hotel.receive(answer)
        return answer

    async def through(self, address: str) -> Answer:
        """By *address* to wherever it leads, logging in and sharing what is asked on the way."""
        answer = await self.party.log_in(self.browser, address, "google", self.who)
        return await self.browser.press("share") if "share" in answer.ids else answer

    async def at_provider(self, address: str) -> str:
        """She stands at her provider; where it will send her browser."""
        page = await self.browser.follow(await self.browser.get(address))
        gone = await self.browser.press("method-google") if "method-google" in page.ids else page
        return f"/up/google/callback?{urlencode({'state': gone.query['state'], 'who': self.who})}"

    def logout(self) -> bytes:
        assert self.received is not None
        return self.hotel.logout_request(self.received)

    async def left(self) -> str:
        """She logs out here; the token of how that went."""
        await self.enter()
        await self.browser.get("/logout")
        await self.browser.follow(await self.browser.get("/logout/confirm"))
        page = await self.browser.follow(await self.browser.press("log-out"))
        return page.url.partition("of=")[2]

    def get(self, address: str) -> Act:
        """Follow *address*, however often."""

        async def act() -> Answer:
            return await self.browser.follow(await self.browser.get(address))

        return act


def is_in(sp: Sp, *, unasked: bool = False) -> Callable[[Answer], bool]:
    """Its service provider believes the answer, and somebody is logged in."""

    def arrives(answer: Answer) -> bool:
        if answer.form_post is None:
            return False
        return (sp.unsolicited(answer) if unasked else sp.receive(answer)).status == "Success"

    return arrives


def hears(status: str, second: str | None, sp: Sp) -> Callable[[Answer], bool]:
    """The service provider is told that nobody is logged in, and why."""

    def told(answer: Answer) -> bool:
        if answer.form_post is None:
            return False
        received = sp.receive(answer)
        return (received.status, received.second, received.assertion) == (status, second, None)

    return told


def sent_to(sp: Sp, field: str) -> Callable[[Answer], bool]:
    """She goes to its single logout service with a message."""
    return lambda answer: answer.location.startswith(f"https://{sp.name}.example/slo?{field}=")


async def request(people: People) -> Hop:
    person = people.person()
    return Hop("a request", person.get(person.hotel.redirect()), shows("method-google"), _asking(person))


def _asking(person: Person) -> Act:
    """A request that nobody has seen yet."""
    return lambda: person.get(person.hotel.redirect())()


async def posted(people: People) -> Hop:
    person, form = people.person(), people.party.hotel.form()

    async def act() -> Answer:
        return await person.browser.follow(await person.browser.post("/saml/sso", form))

    return Hop("a request by form", act, shows("method-google"), _asking(person))


async def resumed(people: People) -> Hop:
    person = people.person()
    bounced = await person.browser.post("/saml/sso", person.hotel.form())
    return Hop("back with cookies", person.get(bounced.location), shows("method-google"), _asking(person))


async def passive(people: People) -> Hop:
    person = await people.guest()
    address = person.hotel.redirect(person.hotel.request(IsPassive="true"))
    told = hears("Responder", None, person.hotel)
    return Hop("a passive request", person.get(address), is_in(person.hotel), person.enter, refused=told)


async def by_session(people: People) -> Hop:
    person = await people.guest()
    return Hop("a session", person.get(person.hotel.redirect()), is_in(person.hotel), person.enter)


async def unasked(people: People) -> Hop:
    person, address = await people.guest(), "/saml/start?partner=hotel"
    arrives = is_in(person.hotel, unasked=True)
    return Hop("nobody asked", person.get(address), arrives, lambda: person.through(address))


async def choose(people: People) -> Hop:
    person = people.person()
    await person.browser.follow(await person.browser.get(person.hotel.redirect()))

    async def anew() -> Answer:
        await person.browser.follow(await person.browser.get(person.hotel.redirect()))
        return await person.browser.press("method-google")

    return Hop("choose", pressing(person.browser, "method-google"), lambda each: "state" in each.query, anew)


async def cancel(people: People) -> Hop:
    person = people.person()
    await person.browser.follow(await person.browser.get(person.hotel.redirect()))
    told = hears("Responder", "RequestDenied", person.hotel)

    async def anew() -> Answer:
        await person.browser.follow(await person.browser.get(person.hotel.redirect()))
        return await person.browser.press("cancel")

    return Hop("cancel", pressing(person.browser, "cancel"), told, anew)


async def callback(people: People) -> Hop:
    person = people.person()
    address = await person.at_provider(person.hotel.redirect())
    return Hop("callback", person.get(address), is_in(person.hotel), person.enter)


async def unasked_callback(people: People) -> Hop:
    person, start = people.person(), "/saml/start?partner=hotel"
    address = await person.at_provider(start)
    arrives = is_in(person.hotel, unasked=True)
    return Hop("callback, nobody asked", person.get(address), arrives, lambda: person.through(start))


async def consent(people: People) -> Hop:
    person, clinic = people.person(), people.party.clinic
    await people.party.log_in(person.browser, clinic.redirect(key=clinic.key), "google", person.who)
    once = pressing(person.browser, "share", ("field", "name"), ("remember", "yes"))

    async def after() -> None:
        """However often it was tried: one consent."""
        context = people.party.stage.broker.context
        customer = await context.records.customer_of(
            context.lookup.digest("https://google.test", f"subject-of-{person.who}")
        )
        assert customer is not None
        assert len(await people.party.stage.records.live_consents(customer, people.party.stage.clock.now)) <= 1

    return Hop("consent", once, is_in(clinic), lambda: person.through(clinic.redirect(key=clinic.key)), after=after)


async def logout(people: People) -> Hop:
    person = await people.guest()
    address = person.hotel.log_out(person.logout())

    async def anew() -> Answer:
        await person.enter()
        return await person.browser.get(person.hotel.log_out(person.logout()))

    return Hop("a partner's logout", person.get(address), sent_to(person.hotel, "SAMLResponse"), anew)


async def logout_posted(people: People) -> Hop:
    person = await people.guest()
    form = {"SAMLRequest": base64.b64encode(person.hotel.signed(person.logout())).decode()}

    async def act() -> Answer:
        return await person.browser.follow(await person.browser.post("/saml/slo", form))

    async def anew() -> Answer:
        await person.enter()
        return await person.browser.get(person.hotel.log_out(person.logout()))

    return Hop("a partner's logout by form", act, sent_to(person.hotel, "SAMLResponse"), anew)


async def leaving(people: People) -> Hop:
    person = people.person()
    address = f"/saml/leave?of={await person.left()}&at=hotel"

    async def anew() -> Answer:
        return await person.browser.get(f"/saml/leave?of={await person.left()}&at=hotel")

    return Hop("on to a partner", person.get(address), sent_to(person.hotel, "SAMLRequest"), anew)


async def returned(people: People) -> Hop:
    person = people.person()

    async def back() -> str:
        gone = await person.browser.get(f"/saml/leave?of={await person.left()}&at=hotel")
        return person.hotel.answer_logout(person.hotel.asked_to_log_out(gone))

    async def anew() -> Answer:
        return await person.get(await back())()

    return Hop("back from a partner", person.get(await back()), is_logged_out, anew)


async def metadata(people: People) -> Hop:
    person = people.person()
    act = person.get("/saml/metadata")
    return Hop("metadata", act, lambda answer: answer.status == 200, act)


HOPS: tuple[Callable[[People], Awaitable[Hop]], ...] = (
    request,
    posted,
    resumed,
    passive,
    by_session,
    unasked,
    choose,
    cancel,
    callback,
    unasked_callback,
    consent,
    logout,
    logout_posted,
    leaving,
    returned,
    metadata,
)
