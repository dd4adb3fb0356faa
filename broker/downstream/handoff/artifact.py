"""
Recipients without an OpenID Connect client: the browser comes back with a challenge, the server redeems the artifact.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.core.arrival import Arrived
from broker.core.challenge import is_challenge
from broker.core.handoff import Handoff
from broker.core.policy import PartnerService, Policy
from broker.downstream.clients import Clients
from broker.downstream.replies import json_reply, partner_endpoint
from broker.errors import BadAsk
from broker.flows.artifact import Artifacts
from broker.flows.context import Clock
from broker.web import params
from broker.web.hub import Hub
from broker.web.visitor import visitor_of
from broker.wire.jose import EncryptionKey, Keyring, encrypt, import_encryption_key
from broker.wire.schema import read_object

HANDOFF_TOKEN_TYP = "stafett-handoff+jwt"  # noqa: S105 - a media type
_MAX_TEXT = 2048


class ArtifactApi:
    """``GET /arrive`` and ``POST /handoffs/artifact``."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        clients: Clients,
        artifacts: Artifacts,
        keyring: Keyring,
        hub: Hub,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._clients = clients
        self._artifacts = artifacts
        self._keyring = keyring
        self._hub = hub
        self._clock = clock
        self._keys: dict[tuple[str, str], EncryptionKey] = {}

    async def arrive(self, request: Request) -> Response:
        """The recipient's server bound the browser to itself and sends it back; the address is left at once."""
        asked, policy = params.query(request), self._policy()
        visitor = visitor_of(request, policy.broker)
        challenge = asked.get("challenge", "")
        if not is_challenge(challenge):
            raise BadAsk("challenge is missing or malformed", code="arrive.challenge")
        turn = await self._artifacts.arrive(asked.get("handoff", ""), challenge, visitor)
        return await self._hub.go(request, visitor, turn, policy)

    @partner_endpoint
    async def redeem(self, request: Request) -> Response:
        """Exchange the one-time artifact, and the secret behind its challenge, for the handoff token."""
        client = await self._clients.authenticate(request, {})
        service = client.service
        body = read_object(await request.body())
        if set(body) != {"artifact", "secret"} or not all(_is_text(value) for value in body.values()):
            raise BadAsk('the body must be {"artifact": "...", "secret": "..."}', code="handoff.members")
        arrived = await self._artifacts.redeem(body["artifact"], secret=body["secret"], recipient=client.id)
        policy = self._policy()
        claims = handoff_token_claims(arrived, policy=policy, client_id=service.client_id, now=self._clock())
        token = self._token(client.id, service, claims, policy)
        return json_reply({"handoff_token": token, "expires_in": claims["exp"] - claims["iat"]})

    def routes(self) -> list[Route]:
        """Both endpoints."""
        return [
            Route("/arrive", self.arrive, methods=["GET"]),
            Route("/handoffs/artifact", self.redeem, methods=["POST"]),
        ]

    def _token(self, partner: str, service: PartnerService, claims: dict[str, Any], policy: Policy) -> str:
        """Signed, and encrypted to the partner's own key where it has one (RFC 7519 section 11.2: sign, then encrypt)."""
        signed = self._keyring.sign(claims, alg=service.token.alg.value, typ=HANDOFF_TOKEN_TYP)
        if service.token.encrypt is None:
            return signed
        return encrypt(signed, self._key_of(partner, policy))

    def _key_of(self, partner: str, policy: Policy) -> EncryptionKey:
        """The partner's key, parsed once per config version."""
        key = (policy.version, partner)
        if key not in self._keys:
            self._keys[key] = import_encryption_key(policy.encryption_keys[partner])
        return self._keys[key]


def handoff_token_claims(arrived: Arrived, *, policy: Policy, client_id: str, now: datetime) -> dict[str, Any]:
    """
    Claims of the handoff token: who came, on whose behalf (``act``, RFC 8693 section 4.1), and what was agreed.

    Spec: docs/handoff.md, "Partners without an OIDC client".
    """
    arrival, handoff = arrived.arrival, arrived.handoff
    issued_at = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": policy.issuer,
        "aud": client_id,
        "sub": arrival.subject,
        "jti": arrived.id,
        "iat": issued_at,
        "exp": issued_at + int(policy.broker.lifetimes.handoff_token.total_seconds()),
        "acr": arrival.acr,
        "act": {"sub": _client_id(handoff.source, policy)},
        "consent_id": handoff.consent,
        "handoff": _about(handoff),
        "claims": dict(arrived.claims),
        "withheld": list(arrived.withheld),
    }
    if arrival.authenticated_at is not None:
        claims["auth_time"] = int(arrival.authenticated_at.timestamp())
    if arrival.amr:
        claims["amr"] = list(arrival.amr)
    return claims


def _about(handoff: Handoff) -> dict[str, str]:
    return {
        "id": handoff.id,
        "source": handoff.source,
        "purpose": handoff.purpose,
        "type": handoff.type,
        "created_at": handoff.created_at.isoformat(timespec="seconds"),
        "expires_at": handoff.expires_at.isoformat(timespec="seconds"),
    }


def _client_id(partner: str, policy: Policy) -> str:
    known = policy.partner(partner)
    return known.client.client_id if known and known.client else partner


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= _MAX_TEXT
