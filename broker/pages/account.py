"""
The broker's own pages: the front page, "What I share", and leaving.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from broker.core.policy import Policy
from broker.core.session import Session
from broker.flows.consent import Consents
from broker.flows.login import Logins
from broker.flows.logout import Logouts
from broker.flows.values import Visitor
from broker.observe.logging import current_reference
from broker.pages.logo import Logos
from broker.pages.render import Pages
from broker.pages.show import Show
from broker.pages.views import (
    Action,
    Form,
    IndexPage,
    LoggedOutPage,
    LogoutConfirmPage,
    Page,
    SharedLoginPage,
    Way,
    mask_name,
)
from broker.web import cookies, csrf, params
from broker.web.hub import LOGGED_OUT_PATH, LOGOUT_CONFIRM_PATH, SHARED_PATH, Hub
from broker.web.visitor import visitor_of


class AccountPages:
    """Pages that belong to the browser's session and to no journey."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        logins: Logins,
        logouts: Logouts,
        consents: Consents,
        hub: Hub,
        pages: Pages,
        logos: Logos,
    ) -> None:
        self._policy = policy
        self._logins = logins
        self._logouts = logouts
        self._consents = consents
        self._hub = hub
        self._pages = pages
        self._logos = logos

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/", self.index, methods=["GET"]),
            Route(SHARED_PATH, self.shared, methods=["GET"]),
            Route(f"{SHARED_PATH}/log-in", self.log_in, methods=["GET"]),
            Route(f"{SHARED_PATH}/withdraw", self.withdraw, methods=["POST"]),
            Route(LOGOUT_CONFIRM_PATH, self.confirm, methods=["GET"]),
            Route(LOGOUT_CONFIRM_PATH, self.log_out, methods=["POST"]),
            Route(LOGGED_OUT_PATH, self.logged_out, methods=["GET"]),
        ]

    async def index(self, request: Request) -> Response:
        """What this place is."""
        visitor = self._visitor(request)
        return self._render(visitor, IndexPage(self._partners(visitor.language)))

    async def shared(self, request: Request) -> Response:
        """What the customer shares, with one click to stop each."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is None:
            return self._render(visitor, SharedLoginPage(f"{SHARED_PATH}/log-in"))
        sharing = await self._consents.sharing_of(session)
        gone = request.query_params.get("withdrawn")
        view = self._show(visitor).shared(
            sharing,
            session,
            withdraw=Form(f"{SHARED_PATH}/withdraw", self._token(visitor)),
            log_out=Form(LOGOUT_CONFIRM_PATH, self._token(visitor)),
            gone=gone if gone in self._policy().config.partners else None,
        )
        return self._render(visitor, view)

    async def log_in(self, request: Request) -> Response:
        """Log in to see it."""
        visitor = self._visitor(request)
        turn = await self._logins.begin_own(visitor)
        return await self._hub.go(request, visitor, turn, self._policy())

    async def withdraw(self, request: Request) -> Response:
        """Stop sharing; the next token, userinfo or data read is refused."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is None:
            return RedirectResponse(SHARED_PATH, status_code=303)
        fields = await params.form(request)
        csrf.check(request, fields, self._token(visitor), self._policy().issuer)
        record = await self._consents.withdraw(fields.get("consent", ""), session)
        return RedirectResponse(f"{SHARED_PATH}?withdrawn={record.recipient}", status_code=303)

    async def confirm(self, request: Request) -> Response:
        """Log out? Asked when no partner proved that it asks for this very session."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is None:
            return RedirectResponse(LOGGED_OUT_PATH, status_code=303)
        view = LogoutConfirmPage(Form(LOGOUT_CONFIRM_PATH, self._token(visitor)), customer=_masked(session))
        return self._render(visitor, view)

    async def log_out(self, request: Request) -> Response:
        """The customer's answer."""
        visitor = self._visitor(request)
        fields = await params.form(request)
        if visitor.session is not None:
            csrf.check(request, fields, self._token(visitor), self._policy().issuer)
        if fields.get("answer") == "stay":
            return RedirectResponse(SHARED_PATH, status_code=303)
        await self._logouts.end(visitor)
        response = RedirectResponse(LOGGED_OUT_PATH, status_code=303)
        cookies.clear_session(response)
        return response

    async def logged_out(self, request: Request) -> Response:
        """You are logged out here."""
        visitor = self._visitor(request)
        return self._render(visitor, LoggedOutPage(self._partners(visitor.language)))

    def _partners(self, language: str) -> tuple[Way, ...]:
        policy = self._policy()
        return tuple(
            Way(f"go-{name}", partner.home_uri, Action.GO_TO, policy.partner_name(name, language))
            for name, partner in list(policy.config.partners.items())[:12]
        )

    def _render(self, visitor: Visitor, view: Page) -> Response:
        return self._pages.render(view, language=visitor.language, reference=current_reference())

    def _show(self, visitor: Visitor) -> Show:
        return Show(self._policy(), self._logos, self._pages.words(visitor.language), visitor.language)

    def _token(self, visitor: Visitor) -> str:
        return self._logouts.form_token(visitor)

    def _visitor(self, request: Request) -> Visitor:
        return visitor_of(request, self._policy().broker)


def _masked(session: Session) -> str | None:
    return mask_name(session.profile.name) if session.profile.name else None
