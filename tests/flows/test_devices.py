"""What a browser is remembered by: which ways were used in it. Never who used them, unless the operator wants a hint shown."""

import re
from pathlib import Path

import pytest

from broker.core.naming import name_of
from broker.stores.ports import Get, Put
from tests.stage import Browser, Stage, open_stage

DEVICE = "__Host-stafett-device"
SESSION = "__Host-stafett-session"

#: BankID costs, so that it stands behind Google unless it is the only one that was used here.
ORDER = re.compile(r'id="method-([a-z]+)"')


async def logged_in(stage: Stage, *methods: str, browser: Browser | None = None) -> Browser:
    """A browser in which somebody logged in by each of *methods*, and left each time."""
    used = browser or stage.browser()
    for method in methods:
        await used.follow(await used.get(stage.shop.request()))
        await stage.shop.exchange(await used.log_in(method, "maja"))
        used.cookies.pop(SESSION)
        stage.clock.forward(minutes=1)
    return used


async def offered(stage: Stage, browser: Browser) -> list[str]:
    """The ways the choice page offers, in order."""
    page = await browser.follow(await browser.get(stage.shop.request()))
    return ORDER.findall(page.text)


async def test_nobody_is_remembered_before_a_login(staged: Stage) -> None:
    """A visit sets no such cookie, a login that fails neither."""
    browser = staged.browser()
    assert await offered(staged, browser) == ["google", "bankid"]
    await browser.log_in("google", "maja")
    gone = staged.browser()
    await offered(staged, gone)
    pressed = await gone.press("method-google")
    await gone.follow(await gone.get(f"/up/google/callback?state={pressed.query['state']}&error=access_denied"))
    assert DEVICE in browser.cookies
    assert DEVICE not in gone.cookies


async def test_the_only_way_used_here_comes_first_and_only_here(staged: Stage) -> None:
    """Two browsers of one customer know nothing of each other; the cheaper way stays in sight."""
    home, work = await logged_in(staged, "bankid"), await logged_in(staged, "google")
    assert await offered(staged, home) == ["bankid", "google"]
    assert await offered(staged, work) == ["google", "bankid"]
    assert await offered(staged, staged.browser()) == ["google", "bankid"]


async def test_of_two_ways_used_here_the_cheaper_one_comes_first(staged: Stage) -> None:
    """That the costlier one was used last moves nothing, but it is marked."""
    browser = await logged_in(staged, "google", "bankid")
    assert await offered(staged, browser) == ["google", "bankid"]
    assert browser.page is not None
    assert browser.page.text.count('class="badge"') == 1
    assert browser.page.text.index("method-bankid") < browser.page.text.index('class="badge"')


async def test_the_cookie_says_nothing_and_lives_long(staged: Stage) -> None:
    """256 random bits for half a year, prolonged by each login; nothing of the customer on the page."""
    browser = await logged_in(staged, "bankid")
    first = browser.cookies[DEVICE]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", first)
    await offered(staged, browser)
    assert browser.page is not None
    assert "Maja" not in browser.page.text
    assert "maja" not in browser.page.text
    gone = await browser.press("method-bankid")
    done = await browser.get(f"/up/bankid/callback?state={gone.query['state']}&who=maja")
    (line,) = [line for line in done.headers.get_list("set-cookie") if line.startswith(DEVICE)]
    assert line.startswith(f"{DEVICE}={first};")
    assert f"Max-Age={180 * 24 * 3600}" in line


@pytest.mark.parametrize("value", ["x" * 43, "short", "ä" * 30, "../../etc", "A" * 500])
async def test_a_cookie_of_somebodys_making_is_not_taken_over(staged: Stage, value: str) -> None:
    """It shows nothing, breaks nothing, and the next login makes its own: whoever planted it never sees what is used here."""
    browser = staged.browser()
    if value.isascii():
        browser.cookies[DEVICE] = value
    assert await offered(staged, browser) == ["google", "bankid"]
    await browser.log_in("bankid", "maja")
    assert browser.cookies[DEVICE] != value


async def test_a_cookie_carried_to_another_browser_tells_which_way_and_no_more(staged: Stage) -> None:
    """Whoever copies it learns the name of a method; it logs nobody in."""
    browser = await logged_in(staged, "bankid")
    thief = staged.browser()
    thief.cookies[DEVICE] = browser.cookies[DEVICE]
    assert await offered(staged, thief) == ["bankid", "google"]
    assert thief.page is not None
    assert "aja" not in thief.page.text
    assert SESSION not in thief.cookies


async def test_what_was_changed_or_lost_in_the_store_is_as_if_it_never_was(staged: Stage) -> None:
    """A record that does not open counts for nothing; the next login begins a new one under a new name."""
    browser = await logged_in(staged, "bankid")
    before = browser.cookies[DEVICE]
    key = f"device:{name_of(before)}"
    (kept,) = await staged.state.run(Get(key))
    assert kept is not None
    await staged.state.run(Put(key, kept[:-1] + bytes([kept[-1] ^ 1]), 3600))
    assert await offered(staged, browser) == ["google", "bankid"]
    await browser.log_in("google", "maja")
    assert browser.cookies[DEVICE] != before


async def test_it_is_over_after_its_time(staged: Stage) -> None:
    """Half a year without a login, and a way that was not used for so long although others were."""
    browser = await logged_in(staged, "bankid")
    staged.clock.forward(days=100)
    await logged_in(staged, "google", browser=browser)
    staged.clock.forward(days=100)
    await offered(staged, browser)
    assert browser.page is not None
    badge = browser.page.text.index('class="badge"')
    assert browser.page.text.index("method-google") < badge < browser.page.text.index("method-bankid")
    staged.clock.forward(days=81)
    await offered(staged, browser)
    assert browser.page is not None
    assert 'class="badge"' not in browser.page.text


async def test_she_can_have_it_forgotten_where_she_chooses(staged: Stage) -> None:
    """Record and cookie go; nothing else does."""
    browser = await logged_in(staged, "bankid")
    cookie = browser.cookies[DEVICE]
    await offered(staged, browser)
    page = await browser.follow(await browser.press("forget-device"))
    assert ORDER.findall(page.text) == ["google", "bankid"]
    assert "forget-device" not in page.ids
    assert DEVICE not in browser.cookies
    browser.cookies[DEVICE] = cookie
    assert await offered(staged, browser) == ["google", "bankid"]


async def test_she_can_have_it_forgotten_on_her_own_page(staged: Stage) -> None:
    """By a form of that page only; she stays logged in."""
    browser = staged.browser()
    await browser.follow(await browser.get("/shared/log-in"))
    await browser.log_in("bankid", "maja")
    cookie = browser.cookies[DEVICE]
    refused = await browser.post("/shared/forget-device", {"csrf": "invented"})
    assert refused.status == 403
    assert browser.cookies[DEVICE] == cookie
    page = await browser.get("/shared")
    assert "forget-device" in page.ids
    page = await browser.follow(await browser.press("forget-device"))
    assert DEVICE not in browser.cookies
    assert SESSION in browser.cookies
    assert "forget-device" not in page.ids


async def test_a_hint_is_shown_only_where_the_operator_wants_it(staged: Stage) -> None:
    """Masked so that its owner knows it; without the setting it is not even kept."""
    plain = await logged_in(staged, "google")
    await offered(staged, plain)
    assert plain.page is not None
    assert "m•••@" not in plain.page.text


async def test_the_hint_is_masked(stage_folder: Path) -> None:
    """The operator turned it on."""
    edit = {"  retention:\n": "  device_memory: {show_hint: true}\n  retention:\n"}
    async with open_stage(stage_folder, edit=edit) as stage:
        browser = await logged_in(stage, "google")
        await offered(stage, browser)
        assert browser.page is not None
        assert "m•••@example.com" in browser.page.text
        assert "maja@example.com" not in browser.page.text


async def test_an_operator_may_do_without(stage_folder: Path) -> None:
    """No cookie, and one from before is not looked at."""
    edit = {"  retention:\n": "  device_memory: {enabled: false}\n  retention:\n"}
    async with open_stage(stage_folder, edit=edit) as stage:
        browser = await logged_in(stage, "bankid")
        assert DEVICE not in browser.cookies
        assert await offered(stage, browser) == ["google", "bankid"]
