"""The garage: what it accepts from the login service, whom it recognises, and how it keeps a customer's word."""

import asyncio
import base64
import json
from datetime import date
from typing import Any

import httpx2
import pytest
from joserfc.jwk import ECKey
from playwright.async_api import Browser

from broker.demo.garage.accounts import Account, Accounts
from broker.demo.garage.arrival import arrival_from
from broker.demo.garage.diary import Diary, Job

from .fake_broker import ISSUER, query
from .page import Page
from .sites import GARAGE, SHOP, World, barriers, browsing, build, press, served

MONDAY = date(2026, 11, 23)
REGULAR = Account(17, "Anna L", date(2019, 3, 1), "anna@example.se")


@pytest.fixture
def world() -> World:
    return build()


async def _book(world: World, page: Page, **more: str) -> Page:
    return await world.post(f"{GARAGE}{page.url.path}", slot=page.slots[0], **more)


# -- arriving with a handoff ---------------------------------------------------------------------------------------


async def test_customer_arrives_logged_in_with_car_and_tyres_filled_in(world: World) -> None:
    """The whole story: nothing is typed again, the AC service is ticked, the broker gets the booking's reference."""
    page = await world.buy_and_follow()
    assert page.url.path == "/booking"
    assert page.text["user-name"] == "Anna Lind"
    assert page.text["vehicle-registration"] == "ABC 12D"
    assert page.text["vehicle-model"] == "Volvo V60"
    assert "Firn Stig" in page.text["tyres"]
    assert "235/45 R18" in page.text["tyres"]
    done = await _book(world, page, ac_service="yes")
    reference = done.text["booking-reference"]
    assert world.broker.latest.acknowledged == {"result": "booked", "reference": reference}
    assert "AC-service" in done.words
    assert "1 685 kr" in done.words.replace("\N{NO-BREAK SPACE}", " ")


async def test_second_visit_is_recognised_as_a_regular(world: World) -> None:
    """The link table knows her: welcomed back, with the same customer number and both bookings."""
    first = await world.buy_and_follow()
    assert "Välkommen, Anna!" in first.words
    await _book(world, first)
    number = _customer_number(await world.get(f"{GARAGE}/my"))
    world.browser = world.network.browser()
    second = await world.buy_and_follow()
    assert "Välkommen tillbaka, Anna!" in second.words
    await _book(world, second)
    mine = await world.get(f"{GARAGE}/my")
    assert _customer_number(mine) == number
    assert mine.words.count("VH-") == 2


async def test_private_key_jwt_does_as_well_as_a_secret() -> None:
    """The same story for a partner that authenticates with a key, guest path included."""
    world = build(key=ECKey.generate_key("P-256"))
    done = await _book(world, await world.buy_and_follow())
    assert world.broker.latest.acknowledged == {"result": "booked", "reference": done.text["booking-reference"]}
    world.broker.decision = "guest"
    assert "guest-form" in await world.buy_and_follow()


async def test_link_opened_again_lands_on_the_ordinary_page(world: World) -> None:
    """home_uri?handoff=already: no second transfer, no error, a way to the booking."""
    await _book(world, await world.buy_and_follow())
    page = await world.get(world.broker.link(world.broker.latest))
    assert page.status == 200
    assert "redan kommit fram" in page.words


async def test_what_the_customer_kept_back_is_asked_for_not_guessed(world: World) -> None:
    """Share less: withheld contact becomes an empty field, everything else is filled in."""
    world.broker.withheld = ("customer.phone", "customer.email", "vehicle.make", "vehicle.model")
    page = await world.buy_and_follow()
    assert page.inputs["contact"] == ""
    assert page.text["vehicle-model"] == ""
    assert page.text["vehicle-registration"] == "ABC 12D"
    assert (await _book(world, page, contact="070-1")).url.path.startswith("/bookings/")


async def test_language_follows_the_customer_unless_she_chose_one_here(world: World) -> None:
    """The language she agreed to share is used; a choice made on this site is stronger."""
    await world.get(f"{SHOP}/language/pl")
    assert (await world.buy_and_follow()).language == "pl"
    world.browser = world.network.browser()
    await world.get(f"{SHOP}/language/pl")
    await world.get(f"{GARAGE}/language/fi")
    assert (await world.buy_and_follow()).language == "fi"


# -- the start of a login by a third party -------------------------------------------------------------------------


async def _start(world: World, **parameters: str) -> httpx2.Response:
    world.browser.follow_redirects = False
    answer = await world.browser.get(f"{GARAGE}/login/start", params=parameters)
    world.browser.follow_redirects = True
    return answer


async def test_start_makes_a_login_of_its_own_and_passes_the_hint_through(world: World) -> None:
    """Own state, nonce and PKCE each time; the hint unchanged; no more scope than the handoff needs."""
    asked = [query((await _start(world, iss=ISSUER, login_hint="ho_opaque")).headers["location"]) for _ in range(2)]
    assert asked[0]["login_hint"] == "ho_opaque"
    assert asked[0]["scope"] == "openid"
    assert asked[0]["code_challenge_method"] == "S256"
    for name in ("state", "nonce", "code_challenge"):
        assert asked[0][name] != asked[1][name]


@pytest.mark.parametrize("issuer", ["https://evil.example", f"{ISSUER}/", ISSUER.upper(), None])
async def test_start_from_another_issuer_is_refused(world: World, issuer: str | None) -> None:
    """`iss` must be exactly the configured issuer; nobody is redirected anywhere."""
    answer = await _start(world, login_hint="ho_x", **({"iss": issuer} if issuer else {}))
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "http://127.0.0.1:8702.evil.example/",
        "http://127.0.0.1:87021/",
        "http://127.0.0.1:8702@evil.example/",
        "//evil.example/",
        "javascript:alert(1)",
        "/my",
    ],
)
async def test_start_with_a_foreign_target_is_refused(world: World, target: str) -> None:
    """`target_link_uri` must be an address of this site: no open redirect (Core section 4)."""
    answer = await _start(world, iss=ISSUER, target_link_uri=target)
    assert answer.status_code == 400


async def test_own_target_is_returned_to_after_login(world: World) -> None:
    """A target of our own is where an ordinary login ends, even one that tries to be a foreign one."""
    for target, path in ((f"{GARAGE}/booking/guest", "/booking/guest"), (f"{GARAGE}//evil.example/", "/my")):
        address = httpx2.URL(f"{GARAGE}/login/start", params={"iss": ISSUER, "target_link_uri": target})
        page = await world.get(str(address))
        assert str(page.url) == f"{GARAGE}{path}"


async def test_start_by_form_post_works_and_cannot_be_framed(world: World) -> None:
    """Core section 4 asks for GET and POST; the pages it may show refuse frames."""
    page = Page(
        await world.browser.post(
            f"{GARAGE}/login/start",
            data={"iss": ISSUER},
            headers={"Origin": ISSUER, "Sec-Fetch-Site": "cross-site"},
        )
    )
    assert page.text["user-name"] == "Anna Lind"
    headers = (await _start(world, iss="https://evil.example")).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    "lie", ["response_iss", "response_without_iss", "iss", "aud", "nonce", "no_nonce", "alg", "key", "expired"]
)
async def test_answer_that_fails_one_check_logs_nobody_in(world: World, lie: str) -> None:
    """No check of the answer may fail, and no data is fetched on the strength of one that did."""
    world.broker.lie = lie
    page = await world.get(f"{GARAGE}/login")
    assert page.status == 400
    assert "user-name" not in page
    assert (await world.get(f"{GARAGE}/booking")).url.path == "/booking/guest"


async def test_somebody_elses_arrival_logs_nobody_in(world: World) -> None:
    """An attacker's callback address opened by a victim (login CSRF) is refused and shows nothing of his handoff."""
    world.browser.follow_redirects = False
    await world.buy()
    link = world.broker.link(world.broker.latest)
    for _ in range(3):
        link = str((await world.browser.get(link)).headers["location"])
    assert link.startswith(f"{GARAGE}/callback?")
    victim = Page(await world.network.browser().get(link))
    assert victim.status == 400
    assert "user-name" not in victim
    assert "ABC 12D" not in victim.words


async def test_broker_down_at_arrival_is_no_dead_end(world: World) -> None:
    """503 in our words, and the guest form is one press away."""
    world.network.down.add(ISSUER)
    page = await world.get(f"{GARAGE}/login/start?iss={ISSUER}&login_hint=ho_x")
    assert page.status == 503
    assert "Boka som gäst" in page.words


async def test_customer_who_stops_at_the_login_is_not_told_off(world: World) -> None:
    """access_denied: nothing was shared, and she can book as a guest."""
    world.broker.lie = "access_denied"
    page = await world.get(f"{GARAGE}/login")
    assert page.status == 200
    assert "Inget har delats" in page.words


# -- consent taken back --------------------------------------------------------------------------------------------


async def test_withdrawn_before_booking_means_nothing_is_booked(world: World) -> None:
    """410 on the read just before booking: her data is forgotten, nothing is booked, she can go on as a guest."""
    page = await world.buy_and_follow()
    world.broker.latest.state = "revoked"
    answer = await _book(world, page)
    assert answer.status == 410
    assert "inte kvar dina uppgifter" in answer.words
    assert world.broker.latest.acknowledged is None
    after = await world.get(f"{GARAGE}/booking")
    assert after.url.path == "/booking/guest"
    assert "ABC 12D" not in after.words
    assert "VH-" not in (await world.get(f"{GARAGE}/my")).words


@pytest.mark.parametrize("how", ["revoked", "tokens"])
async def test_reload_after_withdrawal_shows_a_friendly_page(world: World, how: str) -> None:
    """Gone for the data or refused for the token: both mean the customer took it back."""
    await world.buy_and_follow()
    if how == "revoked":
        world.broker.latest.state = "revoked"
    else:
        world.broker.forget_tokens()
    page = await world.get(f"{GARAGE}/booking")
    assert page.status == 410
    assert "ABC 12D" not in page.words


async def test_first_read_that_fails_can_be_repeated(world: World) -> None:
    """Logged in, but the data did not come: the page says so, and one press fetches it."""
    world.network.lost.add("/handoffs/h1")
    page = await world.buy_and_follow()
    assert page.status == 503
    assert "Försök igen" in page.words
    world.network.lost.clear()
    again = await world.get(f"{GARAGE}/booking")
    assert again.text["vehicle-registration"] == "ABC 12D"
    assert again.text["user-name"] == "Anna Lind"


async def test_booking_goes_on_while_the_broker_is_down_and_is_reported_later(world: World) -> None:
    """Data already given may be used meanwhile; the acknowledgement is made up for on the confirmation page."""
    page = await world.buy_and_follow()
    world.network.down.add(ISSUER)
    done = await _book(world, page)
    assert done.text["booking-reference"]
    assert world.broker.latest.acknowledged is None
    world.network.down.clear()
    await world.get(str(done.url))
    assert world.broker.latest.acknowledged == {"result": "booked", "reference": done.text["booking-reference"]}


# -- guests --------------------------------------------------------------------------------------------------------


async def test_guest_arrives_with_product_data_only(world: World) -> None:
    """Continue without sharing: the tyres are there, who she is and what she drives is asked."""
    world.broker.decision = "guest"
    page = await world.buy_and_follow()
    assert page.url.path == "/booking/guest"
    assert "guest-form" in page
    assert "Firn Stig" in page.text["tyres"]
    assert page.inputs["name"] == ""
    assert page.inputs["registration_number"] == ""
    assert "user-name" not in page
    for secret in ("Anna", "ABC 12D", "anna@example.se", "NH-"):
        assert secret not in page.words
    done = await _book(world, page, name="A", contact="070-1", registration_number="abc 12d")
    assert "4 × Firn Stig" in done.words
    assert world.broker.latest.acknowledged is None


async def test_guest_reference_works_once(world: World) -> None:
    """The second use is answered with a friendly page and no data; the address no longer holds the reference."""
    await world.buy()
    reference = world.broker.guest_reference(world.broker.latest)
    first = await world.get(f"{GARAGE}/guest?ref={reference}")
    assert "ref" not in str(first.url)
    second = Page(await world.network.browser().get(f"{GARAGE}/guest?ref={reference}"))
    assert second.status == 410
    assert "Firn" not in second.words
    assert "Boka som gäst" in second.words


@pytest.mark.parametrize("address", ["/guest", "/guest?ref=", "/guest?ref=made-up"])
async def test_made_up_guest_reference_is_refused(world: World, address: str) -> None:
    """No reference, an empty or an invented one opens nothing."""
    assert (await world.get(f"{GARAGE}{address}")).status == 410


async def test_guest_reference_while_the_broker_is_down_leads_to_the_form(world: World) -> None:
    """503, and the customer can still book."""
    world.network.down.add(ISSUER)
    page = await world.get(f"{GARAGE}/guest?ref=x")
    assert page.status == 503
    assert "Boka som gäst" in page.words


async def test_arriving_as_a_guest_ends_a_login_from_before(world: World) -> None:
    """Who does not want to say who she is, is not shown as logged in from last time."""
    await world.get(f"{GARAGE}/login")
    world.broker.decision = "guest"
    assert "user-name" not in await world.buy_and_follow()


@pytest.mark.parametrize("left_out", ["name", "contact", "registration_number", "slot"])
async def test_guest_form_says_what_is_missing(world: World, left_out: str) -> None:
    """What was typed stays, what is missing is named, nothing is booked."""
    page = await world.get(f"{GARAGE}/booking/guest")
    form = {"name": "Anna", "contact": "070-1", "registration_number": "ABC 12D", "slot": page.slots[0]}
    answer = await world.post(f"{GARAGE}/booking/guest", **form | {left_out: " "})
    assert answer.status == 422
    assert answer.text["slot-missing" if left_out == "slot" else f"{left_out}-mistake"]
    assert answer.inputs["name"].strip() == ("" if left_out == "name" else "Anna")


# -- bookings ------------------------------------------------------------------------------------------------------


async def test_same_time_is_sold_once(world: World) -> None:
    """Two customers press at the same moment: one gets the time, the other is asked to choose again."""
    page = await world.get(f"{GARAGE}/booking/guest")
    form = {"name": "A", "contact": "070-1", "registration_number": "ABC 12D", "slot": page.slots[0]}
    answers = await asyncio.gather(
        *(world.network.browser().post(f"{GARAGE}/booking/guest", data=form) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 422, 422, 422, 422]


async def test_booking_twice_shows_the_first_booking(world: World) -> None:
    """Double click and back button: one booking, one acknowledgement."""
    page = await world.buy_and_follow()
    first = await _book(world, page)
    again = await world.post(f"{GARAGE}/booking", slot=page.slots[1])
    assert again.text["booking-reference"] == first.text["booking-reference"]
    assert (await world.get(f"{GARAGE}/booking")).url == first.url


@pytest.mark.parametrize("slot", ["", "slot-20261124-0730", "slot-20261128-0900", "x"])
async def test_time_not_on_offer_is_not_booked(world: World, slot: str) -> None:
    """Too early, a weekend, or made up: choose again, nothing booked."""
    await world.buy_and_follow()
    answer = await world.post(f"{GARAGE}/booking", slot=slot)
    assert answer.status == 422
    assert answer.text["slot-missing"]
    assert world.broker.latest.acknowledged is None


async def test_booking_of_another_customer_is_not_found(world: World) -> None:
    """A booking's number is no key, neither for a stranger nor for another customer who logs in."""
    done = await _book(world, await world.buy_and_follow())
    stranger = world.network.browser()
    assert (await stranger.get(str(done.url))).status_code == 404
    world.broker.customer = "bo"
    await stranger.get(f"{GARAGE}/login")
    assert (await stranger.get(str(done.url))).status_code == 404


def test_diary_offers_working_days_only_and_leaves_time_for_delivery() -> None:
    """Five working days, none before the tyres can be there, some times already taken."""
    days = Diary().days(MONDAY)
    assert [day.isoformat() for day, _ in days] == [
        "2026-11-26",
        "2026-11-27",
        "2026-11-30",
        "2026-12-01",
        "2026-12-02",
    ]
    free = [free for _, slots in days for _, free in slots]
    assert any(free)
    assert not all(free)


def test_booked_time_is_free_no_longer() -> None:
    """The diary keeps its word to whoever came first."""
    diary = Diary()
    slot = next(slot for _, slots in diary.days(MONDAY) for slot, free in slots if free)
    diary.book(slot, Job("A", "070", "ABC 12D", "", "", ac_service=False), None)
    assert diary.free_slot(slot.id, MONDAY) is None


# -- whose account -------------------------------------------------------------------------------------------------


def test_typed_address_of_a_regular_opens_nothing() -> None:
    """An unverified address matches nobody, whoever's it is: the account is new."""
    found = Accounts([REGULAR]).recognise(issuer=ISSUER, subject="g-1", name="X", verified_email="", today=MONDAY)
    assert found.account.number != REGULAR.number
    assert not found.maybe_known


def test_verified_address_of_a_regular_is_said_never_merged() -> None:
    """One candidate with the same verified address: told at the counter, not linked."""
    accounts = Accounts([REGULAR])
    found = accounts.recognise(issuer=ISSUER, subject="g-1", name="X", verified_email="Anna@Example.se", today=MONDAY)
    assert found.account.number != REGULAR.number
    assert found.maybe_known
    again = accounts.recognise(issuer=ISSUER, subject="g-1", name="X", verified_email="anna@example.se", today=MONDAY)
    assert again.account == found.account


def test_several_candidates_are_no_candidate() -> None:
    """Two regulars with one address: not even a hint."""
    twin = Account(18, "Anders L", date(2020, 1, 1), "anna@example.se")
    found = Accounts([REGULAR, twin]).recognise(
        issuer=ISSUER, subject="g-1", name="X", verified_email="anna@example.se", today=MONDAY
    )
    assert not found.maybe_known


def test_link_is_of_issuer_and_subject_together() -> None:
    """The same subject of another issuer is another person."""
    accounts = Accounts()
    one = accounts.recognise(issuer=ISSUER, subject="g-1", name="X", verified_email="", today=MONDAY)
    other = accounts.recognise(issuer="https://other.example", subject="g-1", name="X", verified_email="", today=MONDAY)
    assert one.account != other.account
    assert not other.is_regular


async def test_address_that_came_with_the_handoff_is_not_matched_on() -> None:
    """The shop's customer typed a regular's address: the arrival gets a new account and no hint of the other."""
    world = build(regulars=(REGULAR,))
    world.broker.profile |= {"email": "anna@example.se", "email_verified": True}
    await world.buy_and_follow()
    mine = await world.get(f"{GARAGE}/my")
    assert "maybe-known" not in mine
    assert _customer_number(mine) != "17"


async def test_direct_login_with_a_verified_address_says_so() -> None:
    """My pages offers to bring the two together at the counter."""
    world = build(regulars=(REGULAR,))
    world.broker.profile |= {"email": "anna@example.se", "email_verified": True}
    mine = await world.get(f"{GARAGE}/login")
    assert mine.url.path == "/my"
    assert "maybe-known" in mine
    assert _customer_number(mine) != "17"


@pytest.mark.parametrize("verified", [False, "true", 1, None])
async def test_address_not_verified_is_not_used(verified: Any) -> None:
    """Only the JSON value true counts as verified."""
    world = build(regulars=(REGULAR,))
    world.broker.profile |= {"email": "anna@example.se", "email_verified": verified}
    assert "maybe-known" not in await world.get(f"{GARAGE}/login")


# -- logging out, privacy ------------------------------------------------------------------------------------------


async def test_my_pages_ask_for_a_login_first(world: World) -> None:
    """Straight to the login service and back."""
    page = await world.get(f"{GARAGE}/my")
    assert page.url.path == "/my"
    assert page.text["user-name"] == "Anna Lind"


async def test_logout_ends_here_and_at_the_broker(world: World) -> None:
    """Back on the start page, said so, and nothing of the visit is left."""
    await _book(world, await world.buy_and_follow())
    page = await world.post(f"{GARAGE}/logout")
    assert page.url.path == "/"
    assert "Du är utloggad" in page.words
    assert "login" in page
    assert "VH-" not in (await world.get(f"{GARAGE}/booking")).words


async def test_logout_works_here_when_the_broker_is_down(world: World) -> None:
    """The local session ends whatever the broker does."""
    await world.get(f"{GARAGE}/login")
    world.network.down.add(ISSUER)
    world.browser.follow_redirects = False
    await world.browser.post(f"{GARAGE}/logout")
    assert "login" in await world.get(f"{GARAGE}/")


async def test_another_login_takes_nothing_over_from_the_one_before(world: World) -> None:
    """Two customers on one device: the second sees neither arrival nor bookings of the first."""
    done = await _book(world, await world.buy_and_follow())
    world.broker.customer, world.broker.profile = "bo", {"name": "Bo Ek"}
    page = await world.get(f"{GARAGE}/login")
    assert page.text["user-name"] == "Bo Ek"
    assert done.text["booking-reference"] not in page.words
    assert (await world.get(f"{GARAGE}/booking")).url.path == "/booking/guest"


async def test_no_personal_data_in_addresses_or_cookies(world: World) -> None:
    """What came with the handoff, and the tokens, are in no URL and in no cookie."""
    await _book(world, await world.buy_and_follow())
    addresses = " ".join(str(request.url) for request in world.network.seen)
    for secret in ("ABC 12D", "ABC%2012D", "ABC+12D", "ABC12D", "Anna", "anna@", "46701", "eyJ"):
        assert secret not in addresses
    cookie = world.browser.cookies["garage_session"]
    content = json.loads(base64.b64decode(cookie.split(".")[0] + "=="))
    assert set(content) <= {"visit", "language"}


@pytest.mark.parametrize("path", ["/booking", "/booking/guest", "/logout"])
async def test_form_posted_from_another_site_is_refused(world: World, path: str) -> None:
    """Only the start of a login may come from elsewhere."""
    answer = await world.browser.post(f"{GARAGE}{path}", data={}, headers={"Origin": SHOP})
    assert answer.status_code == 403


async def test_texts_of_the_source_are_shown_and_never_interpreted(world: World) -> None:
    """Markup in the handoff stays text."""
    await world.get(f"{SHOP}/login")
    await world.buy(name="<script>alert(1)</script>", make="<b>", model="{{7*7}}")
    answer = await world.browser.get(world.broker.link(world.broker.latest))
    assert "<script>" not in answer.text
    assert Page(answer).text["vehicle-model"] == "<b> {{7*7}}"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"claims": None},
        {"claims": []},
        {"claims": {"items": "many", "vehicle": [], "customer": 7}},
        {"claims": {"items": [None, {"quantity": "4", "description": ["x"]}]}},
    ],
)
def test_malformed_data_is_empty_not_an_error(answer: dict[str, Any]) -> None:
    """A member of the wrong kind is as good as none."""
    arrival = arrival_from(answer)
    assert arrival.name == ""
    assert arrival.car == ""


def test_unknown_members_are_ignored_and_long_texts_cut() -> None:
    """A newer source may say more than we understand."""
    arrival = arrival_from({"claims": {"vehicle": {"model": "V" * 9000, "colour": "red"}, "pets": ["cat"]}, "more": 1})
    assert len(arrival.model) == 200


async def test_unknown_page_is_not_found_in_our_own_words(world: World) -> None:
    """404 with a way back; healthz answers."""
    page = await world.get(f"{GARAGE}/nowhere")
    assert page.status == 404
    assert "Till startsidan" in page.words
    assert (await world.browser.get(f"{GARAGE}/healthz")).text == "ok"


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("scheme", "width", "language"), [("light", 1280, "pl"), ("dark", 390, "fi")], ids=["light", "dark-phone"]
)
async def test_pages_are_accessible_in_a_real_browser(
    chromium: Browser, scheme: str, width: int, language: str
) -> None:
    """Axe finds nothing from the start page over arrival and booking to my pages, and no page scrolls sideways."""
    settings = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}, "locale": language}
    async with served() as (shop, garage, _), browsing(chromium, **settings) as context:
        page = await context.new_page()
        await page.goto(f"{garage}/")
        found = await barriers(context)
        await page.goto(f"{garage}/booking/guest")
        await press(page, "#book")
        found += await barriers(context)
        await page.goto(f"{shop}/")
        await press(page, "#buy-firn-stig-18")
        await press(page, "#checkout")
        await press(page, "#checkout-login")
        await page.fill("#email", "anna@example.se")
        await page.fill("#registration-number", "ABC 12D")
        await press(page, "#pay")
        await press(page, "#book-fitting")
        found += await barriers(context)
        await page.locator("[id^=slot-2]").first.check()
        await page.check("#ac-service")
        await press(page, "#book")
        found += await barriers(context)
        await page.goto(f"{garage}/my")
        found += await barriers(context)
        await press(page, "#logout")
        found += await barriers(context)
        assert found == []


def _customer_number(page: Page) -> str:
    return page.words.split("Kund nr ")[1].split()[0]
