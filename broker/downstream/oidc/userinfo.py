"""
The userinfo endpoint (OpenID Connect Core section 5.3).
"""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.core.policy import Policy
from broker.downstream.bearer import bearer_endpoint
from broker.downstream.oidc.access_tokens import AccessTokens
from broker.downstream.replies import json_reply, jwt_reply
from broker.errors import Gone, Spent
from broker.flows.tokens import TokenFlow
from broker.flows.values import Grant
from broker.wire.jose import Keyring


class Userinfo:
    """``/userinfo``."""

    def __init__(
        self, policy: Callable[[], Policy], tokens: TokenFlow, access_tokens: AccessTokens, keyring: Keyring
    ) -> None:
        self._policy = policy
        self._tokens = tokens
        self._access_tokens = access_tokens
        self._keyring = keyring

    @bearer_endpoint
    async def answer(self, request: Request, token: str) -> Response:
        """The released claims; a withdrawn consent makes the token worthless."""
        inner, (kind,) = self._access_tokens.presented(token)
        try:
            grant = await self._tokens.userinfo(inner, kind)
        except Gone as error:
            # Client libraries know 401 here, not 410: the token no longer opens anything (RFC 6750 section 3.1).
            raise Spent(error.detail, code=error.code) from error
        return self._as_registered(grant)

    def routes(self) -> list[Route]:
        """GET and POST (Core section 5.3.1)."""
        return [Route("/userinfo", self.answer, methods=["GET", "POST"])]

    def _as_registered(self, grant: Grant) -> Response:
        """JSON, or signed where the partner is registered for it (Core section 5.3.2: then with ``iss`` and ``aud``)."""
        policy = self._policy()
        partner = policy.partner(grant.partner)
        oidc = partner.oidc if partner else None
        if oidc is None or oidc.userinfo_signed_response_alg is None:
            return json_reply(grant.claims)
        claims: dict[str, Any] = {**grant.claims, "iss": policy.issuer, "aud": oidc.client_id}
        return jwt_reply(self._keyring.sign(claims, alg=oidc.userinfo_signed_response_alg.value))
