"""The tyre shop's pages and what happens when their buttons are pressed."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..website.language import choose_language, language_of
from ..website.login import BrokerUnavailable, Login, LoginRefused, SignedIn
from ..website.pages import Pages, SameOriginPosts, own_path
from ..website.visits import Visits
from .booking import Bookings, update
from .catalogue import BY_SKU, TYRES, Car, Tyre, look_up
from .drawing import draw_tyre
from .letters import Letters, Send
from .orders import Account, Basket, Checkout, Contact, Order, is_email, new_reference, read_checkout
from .storage import Storage

Clock = Callable[[], datetime]

# How the broker's word for an offer's state reads in the customer's list of orders.
_PROGRESS = {
    "opened": "under_way",
    "bound": "under_way",
    "consented": "under_way",
    "started": "under_way",
    "redeemed": "arrived",
    "acknowledged": "booked",
    "cancelled": "cancelled",
    "revoked": "cancelled",
    "expired": "expired",
}


@dataclass
class Visit:
    """
    One browser's visit: basket, car, orders placed in it, and who is logged in.

    ``is_reader``: it followed the link of a newsletter, which says something about a mailbox and nothing for sure.
    """

    basket: Basket = field(default_factory=Basket)
    car: Car | None = None
    contact: Contact = field(default_factory=Contact)
    orders: list[str] = field(default_factory=list)
    customer: SignedIn | None = None
    name: str = ""
    after_login: str = "/"
    is_reader: bool = False


class Shop:
    """The shop: its memory and its pages. One object per process."""

    def __init__(
        self,
        *,
        name: str,
        login: Login,
        bookings: Bookings,
        storage: Storage,
        letters: Letters | None,
        base_url: str,
        garages: Mapping[str, str],
        hotel_name: str,
        now: Clock,
    ) -> None:
        self._login = login
        self._bookings = bookings
        self._storage = storage
        self._letters = letters
        self._base_url = base_url
        self._garages = garages
        self._now = now
        self._visits: Visits[Visit] = Visits(Visit)
        self._accounts: dict[str, Account] = {}
        self._orders: dict[str, Order] = {}
        self._pictures = {tyre.sku: draw_tyre(tyre) for tyre in TYRES}
        site = {
            "site": name,
            "partner_name": next(iter(garages.values())),
            "hotel_name": hotel_name,
            "has_letters": bool(letters),
        }
        self._pages = Pages(
            __package__,
            issuer=login.issuer,
            common=lambda request: {**site, "visit": self._visits.of(request), "problem": None},
        )

    # -- goods -------------------------------------------------------------------------------------------

    async def start(self, request: Request) -> Response:
        car = self._visits.of(request).car
        fitting = [tyre for tyre in TYRES if car and tyre.dimension == car.dimension]
        return self._pages.render(request, "start.html", tyres=fitting or TYRES, car=car, fits=bool(fitting))

    async def find_car(self, request: Request) -> Response:
        """Look up a car by its plate. A post, so that the plate is in no address, history or log."""
        form = await _form(request)
        self._visits.of(request).car = look_up(form.get("registration_number", ""))
        return _see("/#tyres")

    async def tyre(self, request: Request) -> Response:
        return self._pages.render(request, "tyre.html", tyre=_tyre(request))

    async def picture(self, request: Request) -> Response:
        drawing = self._pictures[_tyre(request).sku]
        return Response(drawing, media_type="image/svg+xml", headers={"Cache-Control": "max-age=3600"})

    # -- basket and checkout -----------------------------------------------------------------------------

    async def basket(self, request: Request) -> Response:
        return self._pages.render(request, "basket.html", basket=self._visits.of(request).basket)

    async def change_basket(self, request: Request) -> Response:
        form = await _form(request)
        sku, quantity = form.get("sku", ""), form.get("quantity", "")
        if sku not in BY_SKU or not quantity.isdecimal():
            raise HTTPException(400)
        basket = self._visits.of(request).basket
        (basket.change if form.get("change") else basket.add)(sku, int(quantity))
        return _see("/basket")

    async def checkout(self, request: Request) -> Response:
        visit = self._visits.of(request)
        if not visit.basket.count:
            return _see("/basket")
        return self._checkout_page(request, visit, Checkout(visit.contact, visit.car or Car(""), "partner", {}))

    async def pay(self, request: Request) -> Response:
        """
        Place and pay the order, then try to make the offer: an order never waits for, or fails with, the
        broker.
        """
        visit = self._visits.of(request)
        if not visit.basket.count:
            return _see("/basket")
        checkout = read_checkout(await _form(request), cars=self._cars(visit))
        visit.contact, visit.car = checkout.contact, checkout.car
        if checkout.mistakes:
            return self._checkout_page(request, visit, checkout, status=422)
        order = self._place(visit, checkout, language_of(request))
        if order.deliver_to == "partner":
            await self._bookings.offer(order)
        return _see(f"/orders/{order.reference}")

    def _checkout_page(self, request: Request, visit: Visit, checkout: Checkout, status: int = 200) -> Response:
        return self._pages.render(
            request, "checkout.html", status=status, basket=visit.basket, checkout=checkout, cars=self._cars(visit)
        )

    def _cars(self, visit: Visit) -> list[Car]:
        return self._accounts[visit.customer.subject].cars if visit.customer else []

    def _place(self, visit: Visit, checkout: Checkout, language: str) -> Order:
        order = Order(
            reference=new_reference(),
            placed_at=self._now(),
            lines=visit.basket.lines,
            contact=checkout.contact,
            car=checkout.car,
            deliver_to=checkout.deliver_to,
            language=language,
            subject=visit.customer.subject if visit.customer else None,
            garage=next(iter(self._garages)),
        )
        self._orders[order.reference] = order
        visit.orders.append(order.reference)
        visit.basket.empty()
        if visit.customer:
            self._accounts[visit.customer.subject].remember(checkout.contact, checkout.car)
        return order

    # -- orders and the offer to book the fitting --------------------------------------------------------

    async def orders(self, request: Request) -> Response:
        visit = self._visits.of(request)
        mine = [order for order in self._orders.values() if _may_see(visit, order)]
        for order in mine:
            await self._bookings.follow(order)
        rows = [(order, self._progress(order)) for order in reversed(mine)]
        return self._pages.render(request, "orders.html", rows=rows)

    async def order(self, request: Request) -> Response:
        order = self._order(request)
        came_back = request.query_params.get("handoff") in ("cancelled", "expired")
        if not came_back:
            await self._bookings.follow(order)
        return self._pages.render(
            request,
            "order.html",
            order=order,
            progress=self._progress(order),
            partner_name=self._garages[order.garage],
            others={garage: name for garage, name in self._garages.items() if garage != order.garage},
            came_back=came_back,
        )

    async def offer_again(self, request: Request) -> Response:
        order = self._order(request)
        await self._bookings.offer(order)
        return _see(f"/orders/{order.reference}#fitting")

    async def choose_garage(self, request: Request) -> Response:
        """
        On to another garage, by an offer in place of the one before. Asked for by a link: followed again, it leads by the same
        offer.
        """
        order, garage = self._order(request), request.path_params["garage"]
        if garage not in self._garages or order.deliver_to != "partner":
            raise HTTPException(404)
        if (order.garage != garage or order.offer is None) and self._progress(order) not in ("arrived", "booked"):
            order.garage = garage
            await self._bookings.offer(order)
        is_chosen = order.garage == garage and order.offer is not None
        return _see(order.offer.link if is_chosen and order.offer else f"/orders/{order.reference}#fitting")

    async def store(self, request: Request) -> Response:
        """On to the tyre hotel. Asked for by a link: it makes the same offer however often it is followed."""
        order = self._order(request)
        link = await self._storage.link(order, self._now().date())
        if link is not None:
            return _see(link)
        retry = f"/orders/{order.reference}/storage"
        return self._pages.render(
            request, "message.html", status=503, title="storage_down_title", text="storage_down_text", retry=retry
        )

    async def come_back_from_hotel(self, request: Request) -> Response:
        """Our registered return address for that: nothing about the order has changed."""
        latest = next(reversed(self._visits.of(request).orders), None)
        return _see(f"/orders/{latest}" if latest else "/orders")

    async def come_back(self, request: Request) -> Response:
        """Our registered return address: the customer turned back, or her link had grown too old."""
        outcome = request.query_params.get("handoff", "")
        visit = self._visits.of(request)
        latest = next((self._orders[reference] for reference in reversed(visit.orders)), None)
        if latest is None or outcome not in ("cancelled", "expired"):
            return _see("/orders")
        update(latest, outcome)
        return _see(f"/orders/{latest.reference}?handoff={outcome}#fitting")

    def _order(self, request: Request) -> Order:
        order = self._orders.get(request.path_params["reference"])
        if order is None or not _may_see(self._visits.of(request), order):
            raise HTTPException(404)
        return order

    def _progress(self, order: Order) -> str:
        """Which step of the fitting the customer is at; the name of a text and of a look."""
        if order.deliver_to == "customer":
            return "none"
        if order.offer is None:
            return "unavailable"
        if order.offer.state == "created" and order.offer.expires_at <= self._now():
            return "expired"
        return _PROGRESS.get(order.offer.state, "ready")

    # -- the newsletter ----------------------------------------------------------------------------------

    async def subscribe(self, request: Request) -> Response:
        """Send this winter's letter to an address. Whose it is, is proven when the link in it is followed."""
        if self._letters is None:
            raise HTTPException(404)
        address = (await _form(request)).get("email", "").strip()
        if not is_email(address):
            return self._letter_page(request, "letter_unreadable", 422)
        language = language_of(request)
        names = ("subject", "title", "text", "button", "why")
        words = {name: self._pages.text(language, f"letter_mail_{name}") for name in names}
        is_sent = await self._letters.send_to(address, language, words)
        return self._letter_page(request, "letter_sent" if is_sent else "letter_failed", 200 if is_sent else 503)

    async def winter(self, request: Request) -> Response:
        """
        Where the letter's link leads. What the broker added to the address is used up and gone before the page is shown, so
        that it stands in no history and no referrer.
        """
        recognition = request.query_params.get("recognition")
        if self._letters is None or recognition is None:
            return self._pages.render(request, "winter.html")
        visit = self._visits.of(request)
        visit.is_reader = await self._letters.recognise(recognition) or visit.is_reader
        return _see("/winter")

    def _letter_page(self, request: Request, kind: str, status: int) -> Response:
        return self._pages.render(
            request, "message.html", status=status, title=f"{kind}_title", text=f"{kind}_text", retry=None
        )

    # -- logging in and out ------------------------------------------------------------------------------

    async def log_in(self, request: Request) -> Response:
        self._visits.of(request).after_login = own_path(request.query_params.get("next"))
        try:
            return await self._login.start(request, ui_locales=language_of(request))
        except (BrokerUnavailable, LoginRefused) as error:
            return self._login_problem(request, error)

    async def logged_in(self, request: Request) -> Response:
        try:
            customer = await self._login.finish(request)
        except (BrokerUnavailable, LoginRefused) as error:
            return self._login_problem(request, error)
        told = await self._login.userinfo(customer)
        # Last, with no waiting before the answer: another tab that asks meanwhile comes with the old id, and begins anew.
        visit = self._visits.renew(request)
        if visit.customer and visit.customer.subject != customer.subject:
            visit.car, visit.orders = None, []
        visit.customer = customer
        account = self._accounts.setdefault(customer.subject, Account())
        visit.contact = _contact(told, account.contact)
        visit.name = visit.contact.name
        if visit.car is None and account.cars:
            visit.car = account.cars[0]
        return _see(visit.after_login)

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
        goodbye = f"{self._base_url}/logged-out"
        if customer is None:
            return _see(goodbye)
        try:
            return _see(await self._login.logout_url(id_token=customer.id_token, return_to=goodbye))
        except (BrokerUnavailable, LoginRefused):
            return _see(goodbye)

    async def logged_out(self, request: Request) -> Response:
        return self._pages.render(request, "message.html", title="logged_out_title", text="logged_out_text", retry=None)

    def _login_problem(self, request: Request, error: Exception) -> Response:
        visit = self._visits.of(request)
        if isinstance(error, LoginRefused) and error.code == "mismatching_state" and visit.customer:
            return _see(visit.after_login)  # An older tab finished late; she is logged in already.
        down = isinstance(error, BrokerUnavailable)
        stopped = isinstance(error, LoginRefused) and error.code == "access_denied"
        kind = "login_down" if down else "login_stopped" if stopped else "login_failed"
        return self._pages.render(
            request,
            "message.html",
            status=503 if down else 200 if stopped else 400,
            title=f"{kind}_title",
            text=f"{kind}_text",
            retry=visit.after_login,
        )

    # -- small things ------------------------------------------------------------------------------------

    async def language(self, request: Request) -> Response:
        choose_language(request, request.path_params["language"])
        return _see(own_path(request.query_params.get("back")))

    async def missing(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        return self._pages.render(
            request, "message.html", status=status, title="missing_title", text="missing_text", retry=None
        )

    async def healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    def routes(self) -> list[Route | Mount]:
        """The shop's addresses."""
        return [
            Route("/", self.start),
            Route("/car", self.find_car, methods=["POST"]),
            Route("/tyres/{sku}", self.tyre),
            Route("/pictures/{sku}.svg", self.picture),
            Route("/basket", self.basket),
            Route("/basket", self.change_basket, methods=["POST"]),
            Route("/checkout", self.checkout),
            Route("/checkout", self.pay, methods=["POST"]),
            Route("/orders", self.orders),
            Route("/orders/{reference}", self.order),
            Route("/orders/{reference}/booking-link", self.offer_again, methods=["POST"]),
            Route("/orders/{reference}/garages/{garage}", self.choose_garage),
            Route("/orders/{reference}/storage", self.store),
            Route("/booking-return", self.come_back),
            Route("/storage-return", self.come_back_from_hotel),
            Route("/newsletter", self.subscribe, methods=["POST"]),
            Route("/winter", self.winter),
            Route("/login", self.log_in),
            Route("/login/callback", self.logged_in),
            Route("/logout", self.log_out, methods=["POST"]),
            Route("/backchannel-logout", self.told_of_logout, methods=["POST"]),
            Route("/logged-out", self.logged_out),
            Route("/language/{language}", self.language),
            Route("/healthz", self.healthz),
            Mount("/static", StaticFiles(packages=[(__package__, "static")])),
        ]


def create_app(
    *,
    issuer: str,
    base_url: str,
    client_id: str,
    client_secret: str,
    name: str = "Nordhjul",
    partner: str = "garage",
    partner_name: str = "Verkstan i Hammarby",
    other_garages: Mapping[str, str] = MappingProxyType({"tyre-workshop": "Ringvägens Däckverkstad"}),
    hotel: str = "tyre-hotel",
    hotel_name: str = "Hjulvila",
    send: Send | None = None,
    http_transport: httpx2.AsyncBaseTransport | None = None,
    now: Clock = lambda: datetime.now(UTC),
) -> Starlette:
    """
    Build the tyre shop.

    Registered at the broker as redirect URI `{base_url}/login/callback`, post-logout URI
    `{base_url}/logged-out` and return URIs for handoffs `{base_url}/booking-return` and `{base_url}/storage-return`; as
    landing page of newsletters `{base_url}/winter`.

    Args:
        issuer: the broker's issuer URL, all that is needed to find its endpoints.
        base_url: this shop's origin, without a slash at the end.
        partner, partner_name: the garage that fits the tyres: its name in the broker's list, and to people.
        other_garages: those a customer may choose instead, the same.
        hotel, hotel_name: the tyre hotel, the same.
        send: delivers newsletters; None for a shop that sends none.
        http_transport: replaces the network, for tests.
        now: the time, aware UTC.
    """
    login = Login(
        issuer=issuer,
        redirect_uri=f"{base_url}/login/callback",
        client_id=client_id,
        client_secret=client_secret,
        scope="openid profile email phone",
        transport=http_transport,
    )
    bookings = Bookings(login, return_uri=f"{base_url}/booking-return")
    shop = Shop(
        name=name,
        login=login,
        bookings=bookings,
        storage=Storage(login, partner=hotel, return_uri=f"{base_url}/storage-return"),
        letters=Letters(login, landing_uri=f"{base_url}/winter", send=send, now=now) if send is not None else None,
        base_url=base_url,
        garages={partner: partner_name, **other_garages},
        hotel_name=hotel_name,
        now=now,
    )
    return Starlette(
        routes=shop.routes(),
        middleware=[
            Middleware(SameOriginPosts, base_url=base_url),
            # The demo is served as http on 127.0.0.1; a shop on the web says https_only=True.
            Middleware(
                SessionMiddleware,
                secret_key=secrets.token_hex(32),
                session_cookie="shop_session",
                same_site="lax",
                https_only=False,
            ),
        ],
        exception_handlers={404: shop.missing, 400: shop.missing},
    )


async def _form(request: Request) -> dict[str, str]:
    async with request.form(max_files=0) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def _see(address: str) -> RedirectResponse:
    return RedirectResponse(address, status_code=303)


def _tyre(request: Request) -> Tyre:
    tyre = BY_SKU.get(request.path_params["sku"])
    if tyre is None:
        raise HTTPException(404)
    return tyre


def _may_see(visit: Visit, order: Order) -> bool:
    if order.subject is not None:
        return visit.customer is not None and visit.customer.subject == order.subject
    return order.reference in visit.orders


def _contact(userinfo: Mapping[str, Any], known: Contact) -> Contact:
    """How to reach the customer: what she told us last time, else what the login service says."""
    return Contact(
        name=known.name or str(userinfo.get("name", "")),
        email=known.email or str(userinfo.get("email", "")),
        phone=known.phone or str(userinfo.get("phone_number", "")),
    )
