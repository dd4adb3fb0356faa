"""CORS: which pages may call which endpoints by script (docs/security.md C7, RFC 9700 section 2.6)."""

import pytest

from tests.downstream.apis import PAGE_ORIGIN, Apis, open_apis

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOR_PAGES = ("/token", "/userinfo", "/revoke")
FOR_ALL = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks")
FOR_NOBODY = ("/authorize", "/introspect", "/par", "/logout", "/handoffs", "/handoffs/x", "/", "/shared", "/healthz")
STRANGERS = (
    "https://evil.example", "https://writer.example", "null", "https://page.example.evil.example", "http://page.example",
    "https://page.example:8443", "https://PAGE.example", "https://page.example/", "", "https://page.example, https://evil.example",
)  # fmt: skip


def allowed(headers: dict[str, str]) -> set[str]:
    return {name for name in headers if name.startswith("access-control-")}


@pytest.mark.parametrize("path", FOR_PAGES)
async def test_a_registered_page_may_call(apis: Apis, path: str) -> None:
    """Its own origin by name, never a star; refusals can be read, and so can their challenge."""
    for method in ("POST", "GET") if path == "/userinfo" else ("POST",):
        answer = await apis.stage.client.request(method, path, headers={"origin": PAGE_ORIGIN})
        assert answer.headers["access-control-allow-origin"] == PAGE_ORIGIN
        assert "WWW-Authenticate" in answer.headers["access-control-expose-headers"]
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", [*FOR_PAGES, *FOR_ALL])
async def test_preflights_are_answered(apis: Apis, path: str) -> None:
    """204 with method and headers; nothing is carried out, nothing about cookies."""
    answer = await apis.stage.client.options(
        path,
        headers={
            "origin": PAGE_ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )
    assert answer.status_code == 204
    assert not answer.content
    methods = answer.headers["access-control-allow-methods"].split(", ")
    assert ("POST" in methods) == (path in FOR_PAGES)
    assert answer.headers["access-control-allow-headers"].lower() == "authorization, content-type"
    assert int(answer.headers["access-control-max-age"]) <= 600
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", STRANGERS)
async def test_strangers_may_not(apis: Apis, origin: str) -> None:
    """Origins are compared as they are; a confidential client's pages have a server that calls for them."""
    for path in FOR_PAGES:
        for method, more in (("POST", {}), ("OPTIONS", {"access-control-request-method": "POST"})):
            answer = await apis.stage.client.request(method, path, headers={"origin": origin, **more})
            assert not allowed(dict(answer.headers)), (path, method)
            assert answer.headers["vary"] == "Origin"
            assert answer.status_code >= 400


@pytest.mark.parametrize("path", FOR_ALL)
async def test_what_is_public_is_for_everybody(apis: Apis, path: str) -> None:
    """The same for all, so a star; a cache may keep one copy."""
    for origin in (PAGE_ORIGIN, "https://evil.example"):
        answer = await apis.stage.client.get(path, headers={"origin": origin})
        assert answer.status_code == 200
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]
        assert "vary" not in answer.headers


@pytest.mark.parametrize("path", FOR_NOBODY)
async def test_everything_else_is_for_no_script(apis: Apis, path: str) -> None:
    """Least of all the authorization endpoint: browsers go there, scripts do not."""
    for method, more in (("GET", {}), ("POST", {}), ("OPTIONS", {"access-control-request-method": "POST"})):
        answer = await apis.stage.client.request(method, path, headers={"origin": PAGE_ORIGIN, **more})
        assert not allowed(dict(answer.headers)), (path, method)


async def test_a_page_logs_in_by_script(apis: Apis) -> None:
    """Code, userinfo, refresh and revocation as a single-page app does it."""
    headers = {"origin": PAGE_ORIGIN}
    browser = apis.stage.browser()
    await browser.follow(await browser.get(apis.page.request(scope="openid email offline_access")))
    code = (await browser.log_in("google", "maja")).query["code"]
    form = {"client_id": "page-web", "grant_type": "authorization_code", "code": code,
            "redirect_uri": apis.page.redirect_uri, "code_verifier": apis.page.verifier}  # fmt: skip
    tokens = await apis.raw("/token", form, headers=headers)
    assert (tokens.status, tokens.headers["access-control-allow-origin"]) == (200, PAGE_ORIGIN)
    bearer = {"authorization": f"Bearer {tokens.json['access_token']}", **headers}
    told = await apis.stage.client.get("/userinfo", headers=bearer)
    assert (told.status_code, told.headers["access-control-allow-origin"]) == (200, PAGE_ORIGIN)
    ended = {"client_id": "page-web", "token": tokens.json["refresh_token"]}
    assert (await apis.raw("/revoke", ended, headers=headers)).headers["access-control-allow-origin"] == PAGE_ORIGIN


async def test_origins_may_be_listed_instead(prepared_stage: object) -> None:
    """``allowed_origins`` takes the place of those of the redirect URIs."""
    place = "      auth: none\n"
    edit = {place: f"{place}      allowed_origins: [https://app.page.example]\n"}
    async with open_apis(prepared_stage, edit=edit) as apis:  # type: ignore[arg-type]
        for origin, is_allowed in (("https://app.page.example", True), (PAGE_ORIGIN, False)):
            answer = await apis.stage.client.post("/token", headers={"origin": origin})
            assert bool(allowed(dict(answer.headers))) == is_allowed


async def test_without_an_origin_nothing_is_added(apis: Apis) -> None:
    """Servers are answered as ever."""
    for path in (*FOR_PAGES, *FOR_NOBODY):
        assert not allowed(dict((await apis.stage.client.post(path)).headers))
