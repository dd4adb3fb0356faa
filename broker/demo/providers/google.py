"""
A provider that behaves like Google Sign-in, for the demo and the tests.

What it copies: discovery, an account chooser, exact redirect URIs, PKCE S256, `prompt` as Google knows it
(there is no ``prompt=login``), two published RS256 keys that rotate, one-time codes, `hd` on Workspace
accounts, both spellings of the issuer, and an ``iss`` in the authorization response although discovery does
not announce it (https://github.com/openiddict/openiddict-core/issues/2428). What it adds: switches that make
it lie.
"""

import asyncio
import base64
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_plus, urlencode, urlsplit

import aiohttp
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.demo.providers.forgery import (
    broken,
    half_hash,
    lies_in_tokens,
    lies_of,
    overlaid,
    remember,
    s256,
    signed_by_public_key,
    unsigned,
)

_FOLDER: Final = Path(__file__).with_suffix("")
_COOKIE: Final = "google_simulator_account"
_SCOPES: Final = ("openid", "email", "profile")
_PROMPTS: Final = frozenset({"none", "consent", "select_account"})
_CODE_LIFETIME: Final = timedelta(minutes=10)
_TOKEN_LIFETIME: Final = timedelta(hours=1)
_PAGE_HEADERS: Final = {
    # No form-action: Chromium applies it to every redirect after the form, up to the last site of the story.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Account:
    """A test person; ``key`` names the button (`#account-<key>`), ``sub`` is what tokens carry."""

    key: str
    sub: str
    given_name: str
    family_name: str
    kind: str
    colour: str
    email: str | None = None
    email_verified: bool = True
    hd: str | None = None
    locale: str = "sv"

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.given_name} {self.family_name}"


#: The people of the chooser: every kind of address Google hands out.
ACCOUNTS: Final = (
    Account(
        key="maja",
        sub="108204268033311374519",
        given_name="Maja",
        family_name="Lindqvist",
        kind="Gmail",
        colour="#0b57d0",
        email="maja.lindqvist.demo@gmail.com",
    ),
    Account(
        key="erik",
        sub="112233445566778899001",
        given_name="Erik",
        family_name="Sandell",
        kind="Workspace",
        colour="#146c2e",
        email="erik.sandell@sandellsakeri.example",
        hd="sandellsakeri.example",
    ),
    Account(
        key="aino",
        sub="100998877665544332211",
        given_name="Aino",
        family_name="Korhonen",
        kind="other provider's address",
        colour="#8c1d18",
        email="aino.korhonen@posti.example",
        locale="fi",
    ),
    Account(
        key="piotr",
        sub="115500449933882277661",
        given_name="Piotr",
        family_name="Zieliński",
        kind="address not verified",
        colour="#5e35b1",
        email="piotr.zielinski@poczta.example",
        email_verified=False,
        locale="pl",
    ),
    Account(
        key="noor",
        sub="119876543210123456789",
        given_name="Noor",
        family_name="Haddad",
        kind="no address",
        colour="#7a4f01",
    ),
)


class Fault(StrEnum):
    """A lie or a failure that can be switched on."""

    WRONG_NONCE = "wrong_nonce"
    MISSING_NONCE = "missing_nonce"
    WRONG_AUDIENCE = "wrong_audience"
    WRONG_AZP = "wrong_azp"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AT_HASH = "wrong_at_hash"
    EXPIRED = "expired"
    FROM_THE_FUTURE = "from_the_future"
    ALG_NONE = "alg_none"
    ALG_HS256 = "alg_hs256"
    UNKNOWN_KEY = "unknown_key"
    BROKEN_SIGNATURE = "broken_signature"
    NO_ID_TOKEN = "no_id_token"
    WRONG_RESPONSE_ISSUER = "wrong_response_issuer"
    WRONG_STATE = "wrong_state"
    USERINFO_OTHER_SUBJECT = "userinfo_other_subject"
    AUTHORIZE_ERROR = "authorize_error"
    AUTHORIZE_REFUSED = "authorize_refused"
    TOKEN_SLOW = "token_slow"
    TOKEN_ERROR = "token_error"
    USERINFO_ERROR = "userinfo_error"
    KEYS_ERROR = "keys_error"
    DISCOVERY_ERROR = "discovery_error"


_FAULT_TEXTS: Final[Mapping[Fault, str]] = {
    Fault.WRONG_NONCE: "ID token with another nonce",
    Fault.MISSING_NONCE: "ID token without nonce",
    Fault.WRONG_AUDIENCE: "ID token for another client",
    Fault.WRONG_AZP: "ID token authorised for another client",
    Fault.WRONG_ISSUER: "ID token of another issuer",
    Fault.WRONG_AT_HASH: "ID token bound to another access token",
    Fault.EXPIRED: "ID token that ended an hour ago",
    Fault.FROM_THE_FUTURE: "ID token issued in an hour",
    Fault.ALG_NONE: "unsigned ID token",
    Fault.ALG_HS256: "ID token signed with the public key as a shared secret",
    Fault.UNKNOWN_KEY: "ID token signed with a key that is not published",
    Fault.BROKEN_SIGNATURE: "ID token with a damaged signature",
    Fault.NO_ID_TOKEN: "token answer without ID token",
    Fault.WRONG_RESPONSE_ISSUER: "callback with the iss of another provider",
    Fault.WRONG_STATE: "callback with another state",
    Fault.USERINFO_OTHER_SUBJECT: "userinfo of another person",
    Fault.AUTHORIZE_ERROR: "callback with server_error",
    Fault.AUTHORIZE_REFUSED: "callback with interaction_required",
    Fault.TOKEN_SLOW: "token answer that takes twenty seconds",
    Fault.TOKEN_ERROR: "token endpoint answers 503",
    Fault.USERINFO_ERROR: "userinfo answers 503",
    Fault.KEYS_ERROR: "key set answers 503",
    Fault.DISCOVERY_ERROR: "discovery answers 503",
}


_RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"

#: The events of Cross-Account Protection by the words of its documentation, as type URI and members beside the subject.
EVENTS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "sessions-revoked": (f"{_RISC}sessions-revoked", {}),
    "tokens-revoked": ("https://schemas.openid.net/secevent/oauth/event-type/tokens-revoked", {}),
    "account-disabled (hijacking)": (f"{_RISC}account-disabled", {"reason": "hijacking"}),
    "account-disabled (bulk-account)": (f"{_RISC}account-disabled", {"reason": "bulk-account"}),
    "account-enabled": (f"{_RISC}account-enabled", {}),
    "account-credential-change-required": (f"{_RISC}account-credential-change-required", {}),
    "account-purged": (f"{_RISC}account-purged", {}),
    "identifier-changed": (f"{_RISC}identifier-changed", {}),
    "identifier-recycled": (f"{_RISC}identifier-recycled", {}),
    "verification": (f"{_RISC}verification", {"state": "simulator"}),
}


class IssuerMode(StrEnum):
    """How ID tokens spell the issuer: as a URL, or as Google once did without its scheme."""

    URL = "url"
    BARE_HOST = "bare_host"


@dataclass(frozen=True, slots=True)
class GoogleClient:
    """A registered web client; ``redirect_uris`` are compared exactly, ``events_url`` hears of security events."""

    name: str
    secret: str
    redirect_uris: frozenset[str]
    events_url: str | None = None


@dataclass(frozen=True, slots=True)
class _Authorization:
    """A checked authorization request, and later the code that answers it."""

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str
    nonce: str | None
    challenge: str | None
    prompts: frozenset[str]
    login_hint: str
    expires_at: datetime
    account: Account | None = None


class _Refused(Exception):
    """A request answered with an error; ``page``: the browser must stay here (RFC 6749 section 4.1.2.1)."""

    def __init__(self, error: str, detail: str, *, status: int = 400, page: bool = False) -> None:
        super().__init__(error)
        self.error, self.detail, self.status, self.page = error, detail, status, page


@dataclass
class GoogleSimulator:
    """
    State and rules of the simulated provider; the routes below are thin.

    ``clock``: aware UTC now. ``keys``: newest first, the first signs. ``calls``: how often each endpoint was
    asked. ``told``: how the last event was answered.
    ``slow_s``: how long `Fault.TOKEN_SLOW` holds an answer back, unless it is switched off sooner.
    """

    issuer: str
    clients: Mapping[str, GoogleClient]
    clock: Callable[[], datetime]
    keys: list[RSAKey]
    accounts: Mapping[str, Account]
    slow_s: float = 20.0
    faults: frozenset[Fault] = frozenset()
    issuer_mode: IssuerMode = IssuerMode.URL
    calls: Counter[str] = field(default_factory=Counter)
    told: Sequence[str] = ()
    _pending: dict[str, _Authorization] = field(default_factory=dict)
    _codes: dict[str, _Authorization] = field(default_factory=dict)
    _access_tokens: dict[str, _Authorization] = field(default_factory=dict)
    _granted: set[tuple[str, str, str]] = field(default_factory=set)
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def switch(self, faults: Iterable[Fault], issuer_mode: IssuerMode | None = None) -> None:
        """Lie and fail as *faults* say from now on; answers held back by an earlier fault are let go."""
        self.faults = frozenset(faults)
        self.issuer_mode = issuer_mode or self.issuer_mode
        self._hurry.set()
        self._hurry = asyncio.Event()

    def rotate(self) -> None:
        """Sign with a new key; the one before stays published, the one before that goes."""
        self.keys = [_new_key(), self.keys[0]]

    def discovery(self) -> dict[str, Any]:
        """The provider metadata (OpenID Connect Discovery section 3), with the members Google publishes."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/o/oauth2/v2/auth",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/v1/userinfo",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "jwks_uri": f"{self.issuer}/oauth2/v3/certs",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": list(_SCOPES),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "claims_supported": [
                "aud", "email", "email_verified", "exp", "family_name", "given_name",
                "iat", "iss", "locale", "name", "picture", "sub",
            ],
            "code_challenge_methods_supported": ["plain", "S256"],
        }  # fmt: skip

    def risc_configuration(self) -> dict[str, Any]:
        """Who sends security events (OpenID RISC Profile 1.0 section 4.1); Google's name there ends with a slash."""
        push = "https://schemas.openid.net/secevent/risc/delivery-method/push"
        return {
            "issuer": f"{self.issuer}/",
            "jwks_uri": f"{self.issuer}/oauth2/v3/certs",
            "delivery_methods_supported": [push],
        }

    def event_token(
        self, client_id: str, account: Account, event: str, *, key: RSAKey | None = None, **changed: Any
    ) -> str:
        """
        The security event token for one of `EVENTS`, without ``exp``.

        Args:
            key: in place of the newest; changed: claims in place of the true ones, None for none.
        """
        kind, members = EVENTS[event]
        subject = {"subject_type": "iss-sub", "iss": f"{self.issuer}/", "sub": account.sub}
        claims = {
            "iss": f"{self.issuer}/",
            "aud": client_id,
            "iat": int(self.clock().timestamp()),
            "jti": secrets.token_urlsafe(16),
            "events": {kind: members if event == "verification" else {"subject": subject, **members}},
            **changed,
        }
        signer = key or self.keys[0]
        told = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "kid": signer.kid, "typ": "secevent+jwt"}
        return jwt.encode(header, told, signer, algorithms=["RS256"])

    async def tell(self, client_id: str, account: Account, event: str) -> str:
        """
        Push an event to the client's server (RFC 8935 section 2).

        Returns: in words, what it answered, and whether that is as it must be.
        """
        url = self.clients[client_id].events_url
        if url is None:
            return "This client has no address for events."
        token = self.event_token(client_id, account, event)
        headers = {"Content-Type": "application/secevent+jwt", "Accept": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=token.encode(), headers=headers) as answer,
        ):
            return _judged(answer.status, answer.content_type, await answer.read())

    def key_set(self) -> dict[str, Any]:
        """The published keys, without private parts."""
        return {"keys": [key.as_dict(private=False, use="sig", alg="RS256") for key in self.keys]}

    def read_authorization(self, query: Mapping[str, str]) -> _Authorization:
        """
        Check an authorization request.

        Raises:
            _Refused: with ``page`` for what Google shows itself (unknown client, redirect URI).
        """
        client = self.clients.get(query.get("client_id", ""))
        if client is None:
            raise _Refused("invalid_client", "The OAuth client was not found.", status=401, page=True)
        if query.get("redirect_uri") not in client.redirect_uris:
            raise _Refused("redirect_uri_mismatch", "The redirect URI is not registered exactly so.", page=True)
        if query.get("response_type") != "code":
            raise _Refused("unsupported_response_type", "only code is simulated")
        scopes = tuple(query.get("scope", "").split())
        if "openid" not in scopes or not set(scopes) <= set(_SCOPES):
            raise _Refused("invalid_scope", "scope must hold openid, and of email and profile what is wanted")
        prompts = frozenset(query.get("prompt", "").split())
        if not prompts <= _PROMPTS or ("none" in prompts and len(prompts) > 1):
            raise _Refused("invalid_request", "prompt may be none, consent, select_account")
        challenge = query.get("code_challenge")
        if challenge is not None and query.get("code_challenge_method") != "S256":
            raise _Refused("invalid_request", "only S256 is simulated")
        return _Authorization(
            client_id=query["client_id"],
            redirect_uri=query["redirect_uri"],
            scopes=scopes,
            state=query.get("state", ""),
            nonce=query.get("nonce"),
            challenge=challenge,
            prompts=prompts,
            login_hint=query.get("login_hint", ""),
            expires_at=self.clock() + _CODE_LIFETIME,
        )

    def silently(self, asked: _Authorization, signed_in: Account | None) -> _Authorization:
        """
        Answer ``prompt=none`` for the account this browser used last.

        Raises:
            _Refused: ``login_required`` or ``consent_required`` (OpenID Connect Core section 3.1.2.6).
        """
        if signed_in is None or (asked.login_hint and signed_in is not self.hinted(asked)):
            raise _Refused("login_required", "no such account is signed in here")
        if not self.is_granted(asked, signed_in):
            raise _Refused("consent_required", "this account has not allowed it yet")
        return replace(asked, account=signed_in)

    def hinted(self, asked: _Authorization) -> Account | None:
        """The account a ``login_hint`` names by address or `sub`."""
        hint = asked.login_hint
        return next((a for a in self.accounts.values() if hint and hint in {a.email, a.sub}), None)

    def is_granted(self, asked: _Authorization, account: Account) -> bool:
        """Whether *account* let this client see every asked scope before."""
        return all((asked.client_id, account.key, scope) in self._granted for scope in asked.scopes)

    def hold(self, asked: _Authorization) -> str:
        """Keep a request while the person chooses; returns the name of its form."""
        return remember(self._pending, asked, prefix="")

    def held(self, request_id: str) -> _Authorization:
        """
        The request behind a form, once.

        Raises:
            _Refused: unknown, used or too old.
        """
        asked = self._pending.pop(request_id, None)
        if asked is None or asked.expires_at <= self.clock():
            raise _Refused("expired_form", "This page was used already or is too old.", page=True)
        return asked

    def callback(self, asked: _Authorization) -> str:
        """Where the browser goes with the code for ``asked.account``, with Google's extra parameters."""
        account = asked.account
        if account is None:
            raise ValueError("no account was chosen")
        if Fault.AUTHORIZE_ERROR in self.faults:
            return self.error_callback(asked, "server_error")
        if Fault.AUTHORIZE_REFUSED in self.faults:
            return self.error_callback(asked, "interaction_required")
        self._granted |= {(asked.client_id, account.key, scope) for scope in asked.scopes}
        code = remember(self._codes, replace(asked, expires_at=self.clock() + _CODE_LIFETIME), prefix="4/0A")
        extra = {"hd": account.hd} if account.hd else {}
        return self._back(asked, {"code": code, "scope": " ".join(asked.scopes), "authuser": "0", **extra})

    def error_callback(self, asked: _Authorization, error: str) -> str:
        """Where the browser goes with a refusal."""
        return self._back(asked, {"error": error})

    def _back(self, asked: _Authorization, answer: Mapping[str, str]) -> str:
        other_issuer = Fault.WRONG_RESPONSE_ISSUER in self.faults
        other_state = Fault.WRONG_STATE in self.faults
        query = {
            "state": secrets.token_urlsafe(32) if other_state else asked.state,
            "iss": "https://accounts.other.example" if other_issuer else self.issuer,
            **answer,
        }
        return f"{asked.redirect_uri}{'&' if urlsplit(asked.redirect_uri).query else '?'}{urlencode(query)}"

    def redeem(self, client_id: str, form: Mapping[str, str]) -> dict[str, Any]:
        """
        Exchange a code for tokens, once (RFC 6749 section 4.1.3, RFC 7636 section 4.6).

        Raises:
            _Refused: ``invalid_grant`` and the like.
        """
        if form.get("grant_type") != "authorization_code":
            raise _Refused("unsupported_grant_type", "Invalid grant_type")
        granted = self._codes.pop(form.get("code", ""), None)
        if granted is None or granted.expires_at <= self.clock() or granted.client_id != client_id:
            raise _Refused("invalid_grant", "Malformed auth code.")
        if form.get("redirect_uri") != granted.redirect_uri:
            raise _Refused("redirect_uri_mismatch", "Bad Request")
        _check_verifier(granted.challenge, form.get("code_verifier"))
        access_token = remember(
            self._access_tokens, replace(granted, expires_at=self.clock() + _TOKEN_LIFETIME), prefix="ya29."
        )
        answer = {
            "access_token": access_token,
            "expires_in": int(_TOKEN_LIFETIME.total_seconds()) - 1,
            "scope": " ".join(granted.scopes),
            "token_type": "Bearer",
        }
        if Fault.NO_ID_TOKEN not in self.faults:
            answer["id_token"] = self._sign(self._id_token_claims(granted, access_token))
        return answer

    def userinfo(self, access_token: str) -> dict[str, Any]:
        """
        The claims of the person behind *access_token*.

        Raises:
            _Refused: unknown or ended token.
        """
        granted = self._access_tokens.get(access_token)
        if granted is None or granted.account is None or granted.expires_at <= self.clock():
            raise _Refused("invalid_token", "Invalid Credentials", status=401)
        claims = _person(granted.account, granted.scopes, self.issuer)
        if Fault.USERINFO_OTHER_SUBJECT in self.faults:
            claims["sub"] = "100000000000000000000"
        return claims

    async def maybe_wait(self) -> None:
        """Hold an answer back while `Fault.TOKEN_SLOW` is on, at most ``slow_s``."""
        if Fault.TOKEN_SLOW in self.faults:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self.slow_s)

    def _id_token_claims(self, granted: _Authorization, access_token: str) -> dict[str, Any]:
        if granted.account is None:
            raise ValueError("a code always has an account")
        now = int(self.clock().timestamp())
        claims = {
            "iss": self.issuer if self.issuer_mode is IssuerMode.URL else urlsplit(self.issuer).netloc,
            "azp": granted.client_id,
            "aud": granted.client_id,
            **_person(granted.account, granted.scopes, self.issuer),
            "at_hash": half_hash(access_token),
            "nonce": granted.nonce,
            "iat": now,
            "exp": now + int(_TOKEN_LIFETIME.total_seconds()),
        }
        lies = {**lies_in_tokens(now), Fault.WRONG_AZP: {"azp": "another-client"}}
        return overlaid(claims, lies_of(self.faults, lies))

    def _sign(self, claims: dict[str, Any]) -> str:
        key = self.keys[0]
        if Fault.ALG_NONE in self.faults:
            return unsigned(claims)
        if Fault.ALG_HS256 in self.faults:
            return signed_by_public_key(claims, key)
        signer = _new_key() if Fault.UNKNOWN_KEY in self.faults else key
        token = jwt.encode({"alg": "RS256", "kid": signer.kid}, claims, signer, algorithms=["RS256"])
        return broken(token) if Fault.BROKEN_SIGNATURE in self.faults else token


def create_app(
    *,
    issuer: str,
    clients: Mapping[str, GoogleClient],
    clock: Callable[[], datetime],
    accounts: Sequence[Account] = ACCOUNTS,
    keys: Sequence[RSAKey] | None = None,
    slow_s: float = 20.0,
) -> Starlette:
    """
    Build the simulated provider.

    Args:
        issuer: its own origin without a slash at the end, e.g. ``http://127.0.0.1:8703``.
        clients: registered clients by client id.
        clock: aware UTC now.
        keys: RSA keys with a ``kid``, newest first; two new ones when None (about 0.2 s of CPU).
    Returns: the app; ``app.state.simulator`` is the `GoogleSimulator`, its switches are also at `/simulator`.
    """
    simulator = GoogleSimulator(
        issuer=issuer.rstrip("/"),
        clients=clients,
        clock=clock,
        keys=list(keys) if keys is not None else [_new_key(), _new_key()],
        accounts={account.key: account for account in accounts},
        slow_s=slow_s,
    )
    app = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", _discovery),
            Route("/.well-known/risc-configuration", _risc_configuration),
            Route("/oauth2/v3/certs", _key_set),
            Route("/o/oauth2/v2/auth", _authorize, methods=["GET", "POST"]),
            Route("/signin/choose", _choose, methods=["POST"]),
            Route("/signin/consent", _consent, methods=["POST"]),
            Route("/token", _token, methods=["POST"]),
            Route("/v1/userinfo", _userinfo, methods=["GET", "POST"]),
            Route("/revoke", _revoke, methods=["POST"]),
            Route("/avatar/{key}.svg", _avatar),
            Route("/google.css", _stylesheet),
            Route("/simulator", _switches),
            Route("/simulator/faults", _set_faults, methods=["POST"]),
            Route("/simulator/rotate", _rotate, methods=["POST"]),
            Route("/simulator/event", _tell, methods=["POST"]),
            Route("/", _front_door),
        ],
        exception_handlers={_Refused: _on_refused},
    )
    app.state.simulator = simulator
    return app


async def _discovery(request: Request) -> Response:
    simulator = _simulator(request, "discovery")
    if Fault.DISCOVERY_ERROR in simulator.faults:
        return _unavailable()
    return JSONResponse(simulator.discovery(), headers={"Cache-Control": "public, max-age=3600"})


async def _risc_configuration(request: Request) -> Response:
    simulator = _simulator(request, "risc")
    if Fault.DISCOVERY_ERROR in simulator.faults:
        return _unavailable()
    return JSONResponse(simulator.risc_configuration(), headers={"Cache-Control": "public, max-age=3600"})


async def _key_set(request: Request) -> Response:
    simulator = _simulator(request, "keys")
    if Fault.KEYS_ERROR in simulator.faults:
        return _unavailable()
    return JSONResponse(simulator.key_set(), headers={"Cache-Control": "public, max-age=19800, must-revalidate"})


async def _authorize(request: Request) -> Response:
    simulator = _simulator(request, "authorize")
    query = request.query_params if request.method == "GET" else await _form(request)
    try:
        asked = simulator.read_authorization(query)
        if "none" in asked.prompts:
            return _go(simulator.callback(simulator.silently(asked, _signed_in(request))))
    except _Refused as refused:
        if refused.page:
            raise
        return _go(simulator.error_callback(_addressee(query), refused.error))
    hinted = simulator.hinted(asked)
    people = sorted(simulator.accounts.values(), key=lambda account: account is not hinted)
    return _page(simulator, "choose.html", asked, accounts=people, hinted=hinted.key if hinted else "")


async def _choose(request: Request) -> Response:
    simulator = _simulator(request, "choose")
    form = await _form(request)
    asked = simulator.held(form.get("request", ""))
    account = simulator.accounts.get(form.get("account", ""))
    if "deny" in form or account is None:
        return _go(simulator.error_callback(asked, "access_denied"))
    asked = replace(asked, account=account)
    if "consent" in asked.prompts:
        return _page(simulator, "consent.html", asked, account=account)
    return _signed(_go(simulator.callback(asked)), account)


async def _consent(request: Request) -> Response:
    simulator = _simulator(request, "consent")
    form = await _form(request)
    asked = simulator.held(form.get("request", ""))
    if "allow" not in form or asked.account is None:
        return _go(simulator.error_callback(asked, "access_denied"))
    return _signed(_go(simulator.callback(asked)), asked.account)


async def _token(request: Request) -> Response:
    simulator = _simulator(request, "token")
    await simulator.maybe_wait()
    if Fault.TOKEN_ERROR in simulator.faults:
        return _unavailable()
    form = await _form(request)
    client_id = _authenticated_client(simulator, request, form)
    return JSONResponse(simulator.redeem(client_id, form), headers={"Cache-Control": "no-store"})


async def _userinfo(request: Request) -> Response:
    simulator = _simulator(request, "userinfo")
    if Fault.USERINFO_ERROR in simulator.faults:
        return _unavailable()
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise _Refused("invalid_request", "Invalid Credentials", status=401)
    return JSONResponse(simulator.userinfo(token), headers={"Cache-Control": "no-store"})


async def _revoke(request: Request) -> Response:
    simulator = _simulator(request, "revoke")
    token = (await _form(request)).get("token", "")
    if simulator._access_tokens.pop(token, None) is None:
        raise _Refused("invalid_token", "Token expired or revoked")
    return JSONResponse({})


async def _avatar(request: Request) -> Response:
    account = _simulator(request, "avatar").accounts.get(request.path_params["key"])
    if account is None:
        return Response(status_code=404)
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 36 36">'
        f'<circle cx="18" cy="18" r="18" fill="{escape(account.colour)}"/>'
        '<text x="18" y="24" text-anchor="middle" font-family="sans-serif" font-size="17" fill="#fff">'
        f"{escape(account.given_name[:1])}</text></svg>"
    )
    return Response(svg, media_type="image/svg+xml", headers={"Cache-Control": "public, max-age=3600"})


async def _stylesheet(request: Request) -> Response:
    return FileResponse(_FOLDER / "google.css", media_type="text/css")


async def _switches(request: Request) -> Response:
    simulator = _simulator(request, "switches")
    return _html(
        "switches.html",
        faults=[(fault.value, text) for fault, text in _FAULT_TEXTS.items()],
        active={fault.value for fault in simulator.faults},
        issuer_modes=[mode.value for mode in IssuerMode],
        issuer_mode=simulator.issuer_mode.value,
        kids=[key.kid for key in simulator.keys],
        accounts=list(simulator.accounts.values()),
        events=list(EVENTS),
        told=simulator.told,
    )


async def _set_faults(request: Request) -> Response:
    async with request.form() as form:
        named = [str(value) for value in form.getlist("fault")]
        mode = str(form.get("issuer_mode", ""))
    try:
        faults = [Fault(name) for name in named]
        issuer_mode = IssuerMode(mode) if mode else None
    except ValueError as error:
        raise _Refused("unknown_switch", str(error), page=True) from error
    _simulator(request, "switches").switch(faults, issuer_mode)
    return _go("/simulator")


async def _rotate(request: Request) -> Response:
    _simulator(request, "switches").rotate()
    return _go("/simulator")


async def _tell(request: Request) -> Response:
    simulator, form = _simulator(request, "switches"), await _form(request)
    account, event = simulator.accounts.get(form.get("account", "")), form.get("event", "")
    if account is None or event not in EVENTS:
        raise _Refused("unknown_event", "no such account or event", page=True)
    simulator.told = [await simulator.tell(client_id, account, event) for client_id in simulator.clients]
    return _go("/simulator")


async def _front_door(request: Request) -> Response:
    return _go("/simulator")


async def _on_refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, _Refused):
        raise error
    if error.page:
        return _html("problem.html", error.status, error=error.error, detail=error.detail, status=error.status)
    body = {"error": error.error, "error_description": error.detail}
    return JSONResponse(body, error.status, headers={"Cache-Control": "no-store"})


def _simulator(request: Request, endpoint: str) -> GoogleSimulator:
    simulator: GoogleSimulator = request.app.state.simulator
    simulator.calls[endpoint] += 1
    return simulator


def _judged(status: int, media_type: str, body: bytes) -> str:
    """What RFC 8935 sections 2.2 to 2.4 say of an answer."""
    if status == 202:
        return "202, as it must be" if not body else "202, but with a body: not as it must be"
    if status != 400:
        return f"{status}: tried again later"
    try:
        error = json.loads(body)
    except ValueError:
        error = None
    is_well = media_type == "application/json" and isinstance(error, dict) and {"err", "description"} <= set(error)
    return f"400 {error['err']}" if is_well else "400 without err and description: not as it must be"


def _signed_in(request: Request) -> Account | None:
    simulator: GoogleSimulator = request.app.state.simulator
    return simulator.accounts.get(request.cookies.get(_COOKIE, ""))


def _signed(response: Response, account: Account) -> Response:
    """Remember in the browser which account was used last."""
    response.set_cookie(_COOKIE, account.key, httponly=True, samesite="lax", max_age=3600)
    return response


def _authenticated_client(simulator: GoogleSimulator, request: Request, form: Mapping[str, str]) -> str:
    """The client id proven by Basic or by the form (RFC 6749 section 2.3.1), never by both."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        if "client_secret" in form:
            raise _Refused("invalid_request", "one way of client authentication at a time")
        client_id, _, secret = map(unquote_plus, _basic(credentials).partition(":"))
    else:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    client = simulator.clients.get(client_id)
    if client is None or not hmac.compare_digest(client.secret.encode(), secret.encode()):
        raise _Refused("invalid_client", "Unauthorized", status=401)
    return client_id


def _basic(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode()
    except ValueError as error:
        raise _Refused("invalid_client", "Unauthorized", status=401) from error


def _addressee(query: Mapping[str, str]) -> _Authorization:
    """As much of a refused request as its error answer needs; client and redirect URI were proven before."""
    return _Authorization(
        client_id=query["client_id"],
        redirect_uri=query["redirect_uri"],
        scopes=(),
        state=query.get("state", ""),
        nonce=None,
        challenge=None,
        prompts=frozenset(),
        login_hint="",
        expires_at=datetime.max.replace(tzinfo=UTC),
    )


def _check_verifier(challenge: str | None, verifier: str | None) -> None:
    if challenge is None:
        if verifier is not None:
            raise _Refused("invalid_grant", "code_verifier is not needed.")
        return
    if verifier is None:
        raise _Refused("invalid_grant", "Missing code verifier.")
    if not hmac.compare_digest(s256(verifier), challenge):
        raise _Refused("invalid_grant", "Invalid code verifier.")


def _person(account: Account, scopes: Iterable[str], issuer: str) -> dict[str, Any]:
    """The claims about *account* that *scopes* open."""
    claims: dict[str, Any] = {"sub": account.sub}
    if account.hd:
        claims["hd"] = account.hd
    if "email" in scopes and account.email:
        claims |= {"email": account.email, "email_verified": account.email_verified}
    if "profile" in scopes:
        claims |= {
            "name": account.name,
            "given_name": account.given_name,
            "family_name": account.family_name,
            "picture": f"{issuer}/avatar/{account.key}.svg",
            "locale": account.locale,
        }
    return claims


def _new_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": secrets.token_hex(20)})


def _shared(scopes: Iterable[str]) -> str:
    """What the person lets the client see, in words."""
    words = {"profile": "your name, profile picture and language", "email": "your e-mail address"}
    seen = [words[scope] for scope in ("profile", "email") if scope in scopes]
    return " and ".join(seen) or "a number that stands for you"


def _page(simulator: GoogleSimulator, template: str, asked: _Authorization, **values: object) -> Response:
    """A page of the sign-in, with its request held under a one-time name."""
    return _html(
        template,
        request_id=simulator.hold(asked),
        client_name=simulator.clients[asked.client_id].name,
        shared=_shared(asked.scopes),
        **values,
    )


_TEMPLATES: Final = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)


def _html(template: str, status_code: int = 200, /, **values: object) -> Response:
    return HTMLResponse(_TEMPLATES.get_template(template).render(values), status_code, headers=_PAGE_HEADERS)


def _go(url: str) -> Response:
    return RedirectResponse(url, 303, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def _unavailable() -> Response:
    return JSONResponse({"error": "backend_error"}, 503)


async def _form(request: Request) -> dict[str, str]:
    """The form's members as text, each once."""
    async with request.form() as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}
