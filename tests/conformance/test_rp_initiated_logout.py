"""The modules of ``oidcc-rp-initiated-logout-certification-test-plan``, one test each."""

import base64
import json
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.downstream.receiver import Village
from tests.stage import ISSUER, Answer, Browser

BYE = "https://bakery.example/bye"


def address(**members: str) -> str:
    return f"/logout?{urlencode(members)}"


async def logged_in(village: Village) -> tuple[Browser, str]:
    """A browser that is logged in at the bakery, and the bakery's ID token."""
    browser = village.stage.browser()
    (given,) = await village.log_in(browser, village.bakery)
    return browser, str(given["id_token"])


def leads_nowhere(answer: Answer) -> bool:
    return answer.location == "" or answer.location.startswith(f"{ISSUER}/logout/confirm")


async def says_logged_out(village: Village, browser: Browser, asked: str) -> None:
    """The customer is asked, says yes, reads that she is logged out, and is."""
    await browser.follow(await browser.get(asked))
    page = await browser.follow(await browser.press("log-out"))
    assert page.status == 200
    assert page.location == ""
    assert "You are logged out" in page.text
    assert not await village.is_logged_in(browser)


async def test_oidcc_rp_initiated_logout_discovery_endpoint_verification(village: Village) -> None:
    """``end_session_endpoint`` is published, below the issuer."""
    published = (await village.stage.client.get("/.well-known/openid-configuration")).json()
    assert published["end_session_endpoint"] == f"{ISSUER}/logout"


async def test_oidcc_rp_initiated_logout(village: Village) -> None:
    """Back at the registered address with the 128 characters of state and nothing else; then prompt=none is an error."""
    browser, hint = await logged_in(village)
    state = "s" * 128
    answer = await browser.get(address(id_token_hint=hint, post_logout_redirect_uri=BYE, state=state))
    assert answer.status == 303
    assert answer.location == f"{BYE}?state={state}"
    assert (await browser.get(village.bakery.request(prompt="none"))).query["error"] == "login_required"


async def test_oidcc_rp_initiated_logout_by_post(village: Village) -> None:
    """Section 2: both methods."""
    browser, hint = await logged_in(village)
    asked = {"id_token_hint": hint, "post_logout_redirect_uri": BYE, "state": "x"}
    answer = await browser.get((await browser.post("/logout", asked)).location)
    assert answer.location == f"{BYE}?state=x"
    assert not await village.is_logged_in(browser)


async def test_oidcc_rp_initiated_logout_no_state(village: Village) -> None:
    """Nothing is added where nothing was sent."""
    browser, hint = await logged_in(village)
    answer = await browser.get(address(id_token_hint=hint, post_logout_redirect_uri=BYE))
    assert answer.location == BYE
    assert not await village.is_logged_in(browser)


async def test_oidcc_rp_initiated_logout_bad_post_logout_redirect_uri(village: Village) -> None:
    """An address that is not registered: no redirect."""
    browser, hint = await logged_in(village)
    asked = address(id_token_hint=hint, post_logout_redirect_uri="https://bakery.example/other", state="x")
    assert leads_nowhere(await browser.get(asked))


async def test_oidcc_rp_initiated_logout_query_added_to_post_logout_redirect_uri(village: Village) -> None:
    """Exact comparison, the query included."""
    browser, hint = await logged_in(village)
    assert leads_nowhere(await browser.get(address(id_token_hint=hint, post_logout_redirect_uri=f"{BYE}?foo=bar")))


async def test_oidcc_rp_initiated_logout_modified_id_token_hint(village: Village) -> None:
    """The hint with alg none: no redirect."""
    browser, hint = await logged_in(village)
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    modified = f"{header}.{hint.split('.')[1]}."
    assert leads_nowhere(await browser.get(address(id_token_hint=modified, post_logout_redirect_uri=BYE)))


async def test_oidcc_rp_initiated_logout_bad_id_token_hint(village: Village) -> None:
    """A hint somebody else signed, with issuer and audience swapped: no redirect."""
    browser, hint = await logged_in(village)
    claims: dict[str, Any] = await village.stage.id_token(hint)
    swapped = {**claims, "iss": claims["aud"], "aud": claims["iss"]}
    foreign = jwt.encode({"alg": "RS256"}, swapped, RSAKey.generate_key(2048))
    assert leads_nowhere(await browser.get(address(id_token_hint=foreign, post_logout_redirect_uri=BYE)))


async def test_oidcc_rp_initiated_logout_no_id_token_hint(village: Village) -> None:
    """An address without a hint: no redirect."""
    browser, _ = await logged_in(village)
    assert leads_nowhere(await browser.get(address(post_logout_redirect_uri=BYE, state="x")))


async def test_oidcc_rp_initiated_logout_no_params(village: Village) -> None:
    """She is asked, logged out, and told so."""
    browser, _ = await logged_in(village)
    await says_logged_out(village, browser, "/logout")


async def test_oidcc_rp_initiated_logout_only_state(village: Village) -> None:
    """A state alone leads nowhere."""
    browser, _ = await logged_in(village)
    await says_logged_out(village, browser, address(state="x"))


async def test_oidcc_rp_initiated_logout_no_post_logout_redirect_uri(village: Village) -> None:
    """With a hint of this session she need not be asked; she reads that she is logged out."""
    browser, hint = await logged_in(village)
    page = await browser.follow(await browser.get(address(id_token_hint=hint, state="x")))
    assert "You are logged out" in page.text
    assert page.location == ""
    assert not await village.is_logged_in(browser)


async def test_after_being_asked_she_ends_where_the_partner_wanted(village: Village) -> None:
    """A genuine hint of an earlier session and a registered address: asked first, and then on to it, state included."""
    browser, hint = await logged_in(village)
    await browser.get(address(id_token_hint=hint))
    await village.log_in(browser, village.bakery)
    page = await browser.follow(await browser.get(address(id_token_hint=hint, post_logout_redirect_uri=BYE, state="x")))
    assert "log-out" in page.ids
    assert "Bakery" in page.text
    gone = await browser.press("log-out")
    assert gone.location == f"{BYE}?state=x"
    assert not await village.is_logged_in(browser)


async def test_a_wish_of_ones_own_making_leads_nowhere(village: Village) -> None:
    """What the page carries is sealed: another address, another's text or an old one is as good as none."""
    browser, _ = await logged_in(village)
    await browser.get("/logout/confirm?wish=https://evil.example/")
    assert browser.page is not None
    assert "evil" not in browser.page.text
    page = await browser.press("log-out", ("wish", "https://evil.example/"))
    assert page.location.startswith(f"{ISSUER}/logged-out")


async def test_a_wish_runs_out(village: Village) -> None:
    """The page stood open for an hour: she is logged out, and goes nowhere."""
    browser, hint = await logged_in(village)
    await browser.get(address(id_token_hint=hint))
    await village.log_in(browser, village.bakery)
    await browser.follow(await browser.get(address(id_token_hint=hint, post_logout_redirect_uri=BYE)))
    village.stage.clock.forward(hours=1)
    assert (await browser.press("log-out")).location.startswith(f"{ISSUER}/logged-out")
