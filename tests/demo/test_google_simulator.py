"""The simulated Google: as strict as the original where it matters, and lying only where a switch says so."""

import re
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from broker.demo.providers.google import Fault, GoogleClient, GoogleSimulator, IssuerMode, create_app

ISSUER = "http://127.0.0.1:8703"
CALLBACK = "http://localhost:8700/up/google/callback"
VERIFIER = "v" * 64
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
KEYS = [RSAKey.generate_key(2048, {"kid": f"key-{number}"}) for number in (1, 2)]
ASK = {
    "client_id": "stafett-demo",
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": "openid email profile",
    "state": "state-1",
    "nonce": "nonce-1",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


class Now:
    """A clock the test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Now:
    return Now()


@pytest.fixture
async def browser(clock: Now) -> AsyncIterator[httpx2.AsyncClient]:
    clients = {
        "stafett-demo": GoogleClient("Stafett", "s3cret/+ %", frozenset({CALLBACK})),
        "other": GoogleClient("Other", "other-secret", frozenset({"http://localhost:9/cb"})),
    }
    app = create_app(issuer=ISSUER, clients=clients, clock=clock, keys=KEYS)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ISSUER) as client:
        client.simulator = app.state.simulator
        yield client


def simulator_of(browser: httpx2.AsyncClient) -> GoogleSimulator:
    return browser.simulator


def form_of(page: str) -> str:
    return re.search(r'name="request" value="([^"]+)"', page)[1]


def query_of(response: httpx2.Response) -> dict[str, str]:
    assert response.status_code == 303
    return {name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()}


async def choose(browser: httpx2.AsyncClient, account: str = "maja", **changes: str) -> httpx2.Response:
    page = await browser.get("/o/oauth2/v2/auth", params=ASK | changes)
    assert page.status_code == 200, page.text
    return await browser.post("/signin/choose", data={"request": form_of(page.text), "account": account})


async def redeem(browser: httpx2.AsyncClient, code: str, /, **changes: str) -> httpx2.Response:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
        "client_id": "stafett-demo",
        "client_secret": "s3cret/+ %",
    }
    merged = {name: value for name, value in (form | changes).items() if value != ""}
    return await browser.post("/token", data=merged)


async def claims_of(browser: httpx2.AsyncClient, account: str = "maja", **changes: str) -> dict[str, object]:
    code = query_of(await choose(browser, account, **changes))["code"]
    answer = (await redeem(browser, code)).json()
    keys = KeySet.import_key_set((await browser.get("/oauth2/v3/certs")).json())
    return jwt.decode(answer["id_token"], keys, algorithms=["RS256"]).claims


async def test_a_login_gives_a_signed_id_token_bound_to_client_nonce_and_access_token(browser):
    """The whole code flow works with PKCE, and the token says what Google's says."""
    callback = query_of(await choose(browser))
    assert (callback["state"], callback["iss"]) == ("state-1", ISSUER)
    answer = (await redeem(browser, callback["code"])).json()
    keys = KeySet.import_key_set((await browser.get("/oauth2/v3/certs")).json())
    claims = jwt.decode(answer["id_token"], keys, algorithms=["RS256"]).claims
    half = sha256(answer["access_token"].encode()).digest()[:16]
    assert claims["iss"] == ISSUER
    assert claims["aud"] == claims["azp"] == "stafett-demo"
    assert claims["nonce"] == "nonce-1"
    assert claims["at_hash"] == urlsafe_b64encode(half).rstrip(b"=").decode()
    assert claims["email"] == "maja.lindqvist.demo@gmail.com"
    assert claims["email_verified"] is True


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ("maja", {"email": "maja.lindqvist.demo@gmail.com", "email_verified": True, "hd": None}),
        ("erik", {"email_verified": True, "hd": "sandellsakeri.example"}),
        ("aino", {"email": "aino.korhonen@posti.example", "email_verified": True, "hd": None}),
        ("piotr", {"email_verified": False, "hd": None}),
        ("noor", {"email": None, "email_verified": None, "hd": None}),
    ],
)
async def test_every_kind_of_address_is_there(browser, account, expected):
    """Consumer Gmail, Workspace with hd, third-party address, unverified, none at all."""
    claims = await claims_of(browser, account)
    assert {name: claims.get(name) for name in expected} == expected


async def test_scopes_limit_the_claims(browser):
    """Only `openid` gives the bare subject."""
    claims = await claims_of(browser, scope="openid")
    assert not {"email", "name", "picture"} & set(claims)


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"redirect_uri": CALLBACK + "/"}, 400, "redirect_uri_mismatch"),
        ({"redirect_uri": "http://localhost:9/cb"}, 400, "redirect_uri_mismatch"),
        ({"redirect_uri": CALLBACK.upper()}, 400, "redirect_uri_mismatch"),
    ],
)
async def test_unknown_client_or_address_stays_on_googles_page(browser, changes, status, word):
    """RFC 6749 section 4.1.2.1: never redirect to an unproven address."""
    page = await browser.get("/o/oauth2/v2/auth", params=ASK | changes)
    assert (page.status_code, word in page.text) == (status, True)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "email"}, "invalid_scope"),
        ({"scope": "openid drive"}, "invalid_scope"),
        ({"prompt": "login"}, "invalid_request"),
        ({"prompt": "none consent"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
    ],
)
async def test_other_mistakes_go_back_with_error_and_state(browser, changes, error):
    """What Google does not know (`prompt=login` above all) is an error at the callback."""
    answer = query_of(await browser.get("/o/oauth2/v2/auth", params=ASK | changes))
    assert (answer["error"], answer["state"]) == (error, "state-1")


async def test_prompt_none_works_for_the_account_used_before_and_no_other(browser):
    """The browser remembers who was signed in; scopes that person never allowed still need a page."""
    await choose(browser, scope="openid email")
    silent = ASK | {"prompt": "none", "scope": "openid email"}
    assert "code" in query_of(await browser.get("/o/oauth2/v2/auth", params=silent))
    more = await browser.get("/o/oauth2/v2/auth", params=silent | {"scope": "openid profile"})
    assert query_of(more)["error"] == "consent_required"
    other = await browser.get("/o/oauth2/v2/auth", params=silent | {"login_hint": "aino.korhonen@posti.example"})
    assert query_of(other)["error"] == "login_required"


async def test_cancelling_gives_access_denied(browser):
    """The button of the chooser, and the one of the consent page."""
    page = await browser.get("/o/oauth2/v2/auth", params=ASK)
    denied = await browser.post("/signin/choose", data={"request": form_of(page.text), "deny": "1"})
    assert query_of(denied)["error"] == "access_denied"
    consent = await choose(browser, prompt="consent")
    denied = await browser.post("/signin/consent", data={"request": form_of(consent.text), "deny": "1"})
    assert query_of(denied)["error"] == "access_denied"


async def test_prompt_consent_asks_on_a_second_page(browser):
    """`prompt=consent` always asks, however often it was allowed."""
    consent = await choose(browser, prompt="consent")
    assert 'id="allow"' in consent.text
    allowed = await browser.post("/signin/consent", data={"request": form_of(consent.text), "allow": "1"})
    assert "code" in query_of(allowed)


async def test_login_hint_puts_the_account_first(browser):
    """A hint (address or sub) chooses the focus, not the person."""
    page = await browser.get("/o/oauth2/v2/auth", params=ASK | {"login_hint": "aino.korhonen@posti.example"})
    assert page.text.index("account-aino") < page.text.index("account-maja")


async def test_chooser_is_marked_as_simulation_and_runs_no_script(browser):
    """Nobody may take it for Google; it works without JavaScript."""
    page = await browser.get("/o/oauth2/v2/auth", params=ASK)
    assert "Simulation." in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for account in ("maja", "erik", "aino", "piotr", "noor"):
        assert f'id="account-{account}"' in page.text


async def test_a_form_works_once_and_not_for_ever(browser, clock):
    """A page sent twice, or left open too long, is refused on the spot."""
    page = await browser.get("/o/oauth2/v2/auth", params=ASK)
    data = {"request": form_of(page.text), "account": "maja"}
    assert (await browser.post("/signin/choose", data=data)).status_code == 303
    assert (await browser.post("/signin/choose", data=data)).status_code == 400
    late = await browser.get("/o/oauth2/v2/auth", params=ASK)
    clock.now += timedelta(minutes=11)
    answer = await browser.post("/signin/choose", data={"request": form_of(late.text), "account": "maja"})
    assert answer.status_code == 400


async def test_a_code_works_once(browser):
    """Reuse gives invalid_grant (RFC 6749 section 4.1.2)."""
    code = query_of(await choose(browser))["code"]
    assert (await redeem(browser, code)).status_code == 200
    again = await redeem(browser, code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "other", "client_secret": "other-secret"}, 400, "invalid_grant"),
        ({"redirect_uri": "http://localhost:9/cb"}, 400, "redirect_uri_mismatch"),
        ({"code_verifier": "w" * 64}, 400, "invalid_grant"),
        ({"code_verifier": ""}, 400, "invalid_grant"),
        ({"code": "4/0Aunknown"}, 400, "invalid_grant"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
async def test_token_endpoint_refuses(browser, changes, status, error):
    """Wrong secret, foreign client, other address, missing or wrong verifier."""
    code = query_of(await choose(browser))["code"]
    answer = await redeem(browser, code, **changes)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_a_code_ends_after_ten_minutes(browser, clock):
    """Late exchange is invalid_grant."""
    code = query_of(await choose(browser))["code"]
    clock.now += timedelta(minutes=10)
    assert (await redeem(browser, code)).json()["error"] == "invalid_grant"


async def test_basic_credentials_are_form_decoded_first(browser):
    """RFC 6749 section 2.3.1: id and secret are form-encoded inside Basic; two ways at once are refused."""
    code = query_of(await choose(browser))["code"]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    both = await browser.post("/token", data=form | {"client_secret": "x"}, auth=("stafett-demo", "x"))
    assert both.json()["error"] == "invalid_request"
    plain = await browser.post("/token", data=form, auth=("stafett-demo", "s3cret/+ %"))
    assert plain.status_code == 401
    right = await browser.post("/token", data=form, auth=("stafett-demo", "s3cret%2F%2B+%25"))
    assert right.status_code == 200


async def test_userinfo_needs_the_token(browser):
    """The same person as in the ID token, and nobody without a live token."""
    answer = (await redeem(browser, query_of(await choose(browser))["code"])).json()
    bearer = {"Authorization": f"Bearer {answer['access_token']}"}
    assert (await browser.get("/v1/userinfo", headers=bearer)).json()["sub"] == "108204268033311374519"
    assert (await browser.get("/v1/userinfo")).status_code == 401
    assert (await browser.get("/v1/userinfo", headers={"Authorization": "Bearer x"})).status_code == 401
    await browser.post("/revoke", data={"token": answer["access_token"]})
    assert (await browser.get("/v1/userinfo", headers=bearer)).status_code == 401


async def test_rotation_keeps_the_last_key_published(browser):
    """Two keys at any time; the new one signs."""
    await browser.post("/simulator/rotate")
    kids = [key["kid"] for key in (await browser.get("/oauth2/v3/certs")).json()["keys"]]
    assert len(kids) == 2
    assert kids[1] == "key-1"
    assert (await claims_of(browser))["sub"]


async def test_published_keys_hold_no_private_part(browser):
    """Only n and e leave the house."""
    for key in (await browser.get("/oauth2/v3/certs")).json()["keys"]:
        assert not {"d", "p", "q", "dp", "dq", "qi"} & set(key)


async def test_switches_are_set_over_http(browser):
    """The demo turns lies on and off without touching the process."""
    await browser.post("/simulator/faults", data={"fault": ["expired", "wrong_nonce"], "issuer_mode": "bare_host"})
    assert simulator_of(browser).faults == {Fault.EXPIRED, Fault.WRONG_NONCE}
    assert simulator_of(browser).issuer_mode is IssuerMode.BARE_HOST
    assert (await claims_of(browser))["iss"] == "127.0.0.1:8703"
    assert (await browser.post("/simulator/faults", data={"fault": "nonsense"})).status_code == 400
    assert "checked" in (await browser.get("/simulator")).text
    await browser.post("/simulator/faults", data={"issuer_mode": "url"})
    assert simulator_of(browser).faults == frozenset()


@pytest.mark.parametrize(
    ("fault", "path"),
    [
        (Fault.DISCOVERY_ERROR, "/.well-known/openid-configuration"),
        (Fault.KEYS_ERROR, "/oauth2/v3/certs"),
        (Fault.USERINFO_ERROR, "/v1/userinfo"),
    ],
)
async def test_outages(browser, fault, path):
    """An endpoint that fails answers 503."""
    simulator_of(browser).switch({fault})
    assert (await browser.get(path)).status_code == 503
