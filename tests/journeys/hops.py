"""
Every hop somebody may be in the middle of when a store fails: each with a customer of its own, who stands right before it.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.downstream.service import DEPOT_ARRIVE, Service, Services
from tests.stage import PEOPLE, Answer, Browser, Partner, Stage

OFFLINE = "openid profile email offline_access"
GARAGE_START = "http://127.0.0.1:8702/login/start"

Act = Callable[[], Awaitable[Answer]]


@dataclass
class Hop:
    """
    One hop, prepared.

    Args:
        act: the request, and where it leads within the broker; the same when called again.
        arrives: whether an answer is what the hop is for.
        anew: how the customer, or the partner's server, gets there from the start when `act` does not lead on any more.
        is_once: of all that `act` ever does, one arrives.
        kind: how trouble is told: page, json, or at the partner (silent).
        after: what must be true in the end.
        refused: whether an answer tells trouble, where that is none of the kinds.
    """

    name: str
    act: Act
    arrives: Callable[[Answer], bool]
    anew: Act
    kind: str = "page"
    is_once: bool = False
    after: Callable[[], Awaitable[None]] | None = None
    refused: Callable[[Answer], bool] | None = None
    answers: list[Answer] = field(default_factory=list)

    async def go(self, act: Act | None = None) -> Answer:
        answer = await (act or self.act)()
        self.answers.append(answer)
        return answer

    @property
    def arrivals(self) -> int:
        return sum(self.arrives(answer) for answer in self.answers)


class Cast:
    """People on a stage, one for each hop."""

    def __init__(self, services: Services) -> None:
        self.stage: Stage = services.stage
        self.depot: Service = services.depot
        self._people = 0

    def person(self) -> str:
        """Somebody new, known to the played providers."""
        who = f"person-{self._people}"
        self._people += 1
        PEOPLE[who] = {"name": "Maja Lind", "email": f"{who}@example.com"}
        return who

    def leave(self) -> None:
        for number in range(self._people):
            del PEOPLE[f"person-{number}"]

    async def logged_in(self, scope: str | None = None) -> "Customer":
        customer = Customer(self, self.stage.browser(), self.person())
        await customer.log_in(scope)
        return customer


class Customer:
    """Somebody at the shop, and what the shop and others do for her."""

    def __init__(self, cast: Cast, browser: Browser, who: str) -> None:
        self.cast, self.stage, self.browser, self.who = cast, cast.stage, browser, who
        self.tokens: dict[str, Any] = {}

    async def log_in(self, scope: str | None = None) -> None:
        request = self.stage.shop.request(**({"scope": scope} if scope else {}))
        self.tokens = await self.stage.shop.exchange(await self.through(request))

    @property
    def sub(self) -> str:
        return str(self.tokens["claims"]["sub"])

    async def through(self, address: str) -> Answer:
        """Follow *address*; where a login is asked for, log in."""
        answer = await self.browser.follow(await self.browser.get(address))
        if "continue" in answer.ids and not answer.location:
            answer = await self.browser.follow(await self.browser.press("continue"))
        if "method-bankid" in answer.ids:
            answer = await self.browser.log_in("bankid", self.who)
        return answer

    async def offer(self, **changed: Any) -> Answer:
        return await self.stage.offer(self.sub, **changed)

    async def link(self, **changed: Any) -> str:
        created = await self.offer(**changed)
        assert created.status == 201, created.text
        return str(created.json["link"])

    async def send(self, link: str) -> Answer:
        """From *link* to the recipient, saying yes where asked; where the link led already, from a new one."""
        answer = await self.through(link)
        if "share" in answer.ids:
            return await self.browser.press("share")
        return answer

    async def started(self, link: str, arrive_uri: str = GARAGE_START, **changed: Any) -> Answer:
        """On the way to the recipient, by *link* if it still leads there and by a new offer if not."""
        sent = await self.send(link)
        if not (sent.location.startswith(arrive_uri) and {"login_hint", "handoff"} & set(sent.query)):
            await self.log_in()
            sent = await self.send(await self.link(**changed))
        assert sent.location.startswith(arrive_uri), (sent.status, sent.location, sent.text)
        return sent

    async def code(self, partner: Partner | None = None) -> str:
        shop = partner or self.stage.shop
        return (await self.through(shop.request())).query["code"]

    async def id(self) -> str:
        customer = await self.stage.records.customer_of_subject("tyre-shop", self.sub)
        assert customer is not None
        return customer

    async def consents(self) -> int:
        return len(await self.stage.records.live_consents(await self.id(), self.stage.clock.now))

    async def transfers(self) -> list[Any]:
        """Her receipts, after somebody looked: whoever looks sees everything, whatever a lost answer left behind."""
        await self.browser.get("/shared")
        await self.stage.broker.context.audit.flush()
        return list(await self.stage.records.transfers_of(await self.id(), 99))


def pressing(browser: Browser, button: str, *extra: tuple[str, str]) -> Act:
    """Send the form that *browser* shows now, however often, in a tab of its own."""
    page = browser.page

    async def press() -> Answer:
        tab = browser.copy()
        tab.page = page
        answer = await tab.follow(await tab.press(button, *extra))
        browser.page = tab.page
        return answer

    return press


def has(*names: str) -> Callable[[Answer], bool]:
    """It has each as a parameter of where it leads."""
    return lambda answer: set(names) <= set(answer.query)


def ok(answer: Answer) -> bool:
    return answer.status in {200, 201}


def is_logged_out(answer: Answer) -> bool:
    return urlsplit(answer.url).path == "/logged-out"


def shows(element: str) -> Callable[[Answer], bool]:
    return lambda answer: answer.status == 200 and element in answer.ids


async def authorize(cast: Cast) -> Hop:
    browser = cast.stage.browser()

    async def act() -> Answer:
        return await browser.follow(await browser.get(cast.stage.shop.request()))

    return Hop("authorize", act, shows("method-bankid"), act)


async def sso(cast: Cast) -> Hop:
    customer = await cast.logged_in()

    async def act() -> Answer:
        return await customer.browser.follow(await customer.browser.get(cast.stage.shop.request()))

    return Hop("sso", act, has("code"), lambda: customer.through(cast.stage.shop.request()))


async def sso_silent(cast: Cast) -> Hop:
    customer = await cast.logged_in()

    async def act() -> Answer:
        return await customer.browser.get(cast.stage.shop.request(prompt="none"))

    return Hop("sso, silent", act, has("code"), lambda: customer.through(cast.stage.shop.request()), "silent")


async def choose(cast: Cast) -> Hop:
    browser = cast.stage.browser()
    await browser.follow(await browser.get(cast.stage.shop.request()))

    async def anew() -> Answer:
        await browser.follow(await browser.get(cast.stage.shop.request()))
        return await browser.press("method-bankid")

    return Hop("choose", pressing(browser, "method-bankid"), has("state"), anew)


async def at_provider(customer: Customer) -> str:
    """A fresh login of somebody who is logged in stands at its provider; where that will send the browser."""
    customer.stage.clock.forward(seconds=5)
    gone = await customer.browser.follow(await customer.browser.get(customer.stage.shop.request(prompt="login")))
    if "method-bankid" in gone.ids:
        gone = await customer.browser.press("method-bankid")
    return f"/up/bankid/callback?{urlencode({'state': gone.query['state'], 'who': customer.who})}"


async def callback(cast: Cast) -> Hop:
    customer = await cast.logged_in()
    browser, address = customer.browser, await at_provider(customer)

    async def act() -> Answer:
        return await browser.follow(await browser.get(address))

    return Hop("callback", act, has("code"), lambda: customer.through(cast.stage.shop.request()))


async def consent(cast: Cast) -> Hop:
    customer = await cast.logged_in()
    garage = cast.stage.garage
    await customer.through(garage.request())
    once = pressing(customer.browser, "share", ("field", "name"), ("remember", "yes"))

    async def anew() -> Answer:
        answer = await customer.through(garage.request())
        return await customer.browser.press("share") if "share" in answer.ids else answer

    async def after() -> None:
        assert await customer.consents() <= 1

    return Hop("consent", once, has("code"), anew, after=after)


async def token(cast: Cast) -> Hop:
    customer = await cast.logged_in()
    code = await customer.code()

    async def anew() -> Answer:
        return await cast.stage.shop.token(await customer.code())

    return Hop("token", lambda: cast.stage.shop.token(code), ok, anew, "json", is_once=True)


async def userinfo(cast: Cast) -> Hop:
    customer = await cast.logged_in()

    async def anew() -> Answer:
        await customer.log_in()
        return await act()

    async def act() -> Answer:
        return await cast.stage.shop.userinfo(customer.tokens["access_token"])

    return Hop("userinfo", act, ok, anew, "json")


async def refresh(cast: Cast) -> Hop:
    customer = await cast.logged_in(OFFLINE)

    async def act() -> Answer:
        form = {"grant_type": "refresh_token", "refresh_token": customer.tokens["refresh_token"]}
        return Answer(await cast.stage.client.post("/token", data=form, auth=cast.stage.shop.auth))

    async def anew() -> Answer:
        await customer.log_in(OFFLINE)
        return await act()

    async def after() -> None:
        """However often it was tried: one successor."""
        assert len({each.json["refresh_token"] for each in hop.answers if ok(each)}) <= 1

    hop = Hop("refresh", act, ok, anew, "json", after=after)
    return hop


async def _push(cast: Cast) -> Answer:
    _, _, query = cast.stage.shop.request().partition("?")
    sent = {"content-type": "application/x-www-form-urlencoded"}
    return Answer(await cast.stage.client.post("/par", content=query, auth=cast.stage.shop.auth, headers=sent))


async def par(cast: Cast) -> Hop:
    return Hop("par", lambda: _push(cast), ok, lambda: _push(cast), "json")


async def par_authorize(cast: Cast) -> Hop:
    customer = await cast.logged_in()

    async def pushed() -> str:
        reference = (await _push(cast)).json["request_uri"]
        return "/authorize?" + urlencode({"client_id": cast.stage.shop.client_id, "request_uri": reference})

    address = await pushed()

    async def act() -> Answer:
        return await customer.browser.follow(await customer.browser.get(address))

    async def anew() -> Answer:
        return await customer.through(await pushed())

    return Hop("authorize a pushed request", act, has("code"), anew, is_once=True)


async def create(cast: Cast) -> Hop:
    customer = await cast.logged_in()

    async def act() -> Answer:
        return await customer.offer(headers={"idempotency-key": customer.who})

    async def after() -> None:
        """The same key, the same offer."""
        assert len({each.json["handoff_id"] for each in hop.answers if ok(each)}) <= 1

    hop = Hop("create a handoff", act, ok, act, "json", after=after)
    return hop


async def status(cast: Cast) -> Hop:
    customer = await cast.logged_in()
    handoff = (await customer.offer()).json["handoff_id"]

    async def act() -> Answer:
        return Answer(await cast.stage.client.get(f"/handoffs/{handoff}/status", auth=cast.stage.shop.auth))

    async def anew() -> Answer:
        return await customer.offer()

    return Hop("status of a handoff", act, ok, anew, "json")


async def open_link(cast: Cast) -> Hop:
    customer = await cast.logged_in()
    link = await customer.link()

    async def act() -> Answer:
        return await customer.browser.follow(await customer.browser.get(link))

    async def anew() -> Answer:
        await customer.log_in()
        return await customer.through(await customer.link())

    return Hop("open a handoff", act, shows("share"), anew)


def _one_transfer(customer: Customer, *, most: int = 1) -> Callable[[], Awaitable[None]]:
    async def after() -> None:
        assert 1 <= len(await customer.transfers()) <= most
        assert 1 <= await customer.consents() <= most

    return after


async def agree(cast: Cast) -> Hop:
    customer = await cast.logged_in()
    link = await customer.link()
    await customer.through(link)
    act = pressing(customer.browser, "share")
    after = _one_transfer(customer)
    return Hop("agree to a handoff", act, has("login_hint"), lambda: customer.started(link), after=after)


async def decline(cast: Cast) -> Hop:
    customer = await cast.logged_in()
    link = await customer.link()
    await customer.through(link)

    async def anew() -> Answer:
        page = await customer.through(link)
        if "continue-guest" not in page.ids:
            await customer.log_in()
            await customer.through(await customer.link())
        again = re.search(r'id="continue-guest"[^>]* href="([^"]+)"', page.text)
        if again is not None:
            return await customer.browser.get(again[1])
        return await customer.browser.press("continue-guest")

    return Hop("go on as a guest", pressing(customer.browser, "continue-guest"), has("ref"), anew)


async def guest(cast: Cast) -> Hop:
    customer = await cast.logged_in()
    again = await decline(cast)
    reference = (await again.act()).query["ref"]

    def with_reference(reference: str) -> Awaitable[Answer]:
        return cast.stage.garage.call("/handoffs/guest", {"ref": reference})

    async def anew() -> Answer:
        return await with_reference((await again.anew()).query["ref"])

    async def after() -> None:
        assert await customer.transfers() == []

    act = lambda: with_reference(reference)  # noqa: E731
    return Hop("fetch a guest's", act, ok, anew, "json", is_once=True, after=after)


async def garage_authorize(cast: Cast) -> Hop:
    customer = await cast.logged_in()
    link = await customer.link()
    sent = await customer.started(link)

    def request(sent: Answer) -> str:
        return cast.stage.garage.request(login_hint=sent.query["login_hint"])

    async def act() -> Answer:
        return await customer.browser.follow(await customer.browser.get(request(sent)))

    async def anew() -> Answer:
        return await customer.through(request(await customer.started(link)))

    return Hop("authorize a handoff", act, has("code"), anew, after=_one_transfer(customer))


async def garage_token(cast: Cast) -> Hop:
    customer = await cast.logged_in()
    link = await customer.link()

    async def code() -> str:
        started = await customer.started(link)
        return (await customer.through(cast.stage.garage.request(login_hint=started.query["login_hint"]))).query["code"]

    first = await code()

    async def anew() -> Answer:
        return await cast.stage.garage.token(await code())

    after = _one_transfer(customer, most=2)
    return Hop("redeem a handoff", lambda: cast.stage.garage.token(first), ok, anew, "json", is_once=True, after=after)


async def _at_garage(cast: Cast) -> tuple[Customer, str, Callable[[], Awaitable[tuple[str, str]]]]:
    customer = await cast.logged_in()
    link = await customer.link()

    async def arrived() -> tuple[str, str]:
        """The handoff and the access token for it."""
        sent = await customer.started(link)
        tokens = await cast.stage.garage.exchange(await cast.stage.arrive(customer.browser, sent))
        return tokens["claims"]["handoff"]["id"], tokens["access_token"]

    return customer, link, arrived


async def read_data(cast: Cast) -> Hop:
    _, _, arrived = await _at_garage(cast)
    first = await arrived()

    async def anew() -> Answer:
        return await cast.stage.garage.read(*await arrived())

    return Hop("read the data", lambda: cast.stage.garage.read(*first), ok, anew, "json")


async def acknowledge(cast: Cast) -> Hop:
    customer, _, arrived = await _at_garage(cast)
    first = await arrived()

    def told(handoff: str, token: str) -> Awaitable[Answer]:
        return cast.stage.garage.acknowledge(handoff, token, {"result": "booked"})

    async def anew() -> Answer:
        return await told(*await arrived())

    async def after() -> None:
        assert "acknowledged" in [each.state for each in await customer.transfers()]

    return Hop("acknowledge", lambda: told(*first), ok, anew, "json", after=after)


async def _at_depot(cast: Cast) -> tuple[Customer, str, Answer]:
    customer = await cast.logged_in()
    link = await customer.link(partner="depot", purpose="storing")
    return customer, link, await customer.started(link, DEPOT_ARRIVE)


def _to_depot(customer: Customer, link: str) -> Callable[[], Awaitable[Answer]]:
    return lambda: customer.started(link, DEPOT_ARRIVE, partner="depot", purpose="storing")


async def depot_arrive(cast: Cast) -> Hop:
    customer, link, sent = await _at_depot(cast)

    async def act() -> Answer:
        return await customer.browser.follow(await customer.browser.get(cast.depot.back(sent)))

    async def anew() -> Answer:
        return await customer.through(cast.depot.back(await _to_depot(customer, link)()))

    return Hop("arrive at a service", act, shows("arrive"), anew, after=_one_transfer(customer))


async def depot_confirm(cast: Cast) -> Hop:
    customer, link, sent = await _at_depot(cast)
    await customer.through(cast.depot.back(sent))

    async def anew() -> Answer:
        await customer.through(cast.depot.back(await _to_depot(customer, link)()))
        return await customer.browser.press("arrive")

    act = pressing(customer.browser, "arrive")
    return Hop("confirm the account", act, has("artifact"), anew, after=_one_transfer(customer))


async def depot_redeem(cast: Cast) -> Hop:
    customer, link, sent = await _at_depot(cast)
    artifact = await cast.depot.confirmed(customer.browser, sent)

    async def anew() -> Answer:
        sent = await _to_depot(customer, link)()
        return await cast.depot.redeem(await cast.depot.confirmed(customer.browser, sent))

    after = _one_transfer(customer, most=2)
    return Hop("redeem an artifact", lambda: cast.depot.redeem(artifact), ok, anew, "json", is_once=True, after=after)


async def depot_acknowledge(cast: Cast) -> Hop:
    customer, link, sent = await _at_depot(cast)

    async def arrived(sent: Answer) -> str:
        redeemed = await cast.depot.redeem(await cast.depot.confirmed(customer.browser, sent))
        return str((await cast.depot.token(redeemed)).claims["handoff"]["id"])

    handoff = await arrived(sent)

    def told(handoff: str) -> Awaitable[Answer]:
        return cast.depot.call(f"/handoffs/{handoff}/acknowledgement", {"result": "booked"})

    async def anew() -> Answer:
        return await told(await arrived(await _to_depot(customer, link)()))

    return Hop("acknowledge as a service", lambda: told(handoff), ok, anew, "json")


async def log_out(cast: Cast) -> Hop:
    customer = await cast.logged_in()
    await customer.browser.get("/logout/confirm")
    act = pressing(customer.browser, "log-out")

    async def after() -> None:
        silent = await customer.browser.get(cast.stage.shop.request(prompt="none"))
        assert silent.query["error"] == "login_required"

    return Hop("log out", act, is_logged_out, act, after=after)


async def log_out_by_hint(cast: Cast) -> Hop:
    customer = await cast.logged_in()
    address = f"/logout?{urlencode({'id_token_hint': customer.tokens['id_token']})}"

    async def act() -> Answer:
        return await customer.browser.follow(await customer.browser.get(address))

    async def after() -> None:
        silent = await customer.browser.get(cast.stage.shop.request(prompt="none"))
        assert silent.query["error"] == "login_required"

    return Hop("log out by a partner", act, is_logged_out, act, after=after)


async def _sharing(cast: Cast) -> tuple[Customer, tuple[str, str]]:
    customer, _, arrived = await _at_garage(cast)
    handoff = await arrived()
    await customer.transfers()
    return customer, handoff


def _withdraw_button(answer: Answer) -> str | None:
    found = re.search(r'id="(withdraw-[^"]+)"', answer.text)
    return found[1] if found else None


async def shared(cast: Cast) -> Hop:
    customer, _ = await _sharing(cast)

    async def act() -> Answer:
        return await customer.browser.get("/shared")

    async def anew() -> Answer:
        await customer.log_in()
        return await act()

    return Hop("what I share", act, lambda answer: _withdraw_button(answer) is not None, anew)


async def withdraw(cast: Cast) -> Hop:
    customer, handoff = await _sharing(cast)
    button = _withdraw_button(await customer.browser.get("/shared"))
    assert button is not None
    act = pressing(customer.browser, button)

    async def anew() -> Answer:
        await customer.log_in()
        button = _withdraw_button(await customer.browser.get("/shared"))
        return await customer.browser.follow(
            await customer.browser.press(button) if button else await customer.browser.get("/shared")
        )

    async def after() -> None:
        """On record as over, the data gone from the records, and not readable."""
        assert await customer.consents() == 0
        (transfer,) = await customer.transfers()
        assert (transfer.state, transfer.payload) == ("revoked", None)
        assert (await cast.stage.garage.read(*handoff)).status in {401, 410}

    return Hop("withdraw", act, lambda answer: "/shared" in answer.url and answer.status == 200, anew, after=after)


HOPS: list[Callable[[Cast], Awaitable[Hop]]] = [
    authorize, sso, sso_silent, choose, callback, consent, token, userinfo, refresh, par, par_authorize,
    create, status, open_link, agree, decline, guest, garage_authorize, garage_token, read_data, acknowledge,
    depot_arrive, depot_confirm, depot_redeem, depot_acknowledge, log_out, log_out_by_hint, shared, withdraw,
]  # fmt: skip
"""In the order of the story."""
