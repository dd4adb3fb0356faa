"""
The customer's own page, continued: her ways to log in. She adds one by logging in by it, and takes out one she no longer wants.
"""

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from broker.core.identity import ContactKind
from broker.core.journey import Errand
from broker.core.memory import mask_address, mask_number, mask_phone
from broker.core.naming import is_id
from broker.core.policy import Policy
from broker.core.session import Session
from broker.errors import BadAsk
from broker.flows.links import OnFile
from broker.flows.login import Logins
from broker.flows.logout import Logouts
from broker.flows.values import Visitor
from broker.flows.ways import Outcome, OwnWay, Ways
from broker.observe.logging import current_reference
from broker.pages.render import Pages
from broker.pages.views import Form, Page, RemoveWayPage, ShownNumber, ShownWay, WaysIn
from broker.web import cookies, csrf, params
from broker.web.hub import SHARED_PATH, Hub
from broker.web.visitor import visitor_of

_PATH = f"{SHARED_PATH}/ways"
_HERE = "#ways-title"
SAID = frozenset(
    {"removed", "restored", "unlinked", *(f"not_{each.value}" for each in Outcome if each is not Outcome.DONE)}
)
"""What her page may say of a change a moment ago."""


class WaysInPages:
    """Pages that belong to the browser's session and to no journey."""

    def __init__(
        self, policy: Callable[[], Policy], logins: Logins, logouts: Logouts, ways: Ways, hub: Hub, pages: Pages
    ) -> None:
        self._policy = policy
        self._logins = logins
        self._logouts = logouts
        self._ways = ways
        self._hub = hub
        self._pages = pages

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route(f"{_PATH}/add", self.add, methods=["GET"]),
            Route(f"{_PATH}/renew", self.renew, methods=["GET"]),
            Route(f"{_PATH}/remove", self.remove, methods=["GET"]),
            Route(f"{_PATH}/remove", self.removed, methods=["POST"]),
            Route(f"{_PATH}/restore", self.restored, methods=["POST"]),
            Route(f"{_PATH}/number", self.unlinked, methods=["POST"]),
        ]

    async def listed(self, request: Request, visitor: Visitor, session: Session) -> WaysIn:
        """Her ways to log in, as a part of her own page."""
        own, said = await self._ways.of(session), request.query_params.get("way", "")
        return WaysIn(
            ways=tuple(self._shown(each, visitor.language) for each in own.ways),
            removed=tuple(self._shown(each, visitor.language) for each in own.removed) if own.is_fresh else (),
            remove_url=f"{_PATH}/remove?way=",
            restore=Form(f"{_PATH}/restore", self._logouts.form_token(visitor)),
            add_url=f"{_PATH}/add" if own.refusal is None and self._has_more() else None,
            refusal_key=f"ways.refusal.{own.refusal.value}" if own.refusal is not None else None,
            method=self._title(session.upstream, visitor.language),
            said=said if said in SAID else None,
            numbers=self._numbers(session, visitor.language),
            unlink=Form(f"{_PATH}/number", self._logouts.form_token(visitor)),
        )

    async def add(self, request: Request) -> Response:
        """Log in by another way, to add it; changes nothing by itself."""
        visitor = self._visitor(request)
        return await self._hub.go(request, visitor, await self._logins.begin_own(visitor, Errand.ADD), self._policy())

    async def renew(self, request: Request) -> Response:
        """Prove anew who she is, to take one out; comes back to `remove`."""
        visitor, wanted = self._visitor(request), request.query_params.get("way", "")
        back = _removal_of(wanted) if is_id(wanted) else ""
        turn = await self._logins.begin_own(visitor, Errand.RENEW, back=back)
        return await self._hub.go(request, visitor, turn, self._policy())

    async def remove(self, request: Request) -> Response:
        """Take it out? What that means is said before; and whoever proved too long ago who she is logs in once more first."""
        visitor, wanted = self._visitor(request), request.query_params.get("way", "")
        session = await self._logouts.session_of(visitor)
        own = await self._ways.of(session) if session is not None else None
        meant = next((each for each in own.ways if each.name == wanted and each.may_remove), None) if own else None
        if own is None or meant is None:
            return _see(SHARED_PATH)
        undo = self._policy().broker.linking.undo
        view = RemoveWayPage(
            Form(f"{_PATH}/remove", self._logouts.form_token(visitor)),
            SHARED_PATH,
            self._shown(meant, visitor.language),
            undo_days=max(1, undo.days),
            renew_url=None if own.is_fresh else params.with_query(f"{_PATH}/renew", {"way": wanted}),
        )
        return self._render(visitor, view, here=_removal_of(wanted))

    async def removed(self, request: Request) -> Response:
        """Take it out."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is None:
            return _see(SHARED_PATH)
        fields = await self._posted(request, visitor)
        if fields.get("answer") != "remove":
            raise BadAsk("unknown answer", code="form.answer")
        way = fields.get("way", "")
        outcome, was_here = await self._ways.remove(session, way, visitor.language)
        if outcome is Outcome.STALE:
            return _see(_removal_of(way))
        response = _told("removed" if outcome is Outcome.DONE else f"not_{outcome.value}")
        if was_here:
            cookies.clear_session(response)
        return response

    async def restored(self, request: Request) -> Response:
        """Bring it back."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is None:
            return _see(SHARED_PATH)
        fields = await self._posted(request, visitor)
        outcome = await self._ways.restore(session, fields.get("way", ""), visitor.language)
        return _told("restored" if outcome is Outcome.DONE else f"not_{outcome.value}")

    async def unlinked(self, request: Request) -> Response:
        """Link a member number no more."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is None:
            return _see(SHARED_PATH)
        fields = await self._posted(request, visitor)
        await self._ways.unlink_number(session, fields.get("partner", ""))
        return _told("unlinked")

    def _numbers(self, session: Session, language: str) -> tuple[ShownNumber, ...]:
        policy = self._policy()
        return tuple(
            ShownNumber(partner, policy.partner_name(partner, language), mask_number(number))
            for partner, number in session.profile.member_numbers.items()
            if policy.partner(partner) is not None
        )

    def _shown(self, way: OwnWay, language: str) -> ShownWay:
        upstream = self._policy().config.upstreams.get(way.upstream)
        return ShownWay(
            name=way.name,
            method=self._title(way.upstream, language),
            icon=upstream.icon if upstream else "generic",
            since=way.since,
            used=way.used_at,
            contacts=tuple(masked(contact) for contact in way.contacts),
            is_here=way.is_here,
            may_remove=way.may_remove,
            removed=way.removed_at,
        )

    def _has_more(self) -> bool:
        """Whether there is any way in to add."""
        return any(
            each.may_bootstrap_other_methods and each.kind != "passkey"
            for each in self._policy().config.upstreams.values()
        )

    def _title(self, upstream: str, language: str) -> str:
        known = self._policy().config.upstreams.get(upstream)
        return self._policy().text(known.titles, language) if known else upstream

    async def _posted(self, request: Request, visitor: Visitor) -> Mapping[str, str]:
        fields = await params.form(request)
        csrf.check(request, fields, self._logouts.form_token(visitor), self._policy().issuer)
        return fields

    def _render(self, visitor: Visitor, view: Page, *, here: str = "") -> Response:
        return self._pages.render(view, language=visitor.language, reference=current_reference(), here=here)

    def _visitor(self, request: Request) -> Visitor:
        return visitor_of(request, self._policy().broker)


def masked(contact: OnFile) -> str:
    """*contact* so that its owner knows it."""
    return mask_address(contact.value) if contact.kind is ContactKind.EMAIL else mask_phone(contact.value)


def _removal_of(way: str) -> str:
    return params.with_query(f"{_PATH}/remove", {"way": way})


def _told(what: str) -> Response:
    return _see(f"{SHARED_PATH}?way={what}{_HERE}")


def _see(url: str) -> Response:
    return RedirectResponse(url, status_code=303)
