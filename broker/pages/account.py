"""
The broker's own pages: the front page, "What I share", and leaving.
"""

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from broker.core.changing import replace
from broker.core.logout import AtProvider, Farewell, Fate, still_open
from broker.core.policy import Policy
from broker.core.session import Session
from broker.flows.consent import Consents
from broker.flows.login import Logins
from broker.flows.logout import Logouts, Parted
from broker.flows.values import Visitor
from broker.observe.logging import current_reference
from broker.pages.logo import Logos
from broker.pages.passkeys import PasskeyPages
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
    StillIn,
    Way,
    mask_name,
)
from broker.pages.ways_in import WaysInPages
from broker.web import cookies, csrf, params
from broker.web.hub import LOGGED_OUT_PATH, LOGOUT_CONFIRM_PATH, SAML_LEAVE_PATH, SHARED_PATH, Hub, leave_path, way_out
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
        passkeys: PasskeyPages,
        ways_in: WaysInPages,
    ) -> None:
        self._policy = policy
        self._logins = logins
        self._logouts = logouts
        self._consents = consents
        self._hub = hub
        self._pages = pages
        self._logos = logos
        self._passkeys = passkeys
        self._ways_in = ways_in

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/", self.index, methods=["GET"]),
            Route(SHARED_PATH, self.shared, methods=["GET"]),
            Route(f"{SHARED_PATH}/log-in", self.log_in, methods=["GET"]),
            Route(f"{SHARED_PATH}/withdraw", self.withdraw, methods=["POST"]),
            Route(f"{SHARED_PATH}/sign-out", self.sign_out, methods=["POST"]),
            Route(f"{SHARED_PATH}/forget-device", self.forget_device, methods=["POST"]),
            Route(LOGOUT_CONFIRM_PATH, self.confirm, methods=["GET"]),
            Route(LOGOUT_CONFIRM_PATH, self.log_out, methods=["POST"]),
            Route(LOGGED_OUT_PATH, self.logged_out, methods=["GET"]),
        ]

    async def index(self, request: Request) -> Response:
        """What this place is."""
        visitor = self._visitor(request)
        return self._render(visitor, IndexPage(self._partners(visitor.language)))

    async def shared(self, request: Request) -> Response:
        """What the customer shares and where she is logged in, with one click to stop each."""
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
        logins = [
            self._show(visitor).login(each, is_here=self._logouts.is_here(visitor, each))
            for each in await self._logouts.sessions_of(visitor, session)
        ]
        view = replace(
            view,
            logins=tuple(logins),
            sign_out=Form(f"{SHARED_PATH}/sign-out", self._token(visitor)),
            signed_out="signed_out" in request.query_params,
            passkeys=await self._passkeys.listed(request, visitor, session),
            ways_in=await self._ways_in.listed(request, visitor, session),
            forget_device=Form(f"{SHARED_PATH}/forget-device", self._token(visitor)) if visitor.device else None,
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
        fields = await self._posted(request, visitor)
        record = await self._consents.withdraw(fields.get("consent", ""), session)
        return RedirectResponse(f"{SHARED_PATH}?withdrawn={record.recipient}", status_code=303)

    async def sign_out(self, request: Request) -> Response:
        """End one of the customer's sessions on another browser, or all others."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is None:
            return RedirectResponse(SHARED_PATH, status_code=303)
        fields = await self._posted(request, visitor)
        name = fields.get("session", "")
        await self._logouts.end_elsewhere(visitor, session, None if name == "others" else name)
        return RedirectResponse(f"{SHARED_PATH}?signed_out=1#logins-title", status_code=303)

    async def forget_device(self, request: Request) -> Response:
        """Remember this browser no more."""
        visitor = self._visitor(request)
        response = RedirectResponse(SHARED_PATH, status_code=303)
        if await self._logouts.session_of(visitor) is not None:
            await self._posted(request, visitor)
            await self._logins.forget_device(visitor)
            cookies.clear_device(response)
        return response

    async def confirm(self, request: Request) -> Response:
        """Log out? Asked when no partner proved that it asks for this very session."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is None:
            return RedirectResponse(LOGGED_OUT_PATH, status_code=303)
        kept = request.query_params.get("wish", "")
        wish = self._logouts.open_wish(kept)
        view = LogoutConfirmPage(
            Form(LOGOUT_CONFIRM_PATH, self._token(visitor)),
            partner=self._show(visitor).party(wish.partner) if wish.partner else None,
            customer=_masked(session),
            wish=kept if wish.partner else "",
        )
        here = params.with_query(LOGOUT_CONFIRM_PATH, {"wish": kept}) if wish.partner else ""
        return self._render(visitor, view, here=here)

    async def log_out(self, request: Request) -> Response:
        """The customer's answer."""
        visitor = self._visitor(request)
        fields = await params.form(request)
        if visitor.session is not None:
            csrf.check(request, fields, self._token(visitor), self._policy().issuer)
        if fields.get("answer") == "stay":
            return RedirectResponse(SHARED_PATH, status_code=303)
        parted = await self._logouts.end(visitor, self._logouts.open_wish(fields.get("wish")))
        url = way_out(parted)
        response = self._hub.leave_for(request, visitor, url) if url == parted.target else _see(url)
        if visitor.session is not None:
            # security: another site's form comes without the cookie, and must not take it away either
            cookies.clear_session(response)
        return response

    async def logged_out(self, request: Request) -> Response:
        """You are logged out here; and there, and there perhaps not."""
        visitor, token = self._visitor(request), request.query_params.get("of", "")
        parted = await self._logouts.look(token)
        if parted is None or parted.farewell is None:
            return self._render(visitor, LoggedOutPage(self._partners(visitor.language)))
        view = self._parting(parted, parted.farewell, visitor.language)
        return self._render(visitor, view, here=params.with_query(LOGGED_OUT_PATH, {"of": token}))

    def _parting(self, parted: Parted, farewell: Farewell, language: str) -> LoggedOutPage:
        policy = self._policy()
        by = policy.partner_name(farewell.by, language) if farewell.by else ""
        told = [partner for partner, fate in parted.known.items() if fate is Fate.TOLD and partner != farewell.by]
        still = still_open(parted.known)
        provider = farewell.provider
        is_in = provider is not None and provider.fate is not Fate.TOLD
        out = (self._provider_name(provider.upstream, language),) if provider is not None and not is_in else ()
        there = (self._still_at(provider, farewell.token, language),) if provider is not None and is_in else ()
        names = tuple(policy.partner_name(partner, language) for partner in told)
        sites = tuple(self._still_in(partner, parted.known[partner], farewell.token, language) for partner in still)
        return LoggedOutPage(
            ways=self._partners(language),
            told=(*out, *names),
            still=(*there, *sites),
            frames=tuple(_frame(policy, each.partner, each.sid) for each in farewell.parties if each.front),
            onward=Way("onward", farewell.target, Action.BACK_TO, by) if farewell.target else None,
            goes_on=not is_in and all(parted.known[partner] is Fate.OFFERED for partner in still),
        )

    def _still_at(self, provider: AtProvider, token: str, language: str) -> StillIn:
        """The provider she had logged in by, where she can be sent (again) to be logged out."""
        name = self._provider_name(provider.upstream, language)
        there = params.with_query(leave_path(provider.upstream), {"of": token})
        return StillIn(name, provider.fate.value, Way("still-at-provider", there, Action.GO_TO, name))

    def _provider_name(self, upstream: str, language: str) -> str:
        known = self._policy().config.upstreams.get(upstream)
        return self._policy().text(known.titles, language) if known is not None else upstream

    def _still_in(self, partner: str, fate: Fate, token: str, language: str) -> StillIn:
        policy = self._policy()
        known, name = policy.partner(partner), policy.partner_name(partner, language)
        home = known.home_uri if known is not None else "/"
        if fate is Fate.REACHABLE:
            home = params.with_query(SAML_LEAVE_PATH, {"of": token, "at": partner})
        return StillIn(name, fate.value, Way(f"still-{partner}", home, Action.GO_TO, name))

    def _partners(self, language: str) -> tuple[Way, ...]:
        policy = self._policy()
        return tuple(
            Way(f"go-{name}", partner.home_uri, Action.GO_TO, policy.partner_name(name, language))
            for name, partner in list(policy.config.customers_partners.items())[:12]
        )

    def _render(self, visitor: Visitor, view: Page, *, here: str = "") -> Response:
        return self._pages.render(view, language=visitor.language, reference=current_reference(), here=here)

    def _show(self, visitor: Visitor) -> Show:
        return Show(self._policy(), self._logos, self._pages.words(visitor.language), visitor.language)

    async def _posted(self, request: Request, visitor: Visitor) -> Mapping[str, str]:
        """A form of one of her pages: token and origin are hers and ours."""
        fields = await params.form(request)
        csrf.check(request, fields, self._token(visitor), self._policy().issuer)
        return fields

    def _token(self, visitor: Visitor) -> str:
        return self._logouts.form_token(visitor)

    def _visitor(self, request: Request) -> Visitor:
        return visitor_of(request, self._policy().broker)


def _see(url: str) -> Response:
    return RedirectResponse(url, status_code=303)


def _frame(policy: Policy, partner: str, sid: str) -> str:
    """Where the partner ends its session in this browser (OpenID Connect Front-Channel Logout 1.0 section 2)."""
    known = policy.partner(partner)
    uri = known.oidc.frontchannel_logout_uri if known is not None and known.oidc is not None else None
    return params.with_query(uri, {"iss": policy.issuer, "sid": sid}) if uri is not None else ""


def _masked(session: Session) -> str | None:
    return mask_name(session.profile.name) if session.profile.name else None
