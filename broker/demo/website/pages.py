"""HTML pages with the headers every page of a careful site carries."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .language import LANGUAGES, Phrases, day, language_of, money


class Pages:
    """
    Renders the templates of one site's package.

    Args:
        package: dotted name of the package holding `templates/` and `locale/`.
        issuer: the login service; the only foreign origin a form of ours may lead to (logging out).
        common: what every page of the site is given, computed per request.
    """

    def __init__(self, package: str, *, issuer: str, common: Callable[[Request], Mapping[str, Any]]) -> None:
        self._environment = Environment(
            loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._environment.globals.update(languages=LANGUAGES)
        self._phrases = Phrases(package)
        self._common = common
        self._headers = page_headers(issuer)

    def text(self, language: str, key: str, **values: object) -> str:
        """One text of the site's."""
        return self._phrases.text(language, key, **values)

    def render(self, request: Request, template: str, /, *, status: int = 200, **context: Any) -> HTMLResponse:
        """The page *template* in the visitor's language."""
        language = language_of(request)
        words = {
            "t": lambda key, **values: self._phrases.text(language, key, **values),
            "money": lambda kronor: money(kronor, language),
            "day": lambda value, form="EEEE d MMMM": day(value, language, form),
            "lang": language,
            "here": request.url.path,
        }
        body = self._environment.get_template(template).render({**words, **self._common(request), **context})
        return HTMLResponse(body, status_code=status, headers={**self._headers, "Content-Language": language})


def page_headers(issuer: str) -> dict[str, str]:
    """
    Response headers of a page.

    `form-action` names the issuer because browsers apply it to the redirect after a form post, and logging
    out posts here and is redirected there. `frame-ancestors` keeps the page, the start of a login above all,
    out of frames.
    """
    parts = urlsplit(issuer)
    policy = [
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self'",
        f"form-action 'self' {parts.scheme}://{parts.netloc}",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
    return {
        "Content-Security-Policy": "; ".join(policy),
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def own_path(candidate: str | None, *, otherwise: str = "/") -> str:
    """
    *candidate* when it is a path on this site, else *otherwise*. security: no open redirect, `//host` and
    `/\\host` included.
    """
    if not candidate or not candidate.startswith("/") or candidate[1:2] in ("/", "\\"):
        return otherwise
    return candidate if candidate.isprintable() else otherwise


class SameOriginPosts:
    """
    Refuses form posts that another site sent, by Fetch Metadata and `Origin`.

    security: a SameSite cookie does not help between the demo's sites, since browsers count every port of
    127.0.0.1 as one site. *open_paths* accept posts from anywhere.
    """

    def __init__(self, app: ASGIApp, *, base_url: str, open_paths: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._origin = base_url
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and self._is_foreign(scope):
            await PlainTextResponse("This form was not sent from this site.", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_foreign(self, scope: Scope) -> bool:
        if scope["path"] in self._open_paths:
            return False
        headers = Headers(scope=scope)
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return True
        return headers.get("origin", self._origin) != self._origin
