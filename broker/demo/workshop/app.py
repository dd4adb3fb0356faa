"""The workshop's pages: logging in, arriving with tyres, and booking a time."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

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
from .arrival import Arrival, Gone, Handoffs
from .keys import Keys
from .login import Customer, LoginRefused, ServiceProvider
from .provider import Providers, Unavailable
from .signed import NotBelieved
from .times import FITTING_KR, Book, Booking

Clock = Callable[[], datetime]

_TABS = 20


@dataclass
class Visit:
    """
    One browser's visit. ``asked``: the logins it began and has not ended. ``arrival``: what she brought, or, as a guest, the
    tyres alone. ``booking``: what came of it.
    """

    asked: list[str] = field(default_factory=list)
    customer: Customer | None = None
    arrival: Arrival | None = None
    booking: Booking | None = None

    @property
    def name(self) -> str:
        """What to call her; empty for who has not said."""
        told = self.customer.name if self.customer else ""
        return (self.arrival.name if self.arrival else "") or told


class Workshop:
    """The workshop: its memory and its pages. One object per process."""

    def __init__(
        self,
        *,
        name: str,
        login: ServiceProvider,
        handoffs: Handoffs,
        issuer: str,
        sharing_url: str | None,
        now: Clock,
    ) -> None:
        self._login = login
        self._handoffs = handoffs
        self._now = now
        self._book = Book()
        self._visits: Visits[Visit] = Visits(Visit)
        site = {"site": name, "fitting_kr": FITTING_KR, "sharing_url": sharing_url}
        self._pages = Pages(
            str(__package__), issuer=issuer, common=lambda request: {**site, "visit": self._visits.of(request)}
        )

    @property
    def _today(self) -> date:
        return self._now().date()

    async def start(self, request: Request) -> Response:
        notes = {"already": "note_already", "out": "note_logged_out"}
        asked = request.query_params
        note = notes.get(asked.get("handoff", "") or asked.get("logged", ""), "")
        return self._pages.render(request, "start.html", note=note)

    # -- logging in ----------------------------------------------------------------------------------------

    async def log_in(self, request: Request) -> Response:
        """
        Where a login begins: by our own button, or sent by the broker with a reference in ``target``, which goes back to it as
        RelayState. Whoever forged a link to here only makes a login begin.
        """
        reference = request.query_params.get("target", "")
        if len(reference) > 80:
            return self._message(request, "failed", status=400)
        try:
            name, address = await self._login.ask(reference)
        except Unavailable:
            return self._message(request, "down", status=503)
        visit = self._visits.of(request)
        visit.asked = [*visit.asked[1 - _TABS :], name]
        return _see(address)

    async def receive(self, request: Request) -> Response:
        """
        Our assertion consumer. It is posted to from another site, so our cookie did not come along: what was checked waits under
        a reference for the browser's next request.
        """
        async with request.form(max_files=0) as form:
            response, relay_state = str(form.get("SAMLResponse", "")), str(form.get("RelayState", ""))
        try:
            reference = await self._login.receive(response, relay_state)
        except NotBelieved:
            return self._message(request, "failed", status=400)
        except LoginRefused as error:
            return self._message(request, "stopped" if error.code == "RequestDenied" else "failed")
        except Unavailable:
            return self._message(request, "down", status=503)
        return _see(f"/saml/arrived?reference={reference}")

    async def take_up(self, request: Request) -> Response:
        """security: only in the browser that asked (login CSRF), whose visit gets a new id (session fixation)."""
        arrived = self._login.take_up(request.query_params.get("reference", ""))
        if arrived is None or arrived.request not in self._visits.of(request).asked:
            return self._message(request, "failed", status=400)
        self._visits.end(request)
        visit = self._visits.of(request)
        visit.customer = arrived.customer
        return await self._read_arrival(request, visit) or _see("/booking")

    async def arrive_as_guest(self, request: Request) -> Response:
        """Our `guest_uri`: she chose not to share who she is, so a login from before ends too."""
        try:
            arrival = await self._handoffs.read_as_guest(request.query_params.get("ref", ""))
        except Gone:
            return self._message(request, "gone", status=410)
        except Unavailable:
            return self._message(request, "down", status=503)
        self._visits.end(request)
        self._visits.of(request).arrival = arrival
        return _see("/booking")

    async def _read_arrival(self, request: Request, visit: Visit) -> Response | None:
        """Bring what she shares up to date; the page to show instead when there is nothing to show."""
        if visit.customer is None or not visit.customer.handoff or visit.booking is not None:
            return None
        try:
            visit.arrival = await self._handoffs.read(visit.customer.handoff)
        except Gone:
            visit.arrival = None
            return self._message(request, "gone", status=410)
        except Unavailable:
            # What was told before may be used until somebody says no.
            return None if visit.arrival else self._message(request, "down", status=503)
        if visit.arrival.language and not has_chosen(request):
            choose_language(request, visit.arrival.language)
        return None

    # -- booking -------------------------------------------------------------------------------------------

    async def booking(self, request: Request) -> Response:
        visit = self._visits.of(request)
        return await self._read_arrival(request, visit) or self._booking_page(request, visit)

    async def reserve(self, request: Request) -> Response:
        """Book a time. What is not known is asked for; what she took back meanwhile is not used."""
        visit = self._visits.of(request)
        if visit.booking is not None:
            return _see("/booking")
        if (problem := await self._read_arrival(request, visit)) is not None:
            return problem
        async with request.form(max_files=0) as form:
            typed = {name: " ".join(str(form.get(name, "")).split())[:100] for name in ("slot", "name", "plate")}
        plate = (visit.arrival.registration_number if visit.arrival else "") or typed["plate"].upper()
        name, slot = visit.name or typed["name"], self._book.free(typed["slot"], self._today)
        missing = {key for key, value in {"slot": slot, "name": name, "plate": plate}.items() if not value}
        if slot is None or missing:
            return self._booking_page(request, visit, typed=typed, missing=missing)
        visit.booking = self._book.book(slot, name=name, registration_number=plate, tyres=_tyres(visit.arrival))
        if visit.customer and visit.customer.handoff:
            await self._handoffs.acknowledge(visit.customer.handoff, reference=visit.booking.reference)
        return _see("/booking")

    def _booking_page(
        self,
        request: Request,
        visit: Visit,
        *,
        typed: dict[str, str] | None = None,
        missing: set[str] | None = None,
    ) -> Response:
        return self._pages.render(
            request,
            "booking.html",
            status=422 if missing else 200,
            days=self._book.days(self._today),
            typed=typed or {},
            missing=missing or set(),
        )

    # -- leaving, and small things -------------------------------------------------------------------------

    async def log_out(self, request: Request) -> Response:
        """End the visit here first, then at the broker; here it ends even when that one is down."""
        customer = self._visits.of(request).customer
        self._visits.end(request)
        try:
            return _see(await self._login.leave(customer) if customer is not None else "/?logged=out")
        except Unavailable:
            return _see("/?logged=out")

    async def hear_of_logout(self, request: Request) -> Response:
        """Our single logout service: the answer to our request, or a request of the broker's, which is answered."""
        try:
            farewell = await self._login.hear(request.scope["query_string"].decode("latin-1"))
        except NotBelieved:
            return self._message(request, "failed", status=400)
        except Unavailable:
            return self._message(request, "down", status=503)
        if farewell is None:
            return _see("/?logged=out")
        self._visits.end_where(lambda visit: visit.customer is not None and visit.customer.session == farewell.session)
        return _see(farewell.answer)

    async def metadata(self, request: Request) -> Response:
        return Response(self._login.metadata, media_type="application/samlmetadata+xml")

    async def language(self, request: Request) -> Response:
        choose_language(request, request.path_params["language"])
        return _see(own_path(request.query_params.get("back")))

    async def missing(self, request: Request, error: Exception) -> Response:
        return self._message(request, "missing", status=404)

    async def healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    def routes(self) -> list[Route | Mount]:
        """The workshop's addresses."""
        return [
            Route("/", self.start),
            Route("/login", self.log_in),
            Route("/saml/metadata", self.metadata),
            Route("/saml/acs", self.receive, methods=["POST"]),
            Route("/saml/arrived", self.take_up),
            Route("/saml/slo", self.hear_of_logout),
            Route("/guest", self.arrive_as_guest),
            Route("/booking", self.booking),
            Route("/booking", self.reserve, methods=["POST"]),
            Route("/logout", self.log_out, methods=["POST"]),
            Route("/language/{language}", self.language),
            Route("/healthz", self.healthz),
            Mount("/static", StaticFiles(packages=[(str(__package__), "static")])),
        ]

    def _message(self, request: Request, kind: str, *, status: int = 200) -> Response:
        return self._pages.render(request, "message.html", status=status, kind=kind)


def create_app(
    *,
    issuer: str,
    base_url: str,
    entity_id: str,
    keys: Keys,
    client_id: str,
    client_secret: str,
    name: str = "Ringvägens Däckverkstad",
    sharing_url: str | None = None,
    http_transport: httpx2.AsyncBaseTransport | None = None,
    now: Clock = lambda: datetime.now(UTC),
) -> Starlette:
    """
    Build the workshop.

    Registered at the broker as `saml` with the metadata that it serves at `{base_url}/saml/metadata`, `start.uri`
    `{base_url}/login`, `guest_uri` `{base_url}/guest` and `home_uri` `{base_url}/`.

    Args:
        issuer: the broker's issuer URL; its metadata is found from there.
        base_url: this site's origin, without a slash at the end.
        entity_id: its name as a service provider, whatever its address.
        client_id, client_secret: what its server fetches handoffs by.
        sharing_url: the broker's page "What I share", to link to; None for no link.
        http_transport: replaces the network, for tests.
        now: the time, aware UTC.
    """
    providers = Providers(issuer, now=now, transport=http_transport)
    workshop = Workshop(
        name=name,
        login=ServiceProvider(
            entity_id=entity_id, base_url=base_url, issuer=issuer, keys=keys, providers=providers, now=now
        ),
        handoffs=Handoffs(issuer=issuer, client_id=client_id, client_secret=client_secret, transport=http_transport),
        issuer=issuer,
        sharing_url=sharing_url,
        now=now,
    )
    return Starlette(
        routes=workshop.routes(),
        middleware=[
            # Responses are posted from the broker's site.
            Middleware(SameOriginPosts, base_url=base_url, open_paths=frozenset({"/saml/acs"})),
            # The demo is served as http on 127.0.0.1; a site on the web says https_only=True.
            Middleware(
                SessionMiddleware,
                secret_key=secrets.token_hex(32),
                session_cookie="workshop_session",
                same_site="lax",
                https_only=False,
            ),
        ],
        exception_handlers={404: workshop.missing},
    )


def _tyres(arrival: Arrival | None) -> str:
    brought = arrival.tyres if arrival else ()
    return ", ".join(f"{each.quantity} × {each.description} {each.dimension}" for each in brought)


def _see(address: str) -> RedirectResponse:
    return RedirectResponse(address, status_code=303)
