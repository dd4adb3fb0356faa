"""Attributes that a service provider requires in its metadata: told, missing, withheld, and what the operator makes of that."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.downstream.saml_party import Party, Received, Sp, open_party, pair
from tests.downstream.test_saml_by_metadata import MAIL, key, metadata
from tests.stage import Answer, Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOBILE = "urn:oid:0.9.2342.19200300.100.1.41"
NUMBER = "urn:oid:1.2.752.29.4.13"
NAME = "urn:oid:2.16.840.1.113730.3.1.241"
GIVEN_NAME = "urn:oid:2.5.4.42"
"""The played providers tell none, though their config says that they could."""


def wants(*required: str, optional: tuple[str, ...] = ()) -> str:
    asked = "".join(f'<md:RequestedAttribute Name="{each}" isRequired="true"/>' for each in required)
    asked += "".join(f'<md:RequestedAttribute Name="{each}"/>' for each in optional)
    return (
        '<md:AttributeConsumingService index="1"><md:ServiceName xml:lang="en">It</md:ServiceName>'
        f"{asked}</md:AttributeConsumingService>"
    )


REQUIRES = {
    "library": wants(MAIL, MOBILE, optional=(NAME,)),
    "bank": wants(MAIL, optional=(NAME,)),
    "embassy": wants(NUMBER),
    "kiosk": wants(MAIL),
    "circus": wants("urn:oid:9.9.9", optional=(NAME,)),
    "castle": wants(MAIL),
    "harbour": wants(MAIL, MOBILE),
    "orchard": wants(GIVEN_NAME),
}
TERMS = {
    "library": ("proceed", "[name, email, phone_number]", "ask"),
    "bank": ("refuse", "[name, email]", "ask"),
    "embassy": ("refuse", "[name]", "ask"),
    "kiosk": ("refuse", "[email]", "implied"),
    "circus": ("refuse", "[name]", "implied"),
    "castle": ("refuse", "[name, email]", "implied"),
    "harbour": ("refuse", "[name, email, phone_number]", "implied"),
    "orchard": ("refuse", "[given_name]", "implied"),
}
WAYS = {"castle": "[bankid]"}
"""At the others she may come by Google too, which tells an address."""
PARTNERS = "\npartners:\n" + "".join(
    f"""  {name}:
    names: {{en: {name.title()}}}
    home_uri: https://{name}.example/
    saml: {{entity_id: "https://{name}.example/saml", metadata: {name}.xml, missing_required: {missing}}}
    login: {{upstreams: {WAYS.get(name, "[google, bankid]")}, claims: {claims}, consent: {consent}}}
"""
    for name, (missing, claims, consent) in TERMS.items()
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def needy(prepared_stage: Path) -> AsyncIterator[Party]:
    """A broker whose service providers require something."""
    files = {f"{name}.xml": metadata(name, key(name), wants=asked) for name, asked in REQUIRES.items()}
    edit = {"\npartners:\n": PARTNERS, "\nagreements:\n": "\nagreements:\n"}
    async with open_party(prepared_stage, files=files, edit=edit) as opened:
        yield opened


def sp(party: Party, name: str) -> Sp:
    where = f"https://{name}.example"
    fresh = Sp(party.stage, name, f"{where}/saml", f"{where}/acs", idp_certificate=pair("broker")[1])
    return party.others.setdefault(name, fresh)


async def asked(party: Party, name: str, method: str, browser: Browser | None = None) -> tuple[Browser, Answer]:
    """Maja comes to *name* by *method*; where she is led."""
    browser = browser or party.stage.browser()
    return browser, await party.log_in(browser, sp(party, name).redirect(), method)


async def missing_in_audit(party: Party, name: str) -> list[object]:
    """What Maja's refused logins at *name* were refused for, as the audit has it."""
    context = party.stage.broker.context
    await context.audit.flush()
    customer = await context.records.customer_of(context.lookup.digest("https://bankid.test", "subject-of-maja"))
    assert customer is not None
    trail = await party.stage.records.audit_of(customer, 100)
    return [
        json.loads(each.facts)["missing"] for each in trail if (each.action, each.partner) == ("login.refused", name)
    ]


class TestGoingOn:
    async def test_the_page_says_what_is_missing(self, needy: Party) -> None:
        """Known and offered is her address; that a number is needed, and not known, she reads."""
        browser, page = await asked(needy, "library", "google")
        listed = page.text.partition('id="missing"')[2].partition("</section>")[0]
        assert "Phone" in listed
        assert "mail" not in listed.lower()
        assert listed.count("Library") == 2
        received = sp(needy, "library").receive(await browser.press("share", ("field", "email")))
        assert received.attributes[MAIL] == ["maja@example.com"]
        assert MOBILE not in received.attributes

    async def test_nothing_is_filled_in_from_elsewhere(self, needy: Party) -> None:
        """She was here by a way that knows her address; this login does not know it, and says so."""
        await asked(needy, "library", "google")
        browser, page = await asked(needy, "library", "bankid")
        listed = page.text.partition('id="missing"')[2].partition("</section>")[0]
        assert listed.count("<li>") == 2
        received = sp(needy, "library").receive(await browser.press("share", ("field", "name"), ("field", "email")))
        assert received.attributes.keys() & {MAIL, MOBILE, NAME} == {NAME}

    async def test_she_may_leave_out_what_is_required(self, needy: Party) -> None:
        """The choice stays hers unless the operator says otherwise."""
        browser, _ = await asked(needy, "library", "google")
        received = sp(needy, "library").receive(await browser.press("share"))
        assert received.attributes.keys() & {MAIL, MOBILE, NAME} == set()


class TestRefusing:
    async def test_what_is_missing_ends_the_login(self, needy: Party) -> None:
        """RequestDenied where no other way may bring it, without a page that asks for the rest; and the audit knows why."""
        _, answer = await asked(needy, "castle", "bankid")
        refused = sp(needy, "castle").receive(answer)
        assert (refused.status, refused.second, refused.relay_state) == ("Responder", "RequestDenied", "app-1")
        assert refused.message is not None
        assert "mail" not in refused.message
        assert (await missing_in_audit(needy, "castle"))[0] == ["email"]

    async def test_what_no_single_way_brings_ends_the_login(self, needy: Party) -> None:
        """Google tells her address and nobody her number: to log in there too would be for nothing."""
        _, answer = await asked(needy, "harbour", "bankid")
        assert denied(sp(needy, "harbour").receive(answer))

    async def test_implied_consent_is_no_way_around(self, needy: Party) -> None:
        """Nobody is asked there, and what is missing is missing all the same; what is known is told."""
        _, answer = await asked(needy, "kiosk", "bankid")
        assert answer.form_post is None
        _, answer = await asked(needy, "kiosk", "google")
        assert sp(needy, "kiosk").receive(answer).attributes[MAIL] == ["maja@example.com"]

    async def test_what_is_required_is_no_box_to_tick(self, needy: Party) -> None:
        """She reads that it is needed; sharing includes it, whatever is posted, and cancelling does not."""
        browser, page = await asked(needy, "bank", "google")
        assert 'value="email"' not in page.text
        assert 'value="name"' in page.text
        received = sp(needy, "bank").receive(await browser.press("share"))
        assert received.attributes.keys() & {MAIL, NAME} == {MAIL}
        browser, _ = await asked(needy, "bank", "google")
        assert denied(sp(needy, "bank").receive(await browser.press("cancel")))

    async def test_in_two_tabs(self, needy: Party) -> None:
        """The first is remembered; the second's answer, which names nothing, leaves nothing required out."""
        browser, _ = await asked(needy, "bank", "google")
        first, second = browser.page, await browser.copy().follow(await browser.get(sp(needy, "bank").redirect()))
        assert first is not None
        tab = browser.copy()
        tab.page, browser.page = second, first
        await browser.press("share", ("remember", "yes"), ("field", "name"))
        received = sp(needy, "bank").receive(await tab.press("share"))
        assert received.attributes.keys() & {MAIL, NAME} == {MAIL}

    async def test_a_passive_request_hears_the_same(self, needy: Party) -> None:
        """Asking again would not help, so it is not NoPassive."""
        browser, _ = await asked(needy, "castle", "bankid")
        castle = sp(needy, "castle")
        answer = await browser.get(castle.redirect(castle.request(IsPassive="true")))
        assert denied(castle.receive(answer))

    async def test_what_it_may_never_have(self, needy: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """Nobody logs in for nothing: found out before anybody is asked anything."""
        embassy = sp(needy, "embassy")
        answer = await needy.stage.browser().get(embassy.redirect())
        assert denied(embassy.receive(answer))
        assert "code=saml.required" in capsys.readouterr().out

    async def test_what_nobody_knows_is_not_counted(self, needy: Party) -> None:
        """An attribute that is none of our vocabulary is neither told nor missed."""
        _, answer = await asked(needy, "circus", "bankid")
        assert sp(needy, "circus").receive(answer).attributes[NAME] == ["Maja Lind"]


class TestAnotherWay:
    """Before she is refused she may come by another way that can tell what is missing."""

    async def test_is_offered_and_leads_to_the_partner(self, needy: Party) -> None:
        """She reads what is missing, and is offered the ways that can tell it; by one of them she arrives."""
        browser, page = await asked(needy, "bank", "bankid")
        assert page.status == 200
        listed = page.text.partition('id="missing"')[2].partition("</ul>")[0]
        assert listed.count("<li>") == 1
        assert "mail" in listed
        assert "method-google" in page.ids
        assert "method-bankid" not in page.ids
        asks = await browser.log_in("google", "karl")
        if "share" not in asks.ids:
            asks = await browser.follow(await browser.press("keep-apart"))
        received = sp(needy, "bank").receive(await browser.press("share"))
        assert received.attributes[MAIL] == ["karl@example.com"]

    async def test_also_where_she_was_logged_in_before(self, needy: Party) -> None:
        """A session of another partner's: a press is asked for, although there is only one way left."""
        browser, _ = await asked(needy, "circus", "bankid")
        page = await browser.follow(await browser.get(sp(needy, "kiosk").redirect()))
        assert page.status == 200
        assert "method-google" in page.ids

    async def test_may_be_declined(self, needy: Party) -> None:
        """Then it is what it would have been."""
        browser, _ = await asked(needy, "kiosk", "bankid")
        assert denied(sp(needy, "kiosk").receive(await browser.press("cancel")))

    async def test_is_no_circle(self, needy: Party) -> None:
        """Each of the ways could tell it, and neither does: after the one she chose for it she is refused."""
        browser, _ = await asked(needy, "circus", "google")
        needy.stage.clock.forward(seconds=5)
        page = await browser.follow(await browser.get(sp(needy, "orchard").redirect()))
        assert "method-bankid" in page.ids
        assert "method-google" not in page.ids
        answer = await browser.log_in("bankid", "maja")
        if answer.form_post is None:
            answer = await browser.follow(await browser.press("keep-apart"))
        assert denied(sp(needy, "orchard").receive(answer))

    async def test_the_way_she_came_by_was_one(self, needy: Party) -> None:
        """It could have told it; nothing says that another would."""
        _, answer = await asked(needy, "orchard", "bankid")
        assert denied(sp(needy, "orchard").receive(answer))

    async def test_a_passive_request_hears_that_she_must_come(self, needy: Party) -> None:
        """Asking again with a page would help: NoPassive."""
        browser, _ = await asked(needy, "kiosk", "bankid")
        kiosk = sp(needy, "kiosk")
        received = kiosk.receive(await browser.get(kiosk.redirect(kiosk.request(IsPassive="true"))))
        assert (received.status, received.second) == ("Responder", "NoPassive")


def denied(received: Received) -> bool:
    return (received.status, received.second) == ("Responder", "RequestDenied")
