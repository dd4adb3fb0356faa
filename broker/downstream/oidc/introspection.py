"""
The introspection endpoint (RFC 7662): is a token live, and what is it for?

It tells a resource server nothing about the customer but her subject, and how and when she authenticated, so that it can
ask for more (RFC 9470).
"""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.core.policy import Policy
from broker.downstream.clients import Api, Client, Clients
from broker.downstream.oidc.access_tokens import AccessTokens
from broker.downstream.replies import json_reply, partner_endpoint
from broker.errors import BadAsk, Spent
from broker.flows.issued import IssuedTokens, Standing
from broker.flows.values import TokenKind
from broker.web import params


class Introspection:
    """``/introspect``."""

    def __init__(
        self, policy: Callable[[], Policy], clients: Clients, issued: IssuedTokens, access_tokens: AccessTokens
    ) -> None:
        self._policy = policy
        self._clients = clients
        self._issued = issued
        self._access_tokens = access_tokens

    @partner_endpoint
    async def post(self, request: Request) -> Response:
        """How a token stands; ``{"active": false}`` for all that is none of the caller's business."""
        form = await params.form(request)
        # security: whoever cannot prove itself could try out tokens (RFC 7662 section 4), so public clients may not ask.
        caller = await self._clients.authenticate_caller(request, form)
        standing = await self._standing(presented_token(form), caller)
        return json_reply({"active": False} if standing is None else self._told(standing))

    def routes(self) -> list[Route]:
        """POST only (RFC 7662 section 2.1)."""
        return [Route("/introspect", self.post, methods=["POST"])]

    async def _standing(self, token: str, caller: Client | Api) -> Standing | None:
        try:
            inner, kinds = self._access_tokens.presented_any(token)
        except Spent:
            return None
        if isinstance(caller, Api):
            return await self._issued.for_resource(inner, kinds, resource=caller.id)
        return await self._issued.of_client(inner, kinds, partner=caller.id)

    def _told(self, standing: Standing) -> dict[str, Any]:
        """RFC 7662 section 2.2; what is not known is left out."""
        policy, grant = self._policy(), standing.grant
        partner = policy.partner(grant.partner)
        is_access = standing.kind is not TokenKind.REFRESH
        told: dict[str, Any] = {
            "active": True,
            "iss": policy.issuer,
            "sub": standing.subject,
            "client_id": partner.client.client_id if partner and partner.client else None,
            "scope": " ".join(grant.scopes),
            "exp": standing.expires_at,
            "token_type": "Bearer" if is_access else None,
            "aud": grant.target.audience if is_access and grant.target else None,
            "acr": grant.acr or None,
            "auth_time": grant.auth_time,
        }
        return {name: value for name, value in told.items() if value is not None}


def presented_token(form: Mapping[str, str]) -> str:
    """The ``token``. ``token_type_hint`` changes nothing: what a token is shows itself (RFC 7009 section 2.1)."""
    if "token" not in form:
        raise BadAsk("token is missing", code="token.token")
    return form["token"]
