"""Claims asked for by name, and how strong a login a partner may insist on (Core sections 5.5 and 5.5.1.1, RFC 9470)."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.core.assurance import acr_values
from tests.downstream.crowd import Crowd
from tests.stage import ISSUER, WAYS_IN, Answer, Browser, Stage, open_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSTANTIAL = "http://eidas.europa.eu/LoA/substantial"
HIGH = "http://eidas.europa.eu/LoA/high"


def asking(**members: Any) -> str:
    return json.dumps(members)


def essential(*values: str) -> str:
    return asking(id_token={"acr": {"essential": True, "values": list(values)}})


async def tokens_of(crowd: Crowd, answer: Answer) -> dict[str, Any]:
    return await crowd.stage.shop.exchange(answer)


async def log_in(browser: Browser, stage: Stage, method: str = "google", **changed: str | None) -> Answer:
    await browser.follow(await browser.get(stage.shop.request(**changed)))
    return await browser.log_in(method, "maja")


class TestClaims:
    async def test_without_their_scope_go_where_they_were_asked_for(self, crowd: Crowd) -> None:
        """email in the ID token, name at userinfo, and no other place."""
        claims = asking(id_token={"email": None}, userinfo={"name": {"essential": True}})
        answer = await log_in(crowd.stage.browser(), crowd.stage, scope="openid", claims=claims)
        tokens = await tokens_of(crowd, answer)
        assert tokens["claims"]["email"] == "maja@example.com"
        assert tokens["claims"]["email_verified"] is True
        assert "name" not in tokens["claims"]
        told = (await crowd.stage.shop.userinfo(tokens["access_token"])).json
        assert told == {"sub": tokens["claims"]["sub"], "name": "Maja Lind"}

    async def test_never_more_than_policy_allows(self, crowd: Crowd) -> None:
        """The shop may have name and email; a phone number is not given for being called essential."""
        wish = {name: {"essential": True} for name in ("phone_number", "birthdate", "personal_number", "locale")}
        claims = asking(id_token=wish, userinfo=wish)
        answer = await log_in(crowd.stage.browser(), crowd.stage, "bankid", scope="openid", claims=claims)
        tokens = await tokens_of(crowd, answer)
        assert not set(wish) & set(tokens["claims"])
        assert set((await crowd.stage.shop.userinfo(tokens["access_token"])).json) == {"sub"}

    async def test_each_has_its_reason_in_the_audit(self, crowd: Crowd) -> None:
        """``login.answered``: what the partner was told by name, and of everything else that was considered why not."""
        stage = crowd.stage
        tokens = await tokens_of(crowd, await log_in(stage.browser(), stage, "bankid", scope="openid profile phone"))
        await stage.broker.context.audit.flush()
        customer = await stage.broker.context.customer_of_subject(
            stage.broker.context.policy().sector("tyre-shop"), tokens["claims"]["sub"]
        )
        event = next(e for e in await stage.records.audit_of(str(customer), 100) if e.action == "login.answered")
        facts = json.loads(event.facts)
        assert "name" in facts["given"]
        assert {"email": "not_requested", "phone_number": "not_in_agreement"}.items() <= facts["withheld"].items()
        assert not set(facts["given"]) & set(facts["withheld"])
        assert "Maja" not in event.facts

    async def test_cannot_take_the_place_of_our_own(self, crowd: Crowd) -> None:
        """Names of the protocol's own claims are none of the profile's."""
        wish = {name: {"value": "evil"} for name in ("iss", "aud", "exp", "nonce", "sid", "amr", "auth_time")}
        tokens = await tokens_of(crowd, await log_in(crowd.stage.browser(), crowd.stage, claims=asking(id_token=wish)))
        assert tokens["claims"]["iss"] == ISSUER
        assert "evil" not in json.dumps(tokens["claims"])

    async def test_are_asked_for_on_the_consent_page(self, crowd: Crowd) -> None:
        """The library asks by name alone: what she keeps is given, what she leaves out is not."""
        library, browser = crowd.library, crowd.stage.browser()
        claims = asking(id_token={"name": None, "email": None})
        request = library.request(scope="openid", claims=claims)
        await browser.follow(await browser.get(request))
        page = await browser.log_in("google", "karl")
        assert "Karl Berg" in page.text
        assert "karl@example.com" in page.text
        answer = await browser.press("share", ("field", "name"))
        redeemed = await crowd.redeem(library, answer.query["code"])
        claims_given = await crowd.stage.id_token(redeemed.json["id_token"])
        assert claims_given["name"] == "Karl Berg"
        assert "email" not in claims_given

    async def test_the_same_after_a_refresh(self, stage_folder: Path) -> None:
        """What the ID token holds does not depend on which one it is (Core section 12.2)."""
        edit = {"      id_token_alg: ES256\n": "      id_token_alg: ES256\n      refresh_tokens: {idle: 14d}\n"}
        async with open_stage(stage_folder, edit=edit) as stage:
            claims = asking(id_token={"name": None})
            answer = await log_in(stage.browser(), stage, scope="openid offline_access", claims=claims)
            tokens = await stage.shop.exchange(answer)
            form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
            again = Answer(await stage.client.post("/token", data=form, auth=stage.shop.auth))
            assert (await stage.id_token(again.json["id_token"]))["name"] == "Maja Lind"

    async def test_sub_is_as_binding_as_a_hint(self, crowd: Crowd) -> None:
        """Core section 5.5.1: that customer, or login_required."""
        browser, shop = crowd.stage.browser(), crowd.stage.shop
        mine = (await crowd.stage.shop_login(browser))["claims"]["sub"]
        hers = asking(id_token={"sub": {"value": mine}})
        assert "code" in (await browser.get(shop.request(claims=hers, prompt="none"))).query
        others = asking(id_token={"sub": {"value": "somebody-else"}})
        assert (await browser.get(shop.request(claims=others))).query["error"] == "login_required"

    @pytest.mark.parametrize("text", ["{", "[]", '{"userinfo": 1}', "x" * 5000, '{"id_token": {"acr": {"value": 1}}}'])
    async def test_malformed_is_an_invalid_request(self, crowd: Crowd, text: str) -> None:
        """At the partner, with its state; in the front channel and when pushed."""
        shop = crowd.stage.shop
        answer = await crowd.stage.browser().get(shop.request(claims=text))
        assert answer.query["error"] == "invalid_request"
        assert answer.query["state"] == shop.state
        sent = {"response_type": "code", "redirect_uri": shop.redirect_uri, "scope": "openid", "claims": text}
        pushed = Answer(await crowd.stage.client.post("/par", data=sent, auth=shop.auth))
        assert (pushed.status, pushed.json["error"]) == (400, "invalid_request")


class TestVoluntaryAcr:
    async def test_all_values_never_force_the_strongest(self, crowd: Crowd) -> None:
        """A library sends whatever discovery lists: every way to log in stays open, and the real level is told."""
        browser = crowd.stage.browser()
        page = await browser.follow(await browser.get(crowd.stage.shop.request(acr_values=" ".join(acr_values()))))
        assert {"method-bankid", "method-google"} <= page.ids
        assert (await tokens_of(crowd, await browser.log_in("google", "maja")))["claims"]["acr"] == "contact"

    async def test_out_of_reach_is_no_error(self, crowd: Crowd) -> None:
        """Voluntary: the actual level is told, by parameter and by claim."""
        for changed in ({"acr_values": HIGH}, {"claims": asking(id_token={"acr": {"values": [HIGH]}})}):
            answer = await log_in(crowd.stage.browser(), crowd.stage, **changed)
            assert (await tokens_of(crowd, answer))["claims"]["acr"] == "contact"

    async def test_the_claim_goes_before_the_parameter(self, crowd: Crowd) -> None:
        """Both at once is unspecified (Core section 5.5.1.1)."""
        browser = crowd.stage.browser()
        claims = asking(id_token={"acr": {"values": ["contact"]}})
        page = await browser.follow(await browser.get(crowd.stage.shop.request(claims=claims, acr_values=SUBSTANTIAL)))
        assert "method-google" in page.ids


class TestEssentialAcr:
    @pytest.mark.parametrize("values", [(HIGH,), ("unknown",), ("urn:x", HIGH), ("federated2",)])
    async def test_out_of_reach_is_refused_before_anybody_logs_in(self, crowd: Crowd, values: tuple[str, ...]) -> None:
        """Never a silent downgrade; with and without prompt=none, logged in or not."""
        browser, shop = crowd.stage.browser(), crowd.stage.shop
        for is_logged_in in (False, True):
            if is_logged_in:
                await crowd.stage.shop_login(browser)
            for prompt in (None, "none"):
                answer = await browser.get(shop.request(claims=essential(*values), prompt=prompt))
                assert answer.query["error"] == "unmet_authentication_requirements"
                assert answer.query["state"] == shop.state
                assert answer.query["iss"] == ISSUER

    async def test_leaves_only_the_ways_that_reach_it(self, crowd: Crowd) -> None:
        """Google proves an address; BankID is the one way, so the customer is sent straight there."""
        browser, shop = crowd.stage.browser(), crowd.stage.shop
        gone = await browser.get(shop.request(claims=essential(SUBSTANTIAL)))
        assert gone.location.startswith("https://bankid.test/")
        returned = f"/up/bankid/callback?state={gone.query['state']}&who=maja"
        tokens = await tokens_of(crowd, await browser.follow(await browser.get(returned)))
        assert tokens["claims"]["acr"] == SUBSTANTIAL

    async def test_is_told_in_the_partners_own_word(self, crowd: Crowd) -> None:
        """A stronger login is at least what was asked for."""
        browser = crowd.stage.browser()
        await crowd.stage.shop_login(browser)
        for value in ("low", "substantial", "contact", "http://eidas.europa.eu/LoA/low"):
            request = crowd.stage.shop.request(claims=essential(value), prompt="none")
            assert (await tokens_of(crowd, await browser.get(request)))["claims"]["acr"] == value

    async def test_a_weaker_session_steps_up_and_asks_nothing_else(self, crowd: Crowd) -> None:
        """
        RFC 9470: the shop comes back with what it needs. Silently it hears login_required; with the customer there she is
        offered the stronger way alone, and afterwards the session is strong for the next partner too.
        """
        browser, shop = crowd.stage.browser(), crowd.stage.shop
        await log_in(browser, crowd.stage)
        silent = await browser.get(shop.request(claims=essential(SUBSTANTIAL), prompt="none"))
        assert silent.query["error"] == "login_required"
        page = await browser.follow(await browser.get(shop.request(claims=essential(SUBSTANTIAL))))
        assert {each for each in page.ids if each.startswith("method-")} == {"method-bankid"}
        tokens = await tokens_of(crowd, await browser.log_in("bankid", "maja"))
        assert tokens["claims"]["acr"] == SUBSTANTIAL
        at_bank = await browser.get(crowd.bank.request(prompt="none"))
        assert "code" in at_bank.query

    async def test_acr_values_step_up_too_when_they_can(self, crowd: Crowd) -> None:
        """The parameter of RFC 9470 section 4: voluntary, and yet the weakest that suffices is asked for."""
        browser, shop = crowd.stage.browser(), crowd.stage.shop
        await log_in(browser, crowd.stage)
        page = await browser.follow(await browser.get(shop.request(acr_values=SUBSTANTIAL)))
        assert {each for each in page.ids if each.startswith("method-")} == {"method-bankid"}

    async def test_with_max_age_the_old_login_does_not_do(self, crowd: Crowd) -> None:
        """Strong enough but too long ago: the same customer proves it anew, and auth_time says so."""
        browser, shop = crowd.stage.browser(), crowd.stage.shop
        first = await crowd.stage.shop_login(browser)
        crowd.stage.clock.forward(minutes=10)
        await browser.follow(await browser.get(shop.request(claims=essential(SUBSTANTIAL), max_age="60")))
        again = await tokens_of(crowd, await browser.log_in("bankid", "maja"))
        assert again["claims"]["sub"] == first["claims"]["sub"]
        assert again["claims"]["auth_time"] >= first["claims"]["auth_time"] + 600

    async def test_a_login_that_proved_less_is_not_passed_off(self, crowd: Crowd) -> None:
        """The provider could have reached it and did not: the customer is told, the partner gets no code."""
        browser, shop = crowd.stage.browser(), crowd.stage.shop
        bankid = crowd.stage.connectors["bankid"]
        gone = await browser.get(shop.request(claims=essential(SUBSTANTIAL)))
        reaches, bankid.reaches = bankid.reaches, type(bankid.reaches).LOW
        try:
            returned = f"/up/bankid/callback?state={gone.query['state']}&who=maja"
            page = await browser.follow(await browser.get(returned))
        finally:
            bankid.reaches = reaches
        assert "code" not in page.query
        assert page.status == 200
        left = await browser.press("cancel")
        assert left.query["error"] == "access_denied"

    async def test_what_may_not_be_told_is_unmet(self, crowd: Crowd) -> None:
        """A handoff's BankID login counts as contact (ADR 0006): the garage asks for more and hears that it cannot be."""
        stage, browser = crowd.stage, crowd.stage.browser()
        at_shop = await stage.shop_login(browser)
        offered = await stage.offer(at_shop["claims"]["sub"])
        await browser.follow(await browser.get(offered.json["link"]))
        started = await browser.press("share")
        hint = started.query["login_hint"]
        answer = await browser.get(stage.garage.request(login_hint=hint, claims=essential(SUBSTANTIAL)))
        assert answer.query["error"] == "unmet_authentication_requirements"
        fitting = await browser.get(stage.garage.request(login_hint=hint, claims=essential("federated", "contact")))
        tokens = await stage.garage.exchange(fitting)
        assert tokens["claims"]["acr"] in {"federated", "contact"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def weak(prepared_stage: Path) -> AsyncIterator[Stage]:
    """The shop takes Google alone."""
    edit = {f"      {WAYS_IN}\n      minimum_assurance: self-asserted\n": "      upstreams: [google]\n"}
    async with open_stage(prepared_stage, edit=edit) as opened:
        yield opened


async def test_what_the_partner_may_not_use_does_not_reach_it(weak: Stage) -> None:
    """BankID could, but not for this partner."""
    answer = await weak.browser().get(weak.shop.request(claims=essential(SUBSTANTIAL)))
    assert answer.query["error"] == "unmet_authentication_requirements"
