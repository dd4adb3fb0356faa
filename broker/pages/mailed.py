"""
Links out of mails: ``/m/{journey}.{secret}``, and below it ``/no`` for "that was not me".

Rules of this page:

* Machines follow links before people do, some run scripts and some press buttons. So GET and HEAD change nothing and ask
  nobody; a login is finished by a form of the very browser that began it, with its cookie and its token.
* In any other browser the page is the same for every link, good or bad, and leads back to where the login began: a link that
  somebody was tricked into following logs nobody in, neither here nor there.
* The secret leaves the address as soon as the page is there, and no other site learns the address.
* "That was not me" needs no cookie, as whoever says so did not begin the login; all it can do is end it.
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.core.policy import Policy
from broker.errors import Expired, WrongBrowser
from broker.flows.login import Logins, Turn
from broker.flows.values import Visitor
from broker.observe.logging import current_reference
from broker.pages.logo import Logos
from broker.pages.render import Pages
from broker.pages.views import Action, Form, LinkPage, LinkStatus, Party, Way
from broker.web import csrf, params
from broker.web.hub import Upstreams
from broker.web.visitor import visitor_of

_BARE: Final = "/m"
_HOME: Final = (Way("home", "/", Action.HOME),)
_NOINDEX: Final = {"X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


class MailedLinks:
    """The pages behind links in mails."""

    def __init__(
        self, policy: Callable[[], Policy], logins: Logins, upstreams: Upstreams, pages: Pages, logos: Logos
    ) -> None:
        self._policy = policy
        self._logins = logins
        self._upstreams = upstreams
        self._pages = pages
        self._logos = logos

    def routes(self) -> list[Route]:
        """GET and HEAD for reading; one POST, which can only end a login."""
        return [
            Route("/m/{token}", self.follow, methods=["GET"]),
            Route("/m/{token}/no", self.ask_disown, methods=["GET"]),
            Route("/m/{token}/no", self.disown, methods=["POST"]),
            Route(_BARE, self.bare, methods=["GET"]),
        ]

    async def follow(self, request: Request) -> Response:
        """The link itself."""
        if request.method == "HEAD":
            return Response(headers=_NOINDEX)
        visitor = self._visitor(request)
        journey, _, secret = request.path_params["token"].partition(".")
        try:
            turn = await self._logins.look(journey, visitor) if visitor.browser is not None else None
        except (WrongBrowser, Expired):
            turn = None
        if turn is None:
            return self._page(LinkPage(LinkStatus.ELSEWHERE, _BARE, ways=_HOME), visitor.language)
        here = f"/j/{turn.journey.id}"
        if not self._upstreams.linked(turn, secret):
            way = Way("go-on", here, Action.CONTINUE)
            return self._page(LinkPage(LinkStatus.OVER, here, ways=(way,)), turn.journey.language)
        form = Form(f"{here}/wait", turn.journey.csrf)
        view = LinkPage(LinkStatus.OPEN, here, form, secret, self._party(turn))
        return self._page(view, turn.journey.language)

    async def ask_disown(self, request: Request) -> Response:
        """ "That was not me": the button."""
        if request.method == "HEAD":
            return Response(headers=_NOINDEX)
        journey, _, secret = request.path_params["token"].partition(".")
        # The mail's secret is the form's token: there is no cookie that another one could be bound to.
        view = LinkPage(LinkStatus.DISOWN, _BARE, Form(f"/m/{quote(journey, safe='')}/no", secret))
        return self._page(view, self._visitor(request).language)

    async def disown(self, request: Request) -> Response:
        """ "That was not me", pressed: the answer is the same whether there was such a login or not."""
        fields = await params.form(request)
        csrf.check_origin(request, self._policy().issuer)
        await self._upstreams.disown(request.path_params["token"].partition(".")[0], fields.get("csrf", ""))
        return self._page(LinkPage(LinkStatus.DISOWNED, _BARE, ways=_HOME), self._visitor(request).language)

    async def bare(self, request: Request) -> Response:
        """The address without a secret, which the browser is left with."""
        return self._page(LinkPage(LinkStatus.ELSEWHERE, _BARE, ways=_HOME), self._visitor(request).language)

    def _page(self, view: LinkPage, language: str) -> Response:
        response = self._pages.render(
            view, language=language, reference=current_reference(), here=None, url_is_secret=True
        )
        response.headers.update(_NOINDEX)
        return response

    def _party(self, turn: Turn) -> Party | None:
        partner = turn.journey.partner
        if not partner:
            return None
        return Party(self._policy().partner_name(partner, turn.journey.language), self._logos.src(partner))

    def _visitor(self, request: Request) -> Visitor:
        return visitor_of(request, self._policy().broker)
