"""Customer service asks callers: who may, what the agent sees, and what she does not."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.identity import Evidence
from broker.errors import BadAsk, Stopped, UpstreamDown, UpstreamRefused
from broker.upstream.port import Call, Done, Reply, Ringing
from tests.stage import ISSUER, Answer, Browser, Partner, PlayedConnector, Stage, open_stage

NUMBER = "195704289999"
UPSTREAM = """\nupstreams:
  staff:
    kind: oidc
    titles: {en: Staff}
    ceiling: self-asserted
    may_bootstrap_other_methods: false
    connect:
      issuer: http://127.0.0.1:8703
      client_id: stafett
      client_secret: file:secrets/google
      roles_claim: groups
      roles: {g-42: customer-service}
"""
PARTNERS = """\npartners:
  crm:
    names: {en: CRM}
    home_uri: https://crm.example/
    sector: nordhjul
    oidc:
      client_id: crm-web
      auth: client_secret_basic
      secret: file:secrets/tyre-shop
      redirect_uris: [https://crm.example/cb]
      refresh_tokens: {}
    login: {upstreams: [staff], consent: implied}
"""
DESK = """\nagreements:\n"""
SERVICE = "\nservice_desk: {upstreams: [staff], role: customer-service, methods: [bankid], clients: [crm], calls_per_hour: 12}\n"


class Staff(PlayedConnector):
    """The company's own provider: ``roles`` of whoever logs in next."""

    roles: tuple[str, ...] = ("customer-service",)

    async def resume(self, state: bytes, reply: Reply) -> Done:
        done = await super().resume(state, reply)
        assert isinstance(done, Done)
        return Done(replace(done.evidence, roles=self.roles))


class Phone(PlayedConnector):
    """BankID, which can ask callers: ``answer`` is what they say."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.answer: Exception | str | None = None
        self.calls: list[Call] = []
        self.looks = 0
        self.hung_up: list[bytes] = []

    async def begin_call(self, call: Call) -> bytes:
        if not call.identifier.isdigit():
            raise BadAsk("not a number", code="call.personal_number")
        if isinstance(self.answer, UpstreamDown):
            raise self.answer
        self.calls.append(call)
        return b"rings"

    async def look_at_call(self, state: bytes, now: datetime) -> Done | Ringing:
        self.looks += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            return Ringing(b"rings", "bankid.RFA1")
        evidence: Evidence = self._evidence(self.answer)
        return Done(evidence)

    async def hang_up(self, state: bytes) -> None:
        self.hung_up.append(state)


@pytest_asyncio.fixture
async def staged(stage_folder: Path) -> AsyncIterator[Stage]:
    edit = {
        "  tyre-shop:\n    names:": "  tyre-shop:\n    sector: nordhjul\n    names:",
        "\nupstreams:\n": UPSTREAM,
        "\npartners:\n": PARTNERS,
        "\nagreements:\n": SERVICE + DESK,
    }
    cast = lambda clock: {  # noqa: E731
        "staff": Staff("staff", Assurance.SELF_ASSERTED, clock),
        "bankid": Phone("bankid", Assurance.SUBSTANTIAL, clock),
    }
    async with open_stage(stage_folder, edit=edit, cast=cast) as stage:
        yield stage


@pytest.fixture
def phone(staged: Stage) -> Phone:
    connector = staged.connectors["bankid"]
    assert isinstance(connector, Phone)
    return connector


async def come_in(browser: Browser, path: str, who: str = "karl") -> Answer:
    """*who* goes to *path* and is sent to the company's own provider at once: there is no other way in."""
    gone = await browser.follow(await browser.get(path))
    assert gone.location.startswith("https://staff.test/"), gone.text
    return await browser.follow(await browser.get(f"/up/staff/callback?state={gone.query['state']}&who={who}"))


async def agent(stage: Stage, who: str = "karl") -> Browser:
    """A member of staff, on the desk's page."""
    browser = stage.browser()
    page = await come_in(browser, "/staff", who)
    assert "ask" in page.ids, page.text
    return browser


async def ask(browser: Browser, identifier: str = "19570428-9999", **fields: str) -> Answer:
    sent = {"method": "bankid", "identifier": identifier, "reference": "T-1", "language": "sv", **fields}
    return await browser.follow(await browser.press("ask", *sent.items()))


def standing(page: Answer) -> str:
    return page.text.partition('data-standing="')[2].partition('"')[0]


async def look(browser: Browser, page: Answer) -> str:
    return standing(await browser.get(page.url))


async def test_a_caller_confirms(staged: Stage, phone: Phone) -> None:
    """The agent sees that it is confirmed, and that the caller is a customer; no name, no number."""
    await staged.shop_login(staged.browser(), "bankid", "maja")
    browser = await agent(staged)
    page = await ask(browser)
    assert standing(page) == "waiting"
    (call,) = phone.calls
    assert (call.identifier, call.party, call.language, call.incoming) == (NUMBER, "Stafett", "sv", True)
    phone.answer = "maja"
    done = await browser.get(page.url)
    assert standing(done) == "confirmed"
    assert "known" in done.ids
    assert "Maja" not in done.text + (await browser.get("/staff")).text
    assert NUMBER not in done.text
    assert "is a customer here" in done.text


async def test_nothing_of_a_call_logs_anybody_in(staged: Stage, phone: Phone) -> None:
    """A stranger who confirms becomes no customer, and no browser gets a session."""
    browser = await agent(staged)
    page = await ask(browser)
    phone.answer = "karl"
    done = await browser.get(page.url)
    assert "is not a customer here yet" in done.text
    session = browser.cookies["__Host-stafett-session"]
    assert (await browser.get(page.url)).status == 200
    assert browser.cookies["__Host-stafett-session"] == session
    await staged.broker.context.audit.flush()
    assert "customer.created" not in {event.action for event in await staged.records.audit_of("", 10)}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (UpstreamRefused("no", code="bankid.user_declined_call", message_key="bankid.call_declined"), "declined"),
        (UpstreamRefused("no", code="bankid.certificate_err", message_key="bankid.RFA16"), "not_confirmed"),
        (Stopped("cancelled"), "not_confirmed"),
        (UpstreamDown("ill"), "unavailable"),
    ],
)
async def test_how_else_it_ends(staged: Stage, phone: Phone, answer: Exception, expected: str) -> None:
    """Each in its own words, and for good."""
    browser = await agent(staged)
    page = await ask(browser)
    phone.answer, phone.looks = answer, 0
    assert await look(browser, page) == expected
    phone.answer = "maja"
    assert await look(browser, page) == expected
    assert phone.looks == 1


async def test_a_call_that_is_never_answered(staged: Stage, phone: Phone) -> None:
    """It is over after five minutes, and off the caller's phone."""
    browser = await agent(staged)
    page = await ask(browser)
    staged.clock.forward(minutes=6)
    assert await look(browser, page) == "not_confirmed"
    assert phone.hung_up == [b"rings"]


async def test_the_agent_gives_up(staged: Stage, phone: Phone) -> None:
    """The order is withdrawn; a late answer changes nothing."""
    browser = await agent(staged)
    page = await ask(browser)
    await browser.follow(await browser.press("cancel"))
    phone.answer = "maja"
    assert await look(browser, page) == "cancelled"
    assert phone.hung_up == [b"rings"]


async def test_who_is_no_member_of_staff(staged: Stage, phone: Phone) -> None:
    """A customer's session does not open the page, and a customer's ways in are not offered there."""
    customer = staged.browser()
    await staged.shop_login(customer, "google")
    shown = await customer.follow(await customer.get("/staff"))
    assert shown.location.startswith("https://staff.test/")
    for path in ("/staff/cases/AAAAAAAAAAAAAAAAAAAAAA", "/staff/cases/AAAAAAAAAAAAAAAAAAAAAA/poll"):
        assert (await customer.get(path)).status == 403
    assert (await customer.post("/staff", {"method": "bankid", "identifier": NUMBER})).status == 403
    assert phone.calls == []


async def test_staff_without_the_role(staged: Stage, phone: Phone) -> None:
    """To be employed is not enough."""
    staff = staged.connectors["staff"]
    assert isinstance(staff, Staff)
    staff.roles = ()
    browser = staged.browser()
    refused = await come_in(browser, "/staff")
    assert refused.status == 403
    assert "is not one that may ask callers" in refused.text
    assert (await browser.post("/staff", {"method": "bankid", "identifier": NUMBER})).status == 403
    assert phone.calls == []


async def test_staffs_way_in_is_nobody_elses(staged: Stage) -> None:
    """Customers are not offered it, at partners or on their own pages, and its session serves none of them."""
    browser = staged.browser()
    for path in (staged.shop.request(), "/shared/log-in"):
        assert "method-staff" not in (await browser.follow(await browser.get(path))).ids
    staff = await agent(staged)
    shown = await staff.follow(await staff.get(staged.shop.request()))
    assert "code" not in shown.query


async def test_staffs_tools_are_shown_to_nobody_else(staged: Stage) -> None:
    """A customer's own pages, and pages about what went wrong, lead to partners, not to the tool of their staff."""
    browser = staged.browser()
    for path in ("/", "/nowhere"):
        shown = await browser.get(path)
        assert "go-tyre-shop" in shown.ids
        assert "go-crm" not in shown.ids


async def test_one_agent_does_not_see_anothers_cases(staged: Stage, phone: Phone) -> None:
    """Not in the list, and not by the address."""
    page = await ask(await agent(staged, "maja"))
    other = await agent(staged, "karl")
    assert "T-1" not in (await other.get("/staff")).text
    assert (await other.get(page.url)).status in {404, 410}
    assert (await other.post(page.url, {})).status in {403, 404, 410}
    assert phone.hung_up == []


async def test_a_form_from_elsewhere(staged: Stage, phone: Phone) -> None:
    """Another site cannot have an agent ask."""
    browser = await agent(staged)
    fields = {"method": "bankid", "identifier": NUMBER}
    assert (await browser.post("/staff", fields)).status == 403
    assert (await browser.post("/staff", fields | {"csrf": "x" * 40})).status == 403
    assert phone.calls == []


@pytest.mark.parametrize(
    "fields",
    [{"identifier": "Maja"}, {"identifier": ""}, {"reference": "x" * 81}, {"method": "google"}, {"method": ""}],
)
async def test_what_cannot_be_asked(staged: Stage, phone: Phone, fields: dict[str, str]) -> None:
    """The page says so, and keeps what was typed."""
    browser = await agent(staged)
    page = await ask(browser, **fields)
    assert (page.status, "problem" in page.ids) == (422, True)
    assert phone.calls == []


async def test_what_was_chosen_is_kept(staged: Stage, phone: Phone) -> None:
    """Who called whom and in which language stand as they were sent; whoever mistypes a number chooses nothing twice."""
    browser = await agent(staged)
    page = await ask(browser, "Maja", initiator="us", language="fi")
    assert re.search(r'id="initiator-us"[^>]* checked', page.text)
    assert not re.search(r'id="initiator-caller"[^>]* checked', page.text)
    assert '<option value="fi" selected>' in page.text


async def test_the_callers_language_is_at_first_the_agents(staged: Stage) -> None:
    """Most callers speak the language of whom they call."""
    page = await (await agent(staged)).get("/staff", **{"accept-language": "pl"})
    assert '<option value="pl" selected>' in page.text


async def test_bankid_is_ill_when_the_agent_asks(staged: Stage, phone: Phone) -> None:
    """A problem on the page, no case."""
    browser = await agent(staged)
    phone.answer = UpstreamDown("ill")
    page = await ask(browser)
    assert (page.status, "problem" in page.ids) == (422, True)


async def test_nobodys_phone_rings_all_the_time(staged: Stage, phone: Phone) -> None:
    """Five times in ten minutes for one person, by whichever agent; and an agent has a limit too."""
    browser = await agent(staged)
    for _ in range(5):
        await ask(browser)
        await browser.get("/staff")
    assert (await ask(browser)).status == 422
    other = await agent(staged, "maja")
    assert (await ask(other)).status == 422
    assert len(phone.calls) == 5
    staged.clock.forward(minutes=11)
    for number in range(6):
        await browser.get("/staff")
        await ask(browser, f"19570428999{number}")
    await browser.get("/staff")
    assert (await ask(browser, "195704289990")).status == 422


async def test_two_tabs_ask_the_provider_one_at_a_time(staged: Stage, phone: Phone) -> None:
    """The final answer is given once, and both tabs see it."""
    browser = await agent(staged)
    page = await ask(browser)
    phone.answer, phone.looks = "maja", 0
    await asyncio.gather(*(browser.copy().get(f"{page.url}/poll") for _ in range(8)))
    assert phone.looks == 1
    assert await look(browser, page) == "confirmed"


async def test_it_is_on_record(staged: Stage, phone: Phone) -> None:
    """Who asked, by what, how it ended; with the customer where it was one."""
    await staged.shop_login(staged.browser(), "bankid", "maja")
    browser = await agent(staged)
    page = await ask(browser)
    phone.answer = "maja"
    await browser.get(page.url)
    await staged.broker.context.audit.flush()
    maja = await staged.records.customer_of(
        staged.broker.context.lookup.digest("https://bankid.test", "subject-of-maja")
    )
    assert maja is not None
    (ended,) = [event for event in await staged.records.audit_of(maja, 50) if event.action == "desk.ended"]
    assert '"standing":"confirmed"' in ended.facts.replace(" ", "")
    assert NUMBER not in ended.facts
    assert "T-1" not in ended.facts


class Crm:
    """An agent's own tool."""

    def __init__(self, stage: Stage, token: str) -> None:
        self.stage = stage
        self.headers = {"authorization": f"Bearer {token}"}

    @classmethod
    async def of(cls, stage: Stage, scope: str = "openid service_desk") -> "Crm":
        partner = Partner(stage, "crm-web", "https://crm.example/cb", scope=scope)
        browser = stage.browser()
        back = await come_in(browser, partner.request())
        return cls(stage, (await partner.exchange(back))["access_token"])

    async def call(self, path: str, body: Any = None) -> Answer:
        if body is None:
            return Answer(await self.stage.client.get(path, headers=self.headers))
        return Answer(await self.stage.client.post(path, json=body, headers=self.headers))


async def test_by_the_agents_own_tool(staged: Stage, phone: Phone) -> None:
    """The same by an access token; a confirmed customer is told by the number the shop knows."""
    tokens = await staged.shop_login(staged.browser(), "bankid", "maja")
    crm = await Crm.of(staged)
    body = {"method": "bankid", "identifier": NUMBER, "reference": "T-9", "language": "fi", "initiator": "us"}
    opened = await crm.call("/desk/cases", body)
    assert (opened.status, opened.json["standing"], opened.json["reference"]) == (201, "waiting", "T-9")
    assert (phone.calls[0].language, phone.calls[0].incoming) == ("fi", False)
    case = f"/desk/cases/{opened.json['case']}"
    assert (await crm.call(case)).json["standing"] == "waiting"
    phone.answer = "maja"
    assert (await crm.call(case)).json == {
        "case": opened.json["case"],
        "reference": "T-9",
        "standing": "confirmed",
        "assurance": "substantial",
        "sub": tokens["claims"]["sub"],
    }


async def test_an_agents_tool_gets_no_refresh_token(staged: Stage) -> None:
    """Whoever has lost the role since must not go on as an agent; for anything else the tool may keep its users logged in."""
    for scope, is_kept in (("openid service_desk offline_access", False), ("openid offline_access", True)):
        partner = Partner(staged, "crm-web", "https://crm.example/cb", scope=scope)
        back = await come_in(staged.browser(), partner.request(prompt="consent"))
        tokens = await partner.exchange(back)
        assert ("refresh_token" in tokens) is is_kept
        assert "offline_access" not in tokens["scope"] or is_kept


async def test_the_tool_gives_up(staged: Stage, phone: Phone) -> None:
    """And an answer afterwards counts no more."""
    crm = await Crm.of(staged)
    opened = await crm.call("/desk/cases", {"method": "bankid", "identifier": NUMBER})
    case = f"/desk/cases/{opened.json['case']}"
    assert (await crm.call(f"{case}/cancellation", {})).json["standing"] == "cancelled"
    phone.answer = "maja"
    assert (await crm.call(case)).json["standing"] == "cancelled"


async def test_tokens_that_are_not_for_it(staged: Stage, phone: Phone) -> None:
    """Without the scope, without the role, of another partner, or none at all."""
    body = {"method": "bankid", "identifier": NUMBER}
    bare = await Crm.of(staged, "openid")
    assert (await bare.call("/desk/cases", body)).status == 403
    shop = Crm(staged, (await staged.shop_login(staged.browser(), "google"))["access_token"])
    assert (await shop.call("/desk/cases", body)).status == 403
    staff = staged.connectors["staff"]
    assert isinstance(staff, Staff)
    staff.roles = ("warehouse",)
    assert (await (await Crm.of(staged)).call("/desk/cases", body)).status == 403
    assert (await staged.client.post("/desk/cases", json=body)).status_code == 401
    assert (await Crm(staged, "x" * 60).call("/desk/cases", body)).status == 401
    assert phone.calls == []


@pytest.mark.parametrize(
    "body",
    [
        {"method": "google", "identifier": NUMBER},
        {"method": "bankid", "identifier": "Maja"},
        {"method": "bankid"},
        {"identifier": NUMBER},
        {"method": "bankid", "identifier": NUMBER, "language": "xx"},
        {"method": "bankid", "identifier": NUMBER, "initiator": "me"},
        {"method": "bankid", "identifier": NUMBER, "name": "Maja"},
        {"method": "bankid", "identifier": 195704289999},
    ],
)
async def test_bodies_that_are_refused(staged: Stage, phone: Phone, body: dict[str, Any]) -> None:
    """In a sentence that repeats nothing of it."""
    answer = await (await Crm.of(staged)).call("/desk/cases", body)
    assert answer.status == 400
    assert "Maja" not in answer.text
    assert phone.calls == []


async def test_without_a_desk_there_is_none(stage_folder: Path) -> None:
    """Who configured none has none."""
    async with open_stage(stage_folder) as stage:
        assert (await stage.browser().get("/staff")).status == 403
        assert (
            await stage.client.post("/desk/cases", json={}, headers={"authorization": "Bearer x"})
        ).status_code == 401
        assert ISSUER
