"""
A provider that behaves like Google Sign-in, for the demo and the tests.

What it copies: discovery, an account chooser, exact redirect URIs, PKCE S256, `prompt` as Google knows it
(there is no ``prompt=login``), two published RS256 keys that rotate, one-time codes, `hd` on Workspace accounts,
both spellings of the issuer, and an ``iss`` in the authorization response although discovery does not
announce it (https://github.com/openiddict/openiddict-core/issues/2428). What it adds: switches that make it lie.
"""

import asyncio
import base64
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_plus, urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

_FOLDER: Final = Path(__file__).with_suffix("")
_COOKIE: Final = "google_simulator_account"
_SCOPES: Final = ("openid", "email", "profile")
_PROMPTS: Final = frozenset({"none", "consent", "select_account"})
_REMEMBERED: Final = 1000
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
        "maja", "108204268033311374519", "Maja", "Lindqvist", "Gmail", "#0b57d0", "maja.lindqvist.demo@gmail.com"
    ),
    Account(
        "erik",
        "112233445566778899001",
        "Erik",
        "Sandell",
        "Workspace",
        "#146c2e",
        "erik.sandell@dackcentralen.example",
        hd="dackcentralen.example",
    ),
    Account("aino", "100998877665544332211", "Aino", "Korhonen", "other address", "#8c1d18",
            "aino.korhonen@posti.example", locale="fi"),
    Account("piotr", "115500449933882277661", "Piotr", "Zielinski", "address not verified", "#5e35b1",
            "piotr.zielinski@poczta.example", email_verified=False, locale="pl"),
    Account("noor", "119876543210123456789", "Noor", "Haddad", "no address", "#7a4f01"),
)  # fmt: skip


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
    Fault.TOKEN_SLOW: "token answer that takes twenty seconds",
    Fault.TOKEN_ERROR: "token endpoint answers 503",
    Fault.USERINFO_ERROR: "userinfo answers 503",
    Fault.KEYS_ERROR: "key set answers 503",
    Fault.DISCOVERY_ERROR: "discovery answers 503",
}


class IssuerMode(StrEnum):
    """How ID tokens spell the issuer: as a URL, or as Google once did without its scheme."""

    URL = "url"
    BARE_HOST = "bare_host"


@dataclass(frozen=True, slots=True)
class GoogleClient:
    """A registered web client; ``redirect_uris`` are compared exactly."""

    name: str
    secret: str
    redirect_uris: frozenset[str]


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
    """A request answered with an error; ``page`` when the browser must stay here (RFC 6749 section 4.1.2.1)."""

    def __init__(self, error: str, detail: str, *, status: int = 400, page: bool = False) -> None:
        super().__init__(error)
        self.error, self.detail, self.status, self.page = error, detail, status, page


class _Shelf[T]:
    """The newest few things under random names, each taken once."""


@dataclass
class GoogleSimulator:
    """
    State and rules of the simulated provider; the routes below are thin.

    ``clock``: aware UTC now. ``slow_s``: how long `Fault.TOKEN_SLOW` waits before it answers.
    """

    issuer: str
    clients: Mapping[str, GoogleClient]
    clock: Callable[[], datetime]
    keys: list[RSAKey]
    accounts: Mapping[str, Account]
    slow_s: float = 20.0
    faults: frozenset[Fault] = frozenset()
    issuer_mode: IssuerMode = IssuerMode.URL
    pending: OrderedDict[str, _Authorization] = field(default_factory=OrderedDict)
    codes: OrderedDict[str, _Authorization] = field(default_factory=OrderedDict)
    access_tokens: OrderedDict[str, _Authorization] = field(default_factory=OrderedDict)
    granted: set[tuple[str, str, str]] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
