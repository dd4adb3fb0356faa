"""
What a SAML login, and a logout, come to when something gives way in the middle: the store, the database, a partner's metadata, or
another tab.
"""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.errors import StoreDown
from broker.stores.memory import MemoryState
from broker.stores.ports import Op
from tests.downstream.saml_party import Party, Received, Sp, open_party, pair
from tests.downstream.test_saml_by_metadata import key, metadata
from tests.stage import START, Answer, Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")
"""
All of them: while a test ran in a loop of its own, the module's would stand still, perhaps in the middle of a write to the
database, whose time is over when it goes on; a connection that is cancelled while it is made ready is lost to its pool.
"""

GONE_AT = START + timedelta(minutes=1)


class Failing(MemoryState):
    """A store that answers ``left`` more times; None: as often as it is asked. ``is_unheard``: it does the last one unheard."""

    left: int | None = None
    is_unheard = False
    calls = 0

    async def run(self, *ops: Op) -> Sequence[Any]:
        self.calls += 1
        if self.left is None:
            return await super().run(*ops)
        if self.left > 0:
            self.left -= 1
            return await super().run(*ops)
        if self.is_unheard:
            await super().run(*ops)
            self.is_unheard = False
        raise StoreDown("played to be away")

    def heal(self) -> None:
        self.left, self.is_unheard = None, False


Way = Callable[[Party], Awaitable[Callable[[], Awaitable[Answer]]]]


async def request(party: Party) -> Callable[[], Awaitable[Answer]]:
    """A request without a session."""
    browser, address = party.stage.browser(), party.hotel.redirect()
    return lambda: browser.get(address)


async def posted(party: Party) -> Callable[[], Awaitable[Answer]]:
    """The same by form."""
    browser, form = party.stage.browser(), party.hotel.form()
    return lambda: browser.post("/saml/sso", form)


async def resumed(party: Party) -> Callable[[], Awaitable[Answer]]:
    """The address that brings the cookies."""
    browser = party.stage.browser()
    bounced = await browser.post("/saml/sso", party.hotel.form())
    return lambda: browser.get(bounced.location)


async def passive(party: Party) -> Callable[[], Awaitable[Answer]]:
    """Nobody looks at it."""
    browser = party.stage.browser()
    await in_at(party, browser)
    address = party.hotel.redirect(party.hotel.request(IsPassive="true"))
    return lambda: browser.get(address)


async def by_session(party: Party) -> Callable[[], Awaitable[Answer]]:
    """She is logged in."""
    browser = party.stage.browser()
    await in_at(party, browser)
    address = party.hotel.redirect()
    return lambda: browser.get(address)


async def callback(party: Party) -> Callable[[], Awaitable[Answer]]:
    """The provider's answer, which ends in ours."""
    browser = party.stage.browser()
    await browser.follow(await browser.get(party.hotel.redirect()))
    state = (await browser.press("method-google")).query["state"]
    return lambda: browser.get(f"/up/google/callback?state={state}&who=maja")


async def cancelled(party: Party) -> Callable[[], Awaitable[Answer]]:
    """She goes back."""
    browser = party.stage.browser()
    page = await browser.follow(await browser.get(party.hotel.redirect()))

    async def go() -> Answer:
        browser.page = page
        return await browser.press("cancel")

    return go


async def logout(party: Party) -> Callable[[], Awaitable[Answer]]:
    """A partner's logout request."""
    browser = party.stage.browser()
    address = party.hotel.log_out(party.hotel.logout_request(await in_at(party, browser)))
    return lambda: browser.get(address)


async def logout_posted(party: Party) -> Callable[[], Awaitable[Answer]]:
    """The same by form."""
    browser = party.stage.browser()
    octets = party.hotel.signed(party.hotel.logout_request(await in_at(party, browser)))
    form = {"SAMLRequest": base64.b64encode(octets).decode()}
    return lambda: browser.post("/saml/slo", form)


async def leaving(party: Party) -> Callable[[], Awaitable[Answer]]:
    """On to the partner."""
    browser, token = await left(party)
    return lambda: browser.get(f"/saml/leave?of={token}&at=hotel")


async def returned(party: Party) -> Callable[[], Awaitable[Answer]]:
    """And back."""
    browser, token = await left(party)
    asked = party.hotel.asked_to_log_out(await browser.get(f"/saml/leave?of={token}&at=hotel"))
    address = party.hotel.answer_logout(asked)
    return lambda: browser.get(address)


WAYS: list[Way] = [
    request,
    posted,
    resumed,
    passive,
    by_session,
    callback,
    cancelled,
    logout,
    logout_posted,
    leaving,
    returned,
]


async def in_at(party: Party, browser: Browser, sp: Sp | None = None) -> Received:
    at = sp or party.hotel
    return at.receive(await party.log_in(browser, at.redirect(), "google"))


async def left(party: Party) -> tuple[Browser, str]:
    browser = party.stage.browser()
    await in_at(party, browser)
    await browser.get("/logout")
    await browser.follow(await browser.get("/logout/confirm"))
    page = await browser.follow(await browser.press("log-out"))
    return browser, page.url.partition("of=")[2]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fragile(prepared_stage: Path) -> AsyncIterator[tuple[Party, Failing]]:
    store = Failing()
    async with open_party(prepared_stage, state=store) as opened:
        yield opened, store


def is_told(party: Party, answer: Answer) -> bool:
    """A page of ours that says when to come back, or a status at the partner; nobody is asserted."""
    if answer.form_post is not None:
        return party.hotel.receive(answer).status == "Responder"
    return answer.status == 503 and bool(answer.headers["retry-after"]) and answer.headers["x-reference"] in answer.text


class TestTheStore:
    @pytest.mark.parametrize("is_unheard", [False, True], ids=["unasked", "unheard"])
    @pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
    async def test_fails_at_each_round_trip(self, fragile: tuple[Party, Failing], way: Way, is_unheard: bool) -> None:
        """Told clearly, never half done; and the next request goes well."""
        party, store = fragile
        for passed in range(20):
            go = await way(party)
            store.left, store.is_unheard, store.calls = passed, is_unheard, 0
            answer = await go()
            made = store.calls
            store.heal()
            assert answer.status < 500 or is_told(party, answer), (passed, answer.status, answer.text[:2000])
            again = await go()
            assert again.status < 500, (passed, again.status, again.text[:2000])
            if made <= passed:
                assert (await in_at(party, party.stage.browser())).status == "Success"
                return
        raise AssertionError("no end of round trips")

    async def test_is_away_and_nobody_looks(self, fragile: tuple[Party, Failing]) -> None:
        """``IsPassive``: the partner hears that it should try again, at its consumer and not on a page of ours."""
        party, store = fragile
        go = await passive(party)
        store.left = 0
        answer = await go()
        store.heal()
        received = party.hotel.receive(answer)
        assert (received.status, received.second) == ("Responder", None)


def document(acs: str, until: str, *, name: str = "gallery", keys: str | None = None) -> bytes:
    """Metadata of one service provider with one consumer and an end."""
    whole = metadata(name, key(name) if keys is None else keys).replace(
        b" entityID=", f' validUntil="{until}" entityID='.encode()
    )
    return whole.replace(f"https://{name}.example/acs".encode(), acs.encode())


GALLERY = """
partners:
  gallery:
    names: {en: Gallery}
    home_uri: https://gallery.example/
    saml: {entity_id: "https://gallery.example/saml", metadata: gallery.xml}
    login: {upstreams: [google, bankid], claims: [name, email], consent: implied}
"""
ACS = "https://gallery.example/acs"


class TestMetadata:
    """A partner's metadata is another when the login that it asked for ends."""

    async def ended(self, prepared: Path, changed: bytes | None, *, asked: str = ACS) -> Answer:
        """She logs in for as long as the old metadata is over; what is there then is *changed*."""
        edit = {"\npartners:\n": GALLERY, "\nagreements:\n": "\nagreements:\n"}
        before = document(ACS, f"{GONE_AT:%Y-%m-%dT%H:%M:%SZ}")
        async with open_party(prepared, files={"gallery.xml": before}, edit=edit) as party:
            where = "https://gallery.example"
            gallery = Sp(party.stage, "gallery", f"{where}/saml", asked, idp_certificate=pair("broker")[1])
            browser = party.stage.browser()
            await browser.follow(await browser.get(gallery.redirect()))
            file = party.stage.loaded.path.parent / "gallery.xml"
            if changed is None:
                file.unlink()
            else:
                file.write_bytes(changed)
            party.stage.clock.forward(minutes=5)
            answer = await browser.log_in("google", "maja")
            if answer.form_post is not None:
                assert gallery.receive(answer, wants=ACS).status in {"Success", "Responder"}
            return answer

    async def test_still_says_where(self, prepared_stage: Path) -> None:
        """A renewal in between is none of hers."""
        answer = await self.ended(prepared_stage, document(ACS, "2026-12-30T00:00:00Z"))
        assert answer.form_post is not None

    @pytest.mark.parametrize("what", ["consumer", "partner", "expired", "gone", "broken"])
    async def test_no_longer_says_where(
        self, prepared_stage: Path, what: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """docs/security.md A5: the address must be hers when the answer leaves, not only when it was asked for."""
        changed = {
            "consumer": document(f"{ACS}/new", "2026-12-30T00:00:00Z"),
            "partner": document(ACS, "2026-12-30T00:00:00Z", name="museum"),
            "expired": document(ACS, f"{GONE_AT:%Y-%m-%dT%H:%M:%SZ}"),
            "gone": None,
            "broken": b"<",
        }[what]
        answer = await self.ended(prepared_stage, changed)
        assert answer.form_post is None
        assert answer.status in {400, 403, 503}
        assert "Maja" not in answer.text
        assert "code=saml." in capsys.readouterr().out

    @pytest.mark.parametrize("what", ["key", "method"])
    async def test_no_longer_says_how_to_encrypt(self, prepared_stage: Path, what: str) -> None:
        """security: who she is never leaves in the clear for want of a key (saml2int SDP-IDP11)."""
        keys = {
            "key": key("gallery", "signing"),
            "method": key("gallery", "", "http://www.w3.org/2001/04/xmlenc#aes256-cbc"),
        }[what]
        answer = await self.ended(prepared_stage, document(ACS, "2026-12-30T00:00:00Z", keys=keys))
        assert answer.status in {200, 400, 403}
        if answer.form_post is not None:
            response = base64.b64decode(dict(answer.form_post["fields"])["SAMLResponse"])
            assert b"Assertion" not in response
            assert b"Maja" not in response
