"""Handoffs to partners without an OpenID Connect client: one customer, one browser, one artifact, one token."""

import base64
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.downstream.service import (
    DEPOT_ARRIVE,
    SECRET_OF_BROWSER,
    VAULT_ARRIVE,
    Service,
    Services,
    challenge_of,
    open_services,
)
from tests.stage import ISSUER, PAYLOAD, PEOPLE, SECRET, Answer, Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(prepared_stage: Path) -> AsyncIterator[Services]:
    async with open_services(prepared_stage) as opened:
        yield opened


@pytest.fixture
def depot(services: Services) -> Service:
    return services.depot


@pytest.fixture
def vault(services: Services) -> Service:
    return services.vault


def refused(answer: Answer, status: int, error: str) -> None:
    """An answer that says no, and nothing else."""
    assert (answer.status, answer.json["error"]) == (status, error), answer.text
    assert answer.json.keys() == {"error", "error_description", "reference"}


# The way there


async def test_only_a_handle_goes_out(depot: Service) -> None:
    """The recipient's registered address, with one opaque parameter and nothing of the customer."""
    _, sent = await depot.customer()
    assert sent.location.startswith(f"{DEPOT_ARRIVE}?handoff=")
    assert sent.query.keys() == {"handoff"}


async def test_an_address_with_a_query_keeps_it(vault: Service) -> None:
    """Both times the registered address, to the letter."""
    browser, sent = await vault.customer()
    assert sent.location.startswith(f"{VAULT_ARRIVE}&handoff=")
    await browser.follow(await browser.get(vault.back(sent)))
    assert (await browser.press("arrive")).location.startswith(f"{VAULT_ARRIVE}&artifact=")


async def test_the_page_names_the_account(depot: Service) -> None:
    """Section 7, login CSRF: whoever was slipped a foreign account sees it, and nothing goes on without a press."""
    browser, sent = await depot.customer()
    page = await browser.follow(await browser.get(depot.back(sent)))
    assert page.status == 200
    assert {"arrive", "not-me", "back-to-shop"} <= page.ids
    assert "M•••\u00a0L•••" in page.text
    assert "Maja" not in page.text
    assert "handoff=" not in page.url
    assert "challenge=" not in page.url


async def test_an_account_without_a_name_is_named_by_its_address(depot: Service) -> None:
    """There is always something to recognise it by."""
    PEOPLE["nobody"] = {"name": "", "email": "nobody@example.com"}
    browser, sent = await depot.customer("google", "nobody")
    page = await browser.follow(await browser.get(depot.back(sent)))
    assert "arrive" in page.ids
    assert "n•••@example.com" in page.text


async def test_the_token_says_who_what_for_and_what(services: Services, depot: Service) -> None:
    """Every claim of section 5, each by its own rule."""
    answer = await depot.redeem(await depot.artifact("google"))
    assert answer.json["expires_in"] == 300
    token = await depot.token(answer)
    assert token.header["typ"] == "stafett-handoff+jwt"
    assert token.header["alg"] == "ES256"
    claims, now = token.claims, int(services.stage.clock.now.timestamp())
    assert claims["iss"] == ISSUER
    assert claims["aud"] == "depot-service"
    assert (claims["iat"], claims["exp"]) == (now, now + 300)
    assert claims["act"] == {"sub": "nordhjul-web"}
    assert claims["claims"] == {"customer": {"name": "Maja Lind"}, "items": PAYLOAD["items"]}
    assert "customer.email" in claims["withheld"]
    assert "vehicle.registration_number" in claims["withheld"]
    assert claims["handoff"].keys() == {"id", "source", "purpose", "type", "created_at", "expires_at"}
    assert claims["handoff"]["source"] == "tyre-shop"
    assert claims["handoff"]["purpose"] == "storing"
    assert claims["acr"] == "contact"
    assert claims["amr"] == ["google"]
    assert claims["auth_time"] == now
    assert claims["jti"]
    assert claims["consent_id"]


async def test_bankid_is_not_told(depot: Service) -> None:
    """The same release decision as everywhere: a method that may not vouch for others is neither named nor passed on."""
    claims = (await depot.token(await depot.redeem(await depot.artifact("bankid")))).claims
    assert claims["acr"] == "federated"
    assert "amr" not in claims


async def test_each_partner_has_its_own_subject(depot: Service, vault: Service, services: Services) -> None:
    """Pairwise: the same customer has another number at each, and the same one the next time."""
    first = (await depot.token(await depot.redeem(await depot.artifact()))).claims["sub"]
    again = (await depot.token(await depot.redeem(await depot.artifact()))).claims["sub"]
    other = (await vault.token(await vault.redeem(await vault.artifact()))).claims["sub"]
    at_shop = (await services.stage.shop_login(services.stage.browser()))["claims"]["sub"]
    assert first == again
    assert len({first, other, at_shop}) == 3


async def test_an_encrypted_token_is_for_its_partner_alone(vault: Service) -> None:
    """Nested, sign then encrypt: RFC 7519 section 11.2; nothing of the claims in the outer header, no compression."""
    answer = await vault.redeem(await vault.artifact())
    header = json.loads(base64.urlsafe_b64decode(answer.json["handoff_token"].split(".")[0] + "=="))
    assert header.keys() == {"alg", "enc", "cty", "kid", "epk"}
    assert (header["alg"], header["enc"], header["cty"], header["kid"]) == ("ECDH-ES", "A256GCM", "JWT", "enc-1")
    token = await vault.token(answer)
    assert token.header["typ"] == "stafett-handoff+jwt"
    assert token.header["alg"] == "RS256"
    assert token.claims["claims"] == {"customer": {"name": "Maja Lind"}}


# What does not work


async def test_wrong_secret_uses_the_artifact_up(depot: Service) -> None:
    """Whoever has the artifact but not the browser's secret gets nothing, and leaves nothing to try again with."""
    artifact = await depot.artifact()
    refused(await depot.redeem(artifact, "t" * 43), 400, "invalid_grant")
    refused(await depot.redeem(artifact), 400, "invalid_grant")


@pytest.mark.parametrize("secret", ["s" * 42, "s" * 129, "å" * 43, challenge_of(SECRET_OF_BROWSER)])
async def test_what_is_no_secret(depot: Service, secret: str) -> None:
    """The challenge itself, and texts that no secret may be (RFC 7636 section 4.1)."""
    refused(await depot.redeem(await depot.artifact(), secret), 400, "invalid_grant")


async def test_another_partner_cannot_redeem_it_nor_use_it_up(depot: Service, vault: Service) -> None:
    """The artifact is bound to its recipient; somebody else's try does not cost the customer hers."""
    artifact = await depot.artifact()
    refused(await vault.redeem(artifact), 400, "invalid_grant")
    assert (await depot.redeem(artifact)).status == 200


async def test_an_artifact_works_once(depot: Service) -> None:
    """The second time it is as if it had never been."""
    artifact = await depot.artifact()
    assert (await depot.redeem(artifact)).status == 200
    refused(await depot.redeem(artifact), 400, "invalid_grant")


async def test_two_artifacts_of_one_handoff(depot: Service) -> None:
    """She confirmed twice, in two tabs: one of the two transfers it."""
    browser, sent = await depot.customer()
    one, two = await depot.confirmed(browser, sent), await depot.confirmed(browser, sent)
    assert one != two
    assert (await depot.redeem(two)).status == 200
    refused(await depot.redeem(one), 400, "invalid_grant")


async def test_an_artifact_lives_sixty_seconds(services: Services, depot: Service) -> None:
    """Then she confirms anew, which she can."""
    browser, sent = await depot.customer()
    artifact = await depot.confirmed(browser, sent)
    services.stage.clock.forward(seconds=60)
    refused(await depot.redeem(artifact), 400, "invalid_grant")
    assert (await depot.redeem(await depot.confirmed(browser, sent))).status == 200


async def test_a_handle_lives_fifteen_minutes(services: Services, depot: Service) -> None:
    """Later the address says so; the shop's link goes on working."""
    browser, sent = await depot.customer()
    services.stage.clock.forward(minutes=15)
    assert (await browser.get(depot.back(sent))).status == 410


async def test_another_browser(services: Services, depot: Service) -> None:
    """A handle that was passed on, or slipped to somebody: only the browser that agreed goes on with it."""
    _, sent = await depot.customer()
    assert (await services.stage.browser().get(depot.back(sent))).status == 400
    victim = services.stage.browser()
    await services.stage.shop_login(victim, "google", "karl")
    answer = await victim.get(depot.back(sent))
    assert answer.status == 403
    assert "artifact" not in answer.text


async def test_another_customer_in_the_same_browser(depot: Service) -> None:
    """Two people at one computer: what Maja agreed to is not Karl's to arrive with."""
    browser, sent = await depot.customer("google", "maja")
    await browser.follow(await browser.get(depot.back(sent)))
    old = browser.copy()
    old.page = browser.page
    await browser.follow(await browser.press("not-me"))
    page = await browser.log_in("google", "karl")
    assert "switch" in page.ids
    assert "arrive" not in page.ids
    again = await browser.follow(await old.press("arrive"))
    assert "artifact" not in again.location
    assert "switch" in again.ids


async def test_nobody_is_logged_in_any_more(depot: Service) -> None:
    """The session ended on the way: she logs in again, and only then is asked whose account it is."""
    browser, sent = await depot.customer("google")
    del browser.cookies["__Host-stafett-session"]
    page = await browser.follow(await browser.get(depot.back(sent)))
    assert "arrive" not in page.ids
    if "continue" in page.ids:
        page = await browser.follow(await browser.press("continue"))
    page = await browser.log_in("google", "maja")
    assert "arrive" in page.ids


def _flip(text: str) -> str:
    return text[:10] + ("A" if text[10] != "A" else "B") + text[11:]


@pytest.mark.parametrize(
    "change", [_flip, lambda _: "", lambda _: "x", lambda text: text + "A", lambda text: text * 20], ids=range(5)
)
async def test_a_changed_handle(depot: Service, change: Callable[[str], str]) -> None:
    """Sealed: what was not made by us opens nothing."""
    browser, sent = await depot.customer()
    answer = await browser.get(f"/arrive?handoff={change(sent.query['handoff'])}&challenge={challenge_of('s' * 43)}")
    assert answer.status == 410


async def test_a_link_is_no_handle_and_no_artifact(services: Services, depot: Service, vault: Service) -> None:
    """One sealed thing does not pass for another."""
    browser, sent = await depot.customer()
    artifact = await depot.confirmed(browser, sent)
    for wrong in (artifact, depot.stage.broker.context.tokens.random()):
        answer = await browser.get(f"/arrive?handoff={wrong}&challenge={challenge_of('s' * 43)}")
        assert answer.status == 410
    refused(await depot.redeem(sent.query["handoff"]), 400, "invalid_grant")
    refused(await services.stage.garage.token(artifact), 400, "invalid_grant")
    refused(await depot.call("/handoffs/guest", {"ref": artifact}), 400, "invalid_grant")
    assert (await depot.redeem(artifact)).status == 200


@pytest.mark.parametrize("challenge", ["", "s" * 42, "s" * 44, "s" * 42 + "=", "s" * 42 + "+", "plain"])
async def test_what_is_no_challenge(depot: Service, challenge: str) -> None:
    """256 bits as base64url, and nothing else."""
    browser, sent = await depot.customer()
    answer = await browser.get(f"/arrive?handoff={sent.query['handoff']}&challenge={challenge}")
    assert answer.status == 400


async def test_a_challenge_given_twice(depot: Service) -> None:
    """Which of two counts must never be a question (RFC 6749 section 3.1)."""
    browser, sent = await depot.customer()
    assert (await browser.get(f"{depot.back(sent)}&challenge={challenge_of('t' * 43)}")).status == 400


async def test_the_answer_counts_for_the_challenge_it_was_shown_for(depot: Service) -> None:
    """A challenge that was put in her way meanwhile is shown first, and not answered by the old page."""
    browser, sent = await depot.customer()
    await browser.follow(await browser.get(depot.back(sent)))
    old = browser.copy()
    old.page = browser.page
    await browser.get(depot.back(sent, "t" * 43))
    answer = await old.press("arrive")
    assert "artifact" not in answer.location
    assert answer.location.startswith(f"{ISSUER}/j/")
    await browser.follow(answer)
    artifact = (await browser.press("arrive")).query["artifact"]
    assert (await depot.redeem(artifact, "t" * 43)).status == 200


async def test_a_form_from_elsewhere(depot: Service) -> None:
    """Confirming needs the page's own token: nobody can do it for her."""
    browser, sent = await depot.customer()
    await browser.follow(await browser.get(depot.back(sent)))
    assert browser.page is not None
    fields = {"answer": "continue", "challenge": challenge_of(SECRET_OF_BROWSER), "csrf": "guessed"}
    assert (await browser.post(f"{browser.page.url}/arrive", fields)).status == 403


async def test_confirming_before_arriving(services: Services, depot: Service) -> None:
    """Without the recipient's challenge there is nothing to confirm: she is sent there, with a handle."""
    browser = services.stage.browser()
    at_shop = await services.stage.shop_login(browser)
    created = await services.stage.offer(at_shop["claims"]["sub"], partner="depot", purpose="storing")
    consent = await browser.follow(await browser.get(created.json["link"]))
    token = re.search(r'name="csrf" value="([^"]+)"', consent.text)
    assert token is not None
    await browser.press("share")
    fields = {"answer": "continue", "challenge": challenge_of(SECRET_OF_BROWSER), "csrf": token[1]}
    answer = await browser.follow(await browser.post(f"{consent.url}/arrive", fields))
    assert answer.location.startswith(f"{DEPOT_ARRIVE}?handoff=")
    assert answer.query.keys() == {"handoff"}


async def test_consent_taken_back_before_redemption(depot: Service) -> None:
    """From that moment nothing leaves, whatever is under way."""
    browser, sent = await depot.customer()
    artifact = await depot.confirmed(browser, sent)
    await _withdraw(browser)
    refused(await depot.redeem(artifact), 400, "invalid_grant")


async def test_consent_taken_back_before_arriving(depot: Service) -> None:
    """The page says that it is over."""
    browser, sent = await depot.customer()
    await _withdraw(browser)
    page = await browser.follow(await browser.get(depot.back(sent)))
    assert "arrive" not in page.ids
    assert page.status == 200


async def _withdraw(browser: Browser) -> None:
    shared = await browser.get("/shared")
    for button in [each for each in shared.ids if each.startswith("withdraw-")]:
        await browser.get("/shared")
        await browser.press(button)


async def test_a_link_that_ran_out(services: Services, depot: Service) -> None:
    """The artifact of a handoff that died meanwhile is worth nothing."""
    browser, sent = await depot.customer()
    artifact = await depot.confirmed(browser, sent)
    services.stage.clock.forward(hours=24)
    refused(await depot.redeem(artifact), 400, "invalid_grant")


# Coming back


async def test_the_link_after_redemption(depot: Service) -> None:
    """Answered from what is stored: on to the recipient's ordinary page, no second transfer."""
    browser, sent = await depot.customer()
    assert (await depot.redeem(await depot.confirmed(browser, sent))).status == 200
    again = await browser.follow(await browser.get(depot.back(sent)))
    assert again.location == "https://depot.example/?handoff=already"


async def test_back_button_and_reload(depot: Service) -> None:
    """Until it is redeemed the page is there again, and gives another artifact."""
    browser, sent = await depot.customer()
    await browser.follow(await browser.get(depot.back(sent)))
    assert browser.page is not None
    address = browser.page.url
    first = (await browser.press("arrive")).query["artifact"]
    assert "arrive" in (await browser.get(address)).ids
    second = (await browser.press("arrive")).query["artifact"]
    assert (await depot.redeem(second)).status == 200
    refused(await depot.redeem(first), 400, "invalid_grant")
    assert (await browser.get(address)).location == "https://depot.example/?handoff=already"


async def test_back_to_the_shop(depot: Service) -> None:
    """She thinks better of it on the last page."""
    browser, sent = await depot.customer()
    await browser.follow(await browser.get(depot.back(sent)))
    gone = await browser.press("back-to-shop")
    assert gone.query == {"handoff": "cancelled"}


# The endpoint


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"artifact": "a"},
        {"artifact": "a", "secret": 1},
        {"artifact": "", "secret": "s" * 43},
        {"artifact": "a", "secret": "s" * 3000},
        {"artifact": "a", "secret": "s" * 43, "more": "x"},
        ["a"],
    ],
    ids=range(7),
)
async def test_what_is_no_redemption(depot: Service, body: Any) -> None:
    """Two texts, and nothing else."""
    refused(await depot.call("/handoffs/artifact", body), 400, "invalid_request")


async def test_nobody_redeems_without_proving_who_they_are(services: Services, depot: Service) -> None:
    """RFC 6749 section 5.2, and the artifact survives it."""
    artifact = await depot.artifact()
    body = {"artifact": artifact, "secret": SECRET_OF_BROWSER}
    for auth in (None, ("depot-service", "wrong"), ("vault-service", SECRET)):
        answer = Answer(await services.stage.client.post("/handoffs/artifact", json=body, auth=auth))
        refused(answer, 401, "invalid_client")
    assert (await depot.redeem(artifact)).status == 200


async def test_an_oidc_client_has_no_artifacts(services: Services, depot: Service) -> None:
    """One way for each partner."""
    artifact = await depot.artifact()
    answer = await services.stage.garage.call("/handoffs/artifact", {"artifact": artifact, "secret": "s" * 43})
    refused(answer, 400, "unauthorized_client")


async def test_a_service_has_no_login(services: Services) -> None:
    """Neither endpoint of OpenID Connect knows it."""
    stage = services.stage
    page = await stage.browser().get(stage.shop.request(client_id="depot-service", redirect_uri=DEPOT_ARRIVE))
    assert page.status == 400
    assert page.location == ""
    refused(await stage.shop.token("code", auth=("depot-service", SECRET)), 400, "unauthorized_client")
    pushed = await stage.client.post("/par", data={"response_type": "code"}, auth=("depot-service", SECRET))
    refused(Answer(pushed), 400, "unauthorized_client")


async def test_a_handoff_token_is_no_other_token(services: Services, depot: Service) -> None:
    """RFC 8725 section 3.11: signed by the same key, and yet no hint, no access token, no assertion, no artifact."""
    stage = services.stage
    browser, sent = await depot.customer()
    token = (await depot.redeem(await depot.confirmed(browser, sent))).json["handoff_token"]
    hinted = await browser.get(stage.shop.request(prompt="none", id_token_hint=token))
    assert hinted.query["error"] == "invalid_request"
    assert (await browser.get(f"/logout?id_token_hint={token}")).status == 400
    assert (await stage.shop.userinfo(token)).status == 401
    assert (await stage.garage.read("some-id", token)).status == 401
    refused(await depot.redeem(token), 400, "invalid_grant")
    headers = {"authorization": f"Bearer {token}"}
    answer = Answer(await stage.client.post("/handoffs/artifact", json={}, headers=headers))
    refused(answer, 401, "invalid_client")


async def test_an_id_token_is_no_artifact(services: Services, depot: Service) -> None:
    """Nor do others pass for it."""
    at_shop = await services.stage.shop_login(services.stage.browser())
    refused(await depot.redeem(at_shop["id_token"]), 400, "invalid_grant")
    refused(await depot.redeem(at_shop["access_token"]), 400, "invalid_grant")


# Guests, and what became of it


async def test_a_guest_goes_there_as_anywhere(services: Services, depot: Service) -> None:
    """Product data only, for a one-time reference and the partner's own proof."""
    browser = services.stage.browser()
    at_shop = await services.stage.shop_login(browser)
    created = await services.stage.offer(at_shop["claims"]["sub"], partner="depot", purpose="storing")
    await browser.follow(await browser.get(created.json["link"]))
    gone = await browser.press("continue-guest")
    assert gone.location.startswith("https://depot.example/guest?ref=")
    answer = await depot.call("/handoffs/guest", {"ref": gone.query["ref"]})
    assert answer.status == 200
    assert answer.json["claims"] == {"items": PAYLOAD["items"]}


@pytest.mark.parametrize("who", ["depot", "vault"])
async def test_acknowledging_as_oneself(services: Services, who: str) -> None:
    """A secret or a key instead of an access token, which such partners never have."""
    service: Service = getattr(services, who)
    claims = (await service.token(await service.redeem(await service.artifact()))).claims
    path = f"/handoffs/{claims['handoff']['id']}/acknowledgement"
    for _ in range(2):
        answer = await service.call(path, {"result": "booked", "reference": "H-1"})
        assert answer.json == {"id": claims["handoff"]["id"], "state": "acknowledged"}


async def test_acknowledging_what_is_not_ones_own(services: Services, depot: Service, vault: Service) -> None:
    """Somebody else's, one that never was, one not fetched yet: all the same."""
    claims = (await depot.token(await depot.redeem(await depot.artifact()))).claims
    body = {"result": "booked"}
    created = await services.stage.offer(None, partner="vault", purpose="storing")
    for handoff in (claims["handoff"]["id"], "never-was", created.json["handoff_id"]):
        refused(await vault.call(f"/handoffs/{handoff}/acknowledgement", body), 404, "not_found")
    path = f"/handoffs/{claims['handoff']['id']}/acknowledgement"
    answer = Answer(await services.stage.client.post(path, json=body, auth=("depot-service", "wrong")))
    refused(answer, 401, "invalid_client")
    refused(await depot.call(path, {"result": "eaten"}), 400, "invalid_request")


async def test_acknowledging_after_withdrawal(depot: Service) -> None:
    """It existed, and may not be used any more."""
    browser, sent = await depot.customer()
    claims = (await depot.token(await depot.redeem(await depot.confirmed(browser, sent)))).claims
    await _withdraw(browser)
    answer = await depot.call(f"/handoffs/{claims['handoff']['id']}/acknowledgement", {"result": "booked"})
    refused(answer, 410, "gone")


async def test_a_service_may_be_a_source_of_nothing_it_has_no_agreement_for(services: Services, depot: Service) -> None:
    """Its credentials open the handoff API, its agreements decide."""
    body = {"partner": "garage", "purpose": "tyre-fitting", "type": "tyre-fitting/v1", "payload": PAYLOAD}
    answer = await depot.call("/handoffs", {**body, "subject": None, "return_uri": "https://depot.example/"})
    refused(answer, 403, "unauthorized_client")


async def test_a_journey_that_ran_out(services: Services, depot: Service) -> None:
    """It begins anew at the link, and ends at the recipient all the same."""
    browser, sent = await depot.customer()
    await browser.follow(await browser.get(depot.back(sent)))
    assert browser.page is not None
    address = browser.page.url
    services.stage.clock.forward(minutes=31)
    again = await browser.follow(await browser.get(address))
    assert again.location.startswith(f"{DEPOT_ARRIVE}?handoff=")
    assert (await depot.redeem(await depot.confirmed(browser, again))).status == 200
