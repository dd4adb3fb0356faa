"""
What the certification suite does, in-process: its clients, its browser, and what it looks at in every answer.

The suite is github openid-certification/conformance-suite; docs/conformance.md tells how to run the real one. Its warnings do not
block certification, so where the broker gives less than a module would like to see, the test says so.
"""

import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jws

from tests.stage import ISSUER, SECRET, Answer, Browser, Stage, open_stage

STATE = "S" * 128
NONCE = "nonce-of-the-suite"
CALLBACK = "https://suite.example/test/a/stafett/callback"

FIRST = "conformance-first"
SECOND = "conformance-second"
POSTING = "conformance-post"

#: Claims the suite expects in any ID token; others draw a warning unless they were asked for.
OF_AN_ID_TOKEN = {
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "auth_time",
    "nonce",
    "acr",
    "amr",
    "azp",
    "at_hash",
    "c_hash",
    "s_hash",
    "nbf",
    "jti",
    "sid",
    "txn",
}

_ERROR_MEMBERS = {"error", "error_description", "error_uri", "state", "session_state", "iss"}


def _client(client_id: str, auth: str) -> str:
    return f"""
  {client_id}:
    names: {{en: Conformance suite}}
    home_uri: https://suite.example/
    oidc:
      client_id: {client_id}
      profile: legacy
      auth: {auth}
      secret: file:secrets/tyre-shop
      redirect_uris: ["{CALLBACK}"]
      refresh_tokens: {{idle: 14d}}
    login:
      upstreams: [google, bankid]
      claims: [name, given_name, family_name, birthdate, email, phone_number, locale]
      consent: implied
"""


_CLIENTS = (
    "\npartners:"
    + _client(FIRST, "client_secret_basic")
    + _client(SECOND, "client_secret_basic")
    + _client(POSTING, "client_secret_post")
)


@dataclass
class Suite:
    """One run of a plan: every request by ``response_mode``."""

    stage: Stage
    response_mode: str

    def request(self, client_id: str = FIRST, **changed: str | None) -> str:
        """An authorization request as most modules send it: no PKCE. A parameter set to None is left out."""
        members: dict[str, str | None] = {
            "client_id": client_id,
            "redirect_uri": CALLBACK,
            "scope": "openid",
            "state": STATE,
            "nonce": NONCE,
            "response_type": "code",
            "response_mode": None if self.response_mode == "query" else self.response_mode,
            **changed,
        }
        return f"/authorize?{urlencode({name: value for name, value in members.items() if value is not None})}"

    async def silently(self, browser: Browser, client_id: str = FIRST, **changed: str | None) -> dict[str, str]:
        """What arrives at the callback without anybody doing anything."""
        return self.callback(await browser.get(self.request(client_id, **changed)))

    async def log_in(
        self, browser: Browser | None = None, client_id: str = FIRST, **changed: str | None
    ) -> dict[str, str]:
        """What arrives at the callback after a login; there must have been one."""
        browser = browser or self.stage.browser()
        page = await browser.follow(await browser.get(self.request(client_id, **changed)))
        assert page.status == 200, page.text
        assert "method-google" in page.ids, page.text
        return self.callback(await browser.log_in("google", "maja"))

    def callback(self, answer: Answer) -> dict[str, str]:
        """The answer's members, after checking how it travels (CheckCallbackHttpMethodIsPost and its kin)."""
        assert answer.location.startswith(CALLBACK), answer.text
        in_query = dict(parse_qsl(urlsplit(answer.location).query))
        if self.response_mode == "query":
            assert answer.status == 303
            assert answer.form_post is None
            members = in_query
        else:
            members = self._posted(answer)
            assert not in_query
        if "error" in members:
            assert set(members) <= _ERROR_MEMBERS
            assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*", members.get("error_description", ""))
            assert "code" not in members
        assert members["iss"] == ISSUER
        return members

    @staticmethod
    def _posted(answer: Answer) -> dict[str, str]:
        """Form Post Response Mode section 2: an HTML form, not kept by anybody, that a button sends as well."""
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.form_post is not None
        assert answer.form_post["action"] == CALLBACK
        assert {"response", "continue"} <= answer.ids
        return dict(answer.form_post["fields"])

    async def token(self, form: dict[str, str], client_id: str = FIRST) -> Answer:
        """The token endpoint, as the client proves itself there."""
        if client_id == POSTING:
            return Answer(
                await self.stage.client.post("/token", data={**form, "client_id": POSTING, "client_secret": SECRET})
            )
        return Answer(await self.stage.client.post("/token", data=form, auth=(client_id, SECRET)))

    async def redeem(self, members: dict[str, str], client_id: str = FIRST, **more: str) -> Answer:
        """The token request for what arrived at the callback."""
        assert members["state"] == STATE, members
        form = {"grant_type": "authorization_code", "code": members["code"], "redirect_uri": CALLBACK, **more}
        return await self.token(form, client_id)

    async def tokens(self, members: dict[str, str], client_id: str = FIRST, **more: str) -> dict[str, Any]:
        """The token response, with the verified claims of its ID token as ``claims``."""
        answer = await self.redeem(members, client_id, **more)
        assert answer.status == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert "no-store" in answer.headers["cache-control"]
        assert answer.json["token_type"].lower() == "bearer"
        assert answer.json["expires_in"] > 0
        return {**answer.json, "claims": await self.stage.id_token(answer.json["id_token"])}

    async def userinfo(self, tokens: dict[str, Any], **how: Any) -> dict[str, Any]:
        """The userinfo response, which is about the same customer."""
        sent = how or {"method": "GET", "headers": {"authorization": f"Bearer {tokens['access_token']}"}}
        raw = await self.stage.client.request(url="/userinfo", **sent)
        assert raw.status_code == 200, raw.text
        assert raw.headers["content-type"].startswith("application/json")
        told: dict[str, Any] = raw.json()
        assert told["sub"] == tokens["claims"]["sub"]
        return told

    def now_s(self) -> int:
        return int(self.stage.clock.now.timestamp())


def header_of(token: str) -> dict[str, Any]:
    """The header of a compact JWS."""
    return dict(jws.extract_compact(token.encode()).protected)


@asynccontextmanager
async def open_suite(prepared: Path, response_mode: str) -> AsyncIterator[Suite]:
    """A broker with the suite's three clients."""
    folder = Path(tempfile.mkdtemp(dir=prepared.parent))
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    async with open_stage(folder, edit={"\npartners:": _CLIENTS}) as stage:
        yield Suite(stage, response_mode)
    shutil.rmtree(folder)
