"""The modules of ``oidcc-frontchannel-rp-initiated-logout-certification-test-plan``."""

import re
from html import unescape
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.downstream.receiver import Village
from tests.stage import ISSUER, Answer

BYE = "https://kiosk.example/bye"


def frames(page: Answer) -> list[str]:
    return [unescape(url) for url in re.findall(r'<iframe[^>]* src="([^"]+)"', page.text)]


async def test_oidcc_frontchannel_logout_discovery_endpoint_verification(village: Village) -> None:
    """Both flags are true."""
    published = (await village.stage.client.get("/.well-known/openid-configuration")).json()
    assert published["frontchannel_logout_supported"] is True
    assert published["frontchannel_logout_session_supported"] is True


async def test_oidcc_frontchannel_rp_initiated_logout(village: Village) -> None:
    """A frame with the registered address, iss and sid; then on to the post-logout address; then prompt=none errors."""
    browser = village.stage.browser()
    (given,) = await village.log_in(browser, village.kiosk)
    asked = {"id_token_hint": given["id_token"], "post_logout_redirect_uri": BYE, "state": "x"}
    page = await browser.follow(await browser.get(f"/logout?{urlencode(asked)}"))
    (frame,) = frames(page)
    assert frame.partition("?")[0] == "https://kiosk.example/leave"
    assert dict(parse_qsl(urlsplit(frame).query)) == {"lang": "sv", "iss": ISSUER, "sid": given["claims"]["sid"]}
    assert f'content="3;url={BYE}?state=x"' in page.text
    assert (await browser.get(village.kiosk.request(prompt="none"))).query["error"] == "login_required"


async def test_only_those_partners_may_be_framed(village: Village) -> None:
    """The page's policy names exactly the origins it frames, and no page that frames none allows any."""
    browser = village.stage.browser()
    await village.log_in(browser, village.kiosk, village.bakery)
    page = await browser.get((await village.log_out(browser)).location)
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["frame-src"] == "https://kiosk.example"
    assert policy["frame-ancestors"] == "'none'"
    assert page.headers["referrer-policy"] == "no-referrer"
    await village.log_in(browser, village.bakery)
    plain = await browser.get((await village.log_out(browser)).location)
    assert frames(plain) == []
    assert "frame-src" not in plain.headers["content-security-policy"]


async def test_it_is_not_relied_on(village: Village) -> None:
    """Browsers that keep third parties apart do nothing with the frame, so she is told that she may still be logged in."""
    browser = village.stage.browser()
    await village.log_in(browser, village.kiosk)
    page = await browser.get((await village.log_out(browser)).location)
    assert "still-kiosk" in page.ids
    assert "does not always work" in page.text
