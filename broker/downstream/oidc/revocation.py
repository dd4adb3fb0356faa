"""
The revocation endpoint (RFC 7009): a client has no more use for a token.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.downstream.clients import Clients
from broker.downstream.oidc.access_tokens import AccessTokens
from broker.downstream.oidc.introspection import presented_token
from broker.downstream.replies import json_reply, partner_endpoint
from broker.errors import BadAsk, Spent
from broker.flows.issued import IssuedTokens
from broker.web import params


class Revocation:
    """``/revoke``."""

    def __init__(self, clients: Clients, issued: IssuedTokens, access_tokens: AccessTokens) -> None:
        self._clients = clients
        self._issued = issued
        self._access_tokens = access_tokens

    @partner_endpoint
    async def post(self, request: Request) -> Response:
        """
        End the grant of a token of the client's own.

        200 as well for a token that is unknown, ended or another client's, which stays as it is: a client has nothing to do
        about it, and a thief learns nothing (RFC 7009 section 2.2).
        """
        form = await params.form(request)
        client = await self._clients.identify(request, form)
        token = presented_token(form)
        try:
            inner, kinds = self._access_tokens.presented_any(token)
        except Spent:
            check_revocable(token, self._access_tokens)
        else:
            await self._issued.revoke(inner, kinds, partner=client.id)
        return json_reply({})

    def routes(self) -> list[Route]:
        """POST only (RFC 7009 section 2.1)."""
        return [Route("/revoke", self.post, methods=["POST"])]


def check_revocable(token: str, access_tokens: AccessTokens) -> None:
    """ID tokens and the like are statements: nobody can take them back (RFC 7009 section 2.2.1)."""
    if access_tokens.is_other(token):
        raise BadAsk(
            "only access and refresh tokens can be revoked", oauth_error="unsupported_token_type", code="token.kind"
        )
