"""The operator changes the trust config while customers are on their way: what counts is what holds now."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from broker.stores.redis import RedisState
from tests.journeys.test_refusals import has_a_way_on
from tests.stage import WAYS_IN, Browser, Stage, open_stage

Restart = Callable[[dict[str, str]], AbstractAsyncContextManager[Stage]]

KILLED = {"    enabled: true": "    enabled: false"}
ONE_MORE_FIELD = {
    "        - customer.phone\n": "",
    "        - order.reference\n": "        - order.reference\n        - customer.phone\n",
}
NO_GARAGE_LOGIN = {"      claims: [name, email, phone_number]": "      claims: [name]"}


@pytest.fixture
def restart(stage_folder: Path, redis_url: str) -> Restart:
    """The broker again with an edited config: same database, same Redis, same keys."""

    @asynccontextmanager
    async def again(edit: dict[str, str]) -> AsyncIterator[Stage]:
        async with open_stage(stage_folder, state=RedisState(redis_url), edit=edit) as stage:
            yield stage

    return again


def moved(browser: Browser, stage: Stage) -> Browser:
    """The same browser, page and all, at the restarted broker."""
    there = stage.browser()
    there.cookies, there.page = browser.cookies, browser.page
    return there


async def at_consent(stage: Stage) -> tuple[Browser, str, str]:
    browser = stage.browser()
    at_shop = await stage.shop_login(browser)
    link = (await stage.offer(at_shop["claims"]["sub"])).json["link"]
    page = await browser.follow(await browser.get(link))
    assert "share" in page.ids
    return browser, link, at_shop["claims"]["sub"]


async def test_a_killed_agreement_stops_everything_at_once(restart: Restart) -> None:
    """enabled: false: no new handoffs, open links say so, pages share nothing, data already handed over is not read any more."""
    async with restart({}) as stage:
        browser, link, sub = await at_consent(stage)
        other, second, _ = await at_consent(stage)
        tokens = await stage.garage.exchange(await stage.arrive(other, await other.press("share")))
        third, _, _ = await at_consent(stage)
        underway = await third.press("share")
    async with restart(KILLED) as stage:
        assert (await stage.offer(sub)).status == 403
        browser = moved(browser, stage)
        page = await browser.follow(await browser.press("share"))
        assert "login_hint" not in page.query
        assert {"back-to-shop"} <= page.ids
        assert "ABC 12D" not in page.text
        assert {"back-to-shop"} <= (await browser.follow(await browser.get(link))).ids
        handoff = tokens["claims"]["handoff"]["id"]
        assert (await stage.garage.read(handoff, tokens["access_token"])).status == 410
        third = moved(third, stage)
        arrived = await third.follow(
            await third.get(stage.garage.request(login_hint=underway.query["login_hint"], prompt="none"))
        )
        assert arrived.query["error"] == "consent_required"
        assert second != link


async def test_an_answer_to_the_old_terms_is_asked_again(restart: Restart) -> None:
    """A field became required while she read: what she agreed to is not what is due, so nothing is shared yet."""
    async with restart({}) as stage:
        browser, _, _ = await at_consent(stage)
    async with restart(ONE_MORE_FIELD) as stage:
        browser = moved(browser, stage)
        page = await browser.follow(await browser.press("share"))
        assert "login_hint" not in page.query
        assert "share" in page.ids
        started = await browser.press("share")
        tokens = await stage.garage.exchange(await stage.arrive(browser, started))
        data = await stage.garage.read(tokens["claims"]["handoff"]["id"], tokens["access_token"])
        assert data.json["claims"]["customer"]["phone"] == "+46701234567"


async def test_a_remembered_yes_does_not_cover_more(restart: Restart) -> None:
    """Required now and refused then: asked again."""
    async with restart({}) as stage:
        browser, _, sub = await at_consent(stage)
        await browser.press("share", ("remember", "yes"))
    async with restart(ONE_MORE_FIELD) as stage:
        browser = moved(browser, stage)
        link = (await stage.offer(sub)).json["link"]
        assert "share" in (await browser.follow(await browser.get(link))).ids


async def test_less_than_remembered_needs_no_new_question(restart: Restart) -> None:
    """The operator lets the garage have less: the remembered consent covers it, and only the less goes out."""
    async with restart({}) as stage:
        browser = stage.browser()
        await stage.shop_login(browser, "google")
        await browser.follow(await browser.get(stage.garage.request()))
        await browser.press("share", ("field", "name"), ("field", "email"), ("remember", "yes"))
        first = await stage.garage.exchange(await browser.get(stage.garage.request(prompt="none")))
        assert "email" in (await stage.garage.userinfo(first["access_token"])).json
    async with restart(NO_GARAGE_LOGIN) as stage:
        browser = moved(browser, stage)
        tokens = await stage.garage.exchange(await browser.get(stage.garage.request(prompt="none")))
        assert set((await stage.garage.userinfo(tokens["access_token"])).json) == {"sub", "name"}


async def test_an_address_taken_off_the_list_gets_no_answer(restart: Restart) -> None:
    """A redirect URI removed (it leaked, say) is not used by logins that began before."""
    async with restart({}) as stage:
        browser = stage.browser()
        await browser.follow(await browser.get(stage.shop.request()))
        gone = await browser.press("method-bankid")
    async with restart(
        {"        - http://127.0.0.1:8701/login/callback": "        - http://127.0.0.1:8701/other"}
    ) as stage:
        browser = moved(browser, stage)
        answer = await browser.follow(await browser.get(f"/up/bankid/callback?state={gone.query['state']}&who=maja"))
        assert not answer.location.startswith("http://127.0.0.1:8701/login/callback")
        assert answer.status == 403
        assert has_a_way_on(answer)
        assert not re.search(r"code=", answer.location)


async def test_a_provider_taken_away_is_not_offered_any_more(restart: Restart) -> None:
    """Chosen on the old page: refused with a way on; a session from there does not serve any more."""
    less = {f"      {WAYS_IN}": "      upstreams: [bankid]"}
    async with restart({}) as stage:
        browser = stage.browser()
        await browser.follow(await browser.get(stage.shop.request()))
        logged_in = stage.browser()
        await stage.shop_login(logged_in, "google")
    async with restart(less) as stage:
        browser, logged_in = moved(browser, stage), moved(logged_in, stage)
        refused = await browser.press("method-google")
        assert refused.status == 400
        assert has_a_way_on(refused)
        silent = await logged_in.get(stage.shop.request(prompt="none"))
        assert silent.query["error"] == "login_required"
