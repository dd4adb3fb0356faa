"""
Leaving: ending this browser's session, another of the customer's, or those that rest on a provider's.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from msgspec import Struct

from broker.core.changing import replace
from broker.core.logout import Change, Farewell, Fate, Party, Why, fates, may_go_straight_on
from broker.core.naming import is_id, name_of
from broker.core.notice import State
from broker.core.session import Session
from broker.errors import BadAsk, Spent, StoreDown
from broker.flows.context import Context
from broker.flows.passkeys import added_by
from broker.flows.sessions import FAREWELL_S, OwnSession, Request, Sessions, opened_by
from broker.flows.values import Visitor
from broker.stores.ports import GONE, Drop, PutNew
from broker.stores.shelf import Held

_WISH = timedelta(minutes=15)
_LONGEST_WISH = 1200
_SKEW_S = 60.0
_TRIES = 60
_HARMLESS = frozenset({Change.ALLOWED, Change.NOTED})
_SHUT = frozenset({Change.BLOCKED, Change.GONE})
_BLOCKS = {Change.BLOCKED: "blocked", Change.ALLOWED: None, Change.GONE: GONE}


class Parted(Struct, frozen=True):
    """
    A browser that is logged out.

    ``farewell``: None when no partner was logged in by its session. ``known``: what each partner knows by now.
    ``goes_on``: nothing is left to tell the customer or to do in her browser. ``target``: where she was heading.
    """

    farewell: Farewell | None
    known: Mapping[str, Fate]
    goes_on: bool
    target: str | None = None

    @property
    def next_provider(self) -> str | None:
        """
        The provider that she has to be sent to first, to be logged out there as well.

        Not where partners are told by our page (`broker.core.logout.Party.front`): one that is down would keep her from it, so
        that page offers the way there.
        """
        provider = self.farewell.provider if self.farewell is not None else None
        if self.farewell is None or provider is None or any(each.front for each in self.farewell.parties):
            return None
        return provider.upstream if provider.fate is Fate.REACHABLE else None

    @property
    def token(self) -> str | None:
        """What the page that tells how it went is asked for by; None when there is nothing to tell."""
        return self.farewell.token if self.farewell is not None else None


class Wish(Struct, frozen=True):
    """
    A partner's checked logout request. ``target``: where the customer goes on to afterwards. ``is_proven``: it named the
    session of her browser, so that she need not be asked.
    """

    partner: str | None
    target: str | None
    is_proven: bool = False


class UpstreamOver(Struct, frozen=True):
    """
    What a provider said is over: its session ``sid``, else all of its ``subject``. Times are aware UTC.

    ``change``: what became of it. ``covers_until``: sessions begun until then are meant too, though the saying is older; None
    for those older than it only.
    """

    issuer: str
    subject: str | None
    sid: str | None
    jti: str
    issued_at: datetime
    expires_at: datetime
    change: Change = Change.OVER
    covers_until: datetime | None = None


class Logouts:
    """The flow; one per process."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._sessions = Sessions(context)

    async def session_of(self, visitor: Visitor) -> Session | None:
        """The browser's live session, None when there is none."""
        if visitor.session is None:
            return None
        held = await self._sessions.of(name_of(visitor.session))
        return held.value if held is not None else None

    def form_token(self, visitor: Visitor) -> str:
        """The token that forms of this session's pages carry; empty without a session."""
        return self._c.lookup.digest("form", visitor.session) if visitor.session is not None else ""

    def keep_wish(self, wish: Wish) -> str:
        """
        *wish* as a text for the page that asks the customer: sealed, so that it comes back as it was checked.

        One with a state too long for an address is kept without its target: she then ends on our own page.
        """
        target = wish.target if wish.target is not None and len(wish.target) <= _LONGEST_WISH else ""
        return self._c.tokens.seal("logout", wish.partner or "", target, expires_at=self._c.now() + _WISH)

    def open_wish(self, kept: str | None) -> Wish:
        """What `keep_wish` made; an empty wish for anything that is not, or not any more."""
        try:
            partner, target = self._c.tokens.open("logout", kept or "", now=self._c.now())
        except Spent:
            return Wish(None, None)
        return Wish(partner or None, target or None)

    async def end(self, visitor: Visitor, wish: Wish | None = None) -> Parted:
        """
        End the browser's session, and wait a moment for its partners to hear of it.

        Codes that were not exchanged and access tokens live out their short time (docs/logout.md).
        """
        wish = wish or Wish(None, None)
        session = await self.session_of(visitor)
        if visitor.session is None or session is None:
            if visitor.session is not None:
                await self._c.state.run(self._c.shelves.sessions.drop(name_of(visitor.session)))
            return Parted(None, {}, goes_on=True, target=wish.target)
        why = Why.PARTNER if wish.partner else Why.CUSTOMER
        request = Request(wish.partner, wish.is_proven, wish.target)
        farewell = await self._sessions.end(name_of(visitor.session), session, why=why, request=request)
        if not farewell.parties and farewell.provider is None:
            return Parted(None, {}, goes_on=True, target=wish.target)
        return self._parted(farewell, await self._c.outbox.first_word(farewell.batch))

    async def reachable(self, token: str, partner: str) -> Party | None:
        """Whom of those logged in by the session that ended the customer can be sent to now; None for nobody of that name."""
        held = await self.farewell(token)
        parties = held.value.parties if held is not None else ()
        return next((each for each in parties if each.partner == partner and each.asks and not each.is_told), None)

    async def told(self, token: str, partner: str) -> None:
        """*partner* said that it logged her out. One whose farewell nobody remembers any more is no matter."""
        for _ in range(_TRIES):
            if (held := await self.farewell(token)) is None:
                return
            parties = tuple(
                replace(each, is_told=each.is_told or each.partner == partner) for each in held.value.parties
            )
            op = self._c.shelves.farewells.swap(name_of(token), held, replace(held.value, parties=parties), FAREWELL_S)
            (swapped,) = await self._c.state.run(op)
            if swapped:
                return

    async def farewell(self, token: str) -> Held[Farewell] | None:
        """As stored; None for anything that is not, or not any more."""
        if not is_id(token):
            return None
        shelf = self._c.shelves.farewells
        (raw,) = await self._c.state.run(shelf.get(name_of(token)))
        return shelf.read(name_of(token), raw)

    async def look(self, token: str) -> Parted | None:
        """How the logout behind *token* stands now; None when nobody knows any more."""
        held = await self.farewell(token)
        if held is None:
            return None
        states: Mapping[str, State] = {}
        if any(each.back for each in held.value.parties):
            try:
                states = await self._c.outbox.states(held.value.batch)
            except StoreDown:
                # She is logged out here, whatever else is away; what is not known is told as not yet done.
                states = {}
        return self._parted(held.value, states)

    async def sessions_of(self, visitor: Visitor, session: Session) -> Sequence[OwnSession]:
        """All live sessions of *session*'s customer, this browser's first."""
        here = name_of(visitor.session or "")
        own = await self._sessions.of_customer(session.customer)
        return sorted(own, key=lambda each: each.name != here)

    def is_here(self, visitor: Visitor, own: OwnSession) -> bool:
        """Whether *own* is the session of this browser."""
        return visitor.session is not None and own.name == name_of(visitor.session)

    async def end_elsewhere(self, visitor: Visitor, session: Session, name: str | None) -> int:
        """
        End the customer's session called *name* on another browser, or all but this one.

        Returns: how many ended. Raises: BadAsk when she has no other session of that name.
        """
        others = [each for each in await self.sessions_of(visitor, session) if not self.is_here(visitor, each)]
        meant = [each for each in others if name is None or each.name == name]
        if name is not None and not meant:
            raise BadAsk("no other session of hers has this name", code="session.unknown")
        for each in meant:
            await self._sessions.end(each.name, each.session, why=Why.ELSEWHERE)
        return len(meant)

    async def end_of_upstream(self, upstream: str, over: UpstreamOver) -> int:
        """
        The provider *upstream* says what is over there: so are our sessions that rest on it, and their partners hear of it.

        Sessions older than the saying, since she may have logged in again before it reached us; and where it is about the account
        (``covers_until``) those begun meanwhile, for whoever has hijacked it may have.

        Returns: how many ended; 0 for one that was said before.
        Raises: StoreDown; then it may be said again.
        """
        kept_s = max(60.0, (over.expires_at - self._c.now()).total_seconds() + _SKEW_S)
        said = f"seen:{name_of(f'{upstream} logout {over.jti}')}"
        (first,) = await self._c.state.run(PutNew(said, b"1", kept_s))
        if not first:
            return 0
        try:
            if over.change in _BLOCKS and not await self._block(upstream, over):
                # Something newer was said, and she may have logged in since.
                over = replace(over, covers_until=None)
            return 0 if over.change in _HARMLESS else await self._end_resting_on(upstream, over)
        except StoreDown:
            with suppress(StoreDown):
                await self._c.state.run(Drop(said))
            raise

    async def _block(self, upstream: str, over: UpstreamOver) -> bool:
        """
        Before the sessions end: nobody slips in by another login in between. Nothing is kept of people we do not know.

        security: one who took it out may bring it back, so that she is known still.

        Returns: whether it is what counts now.
        """
        if over.subject is None:
            return False
        lookup = self._c.lookup.digest(over.issuer, over.subject)
        customer = await self._c.records.customer_of(lookup) or await self._c.records.remover_of(lookup)
        reason = _BLOCKS[over.change]
        if customer is None or not await self._c.records.block_identity(lookup, reason, over.issued_at):
            return False
        change = self._sessions.shut if reason is not None else self._sessions.reopen
        await change(customer, {lookup, *await added_by(self._c, customer, lookup)})
        self._c.audit.note("identity.said", customer=customer, upstream=upstream, change=over.change.value)
        return True

    async def _end_resting_on(self, upstream: str, over: UpstreamOver) -> int:
        """
        security: who hijacked an account stays in by nothing, neither by a passkey that he added by it nor by refresh tokens,
        which outlive the sessions they were given in. A logout over there ends what rests on that login alone.
        """
        if over.sid is not None:
            return await self._end_older(await self._sessions.of_upstream_session(upstream, over.sid), over)
        way = self._c.lookup.digest(over.issuer, over.subject or "")
        customer = await self._c.records.customer_of(way)
        if customer is None:
            return 0
        is_shut = over.change in _SHUT
        added = await added_by(self._c, customer, way) if is_shut else frozenset()
        theirs = [
            each
            for each in await self._sessions.of_customer(customer)
            if each.session.way in added or opened_by(each.session, way, upstream)
        ]
        ended = await self._end_older(theirs, over)
        if is_shut:
            await self._sessions.take_back(customer, {way, *added})
            await self._sessions.end_grants(customer, only=(), ways={way, *added})
        return ended

    async def _end_older(self, sessions: Sequence[OwnSession], over: UpstreamOver) -> int:
        until = max(over.issued_at + timedelta(seconds=_SKEW_S), over.covers_until or over.issued_at)
        meant = [each for each in sessions if each.session.created_at <= until]
        for each in meant:
            await self._sessions.end(each.name, each.session, why=Why.UPSTREAM)
        return len(meant)

    @staticmethod
    def _parted(farewell: Farewell, states: Mapping[str, State]) -> Parted:
        known = fates(farewell, states)
        return Parted(farewell, known, may_go_straight_on(farewell, known), farewell.target)
