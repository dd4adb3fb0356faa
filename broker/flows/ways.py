"""
Her ways in, on her own page: which there are, taking one out, and bringing it back.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from broker.core.changing import replace
from broker.core.journey import may_add
from broker.core.linking import Rule, WayIn, able, is_fresh, may_remove, may_restore
from broker.core.logout import Why
from broker.core.naming import name_of
from broker.core.session import Profile, Session
from broker.flows.context import Context
from broker.flows.links import News, NoNews, OnFile, opened
from broker.flows.passkeys import added_by
from broker.flows.sessions import Sessions, opened_by
from broker.stores.ports import Customer, LinkedIdentity
from broker.stores.sealing import Broken


class OwnWay(Struct, frozen=True):
    """
    One of her ways in. ``name``: what forms call it by; it opens nothing.

    ``contacts``: proven by it. ``is_here``: this browser's session was opened by it. ``may_remove``: another one remains.
    ``removed_at``: when she took it out; None while it is there.
    """

    name: str
    upstream: str
    since: datetime
    used_at: datetime
    contacts: tuple[OnFile, ...] = ()
    is_here: bool = False
    may_remove: bool = False
    removed_at: datetime | None = None


class OwnWays(Struct, frozen=True):
    """
    All of them, the oldest first. ``removed``: those that can still be brought back, the last one first.

    ``refusal``: why she may add none in this session; None where she may. ``is_fresh``: she proved lately who she is.
    """

    ways: tuple[OwnWay, ...]
    removed: tuple[OwnWay, ...]
    refusal: Rule | None
    is_fresh: bool


class Outcome(StrEnum):
    """What became of a wish to change a way in."""

    DONE = "done"
    LAST = "last"
    """It is the only one that she can log in by."""
    GONE = "gone"
    """No such way of hers (any more), or it is somebody's by now."""
    STALE = "stale"
    """She is to prove first who she is, or it was taken out too long ago."""
    REFUSED = "refused"
    """A method that may not be used to add another is involved."""


class Ways:
    """The flow; one per process."""

    def __init__(self, context: Context, news: News | None = None) -> None:
        self._c = context
        self._sessions = Sessions(context)
        self._news = news or NoNews()

    async def of(self, session: Session) -> OwnWays:
        """Everything her page tells of her ways in; passkeys are told by themselves."""
        now, policy = self._c.now(), self._c.policy()
        identities = await self._c.records.identities_of(session.customer)
        contacts = await self._c.records.contacts_of(session.customer)
        removed = await self._c.records.removed_of(session.customer, now - policy.broker.linking.undo)
        ways = await self._ways(session.customer, identities)
        own = [
            OwnWay(
                name_of(each.lookup),
                each.upstream,
                each.created_at,
                each.last_used_at,
                tuple(opened(self._c, [known for known in contacts if known.identity == each.lookup])),
                opened_by(session, each.lookup, each.upstream),
                may_remove(ways, each.lookup, policy),
            )
            for each in identities
            if not self._is_passkey(each.upstream)
        ]
        left = [
            OwnWay(
                name_of(each.identity.lookup),
                each.identity.upstream,
                each.identity.created_at,
                each.identity.last_used_at,
                removed_at=each.removed_at,
            )
            for each in removed
            if not self._is_passkey(each.identity.upstream)
        ]
        return OwnWays(tuple(own), tuple(left), self._refusal(session), is_fresh(session, policy.broker.linking, now))

    async def upstreams_of(self, customer: str) -> Sequence[str]:
        """By which providers one gets in as *customer*, each once."""
        return list(dict.fromkeys(each.upstream for each in await self._c.records.identities_of(customer)))

    async def remove(self, session: Session, name: str, language: str) -> tuple[Outcome, bool]:
        """
        Take out the way called *name*: it is nobody's then, and whoever is in by it is out.

        security: whoever finds her logged in does not shut her out; that takes a proof a few minutes old.

        Returns: what became of it, and whether this browser's session was opened by it.
        Raises: StoreDown; then it may be tried again.
        """
        policy, now = self._c.policy(), self._c.now()
        if not is_fresh(session, policy.broker.linking, now):
            return Outcome.STALE, False
        identities = await self._c.records.identities_of(session.customer)
        meant = next((each for each in identities if name_of(each.lookup) == name), None)
        if meant is None or self._is_passkey(meant.upstream):
            return Outcome.GONE, False
        if not may_remove(await self._ways(session.customer, identities), meant.lookup, policy):
            return Outcome.LAST, False
        on_file = opened(self._c, await self._c.records.contacts_of(session.customer))
        await self._put_out(session.customer, meant)
        if not await self._c.records.remove_identity(meant.lookup, session.customer, able(policy), now):
            return Outcome.LAST, opened_by(session, meant.lookup, meant.upstream)
        # Who logged in by it while it was still there, or is about to.
        await self._put_out(session.customer, meant, is_gone=True)
        self._c.audit.note("identity.removed", customer=session.customer, upstream=meant.upstream)
        self._news.way_removed(on_file, upstream=meant.upstream, language=language, at=now)
        return Outcome.DONE, opened_by(session, meant.lookup, meant.upstream)

    async def unlink_number(self, session: Session, partner: str) -> None:
        """
        Her member number at *partner*, if there is one, is linked no more: it is told to nobody from now on.

        Raises: StoreDown; then it may be tried again.
        """
        customer = session.customer
        # What a login a moment ago has to write is written first, or it would bring the number back.
        await self._c.audit.flush()
        known = await self._c.records.get_customer(customer)
        profile = self._profile(known) if known is not None else None
        if profile is not None and partner in profile.member_numbers:
            left = {name: number for name, number in profile.member_numbers.items() if name != partner}
            changed = replace(profile, member_numbers=left)
            await self._c.records.save_profile(customer, self._c.seal_profile(customer, changed))
            self._c.audit.note("member.unlinked", customer=customer, partner=partner)
        await self._sessions.unlink_number(customer, partner)

    def _profile(self, customer: Customer) -> Profile | None:
        try:
            return self._c.open_profile(customer.id, customer.profile) if customer.profile is not None else None
        except Broken:
            return None

    async def restore(self, session: Session, name: str, language: str) -> Outcome:
        """Bring back a way that she took out, if it is still nobody's."""
        now, policy = self._c.now(), self._c.policy()
        since = now - policy.broker.linking.undo
        removed = await self._c.records.removed_of(session.customer, since)
        meant = next((each for each in removed if name_of(each.identity.lookup) == name), None)
        if meant is None or self._is_passkey(meant.identity.upstream):
            return Outcome.GONE
        way = WayIn(meant.identity.lookup, meant.identity.upstream)
        if (refused := may_restore(session, way, meant.removed_at, policy, now)) is not None:
            return Outcome.STALE if refused is Rule.STALE_PROOF else Outcome.REFUSED
        on_file = opened(self._c, await self._c.records.contacts_of(session.customer))
        if not await self._c.records.restore_identity(way.name, session.customer, since):
            return Outcome.GONE
        added = await added_by(self._c, session.customer, way.name)
        await self._sessions.reopen(session.customer, {way.name, *added})
        self._c.audit.note("identity.restored", customer=session.customer, upstream=way.upstream)
        self._news.way_added(on_file, upstream=way.upstream, language=language, at=now)
        return Outcome.DONE

    async def _ways(self, customer: str, identities: Sequence[LinkedIdentity]) -> list[WayIn]:
        shut = await self._c.records.blocked_of(customer)
        return [WayIn(each.lookup, each.upstream, each.lookup in shut) for each in identities]

    async def _put_out(self, customer: str, way: LinkedIdentity, *, is_gone: bool = False) -> None:
        """
        End the sessions opened by *way*, or by a passkey that was added by it, and all refresh tokens from such logins; what it
        has lent to other sessions is taken back.

        security: refresh tokens outlive the sessions they were given in, so they are found by the way in as well.
        """
        added = await added_by(self._c, customer, way.lookup)
        ways = {way.lookup, *added}
        if is_gone:
            await self._sessions.shut(customer, ways)
        theirs = [
            each
            for each in await self._sessions.of_customer(customer)
            if each.session.way in added or opened_by(each.session, way.lookup, way.upstream)
        ]
        sids = [sid for each in theirs for sid in each.session.sids.values()]
        for each in theirs:
            await self._sessions.end(each.name, each.session, why=Why.WAY_REMOVED)
        await self._sessions.take_back(customer, ways)
        await self._sessions.end_grants(customer, only=sids, ways=ways)

    def _refusal(self, session: Session) -> Rule | None:
        policy = self._c.policy()
        if not policy.broker.linking.enabled:
            return Rule.OFF
        return None if may_add(session, policy) else Rule.NO_BOOTSTRAP

    def _is_passkey(self, upstream: str) -> bool:
        known = self._c.policy().config.upstreams.get(upstream)
        return known is not None and known.kind == "passkey"
