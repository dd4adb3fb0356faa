"""
Customer service for an agent's own tools: the same as the pages, by a member of staff's access token.
"""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.core.case import Case, Standing
from broker.core.policy import Policy
from broker.downstream.bearer import bearer_endpoint
from broker.downstream.oidc.access_tokens import AccessTokens
from broker.downstream.replies import body_of, json_reply
from broker.errors import BadAsk, Denied, Gone, Spent
from broker.flows.service_desk import ServiceDesks
from broker.flows.tokens import TokenFlow
from broker.flows.values import DESK_SCOPE, Grant
from broker.wire.schema import read_object

_MEMBERS = frozenset({"method", "identifier", "reference", "language", "initiator"})


class ServiceDeskApi:
    """``POST /desk/cases``, ``GET /desk/cases/{id}``, ``POST /desk/cases/{id}/code``, ``POST /desk/cases/{id}/cancellation``."""

    def __init__(
        self, policy: Callable[[], Policy], desks: ServiceDesks, tokens: TokenFlow, access_tokens: AccessTokens
    ) -> None:
        self._policy = policy
        self._desks = desks
        self._tokens = tokens
        self._access_tokens = access_tokens

    @bearer_endpoint
    async def open(self, request: Request, token: str) -> Response:
        """Ask a caller: 201."""
        grant = await self._agent(token)
        body = read_object(await request.body())
        if unknown := set(body) - _MEMBERS:
            raise BadAsk(f"{len(unknown)} unknown members", code="desk.members")
        language = _text(body, "language", self._policy().broker.default_language)
        if language not in self._policy().broker.languages:
            raise BadAsk("language is none of the broker's", code="desk.language")
        initiator = _text(body, "initiator", "caller")
        if initiator not in {"caller", "us"}:
            raise BadAsk("initiator must be caller or us", code="desk.initiator")
        case = await self._desks.open(
            grant.customer,
            method=_text(body, "method"),
            identifier=_text(body, "identifier"),
            reference=_text(body, "reference", ""),
            language=language,
            incoming=initiator == "caller",
            network=_network(request),
        )
        return json_reply(await self._shown(case, grant), 201)

    @bearer_endpoint
    async def look(self, request: Request, token: str) -> Response:
        """How it stands; ask again every two seconds while it is ``waiting``."""
        grant = await self._agent(token)
        try:
            case = await self._desks.look(grant.customer, request.path_params["id"])
        except Spent:
            return _no_such_case()
        return json_reply(await self._shown(case, grant))

    @bearer_endpoint
    async def enter(self, request: Request, token: str) -> Response:
        """The caller read a code out; ``code`` in the answer says what became of it."""
        grant = await self._agent(token)
        body = read_object(await request.body())
        if set(body) != {"code"}:
            raise BadAsk("the body has the member code", code="desk.members")
        try:
            case = await self._desks.enter(
                grant.customer, request.path_params["id"], _text(body, "code"), _network(request)
            )
        except Spent:
            return _no_such_case()
        return json_reply(await self._shown(case, grant))

    @bearer_endpoint
    async def cancel(self, request: Request, token: str) -> Response:
        """Give up; harmless when it is over."""
        grant = await self._agent(token)
        try:
            case = await self._desks.cancel(grant.customer, request.path_params["id"])
        except Spent:
            return _no_such_case()
        return json_reply(await self._shown(case, grant))

    def routes(self) -> list[Route]:
        """All four."""
        return [
            Route("/desk/cases", self.open, methods=["POST"]),
            Route("/desk/cases/{id}", self.look, methods=["GET"]),
            Route("/desk/cases/{id}/code", self.enter, methods=["POST"]),
            Route("/desk/cases/{id}/cancellation", self.cancel, methods=["POST"]),
        ]

    async def _agent(self, token: str) -> Grant:
        """Raises: Spent; Denied: the token is not for this."""
        inner, (kind,) = self._access_tokens.presented(token)
        try:
            grant = await self._tokens.userinfo(inner, kind)
        except Gone as error:
            raise Spent(error.detail, code=error.code) from error
        desk = self._policy().config.service_desk
        if desk is None or grant.partner not in desk.clients or DESK_SCOPE not in grant.scopes:
            raise Denied("the token is not for customer service", code="desk.scope")
        return grant

    async def _shown(self, case: Case, grant: Grant) -> dict[str, Any]:
        shown: dict[str, Any] = {"case": case.id, "reference": case.reference, "standing": case.standing.value}
        if case.takes_code and not case.is_over:
            shown["code"] = case.message_key.rpartition(".")[2]
        if case.standing is Standing.CONFIRMED:
            sub = await self._desks.subject_of(case, grant.partner)
            shown |= {"assurance": case.level.value if case.level else None, "sub": sub}
        return shown


def _network(request: Request) -> str:
    return str(request.scope.get("state", {}).get("address", ""))


def _no_such_case() -> Response:
    return json_reply(body_of("not_found", "no such case of this agent"), 404)


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise BadAsk(f"{name} must be a printable text", code="desk.members")
    return value
