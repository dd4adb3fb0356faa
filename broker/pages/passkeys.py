"""
The customer's own page, continued: her passkeys. Adding and removing them is `broker.web.hub.PasskeyDesk`'s.
"""

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from broker.core.journey import Errand
from broker.core.naming import is_id
from broker.core.passkey import MOST
from broker.core.policy import Policy
from broker.core.session import Session
from broker.errors import BadAsk, Spent, UpstreamRefused
from broker.flows.login import Logins
from broker.flows.logout import Logouts
from broker.flows.values import Visitor
from broker.observe.logging import current_reference, log
from broker.pages.render import Pages
from broker.pages.views import AddPasskeyPage, Form, Page, PasskeyList, RemovePasskeyPage
from broker.web import cookies, csrf, params
from broker.web.hub import ADD_PASSKEY_PATH, SHARED_PATH, Hub, PasskeyDesk
from broker.web.visitor import visitor_of

_PATH = f"{SHARED_PATH}/passkeys"
_SAID = ("added", "renamed", "removed", "not_added", "failed")


class PasskeyPages:
    """Pages that belong to the browser's session and to no journey."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        logins: Logins,
        logouts: Logouts,
        desk: PasskeyDesk,
        hub: Hub,
        pages: Pages,
    ) -> None:
        self._policy = policy
        self._logins = logins
        self._logouts = logouts
        self._desk = desk
        self._hub = hub
        self._pages = pages

    def routes(self) -> list[Route]:
        """All of them; none where there are no passkeys."""
        if not self._desk.is_open:
            return []
        return [
            Route(ADD_PASSKEY_PATH, self.add, methods=["GET"]),
            Route(ADD_PASSKEY_PATH, self.added, methods=["POST"]),
            Route(f"{_PATH}/renew", self.renew, methods=["GET"]),
            Route(f"{_PATH}/rename", self.rename, methods=["POST"]),
            Route(f"{_PATH}/remove", self.remove, methods=["GET"]),
            Route(f"{_PATH}/remove", self.removed, methods=["POST"]),
            Route(f"{_PATH}/later", self.later, methods=["POST"]),
        ]

    async def listed(self, request: Request, visitor: Visitor, session: Session) -> PasskeyList | None:
        """Her passkeys, as a part of her own page; None where there are none to be had."""
        if not self._desk.is_open:
            return None
        own, said = tuple(await self._desk.of(session)), request.query_params.get("passkey")
        has_hint = not own and said is None and await self._desk.wants_hint(session)
        return PasskeyList(
            passkeys=own,
            add_url=ADD_PASSKEY_PATH,
            remove_url=f"{_PATH}/remove?passkey=",
            rename=self._form(visitor, f"{_PATH}/rename"),
            said=said if said in _SAID else None,
            hint=self._form(visitor, f"{_PATH}/later") if has_hint else None,
            may_add=len(own) < MOST,
        )

    async def add(self, request: Request) -> Response:
        """Make one: in a session that may, what the browser is asked; else why not, and what helps."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is None:
            return _see(SHARED_PATH)
        form = self._form(visitor, ADD_PASSKEY_PATH)
        if (why := self._desk.unfit(session)) is not None:
            renew_url = f"{_PATH}/renew" if self._may_renew() else None
            view = AddPasskeyPage(form, SHARED_PATH, unfit=why, renew_url=renew_url)
        else:
            addition = await self._desk.offer(visitor, session)
            view = AddPasskeyPage(form, SHARED_PATH, addition.options, addition.ticket)
        return self._render(visitor, view)

    async def added(self, request: Request) -> Response:
        """The browser made one, or so it says."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is None:
            return _see(SHARED_PATH)
        fields = await self._posted(request, visitor)
        if self._desk.unfit(session) is not None:
            return _see(ADD_PASSKEY_PATH)
        try:
            is_added = await self._desk.add(visitor, session, fields.get("ticket", ""), fields.get("credential", ""))
        except (Spent, UpstreamRefused) as error:
            log("passkey.not_added", "warning", code=error.code, detail=error.detail)
            return _told("failed")
        return _told("added" if is_added else "not_added")

    async def renew(self, request: Request) -> Response:
        """
        Prove anew who she is, by a way that may be used to add others; comes back to `add`. With the name of a passkey by any
        way, and back to `remove`.
        """
        visitor, wanted = self._visitor(request), request.query_params.get("passkey", "")
        errand, back = (Errand.RENEW, _removal_of(wanted)) if is_id(wanted) else (Errand.VOUCH, ADD_PASSKEY_PATH)
        turn = await self._logins.begin_own(visitor, errand, back=back)
        return await self._hub.go(request, visitor, turn, self._policy())

    async def rename(self, request: Request) -> Response:
        """Give one another name."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is None:
            return _see(SHARED_PATH)
        fields = await self._posted(request, visitor)
        await self._desk.rename(session, fields.get("passkey", ""), fields.get("name", ""))
        return _told("renamed")

    async def remove(self, request: Request) -> Response:
        """Remove it? What that means is said before; and whoever proved too long ago who she is logs in once more first."""
        visitor, wanted = self._visitor(request), request.query_params.get("passkey", "")
        session = await self._logouts.session_of(visitor)
        found = [each for each in await self._desk.of(session) if each.id == wanted] if session else []
        if session is None or not found:
            return _see(SHARED_PATH)
        view = RemovePasskeyPage(
            self._form(visitor, f"{_PATH}/remove"),
            SHARED_PATH,
            found[0],
            None if self._desk.may_remove(session) else params.with_query(f"{_PATH}/renew", {"passkey": wanted}),
        )
        return self._render(visitor, view, here=_removal_of(wanted))

    async def removed(self, request: Request) -> Response:
        """Remove it."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is None:
            return _see(SHARED_PATH)
        fields = await self._posted(request, visitor)
        if fields.get("answer") != "remove":
            raise BadAsk("unknown answer", code="form.answer")
        if not self._desk.may_remove(session):
            return _see(_removal_of(fields.get("passkey", "")))
        was_here = await self._desk.remove(visitor, session, fields.get("passkey", ""))
        response = _told("removed")
        if was_here:
            cookies.clear_session(response)
        return response

    async def later(self, request: Request) -> Response:
        """She does not want to hear of passkeys."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        if session is not None:
            await self._posted(request, visitor)
            await self._desk.dismiss_hint(session)
        return _see(SHARED_PATH)

    def _may_renew(self) -> bool:
        return any(each.may_bootstrap_other_methods for each in self._policy().config.upstreams.values())

    async def _posted(self, request: Request, visitor: Visitor) -> Mapping[str, str]:
        """A form of one of her pages: token and origin are hers and ours."""
        fields = await params.form(request)
        csrf.check(request, fields, self._logouts.form_token(visitor), self._policy().issuer)
        return fields

    def _form(self, visitor: Visitor, action: str) -> Form:
        return Form(action, self._logouts.form_token(visitor))

    def _render(self, visitor: Visitor, view: Page, *, here: str = "") -> Response:
        return self._pages.render(view, language=visitor.language, reference=current_reference(), here=here)

    def _visitor(self, request: Request) -> Visitor:
        return visitor_of(request, self._policy().broker)


def _removal_of(passkey: str) -> str:
    return params.with_query(f"{_PATH}/remove", {"passkey": passkey})


def _told(what: str) -> Response:
    """Back on her own page, which says *what* happened."""
    return _see(f"{SHARED_PATH}?passkey={what}#passkeys-title")


def _see(url: str) -> Response:
    return RedirectResponse(url, status_code=303)
