"""
Sessions of customers: which there are, and their end.

`Sessions.end` is the one way in which a session ends on purpose: it writes down whom to tell before the session is gone, so
that a process that dies in between tells too much rather than too little. A session that runs out of time simply runs out.
"""

from collections.abc import Callable, Collection, Sequence

from msgspec import Struct

from broker.core.changing import replace
from broker.core.logout import AtProvider, Farewell, Fate, Party, Why, parties_of
from broker.core.naming import name_of
from broker.core.notice import Kind
from broker.core.session import Session, is_alive, without_lent, without_number
from broker.flows.context import Context
from broker.stores.ports import Delist, Drop, Enlist, Get, Listed, Notice, Op, Put, Take
from broker.stores.shelf import Held

FAREWELL_S = 600.0
"""How long a customer may look up how her logout went."""

_MOST = 50
"""Sessions of one customer that are remembered as hers; more than anybody has browsers."""

_SHUT_S = 120.0
"""Longer than it takes a login from finding whose it is to its session."""


class OwnSession(Struct, frozen=True):
    """One of a customer's sessions. ``name``: what it is stored under; it opens nothing."""

    name: str
    session: Session


class Request(Struct, frozen=True):
    """Who asked for the end of a session, and where the customer goes on to; see `Farewell`."""

    by: str | None = None
    is_proven: bool = False
    target: str | None = None


_NOBODY = Request()


class Sessions:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._c = context

    def enlist(self, name: str, session: Session) -> list[Op]:
        """
        What goes along with writing a new session, so that it is found by its customer and by its provider's session.

        security: a session that falls off a list for it ends, since nobody could put it out any more, and whoever logs in often
        enough would stay in by his first one.
        """
        ttl_s = self._c.policy().broker.lifetimes.session.total_seconds()
        drops = self._c.shelves.sessions.key("")
        return [Enlist(key, name, ttl_s, _MOST, drops) for key in self._lists(session)]

    def delist(self, name: str, session: Session) -> list[Op]:
        """What goes along with removing a session."""
        return [Delist(key, name) for key in self._lists(session)]

    async def shut(self, customer: str, ways: Collection[str]) -> None:
        """
        Logins under way by *ways* were found to be the *customer*'s a moment ago, and open nothing any more; then end those that
        did.

        security: a session that is written later asks for this in the same round trip (`unless_shut`), one that was written
        before is listed: whoever is slow slips in by neither.
        """
        await self._c.state.run(*(Put(_shut(customer, way), b"1", _SHUT_S) for way in ways))

    async def reopen(self, customer: str, ways: Collection[str]) -> None:
        """What `shut` said counts no more."""
        await self._c.state.run(*(Drop(_shut(customer, way)) for way in ways))

    def unless_shut(self, session: Session) -> list[Op]:
        """Behind writing a new session: None for each way in that it rests on, as long as that was not `shut` meanwhile."""
        ways = dict.fromkeys((session.way, *session.lent.values()))
        return [Get(_shut(session.customer, way)) for way in ways if way]

    async def of(self, name: str) -> Held[Session] | None:
        """The live session stored under *name*."""
        (raw,) = await self._c.state.run(self._c.shelves.sessions.get(name))
        held = self._c.shelves.sessions.read(name, raw)
        return held if held is not None and self._is_alive(held.value) else None

    async def of_customer(self, customer: str) -> Sequence[OwnSession]:
        """The customer's live sessions, the one used last first."""
        return [
            OwnSession(name, held.value)
            for name, held in await self._listed(f"sessions:{name_of(customer)}")
            if held.value.customer == customer
        ]

    async def of_upstream_session(self, upstream: str, sid: str) -> Sequence[OwnSession]:
        """The live sessions that rest on the session *sid* of the provider *upstream*."""
        return [
            OwnSession(name, held.value)
            for name, held in await self._listed(self._upstream_list(upstream, sid))
            if (held.value.upstream, held.value.upstream_sid) == (upstream, sid)
        ]

    async def end(self, name: str, session: Session, *, why: Why, request: Request = _NOBODY) -> Farewell:
        """
        End the session stored under *name*: first it is written down whom to tell, then it is gone.

        Returns: who was logged in by it; may be looked up by its ``token`` for `FAREWELL_S` seconds.
        """
        policy, sessions = self._c.policy(), self._c.shelves.sessions
        token = self._c.tokens.random()
        parties = parties_of(session, policy)
        provider = _provider_of(session, why)
        farewell = Farewell(token, name_of(token), parties, request.by, request.is_proven, request.target, provider)
        await self._c.outbox.post(self._notices(farewell.parties, farewell.batch, session.customer))
        ops: list[Op] = [Take(sessions.key(name)), *self.delist(name, session)]
        if farewell.parties or provider is not None:
            ops.append(self._keep(farewell))
        taken, *_ = await self._c.state.run(*ops)
        if (left := sessions.read(name, taken)) is not None:
            farewell = await self._with_latecomers(farewell, left.value)
        self._c.audit.note(
            "session.ended",
            customer=session.customer,
            partner=request.by,
            why=why.value,
            batch=farewell.batch,
            told=[each.partner for each in farewell.parties if each.back],
            untold=[each.partner for each in farewell.parties if not each.back],
        )
        return farewell

    async def end_others(self, customer: str, keep: str | None, *, why: Why) -> int:
        """End all sessions of *customer* but the one stored under *keep*. Returns: how many."""
        others = [each for each in await self.of_customer(customer) if each.name != keep]
        for each in others:
            await self.end(each.name, each.session, why=why)
        return len(others)

    async def take_back(self, customer: str, ways: Collection[str]) -> None:
        """
        Contacts that came along from *ways* into sessions opened by others count there no more, and are told to nobody.

        Raises: StoreDown.
        """
        await self._change_all(customer, lambda session: without_lent(session, ways))

    async def unlink_number(self, customer: str, partner: str) -> None:
        """
        Her member number at *partner* is told no more in any of her sessions.

        Raises: StoreDown.
        """
        await self._change_all(customer, lambda session: without_number(session, partner))

    async def _change_all(self, customer: str, change: Callable[[Session], Session]) -> None:
        for name, found in await self._listed(f"sessions:{name_of(customer)}"):
            held: Held[Session] | None = found
            while held is not None and (bare := change(held.value)) is not held.value:
                left = bare.created_at + self._c.policy().broker.lifetimes.session - self._c.now()
                op = self._c.shelves.sessions.swap(name, held, bare, max(1.0, left.total_seconds()))
                (swapped,) = await self._c.state.run(op)
                # Somebody else's change came first: then it is looked at once more.
                held = None if swapped else await self.of(name)

    async def end_grants(
        self,
        customer: str,
        *,
        keep: Collection[str] = (),
        only: Collection[str] | None = None,
        ways: Collection[str] = (),
    ) -> int:
        """
        End grants of *customer* that have refresh tokens, and so all their tokens.

        Args:
            keep: but those of these session ids (``sid``). only: those alone. ways: and those of logins by these ways in, whose
                sessions may be over long ago, or whose contacts they tell.
        Returns: how many.
        """
        key, grants = grants_of(customer), self._c.shelves.grants
        (names,) = await self._c.state.run(Listed(key))
        if not names:
            return 0
        raws = await self._c.state.run(*(grants.get(name) for name in names))
        held = [(name, grants.read(name, raw)) for name, raw in zip(names, raws, strict=True)]
        over = [
            name
            for name, each in held
            if each is not None
            and each.value.sid not in keep
            and (only is None or each.value.sid in only or not each.value.ways.isdisjoint(ways))
        ]
        if over:
            drops: list[Op] = [grants.drop(name) for name in over]
            await self._c.state.run(*drops, *(Delist(key, name) for name in over))
        return len(over)

    async def _with_latecomers(self, farewell: Farewell, left: Session) -> Farewell:
        """A partner that another tab logged in to while we wrote the others down is told as well."""
        known = {each.partner for each in farewell.parties}
        late = tuple(each for each in parties_of(left, self._c.policy()) if each.partner not in known)
        if not late:
            return farewell
        await self._c.outbox.post(self._notices(late, farewell.batch, left.customer))
        whole = replace(farewell, parties=(*farewell.parties, *late))
        await self._c.state.run(self._keep(whole))
        return whole

    def _notices(self, parties: Sequence[Party], batch: str, customer: str) -> list[Notice]:
        life = self._c.policy().broker.lifetimes.logout_notice
        return [
            self._c.outbox.notice(
                self._c.tokens.id(),
                Kind.LOGOUT,
                batch,
                partner=party.partner,
                customer=customer,
                content={"sub": party.subject, "sid": party.sid},
                life=life,
            )
            for party in parties
            if party.back
        ]

    def _keep(self, farewell: Farewell) -> Op:
        return self._c.shelves.farewells.put(farewell.batch, farewell, FAREWELL_S)

    def _lists(self, session: Session) -> list[str]:
        """Where a session is listed: with its customer, and with the provider's session if it told one."""
        lists = [f"sessions:{name_of(session.customer)}"]
        if session.upstream_sid is not None:
            lists.append(self._upstream_list(session.upstream, session.upstream_sid))
        return lists

    def _upstream_list(self, upstream: str, sid: str) -> str:
        return f"upstream-sid:{name_of(f'{upstream} {sid}')}"

    async def _listed(self, key: str) -> list[tuple[str, Held[Session]]]:
        (names,) = await self._c.state.run(Listed(key))
        if not names:
            return []
        shelf = self._c.shelves.sessions
        raws = await self._c.state.run(*(shelf.get(name) for name in names))
        found = [(name, shelf.read(name, raw)) for name, raw in zip(names, raws, strict=True)]
        alive = [(name, held) for name, held in found if held is not None and self._is_alive(held.value)]
        return sorted(alive, key=lambda each: each[1].value.seen_at, reverse=True)

    def _is_alive(self, session: Session) -> bool:
        times = self._c.policy().broker.lifetimes
        return is_alive(session, now=self._c.now(), idle=times.session_idle, absolute=times.session)


def _provider_of(session: Session, why: Why) -> AtProvider | None:
    """Where her browser, which is the one that leaves, has to go besides."""
    if session.leave is None or why not in {Why.CUSTOMER, Why.PARTNER}:
        return None
    return AtProvider(session.upstream, session.leave, Fate.REACHABLE)


def opened_by(session: Session, way: str, upstream: str) -> bool:
    """Whether *session* was opened by *way* at *upstream*; one from before sessions knew that, by any at the same provider."""
    return session.way == way if session.way else session.upstream == upstream


def _shut(customer: str, way: str) -> str:
    return f"shut:{name_of(f'{customer} {way}')}"


def grants_of(customer: str) -> str:
    """Where the grants of *customer* are listed that live on by refresh tokens."""
    return f"grants:{name_of(customer)}"
