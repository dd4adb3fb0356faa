"""Passkeys: a login proves what was proven when one was added, and only its holder gets in by it."""

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest

from broker.config.render import example_text
from broker.core.assurance import Assurance
from broker.core.identity import ContactKind
from broker.core.logout import Change
from broker.core.naming import name_of
from broker.core.session import Session
from broker.errors import BadAsk, StoreDown
from broker.flows.contacts import contact_digest
from broker.flows.context import Context
from broker.flows.logout import Logouts, UpstreamOver
from broker.flows.passkeys import PasskeyRing
from broker.flows.sessions import grants_of
from broker.flows.values import Grant
from broker.flows.ways import Outcome as Gone
from broker.flows.ways import Ways
from broker.notify.ports import Accepted, Mail, Messages, Sms
from broker.notify.ports import Sent as Outcome
from broker.stores.ports import ContactRecord, Enlist, Records
from broker.upstream.passkey import PasskeyConnect, PasskeyConnector, relying_party
from tests.changing import replace
from tests.stage import ISSUER, Answer, Browser, Clock, Stage, open_stage
from tests.upstream.authenticator import UP, UV, Authenticator, Faults, b64
from tests.upstream.cases import Case, Play, Said, Sent, offering

SESSION = "__Host-stafett-session"
BLOCK = """    kind: passkey
    titles: {en: Passkey}
    # None of the ways above
    # that may be used to add one proves more.
    ceiling: contact
    # A second passkey may be added after a login by the first; it then counts for the same, and as long.
    may_bootstrap_other_methods: true
    connect: {}
"""
OFFERED = {} if "kind: passkey" in example_text() else offering("passkey", BLOCK)


class Late:
    """The broker's context for a connector that is made before the broker is."""

    def __init__(self) -> None:
        self.context: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.context, name)


@dataclass
class Letters:
    """A `MailSender` and `SmsSender` that keeps what it is given."""

    sent: list[Mail | Sms] = field(default_factory=list)

    async def send(self, message: Any, ref: str) -> Outcome:
        self.sent.append(message)
        return Accepted("theirs")

    async def close(self) -> None:
        pass


@dataclass
class Place:
    """A broker with passkeys beside played providers, and what is around it."""

    stage: Stage
    connector: PasskeyConnector
    letters: Letters
    spy: "Spied"

    async def held(self, browser: Browser) -> Session:
        """The session of *browser*."""
        shelf, name = self.stage.broker.context.shelves.sessions, name_of(browser.cookies[SESSION])
        (raw,) = await self.stage.state.run(shelf.get(name))
        held = shelf.read(name, raw)
        assert held is not None
        return held.value

    async def at_home(self, method: str = "google", who: str = "maja") -> Browser:
        """A browser in which *who* is logged in and sees her own page."""
        browser = self.stage.browser()
        await browser.follow(await browser.get("/shared/log-in"))
        await browser.log_in(method, who)
        return browser

    async def enrolled(self, device: Authenticator, browser: Browser | None = None) -> Browser:
        """A browser in which somebody, Maja if not said, has just added a passkey of *device*."""
        browser = browser or await self.at_home()
        answer = await self.add(browser, device)
        assert "passkey=added" in answer.location, answer.text
        await browser.get(answer.location)
        return browser

    async def add(
        self, browser: Browser, device: Authenticator, faults: Faults | None = None, **changed: str
    ) -> Answer:
        """What the broker answers to a new passkey."""
        page = await browser.get("/shared/passkeys/add")
        form = passkey_form(page)
        fields = {**form.fields, "credential": device.create(form.options, faults or Faults()), **changed}
        return await browser.post(form.action, fields)

    async def begun(self, browser: Browser, **asked: str) -> Answer:
        """She comes from the shop to the page that offers the ways in."""
        return await browser.follow(await browser.get(self.stage.shop.request(**asked)))

    async def shown(self, browser: Browser, device: Authenticator, faults: Faults | None = None) -> Answer:
        """She chooses the passkey by its button; where that ends."""
        page = await browser.follow(await browser.press("method-passkey"))
        return await browser.follow(await self.answer(browser, page, device, faults))

    async def answer(
        self, browser: Browser, page: Answer, device: Authenticator, faults: Faults | None = None
    ) -> Answer:
        """Her browser answers what *page* asks."""
        form = passkey_form(page)
        return await browser.post(
            form.action, {**form.fields, "credential": device.get(form.options, faults or Faults())}
        )

    async def log_in(self, device: Authenticator, faults: Faults | None = None) -> tuple[Browser, Answer]:
        """In a new browser, at the shop."""
        browser = self.stage.browser()
        await self.begun(browser)
        return browser, await self.shown(browser, device, faults)


@dataclass(frozen=True)
class PasskeyForm:
    """What the script of a page has to go by."""

    action: str
    options: str
    fields: Mapping[str, str]


def passkey_form(page: Answer) -> PasskeyForm:
    """The form that *page* has for an answer of the browser's."""

    class Reader(HTMLParser):
        action = options = ""
        fields: dict[str, str]
        inside = False

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            said = {name: value or "" for name, value in attrs}
            if tag == "form":
                self.inside = "data-passkey" in said
                if self.inside:
                    self.action, self.options, self.fields = said["action"], said["data-options"], {}
            elif tag == "input" and self.inside:
                self.fields[said["name"]] = said.get("value", "")

    reader = Reader()
    reader.feed(page.text)
    assert reader.action, page.text
    return PasskeyForm(reader.action, reader.options, reader.fields)


class Spied:
    """Records whose table of passkeys goes away when told to, and is counted."""

    def __init__(self, inner: Records) -> None:
        self._inner = inner
        self.is_away = False
        self.looked = 0
        self.before_owner: Callable[[], Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def get_passkey(self, lookup: str) -> Any:
        self.looked += 1
        if self.is_away:
            raise StoreDown("played to be away")
        return await self._inner.get_passkey(lookup)

    async def known_customer(self, lookup: str) -> Any:
        if self.before_owner is not None:
            await self.before_owner()
        return await self._inner.known_customer(lookup)


@asynccontextmanager
async def opened(folder: Path, *, issuer: str = ISSUER, edit: Mapping[str, str] | None = None) -> AsyncIterator[Place]:
    late, letters, spies = Late(), Letters(), list[Spied]()
    party = relying_party(PasskeyConnect(), issuer=issuer, name="Stafett")
    connector = PasskeyConnector(
        "passkey", PasskeyConnect(), party, PasskeyRing(cast(Context, late), "passkey:localhost")
    )
    edit = {**OFFERED, **(edit or {}), f"issuer: {ISSUER}": f"issuer: {issuer}"}

    def spied(records: Records) -> Records:
        spies.append(Spied(records))
        return cast(Records, spies[0])

    def cast_(clock: Clock) -> Mapping[str, Any]:
        return {"passkey": connector}

    messages = Messages(mail=letters, sms=letters)
    async with open_stage(folder, edit=edit, wrap=spied, cast=cast_, messages=messages) as stage:
        late.context = stage.broker.context
        yield Place(stage, connector, letters, spies[0])


@pytest.fixture
async def place(stage_folder: Path) -> AsyncIterator[Place]:
    async with opened(stage_folder) as place:
        yield place


# The contract suite of all connectors


class PasskeyPlay(Play):
    """Maja's passkey; the provider that can be ill is our own table of passkeys."""

    proof = "credential"
    bound = None

    def __init__(self, place: Place, device: Authenticator) -> None:
        super().__init__(place.stage, "passkey", place.connector)
        self.place = place
        self.device = device
        self.spy = place.spy
        self.faults = Faults()
        self.options = ""

    async def answered(self, browser: Browser, gone: Answer, said: Said = Said.YES) -> Sent | None:
        form = passkey_form(gone)
        url = f"{ISSUER}{form.action}"
        if said is Said.NO:
            return Sent("POST", url, {**form.fields, "do": "cancel"})
        faults = replace(self.faults, credential=b"no such passkey") if said is Said.REFUSED else self.faults
        self.options = form.options
        return Sent("POST", url, {**form.fields, "credential": self.device.get(form.options, faults)})

    def misdirected(self, sent: Sent) -> Sent:
        asked = {**json.loads(self.options), "challenge": b64(b"x" * 64)}
        return replace(sent, members={**sent.members, "credential": self.device.get(json.dumps(asked))})

    def lie(self, lie: str) -> None:
        self.faults = LIES[lie]

    def fail(self) -> None:
        self.spy.is_away = True

    stall = fail

    def heal(self) -> None:
        self.spy.is_away, self.faults = False, Faults()

    def asked(self) -> int:
        return self.spy.looked


LIES = {
    "origin": Faults(origin="https://evil.example"),
    "rp_id": Faults(rp_id="evil.example"),
    "presence": Faults(flags=UP),
    "verification": Faults(flags=UV),
    "signature": Faults(spoils_signature=True),
    "user": Faults(user_handle=b"somebody else"),
    "no user": Faults(hides_user=True),
    "challenge": Faults(challenge=b64(b"x" * 64)),
    "kind": Faults(kind="webauthn.create"),
    "framed": Faults(framed=True),
}


@asynccontextmanager
async def play_passkey(folder: Path) -> AsyncIterator[Play]:
    async with opened(folder) as place:
        device = Authenticator(counts=True)
        await place.enrolled(device)
        yield PasskeyPlay(place, device)


def cases() -> list[Case]:
    """For the contract suite."""
    return [Case("passkey", play_passkey, tuple(LIES))]


# What a login proves


async def test_a_passkey_is_as_good_as_what_it_was_added_with(place: Place) -> None:
    """The same customer, the same level, the address she had proven; told as a key and as nothing more."""
    device = Authenticator()
    at_home = await place.enrolled(device)
    browser, answer = await place.log_in(device)
    session, before = await place.held(browser), await place.held(at_home)
    assert (session.customer, session.assurance) == (before.customer, Assurance.CONTACT)
    assert (session.profile.email, session.profile.email_verified) == ("maja@example.com", True)
    tokens = await place.stage.shop.exchange(answer)
    assert tokens["claims"]["acr"] == "contact"
    assert tokens["claims"]["amr"] == ["swk", "pop", "user"]
    assert (await place.stage.shop.userinfo(tokens["access_token"])).json["email"] == "maja@example.com"
    assert tokens["claims"]["auth_time"] == int(place.stage.clock.now.timestamp())


async def test_a_key_that_stays_on_its_device_is_told_so(place: Place) -> None:
    """By what the authenticator says of it (RFC 8176)."""
    device = Authenticator(is_synced=False)
    await place.enrolled(device)
    browser, _ = await place.log_in(device)
    assert (await place.held(browser)).amr == ("hwk", "pop", "user")


async def test_the_name_on_file_is_kept(place: Place) -> None:
    """A login by passkey tells nothing new, and so takes nothing away."""
    device = Authenticator()
    at_home = await place.enrolled(device)
    customer = (await place.held(at_home)).customer
    before = await place.stage.records.get_customer(customer)
    browser, _ = await place.log_in(device)
    assert (await place.held(browser)).profile.name == "Maja Lind"
    await place.stage.broker.context.audit.flush()
    assert await place.stage.records.get_customer(customer) == before


async def test_an_old_proof_counts_for_little(place: Place) -> None:
    """After 400 days an address may be somebody else's: the login is hers, and proves no contact."""
    device = Authenticator()
    await place.enrolled(device)
    place.stage.clock.forward(days=401)
    browser, answer = await place.log_in(device)
    session = await place.held(browser)
    assert (session.assurance, session.contact_proven) == (Assurance.SELF_ASSERTED, False)
    assert session.profile.email_verified is False
    assert (await place.stage.shop.exchange(answer))["claims"]["acr"] == "self-asserted"


async def test_an_old_proof_does_not_open_what_needs_more(stage_folder: Path) -> None:
    """Where a contact is needed she is told that this was too little, and offered the other ways."""
    edit = {"      minimum_assurance: self-asserted": "      minimum_assurance: contact"}
    async with opened(stage_folder, edit=edit) as place:
        device = Authenticator()
        await place.enrolled(device)
        place.stage.clock.forward(days=401)
        browser, page = await place.log_in(device)
        assert "code" not in page.query
        assert "method-google" in page.ids
        await browser.log_in("google", "maja")
        assert (await place.held(browser)).assurance is Assurance.CONTACT


async def test_never_above_the_ceiling(stage_folder: Path) -> None:
    """The operator's word for passkeys is the last one."""
    ceiling = "to add one proves more.\n    ceiling: "
    edit = {f"{ceiling}contact": f"{ceiling}self-asserted"}
    async with opened(stage_folder, edit=edit) as place:
        device = Authenticator()
        await place.enrolled(device)
        browser, _ = await place.log_in(device)
        assert (await place.held(browser)).assurance is Assurance.SELF_ASSERTED


async def test_a_fresh_login_is_given(place: Place) -> None:
    """She was there and verified just now, so `prompt=login` and `max_age` are served."""
    device = Authenticator()
    browser = await place.enrolled(device)
    place.stage.clock.forward(minutes=5)
    await place.begun(browser, prompt="login", max_age="60")
    answer = await place.shown(browser, device)
    assert "code" in answer.query, answer.text


# Who does not get in


async def test_nobody_becomes_a_customer_by_a_passkey(place: Place) -> None:
    """A key that we never saw belongs to nobody."""
    stranger = Authenticator()
    stranger.create(add_options())
    browser, page = await place.log_in(stranger)
    assert SESSION not in browser.cookies
    assert "method-google" in page.ids
    assert "no longer works here" in page.text or "gäller inte längre" in page.text


def add_options() -> str:
    asked = {
        "rp": {"id": "localhost"},
        "user": {"id": b64(b"u" * 64)},
        "challenge": b64(b"c" * 64),
        "excludeCredentials": [],
    }
    return json.dumps(asked)


async def test_a_removed_passkey_says_so(place: Place) -> None:
    """It is known to her device and not to us: a sentence, and the other ways in."""
    device = Authenticator()
    home = await place.enrolled(device)
    await remove(place, home, device)
    browser, page = await place.log_in(device)
    assert SESSION not in browser.cookies
    assert "gäller inte längre" in page.text or "no longer works here" in page.text


async def test_removed_while_somebody_logs_in_by_it(place: Place) -> None:
    """Checked a moment ago and gone now: refused, and no customer is made of it."""
    device = Authenticator()
    home = await place.enrolled(device)
    customer = (await place.held(home)).customer
    (owned,) = await place.connector.ring.of_customer(customer)

    async def gone() -> None:
        await place.stage.records.remove_passkey(owned.lookup, customer)

    place.spy.before_owner = gone
    browser, page = await place.log_in(device)
    assert SESSION not in browser.cookies
    assert page.status == 403
    assert await place.stage.records.customer_of(owned.lookup) is None


async def test_another_customers_credential(place: Place) -> None:
    """Karl's device says the id of Maja's passkey, with his own signature or her user handle."""
    maja, karl = Authenticator(), Authenticator()
    await place.enrolled(maja)
    await place.enrolled(karl, await place.at_home(who="karl"))
    for faults in (
        Faults(credential=maja.keys[0].id),
        Faults(credential=maja.keys[0].id, user_handle=maja.keys[0].user_handle),
        Faults(user_handle=maja.keys[0].user_handle),
    ):
        browser, page = await place.log_in(karl, faults)
        assert SESSION not in browser.cookies
        assert "method-google" in page.ids


async def test_a_copy_is_found_out_and_its_owner_not_locked_out(place: Place) -> None:
    """A counter that goes back is refused and told to the operator; her own device goes on."""
    device = Authenticator(counts=True)
    home = await place.enrolled(device)
    thief = device.copy()
    for _ in range(2):
        browser, answer = await place.log_in(device)
        assert "code" in answer.query
    browser, page = await place.log_in(thief)
    assert SESSION not in browser.cookies
    assert "method-google" in page.ids
    events = await audited(place, home)
    assert "passkey.counter" in events
    _, answer = await place.log_in(device)
    assert "code" in answer.query


async def test_a_passkey_that_never_counts_is_fine(place: Place) -> None:
    """Synced ones say 0 each time."""
    device = Authenticator(counts=False)
    await place.enrolled(device)
    for _ in range(3):
        _, answer = await place.log_in(device)
        assert "code" in answer.query


async def test_a_row_that_was_tampered_with_opens_nothing(place: Place) -> None:
    """Whoever can write to the database cannot put his key in place of hers."""
    device = Authenticator()
    home = await place.enrolled(device)
    customer = (await place.held(home)).customer
    (owned,) = await place.connector.ring.of_customer(customer)
    await place.stage.records.reseal_passkey(owned.lookup, customer, owned.record.sealed[:-1] + b"x")
    browser, _ = await place.log_in(device)
    assert SESSION not in browser.cookies


@pytest.mark.parametrize("credential", ["", "{", "[]", '{"id":1}', "9" * 8192, "null"])
async def test_what_is_no_answer(place: Place, credential: str) -> None:
    """Never a fault of ours; she is still where she can choose."""
    browser = place.stage.browser()
    await place.begun(browser)
    page = await browser.follow(await browser.press("method-passkey"))
    form = passkey_form(page)
    answer = await browser.follow(await browser.post(form.action, {**form.fields, "credential": credential}))
    assert answer.status == 200
    assert SESSION not in browser.cookies


async def test_an_endless_answer(place: Place) -> None:
    """More than any browser sends is not even read."""
    browser = place.stage.browser()
    await place.begun(browser)
    page = await browser.follow(await browser.press("method-passkey"))
    form = passkey_form(page)
    answer = await browser.post(form.action, {**form.fields, "credential": "9" * 100_000})
    assert 400 <= answer.status < 500


async def test_an_answer_of_yesterdays_page(place: Place) -> None:
    """After five minutes she is asked once more, on the same page."""
    device = Authenticator()
    await place.enrolled(device)
    browser = place.stage.browser()
    await place.begun(browser)
    page = await browser.follow(await browser.press("method-passkey"))
    place.stage.clock.forward(minutes=5, seconds=1)
    again = await browser.follow(await place.answer(browser, page, device))
    assert "use-passkey" in again.ids
    assert SESSION not in browser.cookies
    answer = await browser.follow(await place.answer(browser, again, device))
    assert "code" in answer.query


async def test_without_script(place: Place) -> None:
    """The button then says why it does not work, and the other ways stay."""
    browser = place.stage.browser()
    await place.begun(browser)
    page = await browser.follow(await browser.press("method-passkey"))
    form = passkey_form(page)
    answer = await browser.follow(await browser.post(form.action, {k: v for k, v in form.fields.items() if v}))
    assert "JavaScript" in answer.text
    assert "method-google" in (await browser.follow(await browser.press("cancel"))).ids


# On the page that offers the ways in


async def at_once(place: Place, browser: Browser, device: Authenticator, faults: Faults | None = None) -> Answer:
    page = await place.begun(browser)
    return await browser.follow(await place.answer(browser, page, device, faults))


async def test_a_passkey_out_of_the_fields_list(place: Place) -> None:
    """No button is pressed: the page itself carries a challenge of this journey."""
    device = Authenticator()
    await place.enrolled(device)
    browser = place.stage.browser()
    answer = await at_once(place, browser, device)
    assert "code" in answer.query, answer.text


async def test_the_offer_costs_nothing_to_show(place: Place) -> None:
    """The page is shown by one round trip, with passkeys as without, and nothing is written."""
    browser = place.stage.browser()
    page = await place.begun(browser)
    counted: list[int] = []
    run = place.stage.state.run

    async def counting(*ops: Any) -> Any:
        counted.append(len(ops))
        assert {type(op).__name__ for op in ops} == {"Get"}
        return await run(*ops)

    place.stage.state.run = counting  # type: ignore[method-assign]
    again = await browser.get(page.url)
    place.stage.state.run = run  # type: ignore[method-assign]
    assert passkey_form(again).fields["method"] == "passkey"
    assert len(counted) == 1


async def test_an_offer_is_answered_once(place: Place) -> None:
    """The same answer again, in the same browser with its session gone, opens nothing."""
    device = Authenticator()
    await place.enrolled(device)
    browser = place.stage.browser()
    page = await place.begun(browser)
    form = passkey_form(page)
    fields = {**form.fields, "credential": device.get(form.options)}
    other = await place.begun(browser)
    assert other.url != page.url
    broken = await browser.post(
        form.action, {**fields, "credential": device.get(form.options, Faults(spoils_signature=True))}
    )
    assert SESSION not in browser.cookies, broken.text
    await browser.follow(await browser.post(form.action, fields))
    assert SESSION not in browser.cookies


async def test_an_offer_of_another_journey(place: Place) -> None:
    """Each journey has its own challenges, and each moment."""
    device = Authenticator()
    await place.enrolled(device)
    one, other = place.stage.browser(), place.stage.browser()
    theirs = passkey_form(await place.begun(one))
    mine = passkey_form(await place.begun(other))
    assert json.loads(theirs.options)["challenge"] != json.loads(mine.options)["challenge"]
    page = await other.follow(await other.post(mine.action, {**mine.fields, "credential": device.get(theirs.options)}))
    assert SESSION not in other.cookies
    assert "method-google" in page.ids


@pytest.mark.parametrize("mark", ["", "x", "-1", "99999999999", "1" * 50, "²"])
async def test_a_mark_that_was_never_given(place: Place, mark: str) -> None:
    """Nobody chooses a challenge for later."""
    device = Authenticator()
    await place.enrolled(device)
    browser = place.stage.browser()
    form = passkey_form(await place.begun(browser))
    fields = {**form.fields, "mark": mark, "credential": device.get(form.options)}
    page = await browser.follow(await browser.post(form.action, fields))
    assert page.status == 200
    assert SESSION not in browser.cookies


async def test_an_old_offer_is_asked_once_more(place: Place) -> None:
    """Whoever picks a passkey after five minutes gets a page that asks again, not an error."""
    device = Authenticator()
    await place.enrolled(device)
    browser = place.stage.browser()
    page = await place.begun(browser)
    place.stage.clock.forward(minutes=6)
    again = await browser.follow(await place.answer(browser, page, device))
    assert "use-passkey" in again.ids
    assert "code" in (await browser.follow(await place.answer(browser, again, device))).query


async def test_an_offer_of_a_way_that_makes_none(place: Place) -> None:
    """Google is not asked by a passkey's form."""
    browser = place.stage.browser()
    form = passkey_form(await place.begun(browser))
    answer = await browser.post(form.action, {**form.fields, "method": "google", "credential": "{}"})
    assert answer.status == 400


async def test_no_offer_where_passkeys_may_not_serve(stage_folder: Path) -> None:
    """A partner that does not take passkeys shows none."""
    edit = {", passkey]": "]"} if not OFFERED else {"[passkey, ": "["}
    async with opened(stage_folder, edit=edit) as place:
        page = await place.begun(place.stage.browser())
        assert "data-passkey" not in page.text
        assert "method-passkey" not in page.ids


async def test_two_tabs(place: Place) -> None:
    """Both offer; she logs in by one, and the other, late, is led on and logs nobody else in."""
    device = Authenticator()
    await place.enrolled(device)
    one = place.stage.browser()
    first = await place.begun(one)
    two = one.copy()
    second = await two.get(first.url)
    await one.follow(await place.answer(one, first, device))
    session = one.cookies[SESSION]
    answer = await place.answer(two, second, device)
    assert answer.status < 500
    assert two.cookies[SESSION] == session


async def test_another_way_after_the_passkey_page(place: Place) -> None:
    """She cancels, or goes back and chooses another: nothing is in the way."""
    device = Authenticator()
    await place.enrolled(device)
    browser = place.stage.browser()
    page = await place.begun(browser)
    await browser.follow(await browser.press("method-passkey"))
    browser.page = page
    answer = await browser.log_in("google", "maja")
    assert "code" in answer.query


async def test_what_the_pages_scripts_may_do(place: Place) -> None:
    """Passkeys are asked for where they are needed, and nowhere else; scripts are our own."""
    browser = await place.at_home()
    adding = await browser.get("/shared/passkeys/add")
    shared = await browser.get("/shared")
    other = place.stage.browser()
    choose = await place.begun(other)
    asking = await other.follow(await other.press("method-passkey"))
    for page, get, create in (
        (adding, "()", "(self)"),
        (shared, "()", "()"),
        (choose, "(self)", "()"),
        (asking, "(self)", "()"),
    ):
        policy = page.headers["permissions-policy"]
        assert f"publickey-credentials-get={get}" in policy
        assert f"publickey-credentials-create={create}" in policy
        assert "unsafe" not in page.headers["content-security-policy"]
    assert "script-src 'self'" in asking.headers["content-security-policy"]


# Adding, renaming, removing


async def audited(place: Place, browser: Browser) -> list[str]:
    customer = (await place.held(browser)).customer
    await place.stage.broker.context.audit.flush()
    return [event.action for event in await place.stage.records.audit_of(customer, 100)]


async def remove(place: Place, browser: Browser, device: Authenticator) -> Answer:
    lookup = place.connector.ring.lookup(b64(device.keys[0].id))
    await browser.get(f"/shared/passkeys/remove?passkey={lookup}")
    return await browser.press("remove")


async def test_she_hears_of_a_new_passkey_and_of_a_removed_one(place: Place) -> None:
    """At the address on file; and it is in the audit trail."""
    device = Authenticator()
    home = await place.enrolled(device)
    await remove(place, home, device)
    await place.stage.broker.context.audit.flush()
    assert [letter.to for letter in place.letters.sent] == ["maja@example.com"] * 2
    assert {"passkey.added", "passkey.removed"} <= set(await audited(place, home))


async def test_she_hears_of_it_at_the_contacts_of_her_other_ways_in(place: Place) -> None:
    """Whoever sits in her account by a way in of his own, which told another address, cannot keep it from her."""
    home, context = await place.at_home(), place.stage.broker.context
    customer, now = (await place.held(home)).customer, place.stage.clock.now
    await context.audit.flush()
    (google,) = await context.records.identities_of(customer)
    digest = contact_digest(context.lookup, ContactKind.EMAIL, "hers@example.com")
    sealed = context.sealer.seal(b"hers@example.com", f"contact:{digest}")
    other = replace(google, lookup="a" * 64, upstream="bankid", created_at=now)
    contact = ContactRecord(digest, other.lookup, "email", sealed, now)
    assert await context.records.link_identity(other, [contact]) == customer
    await place.enrolled(Authenticator(), home)
    await context.audit.flush()
    assert {letter.to for letter in place.letters.sent} == {"maja@example.com", "hers@example.com"}
    assert len(place.letters.sent) == 2


async def test_the_page_lists_what_there_is(place: Place) -> None:
    """By the name of the product that keeps it; a name of hers takes its place."""
    device = Authenticator(aaguid=bytes.fromhex("ea9b8d664d011d213ce4b6b48cb575d4"))
    home = await place.enrolled(device)
    page = await home.get("/shared")
    assert "Google Password Manager" in page.text
    (owned,) = await place.connector.ring.of_customer((await place.held(home)).customer)
    csrf = place.stage.broker.context.lookup.digest("form", home.cookies[SESSION])
    named = {"csrf": csrf, "passkey": owned.lookup}
    assert (await home.post("/shared/passkeys/rename", {**named, "name": "Min \u0007 mobil"})).status == 400
    assert (await home.post("/shared/passkeys/rename", {**named, "name": "  \u200b "})).status == 400
    answer = await home.post("/shared/passkeys/rename", {**named, "name": "  Min <b>mobil</b> "})
    assert "passkey=renamed" in answer.location
    page = await home.get(answer.location)
    assert "Min &lt;b&gt;mobil&lt;/b&gt;" in page.text


async def test_a_bankid_session_adds_no_passkey(place: Place) -> None:
    """The BankID agreement forbids it: the page says why, and an answer posted all the same is not taken."""
    home = await place.at_home("bankid")
    page = await home.get("/shared/passkeys/add")
    assert "data-passkey" not in page.text
    assert "BankID" in page.text
    other = await place.at_home()
    form = passkey_form(await other.get("/shared/passkeys/add"))
    token = place.stage.broker.context.lookup.digest("form", home.cookies[SESSION])
    device = Authenticator()
    answer = await home.post(form.action, {**form.fields, "csrf": token, "credential": device.create(form.options)})
    assert answer.location.endswith("/shared/passkeys/add")
    customer = (await place.held(home)).customer
    assert await place.stage.records.passkeys_of(customer) == []


async def test_a_session_that_is_not_fresh_adds_none(place: Place) -> None:
    """After ten minutes she proves once more who she is, and comes back to where she was."""
    home = await place.at_home()
    form = passkey_form(await home.get("/shared/passkeys/add"))
    place.stage.clock.forward(minutes=10, seconds=1)
    device = Authenticator()
    answer = await home.post(form.action, {**form.fields, "credential": device.create(form.options)})
    assert answer.location.endswith("/shared/passkeys/add")
    page = await home.get("/shared/passkeys/add")
    assert "renew" in page.ids
    choose = await home.follow(await home.get("/shared/passkeys/renew"))
    assert "method-google" in choose.ids
    assert "method-bankid" not in choose.ids
    back = await home.log_in("google", "maja")
    assert passkey_form(back).action == "/shared/passkeys/add"
    await place.enrolled(device, home)


async def test_renewing_takes_a_login_made_anew(place: Place) -> None:
    """The session she has does not count, however young."""
    home = await place.at_home()
    place.stage.clock.forward(seconds=1)
    page = await home.follow(await home.get("/shared/passkeys/renew"))
    assert "method-google" in page.ids


async def test_a_ticket_is_for_one_session_and_one_use(place: Place) -> None:
    """Not for another browser's session, not twice, not after five minutes."""
    maja, karl = await place.at_home(), await place.at_home(who="karl")
    form = passkey_form(await maja.get("/shared/passkeys/add"))
    device = Authenticator()
    credential = device.create(form.options)
    csrf = passkey_form(await karl.get("/shared/passkeys/add")).fields["csrf"]
    foreign = await karl.post(form.action, {"csrf": csrf, "ticket": form.fields["ticket"], "credential": credential})
    assert "passkey=failed" in foreign.location
    good = await maja.post(form.action, {**form.fields, "credential": credential})
    assert "passkey=added" in good.location
    again = await maja.post(form.action, {**form.fields, "credential": credential})
    assert "passkey=failed" in again.location
    form = passkey_form(await maja.get("/shared/passkeys/add"))
    place.stage.clock.forward(minutes=5, seconds=1)
    late = await maja.post(form.action, {**form.fields, "credential": Authenticator().create(form.options)})
    assert "passkey=failed" in late.location
    assert len(await place.stage.records.passkeys_of((await place.held(maja)).customer)) == 1


@pytest.mark.parametrize("lie", ["origin", "rp_id", "presence", "verification", "challenge", "framed"])
async def test_a_bad_new_passkey_is_not_added(place: Place, lie: str) -> None:
    """She may try again; nothing is kept of it."""
    home = await place.at_home()
    answer = await place.add(home, Authenticator(), LIES[lie])
    assert "passkey=failed" in answer.location
    page = await home.get(answer.location)
    assert page.status == 200
    assert await place.stage.records.passkeys_of((await place.held(home)).customer) == []


async def test_forms_need_their_token(place: Place) -> None:
    """Another site cannot add, rename or remove anything in her name."""
    home = await place.enrolled(Authenticator())
    (owned,) = await place.connector.ring.of_customer((await place.held(home)).customer)
    for path in ("add", "rename", "remove", "later"):
        fields = {
            "csrf": "x",
            "passkey": owned.lookup,
            "name": "his",
            "answer": "remove",
            "ticket": "t",
            "credential": "{}",
        }
        assert (await home.post(f"/shared/passkeys/{path}", fields)).status == 403
    assert len(await place.stage.records.passkeys_of((await place.held(home)).customer)) == 1


async def test_nobody_touches_anothers_passkey(place: Place) -> None:
    """Knowing what it is called helps nobody."""
    home, karl = await place.enrolled(Authenticator()), await place.at_home(who="karl")
    (owned,) = await place.connector.ring.of_customer((await place.held(home)).customer)
    csrf = place.stage.broker.context.lookup.digest("form", karl.cookies[SESSION])
    for path, more in (("rename", {"name": "his"}), ("remove", {"answer": "remove"})):
        answer = await karl.post(f"/shared/passkeys/{path}", {"csrf": csrf, "passkey": owned.lookup, **more})
        assert answer.status == 400
    shown = await karl.get(f"/shared/passkeys/remove?passkey={owned.lookup}")
    assert shown.location.endswith("/shared")
    assert len(await place.connector.ring.of_customer((await place.held(home)).customer)) == 1


async def test_a_device_is_not_asked_for_a_second_one(place: Place) -> None:
    """It is told which it has; all of hers have one handle."""
    device, other = Authenticator(), Authenticator()
    home = await place.enrolled(device)
    options = json.loads(passkey_form(await home.get("/shared/passkeys/add")).options)
    assert [each["id"] for each in options["excludeCredentials"]] == [b64(device.keys[0].id)]
    await place.enrolled(other, home)
    assert other.keys[0].user_handle == device.keys[0].user_handle


async def test_no_personal_data_in_the_user_handle(place: Place) -> None:
    """64 random bytes, different for each customer (WebAuthn section 14.6.1)."""
    options = []
    for who in ("maja", "karl"):
        home = await place.at_home(who=who)
        options.append(json.loads(passkey_form(await home.get("/shared/passkeys/add")).options)["user"]["id"])
    assert options[0] != options[1]
    assert {len(each) for each in options} == {86}


async def test_at_most_ten(place: Place) -> None:
    """The eleventh is not added, and the page offers none any more."""
    home = await place.at_home()
    forms = [passkey_form(await home.get("/shared/passkeys/add")) for _ in range(11)]
    answers = [
        await home.post(form.action, {**form.fields, "credential": Authenticator().create(form.options)})
        for form in forms
    ]
    assert ["passkey=added" in answer.location for answer in answers] == [True] * 10 + [False]
    assert "passkey=not_added" in answers[-1].location
    assert "add-passkey" not in (await home.get("/shared")).ids


async def test_removing_ends_what_it_opened(place: Place) -> None:
    """Sessions opened by that passkey end everywhere; others go on."""
    device, other = Authenticator(), Authenticator()
    home = await place.enrolled(device)
    await place.enrolled(other, home)
    by_it, _ = await place.log_in(device)
    by_other, _ = await place.log_in(other)
    await remove(place, home, device)
    assert "log-out" in (await home.get("/shared")).ids
    assert "log-out" in (await by_other.get("/shared")).ids
    assert "log-out" not in (await by_it.get("/shared")).ids


async def test_a_session_knows_the_passkey_that_opened_it(place: Place) -> None:
    """By the name it is removed by."""
    device = Authenticator()
    await place.enrolled(device)
    session = await place.held((await place.log_in(device))[0])
    assert session.way == session.upstream_sid == place.connector.ring.lookup(b64(device.keys[0].id))


async def test_it_falls_with_the_way_it_was_added_by(place: Place) -> None:
    """Who takes out a way in that is another's by now shuts out what he added by it; brought back, it counts again."""
    device = Authenticator()
    home = await place.enrolled(device)
    session, records, now = await place.held(home), place.stage.records, place.stage.clock.now
    (google,) = [each for each in await records.identities_of(session.customer) if each.upstream == "google"]
    assert await records.remove_identity(google.lookup, session.customer, ["google", "passkey"], now)
    browser, page = await place.log_in(device)
    assert SESSION not in browser.cookies
    assert "no longer works here" in page.text
    assert (await place.connector.ring.of_customer(session.customer))[0].passkey.proof.way == google.lookup
    assert await records.restore_identity(google.lookup, session.customer, now - timedelta(days=1))
    _, answer = await place.log_in(device)
    assert "code" in answer.query


async def test_who_is_in_by_it_is_out_with_the_way_it_was_added_by(place: Place) -> None:
    """
    Whoever added a passkey by a way in that she takes out stays in by nothing: neither in a session opened by the passkey, nor by
    a refresh token from such a login, whether that session is over or not.
    """
    device = Authenticator()
    home = await place.enrolled(device)
    session, context, now = await place.held(home), place.stage.broker.context, place.stage.clock.now
    (google,) = [each for each in await context.records.identities_of(session.customer) if each.upstream == "google"]
    other = replace(google, lookup="a" * 64, upstream="bankid", created_at=now)
    assert await context.records.link_identity(other, []) == session.customer
    thief, answer = await place.log_in(device)
    assert "code" in answer.query
    assert "log-out" in (await thief.get("/shared")).ids
    await grant_refresh(place, "theirs", session.customer, (await place.held(thief)).way)
    outcome, _ = await Ways(context).remove(session, name_of(google.lookup), "en")
    assert outcome is Gone.DONE
    assert "log-out" not in (await thief.get("/shared")).ids
    assert not await is_granted(place, "theirs")


async def grant_refresh(place: Place, name: str, customer: str, way: str) -> None:
    """A grant with refresh tokens of a login by *way*, whose session is over."""
    now, state = place.stage.clock.now, place.stage.state
    grant = Grant(
        partner="nordhjul",
        subject="hers",
        sid="of a session that is over",
        redirect_uri="https://shop.example/",
        scopes=("openid",),
        nonce=None,
        code_challenge=None,
        acr="",
        amr=(),
        auth_time=None,
        claims={},
        created_at=now,
        expires_at=now,
        customer=customer,
        way=way,
    )
    put = place.stage.broker.context.shelves.grants.put_new(name, grant, 60.0)
    await state.run(put, Enlist(grants_of(customer), name, 60.0, 200))


async def is_granted(place: Place, name: str) -> bool:
    (raw,) = await place.stage.state.run(place.stage.broker.context.shelves.grants.get(name))
    return raw is not None


async def google_says(place: Place, change: Change) -> None:
    """Of Maja's account there, this very moment."""
    now, context = place.stage.clock.now, place.stage.broker.context
    until = now + timedelta(days=30)
    over = UpstreamOver("https://google.test", "subject-of-maja", None, f"{change} {now}", now, until, change)
    await Logouts(context).end_of_upstream("google", over)


SHUT = pytest.mark.parametrize("change", [Change.BLOCKED, Change.GONE])


@SHUT
async def test_it_falls_with_the_account_it_was_added_by(place: Place, change: Change) -> None:
    """Whoever hijacked her account at a provider gets in by nothing he added meanwhile; unless it is allowed again."""
    device = Authenticator()
    await place.enrolled(device)
    await google_says(place, change)
    browser, page = await place.log_in(device)
    assert SESSION not in browser.cookies
    assert "no longer works here" in page.text
    await google_says(place, Change.ALLOWED)
    assert (SESSION in (await place.log_in(device))[0].cookies) is (change is Change.BLOCKED)


async def another_way(place: Place, home: Browser, method: str = "bankid", who: str = "maja") -> str:
    """Another way in of the customer's, Maja's BankID if not said."""
    session, context = await place.held(home), place.stage.broker.context
    lookup = context.lookup.digest(f"https://{method}.test", f"subject-of-{who}")
    (google,) = [each for each in await context.records.identities_of(session.customer) if each.upstream == "google"]
    other = replace(google, lookup=lookup, upstream=method)
    assert await context.records.link_identity(other, []) == session.customer
    return lookup


@SHUT
async def test_who_is_in_by_it_is_out_with_the_account_it_was_added_by(place: Place, change: Change) -> None:
    """Sessions opened by the account and by what was added by it end; her own, by another way in, goes on."""
    device = Authenticator()
    home = await place.enrolled(device)
    await another_way(place, home)
    hers = await place.at_home("bankid")
    thief, _ = await place.log_in(device)
    assert (await place.held(hers)).customer == (await place.held(thief)).customer
    await google_says(place, change)
    assert ["log-out" in (await each.get("/shared")).ids for each in (home, thief, hers)] == [False, False, True]


@pytest.mark.parametrize("change", [Change.OVER, Change.BLOCKED, Change.GONE])
async def test_her_other_account_at_that_provider_is_not_meant(place: Place, change: Change) -> None:
    """Only what rests on the account that was spoken of ends."""
    home = await place.at_home()
    await another_way(place, home, "google", "karl")
    other = await place.at_home("google", "karl")
    assert (await place.held(other)).customer == (await place.held(home)).customer
    await google_says(place, change)
    assert ["log-out" in (await each.get("/shared")).ids for each in (home, other)] == [False, True]


@pytest.mark.parametrize("change", Change)
async def test_refresh_tokens_end_with_the_account_they_rest_on(place: Place, change: Change) -> None:
    """
    Of logins by a blocked account, and by what was added by it, whether their sessions are over or not. A logout at the provider
    ends what rests on its session, and neither these nor sessions opened by passkeys.
    """
    device = Authenticator()
    home = await place.enrolled(device)
    ways = [
        (await place.held(home)).way,
        place.connector.ring.lookup(b64(device.keys[0].id)),
        await another_way(place, home),
    ]
    customer = (await place.held(home)).customer
    for way in ways:
        await grant_refresh(place, way, customer, way)
    by_it, _ = await place.log_in(device)
    await google_says(place, change)
    stays = change not in {Change.BLOCKED, Change.GONE}
    assert [await is_granted(place, way) for way in ways] == [stays, stays, True]
    assert ("log-out" in (await by_it.get("/shared")).ids) is stays


async def test_removing_the_one_she_is_logged_in_by(place: Place) -> None:
    """She is told before, and logged out by it."""
    device = Authenticator()
    await place.enrolled(device)
    browser, _ = await place.log_in(device)
    (owned,) = await place.connector.ring.of_customer((await place.held(browser)).customer)
    page = await browser.get(f"/shared/passkeys/remove?passkey={owned.lookup}")
    assert "notice" in page.text
    await browser.press("remove")
    assert SESSION not in browser.cookies


async def test_removing_is_confirmed(place: Place) -> None:
    """The link alone removes nothing; another answer neither."""
    home = await place.enrolled(Authenticator())
    customer = (await place.held(home)).customer
    (owned,) = await place.connector.ring.of_customer(customer)
    await home.get(f"/shared/passkeys/remove?passkey={owned.lookup}")
    csrf = place.stage.broker.context.lookup.digest("form", home.cookies[SESSION])
    assert (await home.post("/shared/passkeys/remove", {"csrf": csrf, "passkey": owned.lookup})).status == 403
    assert len(await place.connector.ring.of_customer(customer)) == 1


async def test_removing_needs_a_fresh_proof(place: Place) -> None:
    """Whoever finds her logged in removes nothing: she logs in once more, and is back on the very page."""
    home = await place.enrolled(Authenticator())
    customer = (await place.held(home)).customer
    (owned,) = await place.connector.ring.of_customer(customer)
    where = f"/shared/passkeys/remove?passkey={owned.lookup}"
    assert "remove" in (await home.get(where)).ids
    place.stage.clock.forward(minutes=11)
    stale = await home.follow(await home.press("remove"))
    assert "renew" in stale.ids
    assert "remove" not in stale.ids
    with pytest.raises(BadAsk) as refused:
        await place.connector.ring.remove(await place.held(home), owned.lookup)
    assert refused.value.code == "passkey.stale"
    assert len(await place.connector.ring.of_customer(customer)) == 1
    link = re.search(r'id="renew"[^>]*href="([^"]+)"', stale.text)
    assert link is not None
    place.stage.clock.forward(seconds=1)
    await home.follow(await home.get(link[1]))
    back = await home.log_in("google", "maja")
    assert back.url.endswith(where)
    done = await home.follow(await home.press("remove"))
    assert "passkey=removed" in done.url
    assert len(await place.connector.ring.of_customer(customer)) == 0


async def test_a_passkey_begets_no_better_one(place: Place) -> None:
    """One added in a passkey's session counts as, and no longer than, that one."""
    device, second = Authenticator(), Authenticator()
    await place.enrolled(device)
    place.stage.clock.forward(days=399)
    browser, _ = await place.log_in(device)
    await place.enrolled(second, browser)
    place.stage.clock.forward(days=2)
    third, _ = await place.log_in(second)
    assert (await place.held(third)).assurance is Assurance.SELF_ASSERTED


async def test_where_passkeys_may_not_beget_any(stage_folder: Path) -> None:
    """The operator may say so."""
    said = "counts for the same, and as long.\n    may_bootstrap_other_methods: "
    async with opened(stage_folder, edit={f"{said}true": f"{said}false"}) as place:
        device = Authenticator()
        await place.enrolled(device)
        browser, _ = await place.log_in(device)
        page = await browser.get("/shared/passkeys/add")
        assert "data-passkey" not in page.text


async def test_a_hint_that_goes_away(place: Place) -> None:
    """Whoever has no passkey is told of them, until she says not now; whoever may add none is not told."""
    home = await place.at_home()
    assert "passkey-later" in (await home.get("/shared")).ids
    await home.press("passkey-later")
    assert "passkey-later" not in (await home.get("/shared")).ids
    assert "passkey-later" not in (await (await place.at_home("bankid")).get("/shared")).ids


async def test_logged_out_there_is_nothing_to_do(place: Place) -> None:
    """Each address leads to her own page, which asks who she is."""
    browser = place.stage.browser()
    for path in ("add", "remove"):
        assert (await browser.get(f"/shared/passkeys/{path}")).location.endswith("/shared")
    for path in ("add", "rename", "remove", "later"):
        assert (await browser.post(f"/shared/passkeys/{path}", {"csrf": "x"})).location.endswith("/shared")


# Whom they are for


@pytest.mark.parametrize(
    ("issuer", "rp_id", "domain"),
    [
        ("https://login.example.com", None, "login.example.com"),
        ("https://login.example.com", "example.com", "example.com"),
        ("https://login.example.com:8443", "login.example.com", "login.example.com"),
        ("http://localhost:8700", None, "localhost"),
    ],
)
def test_the_domain_passkeys_belong_to(issuer: str, rp_id: str | None, domain: str) -> None:
    """The issuer's host, or a parent of it."""
    party = relying_party(PasskeyConnect(rp_id=rp_id), issuer=issuer, name="Stafett")
    assert (party.id, party.origin) == (domain, issuer)


@pytest.mark.parametrize(
    ("issuer", "rp_id"),
    [
        ("https://login.example.com", "com"),
        ("https://login.example.com", "example.org"),
        ("https://login.example.com", "ogin.example.com"),
        ("https://login.example.com", "sub.login.example.com"),
        ("https://192.0.2.1", None),
    ],
)
def test_a_domain_browsers_would_refuse(issuer: str, rp_id: str | None) -> None:
    """It is said at start, and not by each customer's browser."""
    with pytest.raises(ValueError, match=r"passkeys need|rp_id must"):
        relying_party(PasskeyConnect(rp_id=rp_id), issuer=issuer, name="Stafett")
