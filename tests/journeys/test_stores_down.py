"""
Redis or the database away in the middle of it: a clear answer in bounded time, nothing half-finished, and it works again.

Redis is a real one: killed (it comes back empty) or paused (it hangs, and remembers). The database is a wrapper that says
what a lost connection makes the real one say.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from broker.errors import StoreDown
from broker.flows.receipts import Receipts
from broker.stores.redis import RedisState
from tests.journeys.test_refusals import has_a_way_on
from tests.servers import RedisServer
from tests.stage import Answer, Browser, Stage, open_stage

BOUND_S = 1.5


@dataclass
class Trouble:
    """A stage on a real Redis that can be taken away."""

    stage: Stage
    server: RedisServer
    kind: str
    _since: float = 0.0

    def begin(self) -> None:
        self._since = time.monotonic()
        if self.kind == "killed":
            self.server.stop()
        else:
            self.server.pause()

    def end(self) -> None:
        """Back again; what happened meanwhile was answered in time."""
        assert time.monotonic() - self._since < BOUND_S * 4
        if self.kind == "killed":
            self.server.start()
        else:
            self.server.resume()

    @property
    def is_forgetful(self) -> bool:
        return self.kind == "killed"


@pytest_asyncio.fixture(params=["killed", "paused"])
async def trouble(
    request: pytest.FixtureRequest, stage_folder: Path, redis_url: str, redis_server: RedisServer
) -> AsyncIterator[Trouble]:
    """A broker with little patience, on a Redis that runs."""
    store = RedisState(redis_url, timeout_s=0.3, connect_timeout_s=0.2)
    async with open_stage(stage_folder, state=store) as stage:
        yield Trouble(stage, redis_server, request.param)
        redis_server.start()
        redis_server.resume()


def is_clear_page(answer: Answer) -> bool:
    """503 with the reference that the log has too, when to come back, and a way on; nobody is logged in or out."""
    assert answer.status == 503, (answer.status, answer.text[:500])
    assert answer.headers["retry-after"]
    assert answer.headers["x-reference"] in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert not answer.headers.get_list("set-cookie")
    return has_a_way_on(answer)


def is_clear_json(answer: Answer) -> bool:
    """503 ``temporarily_unavailable`` with the reference."""
    assert answer.status == 503, (answer.status, answer.text[:500])
    assert answer.headers["retry-after"]
    assert answer.json["reference"] == answer.headers["x-reference"]
    return bool(answer.json["error"] == "temporarily_unavailable")


async def test_at_authorize(trouble: Trouble) -> None:
    """A page with a retry; a silent request is answered at the partner; both work again afterwards."""
    browser = trouble.stage.browser()
    shop = trouble.stage.shop
    trouble.begin()
    page = await browser.get(shop.request())
    assert is_clear_page(page)
    assert 'id="retry"' in page.text
    silent = await trouble.stage.browser().get(shop.request(prompt="none"))
    trouble.end()
    assert silent.query.get("error") in {"login_required", "temporarily_unavailable"}
    assert silent.query["state"] == shop.state
    assert (await trouble.stage.shop_login(browser))["claims"]["sub"]


async def test_at_authorize_with_a_session(trouble: Trouble) -> None:
    """SSO: no answer is better than a wrong one; a session is not mistaken for none."""
    browser = trouble.stage.browser()
    await trouble.stage.shop_login(browser)
    trouble.begin()
    silent = await browser.get(trouble.stage.shop.request(prompt="none"))
    page = await browser.get(trouble.stage.shop.request())
    trouble.end()
    assert silent.query["error"] == "temporarily_unavailable"
    assert is_clear_page(page)
    again = await browser.get(trouble.stage.shop.request(prompt="none"))
    assert again.query.get("error", "none") == ("login_required" if trouble.is_forgetful else "none")


async def test_at_the_choice(trouble: Trouble) -> None:
    """The form fails with a link back to its page, from where it can be sent again."""
    browser = trouble.stage.browser()
    await browser.follow(await browser.get(trouble.stage.shop.request()))
    form = browser.page
    trouble.begin()
    page = await browser.press("method-bankid")
    trouble.end()
    assert is_clear_page(page)
    assert form is not None
    assert form.url.removeprefix("http://localhost:8700") in page.text
    browser.page = form
    again = await browser.follow(await browser.press("method-bankid"))
    assert again.status == (410 if trouble.is_forgetful else 200)
    assert has_a_way_on(again)


async def test_at_the_callback(trouble: Trouble) -> None:
    """She logged in at the provider and we cannot know her: no session, no code; she can go on or start again."""
    browser = trouble.stage.browser()
    await browser.follow(await browser.get(trouble.stage.shop.request()))
    gone = await browser.press("method-bankid")
    callback = f"/up/bankid/callback?state={gone.query['state']}&who=maja"
    trouble.begin()
    page = await browser.get(callback)
    trouble.end()
    assert is_clear_page(page)
    assert trouble.stage.connectors["bankid"].resumed == 0
    again = await browser.follow(await browser.get(callback))
    if trouble.is_forgetful:
        assert again.status == 410
        assert has_a_way_on(again)
    elif "code" not in again.query:
        assert "code" in (await browser.log_in("bankid", "maja")).query


async def test_at_the_link(trouble: Trouble) -> None:
    """A page with a retry; nothing was opened."""
    browser = trouble.stage.browser()
    at_shop = await trouble.stage.shop_login(browser)
    link = (await trouble.stage.offer(at_shop["claims"]["sub"])).json["link"]
    trouble.begin()
    page = await browser.get(link)
    trouble.end()
    assert is_clear_page(page)
    again = await browser.follow(await browser.get(link))
    assert again.status == 410 if trouble.is_forgetful else "share" in again.ids


async def test_at_the_consent(trouble: Trouble) -> None:
    """Nothing is shared and no consent is on record; pressed again it is, once."""
    browser = trouble.stage.browser()
    at_shop = await trouble.stage.shop_login(browser)
    link = (await trouble.stage.offer(at_shop["claims"]["sub"])).json["link"]
    await browser.follow(await browser.get(link))
    form = browser.page
    trouble.begin()
    page = await browser.press("share")
    trouble.end()
    assert is_clear_page(page)
    customer = await trouble.stage.records.customer_of_subject("tyre-shop", at_shop["claims"]["sub"])
    assert customer is not None
    now = trouble.stage.clock.now
    assert not await trouble.stage.records.live_consents(customer, now)
    browser.page = form
    again = await browser.follow(await browser.press("share"))
    if trouble.is_forgetful:
        assert again.status == 410
        return
    await trouble.stage.garage.exchange(await trouble.stage.arrive(browser, again))
    assert len(await trouble.stage.records.live_consents(customer, now)) == 1
    await trouble.stage.broker.context.audit.flush()
    assert len(await trouble.stage.records.transfers_of(customer, 9)) == 1


async def test_at_the_token(trouble: Trouble) -> None:
    """503 and no token; afterwards the code gives tokens or is spent, never both."""
    browser = trouble.stage.browser()
    await trouble.stage.shop_login(browser)
    code = (await browser.get(trouble.stage.shop.request(prompt="none"))).query["code"]
    trouble.begin()
    refused = await trouble.stage.shop.token(code)
    trouble.end()
    assert is_clear_json(refused)
    again = [(await trouble.stage.shop.token(code)).status for _ in range(2)]
    assert again in ([200, 400], [400, 400])
    if not trouble.is_forgetful:
        assert "code" in (await browser.get(trouble.stage.shop.request(prompt="none"))).query


async def test_while_a_handoff_is_redeemed(trouble: Trouble) -> None:
    """The garage hears 503; the customer's link still leads somewhere: to the garage again, or to its front page."""
    browser = trouble.stage.browser()
    at_shop = await trouble.stage.shop_login(browser)
    link = (await trouble.stage.offer(at_shop["claims"]["sub"])).json["link"]
    await browser.follow(await browser.get(link))
    arrived = await trouble.stage.arrive(browser, await browser.press("share"))
    trouble.begin()
    refused = await trouble.stage.garage.token(arrived.query["code"])
    trouble.end()
    assert is_clear_json(refused)
    if trouble.is_forgetful:
        return
    again = await browser.get(link)
    tokens = await trouble.stage.garage.exchange(await trouble.stage.arrive(browser, again))
    data = await trouble.stage.garage.read(tokens["claims"]["handoff"]["id"], tokens["access_token"])
    assert data.json["claims"]["vehicle"]["registration_number"] == "ABC 12D"


async def test_at_everything_a_partners_server_calls(trouble: Trouble) -> None:
    """userinfo, creating, status, guest references: 503 each, and nothing is created or used up."""
    stage, browser = trouble.stage, trouble.stage.browser()
    at_shop = await stage.shop_login(browser)
    created = await stage.offer(at_shop["claims"]["sub"], headers={"Idempotency-Key": "before"})
    await browser.follow(await browser.get(created.json["link"]))
    reference = (await browser.press("continue-guest")).query["ref"]
    handoff = created.json["handoff_id"]
    calls: list[Callable[[], Awaitable[Answer]]] = [
        lambda: stage.shop.userinfo(at_shop["access_token"]),
        lambda: stage.offer(at_shop["claims"]["sub"], headers={"Idempotency-Key": "during"}),
        lambda: _status(stage, handoff),
        lambda: stage.garage.call("/handoffs/guest", {"ref": reference}),
    ]
    trouble.begin()
    answers = [await call() for call in calls]
    trouble.end()
    assert all(is_clear_json(answer) for answer in answers)
    if trouble.is_forgetful:
        assert (await calls[0]()).status == 401
        assert (await calls[1]()).status == 201
        return
    assert (await calls[0]()).status == 200
    assert (await calls[1]()).status in {200, 201}
    assert (await calls[2]()).status == 200
    assert (await calls[3]()).status in {200, 400}


async def _status(stage: Stage, handoff: str) -> Answer:
    return Answer(await stage.client.get(f"/handoffs/{handoff}/status", auth=stage.shop.auth))


async def test_at_leaving_and_looking(trouble: Trouble) -> None:
    """Own pages and logout: a clear page; nobody is told "logged out" who is not."""
    browser = trouble.stage.browser()
    at_shop = await trouble.stage.shop_login(browser)
    await browser.get("/logout/confirm")
    confirm = browser.page
    trouble.begin()
    pages = [
        await browser.press("log-out"),
        await browser.get("/shared"),
        await browser.get(f"/logout?id_token_hint={at_shop['id_token']}"),
    ]
    trouble.end()
    assert all(is_clear_page(page) for page in pages)
    assert "__Host-stafett-session" in browser.cookies
    browser.page = confirm
    assert urlsplit((await browser.press("log-out")).location).path == "/logged-out"


async def test_the_probes_tell(trouble: Trouble) -> None:
    """Alive all the time, ready only with Redis; what needs no state goes on."""
    client = trouble.stage.client
    assert (await client.get("/readyz")).status_code == 200
    trouble.begin()
    ready = await client.get("/readyz")
    alive = await client.get("/healthz")
    discovery = await client.get("/.well-known/openid-configuration")
    keys = await client.get("/jwks")
    trouble.end()
    assert (ready.status_code, ready.json()["checks"]) == (503, {"state": "down", "records": "ok"})
    assert [alive.status_code, discovery.status_code, keys.status_code] == [200, 200, 200]
    assert (await client.get("/readyz")).status_code == 200


class Records:
    """Records that can be taken away: every call then fails as with a lost connection."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.down: set[str] = set()
        self.is_down = False

    def __getattr__(self, name: str) -> Any:
        if self.is_down or name in self.down:

            async def lost(*_: Any, **__: Any) -> None:
                raise StoreDown("records played to be away")

            return lost
        return getattr(self._real, name)


@pytest_asyncio.fixture
async def taken(stage_folder: Path) -> AsyncIterator[tuple[Stage, Records]]:
    """A stage whose database can be taken away."""
    kept: list[Records] = []

    def wrap(real: Any) -> Any:
        kept.append(Records(real))
        return kept[0]

    async with open_stage(stage_folder, wrap=wrap) as stage:
        yield stage, kept[0]
        kept[0].is_down = False


async def _consenting(stage: Stage) -> tuple[Browser, str, Answer]:
    browser = stage.browser()
    at_shop = await stage.shop_login(browser)
    created = await stage.offer(at_shop["claims"]["sub"])
    page = await browser.follow(await browser.get(created.json["link"]))
    return browser, at_shop["claims"]["sub"], page


async def test_the_database_away_at_a_login(taken: tuple[Stage, Records]) -> None:
    """A first or second login cannot be finished: 503, no session; tried again it is."""
    stage, records = taken
    browser = stage.browser()
    await browser.follow(await browser.get(stage.shop.request()))
    gone = await browser.press("method-bankid")
    callback = f"/up/bankid/callback?state={gone.query['state']}&who=maja"
    records.is_down = True
    assert is_clear_page(await browser.get(callback))
    records.is_down = False
    page = await browser.follow(await browser.get(callback))
    assert "method-bankid" in page.ids
    assert "code" in (await browser.log_in("bankid", "maja")).query


async def test_the_database_away_does_not_stop_sso(taken: tuple[Stage, Records]) -> None:
    """A customer whom the session already knows logs in again; tokens and userinfo need no database either."""
    stage, records = taken
    browser = stage.browser()
    await stage.shop_login(browser)
    records.is_down = True
    answer = await browser.get(stage.shop.request(prompt="none"))
    tokens = await stage.shop.exchange(answer)
    assert (await stage.shop.userinfo(tokens["access_token"])).status == 200


@pytest.mark.parametrize("method", ["add_consent", "live_consents"])
async def test_the_database_away_at_the_consent(taken: tuple[Stage, Records], method: str) -> None:
    """Nothing goes to the garage before it is on record; pressed again, everything is there once."""
    stage, records = taken
    browser, sub, form = await _consenting(stage)
    records.down = {method}
    page = await browser.press("share")
    assert is_clear_page(page)
    records.down = set()
    browser.page = form
    tokens = await stage.garage.exchange(await stage.arrive(browser, await browser.press("share")))
    customer = await stage.records.customer_of_subject("tyre-shop", sub)
    assert customer is not None
    assert len(await stage.records.live_consents(customer, stage.clock.now)) == 1
    await stage.broker.context.audit.flush()
    transfers = await stage.records.transfers_of(customer, 9)
    assert [each.id for each in transfers] == [tokens["claims"]["handoff"]["id"]]
    assert "customer.name" in transfers[0].fields


async def test_the_database_away_while_receipts_are_due(taken: tuple[Stage, Records]) -> None:
    """What she agreed to goes on, and its receipt is written when the database is back: also by another process."""
    stage, records = taken
    browser, sub, _ = await _consenting(stage)
    records.down = {"save_transfers"}
    tokens = await stage.garage.exchange(await stage.arrive(browser, await browser.press("share")))
    handoff = tokens["claims"]["handoff"]["id"]
    with pytest.raises(StoreDown):
        await stage.broker.context.audit.flush()
    assert is_clear_page(await browser.get("/shared"))
    customer = await stage.records.customer_of_subject("tyre-shop", sub)
    assert customer is not None
    assert not await stage.records.transfers_of(customer, 9)
    records.down = set()
    for _ in range(2):
        await Receipts(stage.broker.context).write_all()
    (transfer,) = await stage.records.transfers_of(customer, 9)
    assert (transfer.id, transfer.state, "customer.name" in transfer.fields) == (handoff, "redeemed", True)
    await stage.broker.context.audit.flush()
    assert list(await stage.records.transfers_of(customer, 9)) == [transfer]


async def test_receipts_that_are_due_for_long_do_not_fill_the_memory(taken: tuple[Stage, Records]) -> None:
    """However long the database is away and whatever else fails then: some wait here, the rest is found by the entries."""
    stage, records = taken
    context = stage.broker.context
    browser, sub, _ = await _consenting(stage)
    receipts = Receipts(context, most=1)
    records.down = {"save_transfers"}
    await stage.garage.exchange(await stage.arrive(browser, await browser.press("share", ("remember", "yes"))))
    for _ in range(3):
        started = await browser.get((await stage.offer(sub)).json["link"])
        tokens = await stage.garage.exchange(await stage.arrive(browser, started))
        handoff = tokens["claims"]["handoff"]["id"]
        (raw,) = await stage.state.run(context.shelves.handoffs.get(handoff))
        held = context.shelves.handoffs.read(handoff, raw)
        assert held is not None
        receipts.follow(held.value)
    for _ in range(2):
        with pytest.raises(StoreDown):
            await receipts.write()
    records.down = set()
    await receipts.write()
    customer = await stage.records.customer_of_subject("tyre-shop", sub)
    assert customer is not None
    assert len(await stage.records.transfers_of(customer, 9)) == 4


@pytest.mark.parametrize("method", ["get_consent", "withdraw_consent", "transfers_of", "revoke_transfers"])
async def test_the_database_away_at_withdrawing(taken: tuple[Stage, Records], method: str) -> None:
    """Not said to be withdrawn unless it is; pressed again, it is, and the data is gone from the records."""
    stage, records = taken
    browser, sub, _ = await _consenting(stage)
    tokens = await stage.garage.exchange(await stage.arrive(browser, await browser.press("share")))
    await stage.broker.context.audit.flush()
    shared = await browser.get("/shared")
    button = next(each for each in shared.ids if each.startswith("withdraw-"))
    kept = browser.page
    records.down = {method}
    assert is_clear_page(await browser.press(button))
    records.down = set()
    browser.page = kept
    again = await browser.press(button)
    assert again.status in {303, 410}
    assert (await stage.garage.read(tokens["claims"]["handoff"]["id"], tokens["access_token"])).status == 410
    customer = await stage.records.customer_of_subject("tyre-shop", sub)
    assert customer is not None
    assert not await stage.records.live_consents(customer, stage.clock.now)
    transfer = (await stage.records.transfers_of(customer, 9))[0]
    assert (transfer.state, transfer.payload) == ("revoked", None)


async def test_the_database_away_at_creating_and_acknowledging(taken: tuple[Stage, Records]) -> None:
    """
    Whom the shop hands over lately logged in there: that needs no database. Of anybody else it hears 503, and the repeat with
    the same key goes through. What the garage says is kept at once, and written when the database is back.
    """
    stage, records = taken
    browser, sub, _ = await _consenting(stage)
    tokens = await stage.garage.exchange(await stage.arrive(browser, await browser.press("share")))
    handoff, body = tokens["claims"]["handoff"]["id"], {"result": "booked"}
    records.is_down = True
    assert (await stage.offer(sub, headers={"Idempotency-Key": "k"})).status == 201
    assert is_clear_json(await stage.offer("s" * 22, headers={"Idempotency-Key": "other"}))
    assert (await stage.garage.acknowledge(handoff, tokens["access_token"], body)).status == 200
    records.is_down = False
    assert (await stage.offer(sub, headers={"Idempotency-Key": "k"})).status == 200
    assert (await stage.offer("s" * 22, headers={"Idempotency-Key": "other"})).status == 400
    await stage.broker.context.audit.flush()
    customer = await stage.records.customer_of_subject("tyre-shop", sub)
    assert customer is not None
    assert [each.result for each in await stage.records.transfers_of(customer, 9)] == ["booked"]
    ready = await stage.client.get("/readyz")
    assert ready.status_code == 200
