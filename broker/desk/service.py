"""
Customer service's pages: an agent asks whom she talks to, and sees only the outcome.
"""

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.core.case import Case, Standing
from broker.core.journey import Errand
from broker.core.policy import Policy
from broker.core.session import Session
from broker.errors import BadAsk, Denied, TooMany, UpstreamDown, UpstreamRefused
from broker.flows.login import Logins
from broker.flows.logout import Logouts
from broker.flows.service_desk import ServiceDesks
from broker.flows.values import Visitor
from broker.observe.logging import current_reference
from broker.pages.render import Pages
from broker.pages.views import DeskCase, DeskCasePage, DeskPage, Form, Method
from broker.web import csrf, params
from broker.web.hub import LOGOUT_CONFIRM_PATH, STAFF_PATH, Hub
from broker.web.visitor import visitor_of


class ServicePages:
    """``/staff`` and what is below it; the whole of it is for members of staff with the role."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        desks: ServiceDesks,
        logins: Logins,
        logouts: Logouts,
        hub: Hub,
        pages: Pages,
    ) -> None:
        self._policy = policy
        self._desks = desks
        self._logins = logins
        self._logouts = logouts
        self._hub = hub
        self._pages = pages

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route(STAFF_PATH, self.show, methods=["GET"]),
            Route(STAFF_PATH, self.ask, methods=["POST"]),
            Route(f"{STAFF_PATH}/cases/{{case}}", self.case, methods=["GET"]),
            Route(f"{STAFF_PATH}/cases/{{case}}", self.act, methods=["POST"]),
            Route(f"{STAFF_PATH}/cases/{{case}}/poll", self.poll, methods=["GET"]),
        ]

    async def show(self, request: Request) -> Response:
        """The form, and the agent's cases of today; whoever is not logged in as staff is asked to."""
        visitor = self._visitor(request)
        session = await self._logouts.session_of(visitor)
        try:
            staff = self._desks.staff(session)
        except Denied as error:
            if error.code != "desk.not_staff":
                raise
            turn = await self._logins.begin_own(visitor, Errand.STAFF, back=STAFF_PATH)
            return await self._hub.go(request, visitor, turn, self._policy())
        return await self._form_page(visitor, staff)

    async def ask(self, request: Request) -> Response:
        """Ask a caller."""
        visitor, staff = await self._staff(request)
        fields = await self._posted(request, visitor)
        try:
            case = await self._desks.open(
                staff.customer,
                method=fields.get("method", ""),
                identifier=_identifier(fields.get("identifier", "")),
                reference=fields.get("reference", "").strip(),
                language=_language(fields, self._policy()),
                incoming=fields.get("initiator") != "us",
                network=visitor.address,
            )
        except (BadAsk, TooMany, UpstreamDown, UpstreamRefused) as error:
            return await self._form_page(visitor, staff, problem=_problem(error), fields=fields)
        return RedirectResponse(f"{STAFF_PATH}/cases/{case.id}", status_code=303)

    async def case(self, request: Request) -> Response:
        """How one case stands."""
        visitor, staff = await self._staff(request)
        case = await self._desks.look(staff.customer, request.path_params["case"])
        view = DeskCasePage(
            form=Form(f"{STAFF_PATH}/cases/{case.id}", self._logouts.form_token(visitor)),
            case=self._shown(case, visitor.language),
            message_key=case.message_key,
            is_over=case.is_over,
            takes_code=case.takes_code,
            poll_url=f"{STAFF_PATH}/cases/{case.id}/poll",
            back_url=STAFF_PATH,
        )
        return self._render(visitor, view)

    async def act(self, request: Request) -> Response:
        """The agent types in what the caller read out, or gives up."""
        visitor, staff = await self._staff(request)
        fields = await self._posted(request, visitor)
        if fields.get("do") == "code":
            typed = fields.get("code", "")
            case = await self._desks.enter(staff.customer, request.path_params["case"], typed, visitor.address)
        else:
            case = await self._desks.cancel(staff.customer, request.path_params["case"])
        return RedirectResponse(f"{STAFF_PATH}/cases/{case.id}", status_code=303)

    async def poll(self, request: Request) -> Response:
        """What the page's script asks."""
        visitor, staff = await self._staff(request)
        case = await self._desks.look(staff.customer, request.path_params["case"])
        message = self._pages.message(case.message_key, language=visitor.language)
        return JSONResponse({"over": case.is_over, "message": message}, headers={"Cache-Control": "no-store"})

    async def _form_page(
        self, visitor: Visitor, staff: Session, *, problem: str | None = None, fields: Mapping[str, str] | None = None
    ) -> Response:
        policy, kept = self._policy(), fields or {}
        methods = [
            Method(name, policy.text(policy.config.upstreams[name].titles, visitor.language))
            for name in self._desks.methods()
        ]
        chosen = next((each.id for each in methods if each.id == kept.get("method")), methods[0].id if methods else "")
        token = self._logouts.form_token(visitor)
        view = DeskPage(
            form=Form(STAFF_PATH, token),
            log_out_url=LOGOUT_CONFIRM_PATH,
            agent=staff.profile.name or "",
            methods=tuple(methods),
            cases=tuple(self._shown(each, visitor.language) for each in await self._desks.cases_of(staff.customer)),
            case_url=f"{STAFF_PATH}/cases/",
            problem_key=problem,
            method=chosen,
            identifier=kept.get("identifier", ""),
            reference=kept.get("reference", ""),
            is_incoming=kept.get("initiator") != "us",
            languages=policy.broker.languages,
            language=kept.get("language") or visitor.language,
        )
        return self._render(visitor, view, status=422 if problem else None)

    def _shown(self, case: Case, language: str) -> DeskCase:
        policy = self._policy()
        upstream = policy.config.upstreams.get(case.method)
        return DeskCase(
            id=case.id,
            reference=case.reference,
            method=policy.text(upstream.titles, language) if upstream else case.method,
            standing=case.standing.value,
            at=case.opened_at,
            is_customer=case.customer is not None if case.standing is Standing.CONFIRMED else None,
        )

    async def _staff(self, request: Request) -> tuple[Visitor, Session]:
        visitor = self._visitor(request)
        return visitor, self._desks.staff(await self._logouts.session_of(visitor))

    async def _posted(self, request: Request, visitor: Visitor) -> Mapping[str, str]:
        fields = await params.form(request)
        csrf.check(request, fields, self._logouts.form_token(visitor), self._policy().issuer)
        return fields

    def _render(self, visitor: Visitor, view: DeskPage | DeskCasePage, *, status: int | None = None) -> Response:
        return self._pages.render(view, language=visitor.language, reference=current_reference(), status=status)

    def _visitor(self, request: Request) -> Visitor:
        return visitor_of(request, self._policy().broker)


def _identifier(typed: str) -> str:
    """A personal or phone number without what groups it; an e-mail address as it is, hyphens being part of it."""
    return typed.strip() if "@" in typed else "".join(typed.split()).replace("-", "")


def _language(fields: Mapping[str, str], policy: Policy) -> str:
    wished = fields.get("language", "")
    return wished if wished in policy.broker.languages else policy.broker.default_language


def _problem(error: BadAsk | TooMany | UpstreamDown | UpstreamRefused) -> str:
    """The catalogue key of what the agent reads."""
    match error:
        case TooMany():
            return "desk.problem.too_many"
        case UpstreamRefused():
            return error.message_key or "call.refused"
        case UpstreamDown():
            return "call.unavailable"
        case _:
            return f"desk.problem.{'reference' if error.code == 'desk.reference' else 'identifier'}"
