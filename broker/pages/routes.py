"""
The customer's side of a journey: each page at ``/j/{journey}``, each form with its own small handler.
"""

import math
from collections.abc import Callable, Mapping, Set
from typing import assert_never
from urllib.parse import quote

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.identity import ContactKind
from broker.core.journey import (
    Arrive,
    AskConsent,
    AskLink,
    Deliver,
    Ended,
    Ending,
    HandoffOver,
    Late,
    Login,
    Step,
    Wait,
    Welcome,
    WrongCustomer,
)
from broker.core.linking import Question, Rule
from broker.core.memory import mask_address, mask_phone
from broker.core.newsletter import SoftRecognition
from broker.core.policy import Policy
from broker.core.waiting import Addressee, AskPasskey, EnterCode, Poll, Waiting
from broker.errors import BadAsk, Expired, Spent
from broker.flows.consent import Consents
from broker.flows.handoff import Handoffs
from broker.flows.login import Logins, Turn
from broker.flows.newsletter import Newsletters
from broker.flows.values import Visitor
from broker.flows.ways import Ways
from broker.observe.logging import current_reference
from broker.pages import qr
from broker.pages.logo import Logos
from broker.pages.qr import qr_svg
from broker.pages.render import Pages
from broker.pages.show import Show
from broker.pages.views import (
    Action,
    ArrivePage,
    AskAtOnce,
    ChoosePage,
    CodePage,
    Form,
    HandoffStatus,
    HandoffStatusPage,
    Identify,
    JoinKind,
    JoinPage,
    Method,
    Page,
    PasskeyPage,
    Phase,
    Reason,
    WaitPage,
    Way,
    WelcomePage,
    WrongCustomerPage,
    mask_name,
)
from broker.pages.waiting import code_page
from broker.web import cookies, csrf, params
from broker.web.hub import Exit, FormPost, Hub, Misread, Partners, Upstreams, with_cookies
from broker.web.visitor import visitor_of

_MAX_IDENTIFIER = 320

_FORMS = ("welcome", "choose", "wait", "consent", "arrive", "join")

_LATER_S = 60
"""When to try again where nobody knows when a provider is well again."""

_REASONS: Mapping[str, Reason] = {
    "no_session": Reason.CONTINUE,
    "login_asked": Reason.AGAIN,
    "too_old": Reason.AGAIN,
    "session_too_old": Reason.AGAIN,
    "too_weak": Reason.STRONGER,
    "aged": Reason.AGED,
    "other_upstream": Reason.CONTINUE,
    "renewal": Reason.RENEWAL,
    "adding": Reason.ADDING,
    "renew": Reason.JOINING,
    "renew_anew": Reason.JOINING,
    "lacks_required": Reason.MISSING,
}


class Posted(Struct, frozen=True):
    """A checked form post: who, from which journey, with what."""

    visitor: Visitor
    turn: Turn
    fields: Mapping[str, str]
    pairs: tuple[tuple[str, str], ...]


class JourneyPages:
    """All journey pages. Their forms change things by POST only; a GET shows what is due."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        logins: Logins,
        consents: Consents,
        handoffs: Handoffs,
        newsletters: Newsletters,
        upstreams: Upstreams,
        partners: Partners,
        hub: Hub,
        pages: Pages,
        logos: Logos,
        ways: Ways,
    ) -> None:
        self._policy = policy
        self._logins = logins
        self._consents = consents
        self._handoffs = handoffs
        self._newsletters = newsletters
        self._upstreams = upstreams
        self._partners = partners
        self._hub = hub
        self._pages = pages
        self._logos = logos
        self._ways = ways

    def routes(self) -> list[Route]:
        """Pages, their forms, and what the waiting page fetches."""
        return [
            Route("/h/{handle}", self.follow_link, methods=["GET"]),
            Route("/j/{journey}", self.show, methods=["GET"]),
            Route("/j/{journey}/poll", self.poll, methods=["GET"]),
            Route("/j/{journey}/qr", self.qr, methods=["GET"]),
            Route("/j/{journey}/guest", self.guest_again, methods=["GET"]),
            Route("/j/{journey}/away", self.away, methods=["GET"]),
            Route("/j/{journey}/welcome", self.welcome, methods=["POST"]),
            Route("/j/{journey}/choose", self.choose, methods=["POST"]),
            Route("/j/{journey}/wait", self.wait, methods=["POST"]),
            Route("/j/{journey}/consent", self.consent, methods=["POST"]),
            Route("/j/{journey}/arrive", self.arrive, methods=["POST"]),
            Route("/j/{journey}/join", self.join, methods=["POST"]),
            *(Route(f"/j/{{journey}}/{form}", self.form_again, methods=["GET"]) for form in _FORMS),
        ]

    async def follow_link(self, request: Request) -> Response:
        """
        A handoff link. It shows where it leads and changes nothing; the address with the handle is left at once.

        With the right customer's session and a remembered consent it goes straight through.
        """
        visitor = self._visitor(request)
        turn = await self._logins.begin_handoff(*self._handoffs.behind(request.path_params["handle"]), visitor)
        if turn.handoff is not None and "lang" not in request.query_params:
            wished = self._language(turn.handoff.value.language, visitor)
            turn = replace(turn, journey=replace(turn.journey, language=wished))
        if isinstance(turn.step, HandoffOver) and turn.step.why == "already":
            return with_cookies(self._already(turn.journey.partner), turn, self._policy())
        return await self._hub.go(request, visitor, turn, self._policy())

    async def show(self, request: Request) -> Response:
        """The page that is due; where none is, the browser is sent on."""
        visitor = self._visitor(request)
        turn = await self._logins.look(request.path_params["journey"], visitor)
        if request.query_params.get("lang") in self._policy().broker.languages:
            turn = await self._logins.act(turn.journey.id, visitor, lambda old: replace(old, language=visitor.language))
        if isinstance(turn.step, Wait):
            turn = await self._upstreams.poll(turn, visitor)
        return await self._respond(request, visitor, turn)

    async def away(self, request: Request) -> Response:
        """The page that posts her to the provider she chose; where there is nothing to post, to where her journey stands."""
        visitor = self._visitor(request)
        turn = await self._logins.look(request.path_params["journey"], visitor)
        attempt, here = turn.journey.attempt, f"/j/{turn.journey.id}"
        if attempt is None or attempt.away is None or not isinstance(turn.step, Login):
            return RedirectResponse(here, status_code=303)
        return self._hub.leave_for(request, visitor, FormPost(attempt.away.url, attempt.away.members, here))

    async def poll(self, request: Request) -> Response:
        """How the waiting page's script asks how it goes."""
        visitor = self._visitor(request)
        turn = await self._upstreams.poll(await self._logins.look(request.path_params["journey"], visitor), visitor)
        seen = self._upstreams.waiting(turn)
        if seen is None:
            return with_cookies(self._pages.poll_over(f"/j/{turn.journey.id}"), turn, self._policy())
        return self._pages.poll_answer(self._waiting_page(turn, seen), language=turn.journey.language)

    async def qr(self, request: Request) -> Response:
        """The code as it is drawn right now; its text never leaves the server as text."""
        turn = await self._logins.look(request.path_params["journey"], self._visitor(request))
        seen = self._upstreams.waiting(turn)
        if not isinstance(seen, Poll) or seen.qr_text is None:
            return Response(status_code=404)
        return Response(qr_svg(seen.qr_text), media_type=qr.MEDIA_TYPE, headers=qr.HEADERS)

    async def form_again(self, request: Request) -> Response:
        """A form's own address opened anew (back button, reload): the page that is due stands in its stead."""
        return RedirectResponse(f"/j/{quote(request.path_params['journey'], safe='')}", status_code=303)

    async def welcome(self, request: Request) -> Response:
        """The interstitial of a handoff, and the page that says it belongs to somebody else."""
        posted = await self._posted(request)
        journey, visitor = posted.turn.journey.id, posted.visitor
        match posted.fields.get("answer"):
            case "continue":
                if posted.turn.handoff is not None:
                    await self._handoffs.opened(posted.turn.handoff.value.id)
                turn = await self._logins.welcome(journey, visitor)
            case "not_me" | "switch":
                return await self._switch(request, posted)
            case "guest":
                return await self._as_guest(request, posted)
            case "back":
                return await self._leave(request, posted)
            case _:
                raise BadAsk("unknown answer", code="form.answer")
        return await self._hub.go(request, visitor, turn, self._policy())

    async def choose(self, request: Request) -> Response:
        """How to log in."""
        posted = await self._posted(request)
        if posted.fields.get("answer") == "cancel":
            return await self._leave(request, posted)
        if posted.fields.get("answer") == "forget_device":
            return await self._forget_device(posted)
        if not isinstance(posted.turn.step, Login | Wait):
            return await self._hub.go(request, posted.visitor, posted.turn, self._policy())
        gone: Turn | Exit | Misread
        if posted.fields.get("answer") == "newsletter":
            gone = await self._write_to_reader(request, posted)
        elif posted.fields.get("answer") == "identify":
            typed = posted.fields.get("identifier", "")[:_MAX_IDENTIFIER].strip()
            gone = await self._upstreams.identify(posted.turn, posted.visitor, typed)
            if isinstance(gone, Misread):
                return await self._misread(request, gone, typed)
        elif "credential" in posted.fields:
            gone = await self._upstreams.take_up(
                posted.turn, posted.visitor, posted.fields.get("method", ""), posted.fields
            )
        else:
            gone = await self._upstreams.open(posted.turn, posted.visitor, posted.fields.get("method", ""))
        if not isinstance(gone, Turn):
            return self._hub.leave_for(request, posted.visitor, gone)
        return await self._hub.go(request, posted.visitor, gone, self._policy())

    async def _write_to_reader(self, request: Request, posted: Posted) -> Turn | Exit:
        """A code to the address that a newsletter of the partner went to; what she read may be over or taken back by now."""
        reader = await self._reader(request, posted.turn)
        if reader is None:
            await self._logins.keep(posted.turn, posted.visitor)
            return await self._logins.attempt_failed(posted.turn.journey.id, posted.visitor, "notice.no_newsletter")
        return await self._upstreams.write_to(posted.turn, posted.visitor, reader.address, Addressee.NEWSLETTER)

    async def _reader(self, request: Request, turn: Turn) -> SoftRecognition | None:
        """Whose newsletter was probably read in this browser, if it is of a party to this journey."""
        cookie = cookies.read_soft(request)
        if cookie is None:
            return None
        parties = {turn.journey.partner} | ({turn.handoff.value.source} if turn.handoff else set())
        return await self._newsletters.recognised(cookie, parties)

    async def _misread(self, request: Request, misread: Misread, typed: str) -> Response:
        """The same page once more, with what she typed and why it was not taken; nothing of it is kept."""
        turn = misread.turn
        if not isinstance(turn.step, Login):
            raise Spent("no login is due on this journey", code="journey.went_on")
        page = await self._choose_page(request, turn, turn.step)
        asked = replace(page.identify, typed=typed, complaint_key=misread.key) if page.identify else None
        view = replace(page, identify=asked, notice_key=None)
        return self._pages.render(view, language=turn.journey.language, reference=current_reference(), status=422)

    async def wait(self, request: Request) -> Response:
        """A button of the waiting page."""
        posted = await self._posted(request)
        turn = posted.turn
        if isinstance(turn.step, Wait):
            turn = await self._upstreams.act(turn, posted.visitor, posted.fields)
        return await self._hub.go(request, posted.visitor, turn, self._policy())

    async def consent(self, request: Request) -> Response:
        """May it be shared?"""
        posted = await self._posted(request)
        match posted.fields.get("answer"):
            case "share":
                return await self._share(request, posted)
            case "guest":
                return await self._as_guest(request, posted)
            case "cancel":
                return await self._leave(request, posted)
            case _:
                raise BadAsk("unknown answer", code="form.answer")

    async def arrive(self, request: Request) -> Response:
        """
        The account she arrives with at a recipient that has no login of ours: hers?

        security: the answer counts for the challenge its page was shown for, and no other (login CSRF).
        """
        posted = await self._posted(request)
        match posted.fields.get("answer"):
            case "continue":
                step = posted.turn.step
                if not isinstance(step, Arrive) or posted.fields.get("challenge") != step.challenge:
                    return RedirectResponse(f"/j/{posted.turn.journey.id}", status_code=303)
                return self._hub.leave_for(request, posted.visitor, await self._partners.arrived(posted.turn))
            case "not_me":
                return await self._switch(request, posted)
            case "back":
                return await self._leave(request, posted)
            case _:
                raise BadAsk("unknown answer", code="form.answer")

    async def join(self, request: Request) -> Response:
        """Is the login she just proved hers as well?"""
        posted = await self._posted(request)
        journey, visitor = posted.turn.journey.id, posted.visitor
        match posted.fields.get("answer"):
            case "join":
                turn = await self._logins.join(journey, visitor)
                return await self._once_more(request, visitor, turn, posted.fields.get("method", ""))
            case "apart":
                turn = await self._logins.keep_apart(journey, visitor)
            case "stay":
                turn = await self._logins.stay(journey, visitor)
            case "cancel":
                return await self._leave(request, replace(posted, turn=await self._logins.stay(journey, visitor)))
            case _:
                raise BadAsk("unknown answer", code="form.answer")
        known = replace(visitor, session=turn.token or visitor.session)
        return await self._hub.go(request, known, turn, self._policy())

    async def _once_more(self, request: Request, visitor: Visitor, turn: Turn, method: str) -> Response:
        """Where she is to log in once more, straight to the way she chose; else on."""
        step = turn.step
        is_due = isinstance(step, Login) and method in {choice.upstream for choice in step.choices.may}
        if is_due and turn.journey.link is not None and self._upstreams.sends_away(method):
            gone = await self._upstreams.open(turn, visitor, method)
            if not isinstance(gone, Turn):
                return self._hub.leave_for(request, visitor, gone)
            turn = gone
        known = replace(visitor, session=turn.token or visitor.session)
        return await self._hub.go(request, known, turn, self._policy())

    async def guest_again(self, request: Request) -> Response:
        """A customer who said no comes back to the link: still welcome at the recipient, as a guest."""
        visitor = self._visitor(request)
        turn = await self._logins.look(request.path_params["journey"], visitor)
        if not (isinstance(turn.step, HandoffOver) and turn.step.why == "declined"):
            return await self._respond(request, visitor, turn)
        return self._hub.leave_for(request, visitor, await self._partners.guest(turn))

    async def _switch(self, request: Request, posted: Posted) -> Response:
        """Somebody else sits here: log this one out of the browser, and ask who it is."""
        turn = await self._logins.switch_customer(posted.turn.journey.id, posted.visitor)
        response = await self._hub.go(request, posted.visitor, turn, self._policy())
        cookies.clear_session(response)
        return response

    async def _share(self, request: Request, posted: Posted) -> Response:
        try:
            turn = await self._consents.agree(
                posted.turn.journey.id,
                posted.visitor,
                kept=frozenset(value for name, value in posted.pairs if name == "field"),
                remember=posted.fields.get("remember") == "yes",
                digest=posted.fields.get("digest", ""),
            )
        except (BadAsk, Spent) as error:
            if error.code not in {"consent.changed", "journey.went_on"}:
                raise
            return RedirectResponse(f"/j/{posted.turn.journey.id}", status_code=303)
        return await self._hub.go(request, posted.visitor, turn, self._policy())

    async def _as_guest(self, request: Request, posted: Posted) -> Response:
        """Product data only; nothing about the customer, no subject, no session effect."""
        if posted.turn.handoff is None:
            raise BadAsk("this journey has no handoff", code="form.answer")
        if not _may_turn_guest(posted.turn.step):
            return RedirectResponse(f"/j/{posted.turn.journey.id}", status_code=303)
        return self._hub.leave_for(request, posted.visitor, await self._partners.guest(posted.turn))

    async def _leave(self, request: Request, posted: Posted) -> Response:
        turn = posted.turn
        if turn.journey.ended is None and not isinstance(turn.step, Late):
            await self._logins.end(turn.journey.id, posted.visitor, Ending.CANCELLED)
            return self._hub.leave_for(request, posted.visitor, await self._partners.leave(turn))
        return RedirectResponse(f"/j/{turn.journey.id}", status_code=303)

    async def _respond(self, request: Request, visitor: Visitor, turn: Turn) -> Response:
        """Render the step's page, or send the browser on."""
        policy = self._policy()
        view: Page
        match turn.step:
            case Late():
                return self._late(turn)
            case Ended() if turn.handoff is not None:
                return RedirectResponse(self._handoffs.link(turn.handoff.value), status_code=303)
            case Ended():
                return RedirectResponse(self._partners.start_again(turn.journey.partner) or "/", status_code=303)
            case HandoffOver(why="already"):
                return self._already(turn.journey.partner)
            case AskLink():
                view = await self._join_page(turn, turn.step)
            case Login():
                view = await self._choose_page(request, turn, turn.step)
            case Welcome() | WrongCustomer() | AskConsent() | Arrive() | HandoffOver():
                view = self._view(turn)
            case Wait():
                seen = self._upstreams.waiting(turn)
                if seen is None:
                    raise Spent("nobody waits on this journey", code="journey.went_on")
                view = self._waiting_page(turn, seen)
            case _:
                return await self._hub.go(request, visitor, turn, policy)
        rendered = self._pages.render(view, language=turn.journey.language, reference=current_reference())
        return with_cookies(rendered, turn, policy)

    def _late(self, turn: Turn) -> Response:
        """An expired journey: a fresh start at the same handoff or partner."""
        if turn.handoff is not None:
            return RedirectResponse(self._handoffs.link(turn.handoff.value), status_code=303)
        raise Expired("journey expired", partner=turn.journey.partner or None)

    def _already(self, recipient: str) -> Response:
        """Already transferred: on to the recipient's ordinary page."""
        partner = self._policy().partner(recipient)
        if partner is None:
            raise Expired("recipient is gone")
        return RedirectResponse(params.with_query(partner.home_uri, {"handoff": "already"}), status_code=303)

    def _view(self, turn: Turn) -> Page:
        step, show = turn.step, self._show(turn)
        match step:
            case Welcome(handoff=handoff):
                return WelcomePage(
                    form=self._form(turn, "welcome"),
                    source=show.party(handoff.source),
                    recipient=show.party(handoff.recipient),
                    title=show.type_title(handoff),
                    customer=self._masked(turn),
                    may_continue_as_guest=self._has_guest_page(handoff.recipient),
                )
            case WrongCustomer(handoff=handoff):
                return WrongCustomerPage(
                    form=self._form(turn, "welcome"),
                    source=show.party(handoff.source),
                    recipient=show.party(handoff.recipient),
                    customer=self._masked(turn),
                    may_continue_as_guest=self._has_guest_page(handoff.recipient),
                )
            case AskConsent() if turn.session is not None:
                offered = turn.handoff.value if turn.handoff else None
                return show.consent(step, offered, turn.session.value, self._form(turn, "consent"), self._logins.now())
            case Arrive(handoff=handoff, challenge=challenge):
                return ArrivePage(
                    form=self._form(turn, "arrive"),
                    challenge=challenge,
                    source=show.party(handoff.source),
                    recipient=show.party(handoff.recipient),
                    customer=self._masked(turn),
                )
            case HandoffOver():
                return self._over_page(turn, step, show)
            case _:
                raise Spent("no page for this step", code="journey.went_on")

    async def _choose_page(self, request: Request, turn: Turn, step: Login) -> ChoosePage:
        """The ways in; with one more where a newsletter was read in this browser, which nobody else pays for."""
        page = self._ways_in(turn, step, self._show(turn))
        if self._upstreams.writes(turn) is None or (reader := await self._reader(request, turn)) is None:
            return page
        return replace(page, newsletter_of=self._show(turn).party(reader.partner))

    def _ways_in(self, turn: Turn, step: Login, show: Show) -> ChoosePage:
        taken = {kind for choice in step.choices.may if (kind := self._upstreams.takes(choice.upstream)) is not None}
        listed = frozenset(
            choice.upstream for choice in step.choices.may if self._upstreams.takes(choice.upstream) is None
        )
        seen, more = show.methods(step.choices, listed, turn.remembered)
        handoff = turn.handoff.value if turn.handoff else None
        offered = self._upstreams.offered(turn)
        reason = _reason(step)
        if not turn.journey.partner and reason not in {Reason.ADDING, Reason.JOINING, Reason.RENEWAL}:
            reason = Reason.SHARED
        elif handoff is not None and reason is Reason.CONTINUE:
            reason = Reason.HANDOFF
        return ChoosePage(
            form=self._form(turn, "choose"),
            partner=show.party(turn.journey.partner) if turn.journey.partner else None,
            methods=seen,
            reason=reason,
            source=show.party(handoff.source) if handoff else None,
            notice_key=turn.journey.notice,
            at_once=AskAtOnce(offered.upstream, offered.options, offered.mark) if offered else None,
            identify=self._identify(turn, taken) if taken else None,
            more=more,
            ill=tuple(show.method(upstream) for upstream in step.choices.ill),
            is_remembered=turn.remembered is not None,
            retry=None if step.choices.may else self._retry(turn, step),
            missing=show.labels(step.missing),
        )

    def _identify(self, turn: Turn, taken: Set[ContactKind]) -> Identify:
        takes = "either" if len(taken) > 1 else next(iter(taken)).value
        return Identify(takes, self._upstreams.takes_number(turn))

    def _retry(self, turn: Turn, step: Login) -> tuple[Way, int]:
        """No way is left: where to try again, and after how many seconds one of them is tried anew."""
        back_at = step.choices.back_at
        seconds = math.ceil((back_at - self._logins.now()).total_seconds()) if back_at is not None else _LATER_S
        return Way("try-again", f"/j/{turn.journey.id}", Action.RETRY), max(1, seconds)

    async def _forget_device(self, posted: Posted) -> Response:
        """She does not want this browser to be remembered: the same page, as for anybody."""
        await self._logins.forget_device(posted.visitor)
        response = RedirectResponse(f"/j/{posted.turn.journey.id}", status_code=303)
        cookies.clear_device(response)
        return response

    async def _join_page(self, turn: Turn, step: AskLink) -> JoinPage:
        policy, question = self._policy(), step.question
        kind = _join_kind(question)
        others: tuple[str, ...] = ()
        if question.may_join and turn.session is not None:
            here = turn.session.value.upstream
            others = tuple(each for each in await self._ways.upstreams_of(turn.session.value.customer) if each != here)
        return JoinPage(
            form=self._form(turn, "join"),
            kind=kind,
            method=self._title(question.upstream, turn),
            customer=self._masked(turn),
            here=self._title(turn.session.value.upstream, turn) if turn.session is not None else "",
            contact=_masked_contact(question.contact),
            partner=self._show(turn).party(turn.journey.partner) if turn.journey.partner else None,
            methods=tuple(
                Method(name, self._title(name, turn), icon=policy.config.upstreams[name].icon)
                for name in question.renew
                if name in policy.config.upstreams
            ),
            others=tuple(self._title(each, turn) for each in others),
            may_part=not turn.journey.is_adding or question.rule is Rule.BELONGS_TO_ANOTHER,
            reason_key=f"join.refused.{question.rule.value}",
        )

    def _title(self, upstream: str, turn: Turn) -> str:
        known = self._policy().config.upstreams.get(upstream)
        return self._policy().text(known.titles, turn.journey.language) if known else upstream

    def _waiting_page(self, turn: Turn, seen: Waiting) -> WaitPage | CodePage | PasskeyPage:
        """The page for what a connector shows while she stays with us."""
        match seen:
            case Poll():
                return self._wait_page(turn, seen)
            case EnterCode():
                return code_page(
                    seen,
                    form=self._form(turn, "wait"),
                    partner=self._show(turn).party(turn.journey.partner) if turn.journey.partner else None,
                    poll_url=f"/j/{turn.journey.id}/poll",
                    now=self._logins.now(),
                )
            case AskPasskey():
                partner = self._show(turn).party(turn.journey.partner) if turn.journey.partner else None
                return PasskeyPage(self._form(turn, "wait"), partner, seen.options, seen.message_key)
        assert_never(seen)

    def _wait_page(self, turn: Turn, seen: Poll) -> WaitPage:
        policy, journey = self._policy(), turn.journey
        upstream = policy.config.upstreams[journey.attempt.upstream] if journey.attempt else None
        stamp = int(self._now_s())
        return WaitPage(
            form=self._form(turn, "wait"),
            partner=self._show(turn).party(journey.partner) if journey.partner else None,
            method=policy.text(upstream.titles, journey.language) if upstream else "",
            phase=Phase(seen.phase),
            message_key=seen.message_key,
            poll_url=f"/j/{journey.id}/poll",
            qr_src=f"/j/{journey.id}/qr?t={stamp}" if seen.qr_text is not None else None,
            launch_url=seen.launch_url,
            actions=seen.actions,
            again_after_s=seen.again_after_s,
        )

    def _over_page(self, turn: Turn, step: HandoffOver, show: Show) -> Page:
        handoff = step.handoff
        if handoff is None:
            raise Expired("handoff record is gone", partner=turn.journey.partner or None)
        source, recipient = show.party(handoff.source), show.party(handoff.recipient)
        # security: a refusal is not told to the source: she comes back as after any other cancellation, or with a dead link
        told = {"declined": "cancelled", "withdrawn": "expired"}.get(step.why, step.why)
        back = Way(
            "back-to-shop", params.with_query(handoff.return_uri, {"handoff": told}), Action.BACK_TO, source.name
        )
        known = self._policy().partner(handoff.recipient)
        on = Way("to-recipient", known.home_uri, Action.GO_TO, recipient.name) if known else None
        if step.why == "declined" and self._has_guest_page(handoff.recipient):
            on = Way("continue-guest", f"/j/{turn.journey.id}/guest", Action.GO_TO, recipient.name)
        status = HandoffStatus(step.why)
        ways = (back, on) if status in {HandoffStatus.EXPIRED, HandoffStatus.WITHDRAWN} else (on, back)
        return HandoffStatusPage(status, source, recipient, tuple(way for way in ways if way is not None))

    async def _posted(self, request: Request) -> Posted:
        """A form of one of our pages: token, origin, and the journey it belongs to."""
        pairs = tuple(await params.form_pairs(request))
        fields = params.single((name, value) for name, value in pairs if name != "field")
        visitor = self._visitor(request)
        turn = await self._logins.look(request.path_params["journey"], visitor)
        csrf.check(request, fields, turn.journey.csrf, self._policy().issuer)
        return Posted(visitor, turn, fields, pairs)

    def _form(self, turn: Turn, name: str) -> Form:
        return Form(f"/j/{turn.journey.id}/{name}", turn.journey.csrf)

    def _show(self, turn: Turn) -> Show:
        language = turn.journey.language
        return Show(self._policy(), self._logos, self._pages.words(language), language)

    def _masked(self, turn: Turn) -> str | None:
        if turn.session is None:
            return None
        profile = turn.session.value.profile
        if profile.name:
            return mask_name(profile.name)
        return mask_address(profile.email) if profile.email else None

    def _has_guest_page(self, recipient: str) -> bool:
        partner = self._policy().partner(recipient)
        return bool(partner and partner.guest_uri)

    def _language(self, wished: str | None, visitor: Visitor) -> str:
        return wished if wished in self._policy().broker.languages else visitor.language

    def _visitor(self, request: Request) -> Visitor:
        return visitor_of(request, self._policy().broker)

    def _now_s(self) -> float:
        return self._logins.now().timestamp()


def _join_kind(question: Question) -> JoinKind:
    match question.rule:
        case Rule.BOTH_PROVEN:
            return JoinKind.OFFER
        case Rule.STALE_PROOF:
            return JoinKind.RENEW
        case Rule.CONTACT_SEEN:
            return JoinKind.SEEN
        case Rule.BELONGS_TO_ANOTHER:
            return JoinKind.ANOTHER
        case Rule.ANOTHER_NUMBER:
            return JoinKind.NUMBER
        case _:
            return JoinKind.REFUSED


def _masked_contact(contact: str | None) -> str | None:
    if contact is None:
        return None
    return mask_address(contact) if "@" in contact else mask_phone(contact)


def _reason(step: Login) -> Reason:
    """Why she is asked; where only an address lacks, which kind can be proven right here."""
    if step.reason in {"too_weak", "aged"} and step.need.minimum is Assurance.CONTACT:
        kinds = {choice.adds for choice in step.choices.steps}
        if kinds == {ContactKind.EMAIL}:
            return Reason.CONTACT_EMAIL
        return Reason.CONTACT_PHONE if kinds == {ContactKind.PHONE} else Reason.CONTACT
    return _REASONS.get(step.reason, Reason.CONTINUE)


def _may_turn_guest(step: Step) -> bool:
    """Whether going on without sharing is an answer to *step*; an expired, ended or decided journey is shown as it stands."""
    match step:
        case Late() | Ended() | Deliver() | Arrive():
            return False
        case HandoffOver():
            return step.why == "declined"
        case _:
            return True
