"""
A provider that behaves like Sign in with Apple on the web, for tests; the demo does not start it.

What it copies: discovery, three published RS256 keys that rotate, exact redirect URIs, `form_post` as the only way out once a
scope is asked for, a page that posts the answer across sites, the name only until consent was given once, relay addresses,
flags as text or boolean, one-time codes of five minutes, `client_secret_post` with an ES256 assertion of the team, and
revocation that lets the name be told again. What it leaves out: Apple wants redirect URIs with https and a real domain. What it
adds: switches that make it lie.
"""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
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
    unsigned,
)

_FOLDER: Final = Path(__file__).with_suffix("")
_SCOPES: Final = frozenset({"openid", "name", "email"})
_CODE_LIFETIME: Final = timedelta(minutes=5)
_TOKEN_LIFETIME: Final = timedelta(days=1)
#: Apple's bound for a client secret: six months, in seconds.
LONGEST_SECRET_S: Final = 15_777_000
_RELAY: Final = "privaterelay.appleid.com"


@dataclass(frozen=True, slots=True)
class Account:
    """A test person; ``key`` names the button (`#account-<key>`)."""

    key: str
    first_name: str
    last_name: str
    email: str | None


ACCOUNTS: Final = (
    Account("maja", "Maja", "Lindqvist", "maja.lindqvist@posten.example"),
    Account("aino", "Aino", "Korhonen", "aino.korhonen@posti.example"),
    Account("noor", "Noor", "Haddad", None),
)


class Fault(StrEnum):
    """A lie or a failure that can be switched on."""

    WRONG_NONCE = "wrong_nonce"
    MISSING_NONCE = "missing_nonce"
    WRONG_AUDIENCE = "wrong_audience"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AT_HASH = "wrong_at_hash"
    EXPIRED = "expired"
    FROM_THE_FUTURE = "from_the_future"
    ALG_NONE = "alg_none"
    UNKNOWN_KEY = "unknown_key"
    BROKEN_SIGNATURE = "broken_signature"
    NO_ID_TOKEN = "no_id_token"
    WRONG_STATE = "wrong_state"
    AUTHORIZE_ERROR = "authorize_error"
    AUTHORIZE_REFUSED = "authorize_refused"
    UNREADABLE_USER = "unreadable_user"
    SECRET_REFUSED = "secret_refused"
    TOKEN_SLOW = "token_slow"
    TOKEN_ERROR = "token_error"
    KEYS_ERROR = "keys_error"
    DISCOVERY_ERROR = "discovery_error"


@dataclass(frozen=True, slots=True)
class AppleClient:
    """A Services ID; ``keys``: the team's keys for Sign in with Apple, by their ten-character ids."""

    name: str
    team_id: str
    keys: Mapping[str, ECKey]
    redirect_uris: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Authorization:
    """A checked authorization request, and later the code that answers it."""

    client_id: str
    redirect_uri: str
    scopes: frozenset[str]
    by_form: bool
    state: str
    nonce: str | None
    challenge: str | None
    expires_at: datetime
    account: Account | None = None


class _Refused(Exception):
    """A request answered with an error; ``page``: the browser must stay here, as at Apple."""

    def __init__(self, error: str, detail: str = "", *, page: bool = False) -> None:
        super().__init__(error)
        self.error, self.detail, self.page = error, detail, page


@dataclass
class AppleSimulator:
    """
    State and rules of the simulated provider; the routes below are thin.

    ``clock``: aware UTC now. ``keys``: newest first, the first signs. ``calls``: how often each endpoint was asked.
    ``flags_as_text``: ``email_verified`` and ``is_private_email`` as "true", as Apple sent them for years.
    """

    issuer: str
    clients: Mapping[str, AppleClient]
    clock: Callable[[], datetime]
    keys: list[RSAKey]
    accounts: Mapping[str, Account]
    slow_s: float = 20.0
    faults: frozenset[Fault] = frozenset()
    flags_as_text: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    _pending: dict[str, _Authorization] = field(default_factory=dict)
    _codes: dict[str, _Authorization] = field(default_factory=dict)
    _tokens: dict[str, tuple[str, str]] = field(default_factory=dict)
    _consents: dict[tuple[str, str], bool] = field(default_factory=dict)
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def switch(self, faults: Iterable[Fault] = (), *, flags_as_text: bool = False) -> None:
        """Lie and fail as *faults* say from now on; answers held back by an earlier fault are let go."""
        self.faults, self.flags_as_text = frozenset(faults), flags_as_text
        self._hurry.set()
        self._hurry = asyncio.Event()

    def rotate(self) -> None:
        """Sign with a new key; the oldest goes."""
        self.keys = [new_key(), *self.keys[:-1]]

    def discovery(self) -> dict[str, Any]:
        """The provider metadata (OpenID Connect Discovery section 3), with the members Apple publishes."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/auth/authorize",
            "token_endpoint": f"{self.issuer}/auth/token",
            "revocation_endpoint": f"{self.issuer}/auth/revoke",
            "jwks_uri": f"{self.issuer}/auth/keys",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "email", "name"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "claims_supported": [
                "aud", "email", "email_verified", "exp", "iat", "is_private_email", "iss", "nonce", "nonce_supported",
                "real_user_status", "sub", "transfer_sub",
            ],
        }  # fmt: skip

    def key_set(self) -> dict[str, Any]:
        """The published keys, without private parts."""
        return {"keys": [key.as_dict(private=False, use="sig", alg="RS256") for key in self.keys]}

    def read_authorization(self, query: Mapping[str, str]) -> _Authorization:
        """
        Check an authorization request.

        Raises:
            _Refused: Apple shows every one of these itself.
        """
        client = self.clients.get(query.get("client_id", ""))
        if client is None:
            raise _Refused("invalid_client", "Invalid client.", page=True)
        if query.get("redirect_uri") not in client.redirect_uris:
            raise _Refused("invalid_request", "Invalid web redirect url.", page=True)
        if query.get("response_type") != "code":
            raise _Refused("unsupported_response_type", "only code is simulated", page=True)
        scopes = frozenset(query.get("scope", "").split())
        if not scopes <= _SCOPES:
            raise _Refused("invalid_scope", "Invalid scope.", page=True)
        mode = query.get("response_mode", "query")
        if mode not in {"query", "form_post"} or (scopes and mode != "form_post"):
            detail = "response_mode must be form_post when name or email scope is requested."
            raise _Refused("invalid_request", detail, page=True)
        challenge = query.get("code_challenge")
        if challenge is not None and query.get("code_challenge_method") != "S256":
            raise _Refused("invalid_request", "only S256 is simulated", page=True)
        return _Authorization(
            client_id=query["client_id"],
            redirect_uri=query["redirect_uri"],
            scopes=scopes,
            by_form=mode == "form_post",
            state=query.get("state", ""),
            nonce=query.get("nonce"),
            challenge=challenge,
            expires_at=self.clock() + _CODE_LIFETIME,
        )

    def hold(self, asked: _Authorization) -> str:
        """Keep a request while the person chooses; returns the name of its form."""
        return remember(self._pending, asked)

    def held(self, request_id: str) -> _Authorization:
        """The request behind a form, once. Raises: _Refused: unknown, used or too old."""
        asked = self._pending.pop(request_id, None)
        if asked is None or asked.expires_at <= self.clock():
            raise _Refused("expired_form", "This page was used already or is too old.", page=True)
        return asked

    def knows(self, asked: _Authorization, account: Account) -> bool:
        """Whether *account* gave consent to this client before and did not take it back."""
        return (asked.client_id, account.key) in self._consents

    def answer(self, asked: _Authorization, account: Account, form: Mapping[str, str]) -> dict[str, str]:
        """
        The members of the answer for *account*, ``user`` among them the first time only.

        Args:
            form: what the person chose then: ``email`` = ``hide``, and the name as she edited it.
        """
        if Fault.AUTHORIZE_ERROR in self.faults:
            return self.refusal(asked, "server_error")
        if Fault.AUTHORIZE_REFUSED in self.faults:
            return self.refusal(asked, "account_not_eligible")
        is_first = not self.knows(asked, account)
        if is_first:
            self._consents[asked.client_id, account.key] = form.get("email") == "hide"
        granted = replace(asked, account=account, expires_at=self.clock() + _CODE_LIFETIME)
        members = {"state": self._state(asked), "code": f"c{remember(self._codes, granted)}.0.mqry"}
        if is_first and asked.scopes & {"name", "email"}:
            members["user"] = self._user(asked, account, form)
        return members

    def refusal(self, asked: _Authorization, error: str) -> dict[str, str]:
        """The members of an answer that says no."""
        return {"state": self._state(asked), "error": error}

    def _state(self, asked: _Authorization) -> str:
        return secrets.token_urlsafe(32) if Fault.WRONG_STATE in self.faults else asked.state

    def _user(self, asked: _Authorization, account: Account, form: Mapping[str, str]) -> str:
        """Form member ``user``: unsigned, and as the person edited it."""
        if Fault.UNREADABLE_USER in self.faults:
            return '{"name":'
        user: dict[str, Any] = {}
        if "name" in asked.scopes:
            first, last = form.get("first_name", account.first_name), form.get("last_name", account.last_name)
            user["name"] = {"firstName": first, "lastName": last}
        if "email" in asked.scopes and account.email is not None:
            user["email"] = self._email(asked, account)
        return json.dumps(user)

    def _email(self, asked: _Authorization, account: Account) -> str | None:
        if not self._consents.get((asked.client_id, account.key)):
            return account.email
        return f"{sha256(f'{asked.client_id} {account.key}'.encode()).hexdigest()[:10]}@{_RELAY}"

    def authenticated(self, form: Mapping[str, str]) -> str:
        """
        The client id that the secret in *form* proves.

        Raises: _Refused: ``invalid_client``, which is all that Apple says.
        """
        client_id = form.get("client_id", "")
        client = self.clients.get(client_id)
        if client is None or Fault.SECRET_REFUSED in self.faults:
            raise _Refused("invalid_client")
        header, claims = _read_secret(form.get("client_secret", ""), client)
        now = self.clock().timestamp()
        issued, expires = claims.get("iat"), claims.get("exp")
        if not isinstance(issued, int) or not isinstance(expires, int) or header.get("alg") != "ES256":
            raise _Refused("invalid_client")
        if not issued <= now + 60 or not now < expires <= now + LONGEST_SECRET_S:
            raise _Refused("invalid_client")
        if (claims.get("iss"), claims.get("sub"), claims.get("aud")) != (client.team_id, client_id, self.issuer):
            raise _Refused("invalid_client")
        return client_id

    def redeem(self, client_id: str, form: Mapping[str, str]) -> dict[str, Any]:
        """
        Exchange a code for tokens, once (RFC 6749 section 4.1.3, RFC 7636 section 4.6).

        Raises: _Refused: ``invalid_grant`` and the like.
        """
        if form.get("grant_type") != "authorization_code":
            raise _Refused("unsupported_grant_type")
        name = form.get("code", "").removeprefix("c").removesuffix(".0.mqry")
        granted = self._codes.pop(name, None)
        if granted is None or granted.account is None or granted.expires_at <= self.clock():
            raise _Refused("invalid_grant", "The code has expired or has been revoked.")
        if granted.client_id != client_id or form.get("redirect_uri") != granted.redirect_uri:
            raise _Refused("invalid_grant", "client_id or redirect_uri mismatch.")
        if granted.challenge is not None and s256(form.get("code_verifier", "")) != granted.challenge:
            raise _Refused("invalid_grant", "Invalid code verifier.")
        person = (client_id, granted.account.key)
        access_token, refresh_token = (remember(self._tokens, person) for _ in range(2))
        answer = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": refresh_token,
        }
        if Fault.NO_ID_TOKEN not in self.faults:
            answer["id_token"] = self._sign(self._id_token_claims(granted, granted.account, access_token))
        return answer

    def revoke(self, client_id: str, token: str) -> None:
        """End *token* and forget the consent behind it: the next login is a first one again."""
        person = self._tokens.get(token)
        if person is not None and person[0] == client_id:
            self._consents.pop(person, None)
            self._tokens = {name: whose for name, whose in self._tokens.items() if whose != person}

    async def maybe_wait(self) -> None:
        """Hold an answer back while `Fault.TOKEN_SLOW` is on, at most ``slow_s``."""
        if Fault.TOKEN_SLOW in self.faults:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self.slow_s)

    def _id_token_claims(self, granted: _Authorization, account: Account, access_token: str) -> dict[str, Any]:
        now = int(self.clock().timestamp())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": granted.client_id,
            "exp": now + int(_TOKEN_LIFETIME.total_seconds()),
            "iat": now,
            "sub": _subject(self.clients[granted.client_id].team_id, account),
            "nonce": granted.nonce,
            "nonce_supported": True if granted.nonce else None,
            "at_hash": half_hash(access_token),
            "auth_time": now,
        }
        if "email" in granted.scopes and account.email is not None:
            is_hidden = self._consents.get((granted.client_id, account.key), False)
            yes = "true" if self.flags_as_text else True
            claims |= {"email": self._email(granted, account), "email_verified": yes}
            claims["is_private_email"] = yes if is_hidden else None
        return overlaid(claims, lies_of(self.faults, lies_in_tokens(now)))

    def _sign(self, claims: dict[str, Any]) -> str:
        if Fault.ALG_NONE in self.faults:
            return unsigned(claims)
        signer = new_key() if Fault.UNKNOWN_KEY in self.faults else self.keys[0]
        token = jwt.encode({"alg": "RS256", "kid": signer.kid}, claims, signer, algorithms=["RS256"])
        return broken(token) if Fault.BROKEN_SIGNATURE in self.faults else token


def create_app(
    *,
    issuer: str,
    clients: Mapping[str, AppleClient],
    clock: Callable[[], datetime],
    accounts: Sequence[Account] = ACCOUNTS,
    keys: Sequence[RSAKey] | None = None,
    slow_s: float = 20.0,
) -> Starlette:
    """
    Build the simulated provider.

    Args:
        issuer: its own origin without a slash at the end. It must be another *site* than the broker's, as Apple is, or
            browsers send cookies that they keep back from a form of Apple's.
        clients: registered Services IDs by client id.
        clock: aware UTC now.
        keys: RSA keys with a ``kid``, newest first; three new ones when None (about 0.3 s of CPU).
    Returns: the app; ``app.state.simulator`` is the `AppleSimulator` with its switches.
    """
    app = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", _discovery),
            Route("/auth/keys", _key_set),
            Route("/auth/authorize", _authorize),
            Route("/auth/choose", _choose, methods=["POST"]),
            Route("/auth/token", _token, methods=["POST"]),
            Route("/auth/revoke", _revoke, methods=["POST"]),
            Route("/apple.css", _file),
            Route("/post.js", _file),
        ],
        exception_handlers={_Refused: _on_refused},
    )
    app.state.simulator = AppleSimulator(
        issuer=issuer.rstrip("/"),
        clients=clients,
        clock=clock,
        keys=list(keys) if keys is not None else [new_key() for _ in range(3)],
        accounts={account.key: account for account in accounts},
        slow_s=slow_s,
    )
    return app


def new_key() -> RSAKey:
    """A signing key as Apple publishes them."""
    return RSAKey.generate_key(2048, {"kid": secrets.token_urlsafe(7)})


async def _discovery(request: Request) -> Response:
    simulator = _simulator(request, "discovery")
    return _unavailable() if Fault.DISCOVERY_ERROR in simulator.faults else JSONResponse(simulator.discovery())


async def _key_set(request: Request) -> Response:
    simulator = _simulator(request, "keys")
    return _unavailable() if Fault.KEYS_ERROR in simulator.faults else JSONResponse(simulator.key_set())


async def _authorize(request: Request) -> Response:
    simulator = _simulator(request, "authorize")
    asked = simulator.read_authorization(request.query_params)
    people = [(account, not simulator.knows(asked, account)) for account in simulator.accounts.values()]
    client = simulator.clients[asked.client_id].name
    return _html("choose.html", request_id=simulator.hold(asked), people=people, client_name=client)


async def _choose(request: Request) -> Response:
    simulator = _simulator(request, "choose")
    form = await _form(request)
    asked = simulator.held(form.get("request", ""))
    account = simulator.accounts.get(form.get("account", ""))
    if account is None:
        return _answered(asked, simulator.refusal(asked, "user_cancelled_authorize"))
    return _answered(asked, simulator.answer(asked, account, form))


def _answered(asked: _Authorization, members: Mapping[str, str]) -> Response:
    """Send the browser back: a page that posts *members* from this site, or a redirect."""
    if not asked.by_form:
        joint = "&" if urlsplit(asked.redirect_uri).query else "?"
        return RedirectResponse(f"{asked.redirect_uri}{joint}{urlencode(members)}", 303)
    parts = urlsplit(asked.redirect_uri)
    origin = f"{parts.scheme}://{parts.netloc}"
    return _html("answer.html", form_action=origin, redirect_uri=asked.redirect_uri, members=members)


async def _token(request: Request) -> Response:
    simulator = _simulator(request, "token")
    await simulator.maybe_wait()
    if Fault.TOKEN_ERROR in simulator.faults:
        return _unavailable()
    form = await _form(request)
    if "authorization" in request.headers:
        raise _Refused("invalid_client")
    return JSONResponse(simulator.redeem(simulator.authenticated(form), form), headers={"Cache-Control": "no-store"})


async def _revoke(request: Request) -> Response:
    simulator = _simulator(request, "revoke")
    form = await _form(request)
    simulator.revoke(simulator.authenticated(form), form.get("token", ""))
    return Response(status_code=200)


async def _file(request: Request) -> Response:
    return FileResponse(_FOLDER / request.url.path.removeprefix("/"))


async def _on_refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, _Refused):
        raise error
    if error.page:
        return _html("problem.html", status=400, error=error.error, detail=error.detail)
    body = {"error": error.error} | ({"error_description": error.detail} if error.detail else {})
    return JSONResponse(body, 400, headers={"Cache-Control": "no-store"})


def _simulator(request: Request, endpoint: str) -> AppleSimulator:
    simulator: AppleSimulator = request.app.state.simulator
    simulator.calls[endpoint] += 1
    return simulator


async def _form(request: Request) -> dict[str, str]:
    async with request.form() as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def _read_secret(secret: str, client: AppleClient) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims of a client secret that one of the team's keys signed, found by its ``kid``. Raises: _Refused."""
    try:
        token = jwt.decode(secret, lambda unverified: client.keys[unverified.headers()["kid"]], algorithms=["ES256"])
    except (JoseError, ValueError, KeyError) as error:
        raise _Refused("invalid_client") from error
    return token.header, token.claims


def _subject(team_id: str, account: Account) -> str:
    """Stable for a team and a person, in Apple's form."""
    return f"000417.{sha256(f'{team_id} {account.key}'.encode()).hexdigest()[:32]}.1205"


def _unavailable() -> Response:
    return JSONResponse({"error": "temporarily_unavailable"}, 503)


_TEMPLATES: Final = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)


def _html(template: str, *, status: int = 200, form_action: str = "'self'", **values: object) -> Response:
    """A page that may post to *form_action* only: in Chromium that rule clings to every redirect after its form."""
    policy = f"default-src 'none'; style-src 'self'; script-src 'self'; form-action {form_action}; base-uri 'none'"
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return HTMLResponse(_TEMPLATES.get_template(template).render(**values), status, headers=headers)
