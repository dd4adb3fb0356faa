"""
A small broker for the tests of the shop and the garage: the real protocol, an obedient customer, and switches
    to lie.

It checks what the real one checks of its partners (client authentication, PKCE, redirect URIs, single use) so
that a site passing here speaks the protocol; who logs in, and what she agrees to, is set on it instead of
asked.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

import httpx2
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

ISSUER = "http://localhost:8700"


class Network(httpx2.AsyncBaseTransport):
    """
    The sites by origin. Those in `down` cannot be reached; the answers to paths in `lost` do not arrive. Every request
    made is kept in `seen`.
    """

    def __init__(self) -> None:
        self._sites: dict[str, httpx2.ASGITransport] = {}
        self.down: set[str] = set()
        self.lost: set[str] = set()
        self.seen: list[httpx2.Request] = []

    def add(self, origin: str, app: ASGIApp) -> None:
        self._sites[origin] = httpx2.ASGITransport(app=app)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(request)
        origin = f"{request.url.scheme}://{request.url.netloc.decode()}"
        if origin in self.down or origin not in self._sites:
            raise httpx2.ConnectError("refused", request=request)
        answer = await self._sites[origin].handle_async_request(request)
        if request.url.path in self.lost:
            raise httpx2.ReadTimeout("the answer got lost", request=request)
        return answer

    def browser(self, language: str = "sv") -> httpx2.AsyncClient:
        """A customer's browser: keeps cookies, follows redirects."""
        return httpx2.AsyncClient(
            transport=self, follow_redirects=True, headers={"Accept-Language": language}, timeout=5
        )


@dataclass
class Client:
    """A partner as the broker has it on file; `key` when it authenticates with private_key_jwt."""

    client_id: str
    secret: str
    origin: str
    partner: str
    callback: str = "/login/callback"
    goodbye: str = "/logged-out"
    key: ECKey | None = None


@dataclass
class Handoff:
    """One handoff and how far it has come."""

    id: str
    source: str
    request: Mapping[str, Any]
    state: str = "created"
    acknowledged: dict[str, Any] | None = None


@dataclass
class FakeBroker:
    """
    `customer`: who is logged in at the broker. `decision`: what she answers on the consent page: share,
    guest, cancel, or expired when her link is too old. `withheld`: dotted fields she keeps back. `lie`: which
    check of the site is to fail.
    """

    issuer: str = ISSUER
    customer: str = "anna"
    profile: dict[str, Any] = field(default_factory=lambda: {"name": "Anna Lind"})
    decision: str = "share"
    withheld: tuple[str, ...] = ()
    lie: str = ""
    clients: dict[str, Client] = field(default_factory=dict)
    handoffs: dict[str, Handoff] = field(default_factory=dict)
    mailings: list[Mapping[str, Any]] = field(default_factory=list)
    recognitions: set[str] = field(default_factory=set)
    created_keys: dict[str, str] = field(default_factory=dict)
    expires_at: str = "2099-01-01T00:00:00Z"

    def __post_init__(self) -> None:
        self._key = ECKey.generate_key("P-256", {"kid": "one", "use": "sig", "alg": "ES256"})
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: dict[str, dict[str, str]] = {}
        self._refs: dict[str, str] = {}
        self._hints: dict[str, str] = {}

    @property
    def latest(self) -> Handoff:
        return list(self.handoffs.values())[-1]

    def link(self, handoff: Handoff) -> str:
        return f"{self.issuer}/h/{handoff.id}"

    def forget_tokens(self) -> None:
        """Every access token has expired."""
        self._tokens.clear()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/jwks", self._jwks),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/userinfo", self._userinfo),
                Route("/logout", self._logout),
                Route("/h/{id}", self._open),
                Route("/newsletter/links", self._newsletter_links, methods=["POST"]),
                Route("/newsletter/recognitions", self._recognise, methods=["POST"]),
                Route("/n/{id}", self._follow_newsletter),
                Route("/handoffs", self._create, methods=["POST"]),
                Route("/handoffs/guest", self._guest, methods=["POST"]),
                Route("/handoffs/{id}/status", self._status),
                Route("/handoffs/{id}", self._read),
                Route("/handoffs/{id}/status", self._status),
                Route("/handoffs/{id}/acknowledgement", self._acknowledge, methods=["POST"]),
            ]
        )

    # -- OpenID Connect ------------------------------------------------------------------------------------

    async def _discovery(self, request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": "https://elsewhere.example" if self.lie == "issuer" else self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "jwks_uri": f"{self.issuer}/jwks",
                "end_session_endpoint": f"{self.issuer}/logout",
                "response_types_supported": ["code"],
                "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def _jwks(self, request: Request) -> Response:
        return JSONResponse(KeySet([self._key]).as_dict(private=False))

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        client = self.clients[asked["client_id"]]
        assert asked["redirect_uri"] == client.origin + client.callback
        assert asked["code_challenge_method"] == "S256"
        assert asked["state"]
        assert asked["nonce"]
        issuer = "https://elsewhere.example" if self.lie == "response_iss" else self.issuer
        answer = {"state": asked["state"], "iss": issuer}
        if self.lie == "response_without_iss":
            del answer["iss"]
        if self.lie == "access_denied":
            return _to(asked["redirect_uri"], answer | {"error": "access_denied"})
        code = secrets.token_urlsafe()
        handoff = self._hints.get(asked.get("login_hint", ""), "")
        self._codes[code] = asked | {"handoff": handoff, "customer": self.customer}
        return _to(asked["redirect_uri"], answer | {"code": code})

    async def _token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        client = self._authenticated(request, form)
        grant = self._codes.pop(form.get("code", ""), None)
        if client is None:
            return JSONResponse({"error": "invalid_client"}, 401)
        if grant is None or grant["client_id"] != client.client_id or not _proves(form["code_verifier"], grant):
            return JSONResponse({"error": "invalid_grant"}, 400)
        token = secrets.token_urlsafe()
        self._tokens[token] = {"sub": f"{client.partner}-{grant['customer']}", "handoff": grant["handoff"]}
        answer: dict[str, Any] = {"access_token": token, "token_type": "Bearer", "expires_in": 600}
        answer["id_token"] = self._id_token(client, grant)
        if handoff := self.handoffs.get(grant["handoff"]):
            handoff.state = "redeemed"
            answer["scope"] = "openid handoff:read"
            answer["authorization_details"] = [
                {"type": f"{self.issuer}/handoff/{handoff.request['type']}", "handoff": handoff.id}
            ]
        return JSONResponse(answer)

    def _id_token(self, client: Client, grant: Mapping[str, str]) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": "https://elsewhere.example" if self.lie == "iss" else self.issuer,
            "sub": f"{client.partner}-{grant['customer']}",
            "aud": "somebody-else" if self.lie == "aud" else client.client_id,
            "nonce": "another" if self.lie == "nonce" else grant["nonce"],
            "sid": f"sid-{client.partner}-{grant['customer']}",
            "iat": now - 7200 if self.lie == "expired" else now,
            "exp": now - 3600 if self.lie == "expired" else now + 300,
        }
        if self.lie == "no_nonce":
            del claims["nonce"]
        if handoff := self.handoffs.get(grant["handoff"]):
            claims["handoff"] = {"id": handoff.id, "source": handoff.source, "purpose": "tyre-fitting"}
        if self.lie == "alg":
            shared = OctKey.import_key(client.secret, {"kid": "one"})
            return jwt.encode({"alg": "HS256", "kid": "one"}, claims, shared, algorithms=["HS256"])
        key = ECKey.generate_key("P-256", {"kid": "one"}) if self.lie == "key" else self._key
        return jwt.encode({"alg": "ES256", "kid": "one"}, claims, key, algorithms=["ES256"])

    def logout_token(self, partner: str, **changed: Any) -> str:
        """What *partner* is sent when this customer's session ends; a claim set to None is left out."""
        client = next(each for each in self.clients.values() if each.partner == partner)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": client.client_id,
            "iat": now,
            "exp": now + 120,
            "jti": "one",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
            "sub": f"{partner}-{self.customer}",
            "sid": f"sid-{partner}-{self.customer}",
            **{name: value for name, value in changed.items() if name != "typ"},
        }
        key = ECKey.generate_key("P-256", {"kid": "one"}) if self.lie == "key" else self._key
        header = {"alg": "ES256", "kid": "one", "typ": changed.get("typ", "logout+jwt")}
        told = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(header, told, key, algorithms=["ES256"])

    async def _userinfo(self, request: Request) -> Response:
        grant = self._bearer(request)
        if grant is None:
            return JSONResponse({"error": "invalid_token"}, 401)
        subject = "somebody-else" if self.lie == "userinfo_sub" else grant["sub"]
        return JSONResponse({"sub": subject, **self.profile})

    async def _logout(self, request: Request) -> Response:
        hint = jwt.decode(request.query_params["id_token_hint"], self._key, algorithms=["ES256"]).claims
        client = self.clients[str(hint["aud"])]
        assert request.query_params["post_logout_redirect_uri"] == client.origin + client.goodbye
        state = request.query_params.get("state", "")
        return _to(request.query_params["post_logout_redirect_uri"], {"state": state})

    # -- newsletters ---------------------------------------------------------------------------------------

    async def _newsletter_links(self, request: Request) -> Response:
        self.mailings.append(await request.json())
        return JSONResponse({"links": [f"{self.issuer}/n/{len(self.mailings)}"]}, 201)

    async def _follow_newsletter(self, request: Request) -> Response:
        number = int(request.path_params["id"])
        reference = f"reference-{number}"
        self.recognitions.add(reference)
        return RedirectResponse(f"{self.mailings[number - 1]['landing_uri']}?recognition={reference}", 303)

    async def _recognise(self, request: Request) -> Response:
        reference = (await request.json())["recognition"]
        if reference not in self.recognitions:
            return JSONResponse({"error": "invalid_grant"}, 400)
        self.recognitions.remove(reference)
        return JSONResponse({"acr": "soft", "recipient": "r1", "campaign": "winter-letter", "language": "sv"})

    # -- handoffs ------------------------------------------------------------------------------------------

    async def _create(self, request: Request) -> Response:
        client = self._authenticated(request, {})
        if client is None:
            return JSONResponse({"error": "invalid_client"}, 401)
        key = request.headers.get("idempotency-key", secrets.token_urlsafe())
        handoff_id = self.created_keys.setdefault(key, f"h{len(self.handoffs) + 1}")
        body = await request.json()
        assert body["return_uri"] in {f"{client.origin}/{way}-return" for way in ("booking", "storage")}
        handoff = self.handoffs.setdefault(handoff_id, Handoff(handoff_id, client.partner, body))
        return JSONResponse(
            {
                "handoff_id": handoff.id,
                "link": self.link(handoff),
                "expires_at": self.expires_at,
                "state": handoff.state,
            },
            201,
        )

    async def _open(self, request: Request) -> Response:
        handoff = self.handoffs[request.path_params["id"]]
        if self.decision in ("cancel", "expired"):
            outcome = {"cancel": "cancelled", "expired": "expired"}[self.decision]
            return _to(str(handoff.request["return_uri"]), {"handoff": outcome})
        garage = next(client for client in self.clients.values() if client.partner == handoff.request["partner"])
        if self.decision == "guest":
            return _to(f"{garage.origin}/guest", {"ref": self.guest_reference(handoff)})
        if handoff.state in ("redeemed", "acknowledged"):
            return _to(f"{garage.origin}/", {"handoff": "already"})
        handoff.state = "started"
        return _to(f"{garage.origin}/login/start", {"iss": self.issuer, "login_hint": self.hint(handoff)})

    def guest_reference(self, handoff: Handoff) -> str:
        reference = secrets.token_urlsafe()
        self._refs[reference] = handoff.id
        return reference

    def hint(self, handoff: Handoff) -> str:
        hint = "ho_" + secrets.token_urlsafe()
        self._hints[hint] = handoff.id
        return hint

    async def _guest(self, request: Request) -> Response:
        if self._authenticated(request, {}) is None:
            return JSONResponse({"error": "invalid_client"}, 401)
        handoff_id = self._refs.pop((await request.json()).get("ref", ""), None)
        if handoff_id is None:
            return JSONResponse({"error": "invalid_grant"}, 400)
        handoff = self.handoffs[handoff_id]
        payload = handoff.request["payload"]
        claims = {"items": payload["items"]}
        claims["vehicle"] = {"tyre_size_front": payload["vehicle"]["tyre_size_front"]}
        return JSONResponse(self._described(handoff) | {"claims": claims})

    async def _status(self, request: Request) -> Response:
        handoff = self.handoffs.get(request.path_params["id"])
        client = self._authenticated(request, {})
        if handoff is None or client is None or client.partner != handoff.source:
            return JSONResponse({"error": "not_found"}, 404)
        return JSONResponse({"handoff_id": handoff.id, "state": handoff.state})

    async def _read(self, request: Request) -> Response:
        handoff = self.handoffs.get(request.path_params["id"])
        grant = self._bearer(request)
        if grant is None:
            return JSONResponse({"error": "invalid_token"}, 401)
        if handoff is None or grant["handoff"] != handoff.id:
            return JSONResponse({"error": "not_found"}, 404)
        if handoff.state == "revoked":
            return JSONResponse({"error": "gone"}, 410)
        claims = _without(handoff.request["payload"], self.withheld)
        return JSONResponse(self._described(handoff) | {"claims": claims, "withheld": list(self.withheld)})

    async def _acknowledge(self, request: Request) -> Response:
        grant = self._bearer(request)
        handoff = self.handoffs[request.path_params["id"]]
        if grant is None or grant["handoff"] != handoff.id:
            return JSONResponse({"error": "invalid_token"}, 401)
        handoff.state, handoff.acknowledged = "acknowledged", await request.json()
        return JSONResponse({"state": handoff.state})

    def _described(self, handoff: Handoff) -> dict[str, Any]:
        return {
            "id": handoff.id,
            "type": handoff.request["type"],
            "purpose": handoff.request["purpose"],
            "source": handoff.source,
            "state": handoff.state,
        }

    # -- who is calling ------------------------------------------------------------------------------------

    def _bearer(self, request: Request) -> dict[str, str] | None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        return self._tokens.get(value) if scheme == "Bearer" else None

    def _authenticated(self, request: Request, form: Mapping[str, str]) -> Client | None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            client_id, _, secret = base64.b64decode(value).decode().partition(":")
            client = self.clients.get(client_id)
            return client if client and client.secret == secret and client.key is None else None
        assertion = form.get("client_assertion") or (value if scheme == "Bearer" else "")
        for client in self.clients.values():
            if client.key and self._is_assertion(assertion, client, client.key):
                return client
        return None

    def _is_assertion(self, assertion: str, client: Client, key: ECKey) -> bool:
        if assertion.count(".") != 2:
            return False
        claims = jwt.decode(assertion, key, algorithms=["ES256"]).claims
        return bool(
            claims["iss"] == claims["sub"] == client.client_id
            and claims["aud"] in (self.issuer, f"{self.issuer}/token")
            and claims["exp"] > time.time()
            and claims["jti"]
        )


def _proves(verifier: str, grant: Mapping[str, str]) -> bool:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == grant["code_challenge"]


def _to(address: str, parameters: Mapping[str, str]) -> RedirectResponse:
    return RedirectResponse(f"{address}?{urlencode(parameters)}", 303)


def _without(payload: Mapping[str, Any], withheld: tuple[str, ...]) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(json.dumps(payload))
    for path in withheld:
        *parents, leaf = path.split(".")
        inner = kept
        for parent in parents:
            inner = inner.get(parent, {})
        inner.pop(leaf, None)
    return kept


def query(address: str) -> dict[str, str]:
    """The query parameters of *address*, one value each."""
    return {name: values[0] for name, values in parse_qs(httpx2.URL(address).query.decode()).items()}
