"""RP-initiated logout: the rows of the conformance plan, and what must not be possible."""

import re
from urllib.parse import urlencode

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.downstream.crowd import Crowd
from tests.stage import GARAGE, SHOP, Answer, Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

BYE = "http://127.0.0.1:8701/logged-out"


def address(**members: str) -> str:
    return f"/logout?{urlencode(members)}"


async def logged_in(crowd: Crowd, who: str = "maja") -> tuple[Browser, str]:
    """A browser with a session, and the shop's ID token."""
    browser = crowd.stage.browser()
    return browser, (await crowd.stage.shop_login(browser, who=who))["id_token"]


async def is_logged_in(crowd: Crowd, browser: Browser) -> bool:
    return "code" in (await browser.get(crowd.stage.shop.request(prompt="none"))).query


def stays_here(answer: Answer) -> bool:
    return answer.location == "" or answer.location.startswith("http://localhost:8700/")


@pytest.mark.parametrize("state", [None, "s" * 128, "a b&c=d"])
async def test_with_hint_and_registered_address_leads_back(crowd: Crowd, state: str | None) -> None:
    """Session over, redirect with the unchanged state and nothing else; the session cookie is gone and dead."""
    browser, hint = await logged_in(crowd)
    old = dict(browser.cookies)
    asked = {"id_token_hint": hint, "post_logout_redirect_uri": BYE, **({"state": state} if state else {})}
    answer = await browser.get(address(**asked))
    assert answer.status == 303
    assert answer.location.partition("?")[0] == BYE
    assert answer.query == ({"state": state} if state else {})
    assert "__Host-stafett-session" not in browser.cookies
    browser.cookies = old
    assert not await is_logged_in(crowd, browser)


async def test_keeps_the_addresss_own_query(crowd: Crowd) -> None:
    """A registered ``?lang=sv`` stays, compared exactly."""
    browser = crowd.stage.browser()
    answer = await crowd.log_in(browser, crowd.florist)
    hint = (await crowd.redeem(crowd.florist, answer.query["code"])).json["id_token"]
    bye = "https://florist.example/bye?lang=sv"
    gone = await browser.get(address(id_token_hint=hint, post_logout_redirect_uri=bye, state="x"))
    assert gone.query == {"lang": "sv", "state": "x"}


@pytest.mark.parametrize(
    "uri",
    [f"{BYE}/", f"{BYE}?foo=bar", f"{BYE}#x", BYE.upper(), "https://evil.example/", "//evil.example", "/j/x",
     "http://127.0.0.1:8702/", "javascript:alert(1)", f"{BYE}%00", f" {BYE}"],
)  # fmt: skip
async def test_to_an_unregistered_address_is_refused(crowd: Crowd, uri: str) -> None:
    """Exact comparison: a page, no redirect, and she is still logged in."""
    browser, hint = await logged_in(crowd)
    answer = await browser.get(address(id_token_hint=hint, post_logout_redirect_uri=uri))
    assert answer.status == 400
    assert answer.location == ""
    assert await is_logged_in(crowd, browser)


async def test_without_a_hint_goes_nowhere_else(crowd: Crowd) -> None:
    """An address needs the hint that proves who asks; client_id alone proves nothing."""
    browser, _ = await logged_in(crowd)
    for asked in ({"post_logout_redirect_uri": BYE}, {"post_logout_redirect_uri": BYE, "client_id": SHOP}):
        answer = await browser.get(address(**asked))
        assert answer.status == 400
        assert answer.location == ""
    assert await is_logged_in(crowd, browser)


async def test_with_a_forged_hint_does_nothing(crowd: Crowd) -> None:
    """alg none, another's signature, another issuer, another client_id beside it."""
    browser, hint = await logged_in(crowd)
    claims = await crowd.stage.id_token(hint)
    header, payload, signature = hint.split(".")
    kid = (await crowd.stage.client.get("/jwks")).json()["keys"][0]["kid"]
    foreign = ECKey.generate_key("P-256", {"kid": kid})
    forged = [
        f"eyJhbGciOiJub25lIn0.{payload}.",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[::-1]}",
        jwt.encode({"alg": "ES256", "kid": kid}, claims, foreign),
        jwt.encode({"alg": "ES256", "kid": "own"}, {**claims, "iss": "https://evil.example"}, foreign),
        "garbage",
    ]
    for each in forged:
        answer = await browser.get(address(id_token_hint=each, post_logout_redirect_uri=BYE))
        assert answer.status == 400
        assert answer.location == ""
    mixed = await browser.get(address(id_token_hint=hint, client_id=GARAGE, post_logout_redirect_uri=BYE))
    assert mixed.status == 400
    assert await is_logged_in(crowd, browser)


async def test_with_an_old_hint_of_this_session_works(crowd: Crowd) -> None:
    """An expired ID token still says whose session is meant (section 4)."""
    browser, hint = await logged_in(crowd)
    crowd.stage.clock.forward(hours=2)
    assert (await browser.get(address(id_token_hint=hint, post_logout_redirect_uri=BYE))).location == BYE


async def test_with_the_hint_of_another_session_asks(crowd: Crowd) -> None:
    """Logout by cross-site request: an attacker's own hint, or one of an earlier session, ends nothing by itself."""
    _, attackers = await logged_in(crowd, "karl")
    browser, earlier = await logged_in(crowd)
    await browser.get(address(id_token_hint=earlier))
    await crowd.stage.shop_login(browser)
    for hint in (attackers, earlier):
        answer = await browser.get(address(id_token_hint=hint, post_logout_redirect_uri=BYE))
        assert answer.location.partition("?")[0].endswith("/logout/confirm")
    assert await is_logged_in(crowd, browser)


@pytest.mark.parametrize("asked", [{}, {"state": "x"}, {"logout_hint": "maja"}, {"client_id": SHOP}])
async def test_without_anything_asks_and_then_does(crowd: Crowd, asked: dict[str, str]) -> None:
    """The confirm page; staying stays, leaving leaves, and ends on our own page."""
    browser, _ = await logged_in(crowd)
    page = await browser.follow(await browser.get(address(**asked)))
    assert {"log-out", "stay"} <= page.ids
    stayed = browser.copy()
    stayed.page = page
    assert stays_here(await stayed.press("stay"))
    assert await is_logged_in(crowd, browser)
    browser.page = page
    gone = await browser.press("log-out")
    assert gone.location.partition("?")[0].endswith("/logged-out")
    assert not await is_logged_in(crowd, browser)
    assert (await browser.get(gone.location)).status == 200
    assert (await browser.get("/logout")).location.endswith("/logged-out")
    assert (await browser.get("/logout/confirm")).location.endswith("/logged-out")


@pytest.mark.parametrize(
    ("change", "headers"),
    [
        ({"csrf": ""}, {}),
        ({"csrf": "A" * 64}, {}),
        ({}, {"origin": "https://evil.example"}),
        ({}, {"sec-fetch-site": "cross-site"}),
    ],
)
async def test_the_confirmation_needs_its_token(crowd: Crowd, change: dict[str, str], headers: dict[str, str]) -> None:
    """Nobody logs her out from elsewhere."""
    browser, _ = await logged_in(crowd)
    page = await browser.get("/logout/confirm")
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert token is not None
    answer = await browser.post("/logout/confirm", {"csrf": token[1], **change}, **headers)
    assert answer.status == 403
    assert await is_logged_in(crowd, browser)


async def test_a_form_from_elsewhere_takes_no_cookie_away(crowd: Crowd) -> None:
    """
    Another site's form comes without our SameSite=Lax cookie, so that there is no token to check; its answer must not clear the
    cookie either: she would be logged out here, and no partner told.
    """
    stranger = crowd.stage.browser()
    answer = await stranger.post("/logout/confirm", {"answer": "log_out"}, origin="https://evil.example")
    assert "set-cookie" not in answer.headers


async def test_by_post_comes_back_with_the_cookie(crowd: Crowd) -> None:
    """A cross-site form post is answered by a GET of our own (section 2)."""
    browser, hint = await logged_in(crowd)
    stranger = crowd.stage.browser()
    moved = await stranger.post("/logout", {"id_token_hint": hint, "post_logout_redirect_uri": BYE, "state": "x"})
    assert moved.status == 303
    done = await browser.get(moved.location)
    assert done.location == f"{BYE}?state=x"
    assert not await is_logged_in(crowd, browser)


async def test_of_one_browser_leaves_the_other(crowd: Crowd) -> None:
    """Two browsers of one customer are two sessions."""
    one, hint = await logged_in(crowd)
    two, _ = await logged_in(crowd)
    await one.get(address(id_token_hint=hint))
    assert not await is_logged_in(crowd, one)
    assert await is_logged_in(crowd, two)


async def test_a_parameter_twice_is_refused(crowd: Crowd) -> None:
    """As everywhere."""
    browser, hint = await logged_in(crowd)
    answer = await browser.get(
        f"{address(id_token_hint=hint, post_logout_redirect_uri=BYE)}&post_logout_redirect_uri=x"
    )
    assert answer.status == 400
    assert await is_logged_in(crowd, browser)
