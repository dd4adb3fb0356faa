"""Consents that are taken back while something goes out under them, or by half: it does not go out."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import pytest_asyncio

from broker.flows.context import withdrawn_key
from broker.stores.memory import MemoryState
from broker.stores.ports import Get, Op, Put, Records
from tests.downstream.apis import Apis, open_apis, parts
from tests.downstream.register import open_register
from tests.downstream.saml_party import Party, open_party
from tests.flows.test_withdrawing import Failing
from tests.stage import PAYLOAD, SHOP_RETURN, Answer, Browser, open_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Watched(MemoryState):
    """Lets something else happen just before the mark of a withdrawal is looked for, not counting the first ``before``."""

    def __init__(self) -> None:
        super().__init__()
        self.before = 0
        self.then: Callable[[], Awaitable[Any]] | None = None

    async def run(self, *ops: Op) -> Sequence[Any]:
        then = self.then
        if then is not None and any(isinstance(op, Get) and op.key.startswith("withdrawn:") for op in ops):
            self.before -= 1
            if self.before < 0:
                self.before, self.then = 0, None
                await then()
        return await super().run(*ops)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def apis(prepared_stage: Path) -> AsyncIterator[Apis]:
    async with open_apis(prepared_stage, state=Watched()) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def party(prepared_stage: Path) -> AsyncIterator[Party]:
    async with open_party(prepared_stage, state=Watched()) as opened:
        yield opened


async def withdraw(browser: Browser) -> Answer:
    shared = await browser.get("/shared")
    return await browser.press(next(each for each in shared.ids if each.startswith("withdraw-")))


def state_of(opened: Apis | Party) -> Watched:
    state = opened.stage.broker.context.state
    assert isinstance(state, Watched)
    return state


async def remembered(apis: Apis) -> Browser:
    """Maja lets the reader know her name from now on, and her session keeps it in mind."""
    browser = apis.stage.browser()
    await browser.follow(await browser.get(apis.reader.request()))
    await browser.log_in("google", "maja")
    await browser.press("share", ("field", "name"), ("remember", "yes"))
    assert "code" in (await browser.get(apis.reader.request(prompt="none"))).query
    return browser


async def test_a_code_does_not_go_out(apis: Apis) -> None:
    """She withdraws between the look at her session and the code: there is none, and she is asked."""
    browser, state = await remembered(apis), state_of(apis)
    state.then = lambda: withdraw(browser)
    page = await browser.follow(await browser.get(apis.reader.request()))
    assert state.then is None
    assert "share" in page.ids
    assert "code" in (await browser.press("share", ("field", "name"))).query
    assert (await browser.get(apis.reader.request(prompt="none"))).query["error"] == "consent_required"


async def test_a_silent_request_learns_that_she_has_to_be_asked(apis: Apis) -> None:
    """Nobody looks at its page: the partner hears it, and no journey is left behind."""
    browser, state = await remembered(apis), state_of(apis)
    state.then = lambda: withdraw(browser)
    for _ in range(2):
        answer = await browser.get(apis.reader.request(prompt="none"))
        assert state.then is None
        assert (answer.query["error"], "code" in answer.query) == ("consent_required", False)


async def test_a_yes_taken_back_in_another_tab_is_asked_again(apis: Apis) -> None:
    """She said yes on the page, and withdrew it elsewhere before the answer went out: the same page is there again."""
    browser, state = apis.stage.browser(), state_of(apis)
    await browser.follow(await browser.get(apis.reader.request()))
    asked = await browser.log_in("google", "maja")
    other = browser.copy()

    assert "share" in asked.ids
    state.before, state.then = 1, lambda: withdraw(other)  # not while it is written down, but when the answer goes out
    again = await browser.follow(await browser.press("share", ("field", "name"), ("remember", "yes")))
    assert state.then is None
    assert "share" in again.ids
    assert "code" in (await browser.press("share", ("field", "name"))).query


async def shared_anew(browser: Browser, apis: Apis, page: Answer) -> Browser:
    """
    Of two devices of hers: in a second tab of the first she says yes to all, on the other one she takes that back and says yes to
    all again, while the first tab still shows the page on which she has not answered.
    """
    everything, phone = [("field", "name"), ("field", "email"), ("remember", "yes")], apis.stage.browser()
    tab = browser.copy()
    apis.stage.clock.forward(seconds=5)
    await tab.follow(await tab.get(apis.reader.request()))
    assert "code" in (await tab.press("share", *everything)).query
    assert "code" in (await tab.get(apis.reader.request(prompt="none"))).query
    await phone.follow(await phone.get(apis.reader.request()))
    await phone.log_in("google", "maja")
    await withdraw(phone)
    apis.stage.clock.forward(seconds=5)
    await phone.follow(await phone.get(apis.reader.request()))
    assert "code" in (await phone.press("share", *everything)).query
    browser.page = page
    return phone


@pytest.mark.parametrize("is_late", [False, True], ids=["before", "just-then"])
async def test_what_she_left_out_does_not_go_out_by_another_consent(apis: Apis, is_late: bool) -> None:
    """The consent her session keeps in mind was withdrawn and given anew elsewhere; her answer here counts for this answer."""
    laptop, state = apis.stage.browser(), state_of(apis)
    await laptop.follow(await laptop.get(apis.reader.request(prompt="login")))
    page = await laptop.log_in("google", "maja")
    assert "share" in page.ids
    phone = await shared_anew(laptop, apis, page)
    if is_late:

        async def anew() -> None:
            await withdraw(phone)
            apis.stage.clock.forward(seconds=5)
            await phone.follow(await phone.get(apis.reader.request()))
            await phone.press("share", ("field", "name"), ("field", "email"), ("remember", "yes"))

        state.before, state.then = 2, anew
    answer = await laptop.press("share", ("field", "name"))
    assert state.then is None
    told = await apis.token(apis.reader, code=answer.query["code"])
    read = await apis.userinfo(told.json["access_token"])
    claims = parts(read.text)[1]
    assert (claims["name"], "email" in claims) == ("Maja Lind", False)
    await withdraw(phone)


async def test_a_pushed_request_is_not_used_up(apis: Apis) -> None:
    """She is asked in place of an answer: she may reload the page, or go back to it."""
    browser = await remembered(apis)
    other = apis.stage.browser()
    await other.follow(await other.get(apis.reader.request()))
    await other.log_in("google", "maja")
    await withdraw(other)
    pushed = await apis.post("/par", apis.reader, **dict(parse_qsl(urlsplit(apis.reader.request()).query)))
    by_reference = {"client_id": apis.reader.client_id, "request_uri": pushed.json["request_uri"]}
    for _ in range(2):
        page = await browser.follow(await browser.get(f"/authorize?{urlencode(by_reference)}"))
        assert "share" in page.ids
    assert "code" in (await browser.press("share", ("field", "name"))).query
    assert (await browser.get(f"/authorize?{urlencode(by_reference)}")).status == 400


async def test_a_withdrawal_that_got_no_further_than_its_mark_is_no_trap(apis: Apis) -> None:
    """The store failed right behind it, and she did not try again: nothing goes out, and she is asked."""
    browser, context = await remembered(apis), apis.stage.broker.context
    shared = await browser.get("/shared")
    consent = next(each for each in shared.ids if each.startswith("withdraw-")).removeprefix("withdraw-")
    await context.state.run(Put(withdrawn_key(consent), b"1", 600))
    assert "code" not in (await browser.get(apis.reader.request(prompt="none"))).query
    assert (await browser.get(apis.reader.request(prompt="none"))).query["error"] == "consent_required"
    page = await browser.follow(await browser.get(apis.reader.request()))
    assert "share" in page.ids


async def test_an_assertion_does_not_go_out(party: Party) -> None:
    """A SAML response is redeemed nowhere: once it is out, it is out."""
    browser, state = party.stage.browser(), state_of(party)

    async def asks(inside: dict[str, str]) -> Answer:
        return await browser.get(party.clinic.redirect(party.clinic.request(**inside), key=party.clinic.key))

    await browser.follow(await asks({}))
    await browser.log_in("google", "maja")
    await browser.press("share", ("field", "email"), ("remember", "yes"))
    assert party.clinic.receive(await asks({"IsPassive": "true"})).status == "Success"
    state.then = lambda: withdraw(browser)
    for _ in range(2):
        received = party.clinic.receive(await asks({"IsPassive": "true"}))
        assert state.then is None
        assert (received.status, received.second) == ("Responder", "NoPassive")


async def test_a_register_is_not_asked(stage_folder: Path) -> None:
    """She withdraws just before the partner's own register would be asked about her address: it learns nothing of her."""
    edit = {
        "      claims: [name, email, phone_number]": "      claims: [name, email, phone_number, member_number]",
        "      consent: ask\n": "      consent: ask\n    members: {uri: URI, timeout: 1s}\n",
    }
    state = Watched()
    async with (
        open_register() as register,
        open_stage(
            stage_folder, state=state, edit={old: new.replace("URI", register.url) for old, new in edit.items()}
        ) as stage,
    ):
        browser, garage = stage.browser(), stage.garage
        garage.scope = "openid email membership"
        await browser.follow(await browser.get(garage.request()))
        await browser.log_in("google", "maja")
        await garage.exchange(await browser.press("share", ("field", "email"), ("remember", "yes")))
        assert len(register.lookups) == 1
        stage.clock.forward(minutes=16)
        state.then = lambda: withdraw(browser)
        answer = await browser.get(garage.request(prompt="none"))
        assert state.then is None
        assert (answer.query["error"], len(register.lookups)) == ("consent_required", 1)


async def test_a_saml_partner_fetches_nothing_after_half_a_withdrawal(prepared_stage: Path) -> None:
    """No token of its carries the consent, and the database failed before the handoff was revoked."""
    played: list[Failing] = []

    def wrap(records: Records) -> Any:
        played.append(Failing(records))
        return played[0]

    async with open_party(prepared_stage, wrap=wrap) as party:
        browser, stage = party.stage.browser(), party.stage
        subject = (await stage.shop_login(browser))["claims"]["sub"]
        offer = {"partner": "workshop", "purpose": "repair", "type": "tyre-fitting/v1", "subject": subject}
        made = (await stage.shop.call("/handoffs", {**offer, "payload": PAYLOAD, "return_uri": SHOP_RETURN})).json
        await browser.follow(await browser.get(made["link"]))
        await browser.press("share")
        played[0].down = "withdraw_consent"
        assert (await withdraw(browser)).status == 503
        refused = await party.fetch(made["handoff_id"])
        assert (refused.status, refused.json["error"]) == (410, "gone")
