"""What every answer carries and every request must keep to, whatever it is for."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import pytest_asyncio
from starlette.routing import Mount, Route

from tests.downstream.crowd import Crowd, open_crowd
from tests.stage import ISSUER, PAYLOAD, Answer, Stage, open_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(prepared_stage: Path) -> AsyncIterator[Crowd]:
    """One broker for all that only looks."""
    async with open_crowd(prepared_stage) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pages(crowd: Crowd) -> dict[str, Answer]:
    """Every kind of page the broker shows, by name."""
    stage = crowd.stage
    browser = stage.browser()
    pages = {
        "front": await browser.get("/"),
        "nowhere": await browser.get("/nowhere"),
        "wrong method": await browser.get("/token"),
        "bad request": await browser.get("/authorize?client_id=x"),
        "bad logout": await browser.get("/logout?id_token_hint=x"),
        "unknown journey": await browser.get("/j/unknown"),
        "unknown link": await browser.get("/h/unknown"),
        "bad callback": await browser.get("/up/google/callback"),
        "shared login": await browser.get("/shared"),
        "logged out": await browser.get("/logged-out"),
        "choose": await browser.follow(await browser.get(stage.shop.request())),
    }
    pages["on to the provider"] = await browser.press("method-bankid")
    at_shop = await stage.shop_login(browser)
    link = (await stage.offer(at_shop["claims"]["sub"])).json["link"]
    stranger = stage.browser()
    pages["welcome"] = await stranger.follow(await stranger.get(link))
    await stage.shop_login(stranger, who="karl")
    pages["wrong customer"] = await stranger.follow(await stranger.get(link))
    pages["consent"] = await browser.follow(await browser.get(link))
    pages["old form"] = await browser.press("share", ("csrf", "x"))
    await browser.follow(await browser.get(link))
    pages["on to the garage"] = await browser.press("share", ("remember", "yes"))
    pages["shared"] = await browser.get("/shared")
    pages["log out?"] = await browser.get("/logout/confirm")
    declined = (
        await stage.offer(at_shop["claims"]["sub"], payload={**PAYLOAD, "booking": {"note": "Ring first"}})
    ).json["link"]
    pages["asked again"] = await browser.follow(await browser.get(declined))
    await browser.press("continue-guest")
    pages["declined"] = await browser.follow(await browser.get(declined))
    return pages


async def test_every_page_is_protected(pages: dict[str, Answer]) -> None:
    """CSP without anything inline, no framing, no sniffing, no referrer to others, no cache; a language; a reference (C4-C6)."""
    for name, page in pages.items():
        assert page.headers["content-type"].startswith("text/html"), name
        policy = {part.split()[0]: part.split()[1:] for part in page.headers["content-security-policy"].split("; ")}
        assert policy["default-src"] == ["'none'"], name
        assert policy["frame-ancestors"] == ["'none'"], name
        assert policy["base-uri"] == ["'none'"], name
        assert policy["form-action"] == ["'self'"], name
        assert {source for sources in policy.values() for source in sources} <= {"'none'", "'self'"}, name
        assert page.headers["x-frame-options"] == "DENY", name
        assert page.headers["x-content-type-options"] == "nosniff", name
        assert page.headers["referrer-policy"] in {"no-referrer", "same-origin"}, name
        assert page.headers["cache-control"] == "no-store", name
        assert page.headers["content-language"], name
        assert len(page.headers["x-reference"]) == 8, name
        assert not [each for each in page.headers if each.startswith("access-control")], name
        assert "server" not in page.headers, name


async def test_every_page_leads_somewhere(pages: dict[str, Answer]) -> None:
    """No dead end: each has a form or a link to a partner, a fresh start, or on."""
    for name, page in pages.items():
        ways = page.ids - {"main", "what-i-share", "reference"}
        assert {each for each in ways if not each.startswith("language-")}, name


async def test_no_page_loads_anything_from_elsewhere(pages: dict[str, Answer]) -> None:
    """Scripts, styles and images are our own (docs/security.md F6)."""
    for name, page in pages.items():
        for address in re.findall(r'(?:src|action)="([^"]*)"|<link[^>]*href="([^"]*)"', page.text):
            assert ("".join(address)).startswith("/"), name
        assert "javascript:" not in page.text, name


async def test_every_other_answer_is_protected_too(crowd: Crowd) -> None:
    """JSON, redirects, images, static files, refusals of the server itself."""
    client = crowd.stage.client
    answers = [
        await client.get("/.well-known/openid-configuration"),
        await client.get("/jwks"),
        await client.post("/token"),
        await client.get("/userinfo"),
        await client.post("/handoffs"),
        await client.get("/healthz"),
        await client.get("/readyz"),
        await client.get(crowd.stage.shop.request(prompt="none")),
        await client.get("/", headers={"host": "evil.example"}),
        await client.get("/" + "a" * 9000),
        await client.post("/token", content=b"x" * 70_000),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-reference"]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost", "localhost:80", "localhost:8700.evil.example", "localhost:8700@evil.example",
     "127.0.0.1:8700", "LOCALHOST:8700.", "", "localhost:8700, evil.example", "[::1]:8700", "localhost:8700/x"],
)  # fmt: skip
async def test_another_host_name_is_not_served(crowd: Crowd, host: str) -> None:
    """docs/security.md E2: nothing is answered for a name that is not the issuer's."""
    for path in ("/", "/.well-known/openid-configuration", "/logged-out", crowd.stage.shop.request()):
        answer = await crowd.stage.client.get(path, headers={"host": host})
        assert answer.status_code == 421, path
        assert "location" not in answer.headers
        assert "evil" not in answer.text


async def test_links_come_from_the_config_whatever_proxies_say(crowd: Crowd) -> None:
    """X-Forwarded-Host and its kin change nothing."""
    lies = {
        "x-forwarded-host": "evil.example", "x-forwarded-proto": "ftp", "x-forwarded-port": "666",
        "forwarded": "host=evil.example", "x-original-url": "/evil", "x-rewrite-url": "/evil",
    }  # fmt: skip
    plain = await crowd.stage.client.get("/.well-known/openid-configuration")
    lied = await crowd.stage.client.get("/.well-known/openid-configuration", headers=lies)
    assert plain.text == lied.text
    at_shop = await crowd.stage.shop_login(crowd.stage.browser())
    created = await crowd.stage.offer(at_shop["claims"]["sub"], headers=lies)
    assert created.json["link"].startswith(f"{ISSUER}/h/")
    begun = await crowd.stage.client.get(crowd.stage.shop.request(), headers=lies)
    assert "evil" not in begun.headers["location"]


async def test_what_is_too_large_is_refused_unread(crowd: Crowd) -> None:
    """Address over 8 KiB, body over 64 KiB announced or not, lengths that are none (docs/security.md E5)."""
    client = crowd.stage.client
    form = {"content-type": "application/x-www-form-urlencoded"}
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(10_000):
            read += 1
            yield b"a" * 1024

    assert (await client.get("/authorize?state=" + "a" * 8200)).status_code == 414
    assert (await client.post("/authorize", content=b"a" * 66_000, headers=form)).status_code == 413
    for path in ("/authorize", "/token", "/handoffs", "/logout", "/shared/withdraw", "/userinfo"):
        read = 0
        answer = await client.post(path, content=endless(), headers={**form, "authorization": "Basic YTpi"})
        assert answer.status_code in {401, 413, 303}, path
        assert read < 80, path
    for length in ("-1", "1e3", "abc", "9" * 5000, "٣"):
        answer = await client.post("/token", content=b"", headers={**form, "content-length": length.encode()})  # type: ignore[dict-item]
        assert answer.status_code == 413, length


async def test_too_many_parameters_are_refused(crowd: Crowd) -> None:
    """A hundred is plenty."""
    many = "&".join(f"p{n}=1" for n in range(150))
    for path in ("/authorize", "/logout", "/up/google/callback"):
        answer = await crowd.stage.client.get(f"{path}?{many}")
        assert answer.status_code == 400, path


@pytest.mark.parametrize("value", ["%00", "%01", "%1b%5b31m", "a%0bb"])
async def test_control_characters_are_refused(crowd: Crowd, value: str) -> None:
    """In names and values."""
    for query in (f"state={value}", f"x={value}"):
        request = f"{crowd.stage.shop.request(state=None)}&{query}"
        assert (await crowd.stage.client.get(request)).status_code == 400


async def test_unknown_methods_and_addresses_are_answered(crowd: Crowd) -> None:
    """405 and 404, not 500."""
    client = crowd.stage.client
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"):
        for path in ("/authorize", "/token", "/j/x", "/h/x", "/shared", "/"):
            assert (await client.request(method, path)).status_code == 405, (method, path)
    for path in (
        "/.git/config",
        "/..%2f..%2fetc/passwd",
        "/static/..%2f..%2fapp.py",
        "/%ff",
        "/%E2%80%AE",
    ):
        assert (await client.get(path)).status_code in {400, 404}, path


async def test_no_redirect_repeats_a_post(crowd: Crowd) -> None:
    """docs/security.md A6: 303 everywhere, no 301, 302, 307 or 308, also for a slash too many."""
    client = crowd.stage.client
    for path in ("/token/", "/authorize/", "/shared/", "/logout/", "/.well-known/openid-configuration/"):
        for method in ("GET", "POST"):
            assert (await client.request(method, path)).status_code in {404, 405}, path
    answer = await client.post("/authorize", data=dict(_members(crowd.stage.shop.request())))
    assert answer.status_code == 303


def _members(request: str) -> list[tuple[str, str]]:
    return parse_qsl(request.partition("?")[2])


async def test_every_route_is_known_to_these_tests(crowd: Crowd) -> None:
    """A new route belongs into the tables above; this list is what exists."""
    app: Any = crowd.stage.broker.app
    while not hasattr(app, "routes"):
        app = app._app
    paths = {route.path for route in app.routes if isinstance(route, Route | Mount)}
    assert {path for path in paths if not path.startswith(("/static/", "/logo/"))} >= {
        "/", "/authorize", "/token", "/userinfo", "/jwks", "/logout", "/logout/confirm", "/logged-out", "/shared",
        "/handoffs", "/handoffs/guest", "/h/{handle}", "/j/{journey}", "/up/{upstream}/callback",
    }  # fmt: skip


class TestTheCustomersAddress:
    """``X-Forwarded-For`` counts from our own proxies only (docs/security.md E3)."""

    async def _seen(self, stage: Stage, forwarded: str | None) -> str:
        """The address that reaches a provider."""
        browser = stage.browser()
        headers = {"x-forwarded-for": forwarded} if forwarded is not None else {}
        await browser.follow(await browser.get(stage.shop.request()))
        assert browser.page is not None
        page = browser.page
        token = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert token is not None
        await browser.post(f"{page.url}/choose", {"csrf": token[1], "method": "bankid"}, **headers)
        return stage.connectors["bankid"].asks[-1].end_user_ip

    async def test_is_the_peers_when_nobody_is_trusted(self, crowd: Crowd) -> None:
        """A header anybody can send changes nothing."""
        for forwarded in (None, "203.0.113.7", "203.0.113.7, 127.0.0.1", "<script>"):
            assert await self._seen(crowd.stage, forwarded) == "127.0.0.1"

    async def test_is_the_nearest_that_is_no_proxy_of_ours(self, stage_folder: Path) -> None:
        """What the customer herself put in front does not count; garbage does not either."""
        trusted = {
            "  languages: [sv, fi, pl, en]": "  languages: [sv, fi, pl, en]\n  trusted_proxies: [127.0.0.1/32, 10.0.0.0/8]"
        }
        async with open_stage(stage_folder, edit=trusted) as stage:
            for forwarded, expected in (
                (None, "127.0.0.1"),
                ("203.0.113.7", "203.0.113.7"),
                ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
                ("6.6.6.6, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
                ("2001:db8::7, 10.0.0.1", "2001:db8::7"),
                ("evil, 10.0.0.1", "127.0.0.1"),
                ("203.0.113.7, evil", "127.0.0.1"),
                ("", "127.0.0.1"),
            ):
                assert await self._seen(stage, forwarded) == expected, forwarded


class TestTheLanguage:
    """Chosen, asked for by the partner, preferred by the browser, or the default, in this order."""

    @pytest.mark.parametrize(
        ("query", "accept", "expected"),
        [
            ("", None, "en"), ("", "sv", "sv"), ("", "de, fi;q=0.5, pl;q=0.4", "fi"), ("", "de", "en"),
            ("", "sv;q=0, fi;q=0.1", "fi"), ("", "pl;q=x, sv;q=0.2", "sv"), ("", ",,;;=", "en"), ("", "*" * 9000, "en"),
            ("?lang=fi", "sv", "fi"), ("?lang=xx", "sv", "sv"), ("?lang=", "pl", "pl"),
            ("?ui_locales=se sv-FI", None, "sv"), ("?ui_locales=xx", "fi", "fi"), ("?lang=pl&ui_locales=sv", "fi", "pl"),
        ],
    )  # fmt: skip
    async def test_of_a_page(self, crowd: Crowd, query: str, accept: str | None, expected: str) -> None:
        """Never an error, always one of the broker's."""
        headers = {"accept-language": accept} if accept is not None else {}
        page = await crowd.stage.client.get(f"/{query}", headers=headers)
        if accept is not None and len(accept) > 8000 and page.status_code != 200:
            return
        assert f'<html lang="{expected}"' in page.text
