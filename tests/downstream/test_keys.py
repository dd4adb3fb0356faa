"""What partners notice of the broker's signing keys being renewed: the key set, and old ID tokens as hints."""

import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from broker.app import KeyMaterial
from broker.flows.keys import KeyCare
from broker.stores.key_folder import KeyFolder
from tests.stage import Browser, Stage, open_stage

SECRETS = (b"s" * 32,)


@pytest_asyncio.fixture
async def staged_keys(stage_folder: Path) -> AsyncIterator[tuple[Stage, KeyCare]]:
    """A broker with keys of its own, and what is done to them."""
    keys = KeyMaterial(SECRETS, KeyFolder(stage_folder / "own-keys", SECRETS))
    async with open_stage(stage_folder, keys=keys) as stage:
        yield stage, keys.care(stage.loaded.policy.broker, stage.clock)


async def published(stage: Stage) -> set[str]:
    """Kids of the key set; each is there once, and without a private member."""
    keys = json.loads((await stage.client.get("/jwks")).text)["keys"]
    assert len({key["kid"] for key in keys}) == len(keys)
    assert not any({"d", "p", "q", "dp", "dq", "qi", "k"} & key.keys() for key in keys)
    return {key["kid"] for key in keys}


async def renew(stage: Stage, care: KeyCare) -> tuple[str, str]:
    """The ES256 key, through its whole cycle. Returns: the old kid and the new one."""
    old = next(each.key.kid for each in care.standings() if each.key.alg == "ES256")
    (new,) = care.rotate(["ES256"])
    for _ in range(2):
        await stage.broker.keys.look()
        stage.clock.forward(minutes=20, seconds=1)
    await stage.broker.keys.look()
    return old, new.kid


async def log_out(stage: Stage, browser: Browser, hint: str) -> str:
    """Where a logout with *hint* leads; empty for a refusal."""
    target = "http://127.0.0.1:8701/"
    answer = await browser.get(f"/logout?id_token_hint={hint}&post_logout_redirect_uri={target}&state=s")
    return answer.location if answer.status == 303 else ""


async def test_a_key_set_of_every_stage_is_valid(staged_keys: tuple[Stage, KeyCare]) -> None:
    """Before, during and after: distinct kids, public members only; the new key comes first and the old one goes last."""
    stage, care = staged_keys
    first = await published(stage)
    (new,) = care.rotate(["ES256"])
    await stage.broker.keys.look()
    assert await published(stage) == first | {new.kid}
    stage.clock.forward(minutes=20)
    await stage.broker.keys.look()
    assert await published(stage) == first | {new.kid}
    stage.clock.forward(minutes=20)
    await stage.broker.keys.look()
    after = await published(stage)
    assert new.kid in after
    assert len(after) == 2


async def test_tokens_are_signed_by_the_key_of_the_hour(staged_keys: tuple[Stage, KeyCare]) -> None:
    """And each is verified with the key set of its moment (`Stage.id_token`)."""
    stage, care = staged_keys
    browser = stage.browser()
    before = await stage.shop_login(browser)
    old, new = await renew(stage, care)
    after = await stage.shop_login(stage.browser())
    assert [jwt_kid(each["id_token"]) for each in (before, after)] == [old, new]


def jwt_kid(token: str) -> str:
    head = token.split(".")[0]
    kid = json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]
    assert isinstance(kid, str)
    return kid


async def test_an_old_id_token_still_says_who_is_there(staged_keys: tuple[Stage, KeyCare]) -> None:
    """Signed by a key that is no longer published, expired, of a session that still lives (RP-Initiated Logout section 2)."""
    stage, care = staged_keys
    browser = stage.browser()
    hint = (await stage.shop_login(browser))["id_token"]
    old, _ = await renew(stage, care)
    assert old not in await published(stage)
    answer = await browser.get(stage.shop.request(id_token_hint=hint, prompt="none"))
    assert "code" in answer.query


async def test_no_session_is_old_enough_to_need_a_forgotten_key(staged_keys: tuple[Stage, KeyCare]) -> None:
    """The public half lives as long as a session that began on the key's last day."""
    stage, care = staged_keys
    old, _ = await renew(stage, care)
    stage.clock.forward(hours=23)
    await stage.broker.keys.look()
    assert old in {each.key.kid for each in care.standings()}
    stage.clock.now += timedelta(hours=2)
    await stage.broker.keys.look()
    assert old not in {each.key.kid for each in care.standings()}


@pytest.mark.parametrize("is_signing", [True, False])
async def test_a_withdrawn_key_vouches_for_nobody(staged_keys: tuple[Stage, KeyCare], is_signing: bool) -> None:
    """Whoever stole it could write ID tokens of any session; not even a hint is taken, and the key set has it no more."""
    stage, care = staged_keys
    browser = stage.browser()
    hint = (await stage.shop_login(browser))["id_token"]
    if not is_signing:
        care.rotate(["ES256"], at_once=True)
    care.withdraw(jwt_kid(hint))
    await stage.broker.keys.look()
    assert jwt_kid(hint) not in await published(stage)
    answer = await browser.get(stage.shop.request(id_token_hint=hint, prompt="none"))
    assert "code" not in answer.query
    assert await log_out(stage, browser, hint) == ""
    assert jwt_kid((await stage.shop_login(stage.browser()))["id_token"]) in await published(stage)


async def test_how_long_the_key_set_may_be_kept_is_the_configs(stage_folder: Path) -> None:
    """What partners are told and what keys wait for is one figure."""
    edit = {"  data_dir: data\n": "  data_dir: data\n  keys: {jwks_max_age: 1h}\n"}
    async with open_stage(stage_folder, edit=edit) as stage:
        answer = await stage.client.get("/jwks")
        assert answer.headers["cache-control"] == "public, max-age=3600"
