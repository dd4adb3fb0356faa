"""Refresh tokens (RFC 6749 section 6, RFC 9700 section 4.14.2) and pushed authorization requests (RFC 9126)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.stores.redis import RedisState
from tests.stage import ISSUER, SECRET, Answer, Stage, open_stage

REFRESHING = {
    "      id_token_alg: ES256\n    # Logins that start at the shop itself.": (
        "      id_token_alg: ES256\n      refresh_tokens: {idle: 14d, lifetime: 30d}\n"
        "    # Logins that start at the shop itself."
    )
}
OFFLINE = "openid profile email offline_access"


@pytest_asyncio.fixture
async def refreshing(stage_folder: Path) -> AsyncIterator[Stage]:
    """The shop may have refresh tokens; the garage may not."""
    async with open_stage(stage_folder, edit=REFRESHING) as opened:
        yield opened


async def offline_login(stage: Stage, scope: str = OFFLINE) -> dict[str, Any]:
    browser = stage.browser()
    await browser.follow(await browser.get(stage.shop.request(scope=scope)))
    return await stage.shop.exchange(await browser.log_in("google", "maja"))


async def refresh(stage: Stage, token: str, *, auth: tuple[str, str] | None = None, **more: str) -> Answer:
    form = {"grant_type": "refresh_token", "refresh_token": token, **more}
    return Answer(await stage.client.post("/token", data=form, auth=auth or stage.shop.auth))


async def test_each_use_gives_a_successor_and_the_same_customer(refreshing: Stage) -> None:
    """New tokens: iss, sub, aud and auth_time stay, iat is later, no nonce (Core section 12.2)."""
    first = await offline_login(refreshing)
    refreshing.clock.forward(minutes=5)
    answer = await refresh(refreshing, first["refresh_token"])
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json["refresh_token"] != first["refresh_token"]
    claims = await refreshing.id_token(answer.json["id_token"])
    for same in ("iss", "sub", "aud", "auth_time", "sid"):
        assert claims[same] == first["claims"][same]
    assert claims["iat"] > first["claims"]["iat"]
    assert "nonce" not in claims
    assert (await refreshing.shop.userinfo(answer.json["access_token"])).json["email"] == "maja@example.com"


async def test_without_the_scope_or_the_policy_there_is_none(refreshing: Stage) -> None:
    """offline_access must be asked for, and the partner must be allowed to have it."""
    assert "refresh_token" not in await offline_login(refreshing, "openid email")
    browser = refreshing.browser()
    await browser.follow(await browser.get(refreshing.garage.request(scope="openid offline_access")))
    at_garage = await refreshing.garage.exchange(await browser.log_in("google", "maja"))
    assert "refresh_token" not in at_garage


async def test_a_late_reuse_ends_the_whole_family(refreshing: Stage) -> None:
    """After the grace the old token is evidence of theft: every token of the family dies, and it is in the audit."""
    first = await offline_login(refreshing)
    second = (await refresh(refreshing, first["refresh_token"])).json
    refreshing.clock.forward(seconds=31)
    reused = await refresh(refreshing, first["refresh_token"])
    assert (reused.status, reused.json["error"]) == (400, "invalid_grant")
    assert (await refresh(refreshing, second["refresh_token"])).json["error"] == "invalid_grant"
    assert (await refreshing.shop.userinfo(second["access_token"])).status == 401
    await refreshing.broker.context.audit.flush()
    customer = await refreshing.records.customer_of_subject("tyre-shop", first["claims"]["sub"])
    assert customer is not None
    assert "refresh.reused" in [event.action for event in await refreshing.records.audit_of(customer, 50)]


@pytest.mark.parametrize("store", ["memory", "redis", "valkey"])
async def test_fifty_at_once_get_the_same_successor(
    store: str, stage_folder: Path, request: pytest.FixtureRequest
) -> None:
    """One successor is minted; all inside the window receive that one."""
    state = None if store == "memory" else RedisState(request.getfixturevalue(f"{store}_url"))
    async with open_stage(stage_folder, state=state, edit=REFRESHING) as stage:
        first = await offline_login(stage)
        answers = await asyncio.gather(*(refresh(stage, first["refresh_token"]) for _ in range(50)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.json["refresh_token"] for answer in answers}) == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param({"scope": "openid phone"}, "invalid_scope", id="wider-scope"),
        pytest.param({"refresh_token": "x"}, "invalid_grant", id="garbage"),
        pytest.param({"refresh_token": ""}, "invalid_request", id="none"),
    ],
)
async def test_what_is_refused(refreshing: Stage, change: dict[str, str], error: str) -> None:
    """Nothing of it uses the token up."""
    first = await offline_login(refreshing)
    token = change.pop("refresh_token", first["refresh_token"])
    answer = await refresh(refreshing, token, **change)
    assert (answer.status, answer.json["error"]) == (400, error)
    assert (await refresh(refreshing, first["refresh_token"])).status == 200


async def test_another_client_gets_nothing(refreshing: Stage) -> None:
    """Bound to the client it was given to (RFC 6749 section 10.4)."""
    first = await offline_login(refreshing)
    answer = await refresh(refreshing, first["refresh_token"], auth=("verkstan-web", SECRET))
    assert answer.json["error"] == "invalid_grant"


async def test_idle_and_absolute_lifetime(refreshing: Stage) -> None:
    """Two weeks unused, or thirty days in all."""
    first = await offline_login(refreshing)
    refreshing.clock.forward(days=14)
    assert (await refresh(refreshing, first["refresh_token"])).json["error"] == "invalid_grant"
    token = (await offline_login(refreshing))["refresh_token"]
    for _ in range(3):
        refreshing.clock.forward(days=9)
        token = (await refresh(refreshing, token)).json["refresh_token"]
    refreshing.clock.forward(days=4)
    assert (await refresh(refreshing, token)).json["error"] == "invalid_grant"


async def push(stage: Stage, *, auth: tuple[str, str] | None = None, **changed: str | None) -> Answer:
    query = stage.shop.request(**changed).partition("?")[2]
    sent = {"content-type": "application/x-www-form-urlencoded"}
    return Answer(await stage.client.post("/par", content=query, auth=auth or stage.shop.auth, headers=sent))


def opened(answer: Answer, client_id: str = "nordhjul-web", **more: str) -> str:
    extra = "".join(f"&{name}={value}" for name, value in more.items())
    return f"/authorize?client_id={client_id}&request_uri={answer.json['request_uri']}{extra}"


async def test_a_pushed_request_logs_in_and_survives_reloads(staged: Stage) -> None:
    """201 with a lifetime; opening it again before the answer works, afterwards not (RFC 9126 sections 2.2 and 4)."""
    pushed = await push(staged)
    assert pushed.status == 201
    assert pushed.json["request_uri"].startswith("urn:ietf:params:oauth:request_uri:")
    assert 5 <= pushed.json["expires_in"] < 600
    browser = staged.browser()
    await browser.follow(await browser.get(opened(pushed)))
    staged.clock.forward(minutes=5)
    await browser.follow(await browser.get(opened(pushed)))
    tokens = await staged.shop.exchange(await browser.log_in("google", "maja"))
    assert tokens["claims"]["nonce"] == staged.shop.nonce
    again = await browser.get(opened(pushed))
    assert again.status == 400
    assert "location" not in again.headers


async def test_only_what_was_pushed_counts(staged: Stage) -> None:
    """A state or scope in the front channel is not mixed in."""
    pushed = await push(staged, state=None)
    browser = staged.browser()
    await browser.follow(await browser.get(opened(pushed, state="smuggled", scope="openid")))
    answer = await browser.log_in("google", "maja")
    assert "state" not in answer.query


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        pytest.param({"redirect_uri": "https://evil.example/"}, "invalid_request", id="redirect-uri"),
        pytest.param({"redirect_uri": None}, "invalid_request", id="no-redirect-uri"),
        pytest.param({"code_challenge": None}, "invalid_request", id="no-pkce"),
        pytest.param({"code_challenge_method": "plain"}, "invalid_request", id="plain-pkce"),
        pytest.param({"response_type": "token"}, "unsupported_response_type", id="implicit"),
        pytest.param({"request_uri": "urn:x"}, "request_uri_not_supported", id="request-uri-inside"),
        pytest.param({"scope": "email"}, "invalid_scope", id="no-openid"),
    ],
)
async def test_what_may_not_be_pushed(staged: Stage, changed: dict[str, str | None], error: str) -> None:
    """The same checks as in the front channel, answered where the developer sees them."""
    answer = await push(staged, **changed)
    assert (answer.status, answer.json["error"]) == (400, error)


async def test_par_refusals(staged: Stage) -> None:
    """Client authentication as at the token endpoint; POST only; another client's or an expired one opens nothing."""
    assert (await push(staged, auth=("nordhjul-web", "wrong"))).status == 401
    assert (await staged.client.get("/par")).status_code == 405
    pushed = await push(staged)
    foreign = await staged.browser().get(opened(pushed, "verkstan-web"))
    assert foreign.status == 400
    staged.clock.forward(seconds=91)
    assert (await staged.browser().get(opened(pushed))).status == 400


@pytest.mark.parametrize("path", ["/par", "/token"])
@pytest.mark.parametrize("twice", ["&scope=openid&scope=openid", "&client_id=nordhjul-web&client_id=verkstan-web"])
async def test_a_parameter_twice_is_refused_behind_the_browser_too(staged: Stage, path: str, twice: str) -> None:
    """A7: RFC 6749 section 3.1 at the endpoints that only servers call, in the form and over address and form together."""
    sent = {"content-type": "application/x-www-form-urlencoded"}
    form = f"grant_type=refresh_token&refresh_token=x&response_type=code{twice}"
    _, one, other = twice.split("&")
    mixed = f"grant_type=refresh_token&refresh_token=x&{other}"
    for address, body in ((path, form), (f"{path}?{one}", mixed)):
        answer = Answer(await staged.client.post(address, content=body, headers=sent, auth=staged.shop.auth))
        assert (answer.status, answer.json["error"]) == (400, "invalid_request")


async def test_where_par_is_required_nothing_else_goes(stage_folder: Path) -> None:
    """``require_par``: a plain request is refused, a pushed one goes."""
    edit = {"      client_id: nordhjul-web\n": "      client_id: nordhjul-web\n      require_par: true\n"}
    async with open_stage(stage_folder, edit=edit) as stage:
        refused = await stage.browser().get(stage.shop.request())
        assert refused.query["error"] == "invalid_request"
        assert refused.query["iss"] == ISSUER
        assert (await stage.browser().get(opened(await push(stage)))).status == 303
