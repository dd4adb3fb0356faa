"""
What each hop asks of the stores: one round trip to the state, and the database only where something durable is new.

A feature that a client does not use costs its customers nothing; the numbers are the contract.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import pytest_asyncio

from broker.stores.memory import MemoryState
from broker.stores.ports import Op, Records
from tests.downstream.apis import Apis, open_apis
from tests.stage import Browser, Partner

pytestmark = pytest.mark.asyncio(loop_scope="module")


class CountingState(MemoryState):
    """Counts round trips."""

    def __init__(self) -> None:
        super().__init__()
        self.trips = 0

    async def run(self, *ops: Op) -> Sequence[Any]:
        self.trips += 1
        return await super().run(*ops)


class CountingRecords:
    """Counts calls by name; what is written beside the login does not hold it up."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if name not in {"close", "ping", "add_audit", "save_profile", "mark_used", "save_contacts"}:
            self.calls[name] += 1
        return getattr(self._records, name)


class Counted:
    """The stage and its counters."""

    def __init__(self, apis: Apis, state: CountingState, records: CountingRecords) -> None:
        self.apis = apis
        self._state = state
        self._records = records

    def __enter__(self) -> "Counted":
        self._trips, self._calls = self._state.trips, Counter(self._records.calls)
        return self

    def __exit__(self, *_: object) -> None:
        self.trips = self._state.trips - self._trips
        self.calls = dict(self._records.calls - self._calls)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def counted(prepared_stage: Path) -> AsyncIterator[Counted]:
    state, kept = CountingState(), []

    def wrap(records: Records) -> Any:
        kept.append(CountingRecords(records))
        return kept[0]

    async with open_apis(prepared_stage, state=state, wrap=wrap) as apis:
        yield Counted(apis, state, kept[0])


async def code_of(partner: Partner, browser: Browser) -> str:
    """A fresh login's code. *browser* keeps the session."""
    await browser.follow(await browser.get(partner.request(scope="openid email")))
    return (await browser.log_in("google", "maja")).query["code"]


@pytest.mark.parametrize("who", ["shop", "plain", "page", "writer", "reader"])
async def test_each_hop_asks_the_state_once(counted: Counted, who: str) -> None:
    """
    SSO looks and answers; token and userinfo ask once; whatever the client is registered for, and whether its customers are
    asked for consent, without the database.
    """
    apis = counted.apis
    partner = apis.stage.shop if who == "shop" else getattr(apis, who)
    browser = apis.stage.browser()
    await browser.follow(await browser.get(partner.request(scope="openid email")))
    await browser.log_in("google", "maja")
    if who == "reader":
        await browser.press("share", ("field", "email"), ("remember", "yes"))
    await browser.get(partner.request(scope="openid email", prompt="none"))  # the session learns of the consent
    with counted:
        answer = await browser.get(partner.request(scope="openid email", prompt="none"))
    # Whether a consent was withdrawn meanwhile is looked up along with the answer.
    assert (counted.trips, counted.calls) == (2, {})
    with counted:
        tokens = await apis.token(partner, code=answer.query["code"])
    assert (tokens.status, counted.trips, counted.calls) == (200, 1, {})
    with counted:
        assert (await apis.userinfo(tokens.json["access_token"])).status == 200
    assert (counted.trips, counted.calls) == (1, {})


async def test_what_nobody_asked_for_is_free(counted: Counted) -> None:
    """A login at a client with no feature costs what it costs at one with all of them: hop by hop the same."""
    apis, costs = counted.apis, []
    for partner in (apis.stage.shop, apis.writer):
        browser, hops = apis.stage.browser(), []
        await code_of(partner, browser)  # what is new about the customer is known from here on
        browser.cookies.clear()
        with counted:
            await browser.follow(await browser.get(partner.request(scope="openid email")))
        hops.append((counted.trips, counted.calls))
        with counted:
            gone = await browser.press("method-google")
        hops.append((counted.trips, counted.calls))
        with counted:
            state = {"state": gone.query["state"], "who": "maja"}
            answer = await browser.get(f"/up/google/callback?{urlencode(state)}")
        assert "code" in answer.query
        hops.append((counted.trips, counted.calls))
        costs.append(hops)
    assert costs[0] == costs[1]


async def test_a_pushed_request_is_kept_and_read_at_once(counted: Counted) -> None:
    """One round trip to push, one to open what was pushed, besides those of any login."""
    apis, shop = counted.apis, counted.apis.stage.shop
    plain = shop.request(scope="openid email")
    with counted:
        pushed = await apis.post("/par", shop, **dict(parse_qsl(urlsplit(plain).query)))
    assert (pushed.status, counted.trips, counted.calls) == (201, 1, {})
    by_reference = urlencode({"client_id": shop.client_id, "request_uri": pushed.json["request_uri"]})
    trips = []
    for address in (plain, f"/authorize?{by_reference}"):
        with counted:
            assert (await apis.stage.browser().get(address)).status == 303
        trips.append(counted.trips)
    assert trips[1] == trips[0] + 1


async def test_a_refresh_reads_and_swaps(counted: Counted) -> None:
    """Two round trips, for a rotating family; fewer scopes or a JWT add none."""
    apis = counted.apis
    for partner in (apis.plain, apis.writer, apis.page):
        tokens = await apis.offline(partner)
        for more in ({}, {"scope": "openid"}):
            with counted:
                answer = await apis.refresh(partner, tokens["refresh_token"], **more)
            assert (answer.status, counted.trips, counted.calls) == (200, 2, {})
            tokens = answer.json


async def test_introspection_asks_once_and_revocation_twice(counted: Counted) -> None:
    """What is not a token of ours asks nothing at all."""
    apis = counted.apis
    tokens = await apis.offline(apis.writer)
    for token, trips in ((tokens["access_token"], 1), (tokens["refresh_token"], 1), ("garbage", 0), ("a.b.c", 0)):
        with counted:
            await apis.introspect(apis.writer, token)
        assert (counted.trips, counted.calls) == (trips, {}), token
    for token, trips in (("garbage", 0), (tokens["access_token"], 2), (tokens["access_token"], 1)):
        with counted:
            await apis.post("/revoke", apis.writer, token=token)
        assert (counted.trips, counted.calls) == (trips, {}), token


async def test_each_hop_of_a_remembered_handoff(counted: Counted) -> None:
    """
    Each looks and then changes what it saw, without the database, and whether her consent was withdrawn is looked up along with
    that; the data is read in one. The garage has JWTs for an API, and its handoff is read as ever.
    """
    stage = counted.apis.stage
    browser = stage.browser()
    subject = (await stage.shop_login(browser))["claims"]["sub"]
    await browser.follow(await browser.get((await stage.offer(subject)).json["link"]))
    await stage.garage.exchange(await stage.arrive(browser, await browser.press("share", ("remember", "yes"))))
    await browser.get((await stage.offer(subject)).json["link"])  # the session learns of the consent
    hops = []
    with counted:
        offer = await stage.offer(subject)
    hops.append((counted.trips, counted.calls))
    with counted:
        started = await browser.get(offer.json["link"])
    hops.append((counted.trips, counted.calls))
    with counted:
        back = await stage.arrive(browser, started)
    hops.append((counted.trips, counted.calls))
    with counted:
        tokens = await stage.garage.exchange(back)
    hops.append((counted.trips, counted.calls))
    with counted:
        read = await stage.garage.read(tokens["authorization_details"][0]["handoff"], tokens["access_token"])
    hops.append((counted.trips, counted.calls))
    assert (read.status, hops) == (200, [(2, {}), (2, {}), (2, {}), (2, {}), (1, {})])
