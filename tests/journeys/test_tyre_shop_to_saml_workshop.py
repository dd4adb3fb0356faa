"""The same story, where the recipient's software speaks SAML."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.downstream.saml_party import CLASSES, Party, open_party
from tests.stage import GARAGE, ISSUER, PAYLOAD, SECRET, SHOP, Answer, Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

ABOUT = f"{ISSUER}/saml/handoff"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def party(prepared_stage: Path) -> AsyncIterator[Party]:
    """A broker whose partners are SAML service providers, one of them a workshop."""
    async with open_party(prepared_stage) as opened:
        yield opened


async def offered(party: Party, browser: Browser) -> Answer:
    """Maja logged in at the shop, followed its link, and sees what would be shared with the workshop."""
    at_shop = await party.stage.shop_login(browser)
    created = await party.stage.offer(at_shop["claims"]["sub"], partner="workshop", purpose="repair")
    assert created.status == 201, created.text
    return await browser.follow(await browser.get(created.json["link"]))


async def arrived(party: Party, browser: Browser, started: Answer) -> Any:
    """The workshop begins its login as it always does, and gives the reference back as RelayState."""
    assert started.location.startswith("https://workshop.example/login?idp=stafett&target=ho_"), started.location
    reference = started.query["target"]
    assert len(reference) <= 80
    return await browser.follow(await browser.get(party.workshop.redirect(relay_state=reference)))


class TestTheWholeWay:
    async def test_she_stands_logged_in_with_what_she_agreed_to(self, party: Party) -> None:
        """Consent once, arrive by an ordinary login: who she is in the assertion, the data by the workshop's own server."""
        browser = party.stage.browser()
        page = await offered(party, browser)
        assert "Norrsken 7" in page.text
        answer = await arrived(party, browser, await browser.press("share", ("field", "customer.email")))
        received = party.workshop.receive(answer)
        told = received.attributes
        assert told[f"{ABOUT}/source"] == ["tyre-shop"]
        assert told[f"{ABOUT}/purpose"] == ["repair"]
        assert "Maja" not in str(told)
        assert received.context == f"{CLASSES}unspecified"
        assert not list(received.assertion.iter("{*}AuthenticatingAuthority"))

        (handoff,) = told[f"{ABOUT}/id"]
        data = await party.fetch(handoff)
        assert data.status == 200, data.text
        assert data.json["claims"] == {
            "customer": {"name": "Maja Lind", "email": "maja@example.com"},
            "items": PAYLOAD["items"],
        }
        assert data.json["state"] == "redeemed"
        assert (await party.fetch(handoff)).json["claims"] == data.json["claims"]
        done = await party.stage.client.post(
            f"/handoffs/{handoff}/acknowledgement", json={"result": "booked"}, auth=("workshop-api", "w" * 40)
        )
        assert done.json()["state"] == "acknowledged"

    async def test_bankid_vouches_for_nobody_elsewhere(self, party: Party) -> None:
        """A class is asked for that her login has, and that may not be told here: NoAuthnContext."""
        browser = party.stage.browser()
        await offered(party, browser)
        started = await browser.press("share")
        inside = (
            "<samlp:RequestedAuthnContext><saml:AuthnContextClassRef>http://eidas.europa.eu/LoA/substantial"
            "</saml:AuthnContextClassRef></samlp:RequestedAuthnContext>"
        )
        request = party.workshop.request(inside)
        answer = await browser.get(party.workshop.redirect(request, relay_state=started.query["target"]))
        received = party.workshop.receive(answer)
        assert (received.status, received.second) == ("Responder", "NoAuthnContext")


class TestTheReference:
    async def test_it_is_no_login(self, party: Party) -> None:
        """Whoever holds it and is not her gets nothing of hers: not even a login, which the workshop has no other of."""
        browser = party.stage.browser()
        await offered(party, browser)
        started = await browser.press("share")
        stranger = party.stage.browser()
        begun = await stranger.get(party.workshop.redirect(relay_state=started.query["target"]))
        assert begun.form_post is None
        page = await stranger.follow(begun)
        assert "Maja" not in page.text
        wrong = await stranger.log_in("google", "karl")
        assert wrong.form_post is None
        assert "Maja" not in wrong.text

    async def test_it_is_for_one_partner(self, party: Party) -> None:
        """Another partner's request that brings it is an ordinary login."""
        browser = party.stage.browser()
        await offered(party, browser)
        started = await browser.press("share")
        address = party.hotel.redirect(relay_state=started.query["target"])
        received = party.hotel.receive(await party.log_in(browser, address))
        assert not any(name.startswith(ABOUT) for name in received.attributes)

    @pytest.mark.parametrize("spoil", ["proof", "time", "shape"])
    async def test_a_changed_one_is_none(self, party: Party, spoil: str) -> None:
        """Then this is a login, which the workshop may not start by itself: RequestDenied."""
        browser = party.stage.browser()
        await offered(party, browser)
        handoff, until, proof = (await browser.press("share")).query["target"].split(".")
        changed = {
            "proof": f"{handoff}.{until}.{'0' * len(proof)}",
            "time": f"{handoff}.{int(until, 16) + 9:x}.{proof}",
            "shape": f"{handoff}.{until}",
        }[spoil]
        received = party.workshop.receive(await browser.get(party.workshop.redirect(relay_state=changed)))
        assert (received.status, received.second) == ("Responder", "RequestDenied")

    async def test_it_ends(self, party: Party) -> None:
        """After fifteen minutes the link, not the reference, is the way."""
        browser = party.stage.browser()
        await offered(party, browser)
        reference = (await browser.press("share")).query["target"]
        party.stage.clock.forward(minutes=15, seconds=1)
        received = party.workshop.receive(await browser.get(party.workshop.redirect(relay_state=reference)))
        assert (received.status, received.second) == ("Responder", "RequestDenied")


class TestTheData:
    async def started(self, party: Party) -> str:
        browser = party.stage.browser()
        await offered(party, browser)
        answer = await arrived(party, browser, await browser.press("share"))
        return party.workshop.receive(answer).attributes[f"{ABOUT}/id"][0]

    async def test_others_do_not_get_it(self, party: Party) -> None:
        """Neither the shop nor the garage by their own credentials, nor anybody by none; the workshop still does."""
        handoff = await self.started(party)
        for client in (SHOP, GARAGE):
            assert (await party.fetch(handoff, (client, SECRET))).status == 400
        assert (await party.fetch(handoff, ("workshop-api", "x" * 40))).status == 401
        assert (await party.fetch(handoff, ("nobody", "x" * 40))).status == 401
        assert (await party.fetch(handoff)).status == 200

    async def test_another_handoff_is_not_found(self, party: Party) -> None:
        """One that never was, and one for another recipient, look alike."""
        browser = party.stage.browser()
        at_shop = await party.stage.shop_login(browser)
        foreign = await party.stage.offer(at_shop["claims"]["sub"])
        for handoff in ("A" * 22, "x", foreign.json["handoff_id"]):
            assert (await party.fetch(handoff)).status == 404

    async def test_before_she_agreed_there_is_none(self, party: Party) -> None:
        """Whoever knows the id fetches nothing that she was not asked about yet."""
        browser = party.stage.browser()
        at_shop = await party.stage.shop_login(browser)
        created = await party.stage.offer(at_shop["claims"]["sub"], partner="workshop", purpose="repair")
        assert (await party.fetch(created.json["handoff_id"])).status == 404

    async def test_after_withdrawal_it_is_gone(self, party: Party) -> None:
        """410, as for everybody."""
        browser = party.stage.browser()
        await offered(party, browser)
        answer = await arrived(party, browser, await browser.press("share"))
        handoff = party.workshop.receive(answer).attributes[f"{ABOUT}/id"][0]
        assert (await party.fetch(handoff)).status == 200
        page = await browser.get("/shared")
        await browser.press(next(each for each in sorted(page.ids) if each.startswith("withdraw-")))
        assert (await party.fetch(handoff)).status == 410
