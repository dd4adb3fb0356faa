"""
Handoffs from creation by the source to acknowledgement by the recipient.
"""

import contextlib
import hmac
from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec import Struct

from broker.core import handoff as core
from broker.core.handoff import Handoff, Offer, Result, admit
from broker.core.journey import Agreed
from broker.core.naming import is_id, name_of
from broker.core.policy import ReleaseUpstreamAssurance
from broker.core.release import GuestTerms, HandoffTerms, Release, decide_release
from broker.core.session import Session, standing
from broker.errors import BadAsk, ConsentWithdrawn, Denied, Gone, Spent, StoreDown, TooMany
from broker.flows.context import Context, digest_of, withdrawn_key
from broker.flows.receipts import Receipts
from broker.flows.values import HANDOFF_AFTERLIFE_S
from broker.observe.telemetry import about
from broker.stores.ports import Count, PutNew
from broker.stores.shelf import Held

_CREATES_PER_MINUTE = 6000
"""Per source: a hundred a second is more than a campaign brings, and far less than a program that has lost its way."""

_TRIES = 60
"""Compare-and-set loops end by themselves: each round somebody else got on. More than anybody does at once."""

_SAME_IN_REPEAT = ("recipient", "purpose", "type", "customer", "return_uri", "contact", "payload_sha256")


class Created(Struct, frozen=True):
    """``handle``: the secret part of the link. ``is_repeat``: answered from an earlier call with the same idempotency key."""

    handoff: Handoff
    handle: str
    is_repeat: bool = False


class Reading(Struct, frozen=True):
    """What the recipient gets to read."""

    handoff: Handoff
    claims: dict[str, Any]
    withheld: tuple[str, ...]


class Handoffs:
    """The flow; one per process."""

    def __init__(self, context: Context, receipts: Receipts) -> None:
        self._c = context
        self._receipts = receipts

    async def create(self, offer: Offer, *, idempotency_key: str | None) -> Created:
        """
        A source hands something over.

        The handle is sealed: it finds the handoff without a lookup table and says nothing to whoever reads it.

        Raises:
            Denied, BadAsk: see `broker.core.handoff.admit`; also a subject the source never saw, or an idempotency
                key used before with another payload.
            TooMany: more than the source may create a minute.
        """
        now, policy = self._c.now(), self._c.policy()
        agreement = admit(offer, policy)
        customer = await self._customer(offer)
        handoff = Handoff(
            id=self._id(offer, idempotency_key),
            source=offer.source,
            recipient=offer.recipient,
            purpose=offer.purpose,
            type=offer.type,
            payload=offer.payload,
            payload_sha256=digest_of(offer.payload),
            return_uri=offer.return_uri,
            language=offer.language,
            customer=customer,
            contact=offer.contact,
            policy_version=policy.version,
            created_at=now,
            expires_at=now + agreement.lifetime.handle,
        )
        shelf = self._c.shelves.handoffs
        limit = Count(f"rate:handoffs:{offer.source}", 60)
        is_new, count = await self._c.state.run(shelf.put_new(handoff.id, handoff, self._ttl_s(handoff, now)), limit)
        if count > _CREATES_PER_MINUTE:
            if is_new:
                await self._c.state.run(shelf.drop(handoff.id))
            raise TooMany("handoffs per source", retry_after_s=60, code="rate.handoffs", partner=offer.source)
        if not is_new:
            return await self._repeat(handoff, now)
        about("handoff", handoff.id)
        self._c.audit.note(
            "handoff.created",
            customer=customer,
            partner=offer.source,
            handoff=handoff.id,
            recipient=offer.recipient,
            rule=agreement.id,
            type=offer.type,
        )
        return Created(handoff, self._handle(handoff))

    def behind(self, handle: str) -> tuple[str, str]:
        """
        Handoff and recipient behind a link, as they were when it was made.

        Raises: Spent for a handle that is not ours.
        """
        handoff, recipient = self._c.tokens.open("handle", handle, now=datetime.fromtimestamp(0, self._c.now().tzinfo))
        return handoff, recipient

    def link(self, handoff: Handoff) -> str:
        """The customer's link to *handoff*."""
        return f"{self._c.policy().issuer}/h/{self._handle(handoff)}"

    def reference(self, handoff: Handoff) -> str:
        """The opaque ``login_hint`` for the recipient; worth nothing without the customer's own session."""
        expires_at = self._c.now() + self._c.policy().broker.lifetimes.handoff_reference
        return "ho_" + self._c.tokens.seal("reference", handoff.id, handoff.recipient, expires_at=expires_at)

    def referred(self, login_hint: str | None, recipient: str) -> str | None:
        """
        The handoff id an ``ho_`` login_hint of *recipient* stands for.

        Returns: None for any other hint, and for one that expired: a hint never decides more than what to offer.
        Raises: BadAsk when the reference was made for another client.
        """
        if login_hint is None or not login_hint.startswith("ho_"):
            return None
        try:
            handoff_id, owner = self._c.tokens.open("reference", login_hint[3:], now=self._c.now())
        except Spent:
            return None
        if owner != recipient:
            raise BadAsk("login_hint was made for another client", code="handoff.foreign")
        return handoff_id

    def short_reference(self, handoff: Handoff) -> str:
        """As `reference`, for a protocol that has 80 octets for it: the id, until when, and a proof that we said so."""
        expires_at = self._c.now() + self._c.policy().broker.lifetimes.handoff_reference
        until = f"{int(expires_at.timestamp()):x}"
        return f"ho_{handoff.id}.{until}.{self._proof(handoff.id, until, handoff.recipient)}"

    def referred_short(self, given: str | None, recipient: str) -> str | None:
        """The handoff id that a `short_reference` of *recipient* stands for; None for anything else, and once it expired."""
        if given is None or not given.startswith("ho_") or not given.isascii() or given.count(".") != 2:
            return None
        handoff, until, proof = given[3:].split(".")
        if not hmac.compare_digest(proof, self._proof(handoff, until, recipient)):
            return None
        return handoff if int(until, 16) > self._c.now().timestamp() else None

    def _proof(self, handoff: str, until: str, recipient: str) -> str:
        return self._c.lookup.digest("reference", handoff, until, recipient)[:32]

    async def share(self, held: Held[Handoff], session: Session, agreed: Agreed) -> Handoff:
        """
        Record the transfer and put the handoff on its way, with what the consent grants of it, which is already on record.

        Of many at once one wins; the others get what it stored.

        Raises: as `core.agree`; ConsentWithdrawn, and nothing has happened.
        """
        now, consent = self._c.now(), agreed.consent.id
        release = agreed.release.agreed_to(agreed.consent.granted)
        payload, withheld = release.nested(), release.withheld
        for _ in range(_TRIES):
            bound = core.bind(held.value, session)
            consented = core.agree(bound, consent=consent, payload=payload, withheld=withheld, now=now)
            started = core.start(consented, now=now)
            # security: her session keeps in mind what she agreed to, also what she has taken back since. Looked for in the
            # step that starts it: what is under way before is revoked by whoever withdraws.
            if await self._swap(held, started, now, unless=withdrawn_key(consent)):
                self._note_started(started, session, release)
                return started
            stored = await self._stored(started.id)
            if stored.value.state not in core.UNDECIDED:
                return stored.value
            if stored.raw == held.raw:
                raise ConsentWithdrawn("consent was withdrawn")
            held = stored
        raise StoreDown("handoff kept changing under us")

    def _note_started(self, started: Handoff, session: Session, release: Release) -> None:
        self._note(
            "handoff.started",
            started,
            session.customer,
            given=release.given,
            withheld=release.withheld,
            assurance=release.assurance_reason.value,
            because=self._because(started),
        )

    async def start_again(self, held: Held[Handoff]) -> Handoff:
        """
        A second way to the recipient for a handoff that is on its way. Raises: as `core.start`.
        """
        now = self._c.now()
        started = core.start(held.value, now=now)
        if started != held.value and not await self._swap(held, started, now):
            return (await self._stored(started.id)).value
        return started

    async def opened(self, handoff: str) -> None:
        """Somebody went on from the page that says where the link leads; its source may see that."""
        await self._change(handoff, lambda old, now: core.open_link(old, now=now))

    async def decline(self, handoff: str) -> Handoff:
        """The right customer goes on without sharing; what is personal is forgotten. Repeating it changes nothing."""
        declined = await self._change(
            handoff, lambda old, now: core.decline(old, product=self._product(old).nested(), now=now)
        )
        self._note("handoff.declined", declined, None)
        return declined

    def guest_reference(self, handoff: Handoff) -> str:
        """
        A reference by which the recipient fetches the product data, once.

        Raises: as `core.may_go_as_guest`.
        """
        now = self._c.now()
        core.may_go_as_guest(handoff, recipient=handoff.recipient, now=now)
        expires_at = now + self._c.policy().broker.lifetimes.guest_reference
        return self._c.tokens.seal("guest", handoff.id, handoff.recipient, self._c.tokens.id(), expires_at=expires_at)

    async def redeem(self, held: Held[Handoff] | None, recipient: str) -> Handoff:
        """
        The recipient redeemed its code: exactly one call succeeds.

        Raises: Spent, Gone; StoreDown.
        """
        if held is None:
            raise Gone("handoff record is gone", code="handoff.expired")
        now = self._c.now()
        redeemed = core.redeem(held.value, recipient=recipient, now=now)
        if not await self._swap(held, redeemed, now):
            raise Spent("handoff was redeemed at the same time", code="handoff.race")
        self._note("handoff.redeemed", redeemed, redeemed.bound_to)
        return redeemed

    async def fetch(self, handoff: str, *, recipient: str) -> Reading:
        """
        What *recipient* may read of *handoff*, which it redeems by its first fetch: for one that got no code, but an assertion.

        Raises: Spent, Gone; StoreDown.
        """
        if not is_id(handoff):
            raise Spent("not the id of a handoff", code="handoff.foreign")
        for _ in range(_TRIES):
            held = await self._get(handoff)
            if held is None or held.value.recipient != recipient:
                raise Spent("no such handoff of this recipient", code="handoff.foreign")
            await self._check_not_withdrawn(held.value)
            if held.value.state not in core.UNDERWAY:
                return self.reading(held.value, recipient=recipient)
            with contextlib.suppress(Spent):
                return self.reading(await self.redeem(held, recipient), recipient=recipient)
        raise StoreDown("handoff kept changing under us")

    async def _check_not_withdrawn(self, handoff: Handoff) -> None:
        """
        security: no token of the recipient's carries the consent, and a withdrawal revokes handoffs last.

        Raises: ConsentWithdrawn.
        """
        if handoff.consent is not None and await self._c.is_withdrawn(handoff.consent):
            raise ConsentWithdrawn("consent was withdrawn")

    async def redeem_guest(self, reference: str, recipient: str) -> Reading:
        """
        The recipient fetches the product data behind a guest reference: exactly one call succeeds.

        Raises: Spent; Gone when the handoff may not be read any more.
        """
        now, policy = self._c.now(), self._c.policy()
        handoff_id, owner, unique = self._c.tokens.open("guest", reference, now=now)
        if owner != recipient:
            raise Spent("guest reference of another recipient", code="handoff.foreign")
        shelf = self._c.shelves.handoffs
        once = PutNew(f"guest:{unique}", b"1", 2 * policy.broker.lifetimes.guest_reference.total_seconds())
        first, raw = await self._c.state.run(once, shelf.get(handoff_id))
        held = shelf.read(handoff_id, raw)
        if not first or held is None:
            raise Spent("guest reference was used before, or its handoff is gone")
        handoff = held.value
        core.may_go_as_guest(handoff, recipient=recipient, now=now)
        release = self._product(handoff)
        self._note("handoff.guest", handoff, None, given=release.given)
        return Reading(handoff, release.nested(), ())

    def reading(self, handoff: Handoff | None, *, recipient: str) -> Reading:
        """
        What *recipient* may read of a redeemed handoff.

        Raises: Spent for a foreign or unredeemed one; Gone for a revoked one, or when its record or agreement is gone.
        """
        if handoff is None:
            raise Gone("handoff record is gone")
        core.may_read(handoff, recipient=recipient)
        agreement = self._c.policy().agreement(handoff.source, handoff.recipient, handoff.purpose)
        if agreement is None:
            raise Gone("the agreement was ended", code="handoff.no_agreement")
        self._note("handoff.read", handoff, handoff.bound_to)
        return Reading(handoff, core.readable(handoff, agreement), handoff.withheld)

    async def acknowledge(self, handoff: str, *, recipient: str, result: Result, reference: str | None) -> Handoff:
        """The recipient says what it did. Raises: as `core.acknowledge`."""
        if not is_id(handoff):
            raise Spent("not the id of a handoff", code="handoff.foreign")
        changed = await self._change(
            handoff,
            lambda old, now: core.acknowledge(old, recipient=recipient, result=result, reference=reference, now=now),
        )
        self._note("handoff.acknowledged", changed, changed.bound_to, result=result.value)
        return changed

    async def revoke(self, handoff: str) -> None:
        """Nobody may use or read it any more; a record that is gone needs nothing."""
        with contextlib.suppress(Gone):
            await self._change(handoff, lambda old, _: core.revoke(old))

    async def status(self, handoff: str, *, source: str) -> Handoff:
        """How far a handoff got, for its source. Raises: Spent when there is none of that source."""
        held = await self._get(handoff) if is_id(handoff) else None
        if held is None or held.value.source != source:
            raise Spent("no such handoff of this source")
        return held.value

    def _because(self, handoff: Handoff) -> str | None:
        """Why the operator may pass on how the customer logged in, in the operator's own words."""
        agreement = self._c.policy().agreement(handoff.source, handoff.recipient, handoff.purpose)
        told = agreement.release_upstream_assurance if agreement else False
        return told.because if isinstance(told, ReleaseUpstreamAssurance) else None

    def _product(self, handoff: Handoff) -> Release:
        """What anybody may take along. Raises Gone when the agreement was ended."""
        policy = self._c.policy()
        agreement = policy.agreement(handoff.source, handoff.recipient, handoff.purpose)
        if agreement is None:
            raise Gone("the agreement was ended", code="handoff.no_agreement")
        terms = GuestTerms(agreement, policy.fields.get(handoff.type, ()), handoff.payload)
        return decide_release(terms, None, policy_version=policy.version)

    def release(self, handoff: Handoff, session: Session) -> Release:
        """
        What its recipient gets of *handoff*, and may be told of the login. Raises: Denied when the agreement was ended.
        """
        policy = self._c.policy()
        agreement = policy.agreement(handoff.source, handoff.recipient, handoff.purpose)
        if agreement is None:
            raise Denied("agreement is gone", code="handoff.no_agreement", config_version=policy.version)
        terms = HandoffTerms(agreement, policy.fields.get(handoff.type, ()), handoff.payload)
        proven = standing(session, policy.age_limits, self._c.now())
        return decide_release(terms, session, standing=proven, policy_version=policy.version)

    async def _customer(self, offer: Offer) -> str | None:
        """security: a source may only name customers it has itself seen (its own pairwise subjects)."""
        if offer.subject is None:
            return None
        sector = self._c.policy().sector(offer.source)
        customer = await self._c.customer_of_subject(sector, offer.subject)
        if customer is None:
            raise BadAsk("subject is not one this source was ever given", code="handoff.subject")
        return customer

    def _id(self, offer: Offer, idempotency_key: str | None) -> str:
        """Random, or for an idempotency key always the same one, so that a repeat meets the first call's record."""
        if idempotency_key is None:
            return self._c.tokens.id()
        return name_of(f"{offer.source}:{self._c.lookup.digest('idempotency', offer.source, idempotency_key)}")

    async def _repeat(self, handoff: Handoff, now: datetime) -> Created:
        held = await self._get(handoff.id)
        if held is None:
            raise StoreDown("handoff vanished between two operations")
        first = held.value
        if any(getattr(first, name) != getattr(handoff, name) for name in _SAME_IN_REPEAT):
            raise BadAsk("idempotency key was used before with another content", code="handoff.changed_payload")
        return Created(first, self._handle(first), is_repeat=True)

    def _handle(self, handoff: Handoff) -> str:
        return self._c.tokens.seal("handle", handoff.id, handoff.recipient, expires_at=handoff.expires_at)

    async def _stored(self, handoff: str) -> Held[Handoff]:
        held = await self._get(handoff)
        if held is None:
            raise Gone("handoff record is gone", code="handoff.expired")
        return held

    async def _change(self, handoff: str, change: Callable[[Handoff, datetime], Handoff]) -> Handoff:
        for _ in range(_TRIES):
            held, now = await self._stored(handoff), self._c.now()
            changed = change(held.value, now)
            if changed == held.value or await self._swap(held, changed, now):
                return changed
        raise StoreDown("handoff kept changing under us")

    async def _get(self, handoff: str) -> Held[Handoff] | None:
        shelf = self._c.shelves.handoffs
        (raw,) = await self._c.state.run(shelf.get(handoff))
        return shelf.read(handoff, raw)

    async def _swap(self, held: Held[Handoff], changed: Handoff, now: datetime, *, unless: str | None = None) -> bool:
        """Store *changed* in place of *held*, if nobody changed it meanwhile and nothing is stored under the key *unless*."""
        swap = self._c.shelves.handoffs.swap(changed.id, held, changed, self._ttl_s(changed, now), unless=unless)
        # security: the entry first, so that whoever withdraws finds all that was stored before, whatever becomes of this call.
        *_, swapped = await self._c.state.run(*self._receipts.entry(changed), swap)
        if swapped:
            self._receipts.follow(changed)
        return bool(swapped)

    def _ttl_s(self, handoff: Handoff, now: datetime) -> float:
        """Undelivered: until the link dies and then some, to answer it. Delivered: as long as the payload is kept."""
        if handoff.state in core.TRANSFERRED:
            kept = self._c.policy().broker.retention.payload
            return max(60.0, ((handoff.redeemed_at or now) + kept - now).total_seconds())
        return max(60.0, (handoff.expires_at - now).total_seconds() + HANDOFF_AFTERLIFE_S)

    def _note(self, action: str, handoff: Handoff, customer: str | None, **facts: Any) -> None:
        about("handoff", handoff.id)
        self._c.audit.note(
            action,
            customer=customer,
            partner=handoff.recipient,
            handoff=handoff.id,
            source=handoff.source,
            **facts,
        )
