"""
A customer's browser and two partners' servers, driven over real HTTP as fast as they go.
"""

import base64
import hashlib
import itertools
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import aiohttp
from yarl import URL

from tests.bench.world import SECRET, World
from tests.stage import PAYLOAD

_NETWORKS = itertools.count()
_CUSTOMERS = itertools.count()
_VERIFIER = "v" * 64
_CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(_VERIFIER.encode()).digest()).rstrip(b"=").decode()


def _basic(client_id: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{SECRET}".encode()).decode()


class Failed(Exception):
    """A step did not go as it must."""


class Person:
    """One customer and her browser with its own cookies; loopback counts as secure, as browsers treat it."""

    def __init__(self, world: World, http: aiohttp.ClientSession) -> None:
        self._world = world
        self._http = http
        self._account = f"customer{next(_CUSTOMERS)}"
        self._cookies: dict[tuple[str, str], str] = {}
        self.hops = 0

    def forget(self) -> None:
        """A new browser, as far as the broker can tell; Google knows it."""
        google = urlsplit(self._world.google).netloc
        self._cookies = {(site, name): value for (site, name), value in self._cookies.items() if site == google}

    async def log_in(self, *, pushed: bool = False, staying: bool = False) -> dict[str, Any]:
        """
        A complete brokered login at the shop through Google; the shop's token response.

        Args:
            pushed: by way of ``/par``. staying: with a refresh token.
        """
        scope = "openid profile email offline_access" if staying else "openid profile email"
        request = self._request("nordhjul-web", f"{self._world.shop}/login/callback", scope=scope)
        location, _ = await self._get(await self._pushed(request) if pushed else request)
        location, page = await self._get(location)
        if not location.startswith(self._world.issuer):
            location, page = await self._submit(page, location, {"account": self._account})
        if not location.startswith(self._world.issuer):
            location, page = await self._submit(page, location, {"answer": "allow"})
        location, _ = await self._get(location)
        return await self._finish("nordhjul-web", f"{self._world.shop}/login/callback", location)

    async def log_in_again(self) -> dict[str, Any]:
        """The shop asks again while the session lives."""
        location, _ = await self._get(self._request("nordhjul-web", f"{self._world.shop}/login/callback"))
        return await self._finish("nordhjul-web", f"{self._world.shop}/login/callback", location)

    async def _pushed(self, request: str) -> str:
        """The address that stands for *request* once the shop's server has pushed it (RFC 9126)."""
        params = dict(parse_qsl(urlsplit(request).query))
        reference = str((await self._call("POST", "/par", "nordhjul-web", data=params))["request_uri"])
        return f"{self._world.issuer}/authorize?{urlencode({'client_id': 'nordhjul-web', 'request_uri': reference})}"

    async def userinfo(self, token: str) -> None:
        """The shop asks who it is."""
        await self._call("GET", "/userinfo", bearer=token)

    async def introspect(self, token: str) -> None:
        """The shop asks whether its token is live."""
        told = await self._call("POST", "/introspect", "nordhjul-web", data={"token": token})
        if told.get("active") is not True:
            raise Failed("the token is not active")

    async def stay(self, token: str) -> str:
        """The shop refreshes its tokens; the next refresh token."""
        tokens = await self._call(
            "POST", "/token", "nordhjul-web", data={"grant_type": "refresh_token", "refresh_token": token}
        )
        return str(tokens["refresh_token"])

    async def hand_over(self, subject: str) -> None:
        """Create, open (consent is remembered), authorize, token, data."""
        created = await self._call("POST", "/handoffs", "nordhjul-web", json=self._offer(subject))
        location, page = await self._get(created["link"])
        if location.startswith(self._world.issuer):
            location, page = await self._get(location)
        # Where another of her browsers was faster, her answer is remembered and nobody asks.
        if location.startswith(self._world.issuer):
            location, _ = await self._submit(page, location, {"answer": "share", "remember": "yes"})
        hint = dict(parse_qsl(urlsplit(location).query))["login_hint"]
        callback = f"{self._world.garage}/callback"
        location, _ = await self._get(self._request("verkstan-web", callback, login_hint=hint))
        tokens = await self._finish("verkstan-web", callback, location, userinfo=False)
        handoff = tokens["authorization_details"][0]["handoff"]
        await self._call("GET", f"/handoffs/{handoff}", bearer=tokens["access_token"])

    def _offer(self, subject: str) -> dict[str, Any]:
        return {
            "partner": "garage",
            "purpose": "tyre-fitting",
            "type": "tyre-fitting/v1",
            "subject": subject,
            "payload": PAYLOAD,
            "return_uri": f"{self._world.shop}/booking-return",
        }

    def _request(self, client_id: str, redirect_uri: str, **more: str) -> str:
        members = {
            "client_id": client_id,
            "redirect_uri": redirect_uri,
            "response_type": "code",
            "scope": "openid profile email",
            "state": "s" * 32,
            "nonce": "n" * 32,
            "code_challenge": _CHALLENGE,
            "code_challenge_method": "S256",
            **more,
        }
        return f"{self._world.issuer}/authorize?{urlencode(members)}"

    async def _finish(
        self, client_id: str, redirect_uri: str, location: str, *, userinfo: bool = True
    ) -> dict[str, Any]:
        code = dict(parse_qsl(urlsplit(location).query)).get("code")
        if code is None:
            raise Failed(f"no code: {location[:200]}")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": _VERIFIER,
        }
        tokens = await self._call("POST", "/token", client_id, data=form)
        if userinfo:
            tokens["userinfo"] = await self._call("GET", "/userinfo", bearer=tokens["access_token"])
        return tokens

    async def _call(
        self, method: str, path: str, client_id: str = "", *, bearer: str = "", **content: Any
    ) -> dict[str, Any]:
        """A partner's server speaks to the broker."""
        self.hops += 1
        url = path if path.startswith("http") else f"{self._world.issuer}{path}"
        headers = {"authorization": f"Bearer {bearer}" if bearer else _basic(client_id)}
        async with self._http.request(method, url, headers=headers, **content) as answer:
            if answer.status >= 300:
                raise Failed(f"{method} {path}: {answer.status} {(await answer.text())[:200]}")
            return dict(await answer.json(content_type=None))

    async def _get(self, url: str) -> tuple[str, str]:
        return await self._browse("GET", url, None)

    async def _submit(self, page: str, url: str, answer: dict[str, str]) -> tuple[str, str]:
        """Send the page's form that has room for *answer*."""
        form = _Form.of(page, set(answer))
        return await self._browse("POST", urljoin(url, form.action), {**form.hidden, **answer})

    async def _browse(self, method: str, url: str, data: dict[str, str] | None) -> tuple[str, str]:
        """One request as a browser makes it. Returns: where it leads ("" for a page), and the body."""
        site = urlsplit(url).netloc
        if url.startswith(self._world.issuer):
            self.hops += 1
        cookies = "; ".join(f"{name}={value}" for (where, name), value in self._cookies.items() if where == site)
        headers = {
            "x-forwarded-for": f"192.0.2.{next(_NETWORKS) % 250 + 1}",
            **({"cookie": cookies} if cookies else {}),
        }
        # Signed queries are sent as they are: the client would write some octets in another way.
        where = URL(url, encoded=True)
        async with self._http.request(method, where, data=data, headers=headers, allow_redirects=False) as answer:
            body = await answer.text()
            for name, morsel in answer.cookies.items():
                self._cookies[site, name] = morsel.value
            if answer.status >= 400:
                raise Failed(f"{method} {urlsplit(url).path}: {answer.status} {body[:300]}")
            location = urljoin(url, answer.headers["location"]) if "location" in answer.headers else ""
            onward = re.search(r'<a id="continue"[^>]* href="([^"]+)"', body)
            return location or (onward[1].replace("&amp;", "&") if onward else url), body


class _Form(HTMLParser):
    """The first form on a page that has controls of the wanted names."""

    def __init__(self) -> None:
        super().__init__()
        self._forms: list[tuple[str, dict[str, str], set[str]]] = []

    @classmethod
    def of(cls, page: str, wanted: set[str]) -> "_Form":
        form = cls()
        form.feed(page)
        for action, hidden, names in form._forms:
            if wanted <= names | set(hidden):
                form.action, form.hidden = action, hidden
                return form
        raise Failed(f"no form with {sorted(wanted)}: {page[:300]}")

    action: str
    hidden: dict[str, str]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._forms.append((values.get("action", ""), {}, set()))
        elif self._forms and "name" in values:
            if tag == "input" and values.get("type") == "hidden":
                self._forms[-1][1][values["name"]] = values.get("value", "")
            self._forms[-1][2].add(values["name"])
