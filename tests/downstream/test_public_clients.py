"""Clients without a server: native apps (RFC 8252) and pages that run in the browser. They are known, never proven."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from tests.stage import ISSUER, SECRET, Answer, Browser, Partner, Stage, open_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

APP = "tyre-app"
APP_CALLBACK = "com.nordhjul.app:/login/callback"
LOOPBACK = "http://127.0.0.1/login/callback"
CLAIMED = "https://app.nordhjul.example/login/callback"
PAGE = "tyre-page"
PAGE_CALLBACK = "https://page.nordhjul.example/callback"

_PARTNERS = f"""
partners:
  app:
    names: {{en: Nordhjul app}}
    home_uri: https://nordhjul.example/app
    oidc:
      client_id: {APP}
      auth: none
      profile: legacy
      redirect_uris: ["{APP_CALLBACK}", "{LOOPBACK}", "http://[::1]/login/callback", "{CLAIMED}"]
      refresh_tokens: {{idle: 14d}}
    login:
      upstreams: [bankid, google]
      claims: [name, email]
      consent: implied
  page:
    names: {{en: Nordhjul page}}
    home_uri: https://page.nordhjul.example/
    oidc:
      client_id: {PAGE}
      auth: none
      redirect_uris: ["{PAGE_CALLBACK}"]
    login:
      upstreams: [bankid, google]
      claims: [name]
      consent: ask
"""


class App(Partner):
    """It sends its client_id where others prove themselves."""

    async def token(self, code: str, *, auth: tuple[str, str] | None = None, **changed: str | None) -> Answer:
        members = {
            "grant_type": "authorization_code",
            "client_id": self.client_id,
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
            **changed,
        }
        form = {name: value for name, value in members.items() if value is not None}
        return Answer(await self.stage.client.post("/token", data=form, auth=auth))

    async def refresh(self, token: str, **changed: str) -> Answer:
        form = {"grant_type": "refresh_token", "client_id": self.client_id, "refresh_token": token, **changed}
        return Answer(await self.stage.client.post("/token", data=form))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(prepared_stage: Path) -> AsyncIterator[Stage]:
    """A broker with an app and a page among its partners."""
    async with open_stage(prepared_stage, edit={"\npartners:\n": _PARTNERS}) as opened:
        yield opened


@pytest.fixture
def app(stage: Stage) -> App:
    return App(stage, APP, APP_CALLBACK, scope="openid profile email offline_access")


async def log_in(stage: Stage, app: App, browser: Browser | None = None, **changed: str | None) -> Answer:
    browser = browser or stage.browser()
    await browser.follow(await browser.get(app.request(**changed)))
    return await browser.log_in("google", "maja")


@pytest.mark.parametrize(
    "redirect_uri",
    [
        APP_CALLBACK,
        CLAIMED,
        LOOPBACK,
        "http://127.0.0.1:51004/login/callback",
        "http://[::1]:51004/login/callback",
    ],
)
async def test_an_app_logs_in_by_each_kind_of_address(stage: Stage, app: App, redirect_uri: str) -> None:
    """A scheme of its own, a claimed https address, its own listener on any port (RFC 8252 section 7)."""
    app.redirect_uri = redirect_uri
    answer = await log_in(stage, app)
    assert answer.location.startswith(f"{redirect_uri}?code=")
    body = await app.exchange(answer)
    assert body["claims"]["aud"] == APP
    assert (await app.userinfo(body["access_token"])).json["email"] == "maja@example.com"


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "http://localhost:51004/login/callback",
        "http://127.0.0.1:51004/other",
        "http://127.0.0.1:51004@evil.example/login/callback",
        "http://192.168.1.4:51004/login/callback",
        "com.nordhjul.app:/other",
        "com.nordhjul.evil:/login/callback",
        "javascript:/login/callback",
        f"{CLAIMED}/",
    ],
)
async def test_no_other_address_gets_an_answer(stage: Stage, app: App, redirect_uri: str) -> None:
    """A page of ours, never a redirect."""
    answer = await stage.browser().get(app.request(redirect_uri=redirect_uri))
    assert answer.status == 400
    assert "location" not in answer.headers


async def test_pkce_holds_whatever_the_profile_says(stage: Stage, app: App) -> None:
    """The app is ``legacy``, and yet: no challenge, no login; no verifier, no token."""
    bare = {"code_challenge": None, "code_challenge_method": None}
    refused = await stage.browser().get(app.request(**bare))
    assert refused.query["error"] == "invalid_request"
    answer = await log_in(stage, app)
    assert (await app.token(answer.query["code"], code_verifier=None)).json["error"] == "invalid_grant"


@pytest.mark.parametrize("redirect_uri", [APP_CALLBACK, "http://127.0.0.1:51004/login/callback"])
async def test_another_app_with_its_address_gets_nothing_by_itself(stage: Stage, app: App, redirect_uri: str) -> None:
    """
    RFC 8252 section 8.6: any app can take such an address and ask as this one. She is logged in, and yet each login by it is one
    that she makes; an address that is claimed, or a page's, proves who is there.
    """
    browser = stage.browser()
    await log_in(stage, app, browser)
    stage.clock.forward(seconds=1)
    silent = await browser.get(app.request(redirect_uri=redirect_uri, prompt="none"))
    assert silent.query["error"] == "login_required"
    asked = await browser.follow(await browser.get(app.request(redirect_uri=redirect_uri)))
    assert "method-google" in asked.ids
    assert (await browser.log_in("google", "maja")).location.startswith(f"{redirect_uri}?code=")
    assert "code" in (await browser.get(app.request(redirect_uri=CLAIMED, prompt="none"))).query


async def test_it_says_who_it_is(stage: Stage, app: App) -> None:
    """RFC 6749 section 3.2.1: client_id in the form, and that of the code's own client."""
    code = (await log_in(stage, app)).query["code"]
    refused = await app.token(code, client_id=None)
    assert (refused.status, refused.json["error"]) == (400, "invalid_client")
    assert (await app.token(code, client_id=PAGE)).json["error"] == "invalid_grant"


async def test_a_secret_is_nothing_it_could_have(stage: Stage, app: App) -> None:
    """Whoever sends one is not this client: refused rather than ignored."""
    code = (await log_in(stage, app)).query["code"]
    for changed in ({"client_secret": SECRET}, {"client_assertion": "a.b.c"}):
        assert (await app.token(code, **changed)).json["error"] == "invalid_client"
    assert (await app.token(code, auth=(APP, SECRET))).json["error"] == "invalid_client"
    assert (await app.token(code, auth=(APP, ""))).json["error"] == "invalid_client"


async def test_a_client_with_a_secret_does_not_get_by_without(stage: Stage) -> None:
    """The shop's id alone proves nothing."""
    shop = App(stage, stage.shop.client_id, stage.shop.redirect_uri)
    browser = stage.browser()
    await browser.follow(await browser.get(shop.request()))
    answer = await browser.log_in("google", "maja")
    refused = await shop.token(answer.query["code"])
    assert (refused.status, refused.json["error"]) == (400, "invalid_client")


async def test_its_refresh_tokens_rotate_and_tell_of_theft(stage: Stage, app: App) -> None:
    """Each use gives another; the old one is good for a lost answer, later it ends the family (RFC 9700 section 4.14.2)."""
    first = await app.exchange(await log_in(stage, app))
    second = await app.refresh(first["refresh_token"])
    assert second.status == 200
    assert second.json["refresh_token"] != first["refresh_token"]
    assert (await app.refresh(first["refresh_token"])).json["refresh_token"] == second.json["refresh_token"]
    stage.clock.forward(seconds=31)
    stolen = await app.refresh(first["refresh_token"])
    assert (stolen.status, stolen.json["error"]) == (400, "invalid_grant")
    assert (await app.refresh(second.json["refresh_token"])).json["error"] == "invalid_grant"
    assert (await app.userinfo(second.json["access_token"])).status == 401


async def test_many_refreshes_at_once_give_one_successor(stage: Stage, app: App) -> None:
    """An app with several windows."""
    first = await app.exchange(await log_in(stage, app))
    answers = await asyncio.gather(*(app.refresh(first["refresh_token"]) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json["refresh_token"] for answer in answers}) == 1


async def test_its_refresh_token_is_nobody_elses(stage: Stage, app: App) -> None:
    """Not the page's, not the shop's."""
    first = await app.exchange(await log_in(stage, app))
    assert (await app.refresh(first["refresh_token"], client_id=PAGE)).json["error"] == "invalid_grant"


async def test_it_may_push_its_request(stage: Stage, app: App) -> None:
    """RFC 9126: identified as at the token endpoint; the pushed request is its own."""
    sent = dict(pair.split("=", 1) for pair in app.request().partition("?")[2].split("&"))
    body = "&".join(f"{name}={value}" for name, value in sent.items())
    headers = {"content-type": "application/x-www-form-urlencoded"}
    pushed = Answer(await stage.client.post("/par", content=body, headers=headers))
    assert pushed.status == 201
    opened = {"client_id": APP, "request_uri": pushed.json["request_uri"]}
    assert (await stage.browser().get(f"/authorize?{urlencode(opened)}")).status == 303
    stolen = await stage.browser().get(f"/authorize?{urlencode({**opened, 'client_id': PAGE})}")
    assert stolen.status == 400


async def test_a_page_is_asked_for_consent_and_gets_no_refresh_token(stage: Stage) -> None:
    """What its policy does not give is not given for being public; a POST of ours leads into an app as well."""
    page = App(stage, PAGE, PAGE_CALLBACK, scope="openid profile offline_access")
    browser = stage.browser()
    await browser.follow(await browser.get(page.request()))
    await browser.log_in("google", "maja")
    body = await page.exchange(await browser.press("share", ("field", "name")))
    assert "refresh_token" not in body


async def test_cancelling_leads_back_into_the_app(stage: Stage, app: App) -> None:
    """The page after our form goes on to the app's own scheme, by itself and by a link."""
    browser = stage.browser()
    await browser.follow(await browser.get(app.request()))
    answer = await browser.press("cancel")
    assert answer.location.startswith(f"{APP_CALLBACK}?error=access_denied")
    assert answer.query["iss"] == ISSUER


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/handoffs", {"partner": "garage"}),
        ("POST", "/handoffs/guest", {"ref": "x"}),
        ("POST", "/handoffs/artifact", {"artifact": "x"}),
    ],
)
async def test_a_handoff_is_between_those_who_can_prove_themselves(
    stage: Stage, method: str, path: str, body: dict[str, Any]
) -> None:
    """client_id alone opens nothing there, in any place it may stand."""
    for sent, headers in (
        (body | {"client_id": APP}, {}),
        (body, {"authorization": "Basic dHlyZS1hcHA6"}),
        (body, {"authorization": f"Bearer {APP}"}),
    ):
        answer = Answer(await stage.client.request(method, path, json=sent, headers=headers))
        assert answer.status == 401, answer.text
