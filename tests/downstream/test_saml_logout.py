"""Leaving: a service provider asks for it, or a customer who left here goes there to leave too."""

import base64
from pathlib import Path

import pytest

from broker.core.saml import EMAIL_ADDRESS
from tests.downstream.saml_party import NS, Party, Received, open_party
from tests.downstream.test_saml_refusals import shown_here
from tests.stage import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def in_at_hotel(party: Party, browser: Browser, inside: str = "") -> Received:
    address = party.hotel.redirect(party.hotel.request(inside))
    return party.hotel.receive(await party.log_in(browser, address))


async def is_in(party: Party, browser: Browser) -> bool:
    """Whether *browser* still has a session here."""
    request = party.hotel.request(IsPassive="true")
    return party.hotel.receive(await browser.get(party.hotel.redirect(request))).status == "Success"


class TestAPartnerAsks:
    async def test_the_session_ends_and_it_is_told_so(self, party: Party) -> None:
        """saml2int SDP-IDP25 to 31: by Redirect, signed both ways, the RelayState comes back."""
        browser = party.stage.browser()
        received = await in_at_hotel(party, browser)
        answer = await browser.get(party.hotel.log_out(party.hotel.logout_request(received)))
        assert party.hotel.logged_out(answer) == ("Success", None, "bye")
        assert not await is_in(party, browser)

    async def test_by_post(self, party: Party) -> None:
        """docs/security.md C2: the GET to ourselves brings the cookies that the cross-site POST did not."""
        browser = party.stage.browser()
        received = await in_at_hotel(party, browser)
        octets = party.hotel.signed(party.hotel.logout_request(received))
        form = {"SAMLRequest": base64.b64encode(octets).decode()}
        bounced = await party.stage.browser().post("/saml/slo", form)
        assert bounced.status == 303
        assert party.hotel.logged_out(await browser.get(bounced.location))[0] == "Success"
        assert not await is_in(party, browser)

    async def test_partners_that_nobody_told_are_not_kept_secret(self, party: Party) -> None:
        """PartialLogout: here she is out, at the archive perhaps not (SDP-IDP31)."""
        browser = party.stage.browser()
        received = await in_at_hotel(party, browser)
        party.archive.receive(await party.log_in(browser, party.archive.redirect()))
        answer = await browser.get(party.hotel.log_out(party.hotel.logout_request(received)))
        assert party.hotel.logged_out(answer)[:2] == ("Success", "PartialLogout")
        assert not await is_in(party, browser)

    async def test_without_a_session_there_is_nothing_left_to_end(self, party: Party) -> None:
        """She was logged out before: that is no failure."""
        browser = party.stage.browser()
        received = await in_at_hotel(party, browser)
        answer = await party.stage.browser().get(party.hotel.log_out(party.hotel.logout_request(received)))
        assert party.hotel.logged_out(answer)[0] == "Success"
        assert await is_in(party, browser)

    @pytest.mark.parametrize("changed", [{"NameID": "_somebody"}, {"SessionIndex": "another"}], ids=["name", "index"])
    async def test_another_session_is_left_alone(self, party: Party, changed: dict[str, str]) -> None:
        """NameID and SessionIndex must both fit (SDP-SP29); hers goes on."""
        browser = party.stage.browser()
        received = await in_at_hotel(party, browser)
        answer = await browser.get(party.hotel.log_out(party.hotel.logout_request(received, **changed)))
        assert party.hotel.logged_out(answer)[:2] == ("Requester", "UnknownPrincipal")
        assert await is_in(party, browser)

    async def test_an_earlier_session_of_hers_is_not_meant(self, party: Party) -> None:
        """A request about last week's session does not end today's."""
        browser = party.stage.browser()
        old = await in_at_hotel(party, party.stage.browser())
        await in_at_hotel(party, browser)
        answer = await browser.get(party.hotel.log_out(party.hotel.logout_request(old)))
        assert party.hotel.logged_out(answer)[:2] == ("Requester", "UnknownPrincipal")

    async def test_unsigned(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """docs/security.md A15: nothing ends by a request that anybody may have made."""
        browser = party.stage.browser()
        received = await in_at_hotel(party, browser)
        query = party.hotel.query(party.hotel.logout_request(received), relay_state=None, key=None)
        shown_here(await browser.get(f"/saml/slo?{query}"), capsys, "saml.unsigned")
        form = {"SAMLRequest": base64.b64encode(party.hotel.logout_request(received)).decode()}
        shown_here(await browser.post("/saml/slo", form), capsys, "saml.unsigned")
        assert await is_in(party, browser)

    async def test_signed_by_another(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """Another partner ends no session of this one's."""
        browser = party.stage.browser()
        received = await in_at_hotel(party, browser)
        message = party.hotel.logout_request(received)
        answer = await browser.get(party.hotel.log_out(message, key=party.clinic.key))
        shown_here(answer, capsys, "saml.signature_invalid")
        assert await is_in(party, browser)

    async def test_twice(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """Each request once."""
        browser = party.stage.browser()
        address = party.hotel.log_out(party.hotel.logout_request(await in_at_hotel(party, browser)))
        await browser.get(address)
        again = await browser.get(address)
        shown_here(again, capsys, "saml.replayed", again.status)

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"Destination": "https://other.example/slo"}, "saml.destination"),
            ({"IssueInstant": "2020-01-01T00:00:00Z"}, "saml.time"),
            ({"NotOnOrAfter": "2026-11-21T00:00:00Z"}, "saml.time"),
            ({"Version": "1.1"}, "saml.message_head"),
        ],
    )
    async def test_not_for_us_or_not_for_now(
        self, party: Party, changed: dict[str, str], code: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The checks of every message."""
        browser = party.stage.browser()
        received = await in_at_hotel(party, browser)
        answer = await browser.get(party.hotel.log_out(party.hotel.logout_request(received, **changed)))
        shown_here(answer, capsys, code)
        assert await is_in(party, browser)

    @pytest.mark.parametrize("name", ["{}\N{NO-BREAK SPACE}", "\N{EM SPACE}{}", "{}&#x85;"], ids=ascii)
    async def test_a_name_that_is_only_alike(self, party: Party, name: str) -> None:
        """Blanks that are none in XML make it another name."""
        browser = party.stage.browser()
        received = await in_at_hotel(party, browser)
        message = party.hotel.logout_request(received, NameID=name.format(received.name_id))
        answer = await browser.get(party.hotel.log_out(message))
        assert party.hotel.logged_out(answer)[:2] == ("Requester", "UnknownPrincipal")
        assert await is_in(party, browser)

    async def test_a_request_that_never_ends(self, party: Party) -> None:
        """The end of time is an end, and no fault of ours."""
        browser = party.stage.browser()
        message = party.hotel.logout_request(await in_at_hotel(party, browser), NotOnOrAfter="9999-12-31T23:59:59Z")
        assert party.hotel.logged_out(await browser.get(party.hotel.log_out(message)))[0] == "Success"

    async def test_by_an_address_only_where_that_is_her_name_there(self, prepared_stage: Path) -> None:
        """security: a logout request is no way to find out whether a customer is who the partner guesses."""
        slo = "      slo_uri: https://hotel.example/slo\n"
        formats = {slo: f"{slo}      name_id_formats: [transient, email]\n"}
        async with open_party(prepared_stage, edit=formats) as party:
            hotel, browser = party.hotel, party.stage.browser()
            received = hotel.receive(await party.log_in(browser, hotel.redirect(), "google", "maja"))
            guess = hotel.log_out(hotel.logout_request(received, NameID="maja@example.com"))
            assert hotel.logged_out(await browser.get(guess))[:2] == ("Requester", "UnknownPrincipal")
            assert await is_in(party, browser)
            named = hotel.request(f'<samlp:NameIDPolicy Format="{EMAIL_ADDRESS}"/>')
            received = hotel.receive(await browser.get(hotel.redirect(named)))
            assert received.name_id == "maja@example.com"
            answer = await browser.get(hotel.log_out(hotel.logout_request(received)))
            assert hotel.logged_out(answer)[0] == "Success"

    async def test_of_a_partner_without_an_address_for_answers(
        self, party: Party, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Nobody could be told what became of it."""
        browser = party.stage.browser()
        await browser.follow(await browser.get(party.clinic.redirect(key=party.clinic.key)))
        await browser.log_in("google", "maja")
        received = party.clinic.receive(await browser.press("share"))
        answer = await browser.get(party.clinic.log_out(party.clinic.logout_request(received)))
        shown_here(answer, capsys, "saml.slo")


class TestSheLeavesHere:
    async def left(self, party: Party, inside: str = "") -> tuple[Browser, Received, str]:
        """She logged in at the hotel and logs out on our page; where she is sent on from there."""
        browser = party.stage.browser()
        received = await in_at_hotel(party, browser, inside)
        await browser.get("/logout")
        page = await browser.follow(await browser.get("/logout/confirm"))
        page = await browser.follow(await browser.press("log-out"))
        assert "Hotel" in page.text
        assert "still logged in there" in page.text
        return browser, received, page.url

    async def test_she_can_be_logged_out_there_too(self, party: Party) -> None:
        """``tell_logout``: sent there with a signed request by the very name it was told, and back to a page that says so."""
        browser, received, here = await self.left(party)
        token = here.partition("of=")[2]
        gone = await browser.get(f"/saml/leave?of={token}&at=hotel")
        request = party.hotel.asked_to_log_out(gone)
        assert request.findtext("saml:NameID", namespaces=NS) == received.name_id
        assert request.findtext("samlp:SessionIndex", namespaces=NS) == received.session_index
        assert token not in gone.location
        page = await browser.follow(await browser.get(party.hotel.answer_logout(request)))
        assert "still logged in there" not in page.text
        assert "Hotel" in page.text

    async def test_by_a_persistent_name_where_it_was_told_that(self, party: Party) -> None:
        """SAML Core section 3.7.1: as it was told."""
        policy = (
            '<samlp:NameIDPolicy Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent" AllowCreate="true"/>'
        )
        browser, received, here = await self.left(party, policy)
        request = party.hotel.asked_to_log_out(await browser.get(f"/saml/leave?of={here.partition('of=')[2]}&at=hotel"))
        assert request.findtext("saml:NameID", namespaces=NS) == received.name_id
        assert request.find("saml:NameID", NS).get("SPNameQualifier") == party.hotel.entity_id

    async def test_what_it_refuses_is_said(self, party: Party) -> None:
        """The page tells the truth: she may still be logged in there."""
        browser, _, here = await self.left(party)
        request = party.hotel.asked_to_log_out(await browser.get(f"/saml/leave?of={here.partition('of=')[2]}&at=hotel"))
        page = await browser.follow(await browser.get(party.hotel.answer_logout(request, "Responder")))
        assert "still logged in there" in page.text

    @pytest.mark.parametrize("at", ["archive", "clinic", "tyre-shop", "nobody", ""])
    async def test_others_are_not_gone_to(self, party: Party, at: str) -> None:
        """Only partners that were logged in by that session, and take customers for it."""
        browser, _, here = await self.left(party)
        answer = await browser.get(f"/saml/leave?of={here.partition('of=')[2]}&at={at}")
        assert answer.location.startswith("http://localhost:8700/logged-out")

    async def test_without_a_farewell_nobody_goes_anywhere(self, party: Party) -> None:
        """The address says nothing by itself."""
        answer = await party.stage.browser().get("/saml/leave?of=invented&at=hotel")
        assert answer.location.startswith("http://localhost:8700/logged-out")

    async def test_an_answer_to_nothing(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """InResponseTo must be a request of ours, to that partner, and is answered once."""
        browser, _, here = await self.left(party)
        token = here.partition("of=")[2]
        request = party.hotel.asked_to_log_out(await browser.get(f"/saml/leave?of={token}&at=hotel"))
        invented = await browser.get(party.hotel.answer_logout(request, InResponseTo="_invented"))
        shown_here(invented, capsys, "saml.in_response_to", invented.status)
        assert (await browser.get(party.hotel.answer_logout(request))).status == 303
        again = await browser.get(party.hotel.answer_logout(request))
        shown_here(again, capsys, "saml.in_response_to", again.status)

    async def test_anothers_answer(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """Mix-up: the clinic cannot answer for the hotel."""
        browser, _, here = await self.left(party)
        token = here.partition("of=")[2]
        request = party.hotel.asked_to_log_out(await browser.get(f"/saml/leave?of={token}&at=hotel"))
        answer = await browser.get(party.clinic.answer_logout(request))
        shown_here(answer, capsys, "saml.in_response_to", answer.status)

    async def test_an_unsigned_answer(self, party: Party, capsys: pytest.CaptureFixture[str]) -> None:
        """Nobody but the partner says that she is out there."""
        browser, _, here = await self.left(party)
        token = here.partition("of=")[2]
        request = party.hotel.asked_to_log_out(await browser.get(f"/saml/leave?of={token}&at=hotel"))
        address = party.hotel.answer_logout(request).partition("&SigAlg")[0]
        shown_here(await browser.get(address), capsys, "saml.unsigned")
