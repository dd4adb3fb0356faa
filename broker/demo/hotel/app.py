"""The tyre hotel's pages: arriving, and taking a shelf."""

import secrets
from dataclasses import dataclass

import httpx2
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..website.language import choose_language, has_chosen
from ..website.pages import Pages, SameOriginPosts, own_path
from ..website.visits import Visits
from .arrival import Broker, Gone, Stay, Unavailable, new_secret

SEASON_KR = 795
"""A season on the shelf, four tyres."""


@dataclass
class Visit:
    """
    One browser's visit. ``secret``: made for this browser when it arrived with a handle, used once. ``stay``: who came,
    and with what. ``shelf``: the number she got.
    """

    secret: str = ""
    stay: Stay | None = None
    shelf: str = ""


class Hotel:
    """The hotel: its memory and its pages. One object per process."""

    def __init__(self, *, name: str, broker: Broker, issuer: str) -> None:
        self._broker = broker
        self._visits: Visits[Visit] = Visits(Visit)
        self._shelves: dict[str, str] = {}
        site = {"site": name, "season_kr": SEASON_KR}
        self._pages = Pages(
            str(__package__), issuer=issuer, common=lambda request: {**site, "visit": self._visits.of(request)}
        )

    async def start(self, request: Request) -> Response:
        is_known = request.query_params.get("handoff") == "already"
        return self._pages.render(request, "start.html", already=is_known)

    async def arrive(self, request: Request) -> Response:
        """Our `arrive_uri`: first with a handle, then with an artifact. Both leave the address at once."""
        asked = request.query_params
        if "artifact" in asked:
            return await self._receive(request, asked["artifact"])
        if "handoff" not in asked:
            return self._message(request, "gone", status=400)
        visit = self._visits.of(request)
        visit.secret = new_secret()
        return _see(self._broker.way_back(asked["handoff"], visit.secret))

    async def _receive(self, request: Request, artifact: str) -> Response:
        """security: only with the secret of this very browser, whose visit gets a new id (login CSRF, session fixation)."""
        secret = self._visits.of(request).secret
        self._visits.of(request).secret = ""
        try:
            stay = await self._broker.redeem(artifact, secret or "none")
        except Gone:
            return self._message(request, "gone", status=410)
        except Unavailable:
            return self._message(request, "down", status=503)
        return self._let_in(request, stay)

    async def arrive_as_guest(self, request: Request) -> Response:
        """Our `guest_uri`: the customer chose not to share who she is."""
        try:
            stay = await self._broker.redeem_guest(request.query_params.get("ref", ""))
        except Gone:
            return self._message(request, "gone", status=410)
        except Unavailable:
            return self._message(request, "down", status=503)
        return self._let_in(request, stay)

    def _let_in(self, request: Request, stay: Stay) -> Response:
        self._visits.end(request)
        self._visits.of(request).stay = stay
        if stay.language and not has_chosen(request):
            choose_language(request, stay.language)
        return _see("/shelf")

    async def shelf(self, request: Request) -> Response:
        """What she brought, and a shelf for it; afterwards the number of the shelf."""
        if self._visits.of(request).stay is None:
            return _see("/")
        return self._pages.render(request, "shelf.html", missing=False)

    async def reserve(self, request: Request) -> Response:
        """Take a shelf. Who is not known leaves a name."""
        visit = self._visits.of(request)
        if visit.stay is None:
            return _see("/")
        if visit.shelf:
            return _see("/shelf")
        async with request.form(max_files=0) as form:
            name = visit.stay.name or " ".join(str(form.get("name", "")).split())[:100]
        if not name:
            return self._pages.render(request, "shelf.html", status=422, missing=True)
        visit.shelf = f"{secrets.choice('ABCDEFGH')}{secrets.randbelow(90) + 10}-{secrets.randbelow(900) + 100}"
        self._shelves[visit.shelf] = name
        if visit.stay.handoff:
            await self._broker.acknowledge(visit.stay.handoff, reference=visit.shelf)
        return _see("/shelf")

    async def leave(self, request: Request) -> Response:
        self._visits.end(request)
        return _see("/")

    async def language(self, request: Request) -> Response:
        choose_language(request, request.path_params["language"])
        return _see(own_path(request.query_params.get("back")))

    async def missing(self, request: Request, error: Exception) -> Response:
        return self._message(request, "missing", status=404)

    async def healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    def routes(self) -> list[Route | Mount]:
        """The hotel's addresses."""
        return [
            Route("/", self.start),
            Route("/arrive", self.arrive),
            Route("/guest", self.arrive_as_guest),
            Route("/shelf", self.shelf),
            Route("/shelf", self.reserve, methods=["POST"]),
            Route("/leave", self.leave, methods=["POST"]),
            Route("/language/{language}", self.language),
            Route("/healthz", self.healthz),
            Mount("/static", StaticFiles(packages=[(str(__package__), "static")])),
        ]

    def _message(self, request: Request, kind: str, *, status: int) -> Response:
        return self._pages.render(request, "message.html", status=status, kind=kind)


def create_app(
    *,
    issuer: str,
    base_url: str,
    client_id: str,
    client_secret: str,
    name: str = "Hjulvila",
    http_transport: httpx2.AsyncBaseTransport | None = None,
) -> Starlette:
    """
    Build the tyre hotel.

    Registered at the broker as `service` with `arrive_uri` `{base_url}/arrive`, `guest_uri` `{base_url}/guest` and
    `home_uri` `{base_url}/`.

    Args:
        issuer: the broker's issuer URL.
        base_url: this site's origin, without a slash at the end.
        http_transport: replaces the network, for tests.
    """
    broker = Broker(issuer=issuer, client_id=client_id, client_secret=client_secret, transport=http_transport)
    hotel = Hotel(name=name, broker=broker, issuer=issuer)
    return Starlette(
        routes=hotel.routes(),
        middleware=[
            Middleware(SameOriginPosts, base_url=base_url),
            # The demo is served as http on 127.0.0.1; a site on the web says https_only=True.
            Middleware(
                SessionMiddleware,
                secret_key=secrets.token_hex(32),
                session_cookie="hotel_session",
                same_site="lax",
                https_only=False,
            ),
        ],
        exception_handlers={404: hotel.missing},
    )


def _see(address: str) -> RedirectResponse:
    return RedirectResponse(address, status_code=303)
