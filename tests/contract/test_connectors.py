"""
What every connector must do: one suite, over all kinds of upstream, each in a whole broker with its own simulator.

Whatever goes wrong at a provider, the customer stays on our page that says so, is not logged in, and gets in by another way.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.core.naming import name_of
from broker.upstream.port import WaitingConnector
from broker.upstream.registry import KINDS
from tests.stage import Answer, Browser
from tests.upstream.cases import Case, Play, Said, Sent, all_cases

CASES = all_cases()
SESSION = "__Host-stafett-session"


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    """Each connector."""
    return request.param


@pytest.fixture
async def play(case: Case, stage_folder: Path) -> AsyncIterator[Play]:
    """Each connector in a broker of its own."""
    async with case.open(stage_folder) as opened:
        yield opened


@pytest.fixture
def browser(play: Play) -> Browser:
    """The customer's."""
    return play.stage.browser()


def test_every_kind_takes_part() -> None:
    """A kind that the registry knows and that offers no case fails here."""
    assert {case.kind for case in CASES} == set(KINDS)


def test_names_are_told_apart() -> None:
    """Each case has a readable name of its own."""
    assert len({str(case) for case in CASES}) == len(CASES)


# Good


async def test_good(play: Play, browser: Browser) -> None:
    """She arrives at the shop with a code that is worth an ID token, and the same person is known again elsewhere."""
    subjects = set()
    for each in (browser, play.stage.browser()):
        answer = await play.attempt(each)
        tokens = await play.stage.shop.exchange(answer)
        assert SESSION in each.cookies
        subjects.add(tokens["claims"]["sub"])
    assert len(subjects) == 1


async def test_proves_no_more_than_it_reaches(play: Play, browser: Browser) -> None:
    """Whoever chooses among ways in is told beforehand how much one can prove; a login never proves more."""
    await play.attempt(browser)
    name = name_of(browser.cookies[SESSION])
    shelf = play.stage.broker.context.shelves.sessions
    (raw,) = await play.stage.state.run(shelf.get(name))
    held = shelf.read(name, raw)
    assert held is not None
    assert held.value.assurance <= play.connector.reaches


# Pending


async def test_pending(play: Play, browser: Browser) -> None:
    """While she is with the provider nobody is logged in, and her page still lets her go another way."""
    gone = await play.begun(browser)
    assert gone.status < 400
    page = await browser.get(play.where)
    assert play.offers(page) is not isinstance(play.connector, WaitingConnector)
    if not play.offers(page):
        page = await browser.follow(await browser.press("cancel"))
    await check_nothing_lost(play, browser, page)


# Refused


@pytest.mark.parametrize("said", [Said.NO, Said.REFUSED], ids=["by the customer", "by the provider"])
async def test_refused(play: Play, browser: Browser, said: Said) -> None:
    """A no is no failure of ours: she reads what happened and chooses again, this way too."""
    await check_nothing_lost(play, browser, await play.attempt(browser, said))
    play.heal()
    other = play.stage.browser()
    page = await play.attempt(other, said)
    play.heal()
    assert "code" in (await play.attempt_from(other, await play.chosen(other))).query, page.text


# Spoiled, replayed, for another login, late


async def test_spoiled(play: Play, browser: Browser) -> None:
    """What proves who came, altered on the way, proves nothing."""
    sent = await answered(play, browser)
    page = await play.send(browser, sent.changed(play.proof))
    await check_nothing_lost(play, browser, await on_her_page(play, browser, page))


async def test_replayed(play: Play, browser: Browser) -> None:
    """The same again, in her browser and in a stranger's: nobody is logged in by it, and the provider hears nothing."""
    sent = await answered(play, browser)
    first = await play.send(browser, sent)
    assert "code" in first.query
    calls, mine = play.asked(), browser.cookies[SESSION]
    again = await play.send(browser, sent)
    stranger = play.stage.browser()
    theirs = await play.send(stranger, sent)
    assert again.query.get("code") in (None, first.query["code"])
    assert (again.status < 500, theirs.status < 500) == (True, True)
    assert "code" not in theirs.query
    assert SESSION not in stranger.cookies
    assert (play.asked(), browser.cookies[SESSION]) == (calls, mine)


async def test_in_another_browser(play: Play, browser: Browser) -> None:
    """An answer that is brought by a browser that did not begin the login logs in neither (login CSRF, RFC 9700 section 4.7)."""
    sent = await answered(play, browser)
    victim = play.stage.browser()
    await victim.follow(await victim.get(play.stage.shop.request()))
    taken = await play.send(victim, sent)
    assert taken.status < 500
    assert "code" not in taken.query
    assert SESSION not in victim.cookies
    assert "code" in (await play.send(browser, sent)).query


async def test_for_another_login(play: Play, browser: Browser) -> None:
    """With another state, or to another login's address."""
    sent = await answered(play, browser)
    page = await play.send(browser, play.misdirected(sent))
    await check_nothing_lost(play, browser, await on_her_page(play, browser, page))


async def test_late(play: Play, browser: Browser) -> None:
    """Good once, and too old now; her journey is still good."""
    sent = await answered(play, browser)
    play.forward(play.late_s)
    await check_nothing_lost(play, browser, await on_her_page(play, browser, await play.send(browser, sent)))


async def test_after_the_journey(play: Play, browser: Browser) -> None:
    """When the journey itself is over she is led to a fresh start."""
    sent = await answered(play, browser)
    play.forward(31 * 60)
    page = await play.send(browser, sent)
    assert 400 <= page.status < 500, page.text
    assert SESSION not in browser.cookies
    assert "code" in (await play.attempt(play.stage.browser())).query


# Down, slow, lying


async def test_down_at_first(play: Play, browser: Browser) -> None:
    """The provider is away when she chooses it, and is offered again when it is back."""
    play.fail()
    page = await play.attempt(browser)
    await check_nothing_lost(play, browser, page)
    play.heal()
    # What failed to load is not asked for again for ten seconds.
    play.forward(11)
    assert "code" in (await play.attempt(play.stage.browser())).query


async def test_down_in_between(play: Play, browser: Browser) -> None:
    """It goes away while she is there."""
    sent = await answered(play, browser)
    play.fail()
    await check_nothing_lost(play, browser, await play.send(browser, sent))


async def test_down_for_long(play: Play, browser: Browser) -> None:
    """After three failures nobody is sent there; half a minute later somebody is, and it works again by itself."""
    play.fail()
    page = await play.attempt(browser)
    for _ in range(2):
        page = await play.attempt(play.stage.browser())
    assert play.offers(page)
    assert f"method-{play.id}" not in page.ids
    play.heal()
    play.forward(31)
    assert "code" in (await play.attempt(play.stage.browser())).query


async def test_slow(play: Play, browser: Browser) -> None:
    """Nobody waits longer than the connector's patience."""
    sent = await answered(play, browser)
    play.stall()
    page = await play.send(browser, sent)
    play.heal()
    await check_nothing_lost(play, browser, page)


async def test_lying(case: Case, play: Play) -> None:
    """Each lie by itself is found out; the truth then counts again."""
    for lie in case.lies:
        browser = play.stage.browser()
        play.lie(lie)
        page = await play.attempt(browser)
        assert play.offers(page), f"{lie}: {page.status} {page.url}"
        assert SESSION not in browser.cookies, lie
        play.heal()
        play.forward(61)
    assert "code" in (await play.attempt(play.stage.browser())).query


# Closing


async def test_closing(play: Play, browser: Browser) -> None:
    """Closed in the middle of a login and once more: whoever still comes reads a page, no fault of ours."""
    sent = await answered(play, browser)
    await play.connector.close()
    await play.connector.close()
    page = await play.send(browser, sent)
    assert page.status < 500


# What all of them check


async def answered(play: Play, browser: Browser) -> Sent:
    """A good answer that is about to be sent."""
    sent = await play.answered(browser, await play.begun(browser))
    assert sent is not None
    return sent


async def on_her_page(play: Play, browser: Browser, page: Answer) -> Answer:
    """Refused without her journey (a page that says so), she goes back to it; else where she is."""
    assert page.status < 500, page.text
    if play.offers(page):
        return page
    back = await browser.get(play.where)
    return back if play.offers(back) else await browser.follow(await browser.press("cancel"))


async def check_nothing_lost(play: Play, browser: Browser, page: Answer) -> None:
    """She is not logged in, sees our page with the other ways in, and gets in by one of them."""
    assert page.status == 200 or (page.status == 503 and "retry-after" in page.headers), page.text
    assert SESSION not in browser.cookies
    assert "code" not in page.query
    assert play.offers(page), f"{page.url}\n{page.text}"
    there = await browser.log_in(play.spare, "karl")
    assert "code" in there.query, there.text
    tokens = await play.stage.shop.exchange(there)
    assert tokens["claims"]["sub"]
