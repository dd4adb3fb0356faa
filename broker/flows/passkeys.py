"""
Customers' passkeys: whose one is, and what becomes of it.

Each is a linked identity, so that a login by it finds its customer as any other does. What is known of it besides is sealed.
"""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from msgspec import Struct

from broker.core.changing import replace
from broker.core.identity import ContactKind
from broker.core.linking import is_fresh
from broker.core.logout import Why
from broker.core.naming import name_of
from broker.core.octets import base64url, from_base64url
from broker.core.passkey import MOST, EnrolmentProof, Passkey, given_name, proof_of
from broker.core.session import Session
from broker.errors import BadAsk, Spent
from broker.flows.context import Context
from broker.flows.links import opened as on_file
from broker.flows.sessions import Sessions
from broker.flows.values import Visitor
from broker.observe.logging import log
from broker.stores.ports import Get, LinkedIdentity, PasskeyRecord, Put, PutNew
from broker.stores.sealing import Broken

CHALLENGE_LIFE = timedelta(minutes=5)
"""How long a challenge may be answered (WebAuthn section 13.4.3 asks for its being used once)."""

_USED_S = 2 * CHALLENGE_LIFE.total_seconds()
_HINT_S = 90 * 24 * 3600.0
_KIND = "passkey"


class Owned(Struct, frozen=True):
    """A passkey and what is on record of it. ``lookup``: what it is called in forms and events; it opens nothing."""

    record: PasskeyRecord
    passkey: Passkey

    @property
    def lookup(self) -> str:
        """Its name towards everybody but its authenticator."""
        return self.record.identity.lookup


class Ticket(Struct, frozen=True):
    """The right to add one passkey in the session it was made for: what the browser is to answer, and for which user."""

    challenge: bytes
    user_handle: bytes


class PasskeyRing:
    """
    One per process.

    Args:
        issuer: under whom credential ids are unique: the domain they belong to.
    """

    def __init__(self, context: Context, issuer: str) -> None:
        self._c = context
        self.issuer = issuer
        self._sessions = Sessions(context)

    def lookup(self, credential: str) -> str:
        """What the passkey with that credential id (base64url) is found by."""
        return self._c.lookup.digest(self.issuer, credential)

    def derived(self, secret: str, mark: str) -> bytes:
        """64 bytes that nobody else can make of *secret* and *mark*, to serve as a challenge."""
        halves = (self._c.lookup.digest("passkey", half, secret, mark) for half in ("1", "2"))
        return b"".join(bytes.fromhex(half) for half in halves)

    async def first_use(self, challenge: bytes) -> bool:
        """Whether nobody has answered *challenge* before; the next one has."""
        (first,) = await self._c.state.run(PutNew(f"used:{name_of(base64url(challenge))}", b"1", _USED_S))
        return bool(first)

    async def find(self, lookup: str) -> Owned | None:
        """The passkey; None when there is none, or none that opens."""
        record = await self._c.records.get_passkey(lookup)
        return _opened(self._c, record) if record is not None else None

    async def rests_on_hers(self, owned: Owned) -> bool:
        """
        Whether the way in that she added *owned* by is still hers, and not blocked by its provider.

        security: who takes out a way in because it is another's by now, or always was, shuts out what was added by it. So does
        a provider that says the account was hijacked.
        """
        way = owned.passkey.proof.way
        if not way:
            return True
        known = await self._c.records.known_customer(way)
        return known is not None and known.blocked is None and known.customer.id == owned.record.identity.customer

    async def of_customer(self, customer: str) -> Sequence[Owned]:
        """Hers, the oldest first."""
        return await passkeys_of(self._c, customer)

    async def count(self, owned: Owned, *, counter: int, is_backed_up: bool) -> bool:
        """
        Remember how often *owned* was used.

        Returns: False when it was used somewhere else since it was looked up. Most passkeys do not count, and are not written.
        """
        record = owned.record
        if counter == record.counter and is_backed_up == record.is_backed_up:
            return True
        return await self._c.records.count_passkey(
            owned.lookup, known=record.counter, counter=counter, is_backed_up=is_backed_up
        )

    def alarm(self, owned: Owned) -> None:
        """There is a copy of her key somewhere."""
        record = owned.record
        self._c.audit.note(
            "passkey.counter", customer=record.identity.customer, passkey=owned.lookup, known=record.counter
        )

    async def proof_in(self, session: Session) -> EnrolmentProof | None:
        """
        What a passkey counts for that is added in *session*.

        security: in one that was opened by a passkey no more, and no longer, than that one; None when it is gone.
        """
        if session.upstream_sid is None or not self._is_ours(session):
            return proof_of(session)
        owned = await self.find(session.upstream_sid)
        return owned.passkey.proof if owned is not None else None

    def _is_ours(self, session: Session) -> bool:
        upstream = self._c.policy().config.upstreams.get(session.upstream)
        return upstream is not None and upstream.kind == _KIND

    def seal_ticket(self, visitor: Visitor, ticket: Ticket) -> str:
        """*ticket* for the page to send along; good for this browser's session only, and for `CHALLENGE_LIFE`."""
        until = self._c.now() + CHALLENGE_LIFE
        parts = (name_of(visitor.session or ""), base64url(ticket.challenge), base64url(ticket.user_handle))
        return self._c.tokens.seal(_KIND, *parts, expires_at=until)

    async def take_ticket(self, visitor: Visitor, sealed: str) -> Ticket:
        """What `seal_ticket` made, once. Raises: Spent for anything else."""
        session, challenge, user_handle = self._c.tokens.open(_KIND, sealed, now=self._c.now())
        if visitor.session is None or session != name_of(visitor.session):
            raise Spent("made for another session", code="passkey.other_session")
        ticket = Ticket(from_base64url(challenge), from_base64url(user_handle))
        if not await self.first_use(ticket.challenge):
            raise Spent("this passkey was added before", code="passkey.replayed")
        return ticket

    async def add(
        self, session: Session, upstream: str, credential: str, passkey: Passkey, *, counter: int, is_backed_up: bool
    ) -> str | None:
        """
        Give *session*'s customer *passkey*, known to browsers as *credential*.

        Returns: its lookup; None when she has `MOST` already, or somebody has this one.
        """
        now, lookup = self._c.now(), self.lookup(credential)
        identity = LinkedIdentity(
            lookup=lookup,
            customer=session.customer,
            upstream=upstream,
            sealed_subject=self._c.sealer.seal(credential.encode(), f"identity:{lookup}"),
            created_at=now,
            last_used_at=now,
        )
        record = PasskeyRecord(identity, self._sealed(lookup, passkey), counter, is_backed_up)
        if not await self._c.records.add_passkey(record, MOST):
            return None
        self._c.audit.note(
            "passkey.added",
            customer=session.customer,
            upstream=upstream,
            passkey=lookup,
            by=passkey.proof.upstream,
            assurance=passkey.proof.assurance.value,
            is_synced=passkey.is_synced,
        )
        return lookup

    async def rename(self, session: Session, lookup: str, typed: str) -> None:
        """Raises: BadAsk: no such passkey of hers, or nothing is left of the name."""
        owned, name = await self.hers(session, lookup), given_name(typed)
        if not name:
            raise BadAsk("a passkey needs a name", code="passkey.name")
        sealed = self._sealed(lookup, replace(owned.passkey, name=name))
        await self._c.records.reseal_passkey(lookup, session.customer, sealed)
        self._c.audit.note("passkey.renamed", customer=session.customer, passkey=lookup)

    async def hers(self, session: Session, lookup: str) -> Owned:
        """Raises: BadAsk: *session*'s customer has no such passkey."""
        owned = await self.find(lookup)
        if owned is None or owned.record.identity.customer != session.customer:
            raise BadAsk("she has no such passkey", code="passkey.not_hers")
        return owned

    def is_fresh(self, session: Session) -> bool:
        """Whether *session* may take one away: whoever finds her logged in does not shut her out."""
        return is_fresh(session, self._c.policy().broker.linking, self._c.now())

    async def remove(self, session: Session, lookup: str) -> Sequence[str]:
        """
        Take a passkey away, and end all that was opened by it.

        Returns: the names of the sessions that ended.
        Raises: BadAsk: no such passkey of hers (any more), or she proved too long ago who she is (`is_fresh`).
        """
        if not self.is_fresh(session):
            raise BadAsk("proven too long ago", code="passkey.stale")
        owned = await self.hers(session, lookup)
        if not await self._c.records.remove_passkey(lookup, session.customer):
            raise BadAsk("somebody was faster", code="passkey.not_hers")
        resting = await self._sessions.of_upstream_session(owned.record.identity.upstream, lookup)
        for each in resting:
            await self._sessions.end(each.name, each.session, why=Why.WAY_REMOVED)
        sids = [sid for each in resting for sid in each.session.sids.values()]
        await self._sessions.take_back(session.customer, {lookup})
        await self._sessions.end_grants(session.customer, only=sids, ways={lookup})
        self._c.audit.note("passkey.removed", customer=session.customer, passkey=lookup, sessions=len(resting))
        return [each.name for each in resting]

    async def contacts_of(self, session: Session) -> Sequence[tuple[ContactKind, str]]:
        """
        What is verified of *session*'s customer: in this login, and on file from others.

        security: of all her ways in, for what is known of her is by and by what whoever logs in tells.
        """
        customer, profiles = await self._c.records.get_customer(session.customer), [session.profile]
        if customer is not None and customer.profile is not None:
            try:
                profiles.append(self._c.open_profile(session.customer, customer.profile))
            except Broken as error:
                log("passkey.unreadable", "error", error=type(error).__name__)
        found = [
            *((ContactKind.EMAIL, each.email) for each in profiles if each.email_verified),
            *((ContactKind.PHONE, each.phone_number) for each in profiles if each.phone_number_verified),
        ]
        found += [
            (each.kind, each.value) for each in on_file(self._c, await self._c.records.contacts_of(session.customer))
        ]
        return [(kind, value) for kind, value in dict.fromkeys(found) if value]

    async def wants_hint(self, customer: str) -> bool:
        """Whether the customer may be told that there are passkeys; she is not told again for a while after `dismiss_hint`."""
        (dismissed,) = await self._c.state.run(Get(self._hint(customer)))
        return dismissed is None

    async def dismiss_hint(self, customer: str) -> None:
        """She does not want to hear of passkeys."""
        await self._c.state.run(Put(self._hint(customer), b"1", _HINT_S))

    def _hint(self, customer: str) -> str:
        return f"hint:passkey:{name_of(customer)}"

    def _sealed(self, lookup: str, passkey: Passkey) -> bytes:
        return self._c.sealer.seal(msgspec.msgpack.encode(passkey), f"passkey:{lookup}")


async def passkeys_of(context: Context, customer: str) -> Sequence[Owned]:
    """The customer's passkeys, the oldest first; those that do not open are left out."""
    opened = [_opened(context, record) for record in await context.records.passkeys_of(customer)]
    return [each for each in opened if each is not None]


async def added_by(context: Context, customer: str, way: str) -> frozenset[str]:
    """The lookups of the customer's passkeys that were added in a login by *way* (`broker.core.linking.WayIn.name`)."""
    return frozenset(each.lookup for each in await passkeys_of(context, customer) if each.passkey.proof.way == way)


def _opened(context: Context, record: PasskeyRecord) -> Owned | None:
    lookup = record.identity.lookup
    try:
        plain = context.sealer.open(record.sealed, f"passkey:{lookup}")
        return Owned(record, msgspec.msgpack.decode(plain, type=Passkey))
    except (Broken, msgspec.DecodeError) as error:
        # Changed or moved in the database, or sealed with a secret that is gone: no way in any more.
        log("passkey.unreadable", "error", passkey=lookup, error=type(error).__name__)
        return None
