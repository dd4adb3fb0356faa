"""Logins at SAML service providers: the response, whom it names, what it tells, and how sure it says we are."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest

from broker.core.saml_login import subject_identifier
from tests.downstream.saml_party import CLASSES, IDP, LOA, NS, Party, Received
from tests.stage import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAIRWISE_ID = "urn:oasis:names:tc:SAML:attribute:pairwise-id"
MAIL = "urn:oid:0.9.2342.19200300.100.1.3"
NAME = "urn:oid:2.16.840.1.113730.3.1.241"
FORMAT = "urn:oasis:names:tc:SAML:2.0:nameid-format:"


def contexts(*classes: str, comparison: str | None = None) -> str:
    """A RequestedAuthnContext."""
    how = f' Comparison="{comparison}"' if comparison else ""
    inside = "".join(f"<saml:AuthnContextClassRef>{each}</saml:AuthnContextClassRef>" for each in classes)
    return f"<samlp:RequestedAuthnContext{how}>{inside}</samlp:RequestedAuthnContext>"


async def hotel_login(
    party: Party, browser: Browser, inside: str = "", method: str = "bankid", **changed: str
) -> Received:
    address = party.hotel.redirect(party.hotel.request(inside, **changed))
    return party.hotel.receive(await party.log_in(browser, address, method))


class TestTheResponse:
    async def test_says_who_logged_in_encrypted_and_signed(self, party: Party) -> None:
        """saml2int SDP-IDP08 to 11: posted, the response signed, one assertion, encrypted; the RelayState comes back."""
        received = await hotel_login(party, party.stage.browser(), method="google")
        assert received.was_encrypted
        assert not received.assertion_signed
        assert received.relay_state == "app-1"
        assert received.attributes[NAME] == ["Maja Lind"]
        assert received.attributes[MAIL] == ["maja@example.com"]
        assert received.attributes[PAIRWISE_ID][0].endswith("@localhost")
        assert received.one("saml:Subject/saml:NameID").get("SPNameQualifier") == party.hotel.entity_id

    async def test_signs_the_assertion_where_the_partner_wants_that(self, party: Party) -> None:
        """The inner signature is made before encryption, and survives it."""
        browser = party.stage.browser()
        await browser.follow(await browser.get(party.clinic.redirect(key=party.clinic.key)))
        await browser.log_in("google", "maja")
        received = party.clinic.receive(await browser.press("share", ("field", "email"), ("field", "name")))
        assert received.assertion_signed
        assert received.attributes["epost"] == ["maja@example.com"]
        assert received.attributes["displayName"] == ["Maja Lind"]

    async def test_travels_in_the_clear_only_where_the_operator_says_so(self, party: Party) -> None:
        """``encrypt: never``; and with no attribute that names her where the partner goes by its NameID."""
        received = party.archive.receive(await party.log_in(party.stage.browser(), party.archive.redirect()))
        assert not received.was_encrypted
        assert received.attributes == {}

    async def test_names_the_provider_only_where_that_is_wanted(self, party: Party) -> None:
        """``tell_provider``: AuthenticatingAuthority (SAML Core section 2.7.2.2); others are not told."""
        path = "saml:AuthnStatement/saml:AuthnContext/saml:AuthenticatingAuthority"
        browser = party.stage.browser()
        told = party.archive.receive(await party.log_in(browser, party.archive.redirect()))
        assert told.one(path).text == "https://bankid.test"
        untold = party.hotel.receive(await browser.get(party.hotel.redirect()))
        assert untold.assertion.find(path, NS) is None

    async def test_names_who_is_behind_a_proxy(self, party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever authenticated her for the provider is named after it."""
        monkeypatch.setattr(party.stage.connectors["bankid"], "authorities", ("https://node.example",))
        received = party.archive.receive(await party.log_in(party.stage.browser(), party.archive.redirect()))
        path = "saml:AuthnStatement/saml:AuthnContext/saml:AuthenticatingAuthority"
        named = [each.text for each in received.assertion.findall(path, NS)]
        assert named == ["https://bankid.test", "https://node.example"]

    async def test_a_session_answers_without_a_page(self, party: Party) -> None:
        """Single sign-on: same customer, same session index, another assertion."""
        browser = party.stage.browser()
        first = await hotel_login(party, browser)
        second = party.hotel.receive(await browser.get(party.hotel.redirect()))
        assert second.session_index == first.session_index
        assert second.name_id == first.name_id
        assert second.assertion.get("ID") != first.assertion.get("ID")

    async def test_a_posted_request_goes_on_with_the_cookies(self, party: Party) -> None:
        """docs/security.md C2: a cross-site POST brings no cookies of ours; the GET to ourselves does."""
        browser = party.stage.browser()
        first = await hotel_login(party, browser)
        stranger = party.stage.browser()
        bounced = await stranger.post("/saml/sso", party.hotel.form())
        assert bounced.status == 303
        received = party.hotel.receive(await browser.get(bounced.location))
        assert received.session_index == first.session_index
        assert received.relay_state == "app-1"

    async def test_a_relay_state_is_no_markup(self, party: Party) -> None:
        """docs/security.md C5: what the partner gave comes back letter by letter, and does nothing on our page."""
        hostile = '"><script>alert(1)</script>{{7*7}}'
        answer = await party.log_in(party.stage.browser(), party.hotel.redirect(relay_state=hostile))
        assert "<script>alert" not in answer.text
        assert party.hotel.receive(answer).relay_state == hostile

    async def test_no_relay_state_is_none(self, party: Party) -> None:
        """Where the request brought none, the response brings none."""
        browser = party.stage.browser()
        answer = await party.log_in(browser, party.hotel.redirect(relay_state=None))
        assert party.hotel.receive(answer).relay_state is None

    async def test_the_page_may_post_to_the_partner(self, party: Party) -> None:
        """docs/security.md C5: form-action names the assertion consumer's origin."""
        answer = await party.log_in(party.stage.browser(), party.hotel.redirect())
        assert "form-action 'self' https://hotel.example" in answer.headers["content-security-policy"]


class TestWhomItNames:
    async def test_persistent_names_are_the_pairwise_subject(self, party: Party) -> None:
        """Opaque, for this partner alone, and the same at each login (SAML Core section 8.3.7)."""
        policy = f'<samlp:NameIDPolicy Format="{FORMAT}persistent" AllowCreate="true"/>'
        one = await hotel_login(party, party.stage.browser(), policy)
        two = await hotel_login(party, party.stage.browser(), policy)
        assert one.name_id == two.name_id
        assert one.attributes[PAIRWISE_ID] == two.attributes[PAIRWISE_ID]
        assert one.one("saml:Subject/saml:NameID").get("NameQualifier") == IDP
        assert one.attributes[PAIRWISE_ID] == [subject_identifier(one.name_id, "localhost")]

    async def test_transient_names_are_for_one_session(self, party: Party) -> None:
        """SAML Core section 8.3.8."""
        one = await hotel_login(party, party.stage.browser())
        two = await hotel_login(party, party.stage.browser())
        assert one.name_id != two.name_id

    async def test_partners_cannot_compare(self, party: Party) -> None:
        """Neither by name nor by identifier nor by session index."""
        browser = party.stage.browser()
        one = await hotel_login(party, browser)
        policy = f'<samlp:NameIDPolicy Format="{FORMAT}persistent" AllowCreate="true"/>'
        named = await hotel_login(party, browser, policy)
        two = party.archive.receive(await party.log_in(browser, party.archive.redirect(party.archive.request(policy))))
        assert two.name_id != named.name_id
        assert two.session_index != one.session_index

    async def test_an_address_only_where_it_is_allowed_and_released(self, party: Party) -> None:
        """``email`` among the partner's formats, and among what it is told of her."""
        browser = party.stage.browser()
        policy = '<samlp:NameIDPolicy Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"/>'
        request = party.clinic.request(policy)
        await browser.follow(await browser.get(party.clinic.redirect(request, key=party.clinic.key)))
        await browser.log_in("google", "maja")
        assert party.clinic.receive(await browser.press("share", ("field", "email"))).name_id == "maja@example.com"

    @pytest.mark.parametrize(
        "policy",
        [
            '<samlp:NameIDPolicy Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"/>',
            '<samlp:NameIDPolicy Format="urn:oasis:names:tc:SAML:2.0:nameid-format:kerberos"/>',
            '<samlp:NameIDPolicy Format="urn:oasis:names:tc:SAML:2.0:nameid-format:encrypted"/>',
            '<samlp:NameIDPolicy SPNameQualifier="https://archive.example/saml"/>',
        ],
        ids=["email", "kerberos", "encrypted", "another-party"],
    )
    async def test_other_formats_are_refused(self, party: Party, policy: str) -> None:
        """InvalidNameIDPolicy (SAML Core section 3.4.1.1), before she logs in."""
        address = party.hotel.redirect(party.hotel.request(policy))
        received = party.hotel.receive(await party.stage.browser().get(address))
        assert (received.status, received.second) == ("Requester", "InvalidNameIDPolicy")

    async def test_nobody_new_where_none_may_be_created(self, party: Party) -> None:
        """AllowCreate="false": an error for whom the partner does not know, an answer for whom it does."""
        policy = f'<samlp:NameIDPolicy Format="{FORMAT}transient" AllowCreate="false"/>'
        browser = party.stage.browser()
        address = party.hotel.redirect(party.hotel.request(policy))
        refused = party.hotel.receive(await party.log_in(browser, address, "google", "karl"))
        assert (refused.status, refused.second) == ("Requester", "InvalidNameIDPolicy")
        party.hotel.receive(await browser.get(party.hotel.redirect()))
        known = party.hotel.receive(await browser.get(party.hotel.redirect(party.hotel.request(policy))))
        assert known.status == "Success"


class TestHowSure:
    @pytest.mark.parametrize(
        ("comparison", "classes", "told"),
        [
            (None, [f"{LOA}substantial"], f"{LOA}substantial"),
            (None, [f"{LOA}high", f"{LOA}substantial"], f"{LOA}substantial"),
            ("minimum", [f"{LOA}low"], f"{LOA}substantial"),
            ("better", [f"{LOA}low"], f"{LOA}substantial"),
            ("maximum", [f"{LOA}substantial"], f"{LOA}substantial"),
            ("maximum", [f"{LOA}high"], f"{LOA}substantial"),
            (None, [f"{CLASSES}unspecified"], f"{CLASSES}unspecified"),
        ],
    )
    async def test_by_all_four_comparisons(
        self, party: Party, comparison: str | None, classes: list[str], told: str
    ) -> None:
        """SAML Core section 3.3.2.2.1; what is told is what was achieved."""
        method = "google" if told.endswith("unspecified") else "bankid"
        received = await hotel_login(party, party.stage.browser(), contexts(*classes, comparison=comparison), method)
        assert received.context == told

    @pytest.mark.parametrize(
        ("comparison", "classes"),
        [
            (None, [f"{LOA}high"]),
            (None, [f"{CLASSES}Kerberos"]),
            ("minimum", [f"{LOA}high"]),
            ("minimum", [f"{CLASSES}Password"]),
            ("better", [f"{LOA}substantial"]),
            ("better", [f"{LOA}low", f"{LOA}high"]),
            ("better", [f"{LOA}low", f"{CLASSES}Kerberos"]),
            ("maximum", [f"{CLASSES}Kerberos"]),
        ],
    )
    async def test_what_nobody_here_reaches_is_refused_at_once(
        self, party: Party, comparison: str | None, classes: list[str]
    ) -> None:
        """NoAuthnContext, and nobody is asked to log in for it."""
        address = party.hotel.redirect(party.hotel.request(contexts(*classes, comparison=comparison)))
        received = party.hotel.receive(await party.stage.browser().get(address))
        assert (received.status, received.second) == ("Responder", "NoAuthnContext")

    async def test_a_weaker_session_is_not_enough(self, party: Party) -> None:
        """She logs in once more, by what reaches it."""
        browser = party.stage.browser()
        await hotel_login(party, browser, method="google")
        received = await hotel_login(party, browser, contexts(f"{LOA}substantial"), "bankid")
        assert received.context == f"{LOA}substantial"

    async def test_a_stronger_session_is_not_told_as_a_weaker_class(self, party: Party) -> None:
        """``exact``: she is asked for a login of that class, for the one she has is another."""
        browser = party.stage.browser()
        await hotel_login(party, browser)
        address = party.hotel.redirect(party.hotel.request(contexts(f"{CLASSES}unspecified")))
        answer = await browser.get(address)
        assert answer.form_post is None
        assert answer.location.startswith("https://google.test/")

    async def test_a_class_of_the_partners_own(self, party: Party) -> None:
        """``authn_contexts``: the word its software knows, for every login that is at least of that level."""
        browser = party.stage.browser()
        request = party.clinic.request(contexts(f"{CLASSES}PasswordProtectedTransport"))
        await browser.follow(await browser.get(party.clinic.redirect(request, key=party.clinic.key)))
        await browser.log_in("bankid", "maja")
        received = party.clinic.receive(await browser.press("share"))
        assert received.context == f"{CLASSES}PasswordProtectedTransport"


class TestForceAuthnAndIsPassive:
    async def test_force_authn_asks_anew(self, party: Party) -> None:
        """saml2int SDP-IDP07: a fresh proof, and a fresh AuthnInstant."""
        browser = party.stage.browser()
        first = await hotel_login(party, browser)
        party.stage.clock.forward(seconds=40)
        second = await hotel_login(party, browser, ForceAuthn="true")
        instants = [each.one("saml:AuthnStatement").get("AuthnInstant") for each in (first, second)]
        assert instants[0] < instants[1]

    async def test_is_passive_shows_no_page(self, party: Party) -> None:
        """NoPassive without a session, an answer with one (SAML Core section 3.4.1)."""
        browser = party.stage.browser()
        request = party.hotel.request(IsPassive="true")
        refused = party.hotel.receive(await browser.get(party.hotel.redirect(request)))
        assert (refused.status, refused.second) == ("Responder", "NoPassive")
        await hotel_login(party, browser)
        again = party.hotel.request(IsPassive="true")
        assert party.hotel.receive(await browser.get(party.hotel.redirect(again))).status == "Success"

    async def test_both_at_once_cannot_be(self, party: Party) -> None:
        """Nobody proves anything anew without being asked."""
        browser = party.stage.browser()
        await hotel_login(party, browser)
        party.stage.clock.forward(seconds=1)
        request = party.hotel.request(IsPassive="1", ForceAuthn="1")
        received = party.hotel.receive(await browser.get(party.hotel.redirect(request)))
        assert (received.status, received.second) == ("Responder", "NoPassive")

    async def test_is_passive_asks_for_no_consent(self, party: Party) -> None:
        """A partner whose customers are asked first hears that somebody would have to be."""
        browser = party.stage.browser()
        await hotel_login(party, browser, method="google")
        request = party.clinic.request(IsPassive="true")
        received = party.clinic.receive(await browser.get(party.clinic.redirect(request, key=party.clinic.key)))
        assert (received.status, received.second) == ("Responder", "NoPassive")


class TestLeaving:
    async def test_a_customer_who_cancels(self, party: Party) -> None:
        """RequestDenied at the assertion consumer, with the RelayState."""
        browser = party.stage.browser()
        await browser.follow(await browser.get(party.hotel.redirect()))
        received = party.hotel.receive(await browser.press("cancel"))
        assert (received.status, received.second, received.relay_state) == ("Responder", "RequestDenied", "app-1")

    async def test_a_customer_who_does_not_consent(self, party: Party) -> None:
        """The consent page shows what a SAML partner gets as it does for others; leaving it tells nothing of her."""
        browser = party.stage.browser()
        await browser.follow(await browser.get(party.clinic.redirect(key=party.clinic.key)))
        page = await browser.log_in("google", "maja")
        assert "maja@example.com" in page.text
        received = party.clinic.receive(await browser.press("cancel"))
        assert (received.status, received.second) == ("Responder", "RequestDenied")


class TestClocks:
    @pytest.mark.parametrize("seconds", [-400, -20, 20, 170])
    async def test_clocks_may_differ(self, party: Party, seconds: int) -> None:
        """saml2int SDP-G01."""
        at = party.stage.clock.now + timedelta(seconds=seconds)
        received = await hotel_login(party, party.stage.browser(), IssueInstant=f"{at:%Y-%m-%dT%H:%M:%SZ}")
        assert received.status == "Success"


async def test_the_default_consumer_and_a_named_one(party: Party) -> None:
    """saml2int SDP-IDP06: by default the first; by address or index what is registered."""
    browser = party.stage.browser()
    await hotel_login(party, browser)
    default = party.hotel.request(drop=("AssertionConsumerServiceURL",))
    party.hotel.receive(await browser.get(party.hotel.redirect(default)), wants="https://hotel.example/acs")
    indexed = party.hotel.request(drop=("AssertionConsumerServiceURL",), AssertionConsumerServiceIndex="1")
    party.hotel.receive(await browser.get(party.hotel.redirect(indexed)), wants="https://hotel.example/acs?two")


async def test_other_parameters_are_nobodys_business(party: Party) -> None:
    """A language in the query is ours."""
    address = f"{party.hotel.redirect()}&{urlencode({'lang': 'sv'})}"
    answer = await party.stage.browser().get(address)
    assert answer.status == 303
