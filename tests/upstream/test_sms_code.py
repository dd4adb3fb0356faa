"""Logging in by a code in a text message."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.notify.gsm import size_of
from broker.notify.ports import Reason, Rejected, Unknown
from broker.upstream.code_texts import sms_of
from broker.upstream.one_time_code import Letter
from tests.stage import Browser
from tests.upstream.cases import Case
from tests.upstream.codes import E164, NUMBER, Post, offering_only, open_post, play_codes, said


def cases() -> list[Case]:
    """For the contract suite."""
    return [Case("sms", partial(play_codes, "sms", NUMBER), ())]


@pytest_asyncio.fixture
async def post(stage_folder: Path) -> AsyncIterator[Post]:
    async with open_post(stage_folder) as opened:
        yield opened


async def claims_of(post: Post, browser: Browser, to: str = NUMBER) -> dict[str, Any]:
    """She logs in at the shop by the code; what the shop is told."""
    await post.arrived(browser, to)
    return dict((await post.stage.shop.exchange(await post.typed(browser, post.sms.code)))["claims"])


# What it proves


async def test_the_code_logs_in(post: Post) -> None:
    """A verified contact: acr contact, the number verified, and never more than one factor."""
    claims = await claims_of(post, post.stage.browser())
    assert (claims["acr"], claims["amr"]) == ("contact", ["otp", "sms"])
    assert post.sms.sent[-1].to == E164


@pytest.mark.parametrize("to", ["0701740605", "+46 70 174 06 05", "0046701740605", "070-1740605", "(070) 174 06 05"])
async def test_however_it_is_written_it_is_one_number(post: Post, to: str) -> None:
    """With or without country code, blanks and brackets: the same customer."""
    one, other = await claims_of(post, post.stage.browser()), await claims_of(post, post.stage.browser(), to)
    assert one["sub"] == other["sub"]


async def test_another_number_is_another_customer(post: Post) -> None:
    """Also where it is an address of the same person: nothing is merged."""
    one = await claims_of(post, post.stage.browser())
    other = await claims_of(post, post.stage.browser(), "070-174 06 06")
    await post.arrived(third := post.stage.browser(), "maja@example.com")
    mail = (await post.stage.shop.exchange(await post.typed(third, post.mail.code)))["claims"]
    assert len({one["sub"], other["sub"], mail["sub"]}) == 3


# What she types


@pytest.mark.parametrize(
    ("to", "why"),
    [("0701", "neither an e-mail"), ("maja", "neither an e-mail"), ("070174060512345", "neither an e-mail"),
     ("+1 202 555 0143", "to that country"), ("+44 7400 123456", "to that country"), ("+371 20 000 000", "to that country"),
     ("08-123 456 78", "cannot get text messages"), ("0900 123 4567", "cannot get text messages"),
     ("077-123 45 67", "cannot get text messages"),
     ("112", "neither an e-mail"), ("070-174 06 05;070-174 06 06", "neither an e-mail"),
     ("070 174 0605 ext 2", "neither an e-mail")],
)  # fmt: skip
async def test_numbers_that_get_no_message(post: Post, to: str, why: str) -> None:
    """Malformed, of a country that is not sent to, fixed, premium or shared-cost: said beside the field, nothing is sent."""
    browser = post.stage.browser()
    await browser.follow(await browser.get(post.stage.shop.request()))
    answer = await browser.press("identify", ("identifier", to))
    assert answer.status == 422
    assert why in answer.text
    assert post.sms.sent == []


async def test_a_number_where_only_mail_is_offered(stage_folder: Path) -> None:
    """The field asks for what can be used, and says so when it is given something else."""
    async with open_post(stage_folder, edit=offering_only("email", "sms")) as post:
        browser = post.stage.browser()
        page = await browser.follow(await browser.get(post.stage.shop.request()))
        assert "E-mail or mobile number" not in page.text
        answer = await browser.press("identify", ("identifier", NUMBER))
        assert answer.status == 422
        assert "A phone number cannot be used here" in answer.text


async def test_an_address_where_only_text_messages_are_offered(stage_folder: Path) -> None:
    """And the other way round."""
    async with open_post(stage_folder, edit=offering_only("sms", "email")) as post:
        browser = post.stage.browser()
        await browser.follow(await browser.get(post.stage.shop.request()))
        answer = await browser.press("identify", ("identifier", "maja@example.com"))
        assert answer.status == 422
        assert "E-mail cannot be used here" in answer.text


async def test_neither_is_a_button(post: Post) -> None:
    """What begins with something she types has the field, and no button beside it; a button's post gets nothing sent."""
    browser = post.stage.browser()
    page = await browser.follow(await browser.get(post.stage.shop.request()))
    assert {"identifier", "identify", "method-google"} <= page.ids
    assert not {"method-email", "method-sms"} & page.ids
    csrf = page.text.split('name="csrf" value="')[1].split('"')[0]
    await browser.post(f"{page.url}/choose", {"csrf": csrf, "method": "sms"})
    await post.idle()
    assert post.sms.sent == []


async def test_nothing_is_sent_without_our_page(post: Post) -> None:
    """No message before a page of ours was seen with our cookie: a program that posts straight away gets nothing sent."""
    browser = post.stage.browser()
    page = await browser.follow(await browser.get(post.stage.shop.request()))
    csrf = page.text.split('name="csrf" value="')[1].split('"')[0]
    form = {"csrf": csrf, "answer": "identify", "identifier": NUMBER}
    without_cookie = await post.stage.browser().post(f"{page.url}/choose", form)
    without_token = await browser.post(f"{page.url}/choose", {**form, "csrf": "x"})
    await post.idle()
    assert (without_cookie.status, without_token.status, post.sms.sent) == (400, 403, [])


# The message


@pytest.mark.parametrize("language", ["sv", "fi", "pl", "en"])
@pytest.mark.parametrize("partner", ["Nordhjul", "Żółć & Synowie Konstantynopolitańczykowianeczka AB" * 4])
def test_one_segment(language: str, partner: str) -> None:
    """Whatever the partner is called: 160 characters of the GSM alphabet, the last line for browsers, the code in both."""
    letter = Letter("012345", "", "", partner, "Stafett", "https://login.shop.example", language, 5)
    text = sms_of(letter)
    assert (size_of(text).is_gsm7, size_of(text).segments) == (True, 1)
    assert text.endswith("\n\n@login.shop.example #012345")
    assert text.startswith("012345 ")


async def test_there_is_no_link_in_it(post: Post) -> None:
    """A text message with a link looks like every fraud there is."""
    answer = await post.arrived(post.stage.browser(), NUMBER)
    assert "http" not in post.sms.text
    assert "/m/" not in post.sms.text
    assert "link" not in answer.text.split("<main")[1].split("<footer")[0]


async def test_what_she_typed_is_shown_as_she_typed_it(post: Post) -> None:
    """She knows it already; the page tells her nothing that she did not say."""
    answer = await post.arrived(post.stage.browser(), NUMBER)
    assert NUMBER in answer.text
    assert E164 not in answer.text


# Guessing


async def test_five_minutes(post: Post) -> None:
    """A code by text message lives shorter than one by mail."""
    browser = post.stage.browser()
    await post.arrived(browser, NUMBER)
    post.stage.clock.forward(minutes=5)
    assert browser.page is not None
    assert (await browser.get(f"{browser.page.url}/poll")).json["message"].startswith("The code is too old")


async def test_five_wrong_tries(post: Post) -> None:
    """As by mail."""
    browser = post.stage.browser()
    await post.arrived(browser, NUMBER)
    for _ in range(5):
        post.stage.clock.forward(seconds=10)
        answer = await post.typed(browser, post.wrong(post.sms))
    assert said(answer).startswith("The code was wrong too many times")
    await post.typed(browser, post.sms.code)
    assert "session" not in str(browser.cookies)


# The gateway


@pytest.mark.parametrize("reason", [Reason.RECIPIENT, Reason.OPTED_OUT])
async def test_a_number_the_gateway_refuses(post: Post, reason: Reason) -> None:
    """The page after typing is the usual one; a moment later it says that nothing arrives there, and offers other ways."""
    post.sms.answer = Rejected(reason)
    browser = post.stage.browser()
    waiting = await post.arrived(browser, NUMBER)
    assert said(waiting).startswith("The code is on its way")
    post.stage.clock.forward(seconds=2)
    assert (await browser.get(f"{waiting.url}/poll")).json["message"].startswith("The message could not be delivered")
    assert "identify" in (await browser.follow(await browser.press("cancel"))).ids


async def test_whoever_types_a_code_learns_it_at_once(post: Post) -> None:
    """Also without scripts: the answer to her try says that the message was not delivered."""
    post.sms.answer = Rejected(Reason.RECIPIENT)
    browser = post.stage.browser()
    await post.arrived(browser, NUMBER)
    assert said(await post.typed(browser, post.wrong(post.sms))).startswith("The message could not be delivered")


@pytest.mark.parametrize("reason", [Reason.ACCOUNT, Reason.BUSY, Reason.UNREACHABLE])
async def test_a_gateway_that_is_ill(post: Post, reason: Reason) -> None:
    """That is our matter: she is led back to the other ways and reads why."""
    post.sms.answer = Rejected(reason)
    browser = post.stage.browser()
    waiting = await post.arrived(browser, NUMBER)
    post.stage.clock.forward(seconds=2)
    await browser.get(f"{waiting.url}/poll")
    assert said(await browser.get(waiting.url)).startswith("We could not send the code")


async def test_after_a_timeout_nothing_is_sent_again(post: Post) -> None:
    """She may have it already; the code counts."""
    post.sms.answer = Unknown(code="timeout")
    browser = post.stage.browser()
    await post.arrived(browser, NUMBER)
    for _ in range(4):
        post.stage.clock.forward(seconds=15)
        assert browser.page is not None
        await browser.get(f"{browser.page.url}/poll")
    assert len(post.sms.sent) == 1
    assert "code=" in (await post.typed(browser, post.sms.code)).location


async def test_too_many_at_once_are_refused_not_forgotten(post: Post) -> None:
    """A queue that is full says so, as a gateway does that is busy."""
    gate = asyncio.Event()
    send = post.sms.send

    async def slow(message: Any, ref: str) -> Any:
        await gate.wait()
        return await send(message, ref)

    post.sms.send = slow  # type: ignore[method-assign]
    post.connectors["sms"].courier._most = 1
    first, second = post.stage.browser(), post.stage.browser()
    for browser, to in ((first, NUMBER), (second, "070-174 06 06")):
        await browser.follow(await browser.get(post.stage.shop.request()))
        await browser.follow(await browser.press("identify", ("identifier", to)))
    gate.set()
    await post.idle()
    post.stage.clock.forward(seconds=2)
    assert second.page is not None
    url = second.page.url
    await second.get(f"{url}/poll")
    assert said(await second.get(url)).startswith("We could not send the code")
    assert "code=" in (await post.typed(first, post.sms.code)).location


# SMS pumping


def number(index: int) -> str:
    return f"+46701740{index:03}"


async def test_a_range_whose_codes_nobody_uses_is_stopped_and_recovers(
    post: Post, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Twenty messages to one range and no code typed in: nothing more is sent there, with one line for the operator; other ranges
    go on. An hour later it is tried again by itself.
    """
    for index in range(20):
        await post.arrived(post.stage.browser(), number(index))
        post.stage.clock.forward(seconds=30)
    post.stage.clock.forward(minutes=5)
    for index in (50, 51):
        refused = await post.arrived(post.stage.browser(), number(index))
        assert said(refused).startswith("Several codes have been sent there")
    assert len(post.sms.sent) == 20
    told = capsys.readouterr()
    assert (told.out + told.err).count("sms.prefix_stopped") == 1
    assert number(50) not in told.out + told.err
    await post.arrived(post.stage.browser(), "+46731740605")
    assert len(post.sms.sent) == 21
    post.stage.clock.forward(minutes=60)
    await post.arrived(post.stage.browser(), number(52))
    assert len(post.sms.sent) == 22


async def test_honest_use_stops_nothing(post: Post) -> None:
    """One code in four typed in is as people are."""
    for index in range(24):
        browser = post.stage.browser()
        await post.arrived(browser, number(index))
        if index % 4 == 0:
            await post.typed(browser, post.sms.code)
        post.stage.clock.forward(seconds=30)
    post.stage.clock.forward(minutes=5)
    await post.arrived(post.stage.browser(), number(50))
    assert len(post.sms.sent) == 25


async def test_a_peak_stops_nothing(post: Post) -> None:
    """Codes that were sent a moment ago may still be typed in: nobody is judged by them."""
    for index in range(28):
        await post.arrived(post.stage.browser(), number(index))
    assert len(post.sms.sent) == 28
