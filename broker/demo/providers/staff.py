"""
A company's own provider, where its staff log in (as Entra ID or Keycloak would be), for the demo.

What it copies: discovery, exact redirect URIs, PKCE S256 for everybody, a client secret by Basic, codes that work once, signed
ID tokens with ``auth_time`` and with the groups somebody is in, and a page on which she chooses who she is, or cancels.
What it leaves out: sessions. Every login asks.
"""

import base64
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_plus, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.demo.providers.forgery import half_hash, remember, s256

_FOLDER: Final = Path(__file__).with_suffix("")
_SHEETS: Final = {"look.css": _FOLDER.parent / "national" / "national.css", "staff.css": _FOLDER / "staff.css"}
_CODE_LIFETIME: Final = timedelta(minutes=3)
_TOKEN_LIFETIME: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Colleague:
    """A member of staff; ``key`` names the button (`#account-<key>`), ``groups`` are what tokens say she is in."""

    key: str
    name: str
    work: str
    groups: tuple[str, ...]


COLLEAGUES: Final = (
    Colleague("karin", "Karin Ek", "customer service", ("all-staff", "customer-service")),
    Colleague("johan", "Johan Warg", "warehouse", ("all-staff", "warehouse")),
)


@dataclass(frozen=True, slots=True)
class StaffClient:
    """The registered client; ``redirect_uris`` are compared exactly."""

    client_id: str
    secret: str
    redirect_uris: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Authorization:
    """A checked authorization request, and later the code that answers it."""

    redirect_uri: str
    state: str
    nonce: str
    challenge: str
    expires_at: datetime
    colleague: Colleague | None = None


class _Refused(Exception):
    """A request answered with an error; ``page``: the browser must stay here (RFC 6749 section 4.1.2.1)."""

    def __init__(self, error: str, *, status: int = 400, page: bool = False) -> None:
        super().__init__(error)
        self.error, self.status, self.page = error, status, page


@dataclass
class StaffSimulator:
    """State and rules of the provider; the routes below are thin. ``clock``: aware UTC now."""

    company: str
    issuer: str
    client: StaffClient
    clock: Callable[[], datetime]
    colleagues: Mapping[str, Colleague]
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": secrets.token_urlsafe(7)}))
    _pending: dict[str, _Authorization] = field(default_factory=dict)
    _codes: dict[str, _Authorization] = field(default_factory=dict)

    def discovery(self) -> dict[str, Any]:
        """The provider metadata (OpenID Connect Discovery section 3)."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "scopes_supported": ["openid", "profile"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
        }

    def hold(self, query: Mapping[str, str]) -> str:
        """
        Check an authorization request and keep it while somebody chooses; returns the name of its form.

        Raises: _Refused: nobody is sent anywhere.
        """
        redirect_uri, scopes = query.get("redirect_uri", ""), query.get("scope", "").split()
        if query.get("client_id") != self.client.client_id or redirect_uri not in self.client.redirect_uris:
            raise _Refused("unknown client or redirect_uri", page=True)
        if query.get("response_type") != "code" or "openid" not in scopes or not set(scopes) <= {"openid", "profile"}:
            raise _Refused("invalid_request", page=True)
        if query.get("code_challenge_method") != "S256" or not query.get("code_challenge") or not query.get("nonce"):
            raise _Refused("PKCE with S256 and a nonce are wanted", page=True)
        asked = _Authorization(
            redirect_uri=redirect_uri,
            state=query.get("state", ""),
            nonce=query["nonce"],
            challenge=query["code_challenge"],
            expires_at=self.clock() + _TOKEN_LIFETIME,
        )
        return remember(self._pending, asked)

    def answer(self, form: Mapping[str, str]) -> str:
        """Where the browser goes: with a code for whom she chose, or with ``access_denied``. Raises: _Refused."""
        asked = self._pending.pop(form.get("request", ""), None)
        if asked is None or asked.expires_at <= self.clock():
            raise _Refused("this page was used already or is too old", page=True)
        colleague = self.colleagues.get(form.get("account", ""))
        if colleague is None:
            members = {"error": "access_denied"}
        else:
            granted = replace(asked, colleague=colleague, expires_at=self.clock() + _CODE_LIFETIME)
            members = {"code": remember(self._codes, granted)}
        return f"{asked.redirect_uri}?{urlencode({**members, 'state': asked.state})}"

    def redeem(self, form: Mapping[str, str], authorization: str) -> dict[str, Any]:
        """Exchange a code for tokens, once (RFC 6749 section 4.1.3, RFC 7636 section 4.6). Raises: _Refused."""
        if not hmac.compare_digest(_basic(authorization), f"{self.client.client_id}:{self.client.secret}".encode()):
            raise _Refused("invalid_client", status=401)
        granted = self._codes.pop(form.get("code", ""), None)
        if granted is None or granted.colleague is None or granted.expires_at <= self.clock():
            raise _Refused("invalid_grant")
        if form.get("redirect_uri") != granted.redirect_uri or s256(form.get("code_verifier", "")) != granted.challenge:
            raise _Refused("invalid_grant")
        access_token = secrets.token_urlsafe(32)
        id_token = self._id_token(granted, granted.colleague, access_token)
        return {"access_token": access_token, "token_type": "Bearer", "expires_in": 600, "id_token": id_token}

    def _id_token(self, granted: _Authorization, colleague: Colleague, access_token: str) -> str:
        now = int(self.clock().timestamp())
        claims = {
            "iss": self.issuer,
            "sub": f"staff-{colleague.key}",
            "aud": self.client.client_id,
            "exp": now + int(_TOKEN_LIFETIME.total_seconds()),
            "iat": now,
            "auth_time": now,
            "nonce": granted.nonce,
            "at_hash": half_hash(access_token),
            "name": colleague.name,
            "groups": list(colleague.groups),
        }
        return jwt.encode({"alg": "ES256", "kid": self.key.kid}, claims, self.key, algorithms=["ES256"])


def create_app(
    *,
    company: str,
    issuer: str,
    client: StaffClient,
    clock: Callable[[], datetime],
    colleagues: Sequence[Colleague] = COLLEAGUES,
) -> Starlette:
    """
    Build the provider.

    Args:
        company: whose staff it is, for people. issuer: its own origin without a slash at the end. clock: aware UTC now.
    Returns: the app; ``app.state.simulator`` is the `StaffSimulator`.
    """
    app = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", _discovery),
            Route("/jwks", _key_set),
            Route("/authorize", _authorize),
            Route("/choose", _choose, methods=["POST"]),
            Route("/token", _token, methods=["POST"]),
            *(Route(f"/{name}", _sheet) for name in _SHEETS),
        ],
        exception_handlers={_Refused: _on_refused},
    )
    app.state.simulator = StaffSimulator(company, issuer, client, clock, {each.key: each for each in colleagues})
    return app


async def _discovery(request: Request) -> Response:
    return JSONResponse(_simulator(request).discovery())


async def _key_set(request: Request) -> Response:
    return JSONResponse({"keys": [_simulator(request).key.as_dict(private=False, use="sig", alg="ES256")]})


async def _authorize(request: Request) -> Response:
    simulator = _simulator(request)
    request_id = simulator.hold(request.query_params)
    return _html(simulator, "choose.html", request_id=request_id, colleagues=simulator.colleagues.values())


async def _choose(request: Request) -> Response:
    return RedirectResponse(_simulator(request).answer(await _form(request)), 303)


async def _token(request: Request) -> Response:
    told = _simulator(request).redeem(await _form(request), request.headers.get("authorization", ""))
    return JSONResponse(told, headers={"Cache-Control": "no-store"})


async def _sheet(request: Request) -> Response:
    return FileResponse(_SHEETS[request.url.path.removeprefix("/")], media_type="text/css")


async def _on_refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, _Refused):
        raise error
    if error.page:
        return _html(_simulator(request), "problem.html", status=error.status, error=error.error)
    return JSONResponse({"error": error.error}, error.status, headers={"Cache-Control": "no-store"})


def _simulator(request: Request) -> StaffSimulator:
    simulator: StaffSimulator = request.app.state.simulator
    return simulator


async def _form(request: Request) -> dict[str, str]:
    async with request.form() as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def _basic(authorization: str) -> bytes:
    """``client_id:secret`` of a Basic header (RFC 6749 section 2.3.1); empty for anything else."""
    try:
        given = base64.b64decode(authorization.removeprefix("Basic "), validate=True).decode()
    except ValueError:
        return b""
    name, _, secret = given.partition(":")
    return f"{unquote_plus(name)}:{unquote_plus(secret)}".encode()


_TEMPLATES: Final = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)
_PAGE_HEADERS: Final = {
    # No form-action: Chromium applies it to every redirect after the form.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def _html(simulator: StaffSimulator, template: str, *, status: int = 200, **values: object) -> Response:
    content = _TEMPLATES.get_template(template).render(company=simulator.company, **values)
    return HTMLResponse(content, status, headers=_PAGE_HEADERS)
