"""
Sources: create a handoff, and ask how far it got.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.core.handoff import Contact, Handoff, Offer, State, is_expired
from broker.core.policy import Policy
from broker.downstream.clients import Clients
from broker.downstream.replies import body_of, json_reply, partner_endpoint
from broker.errors import BadAsk, Spent
from broker.flows.context import Clock, canonical
from broker.flows.handoff import Handoffs
from broker.wire.schema import MAX_PAYLOAD, PayloadSchema, read_object

_MEMBERS = frozenset({"partner", "purpose", "type", "subject", "contact", "payload", "return_uri", "language"})
_KEY = re.compile(r"^[\x21-\x7e]{1,200}\Z")
_MEMBER = re.compile(r"[a-z][a-z_]{0,30}\Z")
_PHONE = re.compile(r"^\+[1-9][0-9]{6,14}\Z")
_MAX_TEXT = 300


class OfferApi:
    """``POST /handoffs`` and ``GET /handoffs/{id}/status``."""

    def __init__(self, policy: Callable[[], Policy], clients: Clients, handoffs: Handoffs, clock: Clock) -> None:
        self._policy = policy
        self._clients = clients
        self._handoffs = handoffs
        self._clock = clock
        self._schemas: dict[tuple[str, str], PayloadSchema] = {}

    @partner_endpoint
    async def create(self, request: Request) -> Response:
        """Hand something over: 201, or 200 for a repeat with the same ``Idempotency-Key``."""
        client = await self._clients.authenticate(request, {})
        body = read_object(await request.body())
        offer = self._offer(client.id, body)
        created = await self._handoffs.create(offer, idempotency_key=_idempotency_key(request))
        return json_reply(self._shown(created.handoff, created.handle), 200 if created.is_repeat else 201)

    @partner_endpoint
    async def status(self, request: Request) -> Response:
        """How far a handoff got; what the customer shared or refused is not told."""
        client = await self._clients.authenticate(request, {})
        try:
            handoff = await self._handoffs.status(request.path_params["id"], source=client.id)
        except Spent:
            return json_reply(body_of("not_found", "no such handoff of this client"), 404)
        return json_reply({"handoff_id": handoff.id, "state": self._told(handoff)})

    def routes(self) -> list[Route]:
        """Both endpoints."""
        return [
            Route("/handoffs", self.create, methods=["POST"]),
            Route("/handoffs/{id}/status", self.status, methods=["GET"]),
        ]

    def _offer(self, source: str, body: Mapping[str, Any]) -> Offer:
        """The checked request. Raises BadAsk, from the first check that fails."""
        if unknown := set(body) - _MEMBERS:
            # Named only where they look like a developer's word: whatever else came as a member's name stays out of the log.
            named = sorted(name for name in unknown if _MEMBER.match(name))[:5]
            raise BadAsk(f"unknown members: {', '.join(named) or len(unknown)}", code="handoff.members")
        kind = _text(body, "type")
        payload = body.get("payload")
        if not isinstance(payload, dict) or len(canonical(payload)) > MAX_PAYLOAD:
            raise BadAsk("payload must be an object of at most 16 KiB", code="handoff.payload")
        self._schema(kind).check(payload)
        return Offer(
            source=source,
            recipient=_text(body, "partner"),
            purpose=_text(body, "purpose"),
            type=kind,
            payload=payload,
            return_uri=_text(body, "return_uri"),
            language=_optional_text(body, "language"),
            subject=_optional_text(body, "subject"),
            contact=_contact(body.get("contact")),
        )

    def _schema(self, kind: str) -> PayloadSchema:
        """The compiled schema of a payload type, compiled once per config version."""
        policy = self._policy()
        if kind not in policy.schemas:
            raise BadAsk("unknown payload type", code="handoff.type")
        key = (policy.version, kind)
        if key not in self._schemas:
            self._schemas[key] = PayloadSchema(policy.schemas[kind])
        return self._schemas[key]

    def _shown(self, handoff: Handoff, handle: str) -> dict[str, str]:
        return {
            "handoff_id": handoff.id,
            "link": f"{self._policy().issuer}/h/{handle}",
            "expires_at": handoff.expires_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "state": self._told(handoff),
        }

    def _told(self, handoff: Handoff) -> str:
        """
        The state as its source may know it.

        What the customer refuses or takes back is between her and the recipient: declined and bound look opened, revoked
        looks expired (her choice has no price).
        """
        if handoff.state is State.REVOKED or is_expired(handoff, self._clock()):
            return State.EXPIRED.value
        return State.OPENED.value if handoff.state in {State.DECLINED, State.BOUND} else handoff.state.value


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_TEXT or not value.isprintable():
        raise BadAsk(f"{name} must be a text of 1 to {_MAX_TEXT} printable characters", code="handoff.members")
    return value


def _optional_text(body: Mapping[str, Any], name: str) -> str | None:
    return None if body.get(name) is None else _text(body, name)


def _contact(value: Any) -> Contact:
    """The order's contact: e-mail address and E.164 phone number, each optional."""
    if value is None:
        return Contact()
    if not isinstance(value, dict) or set(value) - {"email", "phone"}:
        raise BadAsk("contact may hold email and phone only", code="handoff.contact")
    email, phone = _optional_text(value, "email"), _optional_text(value, "phone")
    if email is not None and not 1 <= email.find("@") < len(email) - 1:
        raise BadAsk("contact.email is no address", code="handoff.contact")
    if phone is not None and not _PHONE.match(phone):
        raise BadAsk("contact.phone must be E.164", code="handoff.contact")
    return Contact(email, phone)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.match(key):
        raise BadAsk("Idempotency-Key must be 1 to 200 visible ASCII characters", code="handoff.idempotency_key")
    return key
