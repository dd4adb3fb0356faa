"""
The authorization endpoint and the one requests are pushed to, given anything at all: never a 5xx, never a redirect to an
address nobody registered, never a secret in one.
"""

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core.assurance import acr_values
from tests.downstream.crowd import Crowd
from tests.stage import ISSUER, SECRET, SHOP, SHOP_CALLBACK, Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

_NAMES = (
    "client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge",
    "code_challenge_method", "prompt", "max_age", "acr_values", "claims", "claims_locales", "ui_locales",
    "display", "login_hint", "id_token_hint", "request", "request_uri", "registration", "resource", "lang",
    "extra", "client_secret", "client_assertion", "client_assertion_type",
)  # fmt: skip
_TEXT = st.text(max_size=40)
_CLAIMS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([*acr_values(), "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["userinfo", "id_token", "acr", "sub", "name", "email", "essential", "value", "values"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
).map(json.dumps)
_LIKELY: dict[str, Any] = {
    "response_mode": st.sampled_from(["query", "form_post", "fragment", "form_post.jwt"]),
    "response_type": st.sampled_from(["code", "token", "code id_token", "none", ""]),
    "prompt": st.sampled_from(["none", "login", "consent", "none login", "select_account", "create"]),
    "max_age": st.sampled_from(["0", "1", "-1", "1e9", "999999999", "٣"]),
    "acr_values": st.lists(st.sampled_from(acr_values()), max_size=8).map(" ".join),
    "claims": _CLAIMS,
    "scope": st.sampled_from(["openid", "openid offline_access profile", "profile", "openid " * 60]),
    "request_uri": st.sampled_from(["urn:ietf:params:oauth:request_uri:x", "https://evil.example/", "urn:x"]),
    "redirect_uri": st.sampled_from([SHOP_CALLBACK, SHOP_CALLBACK + "/", "javascript:alert(1)", "//evil.example"]),
}
_CHANGES = st.dictionaries(st.sampled_from(_NAMES), st.none() | _TEXT, max_size=5).flatmap(
    lambda random: st.fixed_dictionaries({}, optional=_LIKELY).map(lambda likely: {**random, **likely})
)
_FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_SECRETS = (SECRET, "BEGIN", "Traceback", "broker/", "file:")


def _fits(answer: Answer) -> None:
    """What holds for every answer of the authorization endpoint."""
    assert answer.status < 500, answer.text
    place = answer.headers.get("location", "")
    assert not [each for each in _SECRETS if each in place]
    if answer.location.startswith("https://"):
        assert urlsplit(answer.location).hostname in {"bankid.test", "google.test"}
    elif answer.location:
        assert answer.location.startswith((SHOP_CALLBACK, ISSUER))
    if answer.location.startswith(SHOP_CALLBACK):
        assert answer.query["iss"] == ISSUER
        assert "code" in answer.query or "error" in answer.query
        assert "\n" not in answer.query.get("error_description", "")


def _members(crowd: Crowd, changed: dict[str, str | None]) -> list[tuple[str, str]]:
    request = dict(parse_qsl(crowd.stage.shop.request().partition("?")[2]))
    return [(name, value) for name, value in {**request, **changed}.items() if value is not None]


class TestAnything:
    @given(changed=_CHANGES)
    @_FUZZ
    async def test_as_a_link(self, crowd: Crowd, changed: dict[str, str | None]) -> None:
        """From a browser that nobody knows, and from one that is logged in, silently."""
        browser = crowd.stage.browser()
        _fits(await browser.get(f"/authorize?{urlencode(_members(crowd, changed), errors='replace')}"))

    @given(changed=_CHANGES, again=st.sampled_from(_NAMES))
    @_FUZZ
    async def test_with_one_parameter_twice(self, crowd: Crowd, changed: dict[str, str | None], again: str) -> None:
        """Never more than a page of ours (RFC 6749 section 3.1)."""
        members = [*_members(crowd, changed), (again, "x"), (again, "x")]
        answer = await crowd.stage.browser().get(f"/authorize?{urlencode(members, errors='replace')}")
        assert answer.status == 400
        assert not answer.location

    @given(changed=_CHANGES)
    @_FUZZ
    async def test_as_a_form(self, crowd: Crowd, changed: dict[str, str | None]) -> None:
        """A POST leads to a GET of ours with the same parameters, or nowhere."""
        sent = {"content-type": "application/x-www-form-urlencoded"}
        content = urlencode(_members(crowd, changed), errors="replace")
        _fits(Answer(await crowd.stage.client.post("/authorize", content=content, headers=sent)))

    @given(changed=_CHANGES)
    @_FUZZ
    async def test_pushed(self, crowd: Crowd, changed: dict[str, str | None]) -> None:
        """201 or an OAuth error as JSON; what was sent is not in it, and what opens is fit as well."""
        shop = crowd.stage.shop
        sent = {"content-type": "application/x-www-form-urlencoded"}
        content = urlencode(_members(crowd, changed), errors="replace")
        raw = await crowd.stage.client.post("/par", content=content, headers=sent, auth=shop.auth)
        assert raw.status_code in {201, 400, 401, 403}, raw.text
        if raw.status_code == 201:
            opened = urlencode({"client_id": SHOP, "request_uri": raw.json()["request_uri"]})
            _fits(await crowd.stage.browser().get(f"/authorize?{opened}"))
        else:
            assert set(raw.json()) == {"error", "error_description", "reference"}
            assert SECRET not in raw.text

    @given(body=st.binary(max_size=300), kind=st.sampled_from(["application/x-www-form-urlencoded", "text/plain", ""]))
    @_FUZZ
    async def test_bytes_that_are_no_form(self, crowd: Crowd, body: bytes, kind: str) -> None:
        """Whatever they are."""
        for path in ("/authorize", "/par"):
            raw = await crowd.stage.client.post(path, content=body, headers={"content-type": kind})
            assert raw.status_code in {303, 400, 401}, path
            assert "location" not in raw.headers

    @given(query=st.text(st.characters(codec="ascii", exclude_characters="\r\n#"), max_size=200))
    @_FUZZ
    async def test_a_query_that_is_none(self, crowd: Crowd, query: str) -> None:
        """Broken escapes, lone separators, control characters."""
        scope_query = "".join(char if 0x20 < ord(char) < 0x7F else f"%{ord(char):02x}" for char in query)
        answer = await crowd.stage.browser().get(f"/authorize?{scope_query}")
        assert answer.status == 400
        assert not answer.location


async def test_a_form_too_long_for_an_address_is_told_so(crowd: Crowd) -> None:
    """A POST goes on as a GET; what does not fit into one is to be pushed, and the partner hears it."""
    shop = crowd.stage.shop
    members = [*_members(crowd, {}), *((f"extra-{index}", "x" * 4000) for index in range(3))]
    sent = {"content-type": "application/x-www-form-urlencoded"}
    answer = Answer(await crowd.stage.client.post("/authorize", content=urlencode(members), headers=sent))
    assert answer.location.startswith(SHOP_CALLBACK)
    assert answer.query["error"] == "invalid_request"
    assert answer.query["state"] == shop.state


@pytest.mark.parametrize("locales", ["sv", "se sv-FI", "fi"])
async def test_a_pushed_request_brings_its_language(crowd: Crowd, locales: str) -> None:
    """``ui_locales`` counts although it is not in the address."""
    content = urlencode(_members(crowd, {"ui_locales": locales}))
    sent = {"content-type": "application/x-www-form-urlencoded"}
    pushed = (await crowd.stage.client.post("/par", content=content, headers=sent, auth=crowd.stage.shop.auth)).json()
    browser = crowd.stage.browser()
    opened = urlencode({"client_id": SHOP, "request_uri": pushed["request_uri"]})
    page = await browser.follow(await browser.get(f"/authorize?{opened}"))
    assert f'<html lang="{"fi" if locales == "fi" else "sv"}"' in page.text
