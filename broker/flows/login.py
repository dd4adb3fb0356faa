"""
A login, from a partner's request or a handoff link to the way out.

`Logins` keeps journeys and sessions. Its callers are edges: downstream begins, pages look and act, upstream opens attempts
and brings evidence. Each returns a `Turn`: the journey and the step that is due, for the hub to carry out.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from broker.core import handoff as handoffs
from broker.core.changing import replace
from broker.core.consent import Consent, Wish, covering
from broker.core.device import device_of
from broker.core.discreet import Discreet
from broker.core.handoff import Handoff
from broker.core.identity import Evidence, Identity, accept
from broker.core.journey import (
    Answer,
    Ask,
    AskConsent,
    AskLink,
    Attempt,
    Away,
    Ending,
    Errand,
    Journey,
    Login,
    Refuse,
    Step,
    WrongCustomer,
    by_consents,
    describe,
    narrowed,
    need_of_ask,
    next_step,
    open_question,
    redeemable,
)
from broker.core.linking import Question, Rule, joined
from broker.core.logout import Why
from broker.core.memory import DeviceRecord
from broker.core.naming import is_id, name_of
from broker.core.session import (
    Need,
    Profile,
    Session,
    is_alive,
    open_session,
    staleness,
    with_all_known,
    with_consent,
)
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
from broker.flows.context import Context, consent_of, withdrawn_key
from broker.flows.devices import Devices
from broker.flows.links import Links, shut
from broker.flows.sessions import Sessions
from broker.flows.values import HANDOFF_AFTERLIFE_S, PostedAnswer, Proven, Visitor
from broker.observe.logging import log
from broker.observe.telemetry import about
from broker.stores.ports import Customer, Drop, Get, KnownCustomer, Op, ProofRecord, PutNew, Take
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

_POSTED_PER_MINUTE = 300
"""Answers that providers' pages post through browsers, per network address."""

_POSTED_KEPT_S = 60.0
"""The browser comes at once to fetch what was posted; whoever does not starts again."""

_TRIES = 60
"""Compare-and-set loops end by themselves: each round somebody else got on. More than anybody does at once."""

_AS_HERSELF = frozenset({"too_weak", "aged", "too_old", "renewal"})
"""Why somebody who is logged in has to log in, as the same customer."""

_MARK_USED_EVERY = timedelta(days=1)
"""How exact "last used" is; a write at every login would be the costliest part of it."""


class Turn(Struct, frozen=True):
    """
    Where a journey stands. ``session``: the live session, ``browser_session`` its cookie value.

    ``handoff``: as stored now, None when the journey has none. ``token``, ``browser`` and ``device``: new cookie values the
    answer must set. ``held``: the journey as stored, None while it is not: see `Logins.keep`. ``remembered``: what the browser
    was used for before. ``kept``: the optional fields that she just said yes to; nothing else goes out, by whatever consent.
    """

    journey: Journey
    step: Step
    session: Held[Session] | None
    handoff: Held[Handoff] | None = None
    token: str | None = None
    browser: str | None = None
    browser_session: str | None = None
    held: Held[Journey] | None = None
    device: str | None = None
    remembered: DeviceRecord | None = None
    kept: frozenset[str] | None = None


class Opening(Discreet, frozen=True):
    """
    A login may be opened at an upstream. ``token``: what its callback must bring; ``fresh``: authenticate anew.

    ``login_hint``: the partner's, for the provider to make of what it will. ``is_repeated``: somebody is opening the very same.
    ``mark``: that this one is; empty where nothing is opened once. ``personal_number``: of who is logged in and asked for more.
    """

    UNSPOKEN = frozenset({"personal_number"})

    turn: Turn
    token: str
    need: Need
    fresh: bool
    max_age_s: int | None
    login_hint: str | None
    is_repeated: bool = False
    mark: str = ""
    personal_number: str | None = None


class Claim(Struct, frozen=True):
    """
    The right to take a provider's answer to ``attempt``. ``held``: the journey it belongs to, ``session``: what its browser
    brought, both as stored when it was claimed. ``posted``: the answer, where it came by `Logins.keep_posted`. ``remembered``:
    what the browser was used for before.
    """

    held: Held[Journey]
    attempt: Attempt
    session: Held[Session] | None
    posted: Mapping[str, str] | None = None
    remembered: DeviceRecord | None = None

    @property
    def journey(self) -> Journey:
        """The journey the answer belongs to."""
        return self.held.value


class _Move(Struct, frozen=True):
    """
    What a proven login does to its journey: ``held`` and ``session`` as they were, ``change``, and whether it still ``holds``
    where somebody else changed the journey meanwhile.
    """

    held: Held[Journey]
    session: Held[Session] | None
    remembered: DeviceRecord | None
    change: Callable[[Journey], Journey]
    holds: Callable[[Journey], bool]

    @property
    def journey(self) -> Journey:
        """The journey as it was."""
        return self.held.value


class _Settled(Struct, frozen=True):
    """``held``: the journey as it is stored now. ``told``: the results of what was asked of the store along with it."""

    held: Held[Journey]
    told: Sequence[Any]


class Logins:
    """The flow; one per process. *links*: who asks whether a login is hers as well; its own where none is given."""

    def __init__(self, context: Context, links: Links | None = None) -> None:
        self._c = context
        self._sessions = Sessions(context)
        self._devices = Devices(context)
        self._links = links or Links(context)

    def now(self) -> datetime:
        """The time, aware UTC."""
        return self._c.now()

    async def begin(self, ask: Ask, visitor: Visitor) -> Turn:
        """
        A partner asks for a login. Nothing is stored yet: with a session that serves it nothing ever is; else see `keep`.

        Raises:
            NeedsCustomer: ``prompt=none`` and a step is due. StoreDown, Denied.
        """
        now = self._c.now()
        journey = self._new_journey(ask.partner, visitor, now, ask=await self._with_hinted_customer(ask))
        return self._begun(await self._turn(journey, visitor, now), ask, visitor)

    def _begun(self, turn: Turn, ask: Ask, visitor: Visitor) -> Turn:
        if isinstance(turn.step, Answer):
            return turn
        if "none" in ask.prompt or isinstance(turn.step, Refuse):
            raise _silent_refusal(turn.step)
        return self._bound(turn, visitor)

    async def begin_handoff(self, handoff: str, recipient: str, visitor: Visitor) -> Turn:
        """
        A customer follows a handoff link. Nothing is stored or changed yet.

        Raises: Expired when its record is gone. Spent when it is not for *recipient*.
        """
        now = self._c.now()
        journey = self._new_journey(recipient, visitor, now, handoff=handoff)
        turn = await self._turn(journey, visitor, now)
        if turn.handoff is None:
            raise Expired("handoff record is gone")
        if turn.handoff.value.recipient != recipient:
            raise Spent("handle does not fit its handoff", code="handoff.foreign")
        return self._bound(turn, visitor)

    async def begin_own(self, visitor: Visitor, errand: Errand = Errand.LOOK, *, back: str = "") -> Turn:
        """
        Somebody wants to see the broker's own pages. Nothing is stored yet.

        Args:
            back: the path of ours where she goes on; empty for "What I share".
        """
        now = self._c.now()
        journey = replace(self._new_journey("", visitor, now), errand=errand, back=back)
        return self._bound(await self._turn(journey, visitor, now), visitor)

    async def keep(self, turn: Turn, visitor: Visitor, attempt: Attempt | None = None) -> Turn:
        """
        Store a journey that just began, so that the customer can come back to it; one that is stored stays as it is.

        Args:
            attempt: the login that was opened for it already.
        Raises: TooMany, StoreDown.
        """
        if turn.held is not None or turn.browser is None:
            return turn
        journey = replace(turn.journey, attempt=attempt)
        if isinstance(turn.step, Login) and not turn.step.choices.may:
            log("login.no_way", "warning", partner=journey.partner, **describe(turn.step))
        save = self._c.shelves.journeys.put_new(journey.id, journey, JOURNEY_KEPT_S)
        ops: list[Op] = [save, self._c.counted("journeys", visitor.address)]
        if attempt is not None:
            ops.append(self._c.counted("opened", visitor.address))
        _, begun, *opened = await self._c.state.run(*ops)
        if begun > _JOURNEYS_PER_MINUTE or (opened and opened[0] > _OPENED_PER_MINUTE):
            # security: nobody fills the store, which is everybody's, with journeys that are refused
            await self._c.state.run(self._c.shelves.journeys.drop(journey.id))
            what = "journeys" if begun > _JOURNEYS_PER_MINUTE else "opened"
            raise TooMany(f"{what} per address", retry_after_s=60, code=f"rate.{what}")
        return replace(turn, journey=journey, held=Held(journey, save.value))

    async def look(self, journey: str, visitor: Visitor, *, trusts_session: bool = True) -> Turn:
        """
        The step that is due on an existing journey.

        Args:
            trusts_session: a consent that her session keeps in mind is not asked about: whoever acts on it finds out.
        Raises:
            Expired: no such journey (any more). WrongBrowser: it belongs to another browser.
        """
        held, session, rest = await self._seen(journey, visitor, *self._devices.recall(visitor))
        handoff = await self._handoff_behind(held.value)
        remembered = self._devices.read(visitor, rest)
        turn = await self._decide(
            held.value, session, handoff, self._c.now(), visitor.session, remembered, trusts_session=trusts_session
        )
        return replace(turn, held=held)

    async def reconsider(self, turn: Turn, visitor: Visitor) -> Turn:
        """
        The step that is due in place of the *turn*'s, whose consent turned out to be withdrawn before anything happened.

        Raises: as `begin`, for a journey that is not stored.
        """
        again = await self._decide(
            turn.journey,
            turn.session,
            turn.handoff,
            self._c.now(),
            turn.browser_session,
            turn.remembered,
            trusts_session=False,
        )
        step = again.step if turn.kept is None else narrowed(again.step, turn.kept)
        due = replace(turn, step=step, session=again.session, handoff=again.handoff)
        ask = turn.journey.ask
        return due if turn.held is not None or ask is None else self._begun(due, ask, visitor)

    async def act(self, journey: str, visitor: Visitor, change: Callable[[Journey], Journey]) -> Turn:
        """Apply *change* to the stored journey (compare-and-set) and look at the step that is then due."""
        return await self._act(await self.look(journey, visitor), visitor, change)

    async def _act(self, turn: Turn, visitor: Visitor, change: Callable[[Journey], Journey]) -> Turn:
        """As `act`, from *turn* on, which was looked at a moment ago."""
        for _ in range(_TRIES):
            if turn.held is not None and (stored := await self._swap(turn.held, change(turn.journey))) is not None:
                return await self._redecided(turn, stored.value, stored)
            turn = await self.look(turn.journey.id, visitor)
        raise StoreDown("journey kept changing under us")

    async def welcome(self, journey: str, visitor: Visitor) -> Turn:
        """The customer read where the link leads and goes on."""
        return await self.act(journey, visitor, lambda old: replace(old, welcomed=True))

    async def switch_customer(self, journey: str, visitor: Visitor) -> Turn:
        """Leave the running session on this browser so that somebody else can log in."""
        held, session, _ = await self._seen(journey, visitor)
        changed = replace(held.value, welcomed=True, attempt=None)
        if visitor.session is not None and session is not None:
            await self._sessions.end(name_of(visitor.session), session.value, why=Why.REPLACED)
        await self._c.state.run(self._c.shelves.journeys.swap(changed.id, held, changed, JOURNEY_KEPT_S))
        return await self.look(journey, replace(visitor, session=None))

    async def end(self, journey: str, visitor: Visitor, ending: Ending) -> Turn:
        """Close the journey; whoever comes back to it is led on."""
        turn = await self.look(journey, visitor)
        if turn.held is not None and turn.journey.ended is None:
            await self._swap(turn.held, replace(turn.journey, ended=ending, attempt=None))
        return turn

    async def forget_device(self, visitor: Visitor) -> None:
        """The browser is to be known no more; its cookie is the caller's to remove."""
        await self._devices.forget(visitor)

    async def open(self, turn: Turn, visitor: Visitor, upstream: str, *, once: str | None = None) -> Opening:
        """
        The customer chose *upstream*; what it answers goes to `attempted`.

        Args:
            once: what is opened there; of many at once from where the journey stands, one is no repetition.
        Raises:
            BadAsk: it may not serve this journey. Spent: no login is due. TooMany.
        """
        step = (await self.idle(turn)).step
        if not isinstance(step, Login):
            if isinstance(step, WrongCustomer):
                raise BadAsk("another customer is logged in", code="journey.wrong_customer")
            raise Spent("no login is due on this journey", step=type(step).__name__)
        if upstream not in {choice.upstream for choice in step.choices.may}:
            known = upstream if upstream in self._c.policy().config.upstreams else None
            raise BadAsk("that way of logging in may not serve this", code="journey.upstream", upstream=known)
        mark = self._opening(turn.held, f"{upstream} {once}") if turn.held is not None and once else ""
        is_repeated = turn.held is not None and not await self._may_open(visitor, mark)
        log("login.chosen", upstream=upstream, partner=turn.journey.partner, **describe(step))
        ask = turn.journey.ask
        hint = ask.login_hint if ask and ask.handoff is None and not (ask.login_hint or "").startswith("ho_") else None
        return Opening(
            turn,
            self._callback_token(turn.journey),
            step.need,
            fresh=step.reason in {"login_asked", "too_old", "renewal", "aged", "renew_anew"},
            max_age_s=ask.max_age_s if ask else None,
            login_hint=hint,
            is_repeated=is_repeated,
            mark=mark,
            personal_number=_expected(turn, step),
        )

    async def not_opened(self, mark: str) -> None:
        """Nothing came of an `Opening`: the next press is no repetition; where the store cannot be told, one a little later."""
        if mark:
            with suppress(StoreDown):
                await self._c.state.run(Drop(mark))

    async def attempted(
        self,
        opening: Opening,
        visitor: Visitor,
        *,
        upstream: str,
        state: bytes,
        waits: bool,
        away: Away | None = None,
    ) -> Turn:
        """
        Remember the login that was opened at *upstream*, and the form by which she goes *away* to it; it replaces an earlier one.

        Raises: TooMany, for a journey that is stored only now.
        """
        attempt = Attempt(upstream, state, opening.token, self._c.now(), waits, away=away)
        turn = opening.turn
        if turn.held is None:
            return await self.keep(turn, visitor, attempt)
        return await self._act(turn, visitor, lambda old: replace(old, attempt=attempt, notice=None))

    async def attempt_failed(self, journey: str, visitor: Visitor, notice: str | None) -> Turn:
        """The attempt is over without a login; the customer may choose again."""
        return await self.act(journey, visitor, lambda old: replace(old, attempt=None, notice=notice))

    async def idle(self, turn: Turn) -> Turn:
        """*turn* as if no login were open, with what she may choose from; nothing is stored."""
        if turn.journey.attempt is None:
            return turn
        return await self._redecided(turn, replace(turn.journey, attempt=None))

    async def disowned(self, journey: str, is_of: Callable[[Attempt], bool], notice: str) -> Attempt | None:
        """
        End the login at *journey* that *is_of* knows, for somebody who need not sit at the browser that began it.

        Returns: what is over now; None when there is no such login (any more).
        """
        for _ in range(_TRIES):
            (raw,) = await self._c.state.run(self._c.shelves.journeys.get(journey)) if is_id(journey) else (None,)
            held = self._c.shelves.journeys.read(journey, raw)
            attempt = held.value.attempt if held is not None else None
            if held is None or attempt is None or held.value.ended is not None or not is_of(attempt):
                return None
            if await self._swap(held, replace(held.value, attempt=None, notice=notice)) is not None:
                return attempt
        raise StoreDown("journey kept changing under us")

    async def keep_posted(self, token: str, answer: Mapping[str, str], visitor: Visitor, *, largest: int) -> None:
        """
        A provider's page posted *answer* with *token* from its own site, where browsers keep our cookies back: it is kept,
        sealed and for a minute, until the browser comes with them (`claim_callback`). What no login waits for is not kept.

        Args:
            largest: characters of all members.
        Raises:
            Spent: not a token of ours. BadAsk: too large. TooMany.
        """
        journey_id = token.partition(".")[0]
        if not is_id(journey_id) or len(token) > 200:
            raise Spent("callback state is not one of ours")
        if sum(len(name) + len(value) for name, value in answer.items()) > largest:
            raise BadAsk("the provider's form is too large", code="params.size")
        shelf, name = self._c.shelves.posted, name_of(token)
        raw, count, is_kept = await self._c.state.run(
            self._c.shelves.journeys.get(journey_id),
            self._c.counted("posted", visitor.address),
            shelf.put_new(name, PostedAnswer(answer), _POSTED_KEPT_S),
        )
        held = self._c.shelves.journeys.read(journey_id, raw)
        is_awaited = held is not None and held.value.attempt is not None and held.value.attempt.token == token
        if is_kept and (count > _POSTED_PER_MINUTE or not is_awaited):
            # security: nobody fills the store with answers to logins that nobody began
            await self._c.state.run(shelf.drop(name))
        if count > _POSTED_PER_MINUTE:
            raise TooMany("posted answers per address", retry_after_s=60, code="rate.posted")

    async def claim_callback(self, upstream: str, token: str, visitor: Visitor, *, posted: bool = False) -> Claim:
        """
        A provider sent the browser back with *token*: of many callbacks with one token, one goes on.

        Args:
            posted: the answer was posted before and is fetched now; the claim holds it, or None when it is gone.
        Raises:
            Spent: unknown, used before, or opened at another upstream. WrongBrowser.
        """
        journey_id = token.partition(".")[0]
        if not is_id(journey_id) or len(token) > 200:
            raise Spent("callback state is not one of ours")
        # security: used up only by the browser it was made for, which the token itself proves: nobody else can use it up, and
        # nobody fills the store with inventions.
        name, once = name_of(token), list[Op]()
        if self._is_made_for(visitor, token):
            once.append(PutNew(f"used:{name}", b"1", JOURNEY_KEPT_S))
            if posted:
                once.append(Take(self._c.shelves.posted.key(name)))
        held, session, first = await self._seen(journey_id, visitor, *once, *self._devices.recall(visitor))
        attempt = held.value.attempt
        if held.value.ended is not None or attempt is None:
            raise Spent("callback for a journey that went on", code="journey.went_on")
        if attempt.token != token:
            raise Spent("callback state was replaced", code="callback.replayed")
        if first[:1] != [True]:
            raise Spent("callback state was used before", code="callback.replayed")
        if attempt.upstream != upstream:
            # security: mix-up defence, RFC 9700 section 4.4: an answer of one provider at another's address
            raise Spent("callback at another upstream's address", code="callback.mixed_up")
        if self._c.now() >= held.value.expires_at:
            raise Expired("journey expired at the provider", partner=held.value.partner)
        answer = self._c.shelves.posted.read(name, first[1]) if posted else None
        remembered = self._devices.read(visitor, first[len(once) :])
        return Claim(held, attempt, session, answer.value.members if answer else None, remembered)

    def _callback_token(self, journey: Journey) -> str:
        """What a provider's callback must bring back: the journey's id, something random, and a proof that we made it."""
        random = self._c.tokens.id()
        return f"{journey.id}.{random}.{self._proof(journey.id, random, journey.browser)}"

    def _is_made_for(self, visitor: Visitor, token: str) -> bool:
        journey, _, rest = token.partition(".")
        random, _, proof = rest.partition(".")
        if visitor.browser is None or not proof.isascii():
            return False
        return hmac.compare_digest(proof, self._proof(journey, random, name_of(visitor.browser)))

    def _proof(self, journey: str, random: str, browser: str) -> str:
        return self._c.lookup.digest("callback", journey, random, browser)[:32]

    async def lease(self, journey: str, visitor: Visitor, *, pressed: bool = False) -> Claim | None:
        """
        The right to ask the provider about the running attempt: one worker at a time.

        Args:
            pressed: a button was, which may open a login at the provider.
        Returns: None for all but the one.
        Raises: as `look`; TooMany.
        """
        if pressed:
            await self._count_opening(visitor)
        now = self._c.now()
        held, session, rest = await self._seen(journey, visitor, *self._devices.recall(visitor))
        attempt = held.value.attempt
        if attempt is None or held.value.ended is not None or (attempt.busy_until and now < attempt.busy_until):
            return None
        leased = await self._swap(held, replace(held.value, attempt=replace(attempt, busy_until=now + _BUSY)))
        remembered = self._devices.read(visitor, rest)
        return Claim(leased, attempt, session, remembered=remembered) if leased is not None else None

    async def pending(self, claim: Claim, visitor: Visitor, *, state: bytes) -> Turn:
        """The provider is not done: keep the connector's new *state* and give the lease back."""

        def change(old: Journey) -> Journey:
            if old.attempt is None or old.attempt.token != claim.attempt.token:
                return old
            unheard = None if old.attempt.brought == claim.attempt.brought else old.attempt.brought
            return replace(old, attempt=replace(old.attempt, state=state, busy_until=None, brought=unheard))

        return await self.act(claim.journey.id, visitor, change)

    async def brought(self, turn: Turn, visitor: Visitor, data: Mapping[str, str]) -> Turn:
        """An app came back with *data* while a worker was asking: kept for whoever asks next, for it comes only once."""
        seen = turn.journey.attempt

        def change(old: Journey) -> Journey:
            if old.attempt is None or seen is None or old.attempt.token != seen.token:
                return old
            return replace(old, attempt=replace(old.attempt, brought=data))

        return await self.act(turn.journey.id, visitor, change)

    async def prove(self, claim: Claim, visitor: Visitor, *, evidence: Evidence) -> Turn:
        """
        A provider proved who came: find or make the customer, open a new session, see what is due.

        The session id is always new (session fixation); the turn's ``token`` must be set as cookie.

        Raises:
            Spent: the attempt was replaced meanwhile. UpstreamRefused: the login is older than the partner accepts, or by
                something that its customer has given up meanwhile.
        """
        now, journey = self._c.now(), claim.journey
        policy = self._c.policy()
        upstream = policy.config.upstreams[evidence.upstream]
        identity = accept(evidence, ceiling=upstream.ceiling, may_bootstrap=upstream.may_bootstrap_other_methods)
        handoff = self._still_redeemable(journey, await self._handoff_behind(journey), now)
        if journey.ask is not None:
            need = need_of_ask(journey.ask, handoff.value if handoff else None, policy, journey.created_at)
            _check_freshness(identity, need)
        running = claim.session.value if claim.session is not None else None
        proven, move = Proven(identity, evidence.proof), _move_of(claim)
        question = open_question(journey, running, now)
        if question is not None and question.is_confirmed:
            if (turn := await self._renewed(move, visitor, handoff, question, proven)) is not None:
                return turn
            move = replace(move, change=_other_than_asked)
        met = await self._links.meet(identity, journey, running, now)
        if isinstance(met, Question):
            return await self._asked(move, visitor, handoff, met, proven)
        if met is not None and (other := self._links.other_number(identity, met, running, now)) is not None:
            return await self._asked(move, visitor, handoff, other, proven)
        known = await self._customer_of(identity, journey.language, now, met)
        session = _carry_over(await self._session_of(proven, known, journey, visitor), claim.session)
        turn = await self._proved(move, handoff, session, visitor)
        if identity.is_of_known:
            await self._check_not_removed(known.identity.lookup, turn, session)
        return turn

    async def join(self, journey: str, visitor: Visitor) -> Turn:
        """
        She says that the login she just proved is hers as well.

        Where a side was proven too long ago she is to log in there once more first. A repeated answer gives the journey as it
        stands.

        Raises: StoreDown; then nothing happened, and she may answer again.
        """
        turn = await self.look(journey, visitor)
        if not isinstance(turn.step, AskLink) or turn.held is None or not turn.step.question.may_join:
            return turn
        question = turn.step.question
        if question.renew:
            return await self._act(turn, visitor, lambda old: _confirmed(old, question))
        if turn.session is None:
            return turn
        move = _answer_to(question, turn.held, turn)
        linked = await self._link(question, move, turn.session.value, visitor)
        if linked is None:
            return await self.look(journey, visitor)
        known, proven = linked
        if isinstance(known, Question):
            return await self._asked(move, visitor, turn.handoff, known, proven)
        session = await self._session_after(proven, known, turn.session.value, turn.journey, visitor)
        return await self._proved(move, turn.handoff, session, visitor)

    async def keep_apart(self, journey: str, visitor: Visitor) -> Turn:
        """
        She says that the login she just proved stays apart: she goes on by it, as whoever it belongs to.

        Where she was about to add a way, she goes on as before instead.
        """
        turn = await self.look(journey, visitor)
        if not isinstance(turn.step, AskLink) or turn.held is None:
            return turn
        question = turn.step.question
        if turn.journey.is_adding and question.rule is not Rule.BELONGS_TO_ANOTHER:
            return await self._stayed(turn, visitor, question)
        taken = await self._links.take(question)
        if taken.proven is None:
            return await self._unanswered(turn, visitor, question, is_busy=taken.is_busy)
        identity = taken.proven.identity
        try:
            met = await self._c.records.known_customer(self._links.lookup(identity))
            known = await self._customer_of(identity, turn.journey.language, self._c.now(), met)
        except StoreDown:
            await self._links.give_back(question, taken.proven)
            raise
        self._links.kept_apart(question, known.customer.id)
        session = await self._session_of(taken.proven, known, turn.journey, visitor)
        move = _answer_to(question, turn.held, turn)
        return await self._proved(move, turn.handoff, _carry_over(session, turn.session), visitor)

    async def stay(self, journey: str, visitor: Visitor) -> Turn:
        """She goes on as who she was before: what she proved meanwhile is forgotten."""
        turn = await self.look(journey, visitor)
        return await self._stayed(turn, visitor, turn.step.question) if isinstance(turn.step, AskLink) else turn

    async def _stayed(self, turn: Turn, visitor: Visitor, question: Question) -> Turn:
        await self._c.state.run(*self._links.forget(question))
        return await self._act(turn, visitor, lambda old: _unlinked(old) if old.link == question else old)

    async def _unanswered(self, turn: Turn, visitor: Visitor, question: Question, *, is_busy: bool) -> Turn:
        """The login the question was about is being answered for in another tab, or is kept no longer."""
        if is_busy:
            return await self.look(turn.journey.id, visitor)
        late = "notice.link_expired"
        return await self._act(
            turn, visitor, lambda old: replace(old, link=None, notice=late) if old.link == question else old
        )

    async def _asked(
        self, move: _Move, visitor: Visitor, handoff: Held[Handoff] | None, question: Question, proven: Proven
    ) -> Turn:
        """The login is kept, and nothing else happens to anybody before she answered *question*."""
        asking = replace(move, change=lambda old: replace(old, attempt=None, notice=None, link=question))
        settled = await self._settled(asking, visitor, self._links.keep(question, proven))
        if settled is None:
            await self._c.state.run(*self._links.forget(question))
            raise Spent("the journey went on in another tab", code="journey.went_on")
        held = settled.held
        self._links.asked(question, held.value)
        turn = await self._decide(held.value, move.session, handoff, self._c.now(), visitor.session, move.remembered)
        return replace(turn, held=held)

    async def _renewed(
        self, move: _Move, visitor: Visitor, handoff: Held[Handoff] | None, question: Question, proven: Proven
    ) -> Turn | None:
        """
        She said that the login *question* is about is hers as well, and now logged in as the customer it is to join.

        Returns: None when she did not: then this is a login as any other.
        """
        known = await self._c.records.known_customer(self._links.lookup(proven.identity))
        if known is None or known.customer.id != question.customer or known.blocked is not None:
            return None
        session = _carry_over(await self._session_of(proven, known, move.journey, visitor), move.session)
        linked = await self._link(question, move, session, visitor)
        if linked is None or isinstance(linked[0], Question):
            # What she had proven before is kept no longer, or somebody was faster: she is in all the same.
            return await self._proved(replace(move, change=_too_late), handoff, session, visitor)
        whole = await self._session_after(linked[1], linked[0], session, move.journey, visitor)
        return await self._proved(replace(move, change=_unlinked), handoff, whole, visitor)

    async def _link(
        self, question: Question, move: _Move, session: Session, visitor: Visitor
    ) -> tuple[KnownCustomer | Question, Proven] | None:
        """
        Link what *question* is about to the customer of *session*.

        Returns: whose it is now, or what to ask instead, and the login; None when it is kept no longer.
        """
        taken = await self._links.take(question)
        if taken.proven is None:
            if not taken.is_busy:
                late = "notice.link_expired"
                gone = replace(move, change=lambda old: replace(old, link=None, notice=late))
                await self._settled(gone, visitor, [])
            return None
        is_hers = move.session is not None and move.session.value.customer == session.customer
        keep = name_of(visitor.session) if visitor.session is not None and is_hers else None
        try:
            return await self._links.join(question, taken.proven, move.journey, session, keep), taken.proven
        except StoreDown:
            await self._links.give_back(question, taken.proven)
            raise

    async def _session_of(self, proven: Proven, known: KnownCustomer, journey: Journey, visitor: Visitor) -> Session:
        """The session that a login opens for whose it is."""
        customer, now = known.customer.id, self._c.now()
        if proven.proof is not None:
            await self._keep_proof(customer, proven.identity.upstream, proven.proof, now)
        opened = open_session(
            proven.identity,
            customer=customer,
            language=journey.language,
            now=now,
            opened_for=journey.partner,
            device=device_of(visitor.user_agent),
        )
        stored = self._stored_profile(known.customer)
        profile = with_all_known(opened.profile, stored) if stored is not None else opened.profile
        return replace(opened, subjects=known.subjects, profile=profile, way=known.identity.lookup)

    async def _check_not_removed(self, lookup: str, turn: Turn, session: Session) -> None:
        """security: whoever removes a way in ends its sessions, and may just have looked when this one was not there yet."""
        if await self._c.records.customer_of(lookup) is None:
            await self._sessions.end(name_of(turn.token or ""), session, why=Why.WAY_REMOVED)
            raise UpstreamRefused("removed while somebody logged in by it", code="identity.removed")

    async def _session_after(
        self, proven: Proven, known: KnownCustomer, old: Session, journey: Journey, visitor: Visitor
    ) -> Session:
        """The session after a link: of the login that was made for what is due, or on our own pages the stronger one."""
        new = await self._session_of(proven, known, journey, visitor)
        return joined(new, old, strongest=journey.ask is None and journey.handoff is None)

    async def _proved(self, move: _Move, handoff: Held[Handoff] | None, session: Session, visitor: Visitor) -> Turn:
        cookie = self._c.tokens.random()
        put = self._c.shelves.sessions.put(name_of(cookie), session, self._session_ttl_s())
        device, keep = self._devices.remember(visitor, move.remembered, session)
        held = await self._attempt_over(move, visitor, cookie, session, [put, *keep])
        journey = held.value
        self._c.audit.note(
            "login.proved",
            customer=session.customer,
            partner=journey.partner,
            upstream=session.upstream,
            assurance=session.assurance.value,
            journey=journey.id,
            **({"authorities": list(session.authorities)} if session.authorities else {}),
            **self._cost_of(session.upstream),
            took_s={"begun_to_proved": (self._c.now() - journey.created_at).total_seconds()},
        )
        # Only now: a store that refuses to write, or a faster tab, does not log anybody out.
        stored = await self._leave(visitor, move.session, Held(session, put.value), cookie)
        fresh = await self._decide(journey, stored, handoff, self._c.now(), cookie)
        proved = replace(fresh, token=cookie, held=held, device=device)
        if isinstance(fresh.step, Login) and fresh.step.reason == "too_weak":
            return await self._noted(proved, "notice.too_weak")
        return proved

    def _cost_of(self, upstream: str) -> Mapping[str, str]:
        """What a login at *upstream* costs the operator, as facts; nothing where it costs nothing."""
        known = self._c.policy().config.upstreams.get(upstream)
        cost = known.cost if known is not None else None
        return {"cost": str(cost.amount), "currency": cost.currency} if cost is not None else {}

    async def _attempt_over(
        self, move: _Move, visitor: Visitor, cookie: str, session: Session, puts: Sequence[Op]
    ) -> Held[Journey]:
        """
        The journey without its attempt, stored in one round trip with the new *session* by *puts*.

        Raises: Spent when the attempt was replaced or ended meanwhile, UpstreamRefused when a way in that the session rests on
            was; the session is gone then.
        """
        name, is_shut = name_of(cookie), self._sessions.unless_shut(session)
        settled = await self._settled(move, visitor, [*self._sessions.enlist(name, session), *puts, *is_shut])
        if settled is not None and not any(settled.told[-len(is_shut) :] if is_shut else ()):
            return settled.held
        await self._c.state.run(self._c.shelves.sessions.drop(name), *self._sessions.delist(name, session))
        if settled is None:
            raise Spent("the journey went on in another tab", code="journey.went_on")
        raise UpstreamRefused("removed or blocked while somebody logged in by it", code="identity.removed")

    async def _settled(self, move: _Move, visitor: Visitor, also: Sequence[Op]) -> _Settled | None:
        """The journey as *move* changes it, stored in one round trip with *also*; None when it does not hold any more."""
        held = move.held
        for _ in range(_TRIES):
            changed = move.change(held.value)
            save = self._c.shelves.journeys.swap(changed.id, held, changed, JOURNEY_KEPT_S)
            swapped, *told = await self._c.state.run(save, *also)
            if swapped:
                return _Settled(Held(changed, save.new), told)
            held, _, _ = await self._seen(changed.id, visitor)
            if not move.holds(held.value):
                break
        return None

    async def _leave(
        self, visitor: Visitor, old: Held[Session] | None, new: Held[Session], cookie: str
    ) -> Held[Session]:
        """
        Remove the browser's earlier session: one of the same customer goes on in *new*, another customer's ends.

        Returns: *new*, behind *cookie*, as it is stored then.
        """
        if visitor.session is None:
            return new
        name, sessions = name_of(visitor.session), self._c.shelves.sessions
        if old is not None and old.value.customer != new.value.customer:
            await self._sessions.end(name, old.value, why=Why.REPLACED)
            return new
        gone = self._sessions.delist(name, old.value) if old is not None else ()
        taken, *_ = await self._c.state.run(Take(sessions.key(name)), *gone)
        left = sessions.read(name, taken) if old is not None else None
        # Partners that another tab was logged in to while we asked the provider.
        whole = _carry_over(new.value, left)
        if whole == new.value:
            return new
        stored, _ = await self._rewritten(cookie, new, whole, self._c.now())
        return stored

    async def _noted(self, turn: Turn, notice: str) -> Turn:
        """*turn*, whose next page says *notice*; where somebody else changed the journey meanwhile, it goes unsaid."""
        noted = replace(turn.journey, notice=notice)
        stored = await self._swap(turn.held, noted) if turn.held else None
        return replace(turn, journey=noted, held=stored) if stored else turn

    async def _customer_of(
        self, identity: Identity, language: str, now: datetime, known: KnownCustomer | None
    ) -> KnownCustomer:
        """Whose *identity* is: *known*, or a new customer."""
        if identity.is_of_known:
            return self._known_customer(known, now)
        new = self._c.tokens.id()
        profile = open_session(identity, customer=new, language=language, now=now).profile
        if known is None:
            known = await self._c.records.find_or_create_customer(
                self._links.row(identity, new, now), Customer(new, now, self._c.seal_profile(new, profile))
            )
        if known.blocked is not None:
            raise shut(known.blocked)
        if known.is_new:
            self._c.audit.note("customer.created", customer=known.customer.id, upstream=identity.upstream)
            self._links.number_linked(identity, known.customer.id)
            self._links.remember_contacts(identity, now)
        else:
            self._keep_up(known, identity, profile, now)
        return known

    def _known_customer(self, known: KnownCustomer | None, now: datetime) -> KnownCustomer:
        """
        Whose identity is that makes nobody a customer; what is known of her stays as it is, for such a login tells nothing new.

        Raises: UpstreamRefused: nobody's any more.
        """
        if known is None:
            raise UpstreamRefused("removed while somebody logged in by it", code="identity.removed")
        self._mark_used(known, now)
        return known

    def _keep_up(self, known: KnownCustomer, identity: Identity, profile: Profile, now: datetime) -> None:
        """Write beside the login what it changed: usually nothing."""
        customer, stored = known.customer.id, self._stored_profile(known.customer)
        whole = with_all_known(profile, stored) if stored is not None else profile
        is_profile = whole == stored
        if not is_profile:
            if stored is None or whole.member_numbers != stored.member_numbers:
                self._links.number_linked(identity, customer)
            fresh = self._c.seal_profile(customer, whole)
            self._c.audit.later(lambda: self._c.records.save_profile(customer, fresh))
        if self._mark_used(known, now) or not is_profile:
            self._links.remember_contacts(identity, now)

    def _mark_used(self, known: KnownCustomer, now: datetime) -> bool:
        """Whether it is written down that she used it: not more often than needed."""
        is_long_ago = now - known.identity.last_used_at > _MARK_USED_EVERY
        if is_long_ago:
            self._c.audit.later(lambda: self._c.records.mark_used(known.identity.lookup, now))
        return is_long_ago

    def _stored_profile(self, customer: Customer) -> Profile | None:
        """What is stored of her; None for nothing, and for what does not open (an older key) and is written anew."""
        try:
            return self._c.open_profile(customer.id, customer.profile) if customer.profile is not None else None
        except Broken:
            return None

    async def _keep_proof(self, customer: str, upstream: str, signed: bytes, now: datetime) -> None:
        proof = self._c.tokens.id()
        retention = self._c.policy().broker.retention.proof
        sealed = self._c.sealer.seal(signed, f"proof:{proof}")
        await self._c.records.add_proof(ProofRecord(proof, customer, upstream, sealed, now, now + retention))

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

    def _bound(self, turn: Turn, visitor: Visitor) -> Turn:
        """*turn* of a journey that just began, bound to the browser it began in."""
        browser = visitor.browser or self._c.tokens.random()
        return replace(turn, journey=replace(turn.journey, browser=name_of(browser)), browser=browser)

    def _opening(self, held: Held[Journey], once: str) -> str:
        """The mark that somebody is opening *once* from where the journey stands."""
        # What is stored is another one after every change, so that a later press is one of its own.
        return f"opening:{self._c.lookup.digest('opening', held.raw.hex(), once)}"

    async def _may_open(self, visitor: Visitor, mark: str) -> bool:
        """Whether nobody set *mark* before; with nothing to open once, always. Raises: TooMany."""
        if not mark:
            await self._count_opening(visitor)
            return True
        try:
            return bool(await self._count_opening(visitor, PutNew(mark, b"1", _BUSY.total_seconds())))
        except StoreDown:
            await self.not_opened(mark)
            raise

    async def _count_opening(self, visitor: Visitor, *also: Op) -> Any:
        """Raises: TooMany. Returns: the result of the last operation."""
        count, *rest = await self._c.state.run(self._c.counted("opened", visitor.address), *also)
        if count > _OPENED_PER_MINUTE:
            raise TooMany("logins opened per address", retry_after_s=60, code="rate.opened")
        return rest[-1] if rest else None

    async def _seen(
        self, journey: str, visitor: Visitor, *also: Op
    ) -> tuple[Held[Journey], Held[Session] | None, list[Any]]:
        """
        The journey as stored and the browser's live session in one round trip, and the results of *also*.

        Raises: Expired: no such journey (any more). WrongBrowser.
        """
        if not is_id(journey):
            raise Expired("not the id of a journey")
        shelves = self._c.shelves
        ops: list[Op] = [shelves.journeys.get(journey)]
        if visitor.session is not None:
            ops.append(shelves.sessions.get(name_of(visitor.session)))
        raw, *rest = await self._c.state.run(*ops, *also)
        held = shelves.journeys.read(journey, raw)
        if held is None:
            raise Expired("no such journey")
        self._check_browser(held.value, visitor)
        session = self._live(visitor, rest.pop(0), self._c.now()) if visitor.session is not None else None
        return held, session, rest

    async def _turn(self, journey: Journey, visitor: Visitor, now: datetime) -> Turn:
        """Where a journey that is not stored stands; session and handoff in one round trip."""
        shelves = self._c.shelves
        ops: list[Op] = []
        if visitor.session is not None:
            ops.append(shelves.sessions.get(name_of(visitor.session)))
        handoff_id = _handoff_of(journey)
        if handoff_id is not None:
            ops.append(shelves.handoffs.get(handoff_id))
        results: list[Any] = list(await self._c.state.run(*ops)) if ops else []
        session = self._live(visitor, results.pop(0), now) if visitor.session is not None else None
        handoff = shelves.handoffs.read(handoff_id, results.pop(0)) if handoff_id is not None else None
        return await self._decide(journey, session, handoff, now, visitor.session)

    async def _handoff_behind(self, journey: Journey) -> Held[Handoff] | None:
        """The handoff of a journey that has one: a round trip of its own, since only the journey knows its id."""
        handoff_id = _handoff_of(journey)
        if handoff_id is None:
            return None
        (raw,) = await self._c.state.run(self._c.shelves.handoffs.get(handoff_id))
        return self._c.shelves.handoffs.read(handoff_id, raw)

    def _still_redeemable(self, journey: Journey, handoff: Held[Handoff] | None, now: datetime) -> Held[Handoff] | None:
        """*handoff*; None where a partner's own request refers to one that is not to be had any more."""
        if journey.ask is None or handoff is None or redeemable(handoff.value, self._c.policy(), now):
            return handoff
        return None

    async def _decide(
        self,
        journey: Journey,
        session: Held[Session] | None,
        handoff: Held[Handoff] | None,
        now: datetime,
        cookie: str | None,
        remembered: DeviceRecord | None = None,
        *,
        trusts_session: bool = True,
    ) -> Turn:
        """
        The step that is due. A consent that the session keeps in mind may have been withdrawn: whoever acts on it finds out
        (`reconsider`).

        Args:
            cookie: the browser's, behind which *session* is stored.
        """
        about("journey", journey.id)
        handoff = self._still_redeemable(journey, handoff, now)
        step = self._step(journey, session, handoff, now, remembered)
        if isinstance(step, AskConsent) and session is not None:
            session, consents = await self._consents(session, cookie, step.wish, now, trusts_session=trusts_session)
            step = by_consents(step, journey, session.value, handoff.value if handoff else None, consents, now)
            if isinstance(step, AskConsent):
                handoff = await self._bind(handoff, session.value, now)
        elif isinstance(step, Refuse) and step.missing and session is not None:
            customer, missing = session.value.customer, list(step.missing)
            self._c.audit.note("login.refused", customer=customer, partner=journey.partner, missing=missing)
        return Turn(journey, step, session, handoff, browser_session=cookie, remembered=remembered)

    async def _consents(
        self, session: Held[Session], cookie: str | None, wish: Wish, now: datetime, *, trusts_session: bool
    ) -> tuple[Held[Session], Sequence[Consent]]:
        """
        The customer's consents that may cover *wish*: the one her session keeps in mind; else those on record, of which the
        session keeps in mind what covers.

        Args:
            trusts_session: no need to ask whether the one that it keeps in mind was withdrawn.
        """
        kept = _fitting(session.value.consents, wish, now)
        if kept and trusts_session:
            return session, kept[:1]
        # security: whoever withdraws sets the marks first, and the records know it last.
        marked = await self._c.state.run(*_marks(kept)) if kept else ()
        if live := _unmarked(kept, marked):
            return session, live
        records = await self._c.records.live_consents(session.value.customer, now)
        fitting = _fitting([consent_of(record) for record in records], wish, now)
        changed = with_consent(session.value, kept, fitting[0] if fitting else None)
        session, marked = await self._rewritten(cookie, session, changed, now, *_marks(fitting))
        live = _unmarked(fitting, marked)
        if live[:1] != fitting[:1]:
            # What it kept in mind again would be found out and asked for in a circle.
            changed = with_consent(session.value, fitting, live[0] if live else None)
            session, _ = await self._rewritten(cookie, session, changed, now)
        return session, live

    async def _rewritten(
        self, cookie: str | None, session: Held[Session], changed: Session, now: datetime, *also: Op
    ) -> tuple[Held[Session], Sequence[Any]]:
        """
        *session* changed, as stored behind *cookie*; as it was where another tab changed it first: then the database is asked
        once more.

        Returns: and the results of *also*.
        """
        if cookie is None or changed is session.value:
            return session, await self._c.state.run(*also) if also else ()
        left = changed.created_at + self._c.policy().broker.lifetimes.session - now
        op = self._c.shelves.sessions.swap(name_of(cookie), session, changed, max(1.0, left.total_seconds()))
        swapped, *results = await self._c.state.run(op, *also)
        return Held(changed, op.new) if swapped else session, results

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
        now: datetime,
        remembered: DeviceRecord | None = None,
    ) -> Step:
        """The step that is due as long as no consent is known of."""
        available = self._c.available()
        if remembered is not None or session is not None:
            available = replace(available, used=_used(remembered, session))
        return next_step(
            journey,
            session=session.value if session else None,
            handoff=handoff.value if handoff else None,
            consents=(),
            policy=self._c.policy(),
            available=available,
            now=now,
        )

    async def _redecided(self, turn: Turn, journey: Journey, held: Held[Journey] | None = None) -> Turn:
        """*turn* after its journey became *journey*, stored as *held*."""
        again = await self._decide(
            journey, turn.session, turn.handoff, self._c.now(), turn.browser_session, turn.remembered
        )
        return replace(again, held=held or turn.held)

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
        return replace(ask, hinted_customer=await self._c.customer_of_subject(sector, ask.hinted_subject))


def _expected(turn: Turn, step: Login) -> str | None:
    """The personal number of whoever is logged in, where nobody else is meant to log in now."""
    return turn.session.value.profile.personal_number if turn.session and step.reason in _AS_HERSELF else None


def _used(remembered: DeviceRecord | None, session: Held[Session] | None) -> tuple[str, ...]:
    """The ways used in this browser, the last one first: those it is remembered by, and that of the running session."""
    known = tuple(each.upstream for each in remembered.used) if remembered is not None else ()
    own = session.value.upstream if session is not None else None
    return known if own is None or own in known else (own, *known)


def _move_of(claim: Claim) -> _Move:
    """A provider's answer: it counts for the attempt it was claimed for, and for no other."""

    def holds(journey: Journey) -> bool:
        return journey.attempt is not None and journey.attempt.token == claim.attempt.token

    return _Move(claim.held, claim.session, claim.remembered, _logged_in(claim.session), holds)


def _answer_to(question: Question, held: Held[Journey], turn: Turn) -> _Move:
    """Her answer: it counts for the question it was given to, and for no other."""
    return _Move(held, turn.session, turn.remembered, _unlinked, lambda journey: journey.link == question)


def _logged_in(old: Held[Session] | None) -> Callable[[Journey], Journey]:
    """Whoever wants to add a way and was not known is known now, and goes on to add one."""

    def change(journey: Journey) -> Journey:
        return replace(journey if old is None else _added(journey), attempt=None, notice=None)

    return change


def _confirmed(journey: Journey, question: Question) -> Journey:
    asked = replace(question, is_confirmed=True)
    return replace(journey, link=asked, notice=None) if journey.link == question else journey


def _unlinked(journey: Journey) -> Journey:
    return replace(_added(journey), attempt=None, notice=None, link=None)


def _added(journey: Journey) -> Journey:
    return replace(journey, errand=Errand.LOOK) if journey.is_adding else journey


def _other_than_asked(journey: Journey) -> Journey:
    return replace(_unlinked(journey), notice="notice.link_other")


def _too_late(journey: Journey) -> Journey:
    return replace(_unlinked(journey), notice="notice.link_expired")


def _handoff_of(journey: Journey) -> str | None:
    return journey.handoff or (journey.ask.handoff if journey.ask else None)


def _fitting(consents: Sequence[Consent], wish: Wish, now: datetime) -> list[Consent]:
    return [each for each in consents if covering([each], wish, now) is not None]


def _marks(consents: Sequence[Consent]) -> list[Op]:
    return [Get(withdrawn_key(each.id)) for each in consents]


def _unmarked(consents: Sequence[Consent], marks: Sequence[Any]) -> list[Consent]:
    return [each for each, mark in zip(consents, marks, strict=True) if mark is None]


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
    kept = old.value
    return replace(new, subjects={**kept.subjects, **new.subjects}, sids=kept.sids, name_formats=kept.name_formats)
