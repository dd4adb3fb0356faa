"""
The userinfo endpoint (OpenID Connect Core section 5.3).
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.downstream.bearer import bearer_endpoint
from broker.downstream.replies import json_reply
from broker.errors import Gone, Spent
from broker.flows.tokens import TokenFlow


class Userinfo:
    """``/userinfo``."""

    def __init__(self, tokens: TokenFlow) -> None:
        self._tokens = tokens

    @bearer_endpoint
    async def answer(self, request: Request, token: str) -> Response:
        """The released claims; a withdrawn consent makes the token worthless."""
        try:
            grant = await self._tokens.userinfo(token)
        except Gone as error:
            # Client libraries know 401 here, not 410: the token no longer opens anything (RFC 6750 section 3.1).
            raise Spent(error.detail, code=error.code) from error
        return json_reply(grant.claims)

    def routes(self) -> list[Route]:
        """GET and POST (Core section 5.3.1)."""
        return [Route("/userinfo", self.answer, methods=["GET", "POST"])]
