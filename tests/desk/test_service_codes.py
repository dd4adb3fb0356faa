"""Customer service asks callers by a code to the contact on file: what proves, what does not, and what the agent never learns."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.core.assurance import Assurance
from broker.core.identity import ContactKind
from broker.errors import StoreDown
from broker.notify.gsm import SEGMENT_7BIT, size_of
from broker.notify.phone import PhoneRules
from broker.notify.ports import Messages, Reason, Rejected
from broker.stores.memory import MemoryState
from broker.stores.ports import ContactRecord, Op, StateStore
from broker.upstream.call_texts import call_sms_of
from broker.upstream.email_code import EmailCodeConnect, EmailCodeConnector
from broker.upstream.one_time_code import CodeConnector, Letter
from broker.upstream.sms_code import SmsCodeConnect, SmsCodeConnector
from tests.desk.test_service import PARTNERS, SERVICE, UPSTREAM, Crm, Staff, agent, look, standing
from tests.stage import Answer, Browser, Stage, open_stage
from tests.upstream.codes import E164, MAJA, NUMBER, PlayedSender

DESK = SERVICE.replace("methods: [bankid]", "methods: [email, sms]").replace("calls_per_hour: 12", "calls_per_hour: 60")


@dataclass
class Desk:
    """The broker whose customer service sends codes, and what it sent."""

    stage: Stage
    mail: PlayedSender
    sms: PlayedSender
    connectors: tuple[CodeConnector, ...]

    async def idle(self) -> None:
        for connector in self.connectors:
            await connector.courier.idle()

    async def customer(self, to: str = MAJA, sender: str = "mail") -> dict[str, Any]:
        """Somebody logs in at the shop by a code; what the shop is told."""
        browser = self.stage.browser()
        await browser.follow(await browser.get(self.stage.shop.request()))
        await browser.follow(await browser.press("identify", ("identifier", to)))
        await self.idle()
        code = getattr(self, sender).code
        back = await browser.follow(await browser.press("send-code", ("code", code)))
        found: dict[str, Any] = (await self.stage.shop.exchange(back))["claims"]
        for each in (self.mail, self.sms):
            each.sent.clear()
        return found

    async def asked(self, browser: Browser, to: str = MAJA, **fields: str) -> Answer:
        """The agent asks by the contact the caller states; the page of the case, when all messages have gone out."""
        await browser.get("/staff")
        sent = {"method": "email", "identifier": to, "reference": "T-1", "language": "en", **fields}
        page = await browser.follow(await browser.press("ask", *sent.items()))
        await self.idle()
        return page

    async def read_out(self, browser: Browser, page: Answer, code: str) -> Answer:
        """The agent types in what the caller read."""
        await browser.get(page.url)
        return await browser.follow(await browser.press("send-code", ("code", code)))

    def wrong(self, code: str, by: int = 1) -> str:
        return f"{(int(code) + by) % 10**6:06}"


@asynccontextmanager
async def open_desk(folder: Path, *, state: StateStore | None = None) -> AsyncIterator[Desk]:
    """A broker with played staff, whose codes are real."""
    edit = {
        "\nupstreams:\n": UPSTREAM,
        "  tyre-shop:\n    names:": "  tyre-shop:\n    sector: nordhjul\n    names:",
        "\npartners:\n": PARTNERS,
        "\nagreements:\n": f"{DESK}\nagreements:\n",
    }
    mail, sms, numbers = PlayedSender(), PlayedSender(), PhoneRules(["SE", "FI"], "SE")
    # They are told of the broker they belong to when there is one.
    by_mail = EmailCodeConnector.__new__(EmailCodeConnector)
    by_sms = SmsCodeConnector.__new__(SmsCodeConnector)
    by_mail.id, by_sms.id = "email", "sms"
    async with open_stage(
        folder,
        edit=edit,
        state=state,
        cast=lambda clock: {"staff": Staff("staff", Assurance.SELF_ASSERTED, clock), "email": by_mail, "sms": by_sms},
        messages=Messages(mail, sms, numbers),
    ) as stage:
        context = stage.broker.context
        by_mail.__init__("email", EmailCodeConnect(), mail=mail, context=context)  # type: ignore[misc]
        by_sms.__init__("sms", SmsCodeConnect(), sms=sms, numbers=numbers, context=context)  # type: ignore[misc]
        yield Desk(stage, mail, sms, (by_mail, by_sms))


@pytest_asyncio.fixture
async def desk(stage_folder: Path) -> AsyncIterator[Desk]:
    async with open_desk(stage_folder) as opened:
        yield opened


async def test_the_way_that_was_chosen_is_kept(desk: Desk) -> None:
    """What cannot be a phone number is said beside the choice of text messages, not of what stands first."""
    page = await desk.asked(await agent(desk.stage), "Maja", method="sms")
    assert page.status == 422
    assert re.search(r'id="method-sms"[^>]* checked', page.text)
    assert not re.search(r'id="method-email"[^>]* checked', page.text)


def status(page: Answer) -> str:
    """What the page says about how it goes."""
    return page.text.partition('id="status"')[2].partition(">")[2].partition("<")[0]


async def test_the_caller_reads_the_code_out(desk: Desk) -> None:
    """The agent sees that it is confirmed and that the caller is a customer: no name, no address, no code."""
    await desk.customer()
    browser = await agent(desk.stage)
    page = await desk.asked(browser)
    assert (standing(page), status(page)) == ("waiting", "If this contact is on file, a code is on its way there.")
    assert [mail.to for mail in desk.mail.sent] == [MAJA]
    done = await desk.read_out(browser, page, desk.mail.code)
    assert standing(done) == "confirmed"
    assert "is a customer here" in done.text
    assert "maja" not in (done.text + (await browser.get("/staff")).text).lower()


async def test_by_text_message(desk: Desk) -> None:
    """The number is read as people say it; the message is one segment, without the line that browsers fill in."""
    await desk.customer(NUMBER, "sms")
    browser = await agent(desk.stage)
    page = await desk.asked(browser, NUMBER, method="sms")
    assert [sms.to for sms in desk.sms.sent] == [E164]
    assert "@" not in desk.sms.text
    code = re.findall(r"[0-9]{6}", desk.sms.text)[0]
    assert standing(await desk.read_out(browser, page, code)) == "confirmed"


async def test_the_message_is_no_login_code(desk: Desk) -> None:
    """It names customer service, is to be read to one person, and holds no link."""
    await desk.customer()
    for language, words in {
        "sv": "kundtjänst",
        "fi": "asiakaspalvelu",
        "pl": "obsługi klienta",
        "en": "customer service",
    }.items():
        desk.stage.clock.forward(minutes=11)
        await desk.asked(await agent(desk.stage), language=language)
        mail = desk.mail.sent[-1]
        assert words in mail.subject.lower() + mail.text.lower()
        assert "Stafett" in mail.subject
        assert "http" not in mail.text + mail.html


async def test_a_hyphen_belongs_to_an_address(desk: Desk) -> None:
    """Nobody else's address comes of what the agent typed."""
    await desk.customer("anna-karin@example.com")
    await desk.customer("annakarin@example.com")
    await desk.asked(await agent(desk.stage), " Anna-Karin@Example.com ")
    assert [mail.to for mail in desk.mail.sent] == ["Anna-Karin@example.com"]


async def test_a_contact_of_nobody_looks_the_same(desk: Desk) -> None:
    """Page, words, tries, end and record are those of a contact on file; only that nothing is sent."""
    await desk.customer()
    browser = await agent(desk.stage)

    async def story(to: str) -> list[tuple[int, str]]:
        page, seen = await desk.asked(browser, to), list[Answer]()
        seen.append(page)
        for number in range(5):
            desk.stage.clock.forward(seconds=10)
            code = desk.wrong(desk.mail.code, number + 1) if to == MAJA else f"00000{number}"
            seen.append(await desk.read_out(browser, page, "x"))
            seen.append(await desk.read_out(browser, page, code))
            seen.append(await browser.get(f"{page.url}/poll"))
        return [(each.status, re.sub(r"[A-Za-z0-9_-]{20,}|[0-9]+:[0-9]+", "*", each.text)) for each in seen]

    known = await story(MAJA)
    assert len(desk.mail.sent) == 1
    desk.stage.clock.forward(minutes=61)
    assert await story("nobody@example.com") == known
    assert len(desk.mail.sent) == 1
    assert "The code was wrong too many times" in known[-1][1] + known[-2][1]


async def test_whether_it_is_anybodys_takes_no_longer(stage_folder: Path) -> None:
    """While the agent waits nobody asks whose the contact is: the same round trips to the store, none to the records."""
    state = Watched()
    async with open_desk(stage_folder, state=state) as desk:
        await desk.customer()
        browser, costs = await agent(desk.stage), list[list[tuple[str, ...]]]()
        for to in (MAJA, "nobody@example.com"):
            await browser.get("/staff")
            state.trips.clear()
            await browser.press("ask", ("method", "email"), ("identifier", to), ("reference", ""), ("language", "en"))
            costs.append(list(state.trips))
            await desk.idle()
        assert costs[0] == costs[1]


class Watched(MemoryState):
    """State in memory that remembers what it was asked, and can be down."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.trips: list[tuple[str, ...]] = []
        self.is_down = False

    async def run(self, *ops: Op) -> Any:
        if self.is_down:
            raise StoreDown("played to be down")
        self.trips.append(tuple(type(op).__name__ for op in ops))
        return await super().run(*ops)


async def test_a_code_that_never_was_sent_proves_nothing(desk: Desk) -> None:
    """Even who guesses the code for a contact of nobody is not believed."""
    desk.connectors[0]._draw = lambda: "123456"
    browser = await agent(desk.stage)
    page = await desk.asked(browser, "nobody@example.com")
    assert desk.mail.sent == []
    assert standing(await desk.read_out(browser, page, "123456")) == "not_confirmed"


async def test_five_wrong_codes_are_the_end(desk: Desk) -> None:
    """And the right one comes too late; what is no code costs no try."""
    await desk.customer()
    browser = await agent(desk.stage)
    page = await desk.asked(browser)
    code = desk.mail.code
    for number in range(1, 5):
        desk.stage.clock.forward(seconds=10)
        seen = await desk.read_out(browser, page, desk.wrong(code, number))
        assert (standing(seen), status(seen)) == ("waiting", "That is not the code. Ask the caller to read it again.")
        assert status(await desk.read_out(browser, page, "Maja")) == "The code is six digits."
    desk.stage.clock.forward(seconds=10)
    kept = browser.page
    assert standing(await desk.read_out(browser, page, desk.wrong(code, 5))) == "not_confirmed"
    browser.page = kept
    assert standing(await browser.follow(await browser.press("send-code", ("code", code)))) == "not_confirmed"


async def test_programs_are_too_fast(desk: Desk) -> None:
    """After the second wrong code the next one is not compared at once."""
    await desk.customer()
    browser = await agent(desk.stage)
    page = await desk.asked(browser)
    for number in (1, 2):
        await desk.read_out(browser, page, desk.wrong(desk.mail.code, number))
    assert status(await desk.read_out(browser, page, desk.mail.code)).startswith("That was a little fast")
    desk.stage.clock.forward(seconds=2)
    assert standing(await desk.read_out(browser, page, desk.mail.code)) == "confirmed"


async def test_of_many_at_once_five_count(desk: Desk) -> None:
    """Tabs of one agent try no more codes than one after the other does."""
    await desk.customer()
    browser = await agent(desk.stage)
    page = await desk.asked(browser)
    tabs = [browser.copy() for _ in range(30)]
    for tab in tabs:
        tab.page = browser.page
    wrong = [desk.wrong(desk.mail.code, number + 1) for number in range(30)]
    await asyncio.gather(*(tab.press("send-code", ("code", code)) for tab, code in zip(tabs, wrong, strict=True)))
    desk.stage.clock.forward(seconds=20)
    again = await desk.read_out(browser, page, desk.mail.code)
    assert standing(again) in {"confirmed", "not_confirmed"}


async def test_the_code_of_another_case(desk: Desk) -> None:
    """It is bound to the case it was sent for, even of one agent about one caller."""
    await desk.customer()
    browser = await agent(desk.stage)
    one = await desk.asked(browser)
    code = desk.mail.code
    other = await desk.asked(browser)
    if desk.mail.code != code:
        assert standing(await desk.read_out(browser, other, code)) == "waiting"
    assert standing(await desk.read_out(browser, one, code)) == "confirmed"


async def test_a_code_for_logging_in_is_not_taken(desk: Desk) -> None:
    """Nor does the code for customer service log anybody in: even equal digits are two codes."""
    await desk.customer()
    for connector in desk.connectors:
        connector._draw = iter(["111111", "222222"]).__next__
    browser, caller = await agent(desk.stage), desk.stage.browser()
    page = await desk.asked(browser)
    await caller.follow(await caller.get(desk.stage.shop.request()))
    await caller.follow(await caller.press("identify", ("identifier", MAJA)))
    await desk.idle()
    assert desk.mail.code == "222222"
    assert "code=" not in (await caller.follow(await caller.press("send-code", ("code", "111111")))).location
    assert standing(await desk.read_out(browser, page, "222222")) == "waiting"
    connector = desk.connectors[0]
    assert isinstance(connector, EmailCodeConnector)
    assert connector._call_mac("same", "111111") != connector._digester.digest("code", "email", "same", "111111")


async def test_used_once(desk: Desk) -> None:
    """The form sent again shows what there is; a new case needs a new code."""
    await desk.customer()
    browser = await agent(desk.stage)
    page = await desk.asked(browser)
    form, code = browser.page, desk.mail.code
    assert standing(await desk.read_out(browser, page, code)) == "confirmed"
    browser.page = form
    assert standing(await browser.follow(await browser.press("send-code", ("code", code)))) == "confirmed"
    await desk.stage.broker.context.audit.flush()
    ended = [event for event in await desk.stage.records.audit_of("", 100) if event.action == "desk.ended"]
    assert len(ended) <= 1


@pytest.mark.parametrize(("method", "to", "minutes"), [("email", MAJA, 10), ("sms", NUMBER, 5)])
async def test_a_code_that_is_too_old(desk: Desk, method: str, to: str, minutes: int) -> None:
    """Ten minutes for mail, five for text messages, and the case is over with it."""
    sender = "mail" if method == "email" else "sms"
    await desk.customer(to, sender)
    browser = await agent(desk.stage)
    page = await desk.asked(browser, to, method=method)
    desk.stage.clock.forward(minutes=minutes, seconds=-1)
    assert standing(await browser.get(page.url)) == "waiting"
    form = browser.page
    desk.stage.clock.forward(seconds=1)
    browser.page = form
    code = re.findall(r"[0-9]{6}|[0-9]{3} [0-9]{3}", getattr(desk, sender).text)[0]
    assert standing(await browser.follow(await browser.press("send-code", ("code", code)))) == "not_confirmed"


async def test_another_agent_types_it(desk: Desk) -> None:
    """The case is that of the agent who opened it: another one's try is no try."""
    await desk.customer()
    browser = await agent(desk.stage, "maja")
    page = await desk.asked(browser)
    other = await agent(desk.stage, "karl")
    assert other.page is not None
    csrf = other.page.text.partition('name="csrf" value="')[2].partition('"')[0]
    for _ in range(6):
        answer = await other.post(page.url, {"csrf": csrf, "do": "code", "code": desk.mail.code})
        assert answer.status in {404, 410}
    assert standing(await desk.read_out(browser, page, desk.mail.code)) == "confirmed"


async def test_a_form_from_elsewhere(desk: Desk) -> None:
    """Another site cannot have the agent try codes."""
    await desk.customer()
    browser = await agent(desk.stage)
    page = await desk.asked(browser)
    assert (await browser.post(page.url, {"do": "code", "code": desk.mail.code})).status == 403
    assert await look(browser, page) == "waiting"


async def test_limits_are_those_of_the_address(desk: Desk) -> None:
    """Three messages in ten minutes, by whomever and for whatever; the same for a contact of nobody."""
    await desk.customer()
    for to in (MAJA, "nobody@example.com"):
        browser = await agent(desk.stage)
        for _ in range(2 if to == MAJA else 3):
            assert standing(await desk.asked(browser, to)) == "waiting"
        page = await desk.asked(browser, to)
        assert (page.status, "Several codes have been sent there lately" in page.text) == (422, True)
    assert len(desk.mail.sent) == 2


async def test_tries_count_over_all_cases(desk: Desk) -> None:
    """Ten in an hour for one address, as for logins."""
    await desk.customer()
    desk.stage.clock.forward(minutes=61)
    browser = await agent(desk.stage)
    for _ in range(3):
        page = await desk.asked(browser)
        for number in range(1, 5):
            desk.stage.clock.forward(seconds=10)
            seen = await desk.read_out(browser, page, desk.wrong(desk.mail.code, number))
    assert status(seen).startswith("Too many codes have been tried for this contact")
    desk.stage.clock.forward(seconds=10)
    assert standing(await desk.read_out(browser, page, desk.mail.code)) == "waiting"


@pytest.mark.parametrize("to", ["maja", "maja@localhost", "070-1", "", "+46 8 123 456 78 90 12"])
async def test_what_is_no_contact(desk: Desk, to: str) -> None:
    """The page says so at once: that is no secret."""
    browser = await agent(desk.stage)
    for method in ("email", "sms"):
        page = await desk.asked(browser, to, method=method)
        assert (page.status, "problem" in page.ids) == (422, True)
    assert desk.mail.sent == desk.sms.sent == []


async def test_a_contact_proven_long_ago(desk: Desk) -> None:
    """Numbers and addresses change hands: after half a year without a login it is nobody's."""
    await desk.customer()
    desk.stage.clock.forward(days=181)
    browser = await agent(desk.stage)
    page = await desk.asked(browser)
    assert standing(page) == "waiting"
    assert desk.mail.sent == []


async def on_file(desk: Desk, who: str, address: str = MAJA, ago: timedelta = timedelta(), way: str = "google") -> str:
    """*who* has proven *address* at Google, which vouches for it; her internal id."""
    context = desk.stage.broker.context
    await desk.stage.shop_login(desk.stage.browser(), way, who)
    # What the login itself writes of her contact comes beside it, and would replace what is written here.
    await context.audit.flush()
    lookup = context.lookup.digest(f"https://{way}.test", f"subject-of-{who}")
    customer = await desk.stage.records.customer_of(lookup)
    assert customer is not None
    digest = context.lookup.digest("contact", ContactKind.EMAIL.value, address)
    at = desk.stage.clock() - ago
    await desk.stage.records.save_contacts(lookup, [ContactRecord(digest, lookup, "email", b"sealed", at)])
    return customer


async def test_a_contact_that_was_proven_elsewhere(desk: Desk) -> None:
    """A provider that is trusted for it counts, and the caller is known as its customer."""
    await on_file(desk, "maja")
    browser = await agent(desk.stage)
    page = await desk.asked(browser)
    done = await desk.read_out(browser, page, desk.mail.code)
    assert "is a customer here" in done.text


@pytest.mark.parametrize("case", ["two", "old", "two_by_code"])
async def test_a_contact_of_more_than_one_or_none_any_more(desk: Desk, case: str) -> None:
    """Of two customers nobody can be meant, and what was proven too long ago is nobody's."""
    if case == "two_by_code":
        await desk.customer()
    else:
        await on_file(desk, "maja", ago=timedelta(days=181) if case == "old" else timedelta())
    if case != "old":
        await on_file(desk, "karl")
    page = await desk.asked(await agent(desk.stage))
    assert standing(page) == "waiting"
    assert desk.mail.sent == []


async def test_a_contact_that_a_way_that_may_not_vouch_has_proven(desk: Desk) -> None:
    """What an upstream that may not bootstrap other methods said of an address makes it nobody's here."""
    await on_file(desk, "maja", way="bankid")
    page = await desk.asked(await agent(desk.stage))
    assert standing(page) == "waiting"
    assert desk.mail.sent == []


async def test_what_became_of_the_message_is_not_told(desk: Desk) -> None:
    """The agent would learn that there was somebody to write to."""
    await desk.customer()
    desk.mail.answer = Rejected(Reason.RECIPIENT, code="550")
    browser = await agent(desk.stage)
    page = await desk.asked(browser)
    desk.stage.clock.forward(seconds=15)
    seen = await browser.get(page.url)
    assert (standing(seen), status(seen)) == ("waiting", "If this contact is on file, a code is on its way there.")


async def test_nothing_of_it_logs_anybody_in(desk: Desk) -> None:
    """The caller has no session by it, the agent's stays as it was, and nobody becomes a customer."""
    await desk.customer()
    browser = await agent(desk.stage)
    session = browser.cookies["__Host-stafett-session"]
    page = await desk.asked(browser)
    await desk.read_out(browser, page, desk.mail.code)
    assert browser.cookies["__Host-stafett-session"] == session


async def test_a_store_that_is_down(stage_folder: Path) -> None:
    """Asking fails aloud and sends nothing; a code is not used up by it."""
    state = Watched()
    async with open_desk(stage_folder, state=state) as desk:
        await desk.customer()
        browser = await agent(desk.stage)
        await desk.asked(browser)
        code, form = desk.mail.code, browser.page
        state.is_down = True
        assert (await browser.press("send-code", ("code", code))).status == 503
        state.is_down = False
        browser.page = form
        desk.stage.clock.forward(seconds=16)
        assert standing(await browser.follow(await browser.press("send-code", ("code", code)))) == "confirmed"
        await browser.get("/staff")
        state.is_down = True
        answer = await browser.press("ask", ("method", "email"), ("identifier", MAJA), ("language", "en"))
        assert (answer.status, len(desk.mail.sent)) == (503, 1)


async def test_by_the_agents_own_tool(desk: Desk) -> None:
    """The same by the API: what became of a code is told, the customer by the number the shop knows."""
    claims = await desk.customer()
    crm = await Crm.of(desk.stage)
    opened = await crm.call("/desk/cases", {"method": "email", "identifier": MAJA})
    await desk.idle()
    assert (opened.status, opened.json["standing"], opened.json["code"]) == (201, "waiting", "sent")
    case = f"/desk/cases/{opened.json['case']}"
    for typed, expected in (("x", "malformed"), (desk.wrong(desk.mail.code), "wrong")):
        tried = await crm.call(f"{case}/code", {"code": typed})
        assert (tried.status, tried.json["standing"], tried.json["code"]) == (200, "waiting", expected)
    done = await crm.call(f"{case}/code", {"code": desk.mail.code})
    assert done.json == {
        "case": opened.json["case"],
        "reference": "",
        "standing": "confirmed",
        "assurance": "contact",
        "sub": claims["sub"],
    }


@pytest.mark.parametrize("body", [{}, {"code": 123456}, {"code": "123456", "name": "Maja"}, {"code": "1" * 201}])
async def test_bodies_that_are_refused(desk: Desk, body: dict[str, Any]) -> None:
    """In a sentence that repeats nothing of it; no try is used up."""
    await desk.customer()
    crm = await Crm.of(desk.stage)
    opened = await crm.call("/desk/cases", {"method": "email", "identifier": MAJA})
    await desk.idle()
    case = f"/desk/cases/{opened.json['case']}"
    answer = await crm.call(f"{case}/code", body)
    assert (answer.status, "Maja" in answer.text) == (400, False)
    assert (await crm.call("/desk/cases/AAAAAAAAAAAAAAAAAAAAAA/code", {"code": "123456"})).status == 404
    assert (await Crm(desk.stage, "x" * 60).call(f"{case}/code", {"code": desk.mail.code})).status == 401
    assert (await crm.call(f"{case}/code", {"code": desk.mail.code})).json["standing"] == "confirmed"


@pytest.mark.parametrize("language", ["sv", "fi", "pl", "en"])
@pytest.mark.parametrize("party", ["Nordhjul", "Åkes Däck & Fälg i Östersund Aktiebolag (publ) med långt namn"])
def test_a_text_message_is_one_segment(language: str, party: str) -> None:
    """However long the name is; the code and whom it is for are in it."""
    letter = Letter("123456", "", "", party, party, "https://login.example", language, 5, is_read_out=True)
    text = call_sms_of(letter)
    assert size_of(text).units <= SEGMENT_7BIT
    assert "123456" in text
    assert "\n" not in text
