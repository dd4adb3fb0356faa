"""
Whatever is sent to the token, userinfo, introspection and revocation endpoints: no 5xx, no secret in an answer, and an answer of
the form the specifications give.
"""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.downstream.apis import PAGE, WRITER, Apis, open_apis
from tests.stage import SECRET

ALLOWED = {chr(code) for code in (*range(0x20, 0x22), *range(0x23, 0x5C), *range(0x5D, 0x7F))}
ERRORS = {
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
    "invalid_target", "unsupported_token_type", "invalid_token", "insufficient_scope",
}  # fmt: skip
NAMES = [
    "grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "scope", "client_id", "client_secret",
    "client_assertion", "client_assertion_type", "token", "token_type_hint", "access_token", "resource", "x", "",
]  # fmt: skip
PATHS = ["/token", "/userinfo", "/introspect", "/revoke"]


class Target:
    """One broker for all examples, driven from ordinary functions, as hypothesis calls them; and real tokens to mix in."""

    def __init__(self, prepared: Path) -> None:
        self._runner = asyncio.Runner()
        self._opened = open_apis(prepared)
        self.apis: Apis = self._runner.run(self._opened.__aenter__())
        tokens = [self._runner.run(self.apis.offline(who)) for who in (self.apis.writer, self.apis.page)]
        names = ("access_token", "refresh_token", "id_token")
        self.secrets = {each[name] for each in tokens for name in names} | {SECRET}
        self.words = [
            *sorted(self.secrets),
            WRITER,
            PAGE,
            "booking-api",
            "authorization_code",
            "refresh_token",
            "openid",
        ]

    def send(self, method: str, path: str, headers: dict[str, bytes], content: bytes) -> Any:
        return self._runner.run(
            self.apis.stage.client.request(method, path, headers=headers, content=content)  # type: ignore[arg-type]
        )

    def close(self) -> None:
        self._runner.run(self._opened.__aexit__(None, None, None))
        self._runner.close()


@pytest.fixture(scope="module")
def target(prepared_stage: Path) -> Any:
    opened = Target(prepared_stage)
    yield opened
    opened.close()


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@st.composite
def requests(draw: st.DrawFn, words: list[str]) -> tuple[str, str, dict[str, bytes], bytes]:
    """Mostly almost right: known names, real tokens and credentials beside garbage."""
    word = st.one_of(st.sampled_from(words), text)
    members = draw(st.lists(st.tuples(st.sampled_from(NAMES) | text, word), max_size=6))
    body = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in members).encode()
    headers = {"content-type": b"application/x-www-form-urlencoded"}
    match draw(st.sampled_from(["none", "basic", "bearer", "raw", "body", "type"])):
        case "basic":
            pair = f"{draw(word)}:{draw(word)}" if draw(st.booleans()) else f"{WRITER}:{SECRET}"
            headers["authorization"] = b"Basic " + base64.b64encode(pair.encode())
        case "bearer":
            headers["authorization"] = b"Bearer " + draw(word).encode()
        case "raw":
            headers["authorization"] = draw(st.binary(max_size=60)).translate(None, b"\r\n\0")
        case "body":
            body = draw(st.binary(max_size=200))
        case "type":
            headers["content-type"] = draw(
                st.sampled_from([b"", b"application/json", b"multipart/form-data", b"text/xml"])
            )
    return draw(st.sampled_from(["POST", "POST", "POST", "GET"])), draw(st.sampled_from(PATHS)), headers, body


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_nothing_sent_breaks_an_endpoint(target: Target, data: st.DataObject) -> None:
    """Refused or answered, never our fault; no-store; registered error codes; descriptions of the allowed characters."""
    method, path, headers, body = data.draw(requests(target.words))
    answer = target.send(method, path, headers, body)
    assert answer.status_code < 500, answer.text
    assert answer.headers["cache-control"] == "no-store"
    if answer.status_code == 200:
        return
    sent = {each for each in target.secrets if each in answer.text or each in str(answer.headers)}
    assert not sent
    if not answer.headers.get("content-type", "").startswith("application/json") or answer.text == "{}":
        return
    told = json.loads(answer.text)
    assert told["error"] in ERRORS
    assert set(told["error_description"]) <= ALLOWED
    assert set(told) <= {"error", "error_description", "error_uri", "reference"}
    if told["error"] == "invalid_client":
        assert (answer.status_code == 401) == ("www-authenticate" in answer.headers)
