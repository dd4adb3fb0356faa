"""Who may keep an answer: every route is asked, in every way it can be (OpenID Connect Core section 3.1.3.3, RFC 9111)."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from starlette.routing import Route

from tests.downstream.apis import Apis, open_apis
from tests.stage import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC = {
    "/.well-known/openid-configuration": 900,
    "/.well-known/oauth-authorization-server": 900,
    "/jwks": 900,
}
"""What others may keep, and for how many seconds at most: a new key must reach them in time."""
FILES = ("/static/", "/logo/")
"""Named by their content or small pictures: may be kept."""
TOLD = {"/token", "/userinfo", "/introspect", "/revoke", "/par"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def apis(prepared_stage: Path) -> AsyncIterator[Apis]:
    """Partners and APIs of every kind."""
    async with open_apis(prepared_stage) as opened:
        yield opened


def routes_of(apis: Apis) -> list[tuple[str, str]]:
    """Every method of every route, its parameters filled with something."""
    app: Any = apis.stage.broker.app
    while not hasattr(app, "routes"):
        app = app._app
    found = [(method, route.path) for route in app.routes if isinstance(route, Route) for method in route.methods or ()]
    return [(method, re.sub(r"\{[^}]+\}", "x", path)) for method, path in sorted(found)]


async def test_every_route_says_who_may_keep_its_answer(apis: Apis) -> None:
    """no-store, but for what is the same for everybody; also for refusals."""
    asked = routes_of(apis)
    assert {path for _, path in asked} >= TOLD | set(PUBLIC)
    for method, path in asked:
        answer = await apis.stage.client.request(method, path)
        control = answer.headers["cache-control"]
        if path in PUBLIC and answer.status_code == 200:
            found = re.fullmatch(r"public, max-age=(\d+)", control)
            assert found, path
            assert 60 <= int(found[1]) <= PUBLIC[path]
        elif path.startswith(FILES) and answer.status_code == 200:
            assert "max-age" in control
        else:
            assert control == "no-store", (method, path, control)


async def test_what_tells_of_a_customer_is_never_kept(apis: Apis) -> None:
    """The good answers of the endpoints: HTTP/1.0 caches are told as well (RFC 6749 section 5.1)."""
    tokens = await apis.offline(apis.writer)
    query = apis.writer.request().partition("?")[2]
    form = {"content-type": "application/x-www-form-urlencoded"}
    answers = {
        "/token": await apis.refresh(apis.writer, tokens["refresh_token"]),
        "/userinfo": await apis.userinfo(tokens["access_token"]),
        "/introspect": await apis.post("/introspect", apis.writer, token=tokens["access_token"]),
        "/par": Answer(await apis.stage.client.post("/par", content=query, headers=form, auth=apis.writer.auth)),
        "/revoke": await apis.post("/revoke", apis.writer, token=tokens["access_token"]),
    }
    assert set(answers) == TOLD
    for path, answer in answers.items():
        assert answer.status in {200, 201}, path
        assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache"), path
        assert "etag" not in answer.headers, path
