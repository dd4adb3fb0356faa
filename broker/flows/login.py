"""
A login, from a partner's request or a handoff link to the way out.

`Logins` keeps journeys and sessions. Its callers are edges: downstream begins, pages look and act, upstream opens attempts
and brings evidence. Each returns a `Turn`: the journey and the step that is due, for the hub to carry out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from broker.core import handoff as handoffs
from broker.core.consent import Consent
from broker.core.handoff import Handoff
from broker.core.identity import Evidence, Identity, accept
from broker.core.journey import (
    Answer,
    Ask,
    AskConsent,
    Attempt,
    Ending,
    Journey,
    Login,
    Refuse,
    Step,
    WrongCustomer,
    need_of_ask,
    next_step,
    redeemable,
)
from broker.core.naming import is_id, name_of, neighbourhood
from broker.core.session import Need, Profile, Session, is_alive, open_session, staleness
from broker.errors import (
    BadAsk,
    Expired,
    NeedsCustomer,
    Spent,
    StoreDown,
    TooMany,
    UpstreamRefused,
    WrongBrowser,
)
from broker.flows.context import Context, consent_of
from broker.flows.values import HANDOFF_AFTERLIFE_S, Visitor
from broker.observe.telemetry import about
from broker.stores.ports import Count, Customer, KnownCustomer, LinkedIdentity, Op, ProofRecord, PutNew
from broker.stores.sealing import Broken
from broker.stores.shelf import Held

JOURNEY_KEPT_S = 24 * 3600.0
"""Longer than a journey lives, so that an expired one still knows where a fresh start is."""

_BUSY = timedelta(seconds=15)
"""How long one worker may ask a provider before another may try: longer than the provider's timeout."""

_JOURNEYS_PER_MINUTE = 300
"""Per network address; wide, since offices and mobile carriers share addresses."""

_OPENED_PER_MINUTE = 300
"""Logins at providers, per network address: each may cost, and a provider's own limit counts for all customers."""

_TRIES = 60
"""Compare-and-set loops end by themselves: each round somebody else got on. More than anybody does at once."""

_MARK_USED_EVERY = timedelta(days=1)
"""How exact "last used" is; a write at every login would be the costliest part of it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """
    Where a journey stands. ``session``: the live session, ``browser_session`` its cookie value.

    ``handoff``: as stored now, None when the journey has none. ``token`` and ``browser``: new cookie values the answer must set.
    ``held``: the journey as stored, None while it is not.
    """

    journey: Journey
    step: Step
    session: Held[Session] | None
    handoff: Held[Handoff] | None = None
    token: str | None = None
    browser: str | None = None
    browser_session: str | None = None
    held: Held[Journey] | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """
    A login may be opened at an upstream. ``token``: what its callback must bring; ``fresh``: authenticate anew.

    ``login_hint``: the partner's, for the provider to make of what it will.
    """

    journey: Journey
    token: str
    need: Need
    fresh: bool
    max_age_s: int | None
    login_hint: str | None


class Logins:
    """The flow; one per process."""

    def __init__(self, context: Context) -> None:
        self._c = context

    def now(self) -> datetime:
        """The time, aware UTC."""
        return self._c.now()

    async def begin(self, ask: Ask, visitor: Visitor) -> Turn:
        """
        A partner asks for a login. With a session that serves it the turn is an `Answer` and nothing was stored.

        Raises:
            NeedsCustomer: ``prompt=none`` and a step is due. TooMany, StoreDown, Denied.
        """
        now = self._c.now()
        journey = self._new_journey(ask.partner, visitor, now, ask=await self._with_hinted_customer(ask))
        turn = await self._turn(journey, visitor, now)
        if isinstance(turn.step, Answer):
            return turn
        if "none" in ask.prompt or isinstance(turn.step, Refuse):
            raise _silent_refusal(turn.step)
        return await self._store_new(turn, visitor)

    async def begin_handoff(self, handoff: str, recipient: str, visitor: Visitor) -> Turn:
        """A customer follows a handoff link. The handoff itself is not changed here."""
        now = self._c.now()
        journey = self._new_journey(recipient, visitor, now, handoff=handoff)
        return await self._store_new(await self._turn(journey, visitor, now), visitor)

    async def begin_own(self, visitor: Visitor) -> Turn:
        """A customer wants to see the broker's own pages."""
        now = self._c.now()
        return await self._store_new(await self._turn(self._new_journey("", visitor, now), visitor, now), visitor)

    async def look(self, journey: str, visitor: Visitor) -> Turn:
        """
        The step that is due on an existing journey.

        Raises:
            Expired: no such journey (any more). WrongBrowser: it belongs to another browser.
        """
        turn, _ = await self.load(journey, visitor)
        return turn

    async def act(self, journey: str, visitor: Visitor, change: Callable[[Journey], Journey]) -> Turn:
        """Apply *change* to the stored journey (compare-and-set) and look at the step that is then due."""
        for _ in range(_TRIES):
            turn, held = await self.load(journey, visitor)
            stored = await self._swap(held, change(turn.journey))
            if stored is not None:
                return await self._again(turn, stored)
        raise StoreDown("journey kept changing under us")

    async def welcome(self, journey: str, visitor: Visitor) -> Turn:
        """The customer read where the link leads and goes on."""
        return await self.act(journey, visitor, lambda old: replace(old, welcomed=True))

    async def switch_customer(self, journey: str, visitor: Visitor) -> Turn:
        """Leave the running session on this browser so that somebody else can log in."""
        turn, held = await self.load(journey, visitor)
        changed = replace(turn.journey, welcomed=True, attempt=None)
        ops: list[Op] = [self._c.shelves.journeys.swap(changed.id, held, changed, JOURNEY_KEPT_S)]
        if visitor.session is not None:
            ops.append(self._c.shelves.sessions.drop(name_of(visitor.session)))
        await self._c.state.run(*ops)
        return await self.look(journey, replace(visitor, session=None))

    async def end(self, journey: str, visitor: Visitor, ending: Ending) -> Turn:
        """Close the journey; whoever comes back to it is led on."""
        turn, held = await self.load(journey, visitor)
        if turn.journey.ended is None:
            await self._swap(held, replace(turn.journey, ended=ending, attempt=None))
        return turn

    async def open(self, journey: str, visitor: Visitor, upstream: str) -> Opening:
        """
        The customer chose *upstream*.

        Raises:
            BadAsk: it may not serve this journey. Expired, WrongBrowser. TooMany.
        """
        turn, held = await self.load(journey, visitor, ignore_attempt=True)
        step = turn.step
        if not isinstance(step, Login):
            if isinstance(step, WrongCustomer):
                raise BadAsk("another customer is logged in", code="journey.wrong_customer")
            raise Spent("no login is due on this journey", step=type(step).__name__)
        if upstream not in {choice.upstream for choice in step.choices.may}:
            raise BadAsk("that way of logging in may not serve this", code="journey.upstream", upstream=upstream[:63])
        await self._may_open(visitor)
        ask = turn.journey.ask
        fresh = step.reason in {"login_asked", "too_old"}
        token = f"{turn.journey.id}.{self._c.tokens.random()}"
        hint = ask.login_hint if ask and ask.handoff is None and not (ask.login_hint or "").startswith("ho_") else None
        return Opening(held.value, token, step.need, fresh, ask.max_age_s if ask else None, hint)

    async def attempted(
        self, journey: str, visitor: Visitor, *, upstream: str, state: bytes, token: str, waits: bool
    ) -> Turn:
        """Remember the login that was opened at *upstream*; it replaces an earlier one."""
        now = self._c.now()
        attempt = Attempt(upstream, state, token, now, waits)
        return await self.act(journey, visitor, lambda old: replace(old, attempt=attempt, notice=None))

    async def attempt_failed(self, journey: str, visitor: Visitor, notice: str | None) -> Turn:
        """The attempt is over without a login; the customer may choose again."""
        return await self.act(journey, visitor, lambda old: replace(old, attempt=None, notice=notice))

    async def claim_callback(self, upstream: str, token: str, visitor: Visitor) -> tuple[Journey, bytes]:
        """
        A provider sent the browser back with *token*: of many callbacks with one token, one goes on.

        Returns: the journey and the connector's state.
        Raises:
            Spent: unknown, used before, or opened at another upstream. WrongBrowser.
        """
        journey_id, dot, _ = token.partition(".")
        if not dot or not is_id(journey_id) or len(token) > 200:
            raise Spent("callback state is not one of ours")
        (raw,) = await self._c.state.run(self._c.shelves.journeys.get(journey_id))
        held = self._c.shelves.journeys.read(journey_id, raw)
        if held is None:
            raise Expired("callback for a journey that is gone")
        journey = held.value
        self._check_browser(journey, visitor)
        attempt = journey.attempt
        if journey.ended is not None or attempt is None:
            raise Spent("callback for a journey that went on", code="journey.went_on")
        if attempt.token != token:
            raise Spent("callback state was replaced", code="callback.replayed")
        # security: not earlier, so that only the customer's own browser uses it up, and nobody fills the store with inventions.
        (first,) = await self._c.state.run(PutNew(f"used:{name_of(token)}", b"1", JOURNEY_KEPT_S))
        if not first:
            raise Spent("callback state was used before", code="callback.replayed")
        if attempt.upstream != upstream:
            # security: mix-up defence, RFC 9700 section 4.4: an answer of one provider at another's address
            raise Spent("callback at another upstream's address", code="callback.mixed_up")
        if self._c.now() >= journey.expires_at:
            raise Expired("journey expired at the provider", partner=journey.partner)
        return journey, attempt.state

    async def lease(self, journey: str, visitor: Visitor, *, pressed: bool = False) -> tuple[Journey, bytes] | None:
        """
        The right to ask the provider about the running attempt: one worker at a time.

        Args:
            pressed: a button was, which may open a login at the provider.
        Returns: journey and connector state for the one, None for all others.
        Raises: as `load`; TooMany.
        """
        if pressed:
            await self._may_open(visitor)
        now = self._c.now()
        turn, held = await self.load(journey, visitor)
        attempt = turn.journey.attempt
        if attempt is None or turn.journey.ended is not None or (attempt.busy_until and now < attempt.busy_until):
            return None
        leased = replace(turn.journey, attempt=replace(attempt, busy_until=now + _BUSY))
        return (leased, attempt.state) if await self._swap(held, leased) is not None else None

    async def pending(self, journey: str, visitor: Visitor, *, token: str, state: bytes) -> Turn:
        """The provider is not done: keep the connector's new *state* and give the lease back."""

        def change(old: Journey) -> Journey:
            if old.attempt is None or old.attempt.token != token:
                return old
            return replace(old, attempt=replace(old.attempt, state=state, busy_until=None))

        return await self.act(journey, visitor, change)

    async def prove(self, journey: str, visitor: Visitor, *, token: str, evidence: Evidence) -> Turn:
        """
        A provider proved who came: find or make the customer, open a new session, see what is due.

        The session id is always new (session fixation); the turn's ``token`` must be set as cookie.

        Raises:
            Spent: the attempt was replaced meanwhile. UpstreamRefused: the login is older than the partner accepts.
        """
        now = self._c.now()
        turn, held = await self.load(journey, visitor)
        if turn.journey.attempt is None or turn.journey.attempt.token != token:
            raise Spent("the attempt was replaced", code="journey.went_on")
        policy = self._c.policy()
        upstream = policy.config.upstreams[evidence.upstream]
        identity = accept(evidence, ceiling=upstream.ceiling, may_bootstrap=upstream.may_bootstrap_other_methods)
        if turn.journey.ask is not None:
            handoff = turn.handoff.value if turn.handoff else None
            _check_freshness(identity, need_of_ask(turn.journey.ask, handoff, policy, turn.journey.created_at))
        known = await self._customer_of(identity, turn.journey.language, now)
        customer = known.customer.id
        if evidence.proof is not None:
            await self._keep_proof(customer, evidence, now)
        opened = open_session(identity, customer=customer, language=turn.journey.language, now=now)
        session = _carry_over(replace(opened, subjects=known.subjects), turn.session)
        return await self._proved(turn, held, session, visitor)

    async def _proved(self, turn: Turn, held: Held[Journey], session: Session, visitor: Visitor) -> Turn:
        cookie = self._c.tokens.random()
        changed = replace(turn.journey, attempt=None, notice=None)
        sessions = self._c.shelves.sessions
        save = self._c.shelves.journeys.swap(changed.id, held, changed, JOURNEY_KEPT_S)
        ops: list[Op] = [save, sessions.put(name_of(cookie), session, self._session_ttl_s())]
        if visitor.session is not None:
            ops.append(sessions.drop(name_of(visitor.session)))
        swapped, *_ = await self._c.state.run(*ops)
        if not swapped:
            await self._c.state.run(sessions.drop(name_of(cookie)))
            raise Spent("the journey went on in another tab", code="journey.went_on")
        self._c.audit.note(
            "login.proved",
            customer=session.customer,
            partner=changed.partner,
            upstream=session.upstream,
            assurance=session.assurance.value,
            journey=changed.id,
            took_s={"begun_to_proved": (self._c.now() - changed.created_at).total_seconds()},
        )
        fresh = await self._turn(changed, replace(visitor, session=cookie), self._c.now())
        proved = replace(fresh, token=cookie, held=Held(changed, save.new))
        if isinstance(fresh.step, Login) and fresh.step.reason == "too_weak":
            return await self._noted(proved, "notice.too_weak")
        return proved

    async def _noted(self, turn: Turn, notice: str) -> Turn:
        """*turn*, whose next page says *notice*; where somebody else changed the journey meanwhile, it goes unsaid."""
        noted = replace(turn.journey, notice=notice)
        stored = await self._swap(turn.held, noted) if turn.held else None
        return replace(turn, journey=noted, held=stored) if stored else turn

    async def _customer_of(self, identity: Identity, language: str, now: datetime) -> KnownCustomer:
        new = self._c.tokens.id()
        profile = open_session(identity, customer=new, language=language, now=now).profile
        lookup = self._c.lookup.digest(identity.issuer, identity.subject)
        linked = LinkedIdentity(
            lookup=lookup,
            customer=new,
            upstream=identity.upstream,
            sealed_subject=self._c.sealer.seal(identity.subject.encode(), f"identity:{lookup}"),
            created_at=now,
            last_used_at=now,
        )
        known = await self._c.records.find_or_create_customer(
            linked, Customer(new, now, self._c.seal_profile(new, profile))
        )
        if known.is_new:
            self._c.audit.note("customer.created", customer=known.customer.id, upstream=identity.upstream)
        else:
            self._keep_up(known, profile, now)
        return known

    def _keep_up(self, known: KnownCustomer, profile: Profile, now: datetime) -> None:
        """Write beside the login what it changed: usually nothing."""
        customer = known.customer.id
        if not self._is_profile(known.customer, profile):
            fresh = self._c.seal_profile(customer, profile)
            self._c.audit.later(lambda: self._c.records.save_profile(customer, fresh))
        if now - known.identity.last_used_at > _MARK_USED_EVERY:
            self._c.audit.later(lambda: self._c.records.mark_used(known.identity.lookup, now))

    def _is_profile(self, customer: Customer, profile: Profile) -> bool:
        """Whether *profile* is what is stored; what does not open (an older key) is written anew."""
        try:
            return customer.profile is not None and self._c.open_profile(customer.id, customer.profile) == profile
        except Broken:
            return False

    async def _keep_proof(self, customer: str, evidence: Evidence, now: datetime) -> None:
        proof = self._c.tokens.id()
        retention = self._c.policy().broker.retention.proof
        sealed = self._c.sealer.seal(evidence.proof or b"", f"proof:{proof}")
        await self._c.records.add_proof(ProofRecord(proof, customer, evidence.upstream, sealed, now, now + retention))

    def _new_journey(
        self,
        partner: str,
        visitor: Visitor,
        now: datetime,
        *,
        ask: Ask | None = None,
        handoff: str | None = None,
    ) -> Journey:
        return Journey(
            id=self._c.tokens.id(),
            browser=name_of(visitor.browser) if visitor.browser else "",
            csrf=self._c.tokens.random(),
            partner=partner,
            language=visitor.language,
            created_at=now,
            expires_at=now + self._c.policy().broker.lifetimes.journey,
            ask=ask,
            handoff=handoff,
        )

    async def _store_new(self, turn: Turn, visitor: Visitor) -> Turn:
        browser = visitor.browser or self._c.tokens.random()
        journey = replace(turn.journey, browser=name_of(browser))
        limit = self._counted("journeys", visitor)
        _, count = await self._c.state.run(self._c.shelves.journeys.put_new(journey.id, journey, JOURNEY_KEPT_S), limit)
        if count > _JOURNEYS_PER_MINUTE:
            raise TooMany("journeys per address", retry_after_s=60, code="rate.journeys")
        return replace(turn, journey=journey, browser=browser)

    def _counted(self, what: str, visitor: Visitor) -> Count:
        address = self._c.lookup.digest("address", neighbourhood(visitor.address))
        return Count(f"rate:{what}:{address[:32]}", 60)

    async def _may_open(self, visitor: Visitor) -> None:
        (count,) = await self._c.state.run(self._counted("opened", visitor))
        if count > _OPENED_PER_MINUTE:
            raise TooMany("logins opened per address", retry_after_s=60, code="rate.opened")

    async def load(self, journey: str, visitor: Visitor, *, ignore_attempt: bool = False) -> tuple[Turn, Held[Journey]]:
        """As `look`, with the stored journey for a later compare-and-set."""
        if not is_id(journey):
            raise Expired("not the id of a journey")
        shelves = self._c.shelves
        ops: list[Op] = [shelves.journeys.get(journey)]
        if visitor.session is not None:
            ops.append(shelves.sessions.get(name_of(visitor.session)))
        raw, *rest = await self._c.state.run(*ops)
        held = shelves.journeys.read(journey, raw)
        if held is None:
            raise Expired("no such journey")
        self._check_browser(held.value, visitor)
        now = self._c.now()
        session = self._live(visitor, rest[0] if rest else None, now)
        seen = replace(held.value, attempt=None) if ignore_attempt else held.value
        turn = await self._turn_with(seen, session, now)
        return replace(turn, browser_session=visitor.session, held=held), held

    async def _turn(self, journey: Journey, visitor: Visitor, now: datetime) -> Turn:
        """Where a journey that is not stored (or just was) stands; session and handoff in one round trip."""
        shelves = self._c.shelves
        ops: list[Op] = []
        if visitor.session is not None:
            ops.append(shelves.sessions.get(name_of(visitor.session)))
        handoff_id = _handoff_of(journey)
        if handoff_id is not None:
            ops.append(shelves.handoffs.get(handoff_id))
        results: list[Any] = list(await self._c.state.run(*ops)) if ops else []
        session = self._live(visitor, results.pop(0) if visitor.session is not None else None, now)
        handoff = shelves.handoffs.read(handoff_id, results.pop(0)) if handoff_id is not None else None
        return replace(await self._decide(journey, session, handoff, now), browser_session=visitor.session)

    async def _turn_with(self, journey: Journey, session: Held[Session] | None, now: datetime) -> Turn:
        handoff_id = _handoff_of(journey)
        handoff: Held[Handoff] | None = None
        if handoff_id is not None:
            (raw,) = await self._c.state.run(self._c.shelves.handoffs.get(handoff_id))
            handoff = self._c.shelves.handoffs.read(handoff_id, raw)
        return await self._decide(journey, session, handoff, now)

    async def _decide(
        self, journey: Journey, session: Held[Session] | None, handoff: Held[Handoff] | None, now: datetime
    ) -> Turn:
        about("journey", journey.id)
        if journey.ask is not None and handoff is not None:
            handoff = handoff if redeemable(handoff.value, self._c.policy(), now) else None
        step = self._step(journey, session, handoff, (), now)
        if isinstance(step, AskConsent) and session is not None:
            records = await self._c.records.live_consents(session.value.customer, now)
            step = self._step(journey, session, handoff, [consent_of(record) for record in records], now)
            handoff = await self._bind(handoff, session.value, now)
        return Turn(journey, step, session, handoff)

    async def _bind(self, handoff: Held[Handoff] | None, session: Session, now: datetime) -> Held[Handoff] | None:
        """The right customer stands before her handoff: remember that, once."""
        if handoff is None or handoff.value.bound_to is not None:
            return handoff
        bound = handoffs.bind(handoff.value, session)
        shelf = self._c.shelves.handoffs
        ttl_s = max(60.0, (bound.expires_at - now).total_seconds() + HANDOFF_AFTERLIFE_S)
        op = shelf.swap(bound.id, handoff, bound, ttl_s)
        (swapped,) = await self._c.state.run(op)
        if swapped:
            return Held(bound, op.new)
        (raw,) = await self._c.state.run(shelf.get(bound.id))
        return shelf.read(bound.id, raw)

    def _step(
        self,
        journey: Journey,
        session: Held[Session] | None,
        handoff: Held[Handoff] | None,
        consents: Sequence[Consent],
        now: datetime,
    ) -> Step:
        return next_step(
            journey,
            session=session.value if session else None,
            handoff=handoff.value if handoff else None,
            consents=consents,
            policy=self._c.policy(),
            available=self._c.available(),
            now=now,
        )

    async def _again(self, turn: Turn, held: Held[Journey]) -> Turn:
        again = await self._decide(held.value, turn.session, turn.handoff, self._c.now())
        return replace(again, browser_session=turn.browser_session, held=held)

    async def _swap(self, held: Held[Journey], changed: Journey) -> Held[Journey] | None:
        """Save *changed* in place of *held*; None when somebody else was faster."""
        op = self._c.shelves.journeys.swap(changed.id, held, changed, JOURNEY_KEPT_S)
        (swapped,) = await self._c.state.run(op)
        return Held(changed, op.new) if swapped else None

    def _live(self, visitor: Visitor, raw: Any, now: datetime) -> Held[Session] | None:
        if visitor.session is None:
            return None
        held = self._c.shelves.sessions.read(name_of(visitor.session), raw)
        times = self._c.policy().broker.lifetimes
        if held is None or not is_alive(held.value, now=now, idle=times.session_idle, absolute=times.session):
            return None
        return held

    def _session_ttl_s(self) -> float:
        return self._c.policy().broker.lifetimes.session.total_seconds()

    @staticmethod
    def _check_browser(journey: Journey, visitor: Visitor) -> None:
        """security: a journey goes on only in the browser that began it (login CSRF, session fixation; RFC 9700 section 4.7)."""
        if visitor.browser is None or name_of(visitor.browser) != journey.browser:
            if visitor.browser is None:
                raise WrongBrowser("browser sent no cookie", code="browser.no_cookie", partner=journey.partner)
            raise WrongBrowser("journey belongs to another browser", partner=journey.partner)

    async def _with_hinted_customer(self, ask: Ask) -> Ask:
        """*ask* knowing whom its ``id_token_hint`` was given about: the session may not know that subject yet."""
        if ask.hinted_subject is None:
            return ask
        sector = self._c.policy().sector(ask.partner)
        return replace(ask, hinted_customer=await self._c.records.customer_of_subject(sector, ask.hinted_subject))


def _handoff_of(journey: Journey) -> str | None:
    return journey.handoff or (journey.ask.handoff if journey.ask else None)


def _silent_refusal(step: Step) -> NeedsCustomer:
    match step:
        case Refuse():
            return NeedsCustomer(step.reason, oauth_error=step.error)
        case AskConsent():
            return NeedsCustomer("consent is due", oauth_error="consent_required")
        case Login():
            return NeedsCustomer(f"login is due: {step.reason}", oauth_error="login_required")
        case _:
            return NeedsCustomer(f"a step is due: {type(step).__name__}", oauth_error="interaction_required")


def _check_freshness(identity: Identity, need: Need) -> None:
    """A provider that could not be made to authenticate anew must not be passed off as if it had (docs/security.md A13)."""
    if staleness(identity, need) is not None:
        raise UpstreamRefused("the login at the provider is older than max_age", code="upstream.stale_login")


def _carry_over(new: Session, old: Held[Session] | None) -> Session:
    """Keep subjects and sids of the same customer's earlier session, so that logout still reaches those partners."""
    if old is None or old.value.customer != new.customer:
        return new
    return replace(new, subjects={**old.value.subjects, **new.subjects}, sids=old.value.sids)
