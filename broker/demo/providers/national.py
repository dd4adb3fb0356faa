"""
A provider of national electronic identity over OpenID Connect, for demo and tests: one simulator with the habits of several.

What it copies, by profile: signed request objects that must hold everything (FTN), pushed requests (MitID brokers, ID-porten),
client assertions and their audience, ID tokens and userinfo that are signed and then encrypted to the client's published key
(FTN, itsme), levels of assurance that are asked for and honoured, subjects that change at every login (FTN), phone numbers
without plus (Vipps), claims named by URIs (Freja), one-time codes, request objects, assertions and request URIs, `iss` in the
response, and a key set under a signature. A page lets the customer choose who she is and how strongly she proves it, or cancel.
What it adds: switches that make it lie. What it leaves out: docs/national-eid.md.
"""

import asyncio
import base64
import json
import secrets
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote_plus, urlencode, urlsplit

import httpx2
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from joserfc import jwe, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, KeySet, RSAKey
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
_CODE_LIFETIME: Final = timedelta(minutes=3)
_PUSHED_LIFETIME: Final = timedelta(minutes=10)
_TOKEN_LIFETIME: Final = timedelta(minutes=10)
_LONGEST_ASSERTION_S: Final = 600
_SKEW_S: Final = 60
_SHORTEST_NONCE: Final = 22
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_SIGNATURES: Final = ["RS256", "ES256"]


@dataclass(frozen=True, slots=True)
class Person:
    """A test person with a number in each country; ``key`` names the button (`#account-<key>`)."""

    key: str
    given_name: str
    family_name: str
    birthdate: str
    finnish: str
    danish: str
    norwegian: str
    swedish: str
    phone: str
    email: str

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.given_name} {self.family_name}"


PEOPLE: Final = (
    Person(
        key="aino", given_name="Aino", family_name="Korhonen", birthdate="1985-02-14", finnish="140285-9120",
        danish="1402851234", norwegian="14828510046", swedish="198502142386", phone="+358401234567",
        email="aino.korhonen@posti.example",
    ),
    Person(
        key="emil", given_name="Emil", family_name="Nørgaard", birthdate="2011-07-03", finnish="030711A913V",
        danish="0307115678", norwegian="23067110080", swedish="201107032391", phone="+4520123456",
        email="emil.norgaard@post.example",
    ),
)  # fmt: skip


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
    ALG_HS256 = "alg_hs256"
    UNKNOWN_KEY = "unknown_key"
    BROKEN_SIGNATURE = "broken_signature"
    NO_ID_TOKEN = "no_id_token"
    NOT_ENCRYPTED = "not_encrypted"
    FOREIGN_KEY = "foreign_key"
    KID_OF_NOBODY = "kid_of_nobody"
    COMPRESSED = "compressed"
    WEAK_ENCRYPTION = "weak_encryption"
    ENCRYPTED_TWICE = "encrypted_twice"
    WEAKER_LEVEL = "weaker_level"
    UNKNOWN_LEVEL = "unknown_level"
    NO_LEVEL = "no_level"
    STALE_AUTH_TIME = "stale_auth_time"
    NO_AUTH_TIME = "no_auth_time"
    NO_SUBJECT_CLAIM = "no_subject_claim"
    WRONG_STATE = "wrong_state"
    WRONG_RESPONSE_ISSUER = "wrong_response_issuer"
    NO_RESPONSE_ISSUER = "no_response_issuer"
    USERINFO_OTHER_SUBJECT = "userinfo_other_subject"
    USERINFO_OTHER_AUDIENCE = "userinfo_other_audience"
    USERINFO_ID_TOKEN = "userinfo_id_token"
    AUTHORIZE_ERROR = "authorize_error"
    AUTHORIZE_REFUSED = "authorize_refused"
    PUSH_ERROR = "push_error"
    PUSH_REFUSED = "push_refused"
    PUSH_UNREADABLE = "push_unreadable"
    TOKEN_SLOW = "token_slow"
    TOKEN_ERROR = "token_error"
    USERINFO_ERROR = "userinfo_error"
    KEYS_ERROR = "keys_error"
    KEYS_BY_STRANGER = "keys_by_stranger"
    DISCOVERY_ERROR = "discovery_error"


@dataclass(frozen=True)
class Profile:
    """
    The habits of one kind of provider.

    ``levels``: its words for levels, weakest first. ``level_claim``: where tokens say them. ``request``: the only way requests
    are taken. ``assertion_audiences``: ``issuer``, ``token_endpoint``; empty where clients have a secret. ``encrypts``:
    algorithms of key and content, None for tokens that are signed only. ``scopes``: what may be asked; ``needed_scopes``: what
    must. ``refused_params``: what is answered with an error. ``token_claims``, ``userinfo_claims``: what is told of a person.
    """

    name: str
    request: Literal["query", "object", "pushed"]
    scopes: frozenset[str]
    needed_scopes: frozenset[str]
    token_claims: Callable[[Person], Mapping[str, Any]]
    userinfo_claims: Callable[[Person], Mapping[str, Any]] = lambda person: {}
    levels: tuple[str, ...] = ()
    level_claim: str = "acr"
    asks_level_by: Literal["acr_values", "idp_params", "nothing"] = "acr_values"
    assertion_audiences: frozenset[str] = frozenset()
    encrypts: tuple[str, str] | None = None
    sends_issuer: bool = False
    subject_changes: bool = False
    refused_params: Mapping[str, str] = field(default_factory=dict)
    needs_pkce: bool = False
    strongest_of_several: bool = False
    subject_claim: str = "sub"


_FREJA: Final = "https://frejaeid.com/oidc"
_ITSME: Final = "http://itsme.services/v2/claim"
_NSIS: Final = "https://data.gov.dk/concept/core/nsis"


def _names(person: Person) -> dict[str, Any]:
    return {
        "name": person.name,
        "given_name": person.given_name,
        "family_name": person.family_name,
        "birthdate": person.birthdate,
    }


PROFILES: Final[Mapping[str, Profile]] = {
    "ftn": Profile(
        name="a Finnish Trust Network broker",
        request="object",
        scopes=frozenset({"openid", "profile", "personal_identity_code", "weak", "strong"}),
        needed_scopes=frozenset({"openid", "personal_identity_code"}),
        token_claims=lambda person: {**_names(person), "personal_identity_code": person.finnish},
        levels=("http://ftn.ficora.fi/2017/loa2", "http://ftn.ficora.fi/2017/loa3"),
        assertion_audiences=frozenset({"token_endpoint"}),
        encrypts=("RSA-OAEP", "A128CBC-HS256"),
        subject_changes=True,
        refused_params={"prompt": "login_required"},
        subject_claim="personal_identity_code",
    ),
    "itsme": Profile(
        name="itsme",
        request="query",
        scopes=frozenset({"openid", "profile", "email", "phone", "address", "eid", "service:STAFETT"}),
        needed_scopes=frozenset({"openid", "service:STAFETT"}),
        token_claims=lambda person: {
            **_names(person),
            "phone_number": person.phone,
            "phone_number_verified": True,
        },
        userinfo_claims=lambda person: {**_names(person), "email": person.email, "email_verified": False},
        levels=(f"{_ITSME}/acr_basic", f"{_ITSME}/acr_advanced"),
        assertion_audiences=frozenset({"token_endpoint"}),
        encrypts=("RSA-OAEP-256", "A128CBC-HS256"),
        strongest_of_several=True,
    ),
    "mitid": Profile(
        name="a MitID broker",
        request="pushed",
        scopes=frozenset({"openid", "mitid", "ssn", "transaction_token"}),
        needed_scopes=frozenset({"openid", "mitid"}),
        token_claims=lambda person: {"mitid.uuid": _uuid(person), "idp": "mitid"},
        userinfo_claims=lambda person: {
            "mitid.uuid": _uuid(person),
            "mitid.identity_name": person.name,
            "mitid.date_of_birth": person.birthdate,
            "dk.cpr": person.danish,
        },
        levels=(f"{_NSIS}/Low", f"{_NSIS}/Substantial", f"{_NSIS}/High"),
        level_claim="loa",
        asks_level_by="idp_params",
        subject_claim="mitid.uuid",
    ),
    "vipps": Profile(
        name="Vipps",
        request="query",
        scopes=frozenset({"openid", "name", "phoneNumber", "address", "birthDate", "email", "nin"}),
        needed_scopes=frozenset({"openid"}),
        token_claims=lambda person: {},
        userinfo_claims=lambda person: {
            **_names(person),
            "phone_number": person.phone.removeprefix("+"),
            "email": person.email,
            "email_verified": True,
            "nin": person.norwegian,
            "address": {"country": "NO"},
            "other_addresses": [],
        },
        asks_level_by="nothing",
    ),
    "freja": Profile(
        name="Freja",
        request="query",
        scopes=frozenset({"openid", "profile", "email", "phone", "address"})
        | {f"{_FREJA}/scopes/{name}" for name in ("personalIdentityNumber", "registrationLevel", "relyingPartyUserId")},
        needed_scopes=frozenset({"openid"}),
        token_claims=lambda person: {
            **_names(person),
            "email": person.email,
            f"{_FREJA}/claims/country": "SE",
            f"{_FREJA}/claims/personalIdentityNumber": person.swedish,
            f"{_FREJA}/claims/relyingPartyUserId": _uuid(person),
        },
        levels=("EXTENDED", "PLUS"),
        level_claim=f"{_FREJA}/claims/registrationLevel",
        asks_level_by="nothing",
        subject_claim=f"{_FREJA}/claims/relyingPartyUserId",
    ),
    "id-porten": Profile(
        name="ID-porten",
        request="pushed",
        scopes=frozenset({"openid", "profile"}),
        needed_scopes=frozenset({"openid"}),
        token_claims=lambda person: {"pid": person.norwegian, "locale": "nb"},
        levels=("idporten-loa-substantial", "idporten-loa-high"),
        assertion_audiences=frozenset({"issuer", "token_endpoint"}),
        sends_issuer=True,
        needs_pkce=True,
    ),
}


@dataclass(frozen=True, slots=True)
class NationalClient:
    """
    A registered client. ``keys``: fetches its published JWK Set, for profiles whose clients have keys. ``secret``: for others.
    """

    client_id: str
    name: str
    redirect_uris: frozenset[str]
    keys: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
    secret: str | None = None


def keys_at(url: str) -> Callable[[], Awaitable[Mapping[str, Any]]]:
    """Fetch a client's keys where it publishes them, for `NationalClient.keys`."""

    async def fetch() -> Mapping[str, Any]:
        async with httpx2.AsyncClient(trust_env=False, timeout=5.0) as client:
            answer = await client.get(url)
            answer.raise_for_status()
            return dict(answer.json())

    return fetch


@dataclass(frozen=True, slots=True)
class _Authorization:
    """A checked authorization request, and later the code that answers it."""

    redirect_uri: str
    scopes: frozenset[str]
    state: str
    nonce: str
    challenge: str | None
    levels: tuple[str, ...]
    expires_at: datetime
    person: Person | None = None
    level: str | None = None
    sub: str = ""
    authenticated_at: int = 0


class _Refused(Exception):
    """A request answered with an error; ``page``: the browser must stay here (RFC 6749 section 4.1.2.1)."""

    def __init__(self, error: str, detail: str = "", *, status: int = 400, page: bool = False) -> None:
        super().__init__(error)
        self.error, self.detail, self.status, self.page = error, detail, status, page


class _AnsweredWithError(Exception):
    """A request whose redirect URI is good and that is refused: the browser goes back with the error."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


@dataclass
class NationalSimulator:
    """
    State and rules of the simulated provider; the routes below are thin.

    ``clock``: aware UTC now. ``keys``: newest first, the first signs. ``entity_key``: signs the key set. ``calls``: how often
    each endpoint was asked. ``asked``: the parameters of the requests that came, however they came.
    """

    profile: Profile
    issuer: str
    client: NationalClient
    clock: Callable[[], datetime]
    keys: list[RSAKey]
    entity_key: ECKey
    people: Mapping[str, Person]
    slow_s: float = 20.0
    faults: frozenset[Fault] = frozenset()
    calls: Counter[str] = field(default_factory=Counter)
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    _pushed: dict[str, tuple[datetime, Mapping[str, Any]]] = field(default_factory=dict)
    _pending: dict[str, _Authorization] = field(default_factory=dict)
    _codes: dict[str, _Authorization] = field(default_factory=dict)
    _tokens: dict[str, _Authorization] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def switch(self, faults: Iterable[Fault] = ()) -> None:
        """Lie and fail as *faults* say from now on; answers held back by an earlier fault are let go."""
        self.faults = frozenset(faults)
        self._hurry.set()
        self._hurry = asyncio.Event()

    def rotate(self) -> None:
        """Sign with a new key; the one before stays published."""
        self.keys = [new_key(), self.keys[0]]

    # What is published

    def discovery(self) -> dict[str, Any]:
        """The provider metadata (OpenID Connect Discovery section 3, RFC 9126 section 5, RFC 9207 section 3)."""
        profile = self.profile
        by_key = bool(profile.assertion_audiences)
        document: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "signed_jwks_uri": f"{self.issuer}/jwks.jwt",
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": sorted(profile.scopes),
            "token_endpoint_auth_methods_supported": ["private_key_jwt"]
            if by_key
            else ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "request_parameter_supported": profile.request == "object",
            "require_signed_request_object": profile.request == "object",
            "authorization_response_iss_parameter_supported": profile.sends_issuer,
        }
        if profile.request == "pushed":
            document |= {
                "pushed_authorization_request_endpoint": f"{self.issuer}/par",
                "require_pushed_authorization_requests": True,
            }
        if profile.levels and profile.level_claim == "acr":
            document["acr_values_supported"] = list(profile.levels)
        return document

    def key_set(self) -> dict[str, Any]:
        """The published keys, without private parts."""
        return {"keys": [key.as_dict(private=False, use="sig", alg="RS256") for key in self.keys]}

    def signed_key_set(self) -> str:
        """The same under the entity's signature (OpenID Federation 1.0 section 5.2.1)."""
        now = int(self.clock().timestamp())
        key = ECKey.generate_key("P-256") if Fault.KEYS_BY_STRANGER in self.faults else self.entity_key
        claims = {"iss": self.issuer, "sub": self.issuer, "iat": now, "exp": now + 86400, **self.key_set()}
        header = {"alg": "ES256", "kid": self.entity_key.kid, "typ": "jwk-set+jwt"}
        return jwt.encode(header, claims, key, algorithms=["ES256"])

    # The authorization request

    async def read_authorization(self, query: Mapping[str, str]) -> _Authorization:
        """
        Check an authorization request, in the way the profile takes it.

        Raises:
            _Refused: nobody is sent anywhere. _AnsweredWithError: the client is told.
        """
        if query.get("client_id") != self.client.client_id:
            raise _Refused("unauthorized_client", "unknown client_id", page=True)
        match self.profile.request:
            case "object":
                parameters = await self._from_object(query)
            case "pushed":
                parameters = self._from_pushed(query)
            case "query":
                if {"request", "request_uri"} & set(query):
                    raise _Refused("request_not_supported", "send the parameters plainly", page=True)
                parameters = dict(query)
        return self._checked(parameters)

    async def _from_object(self, query: Mapping[str, str]) -> Mapping[str, Any]:
        """Everything must be in the object; beside it nothing but the client (RFC 9101 section 6.3)."""
        if "request" not in query:
            raise _Refused("invalid_request", "the request must be a signed object", page=True)
        if extra := set(query) - {"client_id", "request"}:
            raise _Refused("invalid_request", f"outside the request object: {', '.join(sorted(extra))}", page=True)
        claims = await self._read_signed(query["request"], "invalid_request_object", frozenset({"issuer"}))
        if claims.get("iss") != self.client.client_id or claims.get("client_id") != self.client.client_id:
            raise _Refused("invalid_request_object", "iss and client_id must be the client", page=True)
        return {name: str(value) if isinstance(value, int) else value for name, value in claims.items()}

    async def push(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Keep a request whose client proved itself (RFC 9126 section 2.1). Raises: _Refused."""
        if self.profile.request != "pushed":
            raise _Refused("invalid_request", "requests are not pushed here")
        if Fault.PUSH_REFUSED in self.faults:
            raise _Refused("invalid_request", "switched on")
        if "request_uri" in form:
            raise _Refused("invalid_request", "a pushed request refers to no other")
        plain = {
            name: value for name, value in form.items() if not name.startswith(("client_assertion", "client_secret"))
        }
        try:
            kept = await self._from_object(plain) if "request" in plain else plain
            self._checked(kept)
        except _Refused as error:
            raise _Refused(error.error, error.detail) from error
        except _AnsweredWithError as error:
            raise _Refused("invalid_request", "the parameters are not good") from error
        entry = (self.clock() + _PUSHED_LIFETIME, kept)
        name = remember(self._pushed, entry, "urn:ietf:params:oauth:request_uri:")
        if Fault.PUSH_UNREADABLE in self.faults:
            return {"expires_in": 600}
        return {"request_uri": name, "expires_in": int(_PUSHED_LIFETIME.total_seconds())}

    def _from_pushed(self, query: Mapping[str, str]) -> Mapping[str, Any]:
        """The pushed request, once (RFC 9126 section 4)."""
        if set(query) != {"client_id", "request_uri"}:
            raise _Refused("invalid_request", "push the request and send its request_uri alone", page=True)
        expires_at, parameters = self._pushed.pop(query["request_uri"], (None, {}))
        if expires_at is None or expires_at <= self.clock():
            raise _Refused("invalid_request_uri", "unknown, used or too old", page=True)
        return parameters

    def _checked(self, parameters: Mapping[str, Any]) -> _Authorization:
        profile = self.profile
        if parameters.get("redirect_uri") not in self.client.redirect_uris:
            raise _Refused("invalid_request", "redirect_uri is not registered", page=True)
        self.asked.append(parameters)
        state, redirect_uri = str(parameters.get("state", "")), str(parameters["redirect_uri"])
        refuse = _Refusal(self, redirect_uri, state)
        scopes = frozenset(str(parameters.get("scope", "")).split())
        if parameters.get("response_type") != "code" or len(state) < _SHORTEST_NONCE:
            raise refuse("invalid_request")
        if not profile.needed_scopes <= scopes <= profile.scopes:
            raise refuse("invalid_scope")
        if len(str(parameters.get("nonce", ""))) < _SHORTEST_NONCE:
            raise refuse("invalid_request")
        for name, error in profile.refused_params.items():
            if name in parameters:
                raise refuse(error)
        challenge = parameters.get("code_challenge")
        if (challenge is None and profile.needs_pkce) or (
            challenge is not None and parameters.get("code_challenge_method") != "S256"
        ):
            raise refuse("invalid_request")
        return _Authorization(
            redirect_uri=redirect_uri,
            scopes=scopes,
            state=state,
            nonce=str(parameters["nonce"]),
            challenge=challenge,
            levels=self._levels_asked(parameters, refuse),
            expires_at=self.clock() + _CODE_LIFETIME,
        )

    def _levels_asked(self, parameters: Mapping[str, Any], refuse: "_Refusal") -> tuple[str, ...]:
        """The levels the person may choose from, weakest first: none weaker than what the client asked for."""
        profile = self.profile
        match profile.asks_level_by:
            case "nothing":
                return profile.levels
            case "idp_params":
                return profile.levels[self._index_in_idp_params(parameters, refuse) :]
            case "acr_values":
                asked = [each for each in profile.levels if each in str(parameters.get("acr_values", "")).split()]
                if set(str(parameters.get("acr_values", "")).split()) - set(profile.levels):
                    raise refuse("invalid_request")
                if profile.strongest_of_several:
                    asked = asked[-1:]
                return tuple(asked) or profile.levels

    def _index_in_idp_params(self, parameters: Mapping[str, Any], refuse: "_Refusal") -> int:
        if parameters.get("idp_values") != "mitid":
            raise refuse("invalid_request")
        try:
            wanted = json.loads(parameters.get("idp_params", "{}"))["mitid"]["loa_value"]
            return ["low", "substantial", "high"].index(wanted)
        except (ValueError, KeyError, TypeError) as error:
            raise refuse("invalid_request") from error

    # The person's answer

    def hold(self, asked: _Authorization) -> str:
        """Keep a request while the person chooses; returns the name of its form."""
        return remember(self._pending, asked)

    def held(self, request_id: str) -> _Authorization:
        """The request behind a form, once. Raises: _Refused: unknown, used or too old."""
        asked = self._pending.pop(request_id, None)
        if asked is None or asked.expires_at <= self.clock():
            raise _Refused("expired_form", "This page was used already or is too old.", page=True)
        return asked

    def answer(self, asked: _Authorization, form: Mapping[str, str]) -> str:
        """Where the browser goes: with a code for whom the person chose, or with an error."""
        person = self.people.get(form.get("account", ""))
        if Fault.AUTHORIZE_ERROR in self.faults:
            return self.error_address(asked.redirect_uri, asked.state, "server_error")
        if Fault.AUTHORIZE_REFUSED in self.faults:
            return self.error_address(asked.redirect_uri, asked.state, "interaction_required")
        if person is None:
            return self.error_address(asked.redirect_uri, asked.state, "access_denied")
        level = form.get("level", asked.levels[0] if asked.levels else None)
        if asked.levels and level not in asked.levels:
            raise _Refused("invalid_request", "no such level was offered", page=True)
        now = self.clock()
        granted = replace(
            asked,
            person=person,
            level=level,
            sub=secrets.token_urlsafe(24) if self.profile.subject_changes else _pairwise(self.client.client_id, person),
            authenticated_at=int(now.timestamp()),
            expires_at=now + _CODE_LIFETIME,
        )
        return self._address(asked.redirect_uri, asked.state, {"code": remember(self._codes, granted)})

    def error_address(self, redirect_uri: str, state: str, error: str) -> str:
        """The client's address with an error."""
        return self._address(redirect_uri, state, {"error": error, "error_description": "told by the simulation"})

    def _address(self, redirect_uri: str, state: str, members: Mapping[str, str]) -> str:
        sent = {**members, "state": secrets.token_urlsafe(32) if Fault.WRONG_STATE in self.faults else state}
        if Fault.WRONG_RESPONSE_ISSUER in self.faults:
            sent["iss"] = "https://other.example"
        elif self.profile.sends_issuer and Fault.NO_RESPONSE_ISSUER not in self.faults:
            sent["iss"] = self.issuer
        joint = "&" if urlsplit(redirect_uri).query else "?"
        return f"{redirect_uri}{joint}{urlencode(sent)}"

    # The client's proof

    async def authenticate(self, form: Mapping[str, str], authorization: str) -> None:
        """
        The client proves itself as its profile wants it, and in no other way.

        Raises: _Refused: ``invalid_client``.
        """
        if self.profile.assertion_audiences:
            await self._by_assertion(form, authorization)
        elif self.client.secret is None or not secrets.compare_digest(
            f"{self.client.client_id}:{self.client.secret}", _secret_given(form, authorization)
        ):
            raise _Refused("invalid_client", status=401)

    async def _by_assertion(self, form: Mapping[str, str], authorization: str) -> None:
        if authorization or "client_secret" in form or form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise _Refused("invalid_client", "a client assertion is wanted, and nothing else", status=401)
        assertion = form.get("client_assertion", "")
        claims = await self._read_signed(assertion, "invalid_client", self.profile.assertion_audiences)
        if claims.get("iss") != self.client.client_id or claims.get("sub") != self.client.client_id:
            raise _Refused("invalid_client", "iss and sub must be the client", status=401)

    async def _read_signed(self, token: str, error: str, audiences: frozenset[str]) -> Mapping[str, Any]:
        """
        The claims of a token that the client signed for us, not seen before and good now.

        Raises: _Refused: *error*.
        """
        is_page = error == "invalid_request_object"
        problem = _Refused(error, "the signature does not hold", status=400 if is_page else 401, page=is_page)
        try:
            signing = [key for key in (await self._client_keys())["keys"] if key.get("use") == "sig"]
            read = jwt.decode(token, KeySet.import_key_set({"keys": signing}), algorithms=_SIGNATURES)
        except (JoseError, ValueError, KeyError) as reason:
            raise problem from reason
        now, claims = self.clock().timestamp(), read.claims
        expires, issued, jti = claims.get("exp"), claims.get("iat", now), claims.get("jti")
        problem.detail = "aud, exp, iat, nbf or jti is missing, wrong or used"
        places = {"issuer": self.issuer, "token_endpoint": f"{self.issuer}/token"}
        if claims.get("aud") not in {places[name] for name in audiences} or not isinstance(jti, str):
            raise problem
        if not isinstance(expires, int) or not now < expires <= now + _LONGEST_ASSERTION_S + _SKEW_S:
            raise problem
        if issued > now + _SKEW_S or claims.get("nbf", now) > now + _SKEW_S or jti in self._seen:
            raise problem
        self._seen.add(jti)
        return claims

    async def _client_keys(self) -> Mapping[str, Any]:
        if self.client.keys is None:
            raise ValueError("the client published no keys")
        return await self.client.keys()

    # Tokens

    async def redeem(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Exchange a code for tokens, once (RFC 6749 section 4.1.3, RFC 7636 section 4.6). Raises: _Refused."""
        if form.get("grant_type") != "authorization_code":
            raise _Refused("unsupported_grant_type")
        granted = self._codes.pop(form.get("code", ""), None)
        if granted is None or granted.person is None or granted.expires_at <= self.clock():
            raise _Refused("invalid_grant", "unknown, used or too old")
        if form.get("redirect_uri") != granted.redirect_uri:
            raise _Refused("invalid_grant", "redirect_uri is another one")
        if granted.challenge is not None and s256(form.get("code_verifier", "")) != granted.challenge:
            raise _Refused("invalid_grant", "code_verifier does not fit")
        access_token = remember(self._tokens, granted)
        answer: dict[str, Any] = {"access_token": access_token, "token_type": "Bearer", "expires_in": 600}
        if Fault.NO_ID_TOKEN not in self.faults:
            claims = self._id_token_claims(granted, granted.person, access_token)
            answer["id_token"] = await self._sealed(self._sign(claims))
        return answer

    async def userinfo(self, authorization: str) -> str | Mapping[str, Any]:
        """More of the person, as JSON or, where tokens are encrypted, as an encrypted JWT. Raises: _Refused."""
        granted = self._tokens.get(authorization.removeprefix("Bearer "))
        if granted is None or granted.person is None:
            raise _Refused("invalid_token", status=401)
        sub = "somebody-else" if Fault.USERINFO_OTHER_SUBJECT in self.faults else granted.sub
        claims = {"sub": sub, **self.profile.userinfo_claims(granted.person)}
        if self.profile.encrypts is None:
            return claims
        audience = "another-client" if Fault.USERINFO_OTHER_AUDIENCE in self.faults else self.client.client_id
        claims |= {"iss": self.issuer, "aud": audience}
        if Fault.USERINFO_ID_TOKEN in self.faults:
            claims = self._id_token_claims(granted, granted.person, "")
        return await self._sealed(self._sign(claims))

    async def maybe_wait(self) -> None:
        """Hold an answer back while `Fault.TOKEN_SLOW` is on, at most ``slow_s``."""
        if Fault.TOKEN_SLOW in self.faults:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self.slow_s)

    def _id_token_claims(self, granted: _Authorization, person: Person, access_token: str) -> dict[str, Any]:
        now = int(self.clock().timestamp())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": granted.sub,
            "aud": self.client.client_id,
            "exp": now + int(_TOKEN_LIFETIME.total_seconds()),
            "iat": now,
            "nonce": granted.nonce,
            "at_hash": half_hash(access_token),
            "auth_time": granted.authenticated_at,
            **self.profile.token_claims(person),
            self.profile.level_claim: granted.level,
        }
        return overlaid(claims, lies_of(self.faults, self._lies(now, granted)))

    def _lies(self, now: int, granted: _Authorization) -> dict[str, dict[str, Any]]:
        """What each fault puts over the true claims; None takes one away."""
        profile = self.profile
        weaker = profile.levels[max(0, profile.levels.index(granted.level) - 1)] if granted.level else None
        return {
            **lies_in_tokens(now),
            Fault.WEAKER_LEVEL: {profile.level_claim: weaker},
            Fault.UNKNOWN_LEVEL: {profile.level_claim: "urn:strongest-there-is"},
            Fault.NO_LEVEL: {profile.level_claim: None},
            Fault.STALE_AUTH_TIME: {"auth_time": now - 86400},
            Fault.NO_AUTH_TIME: {"auth_time": None},
            Fault.NO_SUBJECT_CLAIM: {profile.subject_claim: None},
        }

    def _sign(self, claims: Mapping[str, Any]) -> str:
        if Fault.ALG_NONE in self.faults:
            return unsigned(claims)
        if Fault.ALG_HS256 in self.faults:
            return signed_by_public_key(claims, self.keys[0])
        signer = _stranger() if Fault.UNKNOWN_KEY in self.faults else self.keys[0]
        token = jwt.encode({"alg": "RS256", "kid": signer.kid}, dict(claims), signer, algorithms=["RS256"])
        return broken(token) if Fault.BROKEN_SIGNATURE in self.faults else token

    async def _sealed(self, signed: str) -> str:
        """*signed* encrypted to the key the client publishes for it, where the profile encrypts (RFC 7519 section 5.2)."""
        if self.profile.encrypts is None or Fault.NOT_ENCRYPTED in self.faults:
            return signed
        alg, enc = self.profile.encrypts
        published = next(key for key in (await self._client_keys())["keys"] if key.get("use") == "enc")
        key = _stranger() if Fault.FOREIGN_KEY in self.faults else RSAKey.import_key(dict(published))
        header = {"alg": alg, "enc": enc, "cty": "JWT", "kid": published["kid"]}
        header |= {"kid": "nobody's"} if Fault.KID_OF_NOBODY in self.faults else {}
        header |= {"zip": "DEF"} if Fault.COMPRESSED in self.faults else {}
        header |= {"alg": "RSA1_5"} if Fault.WEAK_ENCRYPTION in self.faults else {}
        algs = [alg, enc, "RSA1_5", "DEF"]
        sealed = _encrypt(header, signed, key, algs)
        return _encrypt(header, sealed, key, algs) if Fault.ENCRYPTED_TWICE in self.faults else sealed


@dataclass(frozen=True, slots=True)
class _Refusal:
    """How a request is refused whose redirect URI is known."""

    simulator: NationalSimulator
    redirect_uri: str
    state: str

    def __call__(self, error: str) -> _AnsweredWithError:
        return _AnsweredWithError(self.simulator.error_address(self.redirect_uri, self.state, error))


def create_app(
    *,
    profile: str,
    issuer: str,
    client: NationalClient,
    clock: Callable[[], datetime],
    people: Sequence[Person] = PEOPLE,
    keys: Sequence[RSAKey] | None = None,
    entity_key: ECKey | None = None,
    slow_s: float = 20.0,
) -> Starlette:
    """
    Build the simulated provider.

    Args:
        profile: one of `PROFILES`.
        issuer: its own origin without a slash at the end.
        client: the one registered client.
        clock: aware UTC now.
        keys: RSA keys with a ``kid``, newest first; two new ones when None. entity_key: EC P-256, signs the key set.
    Returns: the app; ``app.state.simulator`` is the `NationalSimulator` with its switches.
    """
    app = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", _discovery),
            Route("/jwks", _key_set),
            Route("/jwks.jwt", _signed_key_set),
            Route("/par", _par, methods=["POST"]),
            Route("/authorize", _authorize),
            Route("/choose", _choose, methods=["POST"]),
            Route("/token", _token, methods=["POST"]),
            Route("/userinfo", _userinfo),
            Route("/national.css", _file),
        ],
        exception_handlers={_Refused: _on_refused, _AnsweredWithError: _on_answered},
    )
    app.state.simulator = NationalSimulator(
        profile=PROFILES[profile],
        issuer=issuer.rstrip("/"),
        client=client,
        clock=clock,
        keys=list(keys) if keys is not None else [new_key() for _ in range(2)],
        entity_key=entity_key or ECKey.generate_key("P-256", {"kid": secrets.token_urlsafe(7)}),
        people={person.key: person for person in people},
        slow_s=slow_s,
    )
    return app


def new_key() -> RSAKey:
    """A signing key with a name."""
    return RSAKey.generate_key(2048, {"kid": secrets.token_urlsafe(7)})


@cache
def _stranger() -> RSAKey:
    """A key that is neither the provider's nor the client's."""
    return new_key()


async def _discovery(request: Request) -> Response:
    simulator = _simulator(request, "discovery")
    return _unavailable() if Fault.DISCOVERY_ERROR in simulator.faults else JSONResponse(simulator.discovery())


async def _key_set(request: Request) -> Response:
    simulator = _simulator(request, "keys")
    return _unavailable() if Fault.KEYS_ERROR in simulator.faults else JSONResponse(simulator.key_set())


async def _signed_key_set(request: Request) -> Response:
    simulator = _simulator(request, "signed_keys")
    if Fault.KEYS_ERROR in simulator.faults:
        return _unavailable()
    return Response(simulator.signed_key_set(), media_type="application/jwk-set+jwt")


async def _par(request: Request) -> Response:
    simulator = _simulator(request, "par")
    if Fault.PUSH_ERROR in simulator.faults:
        return _unavailable()
    form = await _form(request)
    await simulator.authenticate(form, request.headers.get("authorization", ""))
    return JSONResponse(await simulator.push(form), 201, headers={"Cache-Control": "no-store"})


async def _authorize(request: Request) -> Response:
    simulator = _simulator(request, "authorize")
    asked = await simulator.read_authorization(request.query_params)
    return _html(
        simulator,
        "choose.html",
        request_id=simulator.hold(asked),
        people=simulator.people.values(),
        levels=asked.levels,
        client_name=simulator.client.name,
    )


async def _choose(request: Request) -> Response:
    simulator = _simulator(request, "choose")
    form = await _form(request)
    return RedirectResponse(simulator.answer(simulator.held(form.get("request", "")), form), 303)


async def _token(request: Request) -> Response:
    simulator = _simulator(request, "token")
    await simulator.maybe_wait()
    if Fault.TOKEN_ERROR in simulator.faults:
        return _unavailable()
    form = await _form(request)
    await simulator.authenticate(form, request.headers.get("authorization", ""))
    return JSONResponse(await simulator.redeem(form), headers={"Cache-Control": "no-store"})


async def _userinfo(request: Request) -> Response:
    simulator = _simulator(request, "userinfo")
    if Fault.USERINFO_ERROR in simulator.faults:
        return _unavailable()
    told = await simulator.userinfo(request.headers.get("authorization", ""))
    return Response(told, media_type="application/jwt") if isinstance(told, str) else JSONResponse(told)


async def _file(request: Request) -> Response:
    return FileResponse(_FOLDER / request.url.path.removeprefix("/"))


async def _on_refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, _Refused):
        raise error
    if error.page:
        simulator: NationalSimulator = request.app.state.simulator
        return _html(simulator, "problem.html", status=400, error=error.error, detail=error.detail)
    body = {"error": error.error} | ({"error_description": error.detail} if error.detail else {})
    return JSONResponse(body, error.status, headers={"Cache-Control": "no-store"})


async def _on_answered(request: Request, error: Exception) -> Response:
    if not isinstance(error, _AnsweredWithError):
        raise error
    return RedirectResponse(error.url, 303)


def _simulator(request: Request, endpoint: str) -> NationalSimulator:
    simulator: NationalSimulator = request.app.state.simulator
    simulator.calls[endpoint] += 1
    return simulator


async def _form(request: Request) -> dict[str, str]:
    async with request.form() as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def _secret_given(form: Mapping[str, str], authorization: str) -> str:
    """``client_id:secret`` as given, by header or by form and never by both (RFC 6749 section 2.3)."""
    if not authorization:
        return f"{form.get('client_id', '')}:{form.get('client_secret', '')}"
    if "client_secret" in form:
        raise _Refused("invalid_request", "two ways of client authentication")
    try:
        given = base64.b64decode(authorization.removeprefix("Basic "), validate=True).decode()
    except ValueError as error:
        raise _Refused("invalid_client", status=401) from error
    name, _, secret = given.partition(":")
    return f"{unquote_plus(name)}:{unquote_plus(secret)}"


def _encrypt(header: Mapping[str, Any], content: str, key: RSAKey, algorithms: list[str]) -> str:
    with warnings.catch_warnings():
        # The library warns of RSA1_5, which a lie uses on purpose.
        warnings.simplefilter("ignore", SecurityWarning)
        return jwe.encrypt_compact(dict(header), content, key, algorithms=algorithms)


def _uuid(person: Person) -> str:
    """The person's number at the scheme itself."""
    digits = sha256(f"scheme {person.key}".encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"


def _pairwise(client_id: str, person: Person) -> str:
    return sha256(f"{client_id} {person.key}".encode()).hexdigest()[:32]


def _unavailable() -> Response:
    return JSONResponse({"error": "temporarily_unavailable"}, 503)


_TEMPLATES: Final = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)
_PAGE_HEADERS: Final = {
    # No form-action: Chromium applies it to every redirect after the form, up to the last site of the story.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def _html(simulator: NationalSimulator, template: str, *, status: int = 200, **values: object) -> Response:
    content = _TEMPLATES.get_template(template).render(provider=simulator.profile.name, **values)
    return HTMLResponse(content, status, headers=_PAGE_HEADERS)
