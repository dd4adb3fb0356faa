"""Logging in by a code or a link in a mail."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import StoreDown
from broker.notify.ports import Reason, Rejected, Unknown
from broker.stores.memory import MemoryState
from broker.stores.ports import Op
from broker.upstream.one_time_code import draw_code, read_code
from tests.stage import ISSUER, Browser
from tests.upstream.cases import Case
from tests.upstream.codes import MAJA, WITHOUT_LINK, Post, open_post, play_codes, said


def cases() -> list[Case]:
    """For the contract suite."""
    return [Case("email", partial(play_codes, "email", MAJA), ())]


@pytest_asyncio.fixture
async def post(stage_folder: Path) -> AsyncIterator[Post]:
    async with open_post(stage_folder) as opened:
        yield opened


class Watched(MemoryState):
    """State in memory that remembers what it was asked to do, by kind of operation."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.trips: list[tuple[str, ...]] = []

    async def run(self, *ops: Op) -> Any:
        self.trips.append(tuple(type(op).__name__ for op in ops))
        return await super().run(*ops)


async def claims_of(post: Post, browser: Browser, to: str = MAJA) -> dict[str, Any]:
    """She logs in at the shop by the code; what the shop is told."""
    await post.arrived(browser, to)
    return dict((await post.stage.shop.exchange(await post.typed(browser, post.mail.code)))["claims"])


# What it proves


async def test_the_code_logs_in(post: Post) -> None:
    """A verified contact: acr contact, the address verified, and never more than one factor."""
    claims = await claims_of(post, post.stage.browser())
    assert (claims["acr"], claims["amr"]) == ("contact", ["otp", "email"])


async def test_whoever_is_new_becomes_a_customer_and_stays_the_same_one(post: Post) -> None:
    """Whoever proves a new address becomes a customer by that; the same address later is the same customer."""
    first = await claims_of(post, post.stage.browser())
    again = await claims_of(post, post.stage.browser())
    assert first["sub"] == again["sub"]


@pytest.mark.parametrize("to", ["MAJA@example.com", "maja@EXAMPLE.com", " Maja@Example.Com "])
async def test_upper_and_lower_case_is_one_mailbox(post: Post, to: str) -> None:
    """The local part is folded for looking up, as nobody gives two people addresses that differ in case."""
    assert (await claims_of(post, post.stage.browser(), to))["sub"] == (await claims_of(post, post.stage.browser()))[
        "sub"
    ]


@pytest.mark.parametrize(
    "to", ["m.aja@example.com", "maja+shop@example.com", "maja@mail.example.com", "ßaja@example.com"]
)
async def test_other_addresses_are_other_people(post: Post, to: str) -> None:
    """Dots and plus signs are told apart: what one provider ignores, another gives to somebody else."""
    one, other = await claims_of(post, post.stage.browser()), await claims_of(post, post.stage.browser(), to)
    assert one["sub"] != other["sub"]


async def test_the_mail_goes_to_the_very_address_that_is_proven(post: Post) -> None:
    """Case is kept and the domain is sent as IDNA, so that nobody proves another mailbox than the one that got the code."""
    await post.arrived(post.stage.browser(), "Maja.Lind@Räksmörgås.example")
    assert post.mail.sent[-1].to == "Maja.Lind@xn--rksmrgs-5wao1o.example"


async def test_a_unicode_domain_and_its_ascii_form_are_one(post: Post) -> None:
    """``räksmörgås`` and ``xn--rksmrgs-5wao1o`` are one domain."""
    one = await claims_of(post, post.stage.browser(), "maja@räksmörgås.example")
    assert one["sub"] == (await claims_of(post, post.stage.browser(), "maja@xn--rksmrgs-5wao1o.example"))["sub"]


# What she types


@pytest.mark.parametrize(
    "to",
    ["maja@", "@example.com", "maja@localhost", "maja@example..com", "ma ja@example.com", "maja@example.com,karl@example.com",
     "maja@exam_ple.com", "<maja@example.com>", "maja@[127.0.0.1]", "maja@10.0.0.1", "a@b@example.com", ".maja@example.com",
     "maja..lind@example.com", f"{'m' * 65}@example.com", f"maja@{'e' * 64}.com", f"maja@{'abcdefgh.' * 30}com",
     "maja\u2028@example.com", "maja\u200b@example.com"],
)  # fmt: skip
async def test_what_is_no_address_is_said_beside_the_field(post: Post, to: str) -> None:
    """Nothing is sent or stored; the text stays in the field, the complaint is bound to it and announced."""
    browser = post.stage.browser()
    await browser.follow(await browser.get(post.stage.shop.request()))
    answer = await browser.press("identify", ("identifier", to))
    assert (answer.status, post.mail.sent) == (422, [])
    assert 'role="alert"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert "complete e-mail address" in answer.text


async def test_what_she_typed_stays_in_the_field(post: Post) -> None:
    """And it is data there, whatever it looks like."""
    browser = post.stage.browser()
    await browser.follow(await browser.get(post.stage.shop.request()))
    answer = await browser.press("identify", ("identifier", '"><b>maja@'))
    assert 'value="&#34;&gt;&lt;b&gt;maja@"' in answer.text


async def test_a_typo_in_a_domain_is_hers(post: Post) -> None:
    """Nobody guesses at what she meant: the page is the usual one."""
    answer = await post.arrived(post.stage.browser(), "maja@gmial.example")
    assert answer.status == 200
    assert "code" in answer.ids


@pytest.mark.parametrize(
    ("typed", "code"),
    [("123456", "123456"), ("123 456", "123456"), (" 123\u00a0456 ", "123456"), ("123-456", "123456"), ("１２３４５６", "123456"),
     ("12345", None), ("1234567", None), ("12345a", None), ("", None), ("١٢٣٤٥٦", None)],
)  # fmt: skip
def test_a_code_is_read_as_people_paste_it(typed: str, code: str | None) -> None:
    """Grouped, with blanks of any kind; nothing else passes for six digits."""
    assert read_code(typed) == code


@given(st.text(max_size=40))
def test_whatever_is_typed_is_read_or_not(typed: str) -> None:
    """No text breaks the reading of a code."""
    read = read_code(typed)
    assert read is None or (len(read) == 6 and read.isascii())


def test_codes_are_six_digits_and_differ() -> None:
    """Zeros in front count."""
    drawn = {draw_code() for _ in range(2000)}
    assert len(drawn) > 1900
    assert all(len(code) == 6 and code.isdigit() for code in drawn)


# Guessing


async def test_a_wrong_code_is_told(post: Post) -> None:
    """And the right one logs in after it."""
    browser = post.stage.browser()
    await post.arrived(browser)
    assert said(await post.typed(browser, post.wrong(post.mail))).startswith("That is not the code")
    assert "code=" in (await post.typed(browser, post.mail.code)).location


async def test_something_else_than_a_code_costs_no_try(post: Post) -> None:
    """It could not have been right."""
    browser = post.stage.browser()
    await post.arrived(browser)
    for _ in range(8):
        assert said(await post.typed(browser, "maja")).startswith("The code is six digits")
    assert "code=" in (await post.typed(browser, post.mail.code)).location


async def test_five_wrong_tries_and_the_right_one_comes_too_late(post: Post) -> None:
    """The code is void then; only a new one helps."""
    browser = post.stage.browser()
    await post.arrived(browser)
    for _ in range(5):
        post.stage.clock.forward(seconds=10)
        answer = await post.typed(browser, post.wrong(post.mail))
    assert said(answer).startswith("The code was wrong too many times")
    right = await post.typed(browser, post.mail.code)
    assert said(right).startswith("The code was wrong too many times")
    await post.again(browser)
    assert "code=" in (await post.typed(browser, post.mail.code)).location


async def test_the_delay_grows(post: Post) -> None:
    """After the second wrong try a program is too fast; what is too fast is not compared, and not counted."""
    browser = post.stage.browser()
    await post.arrived(browser)
    for _ in range(2):
        await post.typed(browser, post.wrong(post.mail))
    assert said(await post.typed(browser, post.mail.code)).startswith("That was a little fast")
    post.stage.clock.forward(seconds=1)
    assert "code=" in (await post.typed(browser, post.mail.code)).location


async def test_of_fifty_at_once_five_count(stage_folder: Path) -> None:
    """Many tabs at once try no more codes than one after the other does: what is compared was counted before."""
    state = Watched()
    async with open_post(stage_folder, state=state) as post:
        browser = post.stage.browser()
        await post.arrived(browser)
        tabs = [browser.copy() for _ in range(50)]
        for tab in tabs:
            tab.page = browser.page
        state.trips.clear()
        await asyncio.gather(*(tab.press("send-code", ("code", post.wrong(post.mail))) for tab in tabs))
        assert 1 <= len([trip for trip in state.trips if trip == ("Count", "Count", "Count", "Get")]) <= 5


async def test_ten_tries_an_hour_for_an_address(post: Post) -> None:
    """Over all logins and browsers; the link in the mail still works, as nobody can guess that."""
    for _ in range(3):
        browser = post.stage.browser()
        await post.arrived(browser)
        for _ in range(4):
            post.stage.clock.forward(seconds=10)
            answer = await post.typed(browser, post.wrong(post.mail))
    assert said(answer).startswith("Too many codes have been tried")
    post.stage.clock.forward(seconds=10)
    assert said(await post.typed(browser, post.mail.code)).startswith("Too many codes have been tried")
    await browser.get(post.mail.link)
    assert "code=" in (await browser.follow(await browser.press("follow"))).location


async def test_a_code_of_another_login_is_worth_nothing(post: Post) -> None:
    """It is bound to the login it was made for, even at the same address."""
    one, other = post.stage.browser(), post.stage.browser()
    await post.arrived(one)
    code = post.mail.code
    await post.arrived(other)
    if code != post.mail.code:
        assert said(await post.typed(other, code)).startswith("That is not the code")
    assert "code=" in (await post.typed(one, code)).location


async def test_a_code_is_used_once(post: Post) -> None:
    """The form sent once more, from the back button or another tab, logs nobody in again."""
    browser = post.stage.browser()
    await post.arrived(browser)
    page = browser.page
    await post.typed(browser, post.mail.code)
    tab = browser.copy()
    tab.page, tab.cookies = page, {name: value for name, value in browser.cookies.items() if "session" not in name}
    again = await tab.press("send-code", ("code", post.mail.code))
    assert "__Host-stafett-session" not in tab.cookies
    assert "code=" not in again.location


async def test_a_code_from_another_browser_is_refused(post: Post) -> None:
    """Who has the address of the page and the code, but not the browser, gets nothing."""
    browser, thief = post.stage.browser(), post.stage.browser()
    await post.arrived(browser)
    thief.page = browser.page
    answer = await thief.press("send-code", ("code", post.mail.code))
    assert answer.status in {400, 403}
    assert not thief.cookies.get("__Host-stafett-session")


async def test_a_code_gets_too_old(post: Post) -> None:
    """After ten minutes it no longer counts, and the page says so without being reloaded."""
    browser = post.stage.browser()
    await post.arrived(browser)
    post.stage.clock.forward(minutes=10)
    assert browser.page is not None
    poll = await browser.get(f"{browser.page.url}/poll")
    assert poll.json["message"].startswith("The code is too old")
    assert poll.json["actions"] == ["again", "cancel"]
    browser.page = await browser.get(browser.page.url)
    post_it = await browser.press("again", ("code", post.mail.code))
    assert "session" not in str(browser.cookies)
    assert post_it.status == 303


# Another code


async def test_a_new_code_voids_the_one_before(post: Post) -> None:
    """There is never more than one live code; whoever types the earlier one reads why it does not work."""
    browser = post.stage.browser()
    await post.arrived(browser)
    first = post.mail.code
    post.stage.clock.forward(seconds=30)
    assert said(await post.again(browser)).startswith("A new code is on its way")
    if first != post.mail.code:
        assert said(await post.typed(browser, first)).startswith("That is an earlier code")
    assert "code=" in (await post.typed(browser, post.mail.code)).location


async def test_another_code_takes_half_a_minute(post: Post) -> None:
    """Before that nothing is sent, and the code stays good."""
    browser = post.stage.browser()
    await post.arrived(browser)
    post.stage.clock.forward(seconds=29)
    assert said(await post.again(browser)).startswith("A code was sent a moment ago")
    assert len(post.mail.sent) == 1
    assert "code=" in (await post.typed(browser, post.mail.code)).location


async def test_three_in_ten_minutes(post: Post) -> None:
    """Then no more, whichever browser asks; the newest one still works."""
    browser = post.stage.browser()
    await post.arrived(browser)
    for _ in range(3):
        post.stage.clock.forward(seconds=31)
        answer = await post.again(browser)
    assert len(post.mail.sent) == 3
    assert said(answer).startswith("We cannot send more codes")
    other = await post.arrived(post.stage.browser())
    assert said(other).startswith("Several codes have been sent there")
    assert len(post.mail.sent) == 3
    assert "code=" in (await post.typed(browser, post.mail.code)).location


async def test_another_address_after_the_back_button(post: Post) -> None:
    """From the page before she gives another address: the first code is worth nothing then."""
    browser = post.stage.browser()
    choose = await browser.follow(await browser.get(post.stage.shop.request()))
    await post.given(browser, "wrong@example.com")
    first = post.mail.code
    browser.page = choose
    await post.given(browser)
    assert post.mail.sent[-1].to == MAJA
    if first != post.mail.code:
        await post.typed(browser, first)
        assert "session" not in str(browser.cookies)
    assert "code=" in (await post.typed(browser, post.mail.code)).location


async def test_two_tabs(post: Post) -> None:
    """Both tabs show the same login; the one that did not finish it goes on by itself."""
    browser = post.stage.browser()
    waiting = await post.arrived(browser)
    tab = browser.copy()
    await tab.get(waiting.url)
    await post.typed(tab, post.mail.code)
    assert (await browser.get(f"{waiting.url}/poll")).json["next"] == waiting.url.removeprefix(ISSUER)


async def test_a_double_press_sends_one_message(post: Post) -> None:
    """At once, as browsers do it, or from another tab a moment later: every tab sees the page of the one code."""
    browser = post.stage.browser()
    await browser.follow(await browser.get(post.stage.shop.request()))
    tabs = [browser.copy() for _ in range(3)]
    for tab in tabs:
        tab.page = browser.page
    pressed = await asyncio.gather(*(tab.press("identify", ("identifier", MAJA)) for tab in tabs[:2]))
    pages = [await tab.follow(answer) for tab, answer in zip(tabs[:2], pressed, strict=True)]
    pages.append(await tabs[2].follow(await tabs[2].press("identify", ("identifier", f" {MAJA} "))))
    await post.idle()
    assert len(post.mail.sent) == 1
    assert all("send-code" in page.ids for page in pages)
    assert len({page.url for page in pages}) == 1
    done = await post.typed(tabs[0], post.mail.code)
    assert "code" in done.query


async def test_the_same_address_later_is_another_press(post: Post) -> None:
    """Half a minute later, or after she went another way, it is a wish of its own; so is another address."""
    browser = post.stage.browser()
    choose = await browser.follow(await browser.get(post.stage.shop.request()))
    for number, (to, seconds) in enumerate([(MAJA, 0), ("karl@example.com", 0), (MAJA, 0), (MAJA, 31)]):
        post.stage.clock.forward(seconds=seconds)
        browser.page = choose
        await post.given(browser, to)
        assert len(post.mail.sent) == number + 1


async def test_a_press_that_was_refused_may_be_repeated(post: Post) -> None:
    """It sent nothing, so the next one is not its repetition."""
    browser = post.stage.browser()
    choose = await browser.follow(await browser.get(post.stage.shop.request()))
    for _ in range(2):
        browser.page = choose
        refused = await browser.press("identify", ("identifier", "nobody"))
        assert refused.status == 422
    browser.page = choose
    await post.given(browser, MAJA)
    assert len(post.mail.sent) == 1


async def test_reload_sends_nothing(post: Post) -> None:
    """A page that is looked at again is the same page."""
    browser = post.stage.browser()
    waiting = await post.arrived(browser)
    for _ in range(5):
        await browser.get(waiting.url)
    assert len(post.mail.sent) == 1


async def test_another_way(post: Post) -> None:
    """She gives up this way: the code and the link are void."""
    browser = post.stage.browser()
    await post.arrived(browser)
    page = browser.page
    choose = await browser.follow(await browser.press("cancel"))
    assert "identify" in choose.ids
    browser.page = page
    await post.typed(browser, post.mail.code)
    assert "session" not in str(browser.cookies)
    assert "follow" not in (await browser.get(post.mail.link)).ids


# The link


async def test_the_link_asks_and_a_button_logs_in(post: Post) -> None:
    """In the browser that began: one button. The waiting tab then goes on by itself."""
    browser = post.stage.browser()
    waiting = await post.arrived(browser)
    page = await browser.get(post.mail.link)
    assert page.status == 200
    assert "follow" in page.ids
    assert "code=" in (await browser.follow(await browser.press("follow"))).location
    assert (await browser.get(f"{waiting.url}/poll")).json["next"] is not None


async def test_the_link_is_told_apart_from_the_code(post: Post) -> None:
    """amr says how it was: no code was typed."""
    browser = post.stage.browser()
    await post.arrived(browser)
    await browser.get(post.mail.link)
    token = await post.stage.shop.exchange(await browser.follow(await browser.press("follow")))
    assert (token["claims"]["acr"], token["claims"]["amr"]) == ("contact", ["email"])


async def test_the_links_page_keeps_its_secret(post: Post) -> None:
    """No store, no index, no referrer; the address is replaced by one without the secret (static/link.js)."""
    browser = post.stage.browser()
    waiting = await post.arrived(browser)
    for page, bare in [
        (await browser.get(post.mail.link), waiting.url.removeprefix(ISSUER)),
        (await post.stage.browser().get(post.mail.link), "/m"),
        (await post.stage.browser().get(f"{post.mail.link}/no"), "/m"),
    ]:
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["x-robots-tag"] == "noindex, nofollow"
        assert f'data-bare="{bare}"' in page.text


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_scanner_changes_nothing(post: Post, method: str) -> None:
    """Whatever reads the mail before she does, with whatever method and however often: the login waits as it did."""
    browser = post.stage.browser()
    waiting = await post.arrived(browser)
    for address in (post.mail.link, f"{post.mail.link}/no"):
        for _ in range(3):
            raw = await post.stage.client.request(method, address)
            assert raw.status_code == 200
            assert "set-cookie" not in raw.headers
            assert "follow" not in raw.text
    assert (await browser.get(f"{waiting.url}/poll")).json["next"] is None
    assert "code=" in (await post.typed(browser, post.mail.code)).location


async def test_a_scanner_that_has_the_cookie_changes_nothing(post: Post) -> None:
    """HEAD asks no store; GET in the right browser only shows the button, any number of times."""
    browser = post.stage.browser()
    await post.arrived(browser)
    for _ in range(3):
        assert "follow" in (await browser.get(post.mail.link)).ids
    assert "session" not in str(browser.cookies)


async def test_another_browser_is_sent_back_to_where_it_began(post: Post) -> None:
    """The page is the same, byte by byte, for a good link, an invented one and none; it has no form."""
    await post.arrived(post.stage.browser())
    other = post.stage.browser()
    pages = {
        (await other.get(address)).text
        for address in (post.mail.link, f"{ISSUER}/m/{'x' * 22}.{'y' * 22}", f"{ISSUER}/m/nothing", f"{ISSUER}/m")
    }
    assert len(pages) == 1
    assert "<form" not in pages.pop()


async def test_relayed_links_log_nobody_in(post: Post) -> None:
    """Who begins with her address and gets her to click is not logged in by that: her browser is another one."""
    attacker, maja = post.stage.browser(), post.stage.browser()
    waiting = await post.arrived(attacker)
    await maja.get(post.stage.shop.request())
    assert "follow" not in (await maja.get(post.mail.link)).ids
    assert (await attacker.get(f"{waiting.url}/poll")).json["next"] is None


async def test_a_form_needs_its_token(post: Post) -> None:
    """The link's secret is not enough: the form of our page carries the login's token (login CSRF)."""
    browser = post.stage.browser()
    waiting = await post.arrived(browser)
    secret = post.mail.link.rpartition(".")[2]
    answer = await browser.post(f"{waiting.url}/wait", {"csrf": "other", "do": "link", "secret": secret})
    assert answer.status == 403
    assert "session" not in str(browser.cookies)


@pytest.mark.parametrize("secret", ["", "x", "x" * 22])
async def test_an_invented_secret_is_refused(post: Post, secret: str) -> None:
    """With cookie and token, but without the mail."""
    browser = post.stage.browser()
    waiting = await post.arrived(browser)
    await browser.get(post.mail.link)
    assert browser.page is not None
    csrf = browser.page.text.split('name="csrf" value="')[1].split('"')[0]
    answer = await browser.follow(
        await browser.post(f"{waiting.url}/wait", {"csrf": csrf, "do": "link", "secret": secret})
    )
    assert said(answer).startswith("That link no longer works")


async def test_the_link_twice(post: Post) -> None:
    """Used: a page that says so, with a way on to where she is by now."""
    browser = post.stage.browser()
    await post.arrived(browser)
    await browser.get(post.mail.link)
    await browser.press("follow")
    page = await browser.get(post.mail.link)
    assert page.status == 200
    assert "go-on" in page.ids
    assert "follow" not in page.ids


async def test_an_old_link(post: Post) -> None:
    """As old as the code: no button, but a way on."""
    browser = post.stage.browser()
    await post.arrived(browser)
    post.stage.clock.forward(minutes=10)
    page = await browser.get(post.mail.link)
    assert "go-on" in page.ids
    assert "follow" not in page.ids


async def test_the_link_of_a_mail_that_was_replaced(post: Post) -> None:
    """Only the newest mail counts, by its link too."""
    browser = post.stage.browser()
    await post.arrived(browser)
    first = post.mail.link
    post.stage.clock.forward(seconds=31)
    await post.again(browser)
    assert "follow" not in (await browser.get(first)).ids
    assert "follow" in (await browser.get(post.mail.link)).ids


async def test_links_lead_to_the_configured_address(post: Post) -> None:
    """security: never to a host that a request named (Host header)."""
    browser = post.stage.browser()
    await browser.follow(await browser.get(post.stage.shop.request()))
    await browser.press("identify", ("identifier", MAJA))
    await post.idle()
    assert browser.page is not None
    form = {
        "csrf": browser.page.text.split('name="csrf" value="')[1].split('"')[0],
        "answer": "identify",
        "identifier": MAJA,
    }
    await browser.post(f"{browser.page.url}/choose", form, host="evil.example", **{"x-forwarded-host": "evil.example"})
    await post.idle()
    assert all("evil.example" not in mail.text + (mail.html or "") for mail in post.mail.sent)
    assert post.mail.link.startswith(f"{ISSUER}/m/")


async def test_without_a_link(stage_folder: Path) -> None:
    """link: false: the mail has the code only, and nothing opens by a link."""
    async with open_post(stage_folder, edit=WITHOUT_LINK) as post:
        browser = post.stage.browser()
        answer = await post.arrived(browser)
        assert "/m/" not in post.mail.text
        assert "link" not in answer.text.split("<main")[1].split("<footer")[0]
        assert "code=" in (await post.typed(browser, post.mail.code)).location


# "That was not me"


async def test_whoever_got_the_mail_can_stop_it(post: Post) -> None:
    """From any browser, by a button; the one that began reads that it was stopped, and code and link are void."""
    browser, other = post.stage.browser(), post.stage.browser()
    waiting = await post.arrived(browser)
    await other.get(f"{post.mail.link}/no")
    assert (await browser.get(f"{waiting.url}/poll")).json["next"] is None
    done = await other.press("disown")
    assert done.status == 200
    assert "The login is stopped" in done.text
    assert said(await browser.follow(await browser.get(waiting.url))).startswith("The login was stopped")
    assert "follow" not in (await browser.get(post.mail.link)).ids


@pytest.mark.parametrize("secret", ["", "x" * 22])
async def test_nobody_else_can_stop_it(post: Post, secret: str) -> None:
    """Without the mail nothing is stopped; the answer is the same, so that it tells nothing."""
    browser = post.stage.browser()
    waiting = await post.arrived(browser)
    done = await post.stage.browser().post(f"/m/{waiting.url.rpartition('/')[2]}/no", {"csrf": secret})
    assert "The login is stopped" in done.text
    assert "code=" in (await post.typed(browser, post.mail.code)).location


async def test_another_sites_form_stops_nothing(post: Post) -> None:
    """The browser says where the form came from."""
    waiting = await post.arrived(post.stage.browser())
    secret = post.mail.link.rpartition(".")[2]
    done = await post.stage.browser().post(
        f"/m/{waiting.url.rpartition('/')[2]}/no", {"csrf": secret}, origin="https://evil.example"
    )
    assert done.status == 403


async def test_what_is_over_cannot_be_stopped(post: Post) -> None:
    """A login that succeeded is not ended by the mail that it came by."""
    browser = post.stage.browser()
    waiting = await post.arrived(browser)
    await post.typed(browser, post.mail.code)
    await post.stage.browser().post(
        f"/m/{waiting.url.rpartition('/')[2]}/no", {"csrf": post.mail.link.rpartition(".")[2]}
    )
    assert "code=" in (await browser.follow(await browser.get(post.stage.shop.request()))).location


# Whether the mail arrives


async def test_a_known_and_an_unknown_address_look_the_same(stage_folder: Path) -> None:
    """Same status, same bytes but for tokens and what she typed, same work in the store: nothing tells customers apart."""
    state = Watched()
    async with open_post(stage_folder, state=state) as post:
        await claims_of(post, post.stage.browser())
        seen = []
        for to in (MAJA, "nobody@example.com"):
            browser = post.stage.browser()
            await browser.follow(await browser.get(post.stage.shop.request()))
            state.trips.clear()
            answer = await browser.follow(await browser.press("identify", ("identifier", to)))
            trips = list(state.trips)
            await post.idle()
            text = answer.text.replace(to, "TO")
            for secret in (answer.url.rpartition("/")[2], text.split('name="csrf" value="')[1].split('"')[0]):
                text = text.replace(secret, "SECRET")
            seen.append((answer.status, text, [trip for trip in trips if trip != ("Put",)]))
        assert seen[0] == seen[1]


async def test_a_bounced_address_looks_the_same_at_first(post: Post) -> None:
    """The page after typing does not wait for the mail server; later it says that the mail was not delivered."""
    post.mail.answer = Rejected(Reason.RECIPIENT)
    browser = post.stage.browser()
    answer = await post.arrived(browser)
    assert said(answer).startswith("The code is on its way")
    post.stage.clock.forward(seconds=2)
    poll = await browser.get(f"{answer.url}/poll")
    assert poll.json["message"].startswith("The message could not be delivered")
    assert poll.json["actions"] == ["cancel"]
    assert poll.json["is_well"] is False


async def test_when_our_mail_server_is_down_there_are_other_ways(post: Post) -> None:
    """She chooses again and reads why; after three such failures mail is not offered for a while, and comes back by itself."""
    post.mail.answer = Rejected(Reason.UNREACHABLE)
    for number in range(3):
        browser = post.stage.browser()
        waiting = await post.arrived(browser, f"maja{number}@example.com")
        post.stage.clock.forward(seconds=2)
        assert (await browser.get(f"{waiting.url}/poll")).json["next"]
        assert said(await browser.get(waiting.url)).startswith("We could not send the code")
    fresh = post.stage.browser()
    page = await fresh.follow(await fresh.get(post.stage.shop.request()))
    assert "Mobile number" in page.text
    assert "E-mail or mobile number" not in page.text
    assert "ill-email" in page.ids, "she sees that it is not gone for good"
    post.stage.clock.forward(seconds=31)
    page = await fresh.follow(await fresh.get(post.stage.shop.request()))
    assert "E-mail or mobile number" in page.text


@pytest.mark.parametrize("answer", [Unknown(code="timeout"), RuntimeError("a bug in a driver")])
async def test_a_mail_nobody_knows_of_is_waited_for(post: Post, answer: Any) -> None:
    """It may arrive: nothing is sent twice, and the page stays as it is."""
    post.mail.answer = answer
    browser = post.stage.browser()
    waiting = await post.arrived(browser)
    post.stage.clock.forward(seconds=2)
    assert (await browser.get(f"{waiting.url}/poll")).json["message"].startswith("The code is on its way")
    assert "code=" in (await post.typed(browser, post.mail.code)).location


async def test_a_slow_server_keeps_nobody_waiting(post: Post) -> None:
    """The page is there while the mail is still under way."""
    gate = asyncio.Event()
    send = post.mail.send

    async def slow(message: Any, ref: str) -> Any:
        await gate.wait()
        return await send(message, ref)

    post.mail.send = slow  # type: ignore[method-assign]
    browser = post.stage.browser()
    await browser.follow(await browser.get(post.stage.shop.request()))
    answer = await browser.follow(await browser.press("identify", ("identifier", MAJA)))
    assert "send-code" in answer.ids
    assert post.mail.sent == []
    gate.set()
    await post.idle()
    assert "code=" in (await post.typed(browser, post.mail.code)).location


async def test_a_poll_reads_the_journey_only(stage_folder: Path) -> None:
    """Waiting is cheap: one read, apart from the few times it is asked what became of the mail."""
    state = Watched()
    async with open_post(stage_folder, state=state) as post:
        browser = post.stage.browser()
        waiting = await post.arrived(browser)
        post.stage.clock.forward(seconds=2)
        await browser.get(f"{waiting.url}/poll")
        state.trips.clear()
        for _ in range(20):
            post.stage.clock.forward(seconds=3)
            await browser.get(f"{waiting.url}/poll")
        assert state.trips == [("Get",)] * 20


class Failing(MemoryState):
    """State in memory that stops answering when told to."""

    is_down = False

    async def run(self, *ops: Op) -> Any:
        if self.is_down:
            raise StoreDown("played to be down")
        return await super().run(*ops)


async def test_the_store_away_in_the_middle(stage_folder: Path) -> None:
    """No code is compared that cannot be counted; when the store is back, the very same code logs in."""
    state = Failing()
    async with open_post(stage_folder, state=state) as post:
        browser = post.stage.browser()
        waiting = await post.arrived(browser)
        page = browser.page
        state.is_down = True
        assert (await browser.press("send-code", ("code", post.mail.code))).status == 503
        assert (await browser.get(f"{waiting.url}/poll")).status == 503
        state.is_down = False
        browser.page = page
        assert "code=" in (await post.typed(browser, post.mail.code)).location


# What is written down


async def test_nothing_of_it_is_logged(post: Post, capsys: pytest.CaptureFixture[str]) -> None:
    """No address, no code and no link's secret, in any line."""
    browser = post.stage.browser()
    await post.arrived(browser)
    await post.typed(browser, post.wrong(post.mail))
    await browser.get(post.mail.link)
    await browser.press("follow")
    told = "".join(capsys.readouterr())
    for secret in (MAJA, "maja", post.mail.code, post.mail.link.rpartition(".")[2]):
        assert secret not in told


async def test_the_store_holds_neither_address_nor_code(stage_folder: Path) -> None:
    """Keys and values of everything that is remembered."""
    state = MemoryState()
    async with open_post(stage_folder, state=state) as post:
        browser = post.stage.browser()
        await post.arrived(browser)
        await post.typed(browser, post.wrong(post.mail))
        kept = json.dumps([[key, value[0].decode("latin-1")] for key, value in state._entries.items()])
        for secret in (MAJA, "maja", post.mail.code, post.mail.link.rpartition(".")[2]):
            assert secret not in kept


@pytest.mark.parametrize("language", ["sv", "fi", "pl", "en"])
async def test_the_mail_says_for_whom_and_where(post: Post, language: str) -> None:
    """In each language: the partner, the address the code belongs to, how long it counts, and to give it to nobody."""
    browser = post.stage.browser()
    await browser.follow(await browser.get(post.stage.shop.request(ui_locales=language)))
    await post.given(browser)
    mail = post.mail.sent[-1]
    for text in (mail.text, mail.html):
        assert "Nordhjul" in text
        assert ISSUER in text
        assert "10 min" in text
        assert f"{post.mail.code[:3]} {post.mail.code[3:]}" in text
        assert post.mail.link in text
        assert f"{post.mail.link}/no" in text
    assert "Nordhjul" in mail.subject
    assert post.mail.code not in mail.subject
    never = {"sv": "aldrig", "fi": "koskaan", "pl": "Nigdy", "en": "Never"}[language]
    assert never in mail.text
    assert "<img" not in mail.html
    assert "http-equiv" not in mail.html
