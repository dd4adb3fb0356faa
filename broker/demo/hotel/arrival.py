"""
Receiving customers without OpenID Connect: all the hotel has to write, with an HTTP client and a JOSE library.

A customer arrives with a handle; we make a secret for her browser and send her back with its challenge. She comes again with
an artifact, which our server exchanges, together with that secret, for a signed handoff token.
"""

import base64
import hashlib
import secrets
import ssl
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

ALGORITHM = "ES256"
"""The signature registered for this partner."""

TYP = "stafett-handoff+jwt"
_REMEMBERED_S = 360.0
_LEEWAY_S = 30


class Gone(Exception):
    """There is nothing for us behind it: used, too old, taken back, or for another browser."""


class Unavailable(Exception):
    """The broker does not answer, or answers with a fault of its own."""


@dataclass(frozen=True)
class Tyres:
    """So many tyres of one size."""

    dimension: str
    quantity: int
    season: str


@dataclass(frozen=True)
class Stay:
    """
    What we were told. Texts are the source's, to be shown and never interpreted; anything may be empty.

    ``subject``: the customer's number with us, empty for a guest. ``handoff``: what to acknowledge.
    """

    handoff: str
    tyres: tuple[Tyres, ...]
    subject: str = ""
    name: str = ""
    registration_number: str = ""
    car: str = ""
    language: str = ""


class Broker:
    """
    Our relation to the broker.

    Args:
        issuer: its address, exactly as it stands in tokens.
        transport: replaces the network, for tests.
    """

    def __init__(
        self, *, issuer: str, client_id: str, client_secret: str, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._auth = (client_id, client_secret)
        self._http: dict[str, Any] = {
            "timeout": 5.0,
            "transport": transport,
            "trust_env": False,
            "verify": ssl.create_default_context(),
        }
        self._keys: KeySet | None = None
        self._used: OrderedDict[str, float] = OrderedDict()

    def way_back(self, handle: str, secret: str) -> str:
        """Where to send the browser that arrived with *handle* and now holds *secret* (S256, RFC 7636 section 4.2)."""
        digest = hashlib.sha256(secret.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return f"{self._issuer}/arrive?{urlencode({'handoff': handle, 'challenge': challenge})}"

    async def redeem(self, artifact: str, secret: str) -> Stay:
        """
        Who arrived, and with what.

        Raises: Gone, also for a token that does not hold; Unavailable.
        """
        answer = await self._post("/handoffs/artifact", {"artifact": artifact, "secret": secret})
        if answer.status_code != 200:
            raise Gone
        claims = await self._verified(str(answer.json()["handoff_token"]))
        return stay_from(claims["claims"], handoff=str(claims["handoff"]["id"]), subject=str(claims["sub"]))

    async def redeem_guest(self, reference: str) -> Stay:
        """The tyres of somebody who shares nothing else. Raises: Gone, Unavailable."""
        answer = await self._post("/handoffs/guest", {"ref": reference})
        if answer.status_code != 200:
            raise Gone
        return stay_from(answer.json()["claims"], handoff="", subject="")

    async def acknowledge(self, handoff: str, *, reference: str) -> bool:
        """Report that a shelf was taken; False when the broker could not be told just now."""
        try:
            body = {"result": "booked", "reference": reference}
            answer = await self._post(f"/handoffs/{handoff}/acknowledgement", body)
        except Unavailable:
            return False
        return answer.status_code == 200

    async def _verified(self, token: str) -> Mapping[str, Any]:
        """security: kind, algorithm, issuer, audience, time and one use; all of them, or it is no token (RFC 8725)."""
        required = {
            name: {"essential": True} for name in ("sub", "exp", "iat", "jti", "consent_id", "claims", "handoff")
        }
        fixed = {
            "iss": {"essential": True, "value": self._issuer},
            "aud": {"essential": True, "value": self._client_id},
        }
        try:
            checked = jwt.decode(token, await self._published_keys(), algorithms=[ALGORITHM])
            jwt.JWTClaimsRegistry(leeway=_LEEWAY_S, **required, **fixed).validate(checked.claims)  # type: ignore[arg-type]
        except (JoseError, ValueError) as error:
            self._keys = None  # They may have been changed; the next customer's token is checked with new ones.
            raise Gone from error
        claims = checked.claims
        if checked.header.get("typ") != TYP or claims["aud"] != self._client_id or not self._is_first(claims["jti"]):
            raise Gone
        return claims

    def _is_first(self, jti: str) -> bool:
        now = time.monotonic()
        while self._used and next(iter(self._used.values())) < now - _REMEMBERED_S:
            self._used.popitem(last=False)
        return self._used.setdefault(jti, now) == now

    async def _published_keys(self) -> KeySet:
        if self._keys is None:
            answer = await self._call("GET", "/jwks", None)
            self._keys = KeySet.import_key_set(answer.json())
        return self._keys

    async def _post(self, path: str, body: Mapping[str, Any]) -> httpx2.Response:
        return await self._call("POST", path, body)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx2.Response:
        try:
            async with httpx2.AsyncClient(**self._http) as client:
                answer = await client.request(method, self._issuer + path, json=body, auth=self._auth)
        except httpx2.HTTPError as error:
            raise Unavailable from error
        if answer.status_code >= 500:
            raise Unavailable
        return answer


def new_secret() -> str:
    """A secret for one browser: 256 random bits."""
    return secrets.token_urlsafe(32)


def stay_from(claims: Any, *, handoff: str, subject: str) -> Stay:
    """What *claims* say, after tyre-storage/v1; members we do not know are ignored, missing ones are empty."""
    known = _object(claims)
    vehicle, person, tyres = _object(known.get("vehicle")), _object(known.get("customer")), known.get("tyres")
    return Stay(
        handoff=handoff,
        tyres=tuple(_tyres(_object(each)) for each in tyres) if isinstance(tyres, list) else (),
        subject=subject,
        name=_text(person.get("name")),
        registration_number=_text(vehicle.get("registration_number")),
        car=_text(vehicle.get("model")),
        language=_text(person.get("preferred_language")),
    )


def _tyres(member: Mapping[str, Any]) -> Tyres:
    quantity = member.get("quantity")
    return Tyres(
        dimension=_text(member.get("dimension")),
        quantity=quantity if isinstance(quantity, int) else 0,
        season="winter" if member.get("season") == "winter" else "summer",
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""
