"""
What is not taken of a service provider: each by name, none with a 5xx, none answered anywhere before its sender and its assertion
consumer are proven.
"""

import asyncio
import base64
import zlib
from datetime import timedelta
from urllib.parse import quote, urlencode

import pytest

from tests.downstream.saml_party import SAML, SAMLP, SSO, Party, pair
from tests.stage import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")


def shown_here(answer: Answer, capsys: pytest.CaptureFixture[str], code: str, status: int = 400) -> None:
    """*answer* is a page of ours, and the operator's log says *code*."""
    assert answer.status == status, answer.text[:500]
    assert answer.form_post is None
    assert "location" not in answer.headers
    logged = capsys.readouterr().out
    assert f"code={code}" in logged, logged


async def ask(party: Party, request: bytes, **how: object) -> Answer:
    """The hotel's *request* by HTTP-Redirect."""
    return await party.stage.browser().get(party.hotel.redirect(request, **how))  # type: ignore[arg-type]


class TestWhoAsks:
    async def test_nobody_we_know(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """An unknown Issuer is told nothing."""
        answer = await ask(party, party.hotel.request(Issuer="https://stranger.example/saml"))
        shown_here(answer, capsys, "saml.issuer")

    @pytest.mark.parametrize(
        "issuer",
        [
            "https://hotel.example/SAML",
            "https://hotel.example/saml/",
            "urn:clinic",
            "https://hotel.example/saml\N{NO-BREAK SPACE}",
            "\N{EM SPACE}https://hotel.example/saml",
            "https://hotel.example/saml&#x85;",
        ],
        ids=ascii,
    )
    async def test_a_name_that_is_only_alike(
        self, party: Party, issuer: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Compared character by character."""
        shown_here(await ask(party, party.hotel.request(Issuer=issuer)), capsys, "saml.issuer")

    async def test_unsigned_where_it_must_be_signed(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """``require_signed_requests``."""
        answer = await party.stage.browser().get(party.clinic.redirect())
        shown_here(answer, capsys, "saml.unsigned")

    async def test_unsigned_by_post_where_it_must_be_signed(
        self, party: Party, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The same by the other binding."""
        answer = await party.stage.browser().post("/saml/sso", party.clinic.form(signed=False))
        shown_here(answer, capsys, "saml.unsigned")

    async def test_signed_by_another(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """Another partner's key signs nothing of this one's."""
        answer = await party.stage.browser().get(party.clinic.redirect(key=party.hotel.key))
        shown_here(answer, capsys, "saml.signature_invalid")

    async def test_a_needless_signature_must_verify_too(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """saml2int SDP-IDP05: if signed, it must verify or fail."""
        answer = await ask(party, party.hotel.request(), key=pair("stranger")[0])
        shown_here(answer, capsys, "saml.signature_invalid")

    @pytest.mark.parametrize("changed", ["RelayState", "SAMLRequest"])
    async def test_a_query_changed_after_it_was_signed(
        self, party: Party, changed: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Message and RelayState are both under the signature (saml-bindings-2.0-os, section 3.4.4.1)."""
        query = party.hotel.query(party.hotel.request(), relay_state="app-1", key=party.hotel.key)
        other = party.hotel.query(party.hotel.request(), relay_state="app-2", key=None)
        theirs = dict(each.split("=", 1) for each in other.split("&"))
        parts = [each.split("=", 1) for each in query.split("&")]
        forged = "&".join(f"{name}={theirs[name] if name == changed else value}" for name, value in parts)
        shown_here(await party.stage.browser().get(f"/saml/sso?{forged}"), capsys, "saml.signature_invalid")

    async def test_half_a_signature(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """A SigAlg alone is not "unsigned"."""
        address = (
            f"{party.hotel.redirect()}&SigAlg={quote('http://www.w3.org/2001/04/xmldsig-more#rsa-sha256', safe='')}"
        )
        shown_here(await party.stage.browser().get(address), capsys, "saml.query")

    async def test_a_weak_algorithm(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """SHA-1 signs nothing."""
        sha1 = quote("http://www.w3.org/2000/09/xmldsig#rsa-sha1", safe="")
        address = f"{party.hotel.redirect()}&SigAlg={sha1}&Signature=AAAA"
        shown_here(await party.stage.browser().get(address), capsys, "saml.signature_algorithm")

    async def test_a_changed_posted_request(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """What was signed is what is read."""
        octets = party.hotel.signed(party.hotel.request()).replace(
            b"https://hotel.example/acs", b"https://hotel.example/acx"
        )
        form = {"SAMLRequest": base64.b64encode(octets).decode()}
        shown_here(await party.stage.browser().post("/saml/sso", form), capsys, "saml.digest_mismatch")

    async def test_a_posted_request_signed_by_another(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """The certificate in the message says nothing about who sent it."""
        octets = party.clinic.signed(party.hotel.request())
        form = {"SAMLRequest": base64.b64encode(octets).decode()}
        shown_here(await party.stage.browser().post("/saml/sso", form), capsys, "saml.signature_invalid")


class TestWhatIsAsked:
    @pytest.mark.parametrize(
        "acs",
        [
            "https://evil.example/acs",
            "https://hotel.example/acs/",
            "https://hotel.example/ACS",
            "https://hotel.example/acs#here",
            "https://hotel.example@evil.example/acs",
            "https://hotel.example/acs?three",
            "http://hotel.example/acs",
            "https://archive.example/acs",
        ],
    )
    async def test_another_consumer(self, party: Party, acs: str, capsys: pytest.CaptureFixture[str]) -> None:
        """docs/security.md A5: compared character by character, and never sent there to say so."""
        answer = await ask(party, party.hotel.request(AssertionConsumerServiceURL=acs))
        shown_here(answer, capsys, "saml.acs")

    async def test_an_index_that_is_not_there(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """The same for an index."""
        request = party.hotel.request(drop=("AssertionConsumerServiceURL",), AssertionConsumerServiceIndex="7")
        shown_here(await ask(party, request), capsys, "saml.acs")

    async def test_two_consumers_at_once(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """SAML Core section 3.4.1: they exclude each other."""
        shown_here(await ask(party, party.hotel.request(AssertionConsumerServiceIndex="0")), capsys, "saml.acs")

    @pytest.mark.parametrize("minutes", [-9, 4, -60 * 24 * 400])
    async def test_another_time(self, party: Party, minutes: int, capsys: pytest.CaptureFixture[str]) -> None:
        """Five minutes, and three for the clocks."""
        at = party.stage.clock.now + timedelta(minutes=minutes)
        request = party.hotel.request(IssueInstant=f"{at:%Y-%m-%dT%H:%M:%SZ}")
        shown_here(await ask(party, request), capsys, "saml.time")

    async def test_another_destination(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """A message for somebody else, signed or not."""
        request = party.hotel.request(Destination="https://other.example/saml/sso")
        shown_here(await ask(party, request), capsys, "saml.destination")

    async def test_signed_without_destination(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """saml-bindings-2.0-os, section 3.4.5.2: what is signed must say for whom."""
        request = party.hotel.request(drop=("Destination",))
        shown_here(await ask(party, request, key=party.hotel.key), capsys, "saml.destination")

    async def test_a_request_twice(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """Each ID once, in whichever browser; the page offers a fresh start."""
        address = party.hotel.redirect(key=party.hotel.key)
        first = await party.stage.browser().get(address)
        assert first.status == 303
        again = await party.stage.browser().get(address)
        shown_here(again, capsys, "saml.replayed", again.status)
        assert "https://hotel.example/" in again.text

    async def test_a_request_twice_by_both_bindings(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """The same ID is the same request, however it travels."""
        request = party.hotel.request()
        await party.stage.browser().get(party.hotel.redirect(request))
        again = await party.stage.browser().post("/saml/sso", party.hotel.form(request))
        shown_here(again, capsys, "saml.replayed", again.status)

    async def test_of_many_at_once_one_is_taken(self, party: Party) -> None:
        """docs/security.md A10: exactly one."""
        address = party.hotel.redirect(key=party.hotel.key)
        answers = await asyncio.gather(*(party.stage.browser().get(address) for _ in range(20)))
        assert [each.status for each in answers].count(303) == 1
        assert all(each.status < 500 for each in answers)

    async def test_a_posted_request_goes_on_once(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """The address that brings the cookies back is worth one visit."""
        bounced = await party.stage.browser().post("/saml/sso", party.hotel.form())
        assert (await party.stage.browser().get(bounced.location)).status == 303
        again = await party.stage.browser().get(bounced.location)
        shown_here(again, capsys, "saml.posted", again.status)

    @pytest.mark.parametrize("reference", ["x", "A" * 22, "..%2f"])
    async def test_an_invented_reference(self, party: Party, reference: str) -> None:
        """Nobody goes on from nowhere."""
        answer = await party.stage.browser().get(f"/saml/sso/{reference}")
        assert answer.status in {400, 404, 410}
        assert answer.form_post is None

    @pytest.mark.parametrize(
        ("inside", "changed", "status"),
        [
            (
                "",
                {"ProtocolBinding": "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Artifact"},
                ("Requester", "UnsupportedBinding"),
            ),
            (
                "<saml:Subject><saml:NameID>maja</saml:NameID></saml:Subject>",
                {},
                ("Requester", "RequestUnsupported"),
            ),
            (
                "<samlp:RequestedAuthnContext><saml:AuthnContextDeclRef>urn:x</saml:AuthnContextDeclRef>"
                "</samlp:RequestedAuthnContext>",
                {},
                ("Responder", "NoAuthnContext"),
            ),
            ('<samlp:Scoping ProxyCount="0"/>', {}, ("Responder", "ProxyCountExceeded")),
        ],
        ids=["artifact", "subject", "declaration", "proxies"],
    )
    async def test_what_we_do_not_do(
        self, party: Party, inside: str, changed: dict[str, str], status: tuple[str, str]
    ) -> None:
        """Refused at the proven assertion consumer, by a signed status; nobody was asked to log in."""
        received = party.hotel.receive(await ask(party, party.hotel.request(inside, **changed)))
        assert (received.status, received.second) == status
        assert received.relay_state == "app-1"

    async def test_a_list_of_providers_is_a_wish(self, party: Party) -> None:
        """SAML Core section 3.4.1.2: advisory; customers choose."""
        inside = '<samlp:Scoping><samlp:IDPList><samlp:IDPEntry ProviderID="https://idp.example/"/></samlp:IDPList></samlp:Scoping>'
        assert (await ask(party, party.hotel.request(inside))).status == 303


class TestHowItIsWritten:
    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("", "saml.query"),
            ("RelayState=x", "saml.query"),
            ("SAMLRequest=", "saml.deflate"),
            ("SAMLRequest=%FF", "saml.base64"),
            ("SAMLRequest=AAAA", "saml.deflate"),
            ("SAMLEncoding=urn%3Ax&SAMLRequest=AAAA", "saml.query"),
            ("SAMLRequest=AAAA&SAMLRequest=AAAA", "saml.query"),
            ("SAMLRequest=AAAA&SAMLResponse=AAAA", "saml.query"),
            ("SAMLReques%74=AAAA", "saml.query"),
        ],
    )
    async def test_no_message(self, party: Party, query: str, code: str, capsys: pytest.CaptureFixture[str]) -> None:
        """What is not one message of the binding."""
        shown_here(await party.stage.browser().get(f"/saml/sso?{query}"), capsys, code)

    @pytest.mark.parametrize(
        ("message", "code"),
        [
            (b"<a", "saml.not_xml"),
            (b"hello", "saml.encoding"),
            (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "saml.doctype"),
            (b"<a xmlns='urn:a'/>", "saml.schema"),
            (f'<saml:Assertion xmlns:saml="{SAML}"/>'.encode(), "saml.schema"),
            (f'<samlp:LogoutRequest xmlns:samlp="{SAMLP}"/>'.encode(), "saml.schema"),
            (b"<a>" * 60 + b"</a>" * 60, "saml.too_deep"),
            (b"<a>" + b"<b/>" * 800 + b"</a>", "saml.too_many_nodes"),
        ],
        ids=["broken", "text", "doctype", "foreign", "assertion", "logout", "deep", "many"],
    )
    async def test_no_request(
        self, party: Party, message: bytes, code: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """By all rules for documents from outside, in both bindings."""
        query = urlencode({"SAMLRequest": base64.b64encode(zlib.compress(message, wbits=-15)).decode()})
        shown_here(await party.stage.browser().get(f"/saml/sso?{query}"), capsys, code)
        form = {"SAMLRequest": base64.b64encode(message).decode()}
        shown_here(await party.stage.browser().post("/saml/sso", form), capsys, code)

    async def test_a_bomb(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """docs/security.md E7: a small query does not become a large message."""
        bomb = base64.b64encode(zlib.compress(b"<" + b" " * 3_000_000, 9, wbits=-15)).decode()
        answer = await party.stage.browser().get(f"/saml/sso?{urlencode({'SAMLRequest': bomb})}")
        shown_here(answer, capsys, "saml.deflate")

    async def test_other_versions(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """Version 2.0 only."""
        shown_here(await ask(party, party.hotel.request(Version="1.1")), capsys, "saml.message_head")

    async def test_a_long_relay_state(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """1,024 octets, not letters, in both bindings."""
        long = "å" * 513
        shown_here(await ask(party, party.hotel.request(), relay_state=long), capsys, "saml.relay_state")
        form = party.hotel.form(relay_state=long)
        shown_here(await party.stage.browser().post("/saml/sso", form), capsys, "saml.relay_state")

    @pytest.mark.parametrize(("lines", "status"), [(30_000, 303), (80_000, 303), (90_000, 413)])
    async def test_a_long_form(self, party: Party, lines: int, status: int) -> None:
        """256 KiB, for messages only; what goes on afterwards, and everything else, keeps to less."""
        form = party.hotel.form()
        form["SAMLRequest"] += "\n" * lines
        assert (await party.stage.browser().post("/saml/sso", form)).status == status
        for path in ("/saml/sso/", "/saml/sso/x", "/saml/leave", "/authorize"):
            assert (await party.stage.browser().post(path, form)).status == 413

    async def test_a_long_form_to_log_out(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """As long as one to log in, and read as strictly."""
        form = {"SAMLRequest": "A" * 200_000}
        answer = await party.stage.browser().post("/saml/slo", form)
        assert answer.status == 400
        assert (await party.stage.browser().post("/saml/slo", {"SAMLRequest": "A" * 270_000})).status == 413

    async def test_a_member_twice(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """docs/security.md A7."""
        pairs = [*party.hotel.form().items(), ("RelayState", "other")]
        shown_here(await party.stage.browser().post("/saml/sso", pairs), capsys, "params.duplicate")

    async def test_a_request_and_a_response_at_once(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """One message a form."""
        form = {**party.hotel.form(), "SAMLResponse": "AAAA"}
        shown_here(await party.stage.browser().post("/saml/sso", form), capsys, "saml.query")

    async def test_a_response_to_the_provider(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """Nobody tells us here who a customer is."""
        message = party.hotel.request()
        query = party.hotel.query(message, field_="SAMLResponse", relay_state=None, key=party.hotel.key)
        shown_here(await party.stage.browser().get(f"/saml/sso?{query}"), capsys, "saml.query")
        form = {"SAMLResponse": base64.b64encode(message).decode()}
        shown_here(await party.stage.browser().post("/saml/sso", form), capsys, "saml.query")

    async def test_a_signed_request_inside_another(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """A message stands for itself or not at all."""
        inner = party.hotel.signed(party.hotel.request()).decode()
        outer = party.hotel.request(f"<samlp:Extensions>{inner}</samlp:Extensions>")
        form = {"SAMLRequest": base64.b64encode(outer).decode()}
        shown_here(await party.stage.browser().post("/saml/sso", form), capsys, "saml.nested_message")

    async def test_two_elements_of_one_id(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """An ID names one element."""
        inside = '<samlp:Extensions><x:a xmlns:x="urn:x" ID="_one"/></samlp:Extensions>'
        form = {"SAMLRequest": base64.b64encode(party.hotel.request(inside, ID="_one")).decode()}
        shown_here(await party.stage.browser().post("/saml/sso", form), capsys, "saml.duplicate_id")


class TestNothingLeavesInTheClear:
    async def test_errors_say_nothing_of_the_customer(self, party: Party) -> None:
        """A status has no assertion, and no word about who was there."""
        browser = party.stage.browser()
        await party.log_in(browser, party.hotel.redirect())
        request = party.hotel.request(Issuer=party.hotel.entity_id, ProtocolBinding="urn:x")
        answer = await browser.get(party.hotel.redirect(request))
        form = answer.form_post
        assert form is not None
        response = base64.b64decode(dict(form["fields"])["SAMLResponse"]).decode()
        assert "Maja" not in response
        assert "Assertion" not in response
        assert "Encrypted" not in response

    async def test_nothing_of_it_is_logged(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """docs/security.md F1: neither names nor messages."""
        answer = await party.log_in(party.stage.browser(), party.hotel.redirect(), "google")
        assert party.hotel.receive(answer).status == "Success"
        logged = capsys.readouterr().out
        assert "maja@example.com" not in logged
        assert "SAMLRe" not in logged
        assert SSO not in logged
