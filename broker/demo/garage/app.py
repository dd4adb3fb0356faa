"""The garage's pages and what happens when their buttons are pressed."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import httpx2
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..website.language import choose_language, has_chosen, language_of
from ..website.login import BrokerUnavailable, Login, LoginRefused, SignedIn
from ..website.pages import Pages, SameOriginPosts, own_path
from ..website.slots import Slot
from ..website.visits import Visits
from . import diary
from .accounts import Account, Accounts, Recognition
from .arrival import Arrival, Gone, Handoffs, handoff_id
from .diary import Booking, Diary, Job

Clock = Callable[[], datetime]

SCOPE = "openid profile email phone"

_HAMMARBY = ZoneInfo("Europe/Stockholm")


@dataclass
class Visit:
    """
    One browser's visit: who is logged in and as which of our customers, what she brought along, what she
    booked.

    `handoff`: the handoff she arrived with. `arrival`: its data as we last read it. `guest`: product data a
    guest brought.
    """

    customer: SignedIn | None = None
    recognised: Recognition | None = None
    name: str = ""
    handoff: str = ""
    arrival: Arrival | None = None
    guest: Arrival | None = None
    booked: str = ""
    bookings: list[str] = field(default_factory=list)
    after_login: str = "/my"


class Garage:
    """The garage: its memory and its pages. One object per process."""

    def __init__(
        self,
        *,
        name: str,
        login: Login,
        base_url: str,
        sources: Mapping[str, str],
        sharing_url: str | None,
        regulars: Iterable[Account],
        now: Clock,
    ) -> None:
        self._login = login
        self._handoffs = Handoffs(login)
        self._base_url = base_url
        self._now = now
        self._diary = Diary()
        self._accounts = Accounts(regulars)
        self._visits: Visits[Visit] = Visits(Visit)
        site = {
            "site": name,
            "sources": sources,
            "sharing_url": sharing_url,
            "fitting_kr": diary.FITTING_KR,
            "ac_kr": diary.AC_SERVICE_KR,
            "ac_usually_kr": diary.AC_SERVICE_USUALLY_KR,
        }
        self._pages = Pages(
            __package__,
            issuer=login.issuer,
            common=lambda request: {**site, "visit": self._visits.of(request)},
        )

    @property
    def _today(self) -> date:
        return self._now().astimezone(_HAMMARBY).date()

    async def start(self, request: Request) -> Response:
        note = ""
        if request.query_params.get("handoff") == "already":
            note = "note_already"
        elif "state" in request.query_params:
            note = "note_logged_out"
        return self._pages.render(request, "start.html", note=note)

    # -- arriving from the login service -------------------------------------------------------------------

    async def arrive(self, request: Request) -> Response:
        """
        Our `initiate_login_uri` (OpenID Connect Core section 4): the login service sends a customer to log in
        here.

        It only begins a login of our own making, with our own state, nonce and PKCE, so whoever forged the
        link to it cannot log anybody in as somebody else. Issuer and target are compared with what we know.
        """
        asked = request.query_params
        target = asked.get("target_link_uri", f"{self._base_url}/my")
        if asked.get("iss") != self._login.issuer or not self._is_ours(target):
            return self._message(request, "bad_start", status=400)
        self._visits.of(request).after_login = own_path(target.removeprefix(self._base_url), otherwise="/my")
        hint = asked.get("login_hint")
        # Who arrives with a handoff has agreed to its data, so nothing more is asked for.
        more = {"login_hint": hint, "scope": "openid"} if hint else {}
        return await self._start_login(request, **more)

    async def arrive_by_post(self, request: Request) -> Response:
        """
        The same by form post, which the standard allows: continue as a plain visit, so our cookie comes
        along.
        """
        form = await _form(request)
        names = ("iss", "login_hint", "target_link_uri")
        query = httpx2.QueryParams({name: form[name] for name in names if name in form})
        return _see(f"/login/start?{query}")

    async def log_in(self, request: Request) -> Response:
        self._visits.of(request).after_login = own_path(request.query_params.get("next"), otherwise="/my")
        return await self._start_login(request)

    async def logged_in(self, request: Request) -> Response:
        try:
            customer = await self._login.finish(request)
        except (BrokerUnavailable, LoginRefused) as error:
            return self._login_problem(request, error)
        target = self._visits.of(request).after_login
        # security: a new visit for a new login; nothing of who was here before is carried over.
        self._visits.end(request)
        visit = self._visits.of(request)
        visit.customer, visit.handoff = customer, handoff_id(customer)
        if visit.handoff:
            return await self._welcome_arrival(request, visit)
        await self._recognise(visit, customer, name="")
        return _see(target)

    async def arrive_as_guest(self, request: Request) -> Response:
        """
        Our `guest_uri`: the customer chose not to share who she is. The reference leaves the address at once.
        """
        try:
            arrival = await self._handoffs.read_as_guest(request.query_params.get("ref", ""))
        except Gone:
            return self._message(request, "guest_gone", status=410, action="/booking/guest")
        except BrokerUnavailable:
            return self._message(request, "guest_gone", status=503, action="/booking/guest")
        # She does not want to say who she is, so a login from before ends too.
        self._visits.end(request)
        self._visits.of(request).guest = arrival
        return _see("/booking/guest")

    async def _start_login(self, request: Request, **parameters: str) -> Response:
        try:
            return await self._login.start(request, ui_locales=language_of(request), **parameters)
        except (BrokerUnavailable, LoginRefused) as error:
            return self._login_problem(request, error)

    async def _welcome_arrival(self, request: Request, visit: Visit) -> Response:
        problem = await self._read_arrival(request, visit)
        name = visit.arrival.name if visit.arrival else ""
        if visit.customer:
            await self._recognise(visit, visit.customer, name=name)
        if visit.arrival and not has_chosen(request):
            choose_language(request, visit.arrival.language)
        return problem or _see("/booking")

    async def _recognise(self, visit: Visit, customer: SignedIn, *, name: str) -> None:
        """
        Find or make the customer's account. Contact details that came with a handoff were typed by her: not
        used here.
        """
        userinfo = {} if visit.handoff else await self._login.userinfo(customer)
        visit.name = name or str(userinfo.get("name", ""))
        visit.recognised = self._accounts.recognise(
            issuer=customer.issuer,
            subject=customer.subject,
            name=visit.name,
            verified_email=str(userinfo.get("email", "")) if userinfo.get("email_verified") is True else "",
            today=self._today,
        )
        visit.name = visit.name or visit.recognised.account.name

    def _is_ours(self, target: str) -> bool:
        return target == self._base_url or target.startswith(f"{self._base_url}/")

    # -- booking -------------------------------------------------------------------------------------------

    async def booking(self, request: Request) -> Response:
        visit = self._visits.of(request)
        if not (visit.customer and visit.handoff):
            return _see("/booking/guest")
        if visit.booked:
            return _see(f"/bookings/{visit.booked}")
        return await self._read_arrival(request, visit) or self._booking_page(request, visit)

    async def book(self, request: Request) -> Response:
        """
        Book what the customer brought along. Her consent is looked at once more: taken back means taken back.
        """
        visit = self._visits.of(request)
        if not (visit.customer and visit.handoff):
            return _see("/booking/guest")
        if visit.booked:
            return _see(f"/bookings/{visit.booked}")
        problem = await self._read_arrival(request, visit)
        if problem or visit.arrival is None:
            return problem or _see("/booking")
        form = await _form(request)
        slot = self._diary.free_slot(form.get("slot", ""), self._today)
        if slot is None:
            return self._booking_page(request, visit, status=422)
        booking = self._book(visit, slot, _job_of(visit.arrival, visit.name, form))
        booking.acknowledged = await self._handoffs.acknowledge(
            visit.customer, visit.handoff, reference=booking.reference
        )
        return _see(f"/bookings/{booking.reference}")

    async def guest_booking(self, request: Request) -> Response:
        return self._guest_page(request, {"name": self._visits.of(request).name})

    async def book_as_guest(self, request: Request) -> Response:
        visit = self._visits.of(request)
        form = await _form(request)
        slot = self._diary.free_slot(form.get("slot", ""), self._today)
        missing = {name for name in ("name", "contact", "registration_number") if not form.get(name, "").strip()}
        if slot is None or missing:
            return self._guest_page(request, form, missing=missing, slot_missing=slot is None, status=422)
        job = Job(
            name=_typed(form, "name"),
            contact=_typed(form, "contact"),
            registration_number=_typed(form, "registration_number").upper(),
            car="",
            tyres=visit.guest.tyres if visit.guest else _typed(form, "tyres"),
            ac_service=form.get("ac_service") == "yes",
        )
        visit.guest = None
        return _see(f"/bookings/{self._book(visit, slot, job).reference}")

    async def confirmation(self, request: Request) -> Response:
        visit = self._visits.of(request)
        booking = self._diary.bookings.get(request.path_params["reference"])
        if booking is None or not _may_see(visit, booking):
            raise HTTPException(404)
        if not booking.acknowledged and visit.customer and visit.booked == booking.reference:
            booking.acknowledged = await self._handoffs.acknowledge(
                visit.customer, visit.handoff, reference=booking.reference
            )
        return self._pages.render(request, "confirmation.html", booking=booking)

    async def my_pages(self, request: Request) -> Response:
        visit = self._visits.of(request)
        if visit.recognised is None:
            return _see("/login?next=/my")
        bookings = self._diary.of_account(visit.recognised.account.number)
        return self._pages.render(request, "my.html", bookings=bookings, recognised=visit.recognised)

    def _book(self, visit: Visit, slot: Slot, job: Job) -> Booking:
        booking = self._diary.book(slot, job, visit.recognised.account.number if visit.recognised else None)
        visit.bookings.append(booking.reference)
        if visit.arrival:
            visit.booked = booking.reference
        return booking

    async def _read_arrival(self, request: Request, visit: Visit) -> Response | None:
        """
        Bring `visit.arrival` up to date; the page to show instead when there is nothing to show.

        Data we were already given may be used while it cannot be read again (broker out of reach, our token run
        out while she was choosing a time), but not after the broker said no.
        """
        if visit.customer is None:
            return None
        try:
            visit.arrival = await self._handoffs.read(visit.customer, visit.handoff)
            visit.name = visit.arrival.name or visit.name
        except Gone:
            visit.arrival, visit.handoff = None, ""
            return self._message(request, "gone", status=410, action="/booking/guest")
        except BrokerUnavailable:
            if visit.arrival is None:
                return self._message(request, "data_down", status=503, action="/booking", action_text="fetch_again")
        return None

    def _booking_page(self, request: Request, visit: Visit, *, status: int = 200) -> Response:
        return self._pages.render(
            request,
            "booking.html",
            status=status,
            arrival=visit.arrival,
            recognised=visit.recognised,
            days=self._diary.days(self._today),
            slot_missing=status == 422,
        )

    def _guest_page(
        self,
        request: Request,
        typed: Mapping[str, str],
        *,
        missing: set[str] | None = None,
        slot_missing: bool = False,
        status: int = 200,
    ) -> Response:
        return self._pages.render(
            request,
            "guest.html",
            status=status,
            arrival=self._visits.of(request).guest,
            typed=typed,
            missing=missing or set(),
            slot_missing=slot_missing,
            days=self._diary.days(self._today),
        )

    # -- leaving, and small things -------------------------------------------------------------------------

    async def told_of_logout(self, request: Request) -> Response:
        """Our `backchannel_logout_uri`: she logged out elsewhere, so the visits of that session end here too."""
        try:
            sid = await self._login.told_of_logout(request)
        except LoginRefused:
            return PlainTextResponse("not a logout token for us", 400)
        except BrokerUnavailable:
            return PlainTextResponse("cannot be checked just now", 503)
        self._visits.end_where(lambda visit: visit.customer is not None and visit.customer.claims.get("sid") == sid)
        return PlainTextResponse("logged out", headers={"Cache-Control": "no-store"})

    async def log_out(self, request: Request) -> Response:
        """End the visit here first, then at the login service; here it ends even when that one is down."""
        customer = self._visits.of(request).customer
        self._visits.end(request)
        goodbye = f"{self._base_url}/"
        if customer is None:
            return _see(goodbye)
        try:
            return _see(await self._login.logout_url(id_token=customer.id_token, return_to=goodbye))
        except (BrokerUnavailable, LoginRefused):
            return _see(f"{goodbye}?state=local")

    def _login_problem(self, request: Request, error: Exception) -> Response:
        visit = self._visits.of(request)
        if isinstance(error, LoginRefused) and error.code == "mismatching_state" and visit.customer:
            return _see("/booking" if visit.handoff else "/my")  # An older tab finished late.
        if isinstance(error, BrokerUnavailable):
            return self._message(request, "login_down", status=503, action="/booking/guest")
        if isinstance(error, LoginRefused) and error.code == "access_denied":
            return self._message(request, "login_stopped", action="/booking/guest")
        return self._message(request, "login_failed", status=400, action="/login", action_text="try_again")

    def _message(
        self, request: Request, kind: str, *, status: int = 200, action: str = "/", action_text: str = ""
    ) -> Response:
        texts = {"/": "to_start", "/booking/guest": "book_as_guest"}
        return self._pages.render(
            request,
            "message.html",
            status=status,
            title=f"{kind}_title",
            text=f"{kind}_text",
            action=action,
            action_text=action_text or texts[action],
        )

    async def language(self, request: Request) -> Response:
        choose_language(request, request.path_params["language"])
        return _see(own_path(request.query_params.get("back")))

    async def missing(self, request: Request, error: Exception) -> Response:
        return self._message(request, "missing", status=404)

    async def healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    def routes(self) -> list[Route | Mount]:
        """The garage's addresses."""
        return [
            Route("/", self.start),
            Route("/login", self.log_in),
            Route("/login/start", self.arrive),
            Route("/login/start", self.arrive_by_post, methods=["POST"]),
            Route("/callback", self.logged_in),
            Route("/guest", self.arrive_as_guest),
            Route("/booking", self.booking),
            Route("/booking", self.book, methods=["POST"]),
            Route("/booking/guest", self.guest_booking),
            Route("/booking/guest", self.book_as_guest, methods=["POST"]),
            Route("/bookings/{reference}", self.confirmation),
            Route("/my", self.my_pages),
            Route("/logout", self.log_out, methods=["POST"]),
            Route("/backchannel-logout", self.told_of_logout, methods=["POST"]),
            Route("/language/{language}", self.language),
            Route("/healthz", self.healthz),
            Mount("/static", StaticFiles(packages=[(str(__package__), "static")])),
        ]


def create_app(
    *,
    issuer: str,
    base_url: str,
    client_id: str,
    client_secret: str = "",
    private_key: ECKey | None = None,
    name: str = "Verkstan i Hammarby",
    sources: Mapping[str, str] | None = None,
    sharing_url: str | None = None,
    regulars: Iterable[Account] = (),
    http_transport: httpx2.AsyncBaseTransport | None = None,
    now: Clock = lambda: datetime.now(UTC),
) -> Starlette:
    """
    Build the garage.

    Registered at the broker as redirect URI `{base_url}/callback`, post-logout URI `{base_url}/`,
    `initiate_login_uri` `{base_url}/login/start`, `guest_uri` `{base_url}/guest` and `home_uri`
    `{base_url}/`.

    Args:
        issuer: the broker's issuer URL, all that is needed to find its endpoints.
        base_url: this garage's origin, without a slash at the end.
        client_secret: for client_secret_basic; unused when *private_key* is given.
        private_key: an EC P-256 key of this client, for private_key_jwt.
        sources: what to call the partners that customers come from, by their name in the broker's partner
            list.
        sharing_url: the broker's page "What I share", to link to; None for no link.
        regulars: customers already in the garage's books.
        http_transport: replaces the network, for tests.
        now: the time, aware UTC.
    """
    login = Login(
        issuer=issuer,
        redirect_uri=f"{base_url}/callback",
        client_id=client_id,
        client_secret=client_secret,
        private_key=private_key,
        scope=SCOPE,
        transport=http_transport,
    )
    garage = Garage(
        name=name,
        login=login,
        base_url=base_url,
        sources=sources or {"tyre-shop": "Nordhjul"},
        sharing_url=sharing_url,
        regulars=regulars,
        now=now,
    )
    return Starlette(
        routes=garage.routes(),
        middleware=[
            # A third-party-initiated login may come as a form post from the login service.
            Middleware(SameOriginPosts, base_url=base_url, open_paths=frozenset({"/login/start"})),
            # The demo is served as http on 127.0.0.1; a garage on the web says https_only=True.
            Middleware(
                SessionMiddleware,
                secret_key=secrets.token_hex(32),
                session_cookie="garage_session",
                same_site="lax",
                https_only=False,
            ),
        ],
        exception_handlers={404: garage.missing},
    )


def _job_of(arrival: Arrival, name: str, form: Mapping[str, str]) -> Job:
    return Job(
        name=arrival.name or name,
        contact=arrival.phone or arrival.email or _typed(form, "contact"),
        registration_number=arrival.registration_number or _typed(form, "registration_number").upper(),
        car=arrival.car,
        tyres=arrival.tyres,
        ac_service=form.get("ac_service") == "yes",
    )


def _may_see(visit: Visit, booking: Booking) -> bool:
    if booking.account is not None:
        return visit.recognised is not None and visit.recognised.account.number == booking.account
    return booking.reference in visit.bookings


async def _form(request: Request) -> dict[str, str]:
    async with request.form(max_files=0) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def _typed(form: Mapping[str, str], name: str) -> str:
    return " ".join(form.get(name, "").split())[:100]


def _see(address: str) -> RedirectResponse:
    return RedirectResponse(address, status_code=303)
