"""
Logins at identity providers: open one, wait for one, take the answer.

`UpstreamEdge` is what the other edges see of the connectors (`broker.web.hub.Upstreams`); its routes are where providers
and apps send the browser back to.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.core.changing import replace
from broker.core.identity import ContactKind, contact_kind
from broker.core.journey import Attempt, Away, Journey, Login, Wait
from broker.core.membership import number_typed
from broker.core.policy import ByNumber, Policy
from broker.core.waiting import Addressee, Waiting
from broker.errors import BadAsk, Spent, Stopped, StoreDown, UpstreamDown, UpstreamRefused, WrongBrowser
from broker.flows.context import Clock
from broker.flows.login import Claim, Logins, Opening, Turn
from broker.flows.values import Visitor
from broker.observe.logging import log
from broker.upstream.breaker import Breaker
from broker.upstream.port import (
    Connector,
    Done,
    FormConnector,
    IdentifierConnector,
    KeyPublisher,
    LinkConnector,
    OfferingConnector,
    Pending,
    PostForm,
    Prompt,
    Redirect,
    Reply,
    ReplyKind,
    UpstreamAsk,
    WaitingConnector,
)
from broker.web import params
from broker.web.hub import Exit, FormPost, Hub, Misread, Offered
from broker.web.middleware import MAX_BODY
from broker.web.visitor import visitor_of

_PRESSED_TRIES: Final = 10
_PRESSED_AGAIN_S: Final = 0.03
"""How long a button waits for a poll that asks at the same moment."""


class UpstreamEdge:
    """
    One per process.

    Args:
        connectors: by id; only those that could be started.
        breaker: told how they fare.
    """

    def __init__(
        self,
        policy: Callable[[], Policy],
        logins: Logins,
        connectors: Mapping[str, Connector],
        breaker: Breaker,
        clock: Clock,
    ) -> None:
        self._breaker = breaker
        self._policy = policy
        self._logins = logins
        self._connectors = connectors
        self._forms = _taking_forms(connectors)
        self._waits: dict[type, bool] = {}
        self._clock = clock

    async def identify(self, turn: Turn, visitor: Visitor, typed: str) -> Turn | Exit | Misread:
        """
        Open a login by what the customer *typed* into our field, at the first way in that takes such a thing.

        What has the form of a member number is one, whether there is such a member or not, and everybody is answered alike.

        Returns: as `open`; `Misread` when nothing can be done with it.
        """
        idle, kind = await self._logins.idle(turn), contact_kind(typed)
        if (by_number := self._by_number(idle)) is not None:
            writes, terms = by_number
            if (number := number_typed(typed, terms)) is not None:
                return await self.open(turn, visitor, writes, number, Addressee.MEMBER)
        may = idle.step.choices.may if isinstance(idle.step, Login) else ()
        takers = [choice.upstream for choice in may if self.takes(choice.upstream) is not None]
        upstream = next((name for name in takers if self.takes(name) is kind), None)
        if not takers:
            await self._logins.keep(turn, visitor)
            return await self._logins.attempt_failed(turn.journey.id, visitor, f"notice.no_{kind.value}")
        if upstream is None:
            return Misread(idle, f"notice.no_{kind.value}")
        connector = self._connectors[upstream]
        if isinstance(connector, IdentifierConnector) and (key := connector.complaint(typed)) is not None:
            return Misread(idle, key)
        return await self.open(turn, visitor, upstream, typed)

    async def write_to(self, turn: Turn, visitor: Visitor, address: str, addressee: Addressee) -> Turn | Exit:
        """
        Open a login by a code to an e-mail *address* that she did not type: no page shows it.

        Returns: as `open`; where nothing can be sent there, she chooses again.
        """
        idle = await self._logins.idle(turn)
        upstream = self.writes(idle)
        connector = self._connectors.get(upstream) if upstream is not None else None
        if upstream is None or not isinstance(connector, IdentifierConnector) or connector.complaint(address):
            await self._logins.keep(turn, visitor)
            return await self._logins.attempt_failed(turn.journey.id, visitor, f"notice.no_{addressee.value}")
        return await self.open(turn, visitor, upstream, address, addressee)

    def takes_number(self, turn: Turn) -> bool:
        """Whether she may give the asking partner's member number instead."""
        return self._by_number(turn) is not None

    def _by_number(self, turn: Turn) -> tuple[str, ByNumber] | None:
        """The way in that codes for member numbers go by, and the asking partner's terms; None where it takes none."""
        ask = turn.journey.ask
        partner = self._policy().partner(turn.journey.partner) if ask is not None and ask.handoff is None else None
        terms = partner.members.by_number if partner is not None and partner.members is not None else None
        if terms is None or not isinstance(turn.step, Login):
            return None
        kind = ContactKind.EMAIL if terms.contact == "email" else ContactKind.PHONE
        may = turn.step.choices.may
        upstream = next((choice.upstream for choice in may if self.takes(choice.upstream) is kind), None)
        return (upstream, terms) if upstream is not None else None

    def writes(self, turn: Turn) -> str | None:
        """The first way in of those she may choose from that writes to an e-mail address."""
        may = turn.step.choices.may if isinstance(turn.step, Login) else ()
        return next((choice.upstream for choice in may if self.takes(choice.upstream) is ContactKind.EMAIL), None)

    def linked(self, turn: Turn, secret: str) -> bool:
        """Whether a link with *secret*, out of a message, may finish the login that waits. Looks only."""
        attempt = turn.journey.attempt
        connector = self._connectors.get(attempt.upstream) if attempt else None
        if attempt is None or not isinstance(turn.step, Wait) or not isinstance(connector, LinkConnector):
            return False
        return connector.opens(attempt.state, secret, self._clock())

    async def disown(self, journey: str, secret: str) -> None:
        """Somebody who got the message with *secret* did not begin that login: it is over, whoever says so."""

        def is_of(attempt: Attempt) -> bool:
            connector = self._connectors.get(attempt.upstream)
            return isinstance(connector, LinkConnector) and connector.knows(attempt.state, secret)

        if (gone := await self._logins.disowned(journey, is_of, "notice.disowned")) is not None:
            log("one_time_code.disowned", "warning", upstream=gone.upstream, code="one_time_code.disowned")

    def takes(self, upstream: str) -> ContactKind | None:
        """What the customer types to log in there; None where she types nothing."""
        return getattr(self._connectors.get(upstream), "takes", None)

    async def open(
        self,
        turn: Turn,
        visitor: Visitor,
        upstream: str,
        identifier: str | None = None,
        addressee: Addressee = Addressee.TYPED,
    ) -> Turn | Exit:
        """
        Open a login at *upstream* for the journey as *turn* saw it.

        A button that is pressed twice, in one tab or in two, opens one login: both see its page.

        Returns: the turn when the customer waits on our page or must choose again; else where to go, and how.
        """
        if identifier is not None and self._covers(turn, upstream, identifier, addressee):
            return turn
        once = f"{addressee.value} {identifier}" if identifier is not None else None
        opening = await self._logins.open(turn, visitor, upstream, once=once)
        if opening.is_repeated:
            return await self._opened_meanwhile(turn, visitor)
        try:
            return await self._begun(opening, visitor, upstream, identifier, addressee)
        except StoreDown:
            await self._logins.not_opened(opening.mark)
            raise

    async def _begun(
        self, opening: Opening, visitor: Visitor, upstream: str, identifier: str | None, addressee: Addressee
    ) -> Turn | Exit:
        turn, connector = opening.turn, self._connectors[upstream]
        await self._cancel_running(turn.journey)
        try:
            begun = await connector.begin(self._ask(opening, visitor, upstream, identifier, addressee))
        except (UpstreamDown, UpstreamRefused) as error:
            await self._logins.keep(turn, visitor)
            return await self._failed(turn.journey, visitor, upstream, error)
        prompt, here = begun.prompt, f"/j/{turn.journey.id}"
        form = Away(prompt.url, prompt.members) if isinstance(prompt, PostForm) else None
        away = FormPost(form.url, form.members, here, f"{here}/away") if form else _address(prompt)
        turn = await self._logins.attempted(
            opening, visitor, upstream=upstream, state=begun.state, waits=away is None, away=form
        )
        return turn if away is None else away

    def _covers(self, turn: Turn, upstream: str, identifier: str, addressee: Addressee) -> bool:
        attempt, connector = turn.journey.attempt, self._connectors.get(upstream)
        if attempt is None or attempt.upstream != upstream or not isinstance(connector, IdentifierConnector):
            return False
        return connector.covers(attempt.state, identifier, addressee, self._clock())

    async def _opened_meanwhile(self, turn: Turn, visitor: Visitor) -> Turn:
        """The journey as whoever pressed first leaves it, who is at it right now."""
        seen = turn
        for _ in range(_PRESSED_TRIES):
            await asyncio.sleep(_PRESSED_AGAIN_S)
            seen = await self._logins.look(turn.journey.id, visitor)
            if seen.held != turn.held:
                break
        return seen

    def offered(self, turn: Turn) -> Offered | None:
        """What the page that offers the ways in may ask of the browser at once; None when no way in has that."""
        if not isinstance(turn.step, Login):
            return None
        for choice in turn.step.choices.may:
            if (connector := self._offering(choice.upstream)) is not None:
                offer = connector.offer(_secret(turn.journey), self._clock())
                return Offered(choice.upstream, offer.options, offer.mark)
        return None

    async def take_up(self, turn: Turn, visitor: Visitor, upstream: str, data: Mapping[str, str]) -> Turn:
        """
        The browser answered an offer of *upstream*'s: open the login, and take the answer.

        Raises: BadAsk: it makes none. Otherwise as `open`.
        """
        connector = self._offering(upstream)
        if connector is None:
            raise BadAsk("this way in makes no offers", code="journey.upstream")
        opening = await self._logins.open(turn, visitor, upstream)
        await self._cancel_running(turn.journey)
        try:
            state = connector.taken_up(_secret(turn.journey), data.get("mark", ""), self._clock())
        except UpstreamRefused as error:
            return await self._failed(turn.journey, visitor, upstream, error)
        opened = await self._logins.attempted(opening, visitor, upstream=upstream, state=state, waits=True)
        return await self.act(opened, visitor, {"do": "passkey", "credential": data.get("credential", "")})

    def _offering(self, upstream: str) -> OfferingConnector | None:
        connector = self._connectors.get(upstream)
        return cast(OfferingConnector, connector) if hasattr(connector, "taken_up") else None

    def sends_away(self, upstream: str) -> bool:
        """Whether a login there begins by a redirect, not by waiting on our page."""
        return upstream in self._connectors and self._staying(upstream) is None

    def _staying(self, upstream: str) -> WaitingConnector | None:
        """The connector *upstream* if its customers wait on our page."""
        connector = self._connectors.get(upstream)
        kind = type(connector)
        if kind not in self._waits:
            # Once a kind: telling by a protocol looks at every method.
            self._waits[kind] = isinstance(connector, WaitingConnector)
        return cast(WaitingConnector, connector) if self._waits[kind] else None

    async def act(self, turn: Turn, visitor: Visitor, data: Mapping[str, str]) -> Turn:
        """The customer pressed a button on the waiting page; ``cancel`` gives up this way of logging in."""
        if data.get("do") == "cancel":
            await self._cancel_running(turn.journey)
            return await self._logins.attempt_failed(turn.journey.id, visitor, None)
        said = {name: value for name, value in data.items() if name != "csrf"}
        return await self._advance(turn, visitor, ReplyKind.ACT, said)

    async def poll(self, turn: Turn, visitor: Visitor) -> Turn:
        """Ask the provider if it is time to and nobody else is asking; else the turn as it is."""
        attempt = turn.journey.attempt
        connector = self._staying(attempt.upstream) if attempt else None
        if attempt is None or not isinstance(turn.step, Wait) or connector is None:
            return turn
        if attempt.brought is None and not connector.is_due(attempt.state, self._clock()):
            return turn
        return await self._advance(turn, visitor, ReplyKind.POLL, {})

    def waiting(self, turn: Turn) -> Waiting | None:
        """What the waiting page shows right now, without asking the provider."""
        if not isinstance(turn.step, Wait):
            return None
        connector = self._staying(turn.step.upstream)
        if connector is None:
            return None
        return connector.view(turn.step.attempt.state, self._clock())

    async def called_back(self, upstream: str, data: Mapping[str, str], visitor: Visitor) -> Turn:
        """
        A provider redirected the browser to us, or our own page after `posted`. A repeated callback gives the journey as it
        stands.

        Raises: Spent, Expired, WrongBrowser: see `Logins.claim_callback`; the provider is not asked anything then.
        """
        connector = self._connectors.get(upstream)
        posted = data.get("posted")
        token = posted or data.get("state")
        if connector is None or token is None:
            raise BadAsk("callback without state, or of an unknown provider", code="callback.malformed")
        try:
            claim = await self._logins.claim_callback(upstream, token, visitor, posted=posted is not None)
        except Spent as error:
            if error.code not in {"callback.replayed", "journey.went_on"}:
                raise
            # Reload or back button: the answer is not taken a second time, but this browser's journey goes on.
            log("upstream.repeated", upstream=upstream, code=error.code)
            return await self._logins.look(token.partition(".")[0], visitor)
        if posted is None:
            reply = Reply(ReplyKind.CALLBACK, data, self._clock(), visitor.address)
        elif claim.posted is not None:
            reply = Reply(ReplyKind.POSTED, claim.posted, self._clock(), visitor.address)
        else:
            late = UpstreamRefused("nothing was posted, or it was fetched too late", code="callback.late")
            return await self._failed(claim.journey, visitor, upstream, late)
        return await self._resume(connector, claim, reply, visitor)

    async def posted(self, upstream: str, data: Mapping[str, str], visitor: Visitor) -> str:
        """
        A provider's page posted its answer from its own site, so without our cookies.

        Returns: where the browser fetches it with them; the address holds the login's one-time token and nothing of the answer.
        Raises: as `Logins.keep_posted`; BadAsk.
        """
        connector = self._forms.get(upstream)
        if connector is None or (state := data.get(connector.state_member)) is None:
            raise BadAsk("a form without state, or of a provider that sends none", code="callback.malformed")
        await self._logins.keep_posted(state, data, visitor, largest=connector.largest_form)
        return params.with_query(f"{self._policy().broker.issuer}/up/{upstream}/callback", {"posted": state})

    def largest_value(self, upstream: str) -> int:
        """Characters of one member that the provider's page may post: more than elsewhere only where the whole form may be."""
        connector = self._forms.get(upstream)
        return connector.largest_form if connector and connector.largest_form > MAX_BODY else params.MAX_VALUE

    async def returned(self, journey: str, data: Mapping[str, str], visitor: Visitor) -> Turn:
        """An app opened the return address in a browser: only the one that began the journey goes on."""
        turn = await self._logins.look(journey, visitor)
        if not isinstance(turn.step, Wait):
            return turn
        return await self._advance(turn, visitor, ReplyKind.RETURN, data)

    async def _advance(self, turn: Turn, visitor: Visitor, kind: ReplyKind, data: Mapping[str, str]) -> Turn:
        """Let the connector go on, one worker at a time; the others see what is stored."""
        claim = await self._logins.lease(turn.journey.id, visitor, pressed=kind is ReplyKind.ACT)
        for _ in range(_PRESSED_TRIES if kind is ReplyKind.ACT else 0):
            # A poll of the page may hold it just now, and what she typed must not be lost to that.
            if claim is not None:
                break
            await asyncio.sleep(_PRESSED_AGAIN_S)
            claim = await self._logins.lease(turn.journey.id, visitor)
        if claim is None and kind is ReplyKind.RETURN:
            return await self._logins.brought(turn, visitor, data)
        if claim is None:
            return await self._logins.look(turn.journey.id, visitor)
        if kind is ReplyKind.POLL and claim.attempt.brought is not None:
            kind, data = ReplyKind.RETURN, claim.attempt.brought
        connector = self._connectors.get(claim.attempt.upstream)
        if connector is None:
            return await self._logins.attempt_failed(claim.journey.id, visitor, "notice.upstream_down")
        reply = Reply(kind, data, self._clock(), visitor.address)
        return await self._resume(connector, claim, reply, visitor)

    async def _resume(self, connector: Connector, claim: Claim, reply: Reply, visitor: Visitor) -> Turn:
        journey = claim.journey
        try:
            outcome = await connector.resume(claim.attempt.state, reply)
        except Stopped as error:
            self._breaker.worked(connector.id)
            log("upstream.stopped", upstream=connector.id, partner=journey.partner, detail=error.detail)
            return await self._logins.attempt_failed(journey.id, visitor, _notice(error, "notice.cancelled"))
        except (UpstreamDown, UpstreamRefused) as error:
            return await self._failed(journey, visitor, connector.id, error)
        match outcome:
            case Done(evidence=evidence):
                self._breaker.worked(connector.id)
                if evidence.signals:
                    log("upstream.signals", upstream=connector.id, signals=list(evidence.signals))
                try:
                    return await self._logins.prove(claim, visitor, evidence=evidence)
                except UpstreamRefused as error:
                    if error.code != "identity.blocked":
                        raise
                    return await self._failed(journey, visitor, connector.id, error)
            case Pending(state=changed):
                return await self._logins.pending(claim, visitor, state=changed)

    async def _failed(
        self, journey: Journey, visitor: Visitor, upstream: str, error: UpstreamDown | UpstreamRefused
    ) -> Turn:
        """Nothing is lost: the customer may choose again and reads why; a provider that keeps failing rests."""
        if isinstance(error, UpstreamRefused):
            self._breaker.worked(upstream)
        elif self._breaker.failed(upstream):
            log("upstream.rests", "error", upstream=upstream)
        log(
            "upstream.failed",
            "warning",
            upstream=upstream,
            partner=journey.partner,
            code=error.code,
            kind=type(error).__name__,
            detail=error.detail,
            **error.facts,
        )
        general = "notice.upstream_down" if isinstance(error, UpstreamDown) else "notice.upstream_refused"
        return await self._logins.attempt_failed(journey.id, visitor, _notice(error, general))

    async def _cancel_running(self, journey: Journey) -> None:
        """One running order per journey: a new one withdraws the old one at the provider."""
        attempt = journey.attempt
        connector = self._staying(attempt.upstream) if attempt else None
        if attempt is not None and connector is not None:
            await connector.cancel(attempt.state)

    def _ask(
        self, opening: Opening, visitor: Visitor, upstream: str, identifier: str | None, addressee: Addressee
    ) -> UpstreamAsk:
        policy, journey = self._policy(), opening.turn.journey
        broker = policy.broker
        name = policy.partner_name(journey.partner, journey.language) if journey.partner else broker.name
        return UpstreamAsk(
            callback_url=f"{broker.issuer}/up/{upstream}/callback",
            return_url=f"{broker.issuer}/j/{journey.id}/return",
            state=opening.token,
            language=journey.language,
            partner_name=name,
            broker_name=broker.name,
            minimum=opening.need.minimum,
            end_user_ip=visitor.address,
            user_agent=visitor.user_agent,
            mobile=visitor.mobile,
            now=self._clock(),
            fresh=opening.fresh,
            max_age_s=opening.max_age_s,
            login_hint=opening.login_hint,
            device_id=journey.browser or None,
            identifier=identifier,
            journey=journey.id,
            partner=journey.partner,
            addressee=addressee,
            personal_number=opening.personal_number,
        )


def _address(prompt: Prompt) -> str | None:
    """Where *prompt* sends her; None where she stays on our page."""
    return prompt.url if isinstance(prompt, Redirect) else None


def _secret(journey: Journey) -> str:
    """What only this journey's own pages know of it."""
    return f"{journey.id}.{journey.csrf}"


def _notice(error: Stopped | UpstreamDown | UpstreamRefused, general: str) -> str:
    """The catalogue key of what the customer reads: the connector's own words where it has some."""
    special = error.message_key if isinstance(error, UpstreamRefused) else error.facts.get("message_key")
    return special if isinstance(special, str) else general


class UpstreamKeys:
    """Where providers fetch our public keys."""

    def __init__(self, policy: Callable[[], Policy], connectors: Mapping[str, Connector], clock: Clock) -> None:
        self._policy = policy
        self._connectors = connectors
        self._clock = clock

    async def document(self, request: Request) -> Response:
        """``/up/{upstream}/jwks.json`` and what else there is; 404 where nothing is published. Kept for an hour at most."""
        upstream = request.path_params["upstream"]
        connector = self._connectors.get(upstream)
        address = f"{self._policy().broker.issuer}/up/{upstream}"
        name = request.url.path.removeprefix(f"/up/{upstream}/")
        found = (
            connector.published(name, address=address, now=self._clock())
            if isinstance(connector, KeyPublisher)
            else None
        )
        if found is None:
            return _plain(404, "not_found")
        headers = {"Cache-Control": "public, max-age=3600"}
        return Response(found.content, 200, headers=headers, media_type=found.media_type)

    def routes(self) -> list[Route]:
        """GET only."""
        names = ("jwks.json", "jwks.jwt", ".well-known/openid-federation", "metadata")
        return [Route(f"/up/{{upstream}}/{name}", self.document, methods=["GET"]) for name in names]


def larger_forms(connectors: Mapping[str, Connector]) -> Mapping[str, int]:
    """The callbacks to which providers' pages post more than anybody else may, and how much."""
    forms = {id: each.largest_form for id, each in _taking_forms(connectors).items()}
    return {f"/up/{id}/callback": most for id, most in forms.items() if most > MAX_BODY}


def _taking_forms(connectors: Mapping[str, Connector]) -> Mapping[str, FormConnector]:
    """Looked for once: telling by a protocol looks at every member."""
    return {id: each for id, each in connectors.items() if isinstance(each, FormConnector)}


def _plain(status: int, error: str | None) -> Response:
    body = {"error": error} if error else {}
    return JSONResponse(body, status, headers={"Cache-Control": "no-store"})


class UpstreamRoutes:
    """Where providers and apps send the browser back to."""

    def __init__(self, policy: Callable[[], Policy], edge: UpstreamEdge, hub: Hub) -> None:
        self._policy = policy
        self._edge = edge
        self._hub = hub

    async def callback(self, request: Request) -> Response:
        """``/up/{upstream}/callback``, one address per provider (mix-up defence, RFC 9700 section 4.4.2.1)."""
        visitor = self._visitor(request)
        turn = await self._edge.called_back(request.path_params["upstream"], params.query(request), visitor)
        return await self._go(request, visitor, turn)

    async def posted(self, request: Request) -> Response:
        """
        The same address, where a provider answers by a form: from here our own page goes on.

        It is a new navigation, so that neither the provider's ``form-action`` nor the form's origin clings to the hops behind it.
        """
        visitor, upstream = self._visitor(request), request.path_params["upstream"]
        form = await params.form(request, largest=self._edge.largest_value(upstream))
        where = await self._edge.posted(upstream, form, visitor)
        return self._hub.leave_for(request, visitor, where)

    async def app_return(self, request: Request) -> Response:
        """``/j/{journey}/return``, where an app sends the customer after a same-device login."""
        visitor = self._visitor(request)
        try:
            turn = await self._edge.returned(request.path_params["journey"], params.query(request), visitor)
        except WrongBrowser as error:
            # security: an app that opens the return address elsewhere never completes a login there (session fixation)
            raise WrongBrowser(error.detail, code="browser.returned_elsewhere", **error.facts) from error
        return await self._go(request, visitor, turn)

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/up/{upstream}/callback", self.callback, methods=["GET"]),
            Route("/up/{upstream}/callback", self.posted, methods=["POST"]),
            Route("/j/{journey}/return", self.app_return, methods=["GET"]),
        ]

    async def _go(self, request: Request, visitor: Visitor, turn: Turn) -> Response:
        known = replace(visitor, session=turn.token or visitor.session)
        return await self._hub.go(request, known, turn, self._policy())

    def _visitor(self, request: Request) -> Visitor:
        return visitor_of(request, self._policy().broker)
