"""
From a view to a response: the right template in the right language, with the headers every page carries.

`Pages` is built once at start: it compiles all templates, reads all catalogues and hashes all static files, so a
mistake in any of them stops the program and not a customer. Autoescape is always on and nothing is ever marked as safe.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from babel import Locale
from babel.dates import format_date, format_time, format_timedelta
from babel.numbers import format_decimal
from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.bccache import Bucket
from jinja2.runtime import Context
from markupsafe import Markup
from msgspec import Struct
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from broker.pages.catalogue import Catalogue, load_catalogues
from broker.pages.prepared import EMPTY, Prepared
from broker.pages.static import StaticFiles
from broker.pages.views import (
    AddPasskeyPage,
    ArrivePage,
    Cell,
    ChoosePage,
    CodePage,
    ConsentPage,
    ContinuePage,
    DeskCasePage,
    DeskPage,
    HandoffStatusPage,
    IndexPage,
    JoinPage,
    LinkPage,
    LoggedOutPage,
    LogoutConfirmPage,
    Page,
    PasskeyPage,
    PostPage,
    Problem,
    ProblemPage,
    RemovePasskeyPage,
    RemoveWayPage,
    SharedLoginPage,
    SharedPage,
    WaitPage,
    WelcomePage,
    WrongCustomerPage,
)

TEMPLATE_DIR = Path(__file__).parent / "templates"

LANGUAGES: Mapping[str, str] = {"sv": "Svenska", "fi": "Suomi", "pl": "Polski", "en": "English"}
"""The languages there are, each by its own name."""

_FIXED_HEADERS = {
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_NO_DEVICES = (
    "accelerometer=(), browsing-topics=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), "
    "magnetometer=(), microphone=(), midi=(), payment=(), usb=()"
)

#: Schemes a page may link to besides paths of our own: the web, and the app that logs customers in.
_LINKABLE = frozenset({"http", "https", "bankid"})

#: An app's own scheme has a dot (`broker.core.redirects`), and none that a browser itself acts on has.
_APP_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")

_ORIGIN = re.compile(r"^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?$|^https?://\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?$")


class _Kind(Struct, frozen=True):
    """
    How a view is shown. ``posts``: it holds a form, whose POST should carry a real ``Origin``. ``passkeys``: what its script may
    do with them, ``get`` or ``create``.
    """

    template: str
    posts: bool = True
    script: str | None = None
    polls: bool = False
    status: int = 200
    passkeys: str | None = None


_KINDS: Mapping[type, _Kind] = {
    ChoosePage: _Kind("choose.html", script="passkeys.js", polls=True, passkeys="get"),
    WelcomePage: _Kind("welcome.html"),
    WrongCustomerPage: _Kind("wrong_customer.html"),
    ArrivePage: _Kind("arrive.html"),
    WaitPage: _Kind("wait.html", script="wait.js", polls=True),
    CodePage: _Kind("code.html", script="code.js", polls=True),
    LinkPage: _Kind("link.html", script="link.js"),
    ConsentPage: _Kind("consent.html", script="consent.js"),
    PasskeyPage: _Kind("passkey.html", script="passkeys.js", passkeys="get"),
    AddPasskeyPage: _Kind("passkey_add.html", script="passkeys.js", passkeys="create"),
    RemovePasskeyPage: _Kind("passkey_remove.html"),
    SharedPage: _Kind("shared.html"),
    JoinPage: _Kind("join.html"),
    RemoveWayPage: _Kind("remove_way.html"),
    SharedLoginPage: _Kind("shared_login.html", posts=False),
    HandoffStatusPage: _Kind("handoff_status.html", posts=False),
    ProblemPage: _Kind("problem.html", posts=False, status=400),
    ContinuePage: _Kind("continue.html", posts=False),
    PostPage: _Kind("post.html", posts=False, script="post.js"),
    LogoutConfirmPage: _Kind("log_out.html"),
    LoggedOutPage: _Kind("logged_out.html", posts=False),
    IndexPage: _Kind("index.html", posts=False),
    DeskPage: _Kind("desk.html"),
    DeskCasePage: _Kind("desk_case.html", script="desk.js", polls=True),
}

#: Without anything to ask the browser for, these pages run no script.
_SILENT: Mapping[type, _Kind] = {
    ChoosePage: _Kind("choose.html"),
    DeskCasePage: _Kind("desk_case.html", posts=False),
    AddPasskeyPage: _Kind("passkey_add.html", posts=False),
}

_PROBLEM_STATUS: Mapping[Problem, int] = {
    Problem.COOKIES_DROPPED: 400,
    Problem.WRONG_BROWSER: 403,
    Problem.RETURN_ELSEWHERE: 403,
    Problem.EXPIRED: 410,
    Problem.SPENT: 410,
    Problem.UNKNOWN_LINK: 404,
    Problem.NOT_FOUND: 404,
    Problem.OLD_FORM: 403,
    Problem.UPSTREAM_DOWN: 503,
    Problem.UPSTREAM_REFUSED: 403,
    Problem.TOO_WEAK: 403,
    Problem.DENIED: 403,
    Problem.STOPPED: 200,
    Problem.GONE: 410,
    Problem.TOO_MANY: 429,
    Problem.STORE_DOWN: 503,
    Problem.OUR_FAULT: 500,
    Problem.NO_PARTNER: 400,
}


class Pages:
    """
    All pages of one broker.

    Args:
        broker_name: as the operator calls it. default_language: for a language the broker does not have.
        languages: those offered, of `LANGUAGES`, in this order.
        shared_url: path of "What I share"; home_url: of the first page. support_uri: the operator's help page, if any.
        zone: in which dates and times are told.
    """

    def __init__(
        self,
        *,
        broker_name: str,
        languages: Iterable[str] = tuple(LANGUAGES),
        default_language: str = "en",
        shared_url: str = "/shared",
        home_url: str = "/",
        support_uri: str | None = None,
        zone: tzinfo = UTC,
    ) -> None:
        self._languages = {language: LANGUAGES[language] for language in languages}
        self._default_language = default_language
        self._catalogues = load_catalogues({*self._languages, default_language})
        self._zone = zone
        self._static = StaticFiles()
        self._environment = _environment()
        self._environment.globals.update(
            broker_name=broker_name,
            shared_url=shared_url,
            home_url=home_url,
            support_uri=support_uri,
            static=self._static.url,
        )
        self._environment.filters["shown"] = self._shown
        self._environment.filters["day"] = self._day
        self._environment.filters["moment"] = self._moment
        self._templates = {view: self._environment.get_template(kind.template) for view, kind in _KINDS.items()}
        self._prepared = {
            (view, words.language): Prepared(self._drawn(empty, words, None, ""))
            for view, empty in EMPTY.items()
            for words in self._catalogues.values()
        }

    def render(
        self,
        view: Page,
        *,
        language: str,
        reference: str,
        form_action_origins: Iterable[str] = (),
        here: str | None = "",
        url_is_secret: bool = False,
        status: int | None = None,
    ) -> Response:
        """
        Show *view*.

        Args:
            language: BCP 47; one the broker does not have becomes the default.
            reference: the short id this page shares with the log; shown where something went wrong.
            form_action_origins: origins the answer to this page's form may redirect to, over all its hops: Chromium
                applies ``form-action`` to the whole redirect chain after a POST (docs/security.md C5).
            here: where the language links lead, path and perhaps query; "" is the page's own path without its query,
                None leaves the links out (a page that answers a POST at an address that has no GET).
            url_is_secret: the address holds a handle or code: send no referrer at all, so that the form's ``Origin`` is
                ``null`` and only the token protects it.
            status: HTTP status, where it is not the usual one of the page or problem.
        Raises:
            ValueError: an origin is none, or a link's scheme is not http, https or the app's.
        """
        kind = _kind_of(view)
        words = self.words(language)
        html = (self._filled(view, words) if here is None else None) or self._drawn(view, words, here, reference)
        headers = _FIXED_HEADERS | {
            "Content-Security-Policy": _security_policy(
                kind, tuple(form_action_origins), _framed(view), _posts_to(view)
            ),
            "Permissions-Policy": _permissions(kind),
            "Referrer-Policy": "same-origin" if kind.posts and not url_is_secret else "no-referrer",
            "Content-Language": words.language,
            **_retry_after(view),
        }
        return HTMLResponse(html, status_code=status or _status(view, kind), headers=headers)

    def _drawn(self, view: Page, words: Catalogue, here: str | None, reference: str) -> str:
        return self._templates[type(view)].render(
            view=view,
            t=words,
            language=words.language,
            language_links=self._language_links(here),
            reference=reference,
            script=_kind_of(view).script,
        )

    def _filled(self, view: Page, words: Catalogue) -> str | None:
        """The page of *view* without links to other languages, where it is one of those that are prepared."""
        match view:
            case ContinuePage(url=url, partner=None):
                return self._prepared[ContinuePage, words.language].filled(href(url), {})
            case PostPage(url=url, members=members, back=None):
                return self._prepared[PostPage, words.language].filled(href(url), members)
            case _:
                return None

    def poll_answer(self, view: WaitPage | CodePage | PasskeyPage, *, language: str) -> Response:
        """What the waiting page's script gets every second: the same facts and words as the page itself, as JSON."""
        same = {
            "message": self.message(view.message_key, language=language),
            "actions": list(view.actions),
            "next": None,
        }
        if isinstance(view, PasskeyPage):
            return _json(same)
        if isinstance(view, CodePage):
            return _json({**same, "is_well": view.is_well, "again_in_s": view.again_in_s})
        return _json(
            {
                **same,
                "phase": view.phase.value,
                "qr_src": view.qr_src,
                "launch_url": href(view.launch_url) if view.launch_url else None,
            }
        )

    def poll_over(self, next_url: str) -> Response:
        """The wait is over: the script sends the browser to *next_url* (``/j/{id}``, which knows the next step)."""
        return _json({"next": href(next_url)})

    def message(self, key: str, *, language: str) -> str:
        """The text of *key* as plain text; a key without text (a provider's new code) gives the general one."""
        words = self.words(language)
        return words.plain(key if key in words else "wait.unknown")

    def routes(self) -> list[Route]:
        """The routes of the static files."""
        return self._static.routes()

    def words(self, language: str) -> Catalogue:
        """The catalogue of *language*, or of the default one."""
        offered = language if language in self._languages else self._default_language
        return self._catalogues[offered]

    def _language_links(self, here: str | None) -> list[tuple[str, str, str]]:
        """(code, own name, address) of each language; empty when there is nothing to choose."""
        if here is None or len(self._languages) < 2:
            return []
        joint = "&" if "?" in here else "?"
        return [(code, name, f"{here}{joint}{urlencode({'lang': code})}") for code, name in self._languages.items()]

    @pass_context
    def _shown(self, context: Context, value: Cell) -> Markup | str:
        """One value as the customer reads it."""
        words: Catalogue = context["t"]
        match value:
            case None | "":
                return words("value.none")
            case bool():
                return words("value.yes" if value else "value.no")
            case int() | float():
                return format_decimal(value, locale=words.language)
            case datetime():
                return self._moment(context, value)
            case date():
                return self._day(context, value)
            case _:
                return value

    @pass_context
    def _day(self, context: Context, value: date) -> str:
        """A date without its time; moments are told in the broker's zone."""
        day = value.astimezone(self._zone).date() if isinstance(value, datetime) else value
        return format_date(day, format="long", locale=_locale(context))

    @pass_context
    def _moment(self, context: Context, value: datetime) -> str:
        clock = format_time(value, format="short", tzinfo=self._zone, locale=_locale(context))
        return f"{self._day(context, value)}, {clock}"


def href(url: str) -> str:
    """
    *url* if a page may link to it: a path or query of our own, or http, https or an app's scheme.

    security: escaping alone would let ``javascript:`` through.

    Raises:
        ValueError: anything else.
    """
    if not url or any(ord(char) < 0x20 for char in url) or "\\" in url:
        raise ValueError("not an address a page may link to")
    is_own = url[0] in "/?" and not url.startswith("//")
    scheme = urlsplit(url).scheme.lower()
    if not is_own and scheme not in _LINKABLE and not _APP_SCHEME.fullmatch(scheme):
        raise ValueError("not an address a page may link to")
    return url


def src(url: str) -> str:
    """*url* if a page may load it: a path of our own, so no third party learns of a visit; else ValueError."""
    if not url.startswith("/") or url.startswith("//"):
        raise ValueError("not a path of our own")
    return href(url)


class _Compiled(BytecodeCache):
    """Templates are compiled once per process, not again for every `Pages` that a reload of the config builds."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Called before a template is compiled."""
        if (known := self._code.get(bucket.key)) is not None:
            bucket.bytecode_from_string(known)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Called after."""
        self._code[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


def _environment() -> Environment:
    environment = Environment(
        bytecode_cache=_COMPILED,
        loader=FileSystemLoader(TEMPLATE_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(href=href, src=src, soon=_soon, initial=_initial)
    return environment


def _locale(context: Context) -> Locale:
    # British dates: the English of a Nordic broker says "21 November", not "November 21".
    language: str = context["language"]
    return Locale.parse("en_GB" if language == "en" else language)


@pass_context
def _soon(context: Context, seconds: int) -> str:
    """ "in 30 seconds", rounded up to what a person would say."""
    return format_timedelta(timedelta(seconds=max(1, seconds)), add_direction=True, locale=_locale(context))


def _initial(name: str) -> str:
    """The letter drawn where a partner has no logo."""
    return next((char.upper() for char in name if char.isalnum()), "?")


def _framed(view: Page) -> tuple[str, ...]:
    """The origins of the partners whose pages this one loads out of sight; no other page frames anything."""
    if not isinstance(view, LoggedOutPage):
        return ()
    return tuple(dict.fromkeys("{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in view.frames))


def _posts_to(view: Page) -> str:
    """
    Where the form of an answer may go: to the partner, and on over whatever redirects follow there (docs/adr/0014).

    security: the page has this one form, whose address is registered, and no text but the answer's own members.
    """
    if not isinstance(view, PostPage):
        return ""
    parts = urlsplit(view.url)
    origin = f"{parts.scheme}://{parts.netloc}"
    return f" {origin} {parts.scheme}:" if _ORIGIN.match(origin) else f" {parts.scheme}:"


def _security_policy(kind: _Kind, form_action_origins: tuple[str, ...], framed: tuple[str, ...], posts_to: str) -> str:
    for origin in (*form_action_origins, *framed):
        if not _ORIGIN.match(origin):
            raise ValueError("not an origin")
    rules = ["default-src 'none'", "style-src 'self'", "img-src 'self'"]
    if kind.script:
        rules.append("script-src 'self'")
    if kind.polls:
        rules.append("connect-src 'self'")
    if framed:
        rules.append(f"frame-src {' '.join(framed)}")
    origins = "".join(f" {origin}" for origin in dict.fromkeys(form_action_origins))
    return "; ".join([*rules, "base-uri 'none'", "frame-ancestors 'none'", f"form-action 'self'{origins}{posts_to}"])


def _kind_of(view: Page) -> _Kind:
    match view:
        case ChoosePage(at_once=None) | AddPasskeyPage(options="") | DeskCasePage(is_over=True):
            return _SILENT[type(view)]
        case _:
            return _KINDS[type(view)]


def _permissions(kind: _Kind) -> str:
    """security: what a page has no use for, nothing that gets into it may do either (WebAuthn section 5.9)."""
    use = {what: "(self)" if kind.passkeys == what else "()" for what in ("get", "create")}
    return f"{_NO_DEVICES}, " + ", ".join(f"publickey-credentials-{what}={who}" for what, who in use.items())


def _status(view: Page, kind: _Kind) -> int:
    if isinstance(view, ChoosePage) and view.retry is not None:
        return 503
    return _PROBLEM_STATUS[view.problem] if isinstance(view, ProblemPage) else kind.status


def _retry_after(view: Page) -> dict[str, str]:
    if isinstance(view, ProblemPage) and view.retry_after_s is not None:
        return {"Retry-After": str(view.retry_after_s)}
    if isinstance(view, ChoosePage) and view.retry is not None:
        return {"Retry-After": str(view.retry[1])}
    return {}


def _json(content: dict[str, Any]) -> Response:
    return JSONResponse(content, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
