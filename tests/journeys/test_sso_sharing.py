"""Who may reuse whose login: one-directional, decided in one place, with a reason."""

from pathlib import Path

import pytest

from tests.downstream.receiver import open_village
from tests.stage import Browser, Partner


async def reuses(browser: Browser, partner: Partner) -> bool:
    """Whether *partner* takes the running session without another login."""
    return "code" in (await browser.get(partner.request(prompt="none"))).query


@pytest.mark.parametrize(
    ("sso", "bakery_by_dairy", "bakery_by_kiosk"),
    [
        ("{reuse_from: all}", True, True),
        ("{reuse_from: none}", False, False),
        ("{reuse_from: [dairy]}", True, False),
        ("{reuse_from: [kiosk, tyre-shop]}", False, True),
    ],
)
async def test_the_bakery_takes_only_the_logins_it_may(
    stage_folder: Path, sso: str, bakery_by_dairy: bool, bakery_by_kiosk: bool
) -> None:
    """Its own login serves it and everybody else in any case: the rule has one direction."""
    async with open_village(stage_folder, sso={"bakery": sso}) as village:
        for partner, expected in ((village.dairy, bakery_by_dairy), (village.kiosk, bakery_by_kiosk)):
            browser = village.stage.browser()
            await village.log_in(browser, partner)
            assert await reuses(browser, village.bakery) is expected
        own = village.stage.browser()
        await village.log_in(own, village.bakery)
        assert await reuses(own, village.bakery)
        assert await reuses(own, village.dairy)


async def test_she_logs_in_once_more_and_then_it_is_hers(stage_folder: Path) -> None:
    """The new login is the bakery's: it serves the bakery. What the provider makes of its own session is its business."""
    async with open_village(stage_folder, sso={"bakery": "{reuse_from: none}"}) as village:
        browser = village.stage.browser()
        await village.log_in(browser, village.dairy)
        village.stage.clock.forward(minutes=5)
        await browser.follow(await browser.get(village.bakery.request()))
        answer = await browser.log_in("bankid", "maja")
        assert "code" in answer.query
        assert not village.stage.connectors["bankid"].asks[-1].fresh
        assert await reuses(browser, village.bakery)


async def test_a_login_on_our_own_pages_counts_only_for_everybody(stage_folder: Path) -> None:
    """It was made for no partner, so a partner that names some does not mean it."""
    async with open_village(stage_folder, sso={"bakery": "{reuse_from: [dairy]}"}) as village:
        browser = village.stage.browser()
        await browser.follow(await browser.get("/shared/log-in"))
        await browser.log_in("bankid", "maja")
        assert not await reuses(browser, village.bakery)
        assert await reuses(browser, village.dairy)


async def test_a_session_may_be_too_old_for_one_partner(stage_folder: Path) -> None:
    """``max_session_age`` to the minute, for the bakery only; using the session does not make it younger."""
    async with open_village(stage_folder, sso={"bakery": "{max_session_age: 60m}"}) as village:
        browser = village.stage.browser()
        await village.log_in(browser, village.dairy)
        village.stage.clock.forward(minutes=59)
        assert await reuses(browser, village.bakery)
        village.stage.clock.forward(minutes=2)
        assert not await reuses(browser, village.bakery)
        assert await reuses(browser, village.dairy)
        await browser.follow(await browser.get(village.bakery.request()))
        assert "code" in (await browser.log_in("bankid", "maja")).query
        assert await reuses(browser, village.bakery)


async def test_sessions_end_by_themselves(stage_folder: Path) -> None:
    """Idle for eight hours, or a day old however busy: the defaults, for everybody."""
    async with open_village(stage_folder) as village:
        idle, busy = village.stage.browser(), village.stage.browser()
        await village.log_in(idle, village.bakery)
        await village.log_in(busy, village.bakery)
        for _ in range(23):
            village.stage.clock.forward(hours=1)
            assert await reuses(busy, village.dairy)
        assert not await reuses(idle, village.dairy)
        village.stage.clock.forward(hours=1)
        assert not await reuses(busy, village.dairy)
