"""Somebody followed a newsletter's link and logs in later: a code to the address it went to, and never less than a code."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.stores.memory import MemoryState
from broker.stores.ports import Op
from tests.stage import WAYS_IN, Browser
from tests.upstream.codes import MAJA, Post, open_post, said

PAGE = "http://127.0.0.1:8701/winter"
NEWS = {
    "      consent: implied\n": f"      consent: implied\n    newsletter: {{landing_uris: [{PAGE}], lifetime: 7d}}\n",
    "      consent: ask\n": "      consent: ask\n    newsletter: {landing_uris: ['http://127.0.0.1:8702/'], lifetime: 7d}\n",
}


@pytest_asyncio.fixture
async def post(stage_folder: Path) -> AsyncIterator[Post]:
    """A broker that sends codes, to whose shop and garage newsletters belong."""
    async with open_post(stage_folder, edit=NEWS) as opened:
        yield opened


async def link_of(post: Post, to: str = MAJA, **changed: Any) -> str:
    body = {"campaign": "winter", "landing_uri": PAGE, "recipients": [to], **changed}
    made = await post.stage.shop.call("/newsletter/links", body)
    assert made.status == 201, made.text
    return str(made.json["links"][0])


async def reader(post: Post, to: str = MAJA) -> Browser:
    """The browser of somebody who followed a link of the shop's newsletter to *to*."""
    browser = post.stage.browser()
    await browser.get(await link_of(post, to))
    return browser


async def at_shop(post: Post, browser: Browser, **changed: str) -> set[str]:
    """Where she chooses how to log in at the shop: the ids on the page."""
    return (await browser.follow(await browser.get(post.stage.shop.request(**changed)))).ids


async def pressed(post: Post, browser: Browser) -> str:
    """She has the code sent; what the page says about it."""
    answer = await browser.follow(await browser.press("newsletter"))
    await post.idle()
    return said(answer)


async def test_the_code_goes_to_the_address_of_the_newsletter(post: Post) -> None:
    """She types no address, and is logged in as its owner by the code alone."""
    browser = await reader(post)
    assert "newsletter" in await at_shop(post, browser)
    await pressed(post, browser)
    assert post.mail.sent[-1].to == MAJA
    told = (await post.stage.shop.exchange(await post.typed(browser, post.mail.code)))["claims"]
    other = post.stage.browser()
    await post.arrived(other)
    same = (await post.stage.shop.exchange(await post.typed(other, post.mail.code)))["claims"]
    assert (told["sub"], told["acr"], told["amr"]) == (same["sub"], "contact", ["otp", "email"])


async def test_the_address_stands_nowhere(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    """On no page, in no address and in no line of the log is any part of it: the link may have been forwarded."""
    caplog.set_level(logging.DEBUG)
    browser, seen = await reader(post), list[str]()
    await browser.follow(await browser.get(post.stage.shop.request()))
    assert browser.page is not None
    seen.append(browser.page.text)
    gone = await browser.press("newsletter")
    answer = await browser.follow(gone)
    await post.idle()
    seen += [gone.location, answer.url, answer.text, str(gone.headers), (await browser.get(f"{answer.url}/poll")).text]
    post.stage.clock.forward(seconds=31)
    for wrong in (post.wrong(post.mail), "x"):
        await browser.get(answer.url)
        seen.append((await post.typed(browser, wrong)).text)
    seen.append((await post.again(browser)).text)
    assert len(post.mail.sent) == 2
    everything = "\n".join([*seen, *(record.getMessage() for record in caplog.records)]).lower()
    assert "maja" not in everything
    assert "example.com" not in everything.replace("login.example.com", "")
    assert "The code goes to the address the newsletter went to." in answer.text


async def test_a_forwarded_link_logs_nobody_in(post: Post) -> None:
    """Whoever opened it may have a code sent to its owner, cannot read it, and guesses no more often than anybody."""
    friend = await reader(post)
    await at_shop(post, friend)
    await pressed(post, friend)
    for _ in range(5):
        post.stage.clock.forward(seconds=10)
        answer = await post.typed(friend, post.wrong(post.mail))
    assert said(answer).startswith("The code was wrong too many times")
    assert "__Host-stafett-session" not in friend.cookies


async def test_a_browser_that_followed_no_link_is_offered_nothing(post: Post) -> None:
    """And an invented or spoiled cookie is like none; the form sent all the same sends no code."""
    for cookie in (None, "x" * 60, (await reader(post)).cookies["__Host-stafett-soft"][:-3] + "AAA"):
        browser = post.stage.browser()
        if cookie is not None:
            browser.cookies["__Host-stafett-soft"] = cookie
        assert "newsletter" not in await at_shop(post, browser)
        await forced(browser)
        assert post.mail.sent == []


async def forced(browser: Browser) -> str:
    """She sends what the button would send, though there is none; what the page says."""
    assert browser.page is not None
    csrf = browser.page.text.partition('name="csrf" value="')[2].partition('"')[0]
    answer = await browser.post(f"{browser.page.url}/choose", {"csrf": csrf, "answer": "newsletter"})
    return said(await browser.follow(answer))


async def test_another_partners_newsletter_counts_nothing(post: Post) -> None:
    """The garage's page knows nothing of the shop's readers, nor do our own pages."""
    browser = await reader(post)
    for path in (post.stage.garage.request(), "/shared/log-in"):
        page = await browser.follow(await browser.get(path))
        assert "newsletter" not in page.ids
        assert said_nothing_was_sent(await forced(browser))
    assert post.mail.sent == []


def said_nothing_was_sent(text: str) -> bool:
    return text.startswith("A code cannot be sent to the address of the newsletter")


async def test_a_handoff_of_the_partner_is_its_matter_too(post: Post) -> None:
    """The reader follows a handoff link of the shop to the garage: the shop's newsletter counts, and is called its own."""
    browser = await reader(post)
    link = (await post.stage.offer(None)).json["link"]
    page = await browser.follow(await browser.get(link))
    if "continue" in page.ids:
        page = await browser.follow(await browser.press("continue"))
    assert "newsletter" in page.ids
    assert "newsletter of" not in page.text
    await pressed(post, browser)
    assert post.mail.sent[-1].to == MAJA


@pytest.mark.parametrize("taken_back", [{"campaign": "winter"}, {"recipient": MAJA}])
async def test_what_was_taken_back_meanwhile(post: Post, taken_back: dict[str, str]) -> None:
    """Between the page and the button: nothing is sent, other ways are left, and the button is gone."""
    browser = await reader(post)
    await at_shop(post, browser)
    assert (await post.stage.shop.call("/newsletter/revocations", taken_back)).status == 200
    assert said_nothing_was_sent(await pressed(post, browser))
    assert post.mail.sent == []
    assert browser.page is not None
    assert "newsletter" not in browser.page.ids
    assert "identify" in browser.page.ids


async def test_a_day_later_it_is_over(post: Post) -> None:
    """Also for a browser that keeps cookies longer than it is told."""
    browser = await reader(post)
    post.stage.clock.forward(hours=24)
    assert "newsletter" not in await at_shop(post, browser)
    assert said_nothing_was_sent(await forced(browser))


async def test_the_last_link_counts(post: Post) -> None:
    """One browser, two newsletters: of the one that was read last, whoever it went to."""
    browser = await reader(post, "karl@example.com")
    await browser.get(await link_of(post))
    await at_shop(post, browser)
    await pressed(post, browser)
    assert [mail.to for mail in post.mail.sent] == [MAJA]
    body = {"campaign": "g", "landing_uri": "http://127.0.0.1:8702/", "recipients": ["karl@example.com"]}
    await browser.get((await post.stage.garage.call("/newsletter/links", body)).json["links"][0])
    assert "newsletter" not in await at_shop(post, browser)


async def test_in_a_session_of_somebody_else(post: Post) -> None:
    """A session serves the partner as ever; a login that is due anew is that of whoever reads the code."""
    browser = await reader(post)
    await at_shop(post, browser)
    await post.given(browser, "karl@example.com")
    karl = (await post.stage.shop.exchange(await post.typed(browser, post.mail.code)))["claims"]
    assert "code=" in (await browser.get(post.stage.shop.request())).location
    post.stage.clock.forward(minutes=1)
    assert "newsletter" in await at_shop(post, browser, prompt="login")
    await pressed(post, browser)
    assert post.mail.sent[-1].to == MAJA
    assert "code=" not in (await post.typed(browser, post.wrong(post.mail))).location
    maja = (await post.stage.shop.exchange(await post.typed(browser, post.mail.code)))["claims"]
    assert maja["sub"] != karl["sub"]


async def test_the_form_sent_again_counts_again(post: Post) -> None:
    """Three messages in ten minutes to one address, whoever asks for them and however."""
    browser = await reader(post)
    await at_shop(post, browser)
    page = browser.page
    for _ in range(5):
        post.stage.clock.forward(seconds=31)
        browser.page = page
        await browser.follow(await browser.press("newsletter"))
        await post.idle()
    assert len(post.mail.sent) == 3
    other = await reader(post)
    await at_shop(post, other)
    assert (await pressed(post, other)).startswith("Several codes have been sent there lately")
    assert len(post.mail.sent) == 3


async def test_an_address_that_no_code_can_go_to(post: Post) -> None:
    """The mailing system took it, we do not: she chooses again, and the address is not put into the field."""
    browser = await reader(post, "maja@localhost")
    await at_shop(post, browser)
    assert said_nothing_was_sent(await pressed(post, browser))
    assert browser.page is not None
    assert "maja" not in browser.page.text


async def test_without_a_way_that_writes_there_is_no_button(stage_folder: Path) -> None:
    """Where codes go to phones only, the newsletter's address is of no use."""
    edit = NEWS | {f"      {WAYS_IN}": f"      {WAYS_IN.replace(' email,', '')}"}
    async with open_post(stage_folder, edit=edit) as post:
        browser = await reader(post)
        assert "newsletter" not in await at_shop(post, browser)
        assert said_nothing_was_sent(await forced(browser))
        assert post.mail.sent == []


class Watched(MemoryState):
    """State in memory that counts its round trips."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.trips = 0

    async def run(self, *ops: Op) -> Any:
        self.trips += 1
        return await super().run(*ops)


async def test_nobody_else_pays_for_it(stage_folder: Path) -> None:
    """The page costs a browser without the cookie no round trip; with another partner's neither; a reader's costs one."""
    state = Watched()
    async with open_post(stage_folder, edit=NEWS, state=state) as post:

        async def cost(browser: Browser) -> int:
            await at_shop(post, browser)
            assert browser.page is not None
            before = state.trips
            await browser.get(browser.page.url)
            return state.trips - before

        plain = await cost(post.stage.browser())
        body = {"campaign": "g", "landing_uri": "http://127.0.0.1:8702/", "recipients": [MAJA]}
        foreign = post.stage.browser()
        await foreign.get((await post.stage.garage.call("/newsletter/links", body)).json["links"][0])
        assert await cost(foreign) == plain
        assert await cost(await reader(post)) == plain + 1


@pytest.mark.parametrize("language", ["sv", "fi", "pl"])
async def test_in_her_language(post: Post, language: str) -> None:
    """The button and the page behind it, with the partner's name."""
    browser = await reader(post)
    await browser.follow(await browser.get(post.stage.shop.request(ui_locales=language)))
    assert browser.page is not None
    assert "Nordhjul" in browser.page.text.partition('id="newsletter"')[2].partition("</button>")[0]
    answer = await browser.follow(await browser.press("newsletter"))
    assert "code.to" not in answer.text
    assert f'lang="{language}"' in answer.text
