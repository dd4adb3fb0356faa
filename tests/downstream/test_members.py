"""Asking a merchant's register of customers, by what she proved, once she logged in."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from joserfc import jws, jwt
from joserfc.jwk import KeySet

from tests.downstream.register import FOUND, Register, open_register
from tests.stage import ISSUER, Answer, Browser, Stage, open_stage


@pytest_asyncio.fixture
async def register() -> AsyncIterator[Register]:
    async with open_register() as opened:
        yield opened


@pytest_asyncio.fixture
async def staged(stage_folder: Path, register: Register) -> AsyncIterator[Stage]:
    """The shop has a register of customers."""
    edit = {
        "claims: [name, email]\n": "claims: [name, email, member_number]\n",
        "      consent: implied\n": f"      consent: implied\n    members: {{uri: {register.url}, timeout: 1s}}\n",
    }
    async with open_stage(stage_folder, edit=edit) as stage:
        stage.shop.scope = "openid email membership"
        yield stage


async def number(stage: Stage, tokens: dict[str, Any]) -> str | None:
    told = (await stage.shop.userinfo(tokens["access_token"])).json
    return told.get("member_number")


async def again(stage: Stage, browser: Browser, **changed: str) -> dict[str, Any]:
    """She comes back to the shop and is logged in there without doing anything."""
    answer: Answer = await browser.get(stage.shop.request(prompt="none", **changed))
    return await stage.shop.exchange(answer)


async def test_who_is_known_in_the_shop_is_known_online(staged: Stage, register: Register) -> None:
    """The first login ever: no sign-up, and the site has her number."""
    tokens = await staged.shop_login(staged.browser(), "google")
    assert await number(staged, tokens) == "M-1042"
    (lookup,) = register.lookups
    keys = KeySet.import_key_set((await staged.client.get("/jwks")).json())
    assert jws.extract_compact(lookup.encode()).headers()["typ"] == "member-lookup+jwt"
    claims = jwt.decode(lookup, keys, algorithms=["ES256"]).claims
    assert {name: claims[name] for name in ("iss", "aud", "client_id", "email", "sub")} == {
        "iss": ISSUER,
        "aud": register.url,
        "client_id": "nordhjul-web",
        "email": "maja@example.com",
        "sub": tokens["claims"]["sub"],
    }
    assert claims["exp"] - claims["iat"] == 120


async def test_it_is_asked_once_in_a_while(staged: Stage, register: Register) -> None:
    """Within the time, the session knows; afterwards the register may have changed its mind."""
    browser = staged.browser()
    await staged.shop_login(browser, "google")
    assert await number(staged, await again(staged, browser)) == "M-1042"
    assert len(register.lookups) == 1
    register.answer = {"known": False}
    staged.clock.forward(minutes=16)
    assert await number(staged, await again(staged, browser)) is None
    assert len(register.lookups) == 2


async def test_what_the_site_did_not_ask_for_is_not_asked_about(staged: Stage, register: Register) -> None:
    """Without her address in the answer the register learns nothing either."""
    staged.shop.scope = "openid membership"
    assert await number(staged, await staged.shop_login(staged.browser(), "google")) is None
    assert register.lookups == []


async def test_who_proved_no_contact_is_not_asked_about(staged: Stage, register: Register) -> None:
    """BankID proves a person and no address."""
    assert await number(staged, await staged.shop_login(staged.browser(), "bankid")) is None
    assert register.lookups == []


@pytest.mark.parametrize("answer", [500, 404, 302, {"known": True}, {"known": "yes"}, [], "no"])
async def test_a_register_that_is_ill_keeps_nobody_out(staged: Stage, register: Register, answer: Any) -> None:
    """She is logged in, without a number; the next login a while later asks again."""
    register.answer = answer
    browser = staged.browser()
    assert await number(staged, await staged.shop_login(browser, "google")) is None
    register.answer = FOUND
    assert await number(staged, await again(staged, browser)) is None
    assert len(register.lookups) == 1
    staged.clock.forward(seconds=11)
    assert await number(staged, await again(staged, browser)) == "M-1042"


async def test_a_slow_register_is_not_waited_for(staged: Stage, register: Register) -> None:
    """The operator's time limit holds, and the login goes on."""
    register.gate.clear()
    assert await number(staged, await staged.shop_login(staged.browser(), "google")) is None
    assert len(register.lookups) == 1


async def test_other_partners_learn_nothing_of_it(staged: Stage, register: Register) -> None:
    """The number is the shop's own."""
    browser = staged.browser()
    await staged.shop_login(browser, "google")
    staged.garage.scope = "openid email membership"
    answer = await browser.follow(await browser.get(staged.garage.request()))
    answer = await browser.press("share", ("field", "email")) if "share" in answer.ids else answer
    tokens = await staged.garage.exchange(answer)
    told = (await staged.garage.userinfo(tokens["access_token"])).json
    assert "member_number" not in told
    assert len(register.lookups) == 1
