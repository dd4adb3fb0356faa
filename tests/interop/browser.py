"""
A person's browser: cookies, redirects, pages and their forms, over real HTTP. It runs no JavaScript.

Pages that go on by themselves with it are pressed on: a link with the id ``continue``, the form ``response``.
"""

import itertools
import ssl
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import httpx2

_NETWORKS = itertools.count(1)
_MAX_HOPS = 20


@dataclass(frozen=True)
class Page:
    """
    Where the browser is. ``status`` is 0 before the request is made, see `Browser.open`; ``form`` is what would be posted then,
    None for a GET.
    """

    url: str
    status: int = 0
    text: str = field(default="", repr=False)
    form: str | None = None


class Browser:
    """
    One person's. As in real browsers, cookies are shared by the ports of a host, loopback counts as secure, and what a page
    posts to another site takes only cookies along that say ``SameSite=None``.

    Args:
        ca: whom it trusts beside nobody.
    """

    def __init__(self, ca: ssl.SSLContext) -> None:
        self._jar = CookieJar(DefaultCookiePolicy(secure_protocols=("https", "http")))
        # Each person comes from a network of her own, so that the broker's limit per address stays out of the way.
        network = f"192.0.2.{next(_NETWORKS) % 250 + 1}"
        self._http = httpx2.Client(verify=ca, trust_env=False, cookies=self._jar, headers={"x-forwarded-for": network})
        self.page = Page("about:blank")

    def open(self, url: str, *, stop_before: str = "") -> Page:
        """
        Go to *url* and wherever that leads, up to a page.

        Args:
            stop_before: an address that is not asked for when it comes (its query does not count): the page given has that
                address then, for a test to change.
        """
        return self._browse("GET", url, None, stop_before)

    def deliver(self, stopped: Page, **changed: str | None) -> Page:
        """Make a request that was stopped, here or in another browser, with these parameters changed, or left out where None."""
        if stopped.form is None:
            return self.open(with_query(stopped.url, changed))
        members = {**dict(parse_qsl(stopped.form)), **changed}
        body = urlencode({name: value for name, value in members.items() if value is not None})
        return self._browse("POST", stopped.url, body, "")

    def press(self, button: str, *, stop_before: str = "") -> Page:
        """Send the form of the page by the button of that id."""
        form = _Forms.of(self.page.text).with_button(button)
        if form is None:
            raise AssertionError(f"no button #{button} on {self.page.url}:\n{self.page.text[:3000]}")
        return self.submit(form.action, form.fields + form.buttons[button], method=form.method, stop_before=stop_before)

    def fill(self, field: str, *, stop_before: str = "", **filled: str) -> Page:
        """Send the form of the page that has the hidden *field*, with what is *filled* in."""
        form = _Forms.of(self.page.text).with_field(field)
        if form is None:
            raise AssertionError(f"no form with {field} on {self.page.url}:\n{self.page.text[:3000]}")
        return self.submit(form.action, [*form.fields, *filled.items()], method=form.method, stop_before=stop_before)

    def submit(
        self, url: str, fields: list[tuple[str, str]] | None = None, *, method: str = "post", stop_before: str = ""
    ) -> Page:
        """Send a form to *url*, which may be relative to the page."""
        target = urljoin(self.page.url, url)
        if method == "get":
            return self.open(with_query(target, dict(fields or [])), stop_before=stop_before)
        return self._browse("POST", target, urlencode(fields or []), stop_before)

    def has(self, id: str) -> bool:
        """Whether the page has an element of that id."""
        return f'id="{id}"' in self.page.text

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def _browse(self, method: str, url: str, body: str | None, stop_before: str) -> Page:
        came_from = self.page.url
        for _ in range(_MAX_HOPS):
            if stop_before and url.split("?")[0] == stop_before:
                self.page = Page(url, form=body)
                return self.page
            raw = self._send(method, url, body, came_from)
            self.page = Page(url, raw.status_code, raw.text)
            forms = _Forms.of(raw.text)
            if "location" not in raw.headers and (form := forms.with_id("response")):
                came_from, method, body = url, "POST", urlencode(form.fields)
                url = urljoin(url, form.action)
                continue
            onward = raw.headers.get("location") or forms.onward
            if onward is None:
                return self.page
            if not (method == "POST" and raw.status_code in (307, 308)):
                method, body = "GET", None
            url = urljoin(url, onward)
        raise AssertionError(f"more than {_MAX_HOPS} redirects; the last to {url}")

    def _send(self, method: str, url: str, body: str | None, came_from: str) -> httpx2.Response:
        is_cross_site = method == "POST" and urlsplit(url).hostname != urlsplit(came_from).hostname
        kept = [cookie for cookie in self._jar if is_cross_site and not _goes_everywhere(cookie)]
        for cookie in kept:
            self._jar.clear(cookie.domain, cookie.path, cookie.name)
        form = {"content-type": "application/x-www-form-urlencoded"} if body is not None else {}
        answer = self._http.request(method, url, content=body, headers=form)
        known = {(cookie.domain, cookie.path, cookie.name) for cookie in self._jar}
        for cookie in kept:
            if (cookie.domain, cookie.path, cookie.name) not in known:
                self._jar.set_cookie(cookie)
        return answer


def _goes_everywhere(cookie: Cookie) -> bool:
    values = (cookie.get_nonstandard_attr(name) for name in ("SameSite", "samesite"))
    return any(value is not None and value.lower() == "none" for value in values)


def with_query(url: str, changed: dict[str, str | None]) -> str:
    """*url* with these parameters set, or taken away where None."""
    parts = urlsplit(url)
    members = {**dict(parse_qsl(parts.query)), **changed}
    return urlunsplit(
        parts._replace(query=urlencode({name: value for name, value in members.items() if value is not None}))
    )


@dataclass
class _Form:
    id: str
    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


class _Forms(HTMLParser):
    """The forms of a page, and the link of a page that goes on by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._forms: list[_Form] = []
        self.onward: str | None = None

    @classmethod
    def of(cls, text: str) -> "_Forms":
        forms = cls()
        forms.feed(text)
        return forms

    def with_button(self, id: str) -> _Form | None:
        return next((form for form in self._forms if id in form.buttons), None)

    def with_field(self, name: str) -> _Form | None:
        return next((form for form in self._forms if name in dict(form.fields)), None)

    def with_id(self, id: str) -> _Form | None:
        return next((form for form in self._forms if form.id == id), None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has: dict[str, Any] = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._forms.append(_Form(has.get("id", ""), has.get("action", ""), has.get("method", "get").lower()))
        elif tag == "a" and has.get("id") == "continue":
            self.onward = has["href"]
        elif tag == "input" and self._forms and has.get("type") == "hidden" and "name" in has:
            self._forms[-1].fields.append((has["name"], has.get("value", "")))
        elif tag == "button" and self._forms:
            value = [(has["name"], has.get("value", ""))] if "name" in has else []
            self._forms[-1].buttons[has.get("id", "")] = value
