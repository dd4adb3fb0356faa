"""
A SAML partner, a customer's data or somebody in between tries something: nothing of it gives a 5xx, tells anybody what is not
for them, or leaves for an address that was not proven.
"""

import asyncio
import base64
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from lxml import etree

from broker.stores.ports import Put
from broker.wire.saml.answer import NameId, name_id_element
from broker.wire.saml.message import add
from tests.downstream.saml_party import LOA, SAML, Party, Received, open_party
from tests.downstream.test_saml_refusals import ask, shown_here
from tests.downstream.test_saml_sso import MAIL, NAME, contexts, hotel_login
from tests.stage import PEOPLE, Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNWRITABLE = "\N{REPLACEMENT CHARACTER}"


class TestWhatCustomersAreCalled:
    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ('<b>Maja</b> & "Co" ]]> \'', '<b>Maja</b> & "Co" ]]> \''),
            ("</saml:AttributeValue><saml:AttributeValue>x", "</saml:AttributeValue><saml:AttributeValue>x"),
            ("&#x0;&nul;<!-- --><![CDATA[x]]>", "&#x0;&nul;<!-- --><![CDATA[x]]>"),
            ("مايا \u202eLind", "مايا \u202eLind"),
            ("Maja\N{MUSICAL SYMBOL G CLEF}", "Maja\N{MUSICAL SYMBOL G CLEF}"),
            ("Ma\x00ja", None),
            ("Ma\x01ja\x1b[31m", None),
            ("Ma\ufffeja\uffff", None),
            ("Ma\x7f\x85ja", None),
            ("M" * 20_000, "M" * 20_000),
        ],
        ids=["markup", "closing", "entities", "rtl", "astral", "nul", "control", "noncharacter", "delete", "long"],
    )
    async def test_reads_as_it_was_or_not_at_all(
        self, party: Party, monkeypatch: pytest.MonkeyPatch, name: str, told: str | None
    ) -> None:
        """XML cannot say everything that a provider can: whoever has such a name still logs in."""
        monkeypatch.setitem(PEOPLE, "odd", {"name": name, "email": "odd@example.com"})
        answer = await party.log_in(party.stage.browser(), party.hotel.redirect(), "google", "odd")
        received = party.hotel.receive(answer)
        assert received.status == "Success"
        values = received.attributes.get(NAME, [])
        assert values == [told] if told is not None else not {"\x00", "\x01", "\x1b"} & set("".join(values))

    @pytest.mark.parametrize("email", ["ma\x01ja@example.com", "maja\x00@example.com", "ma\ufffeja@example.com"])
    async def test_an_address_that_cannot_be_written_is_nobody_elses(
        self, party: Party, monkeypatch: pytest.MonkeyPatch, email: str
    ) -> None:
        """security: what is left out of a name must not make it another customer's."""
        monkeypatch.setitem(PEOPLE, "odd", {"name": "Odd", "email": email})
        answer = await party.log_in(party.stage.browser(), party.hotel.redirect(), "google", "odd")
        assert answer.status < 500
        told = party.hotel.receive(answer).attributes.get(MAIL, [])
        assert not told

    async def test_an_address_that_nobody_proved_names_nobody(
        self, party: Party, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """security: she only said that it is hers, and a NameID has no word for that: it may be another customer's there."""
        monkeypatch.setitem(PEOPLE, "odd", {"name": "Odd", "email": "maja@example.com", "unproven": "yes"})
        named = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
        request = party.clinic.request(f'<samlp:NameIDPolicy Format="{named}"/>')
        browser = party.stage.browser()
        await party.log_in(browser, party.clinic.redirect(request, key=party.clinic.key), "google", "odd")
        received = party.clinic.receive(await browser.press("share", ("field", "email")))
        assert (received.status, received.second) == ("Requester", "InvalidNameIDPolicy")

    @pytest.mark.parametrize("odd", ["a\x00b", "a\x1fb", "a\ud800b", "a\uffffb"])
    async def test_whatever_else_cannot_be_written_is_marked(self, odd: str) -> None:
        """Left out, it could make another value of it: another member's number, another customer's name."""
        for told in (
            add(etree.Element("a"), SAML, "AttributeValue", odd),
            name_id_element(NameId(odd, "urn:f"), "urn:i"),
        ):
            assert etree.fromstring(etree.tostring(told)).text == f"a{UNWRITABLE}b"


class TestRelayState:
    @pytest.mark.parametrize(
        "state",
        [
            '"><script>alert(1)</script>',
            "javascript:alert(1)",
            "https://evil.example/?a=b&c=d#e",
            "a' onfocus='x",
            "{{ 7*7 }}{% raw %}",
            "&quot;&#34;&amp;",
            "a=b&SAMLResponse=x&c=d;e",
            "å" * 512,
            "x" * 1024,
            "https://hotel.example/?next=" + "%2e%2e/'\"><img src=x onerror=alert(1)>&amp;" * 15,
            "\u202e\u2028",
            "+ %2B%00",
        ],
        ids=[
            "markup",
            "script",
            "address",
            "attribute",
            "template",
            "entities",
            "members",
            "wide",
            "long",
            "long-markup",
            "rtl",
            "encoded",
        ],
    )
    @pytest.mark.parametrize("by", ["redirect", "post"])
    async def test_comes_back_unchanged_and_is_only_text(self, party: Party, by: str, state: str) -> None:
        """docs/security.md C5: it is the partner's, and no part of our page."""
        browser = party.stage.browser()
        await hotel_login(party, browser)
        if by == "redirect":
            answer = await browser.get(party.hotel.redirect(relay_state=state))
        else:
            bounced = await party.stage.browser().post("/saml/sso", party.hotel.form(relay_state=state))
            answer = await browser.get(bounced.location)
        assert party.hotel.receive(answer).relay_state == state
        form = answer.form_post
        assert form is not None
        assert [name for name, _ in form["fields"]] == ["SAMLResponse", "RelayState"]
        assert "<script>alert" not in answer.text

    async def test_a_long_one_comes_back_after_logging_out(self, party: Party) -> None:
        """In a signed address, in one piece, and nothing beside it."""
        state = "https://hotel.example/?a=b&SAMLResponse=x&SigAlg=none#" + "ö&Signature=x;" * 50
        browser = party.stage.browser()
        received = await hotel_login(party, browser)
        query = party.hotel.query(party.hotel.logout_request(received), relay_state=state, key=party.hotel.key)
        status, _, came = party.hotel.logged_out(await browser.get(f"/saml/slo?{query}"))
        assert (status, came) == ("Success", state)

    @pytest.mark.parametrize("state", ["a\r\nSet-Cookie: x=y", "a\nb", "a\x00b", "\x1b[31m", "\x7f"], ids=range(5))
    async def test_control_characters_harm_nobody(
        self, party: Party, state: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """No header and no line of the log is made of it; logging out carries it in an address."""
        browser = party.stage.browser()
        received = await hotel_login(party, browser)
        answer = await browser.get(party.hotel.redirect(relay_state=state))
        assert answer.status in {200, 400}
        query = party.hotel.query(party.hotel.logout_request(received), relay_state=state, key=party.hotel.key)
        left = await browser.get(f"/saml/slo?{query}")
        assert left.status in {303, 400}
        assert "\n" not in left.headers.get("location", "")
        assert "set-cookie: x" not in str(left.headers).lower()
        assert "Set-Cookie" not in capsys.readouterr().out


class TestConsumers:
    @pytest.mark.parametrize(
        "acs",
        [
            "",
            " https://hotel.example/acs",
            "HTTPS://hotel.example/acs",
            "https://HOTEL.example/acs",
            "https://hotel.example:443/acs",
            "https://hotel.example/%61cs",
            "https://hotel.example/x/../acs",
            "https://hotel.example./acs",
            "https://hotel.example/acs?",
            "javascript:alert(1)",
            "data:text/html,x",
            "//hotel.example/acs",
            "/acs",
            "https://hotel.example/slo",
            "https://h\u043etel.example/acs",
            "https://hotel.example/" + "a" * 5000,
        ],
        ids=range(16),
    )
    async def test_nothing_that_is_only_alike(self, party: Party, acs: str, capsys: pytest.CaptureFixture[str]) -> None:
        """docs/security.md A5: character by character (saml2int SDP-IDP06)."""
        shown_here(await ask(party, party.hotel.request(AssertionConsumerServiceURL=acs)), capsys, "saml.acs")

    @pytest.mark.parametrize(
        ("index", "code"),
        [
            ("65535", "saml.acs"),
            ("2", "saml.acs"),
            ("65536", "saml.schema"),
            ("-1", "saml.schema"),
            ("1.0", "saml.schema"),
            ("", "saml.schema"),
        ],
    )
    async def test_by_index(self, party: Party, index: str, code: str, capsys: pytest.CaptureFixture[str]) -> None:
        """A number that is registered, or none."""
        request = party.hotel.request(drop=("AssertionConsumerServiceURL",), AssertionConsumerServiceIndex=index)
        shown_here(await ask(party, request), capsys, code)

    async def test_signed_by_a_partner_for_anothers_address(
        self, party: Party, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A partner's own signature makes another partner's address none of its own."""
        request = party.clinic.request(AssertionConsumerServiceURL=party.hotel.acs)
        answer = await party.stage.browser().get(party.clinic.redirect(request, key=party.clinic.key))
        shown_here(answer, capsys, "saml.acs")


class TestTwice:
    async def test_fifty_times_at_once(self, party: Party) -> None:
        """docs/security.md A10: one request begins one login, by whichever binding."""
        request = party.hotel.request()
        address, form = party.hotel.redirect(request), party.hotel.form(request, signed=False)
        browsers = [party.stage.browser() for _ in range(50)]
        answers = await asyncio.gather(
            *(each.get(address) if index % 2 else each.post("/saml/sso", form) for index, each in enumerate(browsers))
        )
        assert sum(answer.status == 303 for answer in answers) == 1
        assert all(answer.status < 500 for answer in answers)

    async def test_a_posted_one_goes_on_once_of_fifty(self, party: Party) -> None:
        """The address that brings the cookies back is taken by one."""
        bounced = await party.stage.browser().post("/saml/sso", party.hotel.form())
        answers = await asyncio.gather(*(party.stage.browser().get(bounced.location) for _ in range(50)))
        assert sum(answer.status == 303 for answer in answers) == 1
        assert all(answer.status < 500 for answer in answers)

    async def test_fifty_customers_at_once(self, party: Party) -> None:
        """Each gets her own answer to her own request."""

        async def one(number: int) -> Received:
            browser = party.stage.browser()
            request = party.hotel.request(ID=f"_many{number}")
            address = party.hotel.redirect(request, relay_state=f"state-{number}")
            return party.hotel.receive(await party.log_in(browser, address, "google", "maja" if number % 2 else "karl"))

        found = await asyncio.gather(*(one(number) for number in range(50)))
        for number, received in enumerate(found):
            assert (received.in_response_to, received.relay_state) == (f"_many{number}", f"state-{number}")
            assert received.attributes[MAIL] == ["maja@example.com" if number % 2 else "karl@example.com"]
        assert len({received.name_id for received in found}) == 50

    async def test_as_late_as_it_would_be_taken(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """From a clock that is fast to the last moment of its age: remembered for longer than that."""
        at = party.stage.clock.now + timedelta(minutes=3)
        address = party.hotel.redirect(party.hotel.request(IssueInstant=f"{at:%Y-%m-%dT%H:%M:%SZ}"))
        assert (await party.stage.browser().get(address)).status == 303
        party.stage.clock.forward(minutes=10, seconds=59)
        again = await party.stage.browser().get(address)
        shown_here(again, capsys, "saml.replayed", again.status)
        party.stage.clock.forward(seconds=3)
        shown_here(await party.stage.browser().get(address), capsys, "saml.time")


class TestTooMany:
    @pytest.mark.parametrize("by", ["redirect", "post"])
    async def test_from_one_address(self, prepared_stage: Path, by: str) -> None:
        """
        security: anybody may send a request in a partner's name, and nobody fills the store, which is everybody's (E6). One that
        asks for no page begins no journey, which are counted by themselves.
        """
        async with open_party(prepared_stage) as party:
            stage = party.stage

            async def send(octets: bytes) -> Answer:
                if by == "redirect":
                    return await stage.browser().get(party.hotel.redirect(octets))
                return await stage.browser().post("/saml/sso", party.hotel.form(octets, signed=False))

            once, late = (party.hotel.request(IsPassive="true") for _ in range(2))
            usual = (await send(once)).status
            digest = stage.broker.context.lookup.digest("address", "127.0.0.1")[:32]
            await stage.state.run(Put(f"rate:requests:{digest}", b"1200", 60))
            refused = await send(late)
            assert (refused.status, refused.headers["retry-after"]) == (429, "60")
            assert (await send(once)).status == 410
            stage.clock.forward(seconds=61)
            # What was not taken was not used either.
            assert (await send(late)).status == usual < 400
            assert (await send(late)).status == 410


class TestSignaturesTakenAway:
    async def test_from_a_query(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """What must be signed is not taken for less."""
        query = party.clinic.query(party.clinic.request(), relay_state="app-1", key=party.clinic.key)
        bare = query.partition("&SigAlg=")[0]
        shown_here(await party.stage.browser().get(f"/saml/sso?{bare}"), capsys, "saml.unsigned")
        half = query.partition("&Signature=")[0]
        shown_here(await party.stage.browser().get(f"/saml/sso?{half}"), capsys, "saml.query")
        empty = f"{half}&Signature="
        shown_here(await party.stage.browser().get(f"/saml/sso?{empty}"), capsys, "saml.signature_invalid")

    async def test_from_a_form(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """The same of an enveloped one, also with the rest of it left where it was."""
        octets = party.clinic.signed(party.clinic.request())
        root = etree.fromstring(octets)
        signature = root.find("{http://www.w3.org/2000/09/xmldsig#}Signature")
        value = signature.find("{http://www.w3.org/2000/09/xmldsig#}SignatureValue")
        value.text = ""
        for code in ("saml.signature_invalid", "saml.unsigned"):
            form = {"SAMLRequest": base64.b64encode(etree.tostring(root)).decode()}
            shown_here(await party.stage.browser().post("/saml/sso", form), capsys, code)
            if signature in root:
                root.remove(signature)

    async def test_by_the_other_binding(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """A signature of the query says nothing of a form, also of one that brings it along."""
        query = party.clinic.query(party.clinic.request(), relay_state=None, key=party.clinic.key)
        signed = dict(each.split("=", 1) for each in query.split("&"))
        form = {"SAMLRequest": base64.b64encode(party.clinic.request()).decode()}
        more = {name: signed[name] for name in ("SigAlg", "Signature")}
        answer = await party.stage.browser().post(f"/saml/sso?{urlencode(more)}", form)
        shown_here(answer, capsys, "saml.unsigned")
        shown_here(await party.stage.browser().post("/saml/sso", form | more), capsys, "saml.unsigned")

    async def test_a_relay_state_put_in(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """None is also a value: who signed without one sent none."""
        query = party.clinic.query(party.clinic.request(), relay_state=None, key=party.clinic.key)
        shown_here(
            await party.stage.browser().get(f"/saml/sso?{query}&RelayState=evil"), capsys, "saml.signature_invalid"
        )
        shown_here(await party.stage.browser().get(f"/saml/sso?RelayState=&{query}"), capsys, "saml.signature_invalid")


class TestQueries:
    async def test_in_any_order(self, party: Party) -> None:
        """The octets that are signed have an order, those of the address need none (saml-bindings-2.0-os, 3.4.4.1)."""
        parts = party.clinic.query(party.clinic.request(), relay_state="app-1", key=party.clinic.key).split("&")
        answer = await party.stage.browser().get(f"/saml/sso?{'&'.join(reversed(parts))}")
        assert answer.status == 303

    @pytest.mark.parametrize("name", ["SAMLRequest", "RelayState", "SigAlg", "Signature"])
    @pytest.mark.parametrize("place", ["before", "behind"])
    async def test_a_parameter_twice(
        self, party: Party, name: str, place: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """docs/security.md A7: neither the first nor the last."""
        query = party.clinic.query(party.clinic.request(), relay_state="app-1", key=party.clinic.key)
        told = next(each for each in query.split("&") if each.startswith(f"{name}="))
        for more in (told, f"{name}=", name, told.replace(name[0], f"%{ord(name[0]):02x}", 1)):
            both = f"{more}&{query}" if place == "before" else f"{query}&{more}"
            shown_here(await party.stage.browser().get(f"/saml/sso?{both}"), capsys, "saml.query")

    async def test_names_that_are_only_alike(self, party: Party) -> None:
        """Other parameters are nobody's business, however they are called."""
        query = party.clinic.query(party.clinic.request(), relay_state="app-1", key=party.clinic.key)
        more = "samlrequest=x&SAMLRequest[]=x&RelayState%00=x&sigalg=x&SAMLart=x"
        assert (await party.stage.browser().get(f"/saml/sso?{more}&{query}")).status == 303

    async def test_as_another_would_write_it(self, party: Party) -> None:
        """Signed as it was sent: blanks as %20, hexadecimal digits in lower case."""
        raw = party.clinic.query(party.clinic.request(), relay_state="a b/ö", key=None)
        lower = raw.replace("+", "%20").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d")
        signed = f"{lower}&SigAlg={quote('http://www.w3.org/2001/04/xmldsig-more#rsa-sha256', safe='').lower()}"
        value = party.clinic.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        query = f"{signed}&Signature={quote(base64.b64encode(value).decode(), safe='')}"
        assert (await party.stage.browser().get(f"/saml/sso?{query}")).status == 303


class TestTwoTabs:
    async def test_a_fresh_proof_is_made_in_the_tab_that_needs_one(self, party: Party) -> None:
        """docs/security.md A13: the session that another tab has, or uses, is no fresh proof (saml2int SDP-IDP07)."""
        browser = party.stage.browser()
        first = await hotel_login(party, browser, method="google")
        party.stage.clock.forward(seconds=30)
        forced = party.hotel.request(ForceAuthn="true")
        page = await browser.follow(await browser.get(party.hotel.redirect(forced)))
        tab = browser.copy()
        other = party.hotel.receive(await tab.get(party.hotel.redirect()))
        assert other.one("saml:AuthnStatement").get("AuthnInstant") == first.one("saml:AuthnStatement").get(
            "AuthnInstant"
        )
        again = await browser.get(page.url)
        assert again.form_post is None
        browser.page = again
        done = party.hotel.receive(await browser.log_in("google", "maja"))
        assert done.one("saml:AuthnStatement").get("AuthnInstant") > first.one("saml:AuthnStatement").get(
            "AuthnInstant"
        )

    async def test_a_passive_one_disturbs_nobody(self, party: Party) -> None:
        """It neither waits for the login that is under way nor ends it."""
        browser = party.stage.browser()
        await browser.follow(await browser.get(party.hotel.redirect(relay_state="tab-1")))
        passive = party.hotel.request(IsPassive="true")
        told = party.hotel.receive(await browser.copy().get(party.hotel.redirect(passive, relay_state="tab-2")))
        assert (told.status, told.second, told.relay_state) == ("Responder", "NoPassive", "tab-2")
        received = party.hotel.receive(await browser.log_in("google", "maja"))
        assert (received.status, received.relay_state) == ("Success", "tab-1")

    async def test_each_partner_gets_its_own_answer(self, party: Party) -> None:
        """Two partners' logins side by side: each answer is for whom it names, and posted there."""
        browser = party.stage.browser()
        await browser.follow(await browser.get(party.hotel.redirect(relay_state="hotel")))
        tab = browser.copy()
        await tab.follow(await tab.get(party.clinic.redirect(relay_state="clinic", key=party.clinic.key)))
        received = party.hotel.receive(await browser.log_in("google", "maja"))
        assert received.relay_state == "hotel"
        await tab.follow(await tab.press("method-google"))
        at_clinic = party.clinic.receive(await tab.press("share", ("field", "email")))
        assert at_clinic.relay_state == "clinic"
        assert at_clinic.attributes.keys().isdisjoint({NAME, "displayName"})

    @pytest.mark.parametrize("comparison", ["exact", "minimum", "maximum", "better"])
    @pytest.mark.parametrize("by", ["session", "nobody"])
    async def test_unknown_classes_are_met_by_nobody(self, party: Party, comparison: str, by: str) -> None:
        """SAML Core section 3.3.2.2.1: nothing is known to be as strong as what nobody here knows."""
        browser = party.stage.browser()
        if by == "session":
            await hotel_login(party, browser)
        inside = contexts("urn:example:unknown", f"{LOA}HIGH", comparison=comparison)
        received = party.hotel.receive(await browser.get(party.hotel.redirect(party.hotel.request(inside))))
        assert (received.status, received.second) == ("Responder", "NoAuthnContext")


class TestLogoutOfSeveral:
    async def test_one_partner_does_not_speak_for_another(self, party: Party) -> None:
        """docs/security.md A15: a name or an index that another partner was told means nobody to this one."""
        browser = party.stage.browser()
        at_hotel = await hotel_login(party, browser)
        at_archive = party.archive.receive(await party.log_in(browser, party.archive.redirect()))
        foreign = {"NameID": at_archive.name_id, "SessionIndex": at_archive.session_index}
        answer = await browser.get(party.hotel.log_out(party.hotel.logout_request(at_hotel, **foreign)))
        assert party.hotel.logged_out(answer)[:2] == ("Requester", "UnknownPrincipal")
        mixed = party.hotel.logout_request(at_hotel, SessionIndex=at_archive.session_index)
        assert party.hotel.logged_out(await browser.get(party.hotel.log_out(mixed)))[0] == "Requester"
        assert party.hotel.receive(await browser.get(party.hotel.redirect())).status == "Success"

    async def test_fifty_logouts_at_once_end_one_session(self, party: Party) -> None:
        """Each is answered, none with an error of ours; somebody else's session goes on."""
        browser, bystander = party.stage.browser(), party.stage.browser()
        received = await hotel_login(party, browser)
        await hotel_login(party, bystander)
        addresses = [party.hotel.log_out(party.hotel.logout_request(received)) for _ in range(50)]
        answers = await asyncio.gather(*(browser.copy().get(each) for each in addresses))
        assert {party.hotel.logged_out(each)[0] for each in answers} == {"Success"}
        gone = party.hotel.request(IsPassive="true")
        assert party.hotel.receive(await browser.get(party.hotel.redirect(gone))).second == "NoPassive"
        assert party.hotel.receive(await bystander.get(party.hotel.redirect())).status == "Success"

    async def test_a_logout_message_is_no_login_and_the_other_way_round(
        self, party: Party, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Signed or not, each address takes its own messages only."""
        browser = party.stage.browser()
        received = await hotel_login(party, browser)
        query = party.hotel.query(party.hotel.logout_request(received), relay_state=None, key=party.hotel.key)
        shown_here(await browser.get(f"/saml/sso?{query}"), capsys, "saml.wrong_element")
        query = party.hotel.query(party.hotel.request(), relay_state=None, key=party.hotel.key)
        shown_here(await browser.get(f"/saml/slo?{query}"), capsys, "saml.wrong_element")
        assert party.hotel.receive(await browser.get(party.hotel.redirect())).status == "Success"
