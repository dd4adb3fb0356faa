"""The tyre shop: a purchase never fails with the broker, and a login is believed only when every check holds."""

import base64
import json
import xml.etree.ElementTree as ElementTree
from datetime import timedelta
from pathlib import Path

import httpx2
import jsonschema
import pytest
from playwright.async_api import Browser

from broker.demo.shop.catalogue import TYRES, look_up, normal_plate
from broker.demo.shop.drawing import draw_tyre
from broker.demo.shop.orders import MOST_PER_LINE, Basket, normal_phone
from broker.demo.website.language import LANGUAGES, preferred
from broker.demo.website.pages import own_path

from .fake_broker import ISSUER, query
from .page import Page
from .sites import CHECKOUT, SHOP, World, barriers, browsing, build, placeholders, press, served

SCHEMA = json.loads((Path(__file__).parents[2] / "config" / "schemas" / "tyre-fitting-v1.json").read_text("utf-8"))


@pytest.fixture
def world() -> World:
    return build()


# -- buying, and offering the fitting ------------------------------------------------------------------------------


async def test_logged_in_customer_buys_and_gets_a_link_to_book_the_fitting(world: World) -> None:
    """The shop's server offers the handoff with its own subject, and the customer finds the link on the receipt."""
    await world.get(f"{SHOP}/login?next=/checkout")
    order = await world.buy()
    handoff = world.broker.latest
    assert order.status == 200
    assert order.text["user-name"] == "Anna Lind"
    assert order.attributes["book-fitting"]["href"] == world.broker.link(handoff)
    assert handoff.request["subject"] == "tyre-shop-anna"
    assert handoff.request["contact"] is None
    assert handoff.request["partner"] == "garage"
    assert handoff.request["return_uri"] == f"{SHOP}/booking-return"


async def test_payload_fits_the_published_schema(world: World) -> None:
    """What is handed over is exactly tyre-fitting/v1, with units and forms as published, and no price."""
    await world.buy()
    payload = world.broker.latest.request["payload"]
    jsonschema.validate(payload, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert payload["vehicle"] == {
        "registration_number": "ABC 12D",
        "make": "Volvo",
        "model": "V60",
        "tyre_size_front": "235/45 R18",
    }
    assert payload["customer"]["phone"] == "+46701234567"
    assert payload["items"][0]["quantity"] == 4
    assert payload["order"]["placed_at"] == "2026-11-23T09:00:00Z"


async def test_guest_buys_too(world: World) -> None:
    """Without logging in the purchase and the link are the same; the handoff has no subject."""
    order = await world.buy()
    assert "book-fitting" in order
    assert world.broker.latest.request["subject"] is None
    assert world.broker.latest.request["contact"] == {"email": "anna@example.se", "phone": "+46701234567"}


async def test_left_out_phone_and_unknown_car_are_left_out_of_the_payload(world: World) -> None:
    """Nothing is invented: what the customer did not tell is absent, not empty."""
    await world.buy(phone="", registration_number="ZZZ 999")
    payload = world.broker.latest.request["payload"]
    jsonschema.validate(payload, SCHEMA)
    assert "phone" not in payload["customer"]
    assert "make" not in payload["vehicle"]


async def test_home_delivery_offers_nothing_to_the_garage(world: World) -> None:
    """Tyres that are not sent to the garage make no handoff."""
    order = await world.buy(deliver_to="customer")
    assert "book-fitting" not in order
    assert not world.broker.handoffs


async def test_car_found_by_its_plate_shows_fitting_tyres_and_is_filled_in_at_checkout(world: World) -> None:
    """Ask only once: the plate typed on the start page is there at checkout."""
    start = await world.post(f"{SHOP}/car", registration_number="abc 12d")
    assert "Volvo V60" in start.text["tyres-title"]
    assert "buy-firn-stig-18" in start
    assert "buy-firn-stig-16" not in start
    await world.post(f"{SHOP}/basket", sku="firn-stig-18", quantity="4")
    checkout = await world.get(f"{SHOP}/checkout")
    assert checkout.inputs["registration_number"] == "ABC 12D"


async def test_next_purchase_is_filled_in_from_the_customers_garage_of_cars(world: World) -> None:
    """A logged-in customer chooses her car instead of typing it again, also in another browser."""
    await world.get(f"{SHOP}/login")
    await world.buy()
    world.browser = world.network.browser()
    await world.get(f"{SHOP}/login")
    await world.post(f"{SHOP}/basket", sku="firn-klo-18", quantity="4")
    checkout = await world.get(f"{SHOP}/checkout")
    assert checkout.inputs["car"] == "0"
    assert checkout.inputs["email"] == "anna@example.se"
    await world.post(f"{SHOP}/checkout", name="Anna Lind", email="anna@example.se", car="0")
    assert world.broker.latest.request["payload"]["vehicle"]["registration_number"] == "ABC 12D"


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("name", "  "),
        ("email", "anna"),
        ("email", "anna@example"),
        ("phone", "call me"),
        ("registration_number", ""),
        ("registration_number", "<script>"),
    ],
)
async def test_checkout_says_what_is_wrong_and_sells_nothing(world: World, field: str, typed: str) -> None:
    """A wrong field is named beside the field, what was typed stays, and there is no order and no handoff."""
    checkout = await world.buy(**{field: typed})
    assert checkout.status == 422
    assert checkout.attributes[field.replace("_", "-")]["aria-invalid"] == "true"
    assert checkout.text[f"{field}-mistake"]
    assert not world.broker.handoffs
    assert (await world.get(f"{SHOP}/checkout")).status == 200


async def test_paying_twice_makes_one_order(world: World) -> None:
    """The second press finds an empty basket: no second order, no second handoff."""
    await world.buy()
    again = await world.post(f"{SHOP}/checkout", **CHECKOUT)
    assert again.url.path == "/basket"
    assert len(world.broker.handoffs) == 1


@pytest.mark.parametrize(("sku", "quantity"), [("no-such", "4"), ("firn-stig-18", "-1"), ("firn-stig-18", "x")])
async def test_basket_refuses_what_is_not_sold(world: World, sku: str, quantity: str) -> None:
    """A made-up article or quantity is refused and changes nothing."""
    assert (await world.post(f"{SHOP}/basket", sku=sku, quantity=quantity)).status == 400
    assert "checkout" not in await world.get(f"{SHOP}/basket")


# -- when the broker fails, or the customer turns back -------------------------------------------------------------


async def test_purchase_survives_a_broker_that_is_down_and_the_link_comes_later(world: World) -> None:
    """Paying works without the broker; the page says so and makes the link when asked again."""
    world.network.down.add(ISSUER)
    order = await world.buy()
    assert order.status == 200
    assert "Tack för ditt köp!" in order.words
    assert "book-fitting" not in order
    still_down = await world.post(f"{order.url}/booking-link")
    assert "link-again" in still_down
    world.network.down.clear()
    again = await world.post(f"{order.url}/booking-link")
    assert "book-fitting" in again
    assert len(world.broker.handoffs) == 1


async def test_lost_answer_makes_no_second_offer(world: World) -> None:
    """When only the broker's answer was lost, trying again repeats the same offer."""
    world.network.lost.add("/handoffs")
    order = await world.buy()
    assert "link-again" in order
    world.network.lost.clear()
    assert "book-fitting" in await world.post(f"{order.url}/booking-link")
    assert len(world.broker.handoffs) == 1


async def test_customer_who_cancelled_reads_a_friendly_note_and_can_begin_anew(world: World) -> None:
    """Back with handoff=cancelled: nothing was shared, and a fresh link is one press away."""
    order = await world.buy()
    world.broker.decision = "cancel"
    back = await world.get(order.attributes["book-fitting"]["href"])
    assert "inget har delats" in back.text["fitting"]
    fresh = await world.post(f"{SHOP}{back.url.path}/booking-link")
    assert fresh.attributes["book-fitting"]["href"] != order.attributes["book-fitting"]["href"]


async def test_expired_link_is_replaced(world: World) -> None:
    """Back with handoff=expired: the order is untouched and a new link is offered."""
    order = await world.buy()
    world.broker.decision = "expired"
    back = await world.get(order.attributes["book-fitting"]["href"])
    assert "för gammal" in back.text["fitting"]
    fresh = await world.post(f"{SHOP}{back.url.path}/booking-link")
    assert fresh.attributes["book-fitting"]["href"] == world.broker.link(world.broker.latest)
    assert len(world.broker.handoffs) == 2


async def test_link_known_to_be_too_old_is_not_shown(world: World) -> None:
    """Nobody is sent along a link that the shop knows has expired."""
    world.broker.expires_at = "2026-11-24T09:00:00Z"
    order = await world.buy()
    world.at += timedelta(days=1)
    later = await world.get(str(order.url))
    assert "book-fitting" not in later
    assert "link-again" in later


@pytest.mark.parametrize("outcome", ["cancelled", "expired", "hacked", ""])
async def test_return_address_without_an_order_is_no_dead_end(world: World, outcome: str) -> None:
    """Whoever opens the return address without having bought anything lands on the list of orders."""
    page = await world.get(f"{SHOP}/booking-return?handoff={outcome}")
    assert page.url.path == "/orders"
    assert page.status == 200


async def test_my_orders_shows_how_far_the_fitting_has_come(world: World) -> None:
    """The broker's state of the offer is told in words; unreachable, the last known stays."""
    await world.get(f"{SHOP}/login")
    await world.buy()
    assert "Väntar på att du bokar" in (await world.get(f"{SHOP}/orders")).words
    world.broker.latest.state = "acknowledged"
    world.network.down.add(ISSUER)
    assert "Väntar på att du bokar" in (await world.get(f"{SHOP}/orders")).words
    world.network.down.clear()
    assert "Tid bokad" in (await world.get(f"{SHOP}/orders")).words


async def test_the_receipt_says_so_too(world: World) -> None:
    """Opened again, before the list of orders was: it does not ask for a time that is booked."""
    await world.get(f"{SHOP}/login")
    receipt = await world.buy()
    assert "Monteringen är bokad" not in receipt.words
    world.broker.latest.state = "acknowledged"
    assert "Monteringen är bokad" in (await world.get(str(receipt.url))).words


# -- logging in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lie",
    [
        "response_iss",
        "response_without_iss",
        "iss",
        "aud",
        "nonce",
        "no_nonce",
        "alg",
        "key",
        "expired",
        "issuer",
    ],
)
async def test_answer_that_fails_one_check_logs_nobody_in(world: World, lie: str) -> None:
    """Issuer of discovery, response and token, audience, nonce, algorithm, signature and expiry are each required."""
    world.broker.lie = lie
    page = await world.get(f"{SHOP}/login")
    assert page.status == 400
    assert "user-name" not in page
    assert "login" in await world.get(f"{SHOP}/")


async def test_login_uses_state_nonce_and_pkce_afresh_each_time(world: World) -> None:
    """Nothing of the request is reused between two logins."""
    browser = world.browser
    browser.follow_redirects = False
    first, second = [query((await browser.get(f"{SHOP}/login")).headers["location"]) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]
    assert first["code_challenge_method"] == "S256"


async def test_somebody_elses_answer_logs_nobody_in(world: World) -> None:
    """A callback address from another browser (login CSRF) is refused: its state is not this browser's."""
    stolen = await _answer_for(world.network.browser(), world)
    page = await world.get(stolen)
    assert page.status == 400
    assert "user-name" not in page


async def test_answer_opened_again_changes_nothing(world: World) -> None:
    """The back button onto the callback finds the customer logged in already."""
    address = await _answer_for(world.browser, world)
    assert "user-name" in await world.get(address)
    again = await world.get(address)
    assert again.status == 200
    assert again.text["user-name"] == "Anna Lind"


async def test_login_begun_in_two_tabs_ends_with_a_way_forward(world: World) -> None:
    """The older tab's answer is not accepted; its page offers to start again."""
    older = await _answer_for(world.browser, world)
    await _answer_for(world.browser, world)
    page = await world.get(older)
    assert page.status == 400
    assert page.attributes["try-again"]["href"] == "/login?next=/"


async def test_customer_who_declines_to_log_in_keeps_her_basket(world: World) -> None:
    """access_denied is not an error page: she can shop as a guest."""
    await world.post(f"{SHOP}/basket", sku="firn-stig-18", quantity="4")
    world.broker.lie = "access_denied"
    page = await world.get(f"{SHOP}/login?next=/checkout")
    assert page.status == 200
    assert "user-name" not in page
    assert (await world.get(f"{SHOP}/checkout")).url.path == "/checkout"


async def test_broker_down_at_login_says_so_and_keeps_the_basket(world: World) -> None:
    """503 with a way on, and the retry works once the broker is back."""
    await world.post(f"{SHOP}/basket", sku="firn-stig-18", quantity="4")
    world.network.down.add(ISSUER)
    page = await world.get(f"{SHOP}/login?next=/checkout")
    assert page.status == 503
    world.network.down.clear()
    back = await world.get(f"{SHOP}{page.attributes['try-again']['href']}")
    assert back.url.path == "/checkout"
    assert back.text["user-name"] == "Anna Lind"


async def test_broker_down_between_code_and_token_leaves_nothing_half_done(world: World) -> None:
    """The token endpoint out of reach: not logged in, 503, and logging in afterwards works."""
    address = await _answer_for(world.browser, world)
    world.network.down.add(ISSUER)
    page = await world.get(address)
    assert page.status == 503
    assert "user-name" not in page
    world.network.down.clear()
    assert "user-name" in await world.get(f"{SHOP}/login")


async def test_userinfo_about_somebody_else_is_not_used(world: World) -> None:
    """OpenID Connect Core 5.3.2: another subject's claims are dropped, the login itself stands."""
    world.broker.lie = "userinfo_sub"
    page = await world.get(f"{SHOP}/login")
    assert page.text["user-name"] == "Inloggad"


async def test_session_id_changes_at_login(world: World) -> None:
    """A cookie planted before the login is worth nothing after it."""
    await world.get(f"{SHOP}/")
    planted = world.network.browser()
    planted.cookies = httpx2.Cookies(world.browser.cookies)
    await world.get(f"{SHOP}/login")
    assert "user-name" not in Page(await planted.get(f"{SHOP}/"))


async def test_logout_ends_here_and_at_the_broker(world: World) -> None:
    """RP-initiated logout with the ID Token as hint; the customer comes back to the shop's goodbye."""
    await world.get(f"{SHOP}/login")
    await world.buy()
    page = await world.post(f"{SHOP}/logout")
    assert page.url.path == "/logged-out"
    assert "login" in page
    assert any(request.url.path == "/logout" and request.url.host == "localhost" for request in world.network.seen)
    assert "NH-" not in (await world.get(f"{SHOP}/orders")).words


async def test_logout_works_here_when_the_broker_is_down(world: World) -> None:
    """The local session ends whatever the broker does."""
    await world.get(f"{SHOP}/login")
    world.network.down.add(ISSUER)
    world.browser.follow_redirects = False
    await world.browser.post(f"{SHOP}/logout")
    assert "login" in await world.get(f"{SHOP}/")


async def test_another_customer_on_the_same_device_sees_nothing_of_the_first(world: World) -> None:
    """Orders, car and contact belong to the customer, not to the browser."""
    await world.get(f"{SHOP}/login")
    order = await world.buy()
    world.broker.customer, world.broker.profile = "bo", {"name": "Bo Ek"}
    page = await world.get(f"{SHOP}/login?next=/orders")
    assert page.text["user-name"] == "Bo Ek"
    assert "NH-" not in page.words
    assert (await world.get(str(order.url))).status == 404
    await world.post(f"{SHOP}/basket", sku="firn-stig-18", quantity="4")
    assert (await world.get(f"{SHOP}/checkout")).inputs["registration_number"] == ""


# -- what stays private --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/booking-link"])
async def test_order_of_another_visit_is_not_found(world: World, path: str) -> None:
    """An order number is no key: in another browser the guest's order does not exist."""
    order = await world.buy()
    stranger = world.network.browser()
    address = f"{order.url}{path}"
    answer = await (stranger.post(address) if path else stranger.get(address))
    assert answer.status_code == 404
    assert "anna@example.se" not in answer.text


async def test_no_personal_data_in_addresses_or_cookies(world: World) -> None:
    """Names, plate, mail and tokens are in no URL and in no cookie; the cookie is small."""
    await world.post(f"{SHOP}/car", registration_number="ABC 12D")
    await world.get(f"{SHOP}/login")
    await world.buy()
    addresses = " ".join(str(request.url) for request in world.network.seen)
    cookie = world.browser.cookies["shop_session"]
    for secret in ("ABC", "Anna", "anna@", "070", "eyJ"):
        assert secret not in addresses.replace(_logout_hints(world), "")
    content = base64.b64decode(cookie.split(".")[0] + "==").decode()
    assert set(json.loads(content)) == {"visit"}
    assert len(cookie) < 400


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://127.0.0.1:8702"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}]
)
async def test_form_posted_from_another_site_is_refused(world: World, headers: dict[str, str]) -> None:
    """The garage's origin counts as the same site to cookies, so origin and fetch metadata decide."""
    answer = await world.browser.post(f"{SHOP}/basket", data={"sku": "firn-stig-18", "quantity": "4"}, headers=headers)
    assert answer.status_code == 403
    assert "checkout" not in await world.get(f"{SHOP}/basket")


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "evil", "", "/a\nb"])
def test_only_own_paths_are_returned_to(target: str) -> None:
    """No open redirect through next or back."""
    assert own_path(target) == "/"


async def test_login_and_language_do_not_lead_off_the_site(world: World) -> None:
    """A foreign next or back is replaced by the start page."""
    for address in (f"{SHOP}/login?next=https://evil.example/", f"{SHOP}/language/fi?back=//evil.example"):
        page = await world.get(address)
        assert str(page.url) == f"{SHOP}/"


async def test_what_customers_type_is_shown_as_text(world: World) -> None:
    """Markup in a name stays text on every page that shows it."""
    world.broker.profile = {"name": "<img src=x onerror=alert(1)>"}
    answer = await world.browser.get(f"{SHOP}/login")
    assert "<img src=x" not in answer.text
    assert Page(answer).text["user-name"] == "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("path", ["/", "/tyres/firn-stig-18", "/basket", "/orders", "/logged-out", "/nowhere"])
async def test_every_page_carries_the_protective_headers(world: World, path: str) -> None:
    """No framing, no foreign resources, no script, nothing kept by caches."""
    headers = (await world.browser.get(f"{SHOP}{path}")).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert headers["cache-control"] == "no-store"


async def test_unknown_page_article_and_picture_are_not_found(world: World) -> None:
    """A page of our own says so, with a way back."""
    for path in ("/nowhere", "/tyres/no-such", "/pictures/no-such.svg", "/orders/NH-1"):
        page = await world.get(f"{SHOP}{path}")
        assert page.status == 404
        assert "Till startsidan" in page.words


async def test_healthz(world: World) -> None:
    """The demo waits for this before it says where to click."""
    assert (await world.browser.get(f"{SHOP}/healthz")).text == "ok"


# -- small parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("070-123 45 67", "+46701234567"),
        ("0046 70 123 45 67", "+46701234567"),
        ("+358 40 123 4567", "+358401234567"),
        ("(08) 465 004 20", "+46846500420"),
        ("", ""),
        ("12", ""),
        ("+0701234567", ""),
        ("070-CALL-ME", ""),
    ],
)
def test_phone_numbers_are_kept_as_e164_or_not_at_all(typed: str, kept: str) -> None:
    """A national number is Swedish; what cannot be a number is empty."""
    assert normal_phone(typed) == kept


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("abc12d", "ABC 12D"), (" ABC-123 ", "ABC 123"), ("åäö", "ÅÄÖ"), ("x", ""), ("abc 12d; drop", "")],
)
def test_plates_have_one_form(typed: str, kept: str) -> None:
    """Spaces and case do not matter; what cannot be a plate is empty."""
    assert normal_plate(typed) == kept


def test_unknown_plate_is_a_car_without_a_name() -> None:
    """Not being in the register is no obstacle."""
    car = look_up("ZZZ 999")
    assert car is not None
    assert car.name == ""
    assert look_up("") is None


def test_basket_keeps_to_its_limits() -> None:
    """Nobody buys a thousand tyres by mistake, and zero removes."""
    basket = Basket()
    basket.add("firn-stig-18", 1000)
    assert basket.count == MOST_PER_LINE
    basket.change("firn-stig-18", 0)
    assert basket.lines == ()


@pytest.mark.parametrize("tyre", TYRES, ids=lambda tyre: tyre.sku)
def test_every_tyre_has_a_picture_that_parses(tyre) -> None:  # type: ignore[no-untyped-def]
    """The drawing is well-formed and needs nothing from elsewhere."""
    drawing = draw_tyre(tyre)
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert 'href="http' not in drawing


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("sv-SE,sv;q=0.9,en;q=0.8", "sv"),
        ("de, pl;q=0.8, en;q=0.9", "en"),
        ("fi;q=0, de", None),
        ("en;q=broken, pl;q=0.1", "pl"),
        ("", None),
        ("*", None),
    ],
)
def test_accept_language_is_obeyed(header: str, language: str | None) -> None:
    """The best range we speak; refused or broken ranges do not count."""
    assert preferred(header) == language


async def test_chosen_language_stays_and_reaches_the_broker(world: World) -> None:
    """The switch beats Accept-Language, and login page and handoff are asked for in the same language."""
    page = await world.get(f"{SHOP}/language/pl?back=/basket")
    assert page.language == "pl"
    assert page.url.path == "/basket"
    await world.get(f"{SHOP}/login")
    await world.buy()
    authorize = next(request for request in world.network.seen if request.url.path == "/authorize")
    assert query(str(authorize.url))["ui_locales"] == "pl"
    assert world.broker.latest.request["language"] == "pl"


async def test_unknown_language_changes_nothing(world: World) -> None:
    """The address of the switch cannot put the site into a language it does not have."""
    assert (await world.get(f"{SHOP}/language/xx")).language == "sv"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("site", ["broker.demo.shop", "broker.demo.garage"])
def test_every_text_exists_in_every_language(site: str, language: str) -> None:
    """Same keys, same placeholders, in all four languages of both sites."""
    assert placeholders(site, language) == placeholders(site, "sv")


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("scheme", "width", "language"), [("light", 1280, "sv"), ("dark", 390, "fi")], ids=["light", "dark-phone"]
)
async def test_pages_are_accessible_in_a_real_browser(
    chromium: Browser, scheme: str, width: int, language: str
) -> None:
    """Axe finds nothing on the way from the start page to the receipt, and no page scrolls sideways."""
    settings = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}, "locale": language}
    async with served() as (origin, _, _), browsing(chromium, **settings) as context:
        page = await context.new_page()
        await page.goto(f"{origin}/")
        found = await barriers(context)
        await page.goto(f"{origin}/tyres/firn-klo-18")
        found += await barriers(context)
        await press(page, "#buy-firn-klo-18")
        found += await barriers(context)
        await press(page, "#checkout")
        await press(page, "#pay")
        found += await barriers(context)
        await press(page, "#checkout-login")
        await page.fill("#email", "anna@example.se")
        await page.fill("#registration-number", "ABC 12D")
        await press(page, "#pay")
        found += await barriers(context)
        await page.goto(f"{origin}/orders")
        found += await barriers(context)
        await page.goto(f"{origin}/winter?recognition=made-up")
        found += await barriers(context)
        await press(page, "#logout")
        found += await barriers(context)
        assert found == []


async def _answer_for(browser: httpx2.AsyncClient, world: World) -> str:
    """The callback address that a login begun in *browser* leads to, not opened yet."""
    browser.follow_redirects = False
    to_broker = (await browser.get(f"{SHOP}/login")).headers["location"]
    address = str((await browser.get(to_broker)).headers["location"])
    browser.follow_redirects = True
    return address


def _logout_hints(world: World) -> str:
    """The broker's own logout address carries an ID Token by its specification; none has been made here."""
    return next((str(request.url) for request in world.network.seen if request.url.path == "/logout"), "\0")
