"""``AttributeConsumingServiceIndex``: a request asks for another set of attributes of its metadata, and for no others."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.downstream.saml_party import Party, Received, Sp, open_party, pair
from tests.downstream.test_saml_by_metadata import MAIL, key, metadata
from tests.downstream.test_saml_required import MOBILE, NAME
from tests.stage import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAIRWISE_ID = "urn:oasis:names:tc:SAML:attribute:pairwise-id"


def wants(index: int, *names: str, required: str | None = None, is_default: bool = False) -> str:
    """A set of attributes."""
    asked = "".join(f'<md:RequestedAttribute Name="{each}"/>' for each in names)
    asked += f'<md:RequestedAttribute Name="{required}" isRequired="true"/>' if required else ""
    flag = ' isDefault="true"' if is_default else ""
    return (
        f'<md:AttributeConsumingService index="{index}"{flag}><md:ServiceName xml:lang="en">It</md:ServiceName>{asked}'
        "</md:AttributeConsumingService>"
    )


SETS = (
    wants(1, NAME)
    + wants(2, MAIL, is_default=True)
    + wants(3, NAME, MAIL, MOBILE)
    + wants(4, "urn:oid:9.9.9")
    + wants(5, NAME, required=MOBILE)
    + wants(7)
    + wants(8, "")
)
PARTNERS = """
partners:
  library:
    names: {en: Library}
    home_uri: https://library.example/
    saml: {entity_id: "https://library.example/saml", metadata: library.xml}
    login: {upstreams: [google, bankid], claims: [name, email], consent: ask}
  bank:
    names: {en: Bank}
    home_uri: https://bank.example/
    saml: {entity_id: "https://bank.example/saml", metadata: bank.xml, missing_required: refuse}
    login: {upstreams: [google, bankid], claims: [name, email], consent: implied}
  plain:
    names: {en: Plain}
    home_uri: https://plain.example/
    saml: {entity_id: "https://plain.example/saml", acs: ["https://plain.example/acs"], certificates: [plain.pem]}
    login: {upstreams: [google, bankid], claims: [name, email], consent: implied}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def readers(prepared_stage: Path) -> AsyncIterator[Party]:
    """A broker with service providers that have several sets of attributes, and one that has none."""
    files = {f"{name}.xml": metadata(name, key(name), wants=SETS) for name in ("library", "bank")}
    files["plain.pem"] = pair("plain")[1]
    edit = {"\npartners:\n": PARTNERS, "\nagreements:\n": "\nagreements:\n"}
    async with open_party(prepared_stage, files=files, edit=edit) as opened:
        yield opened


def sp(party: Party, name: str) -> Sp:
    where = f"https://{name}.example"
    fresh = Sp(party.stage, name, f"{where}/saml", f"{where}/acs", idp_certificate=pair("broker")[1])
    return party.others.setdefault(name, fresh)


async def asked(party: Party, name: str, index: str | None, browser: Browser | None = None) -> Received:
    """Maja comes to *name* with a request for that set, and shares all that she is asked for."""
    browser, there = browser or party.stage.browser(), sp(party, name)
    request = there.request(**({"AttributeConsumingServiceIndex": index} if index is not None else {}))
    answer = await party.log_in(browser, there.redirect(request), "google")
    if "share" in answer.ids:
        answer = await browser.press("share", ("field", "name"), ("field", "email"), ("field", "phone_number"))
    return there.receive(answer)


class TestASetThatIsNone:
    @pytest.mark.parametrize(
        ("name", "index"), [("library", "0"), ("library", "6"), ("library", "65535"), ("plain", "1")]
    )
    async def test_is_told(self, readers: Party, name: str, index: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Never what it usually asks for instead, and nobody logs in for it: also where it has no metadata to look into."""
        there = sp(readers, name)
        request = there.request(AttributeConsumingServiceIndex=index)
        received = there.receive(await readers.stage.browser().get(there.redirect(request)))
        assert (received.status, received.second) == ("Requester", "RequestUnsupported")
        assert "code=saml.attributes" in capsys.readouterr().out

    @pytest.mark.parametrize("index", ["-1", "x", "70000", "1 2"])
    async def test_is_no_number(self, readers: Party, index: str) -> None:
        """It is not even a request."""
        there = sp(readers, "library")
        request = there.request(AttributeConsumingServiceIndex=index)
        answer = await readers.stage.browser().get(there.redirect(request))
        assert (answer.status, answer.form_post) == (400, None)

    @pytest.mark.parametrize("index", ["7", "8"])
    async def test_that_names_nothing_widens_nothing(self, readers: Party, index: str) -> None:
        """security: against the schema, which demands one. What asks for nothing is not given all there is."""
        assert (await asked(readers, "library", index)).second == "RequestUnsupported"

    async def test_with_a_session_too(self, readers: Party) -> None:
        """What is known of her changes nothing."""
        browser = readers.stage.browser()
        await asked(readers, "library", None, browser)
        assert (await asked(readers, "library", "6", browser)).second == "RequestUnsupported"


class TestTheChosenSet:
    @pytest.mark.parametrize(
        ("index", "told"),
        [(None, {MAIL}), ("2", {MAIL}), ("1", {NAME}), ("3", {NAME, MAIL}), ("4", set())],
    )
    async def test_is_what_is_asked_and_told(self, readers: Party, index: str | None, told: set[str]) -> None:
        """In place of the default one; and never more than ``login.claims``, whatever the set names."""
        received = await asked(readers, "library", index)
        assert received.attributes.keys() - {PAIRWISE_ID} == told

    async def test_is_asked_for_even_where_another_was_agreed_to(self, readers: Party) -> None:
        """A remembered yes to her address is none to her name."""
        browser, library = readers.stage.browser(), sp(readers, "library")
        await readers.log_in(browser, library.redirect(), "google", "karl")
        library.receive(await browser.press("share", ("field", "email"), ("remember", "yes")))
        request = library.request(AttributeConsumingServiceIndex="1")
        page = await browser.follow(await browser.get(library.redirect(request)))
        assert "share" in page.ids

    async def test_says_what_is_required(self, readers: Party) -> None:
        """Of another set than the default: it is refused here, where the partner may never have it."""
        bank = sp(readers, "bank")
        request = bank.request(AttributeConsumingServiceIndex="5")
        received = bank.receive(await readers.stage.browser().get(bank.redirect(request)))
        assert (received.status, received.second) == ("Responder", "RequestDenied")
        assert (await asked(readers, "bank", None)).status == "Success"
