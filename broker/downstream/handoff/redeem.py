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
from broker.downstream.replies import body_of, json_reply, note_refusal, partner_endpoint
from broker.errors import BadAsk, ConsentWithdrawn, Gone, Spent
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

    async def read(self, request: Request) -> Response:
        """
        The data, by an access token; or by itself for a partner that got an assertion and no token.

        404 for another handoff than the token's or the partner's, 410 once withdrawn, expired or erased.
        """
        if _proves_client(request):
            return await self._read_as_client(request)
        return await self._read_by_token(request)

    @partner_endpoint
    async def _read_as_client(self, request: Request) -> Response:
        client = await self._clients.authenticate(request, {})
        if client.partner.saml is None:
            raise BadAsk("read handoffs by your access token", oauth_error="unauthorized_client", code="client.oidc")
        try:
            reading = await self._handoffs.fetch(request.path_params["id"], recipient=client.id)
        except (Spent, Gone) as error:
            return _not_hers(error)
        return json_reply(_shown(reading) | {"state": reading.handoff.state.value})

    @bearer_endpoint
    async def _read_by_token(self, request: Request, token: str) -> Response:
        reading = await self._tokens.read_handoff(token, request.path_params["id"])
        return json_reply(_shown(reading) | {"state": reading.handoff.state.value})

    async def acknowledge(self, request: Request) -> Response:
        """The recipient says what it did, by its access token or as itself; repeating it is harmless."""
        if _proves_client(request):
            return await self._acknowledge_as_client(request)
        return await self._acknowledge_by_token(request)

    @bearer_endpoint
    async def _acknowledge_by_token(self, request: Request, token: str) -> Response:
        recipient = await self._tokens.may_write_handoff(token, request.path_params["id"])
        return await self._acknowledged(request, recipient)

    @partner_endpoint
    async def _acknowledge_as_client(self, request: Request) -> Response:
        client = await self._clients.authenticate(request, {})
        try:
            return await self._acknowledged(request, client.id)
        except (Spent, Gone) as error:
            return _not_hers(error)

    async def _acknowledged(self, request: Request, recipient: str) -> Response:
        result, reference = _acknowledgement(read_object(await request.body()))
        handoff = await self._handoffs.acknowledge(
            request.path_params["id"], recipient=recipient, result=result, reference=reference
        )
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


def _not_hers(error: Spent | Gone) -> Response:
    """security: one that never was and somebody else's look alike."""
    is_hers = isinstance(error, Gone) and error.code in {Gone.default_code, ConsentWithdrawn.default_code}
    code, status = ("gone", 410) if is_hers else ("not_found", 404)
    note_refusal(error, status)
    return json_reply(body_of(code, "withdrawn" if is_hers else "no such handoff of this client"), status)


def _proves_client(request: Request) -> bool:
    """Whether the caller is named by client authentication: Basic, or an assertion, which unlike our tokens has dots."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "basic" or (scheme.lower() == "bearer" and value.count(".") == 2)


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
