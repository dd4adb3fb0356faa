"""
A provider that behaves like Facebook Login and the part of the Graph API a login needs, for tests.

What it copies: a dialog that asks for permissions one may decline, exact redirect URIs, the ``#_=_`` Facebook appends,
codes that work once, numbers of persons that differ from app to app, Graph errors with their codes, `appsecret_proof`
required for every call with a token, `debug_token`, and the signed request it sends when a person removes an app. What it
adds: switches that make it lie.
"""

import asyncio
import base64
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.demo.providers.forgery import lies_of

_VERSIONS: Final = frozenset({"v21.0", "v22.0", "v23.0", "v24.0", "v25.0", "v26.0"})
_PERMISSIONS: Final = ("public_profile", "email")
_CODE_LIFETIME: Final = timedelta(minutes=10)
_TOKEN_LIFETIME: Final = timedelta(days=60)
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_PAGES: Final = Environment(autoescape=True, undefined=StrictUndefined)
_PAGES.globals["head"] = Markup(
    """<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><style>
:root{color-scheme:light dark;--page:#f0f2f5;--card:#fff;--ink:#1c1e21;--soft:#5b6068;--line:#ccd0d5;--act:#0866ff;--on:#fff}
@media(prefers-color-scheme:dark){:root{
--page:#18191a;--card:#242526;--ink:#e4e6eb;--soft:#b0b3b8;--line:#3e4042;
--act:#7ab3ff;--on:#06224f}}
*{box-sizing:border-box}body{margin:0;min-height:100vh;background:var(--page);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
.notice{margin:0;padding:.6rem 1rem;background:#fff3d6;color:#6b4700;text-align:center;font-size:.92rem}
main{width:min(30rem,100% - 1.5rem);margin:clamp(1.5rem,8vh,4.5rem) auto 2rem;background:var(--card);border-radius:.75rem;
padding:clamp(1.25rem,5vw,2rem);box-shadow:0 2px 4px rgb(0 0 0/.1),0 8px 20px rgb(0 0 0/.08)}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 1.25rem;text-wrap:balance}form{display:grid;gap:.6rem}p{margin:0}
label{display:flex;gap:.8rem;align-items:center;min-height:3rem;padding:.5rem .9rem;
border:1px solid var(--line);border-radius:.5rem;cursor:pointer}
label:has([type=radio]:checked){border-color:var(--act);box-shadow:inset 0 0 0 1px var(--act)}
label.plain{border-color:transparent;color:var(--soft)}
input{width:1.2rem;height:1.2rem;margin:0;accent-color:var(--act);flex:none}
button{font:inherit;font-weight:600;min-height:2.9rem;width:100%;padding:.5rem 1rem;border:0;border-radius:.5rem;cursor:pointer;
background:var(--page);color:var(--ink)}button.main{background:var(--act);color:var(--on)}
:focus-visible{outline:3px solid var(--act);outline-offset:2px}</style>"""
)
_DIALOG: Final = _PAGES.from_string(
    """<!doctype html><html lang="en"><head><title>Log in with the simulated Facebook</title>{{ head }}</head><body>
<p class="notice"><strong>Simulation.</strong> This page imitates Facebook. Nobody here is real.</p><main>
<h1>{{ app }} wants to know your name{% if asks_email %} and e-mail address{% endif %}</h1>
<form method="post" action="/dialog/answer"><input type="hidden" name="request" value="{{ request_id }}">
{% for person in people %}<label><input type="radio" id="person-{{ person.key }}" name="person" value="{{ person.key }}"
{%- if loop.first %} checked{% endif %}> {{ person.name }}</label>
{% endfor %}{% if asks_email %}<label class="plain">
<input type="checkbox" id="decline" name="decline" value="email"> Keep my e-mail address to myself</label>
{% endif %}<button id="continue-as" class="main" name="do" value="continue">Continue</button>
<button id="cancel" name="do" value="cancel">Cancel</button>
</form></main></body></html>
"""
)
_SETTINGS: Final = _PAGES.from_string(
    """<!doctype html><html lang="en"><head><title>Apps and websites</title>{{ head }}</head><body>
<p class="notice"><strong>Simulation.</strong> This page imitates Facebook. Nobody here is real.</p>
<main><h1>Apps and websites</h1>
{% for id, app in apps.items() %}{% for person in people %}<form method="post" action="/settings/remove">
<input type="hidden" name="app" value="{{ id }}"><input type="hidden" name="person" value="{{ person.key }}">
<p><button id="remove-{{ id }}-{{ person.key }}">Remove {{ app.name }} from {{ person.name }}</button></p></form>
{% endfor %}{% endfor %}"""
)
_PROBLEM: Final = _PAGES.from_string("<!doctype html><html lang='en'><title>Error</title><h1>{{ text }}</h1>\n")


@dataclass(frozen=True, slots=True)
class Person:
    """A test person; ``email`` is None for one who has only a phone number there."""

    key: str
    first_name: str
    last_name: str
    email: str | None = None

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.first_name} {self.last_name}"


PEOPLE: Final = (
    Person("maja", "Maja", "Lindqvist", "maja.lindqvist.demo@posti.example"),
    Person("erik", "Erik", "Sandell", "erik.sandell@sandellsakeri.example"),
    Person("noor", "Noor", "Haddad"),
)


class Fault(StrEnum):
    """A lie or a failure that can be switched on."""

    WRONG_STATE = "wrong_state"
    BARE_ERROR_CODE = "bare_error_code"
    REFUSED = "refused"
    TOKEN_SLOW = "token_slow"
    TOKEN_ERROR = "token_error"
    TOKEN_OF_ANOTHER_APP = "token_of_another_app"
    DEBUG_ERROR = "debug_error"
    DEBUG_OTHER_APP = "debug_other_app"
    DEBUG_PAGE = "debug_page"
    DEBUG_INVALID = "debug_invalid"
    DEBUG_EXPIRED = "debug_expired"
    DEBUG_EMPTY = "debug_empty"
    PROFILE_ERROR = "profile_error"
    PROFILE_FALSE = "profile_false"
    PROFILE_OF_ANOTHER = "profile_of_another"
    PROFILE_CLAIMS_MORE = "profile_claims_more"
    EXPIRED = "expired"
    THROTTLED = "throttled"


@dataclass(frozen=True, slots=True)
class MetaApp:
    """A registered app; ``redirect_uris`` are compared exactly, ``deauthorize_url`` hears of removals."""

    name: str
    secret: str
    redirect_uris: frozenset[str]
    deauthorize_url: str | None = None


@dataclass(frozen=True, slots=True)
class _Grant:
    """A checked dialog request, later the code that answers it, later the token it was exchanged for."""

    app_id: str
    redirect_uri: str
    state: str
    permissions: tuple[str, ...]
    expires_at: datetime
    person: Person | None = None


class _PageError(Exception):
    """Shown to the person; the browser stays here."""


class _GraphError(Exception):
    """An error of the Graph API, answered with status 400 as most of them are."""

    def __init__(self, message: str, code: int, subcode: int | None = None, kind: str = "OAuthException") -> None:
        super().__init__(message)
        self.body: dict[str, Any] = {"message": message, "type": kind, "code": code}
        if subcode is not None:
            self.body["error_subcode"] = subcode
        self.body["fbtrace_id"] = "A" + secrets.token_urlsafe(16)


def proof(token: str, secret: str) -> str:
    """The `appsecret_proof` of *token*."""
    return hmac.new(secret.encode(), token.encode(), sha256).hexdigest()


def signed_request(payload: Mapping[str, Any], secret: str) -> str:
    """What Facebook's server sends: signature, dot, payload, both base64url without padding."""
    encoded = _b64url(json.dumps(payload, separators=(",", ":")).encode())
    return f"{_b64url(hmac.new(secret.encode(), encoded.encode(), sha256).digest())}.{encoded}"


@dataclass
class MetaSimulator:
    """
    State and rules of the simulated provider; the routes below are thin.

    ``clock``: aware UTC now. ``calls``: how often each endpoint was asked. ``slow_s``: how long `Fault.TOKEN_SLOW` holds an
    answer back, unless it is switched off sooner.
    """

    apps: Mapping[str, MetaApp]
    clock: Callable[[], datetime]
    people: Mapping[str, Person]
    slow_s: float = 20.0
    faults: frozenset[Fault] = frozenset()
    calls: Counter[str] = field(default_factory=Counter)
    _pending: dict[str, _Grant] = field(default_factory=dict)
    _codes: dict[str, _Grant | None] = field(default_factory=dict)
    _tokens: dict[str, _Grant] = field(default_factory=dict)
    _removed: set[str] = field(default_factory=set)
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def switch(self, *faults: Fault) -> None:
        """Lie and fail as *faults* say from now on; answers held back by an earlier fault are let go."""
        self.faults = frozenset(faults)
        self._hurry.set()
        self._hurry = asyncio.Event()

    def scoped_id(self, app_id: str, person: Person) -> str:
        """The number of *person* in that app, and in no other."""
        return str(10**16 + int(sha256(f"{app_id} {person.key}".encode()).hexdigest()[:12], 16))

    def open(self, query: Mapping[str, str]) -> tuple[str, _Grant]:
        """
        Check a dialog request; returns the name of its form, too.

        Raises: _PageError: nothing is redirected for a request that is not the app's.
        """
        app = self.apps.get(query.get("client_id", ""))
        if app is None:
            raise _PageError("Invalid App ID: The provided app ID does not look like a valid app ID.")
        if query.get("redirect_uri") not in app.redirect_uris:
            raise _PageError("URL Blocked: the redirect URI is not whitelisted in the app's client OAuth settings.")
        if query.get("response_type", "code") != "code":
            raise _PageError("Only response_type=code is simulated.")
        permissions = tuple(query.get("scope", "public_profile").split(","))
        if not set(permissions) <= set(_PERMISSIONS):
            raise _PageError(f"Invalid Scopes: {', '.join(sorted(set(permissions) - set(_PERMISSIONS)))}.")
        asked = _Grant(
            query["client_id"],
            query["redirect_uri"],
            query.get("state", ""),
            permissions,
            self.clock() + _CODE_LIFETIME,
        )
        name = secrets.token_urlsafe(24)
        self._pending[name] = asked
        return name, asked

    def answer(self, form: Mapping[str, str]) -> str:
        """
        Where the browser goes after the dialog.

        Raises: _PageError: the form was used or is too old.
        """
        asked = self._pending.pop(form.get("request", ""), None)
        if asked is None or asked.expires_at <= self.clock():
            raise _PageError("This page was used already or is too old.")
        person = self.people.get(form.get("person", ""))
        if form.get("do") != "continue" or person is None:
            return self._back(asked, self._denial())
        if Fault.REFUSED in self.faults:
            return self._back(asked, {"error_code": "1349187", "error_message": "Feature unavailable"})
        permissions = tuple(each for each in asked.permissions if each != form.get("decline"))
        code = "AQ" + secrets.token_urlsafe(96)
        self._codes[code] = replace(
            asked, person=person, permissions=permissions, expires_at=self.clock() + _CODE_LIFETIME
        )
        return self._back(asked, {"code": code})

    def _denial(self) -> dict[str, str]:
        if Fault.BARE_ERROR_CODE in self.faults:
            return {"error_code": "200", "error_message": "Permissions error"}
        return {
            "error": "access_denied",
            "error_code": "200",
            "error_description": "Permissions error",
            "error_reason": "user_denied",
        }

    def _back(self, asked: _Grant, answer: Mapping[str, str]) -> str:
        state = secrets.token_urlsafe(32) if Fault.WRONG_STATE in self.faults else asked.state
        return f"{asked.redirect_uri}?{urlencode({**answer, 'state': state})}#_=_"

    def redeem(self, form: Mapping[str, str]) -> dict[str, Any]:
        """
        The token answer for a code, which is used up by asking.

        Raises: _GraphError.
        """
        app_id = form.get("client_id", "")
        app = self.apps.get(app_id)
        if app is None:
            raise _GraphError("Error validating application. Cannot get application info due to a system error.", 101)
        if not hmac.compare_digest(form.get("client_secret", "").encode(), app.secret.encode()):
            raise _GraphError("Error validating client secret.", 1)
        code = form.get("code", "")
        if code not in self._codes:
            raise _GraphError("Invalid verification code format.", 100)
        granted, self._codes[code] = self._codes[code], None
        if granted is None:
            raise _GraphError("This authorization code has been used.", 100, 36009)
        if granted.expires_at <= self.clock():
            raise _GraphError("This authorization code has expired.", 100, 36007)
        if granted.app_id != app_id:
            raise _GraphError("Error validating verification code.", 100)
        if form.get("redirect_uri") != granted.redirect_uri:
            raise _GraphError("redirect_uri isn't an absolute URI, or not identical to the one of the dialog.", 191)
        return {
            "access_token": self._token_for(granted),
            "token_type": "bearer",
            "expires_in": int(_TOKEN_LIFETIME.total_seconds()),
        }

    def _token_for(self, granted: _Grant) -> str:
        if Fault.TOKEN_OF_ANOTHER_APP in self.faults:
            granted = replace(granted, app_id=next(name for name in self.apps if name != granted.app_id))
        token = "EAA" + secrets.token_urlsafe(120)
        self._tokens[token] = replace(granted, expires_at=self.clock() + _TOKEN_LIFETIME)
        return token

    def debug(self, input_token: str, bearer: str, given_proof: str | None) -> dict[str, Any]:
        """
        What is known of *input_token*, for the app whose token *bearer* is.

        Raises: _GraphError.
        """
        app_id, _, secret = bearer.partition("|")
        app = self.apps.get(app_id)
        if app is None or not hmac.compare_digest(app.secret.encode(), secret.encode()):
            raise _GraphError("Invalid OAuth access token signature.", 190)
        _check_proof(bearer, app.secret, given_proof)
        granted = self._tokens.get(input_token)
        if granted is None or granted.person is None:
            trouble = {"code": 190, "message": "Malformed access token"}
            return {"data": {"error": trouble, "is_valid": False, "scopes": []}}
        if granted.app_id != app_id and Fault.DEBUG_OTHER_APP not in self.faults:
            raise _GraphError("(#100) The App_id in the input_token did not match the Viewing App", 100)
        now = self.clock()
        data = {
            "app_id": granted.app_id,
            "type": "USER",
            "application": self.apps[granted.app_id].name,
            "data_access_expires_at": int((now + timedelta(days=90)).timestamp()),
            "expires_at": int(granted.expires_at.timestamp()),
            "is_valid": input_token not in self._removed and granted.expires_at > now,
            "issued_at": int(now.timestamp()),
            "scopes": list(granted.permissions),
            "user_id": self.scoped_id(granted.app_id, granted.person),
        }
        return {"data": data | self._lies()}

    def _lies(self) -> dict[str, Any]:
        lies: Mapping[str, dict[str, Any]] = {
            Fault.DEBUG_OTHER_APP: {"app_id": "999999999999999"},
            Fault.DEBUG_PAGE: {"type": "PAGE"},
            Fault.DEBUG_INVALID: {"is_valid": False},
            Fault.DEBUG_EXPIRED: {"expires_at": int(self.clock().timestamp()) - 1},
            Fault.DEBUG_EMPTY: {"user_id": None},
        }
        return lies_of(self.faults, lies)

    def me(self, fields: Sequence[str], token: str, given_proof: str | None) -> dict[str, Any] | bool:
        """
        The asked fields of whom *token* is about; the id always.

        Raises: _GraphError.
        """
        granted = self._tokens.get(token)
        if granted is None or granted.person is None:
            raise _GraphError("Invalid OAuth access token - Cannot parse access token", 190)
        if token in self._removed:
            raise _GraphError("Error validating access token: The user has not authorized application.", 190, 458)
        if granted.expires_at <= self.clock() or Fault.EXPIRED in self.faults:
            raise _GraphError("Error validating access token: Session has expired.", 190, 463)
        _check_proof(token, self.apps[granted.app_id].secret, given_proof)
        if Fault.PROFILE_FALSE in self.faults:
            return False
        return self._person(granted, granted.person, fields)

    def _person(self, granted: _Grant, person: Person, fields: Sequence[str]) -> dict[str, Any]:
        other = next(each for each in self.people.values() if each is not person)
        known: dict[str, Any] = {
            "name": person.name,
            "first_name": person.first_name,
            "last_name": person.last_name,
        }
        if person.email and "email" in granted.permissions:
            known["email"] = person.email
        whose = other if Fault.PROFILE_OF_ANOTHER in self.faults else person
        shown = {name: known[name] for name in fields or ("name",) if name in known}
        more = {"email_verified": True, "acr": "high", "auth_time": 1, "sub": "1", "birthday": "01/01/1980"}
        extra = more if Fault.PROFILE_CLAIMS_MORE in self.faults else {}
        return {**shown, **extra, "id": self.scoped_id(granted.app_id, whose)}

    async def remove(self, app_id: str, person: Person) -> int | None:
        """
        The person removes the app: its tokens die, and the app's server is told.

        Returns: the status it answered; None when it has no address for this.
        """
        app = self.apps[app_id]
        self._removed |= {t for t, g in self._tokens.items() if g.app_id == app_id and g.person is person}
        if app.deauthorize_url is None:
            return None
        form = {"signed_request": self.removal(app_id, person)}
        async with aiohttp.ClientSession() as session, session.post(app.deauthorize_url, data=form) as answer:
            return answer.status

    def removal(self, app_id: str, person: Person) -> str:
        """The signed request that tells of it."""
        payload = {
            "algorithm": "HMAC-SHA256",
            "issued_at": int(self.clock().timestamp()),
            "user_id": self.scoped_id(app_id, person),
        }
        return signed_request(payload, self.apps[app_id].secret)

    async def maybe_wait(self) -> None:
        """Hold the answer back while `Fault.TOKEN_SLOW` is on."""
        if Fault.TOKEN_SLOW in self.faults:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self.slow_s)


def create_app(
    *,
    apps: Mapping[str, MetaApp],
    clock: Callable[[], datetime],
    people: Sequence[Person] = PEOPLE,
    slow_s: float = 20.0,
) -> Starlette:
    """
    Build the simulated provider: dialog and Graph API on one origin.

    Args:
        apps: registered apps by app id.
        clock: aware UTC now.
    Returns: the app; ``app.state.simulator`` is the `MetaSimulator`.
    """
    app = Starlette(
        routes=[
            Route("/{version}/dialog/oauth", _dialog),
            Route("/dialog/answer", _answer, methods=["POST"]),
            Route("/{version}/oauth/access_token", _token, methods=["GET", "POST"]),
            Route("/{version}/debug_token", _debug_token),
            Route("/{version}/me", _me),
            Route("/settings", _settings),
            Route("/settings/remove", _remove, methods=["POST"]),
        ],
        exception_handlers={_PageError: _on_page_error, _GraphError: _on_graph_error},
    )
    app.state.simulator = MetaSimulator(apps, clock, {each.key: each for each in people}, slow_s)
    return app


async def _dialog(request: Request) -> Response:
    simulator = _simulator(request, "dialog")
    if request.path_params["version"] not in _VERSIONS:
        raise _PageError("This version of the dialog is not served.")
    request_id, asked = simulator.open(request.query_params)
    page = _DIALOG.render(
        app=simulator.apps[asked.app_id].name,
        asks_email="email" in asked.permissions,
        people=list(simulator.people.values()),
        request_id=request_id,
    )
    return HTMLResponse(page, headers=_PAGE_HEADERS)


async def _answer(request: Request) -> Response:
    return RedirectResponse(_simulator(request, "answer").answer(await _form(request)), 303, headers=_PAGE_HEADERS)


async def _token(request: Request) -> Response:
    simulator = _graph(request, "token")
    await simulator.maybe_wait()
    if Fault.TOKEN_ERROR in simulator.faults:
        return _unavailable()
    asked = await _form(request) if request.method == "POST" else request.query_params
    return JSONResponse(simulator.redeem(asked))


async def _debug_token(request: Request) -> Response:
    simulator = _graph(request, "debug_token")
    if Fault.DEBUG_ERROR in simulator.faults:
        return _unavailable()
    query = request.query_params
    return JSONResponse(simulator.debug(query.get("input_token", ""), _bearer(request), query.get("appsecret_proof")))


async def _me(request: Request) -> Response:
    simulator = _graph(request, "me")
    if Fault.PROFILE_ERROR in simulator.faults:
        return _unavailable()
    query = request.query_params
    fields = [name for name in query.get("fields", "").split(",") if name]
    return JSONResponse(simulator.me(fields, _bearer(request), query.get("appsecret_proof")))


async def _settings(request: Request) -> Response:
    simulator = _simulator(request, "settings")
    page = _SETTINGS.render(apps=simulator.apps, people=list(simulator.people.values()))
    return HTMLResponse(page, headers=_PAGE_HEADERS)


async def _remove(request: Request) -> Response:
    simulator = _simulator(request, "remove")
    form = await _form(request)
    person = simulator.people.get(form.get("person", ""))
    if person is None or form.get("app", "") not in simulator.apps:
        raise _PageError("No such person or app.")
    return JSONResponse({"told": await simulator.remove(form["app"], person)})


async def _on_page_error(request: Request, error: Exception) -> Response:
    return HTMLResponse(_PROBLEM.render(text=str(error)), 400, headers=_PAGE_HEADERS)


async def _on_graph_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, _GraphError):
        raise error
    return JSONResponse({"error": error.body}, 400, headers={"Cache-Control": "no-store"})


def _simulator(request: Request, endpoint: str) -> MetaSimulator:
    simulator: MetaSimulator = request.app.state.simulator
    simulator.calls[endpoint] += 1
    return simulator


def _graph(request: Request, endpoint: str) -> MetaSimulator:
    """The simulator, for a call of the Graph API that it would look at."""
    simulator = _simulator(request, endpoint)
    if request.path_params["version"] not in _VERSIONS:
        raise _GraphError("Unknown path components", 2500)
    if Fault.THROTTLED in simulator.faults:
        raise _GraphError("(#4) Application request limit reached", 4)
    return simulator


def _bearer(request: Request) -> str:
    """The token a call is made with: in the header or the query, as Graph takes both."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else request.query_params.get("access_token", "")


def _check_proof(token: str, secret: str, given: str | None) -> None:
    if given is None:
        message = "API calls from the server require an appsecret_proof argument"
        raise _GraphError(message, 100, kind="GraphMethodException")
    if not hmac.compare_digest(given.encode(), proof(token, secret).encode()):
        message = "Invalid appsecret_proof provided in the API argument"
        raise _GraphError(message, 100, kind="GraphMethodException")


def _unavailable() -> Response:
    body = {"message": "Service temporarily unavailable", "type": "OAuthException", "code": 2}
    return JSONResponse({"error": body}, 503)


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def _form(request: Request) -> dict[str, str]:
    """The form's members as text, each once."""
    async with request.form() as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}
