"""Several ways in for one person: asking, answering, taking out and bringing back, and whatever goes wrong in between."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from broker.errors import StoreDown
from broker.notify.ports import Accepted, Mail, Messages, Rejected, Sent
from broker.notify.ports import Reason as ReasonOf
from broker.stores.memory import MemoryState
from broker.stores.ports import Op, Records
from tests.journeys.ways import (
    answers,
    audited,
    begin,
    customer_behind,
    is_in,
    logs_in,
    open_ways,
    proves,
    ways_of,
    written,
)
from tests.stage import Answer, Browser, Stage


@pytest.fixture
async def stage(stage_folder: Path) -> AsyncIterator[Stage]:
    async with open_ways(stage_folder) as opened:
        yield opened


async def asked(stage: Stage, browser: Browser, method: str = "eid", who: str = "maja") -> Answer:
    """She is logged in by Google and proves *method*, which is nobody's: the page that asks."""
    await logs_in(stage, browser, "google")
    return await proves(stage, browser, method, who, prompt="login")


def text_of(page: Answer) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


# Asking


async def test_she_is_asked_before_anything_is_linked(stage: Stage) -> None:
    """The page says who is logged in and by what, masked, and what a yes means; nothing is kept of it yet."""
    browser = stage.browser()
    subject = await logs_in(stage, browser, "google")
    page = await proves(stage, browser, "eid", prompt="login")
    text = text_of(page)
    assert {"join", "apart", "cancel"} <= page.ids
    assert "M•••" in text
    assert "Maja Lind" not in text
    assert "Google" in text
    assert "Estonia" in text
    assert await ways_of(stage, subject) == ["google"]
    assert await is_in(stage, browser)


@pytest.mark.parametrize("language", ["sv", "fi", "pl", "en"])
async def test_in_her_language(stage: Stage, language: str) -> None:
    """All four, and the address of the page is safe to reload."""
    browser = stage.browser()
    page = await asked(stage, browser)
    again = await browser.get(f"{page.url}?lang={language}")
    assert "join" in again.ids
    assert not re.search(r"\bjoin\.\w+", text_of(again))


async def test_yes_makes_both_lead_to_one_customer(stage: Stage) -> None:
    """The shop sees the same number by either way, and the level of the one she was asked for."""
    browser = stage.browser()
    subject = await logs_in(stage, browser, "google")
    await proves(stage, browser, "eid", prompt="login")
    tokens = await answers(stage, browser, "join")
    assert tokens["claims"]["sub"] == subject
    assert tokens["claims"]["acr"].endswith("substantial")
    assert await ways_of(stage, subject) == ["google", "eid"]
    assert await logs_in(stage, stage.browser(), "eid") == subject
    assert "identity.linked" in await audited(stage, await customer_behind(stage, subject))


async def test_no_keeps_two_customers(stage: Stage) -> None:
    """She goes on by what she just proved, as somebody new, and is not asked again."""
    browser = stage.browser()
    subject = await logs_in(stage, browser, "google")
    await proves(stage, browser, "eid", prompt="login")
    other = (await answers(stage, browser, "apart"))["claims"]["sub"]
    assert other != subject
    assert await ways_of(stage, subject) == ["google"]
    assert await ways_of(stage, other) == ["eid"]
    assert await logs_in(stage, stage.browser(), "eid") == other


async def test_cancel_goes_back_to_the_shop_and_changes_nothing(stage: Stage) -> None:
    """She stays who she was; the proof is forgotten."""
    browser = stage.browser()
    page = await asked(stage, browser)
    back = await browser.press("cancel")
    assert back.query["error"] == "access_denied"
    assert await is_in(stage, browser)
    browser.page = page
    again = await browser.follow(await browser.press("join"))
    assert "join" not in again.ids
    assert await logs_in(stage, stage.browser(), "eid")


async def test_her_session_id_is_new_after_a_link(stage: Stage) -> None:
    """The cookie from before opens nothing any more (session fixation)."""
    browser = stage.browser()
    await asked(stage, browser)
    old = browser.copy()
    old.cookies = dict(browser.cookies)
    await answers(stage, browser, "join")
    assert browser.cookies["__Host-stafett-session"] != old.cookies["__Host-stafett-session"]
    assert not await is_in(stage, old)
    assert await is_in(stage, browser)


async def test_bankid_is_never_asked_about(stage: Stage) -> None:
    """Neither added to another way nor another way to it: it goes on as if nobody had been logged in."""
    for first, second in (("google", "bankid"), ("bankid", "mail")):
        browser = stage.browser()
        subject = await logs_in(stage, browser, first)
        other = await logs_in(stage, browser, second, prompt="login")
        assert other != subject
        assert await ways_of(stage, subject) == [first]


async def test_another_account_of_the_same_provider_is_somebody_else(stage: Stage) -> None:
    """A family shares a computer: nobody is asked whether his brother is he."""
    browser = stage.browser()
    hers = await logs_in(stage, browser, "google")
    his = await logs_in(stage, browser, "google", "karl", prompt="login")
    assert his != hers


async def test_select_account_asks_for_somebody_else(stage: Stage) -> None:
    """The partner said so, and she chose."""
    browser = stage.browser()
    hers = await logs_in(stage, browser, "google")
    assert await logs_in(stage, browser, "eid", prompt="select_account") != hers


async def test_an_old_session_is_proven_once_more_first(stage: Stage) -> None:
    """Eleven minutes later she logs in by the first way again, and is then linked without another question."""
    browser = stage.browser()
    subject = await logs_in(stage, browser, "google")
    stage.clock.forward(minutes=11)
    page = await proves(stage, browser, "eid", prompt="login")
    assert "join-google" in page.ids
    assert "join" not in page.ids
    gone = await browser.press("join-google")
    assert gone.location.startswith("https://google.test/authorize")
    state = gone.query["state"]
    done = await browser.follow(await browser.get(f"/up/google/callback?state={state}&who=maja"))
    tokens = await stage.shop.exchange(done)
    assert tokens["claims"]["sub"] == subject
    assert await ways_of(stage, subject) == ["google", "eid"]


async def test_somebody_else_at_the_second_proof_joins_nothing(stage: Stage) -> None:
    """The other account logs in as what it is, and reads why."""
    browser = stage.browser()
    subject = await logs_in(stage, browser, "google")
    stage.clock.forward(minutes=11)
    await proves(stage, browser, "eid", prompt="login")
    gone = await browser.press("join-google")
    done = await browser.follow(await browser.get(f"/up/google/callback?state={gone.query['state']}&who=karl"))
    tokens = await stage.shop.exchange(done)
    assert tokens["claims"]["sub"] != subject
    assert await ways_of(stage, subject) == ["google"]
    assert await stage.records.customer_of_subject("tyre-shop", tokens["claims"]["sub"]) is not None


async def test_what_is_somebody_elses_is_explained(stage: Stage) -> None:
    """Two customers are never put together: she may go on as either."""
    other = await logs_in(stage, stage.browser(), "eid")
    browser = stage.browser()
    subject = await logs_in(stage, browser, "google")
    page = await proves(stage, browser, "eid", prompt="login")
    assert {"apart", "stay"} <= page.ids
    assert "join" not in page.ids
    stayed = await browser.follow(await browser.press("stay"))
    assert "method-google" in stayed.ids
    assert await is_in(stage, browser)
    assert await ways_of(stage, subject) == ["google"]
    await browser.log_in("eid", "maja")
    assert (await answers(stage, browser, "apart"))["claims"]["sub"] == other


async def test_different_dates_of_birth_are_two_people(stage: Stage) -> None:
    """However fresh both proofs are: nobody is asked."""
    stage.connectors["google"].facts = {"birthdate": date(1990, 5, 27)}  # type: ignore[attr-defined]
    stage.connectors["eid"].facts = {"birthdate": date(1991, 5, 27)}  # type: ignore[attr-defined]
    browser = stage.browser()
    hers = await logs_in(stage, browser, "google")
    assert await logs_in(stage, browser, "eid", prompt="login") != hers


# Who was here before


async def test_a_contact_proven_before_makes_us_ask(stage: Stage) -> None:
    """Nobody is logged in; she proves an address that Google proved for somebody: log in there once, and both are one."""
    subject = await logs_in(stage, stage.browser(), "google")
    await written(stage)
    browser = stage.browser()
    page = await proves(stage, browser, "mail")
    assert {"join-google", "apart", "cancel"} <= page.ids
    assert "M•••" not in page.text
    assert not await is_in(stage, browser)
    gone = await browser.press("join-google")
    done = await browser.follow(await browser.get(f"/up/google/callback?state={gone.query['state']}&who=maja"))
    assert (await stage.shop.exchange(done))["claims"]["sub"] == subject
    assert await ways_of(stage, subject) == ["google", "mail"]
    assert await logs_in(stage, stage.browser(), "mail") == subject


async def test_she_may_start_anew_all_the_same(stage: Stage) -> None:
    """Then the address is of two customers, and nobody is asked about it any more."""
    subject = await logs_in(stage, stage.browser(), "google")
    await written(stage)
    browser = stage.browser()
    await proves(stage, browser, "mail")
    other = (await answers(stage, browser, "apart"))["claims"]["sub"]
    assert other != subject
    await written(stage)
    third = stage.browser()
    stage.connectors["eid"].reaches = stage.connectors["mail"].reaches
    assert "code" in (await proves(stage, third, "eid")).query


async def test_whoever_proves_another_account_there_gets_that(stage: Stage) -> None:
    """Knowing the address opens nothing: the other way in decides who she is."""
    subject = await logs_in(stage, stage.browser(), "google")
    his = await logs_in(stage, stage.browser(), "google", "karl")
    await written(stage)
    browser = stage.browser()
    await proves(stage, browser, "mail")
    gone = await browser.press("join-google")
    done = await browser.follow(await browser.get(f"/up/google/callback?state={gone.query['state']}&who=karl"))
    assert (await stage.shop.exchange(done))["claims"]["sub"] == his
    assert await ways_of(stage, subject) == ["google"]
    assert await ways_of(stage, his) == ["google"]


@pytest.mark.parametrize(
    ("known_by", "proven_by", "days"), [("face", "mail", 0), ("google", "face", 0), ("google", "mail", 181)]
)
async def test_what_is_not_verified_or_long_ago_matches_nobody(
    stage: Stage, known_by: str, proven_by: str, days: int
) -> None:
    """An address that nobody checked, on either side, or that may have changed hands since."""
    subject = await logs_in(stage, stage.browser(), known_by)
    await written(stage)
    stage.clock.forward(days=days)
    assert await logs_in(stage, stage.browser(), proven_by) != subject


async def test_an_address_given_to_another_account_by_its_provider_matches_nobody(stage: Stage) -> None:
    """Google gave the mailbox to somebody else: a recycled address is no sign of the same person."""
    subject = await logs_in(stage, stage.browser(), "google")
    await written(stage)
    assert await logs_in(stage, stage.browser(), "google", "maja-again") != subject


async def test_a_login_of_somebody_known_costs_no_question_more(stage: Stage) -> None:
    """One statement, with or without linking; contacts are written beside it, and not every time."""
    await logs_in(stage, stage.browser(), "google")
    await written(stage)
    customer = await stage.records.customer_of(
        stage.broker.context.lookup.digest("https://google.test", "subject-of-maja")
    )
    assert customer is not None
    (contact,) = await stage.records.contacts_of(customer)
    stage.clock.forward(hours=2)
    await logs_in(stage, stage.browser(), "google")
    await written(stage)
    assert await stage.records.contacts_of(customer) == [contact]
    stage.clock.forward(hours=24)
    await logs_in(stage, stage.browser(), "google")
    await written(stage)
    assert (await stage.records.contacts_of(customer))[0].verified_at == stage.clock.now


# Tabs, repeats, and forms from elsewhere


async def test_a_second_yes_changes_nothing(stage: Stage) -> None:
    """A double click, or the back button: the journey as it stands."""
    browser = stage.browser()
    page = await asked(stage, browser)
    tokens = await answers(stage, browser, "join")
    browser.page = page
    again = await browser.press("join")
    assert again.status in {200, 303}
    assert await ways_of(stage, tokens["claims"]["sub"]) == ["google", "eid"]


async def test_two_tabs_answer_one_question_once(stage: Stage) -> None:
    """Yes in one and no in the other, at once: one of them holds, and nothing is half done."""
    browser = stage.browser()
    page = await asked(stage, browser)
    tabs = [browser.copy(), browser.copy()]
    for tab in tabs:
        tab.page = page
    await asyncio.gather(tabs[0].press("join"), tabs[1].press("apart"))
    await browser.get(page.url)
    customers = {
        await stage.records.customer_of(stage.broker.context.lookup.digest(f"https://{name}.test", "subject-of-maja"))
        for name in ("google", "eid")
    }
    assert None not in customers
    assert len(customers) in {1, 2}
    subjects = [await logs_in(stage, stage.browser(), name) for name in ("google", "eid")]
    assert len(set(subjects)) == len(customers)


async def test_the_question_in_another_tab_is_as_good(stage: Stage) -> None:
    """It belongs to the journey, not to the window."""
    browser = stage.browser()
    page = await asked(stage, browser)
    tab = browser.copy()
    seen = await tab.get(page.url)
    assert "join" in seen.ids
    assert (await answers(stage, tab, "join"))["claims"]["sub"]


@pytest.mark.parametrize(
    ("change", "headers"),
    [
        ({"csrf": ""}, {}),
        ({"csrf": "A" * 43}, {}),
        ({}, {"origin": "https://evil.example"}),
        ({}, {"sec-fetch-site": "cross-site"}),
    ],
)
async def test_nobody_answers_from_elsewhere(stage: Stage, change: dict[str, str], headers: dict[str, str]) -> None:
    """A form without its token, or sent by another site (docs/security.md C3)."""
    browser = stage.browser()
    page = await asked(stage, browser)
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert token is not None
    fields = {"csrf": token[1], "answer": "join", **change}
    assert (await browser.post(f"{page.url}/join", fields, **headers)).status == 403
    assert "join" in (await browser.get(page.url)).ids


async def test_another_browser_answers_nothing(stage: Stage) -> None:
    """Not even one that is logged in as the same customer."""
    browser, thief = stage.browser(), stage.browser()
    page = await asked(stage, browser)
    await logs_in(stage, thief, "google")
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert token is not None
    answer = await thief.post(f"{page.url}/join", {"csrf": token[1], "answer": "join"})
    assert answer.status == 403


async def test_too_late_an_answer_changes_nothing(stage: Stage) -> None:
    """After five minutes the proof is gone; she reads so and may log in again."""
    browser = stage.browser()
    subject = await logs_in(stage, browser, "google")
    await proves(stage, browser, "eid", prompt="login")
    stage.clock.forward(minutes=5)
    page = await browser.follow(await browser.press("join"))
    assert "method-google" in page.ids
    assert await ways_of(stage, subject) == ["google"]


async def test_a_session_that_changed_meanwhile_is_not_joined(stage: Stage) -> None:
    """Somebody else logged in on this browser since: the question was not for him."""
    browser = stage.browser()
    page = await asked(stage, browser)
    his = await logs_in(stage, browser, "google", "karl", prompt="select_account")
    browser.page = page
    await browser.press("join")
    assert await ways_of(stage, his) == ["google"]
    assert (
        await stage.records.customer_of(stage.broker.context.lookup.digest("https://eid.test", "subject-of-maja"))
        is None
    )


async def test_a_session_that_ended_meanwhile_joins_nothing(stage: Stage) -> None:
    """Logged out in another tab: she logs in anew."""
    browser = stage.browser()
    page = await asked(stage, browser)
    browser.cookies.pop("__Host-stafett-session")
    browser.page = page
    again = await browser.follow(await browser.press("join"))
    assert "join" not in again.ids
    assert "method-eid" in again.ids


async def test_an_unknown_answer_is_refused(stage: Stage) -> None:
    """A form of ours has no other buttons."""
    browser = stage.browser()
    page = await asked(stage, browser)
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert token is not None
    answer = await browser.post(f"{page.url}/join", {"csrf": token[1], "answer": "merge"})
    assert answer.status == 403


async def test_two_customers_at_once_get_one_identity_once(stage: Stage) -> None:
    """Two browsers, two customers, one new login: the first has it, the other reads whose it is not."""
    hers, his = stage.browser(), stage.browser()
    her_subject = await logs_in(stage, hers, "google")
    his_subject = await logs_in(stage, his, "google", "karl")
    await proves(stage, hers, "eid", prompt="login")
    await proves(stage, his, "eid", prompt="login")
    done = await asyncio.gather(hers.press("join"), his.press("join"))
    both = [await ways_of(stage, subject) for subject in (her_subject, his_subject)]
    assert sorted(both) == [["google"], ["google", "eid"]]
    loser, answer = (his, done[1]) if both[0] == ["google", "eid"] else (hers, done[0])
    page = await loser.follow(answer)
    assert "stay" in page.ids


# Stores that are away


class Failing:
    """Records of which one method fails when told to."""

    def __init__(self, inner: Records) -> None:
        self._inner = inner
        self.broken = ""

    def __getattr__(self, name: str) -> Any:
        if name == self.broken:
            return self._raise
        return getattr(self._inner, name)

    async def _raise(self, *_: Any, **__: Any) -> Any:
        raise StoreDown("played to be down")


@pytest.mark.parametrize("method", ["customer_of", "contacts_of", "link_identity", "known_customer"])
async def test_the_database_away_at_the_yes_leaves_nothing_half_linked(stage_folder: Path, method: str) -> None:
    """A clear page; all or nothing; pressed again it is whole."""
    kept: list[Failing] = []

    def wrap(records: Records) -> Any:
        kept.append(Failing(records))
        return kept[0]

    async with open_ways(stage_folder, wrap=wrap) as stage:
        browser = stage.browser()
        subject = await logs_in(stage, browser, "google")
        page = await proves(stage, browser, "eid", prompt="login")
        kept[0].broken = method
        failed = await browser.press("join")
        assert failed.status == 503
        kept[0].broken = ""
        assert len(await ways_of(stage, subject)) == (2 if method == "known_customer" else 1)
        browser.page = page
        tokens = await answers(stage, browser, "join")
        assert tokens["claims"]["sub"] == subject
        assert await ways_of(stage, subject) == ["google", "eid"]


class Breaking(MemoryState):
    """State that fails at the n-th run from when it is told to."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock=clock)
        self.left: int | None = None

    async def run(self, *ops: Op) -> Any:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise StoreDown("played to be down")
        return await super().run(*ops)


@pytest.mark.parametrize("after", range(12))
async def test_redis_away_anywhere_in_the_yes_leaves_it_whole(stage_folder: Path, after: int) -> None:
    """Linked or not linked, she and both her ways in still work, and other browsers are out before anything is linked."""
    stage_clock: list[Any] = []
    state = Breaking(lambda: stage_clock[0].monotonic() if stage_clock else 0.0)
    async with open_ways(stage_folder, state=state) as stage:
        stage_clock.append(stage.clock)
        elsewhere, browser = stage.browser(), stage.browser()
        await logs_in(stage, elsewhere, "google")
        subject = await logs_in(stage, browser, "google")
        await proves(stage, browser, "eid", prompt="login")
        state.left = after
        await browser.press("join")
        state.left = None
        ways = await ways_of(stage, subject)
        assert ways in (["google"], ["google", "eid"])
        if ways == ["google", "eid"]:
            assert not await is_in(stage, elsewhere)
        again = stage.browser()
        assert await logs_in(stage, again, "google") == subject
        if ways == ["google", "eid"]:
            assert await logs_in(stage, stage.browser(), "eid") == subject


# Her own page


async def own_page(stage: Stage, browser: Browser) -> Answer:
    return await browser.get("/shared")


async def linked(stage: Stage, browser: Browser) -> str:
    """She has two ways in, Google and the eID, and is in by the latter."""
    await asked(stage, browser)
    return str((await answers(stage, browser, "join"))["claims"]["sub"])


async def test_she_sees_her_ways_in(stage: Stage) -> None:
    """What each is called, since when, and which address it proved; the only one cannot be taken out."""
    browser = stage.browser()
    await logs_in(stage, browser, "google")
    await written(stage)
    page = await own_page(stage, browser)
    assert "add-way" in page.ids
    assert "remove-way-1" not in page.ids
    assert "m•••@example.com" in page.text
    assert "maja@example.com" not in page.text
    assert "21 November 2026" in text_of(page)


async def test_she_adds_one_there(stage: Stage) -> None:
    """She logs in by it, confirms, and is back on her page; a no leaves everything as it was."""
    browser = stage.browser()
    subject = await logs_in(stage, browser, "google")
    for answer, ways in (("stay", ["google"]), ("join", ["google", "mail"])):
        await own_page(stage, browser)
        page = await browser.follow(await browser.get("/shared/ways/add"))
        assert "method-mail" in page.ids
        assert "method-bankid" not in page.ids
        page = await browser.log_in("mail", "maja")
        assert {"join", "stay"} <= page.ids
        assert "apart" not in page.ids
        done = await browser.follow(await browser.press(answer))
        assert done.url.endswith("/shared")
        assert sorted(await ways_of(stage, subject)) == ways
    assert "remove-way-2" in done.ids


async def test_a_second_account_of_one_provider_can_be_added(stage: Stage) -> None:
    """What is somebody else in an ordinary login is hers when she asked to add it."""
    browser = stage.browser()
    subject = await logs_in(stage, browser, "google")
    await browser.follow(await browser.get("/shared/ways/add"))
    await browser.log_in("google", "maja-again")
    await browser.follow(await browser.press("join"))
    assert await ways_of(stage, subject) == ["google", "google"]


async def test_adding_what_is_hers_already_changes_nothing(stage: Stage) -> None:
    """She is back on her page."""
    browser = stage.browser()
    subject = await logs_in(stage, browser, "google")
    await browser.follow(await browser.get("/shared/ways/add"))
    done = await browser.log_in("google", "maja")
    assert done.url.endswith("/shared")
    assert await ways_of(stage, subject) == ["google"]


async def test_adding_what_is_somebody_elses_is_explained(stage: Stage) -> None:
    """She stays, or goes on as the other; her own ways are as before."""
    other = await logs_in(stage, stage.browser(), "mail", "karl")
    browser = stage.browser()
    subject = await logs_in(stage, browser, "google")
    await browser.follow(await browser.get("/shared/ways/add"))
    page = await browser.log_in("mail", "karl")
    assert {"apart", "stay"} <= page.ids
    done = await browser.follow(await browser.press("stay"))
    assert done.url.endswith("/shared")
    assert await ways_of(stage, subject) == ["google"]
    assert await ways_of(stage, other) == ["mail"]


async def test_bankid_adds_nothing_and_says_why(stage: Stage) -> None:
    """One sentence instead of a button; asked all the same, she is back on her page."""
    browser = stage.browser()
    await logs_in(stage, browser, "bankid")
    page = await own_page(stage, browser)
    assert "no-more-ways" in page.ids
    assert "add-way" not in page.ids
    assert (await browser.follow(await browser.get("/shared/ways/add"))).url.endswith("/shared")


async def test_the_stronger_login_stays_after_adding_a_weaker_one(stage: Stage) -> None:
    """Her session is that of the eID still, now with the proven address; nothing rises."""
    browser = stage.browser()
    await logs_in(stage, browser, "eid")
    await browser.follow(await browser.get("/shared/ways/add"))
    await browser.log_in("mail", "maja")
    await browser.follow(await browser.press("join"))
    tokens = await stage.shop.exchange(await browser.get(stage.shop.request()))
    assert tokens["claims"]["acr"].endswith("substantial")
    assert tokens["claims"]["amr"] == ["eid"]
    info = (await stage.shop.userinfo(tokens["access_token"])).json
    assert (info["email"], info["email_verified"]) == ("maja@example.com", True)


async def test_whoever_is_not_logged_in_logs_in_first(stage: Stage) -> None:
    """And then goes on to add one."""
    browser = stage.browser()
    page = await browser.follow(await browser.get("/shared/ways/add"))
    assert "method-bankid" in page.ids
    page = await browser.log_in("google", "maja")
    assert "method-mail" in page.ids
    assert "method-bankid" not in page.ids


async def test_she_takes_one_out(stage: Stage) -> None:
    """What it means is said before; its sessions and refresh tokens end, and its next login is somebody new."""
    browser, phone = stage.browser(), stage.browser()
    subject = await linked(stage, browser)
    await logs_in(stage, phone, "google")
    page = await own_page(stage, browser)
    which = 1 if page.text.index("Google") < page.text.index("Estonia") else 2
    link = re.search(rf'id="remove-way-{which}"[^>]*href="([^"]+)"', page.text)
    assert link is not None
    page = await browser.get(link[1])
    assert "30" in text_of(page)
    done = await browser.follow(await browser.press("remove"))
    assert "way=removed" in done.url
    assert await ways_of(stage, subject) == ["eid"]
    assert not await is_in(stage, phone)
    assert await is_in(stage, browser)
    assert await logs_in(stage, stage.browser(), "google") != subject
    assert "identity.removed" in await audited(stage, await customer_behind(stage, subject))


async def test_taking_out_the_way_she_is_in_by_logs_her_out(stage: Stage) -> None:
    """She was told so before."""
    browser = stage.browser()
    subject = await linked(stage, browser)
    page = await own_page(stage, browser)
    here = re.search(r'id="remove-way-2"[^>]*href="([^"]+)"', page.text)
    assert here is not None
    await browser.get(here[1])
    await browser.press("remove")
    assert not await is_in(stage, browser)
    assert await ways_of(stage, subject) == ["google"]


async def removal(stage: Stage, browser: Browser, which: int) -> Answer:
    """The page that asks whether her way in of that number is to go."""
    page = await own_page(stage, browser)
    link = re.search(rf'id="remove-way-{which}"[^>]*href="([^"]+)"', page.text)
    assert link is not None
    return await browser.get(link[1])


async def test_a_contact_goes_with_the_way_it_came_by(stage: Stage) -> None:
    """Her session is the eID's and told the mailbox's address; once the mailbox is taken out no partner is told it any more."""
    browser = stage.browser()
    await logs_in(stage, browser, "eid")
    stage.clock.forward(seconds=1)
    await browser.follow(await browser.get("/shared/ways/add"))
    await browser.log_in("mail", "maja")
    await browser.follow(await browser.press("join"))
    await removal(stage, browser, 2)
    await browser.press("remove")
    assert await is_in(stage, browser)
    tokens = await stage.shop.exchange(await browser.get(stage.shop.request()))
    assert tokens["claims"]["amr"] == ["eid"]
    info = (await stage.shop.userinfo(tokens["access_token"])).json
    assert "email" not in info


async def test_taking_one_out_needs_a_fresh_proof(stage: Stage) -> None:
    """Eleven minutes later she logs in once more, and is back on the very page; a form that stood open takes nothing out."""
    browser = stage.browser()
    subject = await linked(stage, browser)
    standing = await removal(stage, browser, 1)
    assert "remove" in standing.ids
    stage.clock.forward(minutes=11)
    stale = await browser.follow(await browser.press("remove"))
    assert stale.url.removeprefix("http://localhost:8700") == standing.url.removeprefix("http://localhost:8700")
    assert "renew" in stale.ids
    assert "remove" not in stale.ids
    assert await ways_of(stage, subject) == ["google", "eid"]
    link = re.search(r'id="renew"[^>]*href="([^"]+)"', stale.text)
    assert link is not None
    stage.clock.forward(seconds=1)
    page = await browser.follow(await browser.get(link[1]))
    assert "change how you log in" in text_of(page)
    back = await browser.log_in("eid", "maja")
    assert back.url == stale.url
    done = await browser.follow(await browser.press("remove"))
    assert "way=removed" in done.url
    assert await ways_of(stage, subject) == ["eid"]


async def test_bankid_is_proof_enough_to_take_one_out(stage: Stage) -> None:
    """It adds no way in; but nobody is kept from taking one out by it."""
    browser = stage.browser()
    page = await browser.follow(await browser.get("/shared/ways/renew?way=abc"))
    assert {"method-bankid", "method-google"} <= page.ids


async def test_whoever_else_proves_anew_takes_nothing_of_hers_out(stage: Stage) -> None:
    """Somebody at her computer logs in as himself: then it is his session, and his page."""
    browser = stage.browser()
    subject = await linked(stage, browser)
    page = await removal(stage, browser, 1)
    stage.clock.forward(minutes=11)
    page = await browser.get(page.url)
    link = re.search(r'id="renew"[^>]*href="([^"]+)"', page.text)
    assert link is not None
    await browser.follow(await browser.get(link[1]))
    await browser.log_in("google", "karl")
    done = await browser.follow(await browser.press("apart") if "apart" in (browser.page or page).ids else page)
    assert "remove" not in done.ids
    assert await ways_of(stage, subject) == ["google", "eid"]


@pytest.mark.parametrize(
    "name", ["", "//evil.example", "https://evil.example/", "../..", "a" * 65, "%0d%0aset-cookie:x"]
)
async def test_proving_anew_leads_to_no_page_but_hers(stage: Stage, name: str) -> None:
    """The name in the address is one of ours, or it is nothing."""
    browser = stage.browser()
    await browser.follow(await browser.get(f"/shared/ways/renew?way={name}"))
    stage.clock.forward(seconds=1)
    done = await browser.log_in("google", "maja")
    assert done.url.endswith("/shared")


async def test_what_was_taken_out_comes_back(stage: Stage) -> None:
    """Within thirty days, while nobody else has it, and only soon after she proved who she is."""
    browser = stage.browser()
    subject = await linked(stage, browser)
    page = await own_page(stage, browser)
    link = re.search(r'id="remove-way-1"[^>]*href="([^"]+)"', page.text)
    assert link is not None
    await browser.get(link[1])
    await browser.press("remove")
    page = await own_page(stage, browser)
    assert "restore-1" in page.ids
    stage.clock.forward(minutes=11)
    assert "restore-1" not in (await own_page(stage, browser)).ids
    browser.page = page
    stale = await browser.follow(await browser.press("restore-1"))
    assert "way=not_stale" in stale.url
    fresh = stage.browser()
    await logs_in(stage, fresh, "eid")
    await own_page(stage, fresh)
    done = await fresh.follow(await fresh.press("restore-1"))
    assert "way=restored" in done.url
    assert sorted(await ways_of(stage, subject)) == ["eid", "google"]
    assert await logs_in(stage, stage.browser(), "google") == subject


async def test_what_is_somebodys_by_now_does_not_come_back(stage: Stage) -> None:
    """Both accounts stay."""
    browser = stage.browser()
    subject = await linked(stage, browser)
    page = await own_page(stage, browser)
    link = re.search(r'id="remove-way-1"[^>]*href="([^"]+)"', page.text)
    assert link is not None
    await browser.get(link[1])
    await browser.press("remove")
    other = await logs_in(stage, stage.browser(), "google")
    await own_page(stage, browser)
    done = await browser.follow(await browser.press("restore-1"))
    assert "way=not_gone" in done.url
    assert other != subject
    assert await ways_of(stage, subject) == ["eid"]


@pytest.mark.parametrize("path", ["remove", "restore"])
async def test_forms_of_her_page_come_from_her_page(stage: Stage, path: str) -> None:
    """Without its token, from elsewhere, or without a session: nothing happens."""
    browser = stage.browser()
    subject = await linked(stage, browser)
    page = await own_page(stage, browser)
    link = re.search(r'id="remove-way-1"[^>]*way=([^"]+)"', page.text)
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert link is not None
    assert token is not None
    fields = {"csrf": token[1], "way": link[1], "answer": "remove"}
    assert (await browser.post(f"/shared/ways/{path}", {**fields, "csrf": ""})).status == 403
    assert (await browser.post(f"/shared/ways/{path}", fields, origin="https://evil.example")).status == 403
    assert (await stage.browser().post(f"/shared/ways/{path}", fields)).location.endswith("/shared")
    assert len(await ways_of(stage, subject)) == 2


async def test_another_customers_way_is_not_hers_to_take_out(stage: Stage) -> None:
    """Its name is as good as none."""
    hers, his = stage.browser(), stage.browser()
    subject = await linked(stage, hers)
    await logs_in(stage, his, "google", "karl")
    page = await own_page(stage, hers)
    link = re.search(r'id="remove-way-1"[^>]*way=([^"]+)"', page.text)
    his_page = await own_page(stage, his)
    token = re.search(r'name="csrf" value="([^"]+)"', his_page.text)
    assert link is not None
    assert token is not None
    done = await his.post("/shared/ways/remove", {"csrf": token[1], "way": link[1], "answer": "remove"})
    assert "way=not_gone" in done.location
    assert len(await ways_of(stage, subject)) == 2
    assert (await his.get(f"/shared/ways/remove?way={link[1]}")).location.endswith("/shared")


async def test_switched_off_nobody_is_asked(stage_folder: Path) -> None:
    """Every way is a customer of its own, and her page says so."""
    edit = {"  retention:\n": "  linking:\n    enabled: false\n  retention:\n"}
    async with open_ways(stage_folder, edit=edit) as stage:
        browser = stage.browser()
        hers = await logs_in(stage, browser, "google")
        assert await logs_in(stage, browser, "eid", prompt="login") != hers
        assert "add-way" not in (await own_page(stage, browser)).ids


async def test_the_choice_is_offered_at_the_shop_as_before(stage: Stage) -> None:
    """Whoever is not logged in and proves nothing sees nothing of all this."""
    page = await begin(stage, stage.browser())
    assert "join" not in page.ids


# What she is told


class Postbox:
    """A mail sender that keeps what it is given; ``is_full`` refuses everything."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.is_full = False

    async def send(self, mail: Mail, ref: str) -> Sent:
        if self.is_full:
            return Rejected(ReasonOf.BUSY)
        self.mails.append(mail)
        return Accepted(ref)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("is_full", [False, True])
async def test_she_is_told_at_the_contact_on_file(stage_folder: Path, is_full: bool) -> None:
    """Of a way added and of one removed, at the address from before; a mail that does not go out holds nobody up."""
    box = Postbox()
    box.is_full = is_full
    async with open_ways(stage_folder, messages=Messages(mail=box)) as stage:
        browser = stage.browser()
        await logs_in(stage, browser, "google")
        await written(stage)
        stage.connectors["mail"].addresses["maja"] = "new@example.com"  # type: ignore[attr-defined]
        await proves(stage, browser, "mail", prompt="login")
        subject = (await answers(stage, browser, "join"))["claims"]["sub"]
        page = await own_page(stage, browser)
        link = re.search(r'id="remove-way-2"[^>]*href="([^"]+)"', page.text)
        assert link is not None
        await browser.get(link[1])
        await browser.press("remove")
        assert len(await ways_of(stage, subject)) == 1
        async with asyncio.timeout(2):
            while not is_full and len(box.mails) < 3:
                await asyncio.sleep(0)
        if is_full:
            return
        assert box.mails[0].to == "maja@example.com"
        assert "Mailbox" in box.mails[0].text
        assert "/shared" in box.mails[0].text
        # The removal is told at both, for both were proven.
        assert {mail.to for mail in box.mails[1:]} == {"maja@example.com", "new@example.com"}
