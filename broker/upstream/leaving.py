"""
``/up/{upstream}/leave`` and ``/up/{upstream}/slo``: a customer who left here is sent to the provider she had logged in by, and
comes back; and where a provider asks us to end our sessions.
"""

from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from broker.core.logout import Fate
from broker.core.policy import Policy
from broker.errors import BadAsk, UpstreamDown
from broker.flows.context import Clock
from broker.flows.provider_logouts import Over, ProviderLogouts
from broker.flows.values import ProviderAnswer
from broker.observe.logging import log
from broker.upstream.port import Connector, LeaveAnswered, LeaveAsked, LogoutConnector, PostForm, Redirect, SingleLogout
from broker.web import params
from broker.web.hub import LOGGED_OUT_PATH, Exit, FormPost, Hub, way_out
from broker.web.visitor import visitor_of

_LARGEST_FORM: Final = 64 * 1024


class UpstreamLeaving:
    """One per process."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        logouts: ProviderLogouts,
        connectors: Mapping[str, Connector],
        hub: Hub,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._logouts = logouts
        self._connectors = connectors
        self._hub = hub
        self._clock = clock

    async def leave(self, request: Request) -> Response:
        """She is logged out here already, and goes to the provider to be logged out there."""
        upstream, token = request.path_params["upstream"], params.query(request).get("of", "")
        page = params.with_query(LOGGED_OUT_PATH, {"of": token})
        there, logout = await self._logouts.at(token, upstream), self._logout(upstream)
        if there is None:
            return RedirectResponse(page, status_code=303)
        try:
            if logout is None:
                raise UpstreamDown("config does not want that any more", code="saml.slo")
            sent = await logout.leave(there.leave, now=self._clock())
        except UpstreamDown as error:
            log("logout.not_sent", "warning", upstream=upstream, code=error.code, detail=error.detail)
            await self._logouts.failed(token)
            return RedirectResponse(page, status_code=303)
        visitor = visitor_of(request, self._policy().broker)
        await self._logouts.send_away(token, upstream, sent.request_id, visitor)
        return self._hub.leave_for(request, visitor, _exit(sent.prompt, page))

    async def get(self, request: Request) -> Response:
        """A message in the query; our cookies came along."""
        query = request.scope["query_string"].decode("latin-1")
        upstream, message = request.path_params["upstream"], await self._taken(request, query)
        if isinstance(message, LeaveAsked):
            return await self._asked(request, upstream, message)
        return await self._back(request, _answer(upstream, message))

    async def post(self, request: Request) -> Response:
        """
        A message in a form, which came without our cookies: an answer is fetched with them by a GET to ourselves. A request needs
        none, since the provider says whose sessions it means.
        """
        form = await params.form(request, largest=_LARGEST_FORM)
        upstream, message = request.path_params["upstream"], await self._taken(request, form)
        if isinstance(message, LeaveAsked):
            return await self._asked(request, upstream, message)
        reference = await self._logouts.keep(_answer(upstream, message))
        return RedirectResponse(f"/up/{upstream}/slo/{reference}", status_code=303)

    async def fetch(self, request: Request) -> Response:
        """A posted answer goes on, with the browser's cookies."""
        upstream, reference = request.path_params["upstream"], request.path_params["reference"]
        return await self._back(request, await self._logouts.kept(upstream, reference))

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/up/{upstream}/leave", self.leave, methods=["GET"]),
            Route("/up/{upstream}/slo", self.get, methods=["GET"]),
            Route("/up/{upstream}/slo", self.post, methods=["POST"]),
            Route("/up/{upstream}/slo/{reference}", self.fetch, methods=["GET"]),
        ]

    def _logout(self, upstream: str) -> SingleLogout | None:
        connector = self._connectors.get(upstream)
        return connector.logout if isinstance(connector, LogoutConnector) else None

    def _address(self, upstream: str) -> str:
        return f"{self._policy().broker.issuer}/up/{upstream}"

    async def _taken(self, request: Request, message: str | Mapping[str, str]) -> LeaveAsked | LeaveAnswered:
        """Raises: BadAsk: nothing is known of where she could be sent instead, so it is shown here and sent nowhere."""
        upstream = request.path_params["upstream"]
        if (logout := self._logout(upstream)) is None:
            raise BadAsk("no provider that speaks of logouts", code="saml.slo")
        return await logout.taken(message, address=self._address(upstream), now=self._clock())

    async def _asked(self, request: Request, upstream: str, asked: LeaveAsked) -> Response:
        logout = self._logout(upstream)
        if logout is None:
            raise BadAsk("no provider that speaks of logouts", code="saml.slo")
        over = Over(
            upstream, asked.request_id, asked.session, asked.issued_at, lambda left: logout.is_meant(left, asked)
        )
        ended = await self._logouts.end(over)
        log("upstream.logged_out", upstream=upstream, sessions=ended)
        prompt = await logout.answer(asked, address=self._address(upstream), now=self._clock())
        visitor = visitor_of(request, self._policy().broker)
        return self._hub.leave_for(request, visitor, _exit(prompt, None))

    async def _back(self, request: Request, answer: ProviderAnswer) -> Response:
        """She comes back, and reads how it went, or goes on to where she was heading."""
        visitor = visitor_of(request, self._policy().broker)
        parted = await self._logouts.answered(answer, visitor)
        log("logout.at_provider", upstream=answer.upstream, outcome=answer.fate.value)
        return RedirectResponse(way_out(parted) if parted is not None else LOGGED_OUT_PATH, status_code=303)


def _answer(upstream: str, answered: LeaveAnswered) -> ProviderAnswer:
    done = Fate.PARTLY if answered.is_partial else Fate.TOLD
    return ProviderAnswer(upstream, answered.request_id, done if answered.is_done else Fate.UNTOLD)


def _exit(prompt: Redirect | PostForm, back: str | None) -> Exit:
    return prompt.url if isinstance(prompt, Redirect) else FormPost(prompt.url, prompt.members, back)
