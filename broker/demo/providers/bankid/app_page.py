"""
The customer's side: the app as a phone-shaped page.

``GET /?autostarttoken=..&redirect=..`` is a launch on the same device. ``GET /`` is the app opened by hand:
it reads a QR code from pasted text (``#qr-text``) or a screenshot (``#qr-image``), and shows whom somebody asks
about on the phone (``#call-<key>``, then ``#call-yes`` or ``#call-no``). ``/orders/{handle}`` shows an opened
order, also after a reload: choose a person (``#person-<key>``), then ``#approve`` or ``#decline``.
"""

import base64
import io
from typing import Any
from urllib.parse import urlsplit

import zxingcpp
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image, UnidentifiedImageError
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from broker.demo.providers.bankid.control import SCRIPTS
from broker.demo.providers.bankid.markdown import render_markdown, render_plain
from broker.demo.providers.bankid.orders import AppRefusal, Order, OrderBook, Start, Status
from broker.demo.providers.bankid.people import PEOPLE

_UPLOAD_LIMIT = 12 * 1024 * 1024
_PIXEL_LIMIT = 40_000_000
# No form-action: browsers apply it to the whole redirect chain after Approve, and only the website knows that
# chain.
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
}


def make_app_page(orders: OrderBook, *, rp_name: str) -> Starlette:
    """The ASGI app. *rp_name* is what the relying party's certificate says."""
    page = _AppPage(orders, rp_name)
    return Starlette(
        routes=[
            Route("/", page.home),
            Route("/scan", page.scan, methods=["POST"]),
            Route("/calls", page.call, methods=["POST"]),
            Route("/orders/{handle}", page.order),
            Route("/orders/{handle}/call", page.answer_call, methods=["POST"]),
            Route("/orders/{handle}/person", page.choose, methods=["POST"]),
            Route("/orders/{handle}/approve", page.approve, methods=["POST"]),
            Route("/orders/{handle}/decline", page.decline, methods=["POST"]),
            Mount("/static", StaticFiles(packages=[("broker.demo.providers.bankid", "static")])),
        ],
        exception_handlers={AppRefusal: page.refused},
        max_body_size=_UPLOAD_LIMIT,
    )


class _AppPage:
    def __init__(self, orders: OrderBook, rp_name: str) -> None:
        self._orders = orders
        self._rp_name = rp_name
        self._templates = Environment(
            loader=PackageLoader("broker.demo.providers.bankid"), autoescape=True, undefined=StrictUndefined
        )

    async def home(self, request: Request) -> Response:
        token = request.query_params.get("autostarttoken")
        if token is None:
            return self._page("scan.html", problem=None, calls=self._orders.calls())
        redirect = _web_address(request.query_params.get("redirect"))
        order = self._orders.open_by_autostart(token, redirect=redirect, app_ip=_address(request))
        return _see(order)

    async def scan(self, request: Request) -> Response:
        async with request.form(max_files=1, max_fields=4) as form:
            text, image = form.get("qr-text"), form.get("qr-image")
            try:
                if isinstance(image, UploadFile) and image.size:
                    text = read_qr(await image.read())
                if not isinstance(text, str) or not text.strip():
                    raise AppRefusal("Paste the text of a code, or a picture of it.")
                return _see(self._orders.open_by_qr(text, app_ip=_address(request)))
            except AppRefusal as refusal:
                return self._page("scan.html", status=400, problem=refusal.words, calls=self._orders.calls())

    async def order(self, request: Request) -> Response:
        order = self._orders.by_handle(request.path_params["handle"])
        if not order.wanted_by_customer():
            return self._page("over.html", order=order, good=order.status is not Status.FAILED, back=_way_back(order))
        return self._page(
            "call.html" if order.hint == "userCallConfirm" else "approve.html" if order.person else "choose.html",
            order=order,
            message=_message(order),
            scanned=order.started_by is Start.QR,
            signing=order.purpose == "Signing",
            rp_name=self._rp_name,
            people=PEOPLE.values(),
            scripts=SCRIPTS,
        )

    async def call(self, request: Request) -> Response:
        async with request.form(max_files=0, max_fields=4) as form:
            return _see(self._orders.open_by_call(str(form.get("order", ""))))

    async def answer_call(self, request: Request) -> Response:
        async with request.form(max_files=0, max_fields=4) as form:
            is_theirs = form.get("answer") == "yes"
        handle = request.path_params["handle"]
        return _see(self._orders.confirm_call(handle) if is_theirs else self._orders.decline_call(handle))

    async def choose(self, request: Request) -> Response:
        async with request.form(max_files=0, max_fields=4) as form:
            person, chosen = str(form.get("person", "")), str(form.get("script", "normal"))
        # "normal" leaves the control's script in force, so that tests can script a person beforehand.
        script = SCRIPTS[chosen][1] if chosen in SCRIPTS and chosen != "normal" else None
        return _see(self._orders.choose(request.path_params["handle"], person, script))

    async def approve(self, request: Request) -> Response:
        return _leave(self._orders.approve(request.path_params["handle"]))

    async def decline(self, request: Request) -> Response:
        return _leave(self._orders.decline(request.path_params["handle"]))

    async def refused(self, _request: Request, refusal: Exception) -> Response:
        words = refusal.words if isinstance(refusal, AppRefusal) else ""
        return self._page("refused.html", status=400, problem=words)

    def _page(self, name: str, *, status: int = 200, **values: Any) -> Response:
        html = self._templates.get_template(name).render(**values)
        return HTMLResponse(html, status_code=status, headers=_HEADERS)


def read_qr(picture: bytes) -> str:
    """The text of the QR code in an image file. Raises AppRefusal when there is none or it cannot be read."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            if image.width * image.height > _PIXEL_LIMIT:
                raise AppRefusal("This picture is too big.")
            flat = Image.new("RGB", image.size, "white")
            flat.paste(image.convert("RGBA"), mask=image.convert("RGBA").getchannel("A"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise AppRefusal("This is not a picture we can read. Use PNG or JPEG.") from error
    found = [
        code.text
        for code in zxingcpp.read_barcodes(flat, formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    ]
    ours = [text for text in found if text.startswith("bankid.")]
    if not ours:
        raise AppRefusal("There is no BankID code in this picture.")
    return ours[0]


def _see(order: Order) -> Response:
    return RedirectResponse(f"/orders/{order.handle}", status_code=303, headers=_HEADERS)


def _leave(order: Order) -> Response:
    back = _way_back(order)
    return RedirectResponse(back, status_code=303, headers=_HEADERS) if back else _see(order)


def _way_back(order: Order) -> str | None:
    """Where a same-device customer is sent; the order's own address wins over the launch URL's."""
    if order.started_by is not Start.AUTOSTART:
        return None
    return _web_address(order.request.return_url) or order.redirect


def _web_address(unverified_url: str | None) -> str | None:
    if unverified_url is None or not unverified_url.isprintable():
        return None
    try:
        parts = urlsplit(unverified_url)
    except ValueError:
        return None
    return unverified_url if parts.scheme in ("http", "https") and parts.hostname else None


def _message(order: Order) -> Markup:
    if order.request.user_visible_data is None:
        return Markup("")
    text = base64.b64decode(order.request.user_visible_data).decode()
    if order.request.user_visible_data_format == "simpleMarkdownV1":
        return render_markdown(text)
    return render_plain(text)


def _address(request: Request) -> str | None:
    return request.client.host if request.client else None
