"""A login whose customer waits on our page: many eyes on it, one hand; and what leaves it half-way."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from broker.core.assurance import Assurance
from broker.core.waiting import Poll
from broker.errors import Stopped, UpstreamDown, UpstreamRefused
from broker.upstream.port import Begun, Done, Pending, Reply, ReplyKind, UpstreamAsk
from tests.journeys.test_refusals import has_a_way_on
from tests.stage import Browser, Clock, PlayedConnector, Stage, open_stage


class PlayedPhone(PlayedConnector):
    """A provider with an app: orders are begun, asked about, and approved when the test says so."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("bankid", Assurance.SUBSTANTIAL, clock)
        self.begun = 0
        self.cancelled: list[bytes] = []
        self.replies: list[ReplyKind] = []
        self.outcome: str | Exception = "pending"
        self.at_once = 0
        self.brought: list[dict[str, str]] = []
        self.slow: asyncio.Event | None = None

    async def begin(self, ask: UpstreamAsk) -> Begun:
        if self.is_down:
            raise UpstreamDown("played to be down")
        self.begun += 1
        self.asks.append(ask)
        return Begun(self._poll("qr"), f"order-{self.begun}".encode())

    async def resume(self, state: bytes, reply: Reply) -> Done | Pending:
        self.at_once += 1
        assert self.at_once == 1, "called twice at once"
        self.resumed += 1
        self.replies.append(reply.kind)
        if reply.kind is ReplyKind.RETURN:
            self.brought.append(dict(reply.data))
        await (self.slow.wait() if self.slow else asyncio.sleep(0))
        self.at_once -= 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome != "pending":
            return Done(self._evidence(self.outcome))
        return Pending(self._poll("working"), state)

    def view(self, state: bytes, now: datetime) -> Poll:
        return self._poll("qr")

    def is_due(self, state: bytes, now: datetime) -> bool:
        return True

    async def cancel(self, state: bytes) -> None:
        self.cancelled.append(state)

    def _poll(self, phase: str) -> Poll:
        return Poll(phase, "bankid.RFA1", "bankid.secret-of-the-code", None, ("cancel",))


@pytest_asyncio.fixture
async def staged(stage_folder: Path) -> AsyncIterator[Stage]:
    """BankID, played with an app."""
    async with open_stage(stage_folder, cast=lambda clock: {"bankid": PlayedPhone(clock)}) as opened:
        yield opened


@pytest.fixture
def phone(staged: Stage) -> PlayedPhone:
    return cast(PlayedPhone, staged.connectors["bankid"])


async def waiting(stage: Stage) -> tuple[Browser, str]:
    """A browser on the waiting page, and the journey's path."""
    browser = stage.browser()
    await browser.follow(await browser.get(stage.shop.request()))
    page = await browser.follow(await browser.press("method-bankid"))
    assert page.status == 200
    return browser, page.url.removeprefix("http://localhost:8700")


async def test_many_who_look_ask_once(staged: Stage, phone: PlayedPhone) -> None:
    """Fifty polls at the same moment: the provider is asked by one at a time, and everybody is answered."""
    browser, path = await waiting(staged)
    phone.resumed = 0
    answers = await asyncio.gather(*(browser.copy().get(f"{path}/poll") for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert {answer.json["phase"] for answer in answers} == {"qr"}


async def test_one_of_many_brings_the_login(staged: Stage, phone: PlayedPhone) -> None:
    """Approved: one poll opens the session, exactly one code goes to the partner."""
    browser, path = await waiting(staged)
    phone.outcome = "maja"
    answers = await asyncio.gather(*(browser.get(f"{path}/poll") for _ in range(20)))
    sessions = {line for answer in answers for line in answer.headers.get_list("set-cookie") if "session=" in line}
    assert len(sessions) == 1
    assert any(answer.json.get("next") == path for answer in answers)
    done = await browser.get(path)
    assert (await staged.shop.exchange(done))["claims"]["acr"].endswith("substantial")
    assert (await browser.get(path)).location == "http://127.0.0.1:8701/"


async def test_the_codes_text_stays_on_the_server(staged: Stage, phone: PlayedPhone) -> None:
    """Only the drawing leaves: neither page nor poll nor image file holds the text."""
    browser, path = await waiting(staged)
    for address in (path, f"{path}/poll", f"{path}/qr"):
        answer = await browser.get(address)
        assert answer.status == 200
        assert "secret-of-the-code" not in answer.text
        assert answer.headers["cache-control"] == "no-store"


async def test_a_reload_keeps_the_order(staged: Stage, phone: PlayedPhone) -> None:
    """Reloading the page begins nothing new."""
    browser, path = await waiting(staged)
    for _ in range(3):
        assert (await browser.get(path)).status == 200
    assert phone.begun == 1
    assert phone.cancelled == []


async def test_another_way_withdraws_the_order(staged: Stage, phone: PlayedPhone) -> None:
    """Cancelled on the page, or chosen anew in another tab: the running order ends at the provider."""
    browser, path = await waiting(staged)
    page = await browser.follow(await browser.press("cancel"))
    assert phone.cancelled == [b"order-1"]
    assert {"method-bankid", "method-google"} <= page.ids
    other = browser.copy()
    await other.get(path)
    await browser.follow(await browser.press("method-bankid"))
    await other.follow(await other.press("method-bankid"))
    assert phone.begun == 3
    assert phone.cancelled == [b"order-1", b"order-2"]
    google = browser.copy()
    google.page = other.page
    token = re.search(r'name="csrf" value="([^"]+)"', (await browser.get(path)).text)
    assert token is not None
    gone = await google.post(f"{path}/choose", {"csrf": token[1], "method": "google"})
    assert gone.location.startswith("https://google.test/")
    assert phone.cancelled[-1] == b"order-3"


@pytest.mark.parametrize(
    "error",
    [
        Stopped("cancelled in the app"),
        UpstreamRefused("no"),
        UpstreamRefused("expired", message_key="bankid.RFA8"),
        UpstreamDown("ill"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_order_that_fails_leads_back_to_the_choice(staged: Stage, phone: PlayedPhone, error: Any) -> None:
    """With a word about why; the other way still works."""
    browser, path = await waiting(staged)
    phone.outcome = error
    assert (await browser.get(f"{path}/poll")).json["next"] == path
    page = await browser.get(path)
    assert {"method-bankid", "method-google", "cancel"} <= page.ids
    assert "code" in (await browser.log_in("google", "maja")).query


async def test_another_browser_sees_and_moves_nothing(staged: Stage, phone: PlayedPhone) -> None:
    """Poll, image, app return and buttons belong to the browser that began."""
    browser, path = await waiting(staged)
    stranger, _ = await waiting(staged)
    phone.outcome = "karl"
    before = phone.resumed
    for other in (staged.browser(), stranger):
        for suffix in ("", "/poll", "/qr", "/return?n=x"):
            answer = await other.get(f"{path}{suffix}")
            assert answer.status in {400, 403}
            assert not [line for line in answer.headers.get_list("set-cookie") if "session=" in line]
    assert phone.resumed == before
    assert "__Host-stafett-session" not in browser.cookies


async def test_an_app_that_comes_back_is_heard_once(staged: Stage, phone: PlayedPhone) -> None:
    """The return address goes to the connector as such; after the login it only leads on."""
    browser, path = await waiting(staged)
    phone.outcome = "maja"
    done = await browser.follow(await browser.get(f"{path}/return?n=nonce"))
    assert "code" in done.query
    assert phone.replies[-1] is ReplyKind.RETURN
    resumed = phone.resumed
    again = await browser.follow(await browser.get(f"{path}/return?n=nonce"))
    assert phone.resumed == resumed
    assert again.location == "http://127.0.0.1:8701/"


@asynccontextmanager
async def while_asked(browser: Browser, path: str, phone: PlayedPhone) -> AsyncIterator[None]:
    """The waiting page's script has asked, and the provider takes its time until the block is over."""
    phone.slow, resumed = asyncio.Event(), phone.resumed
    asking = asyncio.create_task(browser.copy().get(f"{path}/poll"))
    while phone.resumed == resumed:
        await asyncio.sleep(0)
    yield
    phone.slow.set()
    phone.slow = None
    assert (await asking).status == 200


async def test_an_app_that_comes_back_while_the_page_asks_is_heard_too(staged: Stage, phone: PlayedPhone) -> None:
    """The app comes back only once: what it brought is kept for whoever asks next, and given to the provider once."""
    browser, path = await waiting(staged)
    async with while_asked(browser, path, phone):
        assert (await browser.get(f"{path}/return?n=nonce")).location.endswith(path)
    assert phone.brought == []
    assert (await browser.get(f"{path}/poll")).status == 200
    assert phone.brought == [{"n": "nonce"}]
    phone.outcome = "maja"
    assert (await browser.get(f"{path}/poll")).json["next"] == path
    assert phone.brought == [{"n": "nonce"}]


async def test_a_stranger_brings_nothing_while_the_page_asks(staged: Stage, phone: PlayedPhone) -> None:
    """What is kept for later was brought by the browser that began, or is not kept."""
    browser, path = await waiting(staged)
    async with while_asked(browser, path, phone):
        assert (await staged.browser().get(f"{path}/return?n=x")).status == 403
    assert (await browser.get(f"{path}/poll")).status == 200
    assert phone.brought == []


async def test_what_an_app_brought_to_a_login_that_was_given_up_is_forgotten(staged: Stage, phone: PlayedPhone) -> None:
    """The next order at the same provider hears nothing of it."""
    browser, path = await waiting(staged)
    other_tab = browser.copy()
    await other_tab.get(path)
    async with while_asked(browser, path, phone):
        await browser.get(f"{path}/return?n=nonce")
        await other_tab.press("cancel")
    await browser.get(path)
    await browser.follow(await browser.press("method-bankid"))
    assert phone.begun == 2
    assert (await browser.get(f"{path}/poll")).status == 200
    assert phone.brought == []


async def test_an_expired_wait_says_so(staged: Stage, phone: PlayedPhone) -> None:
    """Poll, page and app return after half an hour: nobody asks the provider, a fresh start is offered."""
    browser, path = await waiting(staged)
    phone.outcome = "maja"
    resumed = phone.resumed
    staged.clock.forward(minutes=31)
    assert (await browser.get(f"{path}/poll")).json["next"] == path
    page = await browser.get(path)
    assert page.status == 410
    assert has_a_way_on(page)
    assert phone.resumed == resumed
    assert (await browser.follow(await browser.get(f"{path}/return?n=x"))).status == 410
    assert "__Host-stafett-session" not in browser.cookies


async def test_a_worker_that_died_does_not_hold_the_order(staged: Stage, phone: PlayedPhone) -> None:
    """The right to ask comes back after a while."""
    browser, path = await waiting(staged)
    phone.outcome = RuntimeError("the worker died here")
    assert (await browser.get(f"{path}/poll")).status == 500
    phone.at_once = 0
    phone.outcome = "maja"
    assert (await browser.get(f"{path}/poll")).json["phase"] == "qr"
    staged.clock.now += timedelta(seconds=16)
    assert (await browser.get(f"{path}/poll")).json["next"] == path


async def test_prompt_login_waits_again(staged: Stage, phone: PlayedPhone) -> None:
    """A second login of the same customer is a new order, asked for as fresh."""
    browser, path = await waiting(staged)
    phone.outcome = "maja"
    await browser.get(f"{path}/poll")
    await browser.get(path)
    staged.clock.forward(seconds=5)
    phone.outcome = "pending"
    await browser.follow(await browser.get(staged.shop.request(prompt="login")))
    page = await browser.follow(await browser.press("method-bankid"))
    assert page.status == 200
    assert phone.begun == 2
    assert phone.asks[-1].fresh
