"""Customers sent to a service provider that did not ask: only where that is agreed, and never by what a link says."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from tests.downstream.saml_party import Party, Received, Sp, open_party, pair
from tests.downstream.test_saml_by_metadata import MAIL, key, metadata
from tests.downstream.test_saml_refusals import shown_here
from tests.downstream.test_saml_required import NAME, wants
from tests.stage import Answer, Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

TARGET = "https://gallery.example/rooms?at=2"
PARTNERS = """
partners:
  gallery:
    names: {en: Gallery}
    home_uri: https://gallery.example/
    saml:
      entity_id: https://gallery.example/saml
      metadata: gallery.xml
      unsolicited: true
      targets: {rooms: "https://gallery.example/rooms?at=2"}
    login: {upstreams: [google, bankid], claims: [name, email], consent: ask}
  museum:
    names: {en: Museum}
    home_uri: https://museum.example/
    saml: {entity_id: "https://museum.example/saml", metadata: museum.xml}
    login: {upstreams: [google, bankid], claims: [name, email], consent: implied}
  cinema:
    names: {en: Cinema}
    home_uri: https://cinema.example/
    saml: {entity_id: "https://cinema.example/saml", metadata: cinema.xml, unsolicited: true, missing_required: refuse}
    login: {upstreams: [bankid], claims: [name, email], consent: implied}
  theatre:
    names: {en: Theatre}
    home_uri: https://theatre.example/
    saml: {entity_id: "https://theatre.example/saml", metadata: theatre.xml, unsolicited: true}
    login: {upstreams: [google, bankid], claims: [name, email], consent: implied}
"""
FILES = {
    "gallery.xml": metadata("gallery", key("gallery"), wants=wants(optional=(MAIL,))),
    "museum.xml": metadata("museum", key("museum")),
    "cinema.xml": metadata("cinema", key("cinema"), wants=wants(MAIL, optional=(NAME,))),
    "theatre.xml": metadata("theatre", key("theatre", "signing")),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agreed(prepared_stage: Path) -> AsyncIterator[Party]:
    """A broker that may send customers to some of its partners unasked."""
    edit = {"\npartners:\n": PARTNERS, "\nagreements:\n": "\nagreements:\n"}
    async with open_party(prepared_stage, files=FILES, edit=edit) as opened:
        yield opened


def sp(party: Party, name: str) -> Sp:
    where = f"https://{name}.example"
    fresh = Sp(party.stage, name, f"{where}/saml", f"{where}/acs", idp_certificate=pair("broker")[1])
    return party.others.setdefault(name, fresh)


async def shared(party: Party, address: str, browser: Browser | None = None, who: str = "maja") -> Received:
    """*who* follows a link of ours to the gallery, logs in and shares what is asked."""
    browser = browser or party.stage.browser()
    page = await party.log_in(browser, address, "google", who)
    assert page.form_post is None, "she is asked first"
    return sp(party, "gallery").unsolicited(await browser.press("share", ("field", "email")))


async def noted(party: Party, action: str) -> list[str]:
    """The partners of all *action* in the audit."""
    await party.stage.broker.context.audit.flush()
    with closing(sqlite3.connect(next(party.stage.loaded.path.parent.rglob("*.db")))) as database:
        return [row[0] for row in database.execute("SELECT partner FROM audit WHERE action = ?", (action,))]


class TestRefused:
    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("", "saml.partner"),
            ("partner=", "saml.partner"),
            ("partner=nobody", "saml.partner"),
            ("partner=garage", "saml.partner"),
            ("partner=https://gallery.example/saml", "saml.partner"),
            ("partner=gallery&target=elsewhere", "saml.target"),
            ("partner=gallery&target=https://evil.example/", "saml.target"),
            ("partner=gallery&partner=gallery", "params.duplicate"),
            ("partner=gallery&target=rooms&target=rooms", "params.duplicate"),
            ("partner=museum", "saml.unsolicited"),
            ("partner=museum&target=rooms", "saml.unsolicited"),
            ("partner=theatre", "saml.no_encryption"),
        ],
    )
    async def test_what_is_not_agreed(
        self, agreed: Party, capsys: pytest.CaptureFixture[str], query: str, code: str
    ) -> None:
        """A page of ours with a reference, nothing at any partner, and nobody is asked to log in."""
        answer = await agreed.stage.browser().get(f"/saml/start?{query}")
        shown_here(answer, capsys, code, 403 if code in {"saml.unsolicited", "saml.no_encryption"} else 400)

    async def test_with_a_session_too(self, agreed: Party) -> None:
        """Who she is makes no agreement."""
        browser = agreed.stage.browser()
        await agreed.log_in(browser, sp(agreed, "museum").redirect(), "google")
        answer = await browser.get("/saml/start?partner=museum")
        assert answer.status == 403
        assert "https://museum.example/" in answer.text
        assert answer.form_post is None

    async def test_the_operator_hears_of_it(self, agreed: Party) -> None:
        """Once a minute, however often the link is followed; by the partner's name only."""
        before = await noted(agreed, "saml.unsolicited_refused")
        agreed.stage.clock.forward(minutes=2)
        for _ in range(5):
            await agreed.stage.browser().get("/saml/start?partner=museum")
        after = await noted(agreed, "saml.unsolicited_refused")
        assert after[len(before) :] == ["museum"]

    @pytest.mark.parametrize("changed", [{"RelayState": "https://evil.example/"}, {"SAMLRequest": "x"}])
    async def test_nothing_else_of_the_link_counts(self, agreed: Party, changed: dict[str, str]) -> None:
        """A RelayState of the link's own is none."""
        address = "/saml/start?partner=gallery&" + "&".join(f"{name}={value}" for name, value in changed.items())
        assert (await shared(agreed, address)).relay_state is None

    async def test_by_a_form(self, agreed: Party) -> None:
        """A link begins it, no form does."""
        assert (await agreed.stage.browser().post("/saml/start?partner=gallery", {})).status == 405

    async def test_what_is_missing_is_told_her_alone(self, agreed: Party) -> None:
        """The partner asked for nothing and so hears nothing; she stays logged in, and reads it again on her next visit."""
        browser = agreed.stage.browser()
        answer = await agreed.log_in(browser, "/saml/start?partner=cinema", "bankid")
        assert (answer.status, answer.form_post) == (403, None)
        assert "__Host-stafett-session" in browser.cookies
        again = await browser.get("/saml/start?partner=cinema")
        assert (again.status, again.form_post) == (403, None)

    async def test_cancelling_leads_to_the_front_page(self, agreed: Party) -> None:
        """And to nobody's assertion consumer."""
        browser = agreed.stage.browser()
        await browser.follow(await browser.get("/saml/start?partner=gallery"))
        answer = await browser.press("cancel")
        assert answer.location == "https://gallery.example/"
        assert answer.form_post is None


class TestTheResponse:
    async def test_answers_nothing(self, agreed: Party) -> None:
        """saml-profiles-2.0-os, section 4.1.5: no InResponseTo; else as any: signed, encrypted, to the default consumer."""
        received = await shared(agreed, "/saml/start?partner=gallery&target=rooms")
        assert received.status == "Success"
        assert received.was_encrypted
        assert received.relay_state == TARGET
        assert received.attributes[MAIL] == ["maja@example.com"]
        assert NAME not in received.attributes

    async def test_is_no_answer_to_a_request(self, agreed: Party) -> None:
        """A service provider that asked takes it for none of its requests."""
        received = await shared(agreed, "/saml/start?partner=gallery")
        assert received.in_response_to not in sp(agreed, "gallery").sent
        assert received.relay_state is None

    async def test_each_visit_has_its_own(self, agreed: Party) -> None:
        """One session, and with a remembered consent no page; assertions that can be told apart, so that each counts once."""
        browser = agreed.stage.browser()
        await agreed.log_in(browser, "/saml/start?partner=gallery", "google", "karl")
        answer = await browser.press("share", ("field", "email"), ("remember", "yes"))
        first = sp(agreed, "gallery").unsolicited(answer)
        second = sp(agreed, "gallery").unsolicited(await browser.get("/saml/start?partner=gallery"))
        assert first.session_index == second.session_index
        assert first.assertion.get("ID") != second.assertion.get("ID")

    async def test_the_operator_can_tell(self, agreed: Party) -> None:
        """``login.answered`` says that nobody asked."""
        await shared(agreed, "/saml/start?partner=gallery")
        await agreed.stage.broker.context.audit.flush()
        with closing(sqlite3.connect(next(agreed.stage.loaded.path.parent.rglob("*.db")))) as database:
            query = "SELECT facts FROM audit WHERE action = 'login.answered' ORDER BY rowid DESC LIMIT 1"
            assert '"unsolicited":true' in database.execute(query).fetchone()[0]


class TestOnTheWay:
    async def test_a_late_login_begins_here_again(self, agreed: Party) -> None:
        """The fresh start of a journey that ran out of time is the same link."""
        browser = agreed.stage.browser()
        page = await browser.follow(await browser.get("/saml/start?partner=gallery"))
        agreed.stage.clock.forward(hours=3)
        late: Answer = await browser.get(page.url)
        assert "/saml/start?partner=gallery" in late.text
