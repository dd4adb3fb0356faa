"""
Errors as the customer reads them: what happened, what to do next, and the reference id; never a dead end.
"""

from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.core.policy import Policy
from broker.errors import (
    BadAsk,
    Denied,
    Expired,
    Gone,
    Spent,
    StafettError,
    Stopped,
    StoreDown,
    TooMany,
    TooWeak,
    UpstreamDown,
    UpstreamRefused,
    WrongBrowser,
    WrongCustomer,
)
from broker.observe.logging import current_reference, log
from broker.pages.logo import Logos
from broker.pages.render import Pages
from broker.pages.views import Action, Party, Problem, ProblemPage, Way
from broker.web.hub import Partners
from broker.web.visitor import visitor_of


class Faults:
    """Exception handlers of the application."""

    def __init__(self, policy: Callable[[], Policy], pages: Pages, partners: Partners, logos: Logos) -> None:
        self._logos = logos
        self._policy = policy
        self._pages = pages
        self._partners = partners

    async def expected(self, request: Request, error: Exception) -> Response:
        """A `StafettError`: its page, its status, and one log line with the detail."""
        if not isinstance(error, StafettError):
            raise error
        problem = _problem(error)
        retry_after_s = _retry_after(error)
        response = self._page(request, problem, _partner(error), _message_key(error), retry_after_s)
        if problem is Problem.UNKNOWN_LINK:
            # There is something here, it was asked wrongly (RFC 6749 section 4.1.2.1); 404 is for addresses.
            response.status_code = 400
        facts = {key: value for key, value in error.facts.items() if value is not None}
        level = "warning" if response.status_code >= 500 else "info"
        log(
            "refused",
            level,
            code=error.code,
            kind=type(error).__name__,
            detail=error.detail,
            status=response.status_code,
            **facts,
        )
        return response

    async def unexpected(self, request: Request, error: Exception) -> Response:
        """Anything else: our fault; bland outside, the type and place in the log."""
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else ""
        log("fault", "error", kind=type(error).__name__, where=where)
        return self._page(request, Problem.OUR_FAULT, None, None, None)

    async def http(self, request: Request, error: Exception) -> Response:
        """Starlette's own refusals: unknown address, wrong method."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        response = self._page(request, Problem.NOT_FOUND, None, None, None)
        response.status_code = status
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        return response

    def _page(
        self,
        request: Request,
        problem: Problem,
        partner: str | None,
        message_key: str | None,
        retry_after_s: int | None,
    ) -> Response:
        policy = self._policy()
        visitor = visitor_of(request, policy.broker)
        view = ProblemPage(
            problem=problem,
            ways=self._ways(request, problem, partner, visitor.language),
            partner=self._party(partner, visitor.language) if partner else None,
            message_key=message_key,
            retry_after_s=retry_after_s,
        )
        return self._pages.render(view, language=visitor.language, reference=current_reference(), here=None)

    def _party(self, partner: str, language: str) -> Party:
        return Party(self._policy().partner_name(partner, language), self._logos.src(partner))

    def _ways(self, request: Request, problem: Problem, partner: str | None, language: str) -> tuple[Way, ...]:
        """A fresh start at the partner where it is known, else all partners' front doors; first of all a retry where it helps."""
        policy = self._policy()
        ways: list[Way] = []
        if problem in {Problem.STORE_DOWN, Problem.TOO_MANY, Problem.UPSTREAM_DOWN} and (again := _again(request)):
            ways.append(Way("retry", again, Action.RETRY))
        start = self._partners.start_again(partner) if partner else None
        if partner and start:
            ways.append(Way("start-again", start, Action.START_AGAIN, policy.partner_name(partner, language)))
        else:
            ways += [
                Way(f"go-{name}", known.home_uri, Action.GO_TO, policy.partner_name(name, language))
                for name, known in list(policy.config.customers_partners.items())[:_MAX_PARTNERS]
            ]
        return tuple(ways) or (Way("home", "/", Action.HOME),)


def _again(request: Request) -> str | None:
    """The same address once more; for a form the page it was on, where the customer can send it again."""
    if request.method in {"GET", "HEAD"}:
        return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    journey = request.path_params.get("journey")
    return f"/j/{journey}" if journey is not None else None


_MAX_PARTNERS = 6


def _problem(error: StafettError) -> Problem:
    match error:
        case WrongBrowser(code="browser.returned_elsewhere"):
            return Problem.RETURN_ELSEWHERE
        case WrongBrowser(code="browser.no_cookie"):
            return Problem.COOKIES_DROPPED
        case WrongBrowser():
            return Problem.WRONG_BROWSER
        case BadAsk():
            return Problem.OLD_FORM if error.code.startswith("form.") else Problem.UNKNOWN_LINK
        case Expired():
            return Problem.EXPIRED
        case Spent():
            return Problem.SPENT
        case Gone():
            return Problem.GONE
        case Denied() | WrongCustomer():
            return Problem.DENIED
        case TooMany():
            return Problem.TOO_MANY
        case StoreDown():
            return Problem.STORE_DOWN
        case UpstreamDown():
            return Problem.UPSTREAM_DOWN
        case UpstreamRefused():
            return Problem.UPSTREAM_REFUSED
        case TooWeak():
            return Problem.TOO_WEAK
        case Stopped():
            return Problem.STOPPED
        case _:
            return Problem.OUR_FAULT


def _partner(error: StafettError) -> str | None:
    if isinstance(error, Expired):
        return error.partner
    known = error.facts.get("partner")
    return known if isinstance(known, str) and known else None


def _message_key(error: StafettError) -> str | None:
    if isinstance(error, Denied) and error.code == "desk.no_role":
        return error.code
    return error.message_key if isinstance(error, UpstreamRefused) else None


def _retry_after(error: StafettError) -> int | None:
    if isinstance(error, TooMany):
        return error.retry_after_s
    return 2 if isinstance(error, StoreDown | UpstreamDown) else None
