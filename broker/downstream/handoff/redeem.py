"""
Recipients: read what the customer agreed to, acknowledge it, and fetch guests' product data.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.core.handoff import Handoff, Result
from broker.downstream.bearer import bearer_endpoint
from broker.downstream.clients import Clients
from broker.downstream.replies import json_reply, partner_endpoint
from broker.errors import BadAsk
from broker.flows.handoff import Handoffs, Reading
from broker.flows.tokens import TokenFlow
from broker.wire.schema import read_object

_MAX_REFERENCE = 100


class RedeemApi:
    """``GET /handoffs/{id}``, ``POST /handoffs/{id}/acknowledgement``, ``POST /handoffs/guest``."""

    def __init__(self, clients: Clients, tokens: TokenFlow, handoffs: Handoffs) -> None:
        self._clients = clients
        self._tokens = tokens
        self._handoffs = handoffs

    @bearer_endpoint
    async def read(self, request: Request, token: str) -> Response:
        """The data. 404 for another handoff than the token's, 410 once withdrawn, expired or erased."""
        reading = await self._tokens.read_handoff(token, request.path_params["id"])
        return json_reply(_shown(reading) | {"state": reading.handoff.state.value})

    @bearer_endpoint
    async def acknowledge(self, request: Request, token: str) -> Response:
        """The recipient says what it did; repeating it is harmless."""
        handoff_id = request.path_params["id"]
        body = read_object(await request.body())
        result, reference = _acknowledgement(body)
        recipient = await self._tokens.may_write_handoff(token, handoff_id)
        handoff = await self._handoffs.acknowledge(handoff_id, recipient=recipient, result=result, reference=reference)
        return json_reply({"id": handoff.id, "state": handoff.state.value})

    @partner_endpoint
    async def guest(self, request: Request) -> Response:
        """Exchange a one-time guest reference for product data."""
        client = await self._clients.authenticate(request, {})
        body = read_object(await request.body())
        reference = body.get("ref")
        if not isinstance(reference, str) or set(body) != {"ref"}:
            raise BadAsk('the body must be {"ref": "..."}', code="handoff.members")
        reading = await self._handoffs.redeem_guest(reference, client.id)
        shown = _shown(reading)
        return json_reply({key: shown[key] for key in ("id", "type", "purpose", "source", "claims")})

    def routes(self) -> list[Route]:
        """All three endpoints."""
        return [
            Route("/handoffs/guest", self.guest, methods=["POST"]),
            Route("/handoffs/{id}", self.read, methods=["GET"]),
            Route("/handoffs/{id}/acknowledgement", self.acknowledge, methods=["POST"]),
        ]


def _shown(reading: Reading) -> dict[str, Any]:
    handoff: Handoff = reading.handoff
    return {
        "id": handoff.id,
        "type": handoff.type,
        "purpose": handoff.purpose,
        "source": handoff.source,
        "consent_id": handoff.consent,
        "claims": reading.claims,
        "withheld": list(reading.withheld),
    }


def _acknowledgement(body: dict[str, Any]) -> tuple[Result, str | None]:
    if set(body) - {"result", "reference"}:
        raise BadAsk("an acknowledgement has result and reference only", code="handoff.members")
    try:
        result = Result(body.get("result", ""))
    except ValueError as error:
        raise BadAsk("result must be linked, created or booked", code="handoff.members") from error
    reference = body.get("reference")
    if reference is not None and not _is_reference(reference):
        raise BadAsk("reference must be a text of 1 to 100 printable characters", code="handoff.members")
    return result, reference


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= _MAX_REFERENCE and value.isprintable()
