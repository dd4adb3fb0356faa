"""
Handoffs to partners that have no OpenID Connect client: a handle out, a challenge back, an artifact to redeem.

The handle leads the browser back to its journey and is worth nothing elsewhere. The artifact is bound to the challenge, and so to
the browser whose secret the partner's server keeps (protection against login CSRF, as PKCE and ``state`` give it to others).
"""

from broker.core.arrival import Arrived, arrive, may_redeem
from broker.core.changing import replace
from broker.core.handoff import Handoff
from broker.core.journey import Arrive
from broker.core.session import Session
from broker.errors import ConsentWithdrawn, Gone, Spent
from broker.flows.context import Context, withdrawn_key
from broker.flows.handoff import Handoffs
from broker.flows.login import Logins, Turn
from broker.flows.values import Visitor
from broker.stores.ports import Get, Op

_REUSE_KNOWN_S = 600.0


class Artifacts:
    """The flow; one per process."""

    def __init__(self, context: Context, logins: Logins, handoffs: Handoffs) -> None:
        self._c = context
        self._logins = logins
        self._handoffs = handoffs

    def handle(self, turn: Turn, handoff: Handoff) -> str:
        """The opaque handle the customer is sent to *handoff*'s recipient with; good in her browser and journey only."""
        expires_at = self._c.now() + self._c.policy().broker.lifetimes.handoff_reference
        return self._c.tokens.seal("arrival", turn.journey.id, handoff.recipient, expires_at=expires_at)

    async def arrive(self, handle: str, challenge: str, visitor: Visitor) -> Turn:
        """
        The recipient sent the browser back with *challenge*: the turn whose step is `Arrive`, or what is due instead.

        A later challenge replaces an earlier one: the customer went there twice.

        Raises: Spent for a handle that is not a live one of ours. Expired, WrongBrowser: as `Logins.look`.
        """
        journey, recipient = self._c.tokens.open("arrival", handle, now=self._c.now())
        turn = await self._logins.act(journey, visitor, lambda old: replace(old, challenge=challenge))
        if turn.journey.partner != recipient:
            raise Spent("handle does not fit its journey", code="artifact.foreign")
        return turn

    async def issue(self, turn: Turn) -> str:
        """
        The artifact the customer carries to the recipient, after she confirmed the account (step `Arrive`).

        Raises: as `broker.core.arrival.arrive`; Denied when the agreement was ended.
        """
        if not isinstance(turn.step, Arrive) or turn.session is None or turn.handoff is None:
            raise Spent("no arrival is due", code="journey.went_on", step=type(turn.step).__name__)
        now, session, handoff = self._c.now(), turn.session.value, turn.handoff.value
        arrival = arrive(
            handoff,
            session,
            self._handoffs.release(handoff, session),
            challenge=turn.step.challenge,
            subject=await self._subject(session, handoff.recipient),
            now=now,
        )
        name, lives = self._c.tokens.id(), self._c.policy().broker.lifetimes.artifact
        await self._c.state.run(self._c.shelves.arrivals.put_new(name, arrival, lives.total_seconds()))
        self._c.audit.note(
            "handoff.arrived",
            customer=session.customer,
            partner=handoff.recipient,
            handoff=handoff.id,
            source=handoff.source,
            upstream=session.upstream,
            acr=arrival.acr,
            consent=handoff.consent,
        )
        return self._c.tokens.seal(
            "artifact", name, handoff.id, handoff.recipient, handoff.consent or "", expires_at=now + lives
        )

    async def redeem(self, artifact: str, *, secret: str, recipient: str) -> Arrived:
        """
        Exchange an artifact for what it stands for: exactly one call succeeds, and it moves the handoff to redeemed.

        Raises:
            Spent: unknown, used, expired, of another recipient, or *secret* does not fit; the artifact is then used up.
            Gone: the consent was withdrawn, the handoff expired, or the agreement was ended.
        """
        name, handoff_id, owner, consent = self._c.tokens.open("artifact", artifact, now=self._c.now())
        if owner != recipient:
            # Before it is taken: another partner must not be able to use it up.
            raise Spent("artifact of another recipient", code="artifact.foreign")
        shelves = self._c.shelves
        ops: list[Op] = [
            shelves.arrivals.take(name, _REUSE_KNOWN_S),
            shelves.handoffs.get(handoff_id),
            Get(withdrawn_key(consent)),
        ]
        taken, raw, withdrawn = await self._c.state.run(*ops)
        arrival = shelves.arrivals.read(name, taken)
        if arrival is None:
            self._c.audit.note("artifact.reused", partner=recipient, handoff=handoff_id)
            raise Spent("artifact was used before", code="artifact.reused")
        may_redeem(arrival.value, recipient=recipient, secret=secret)
        held = shelves.handoffs.read(handoff_id, raw)
        if withdrawn is not None:
            raise ConsentWithdrawn("consent was withdrawn")
        if held is not None and not self._is_agreed(held.value):
            raise Gone("the agreement was ended", code="handoff.no_agreement")
        redeemed = await self._handoffs.redeem(held, recipient)
        reading = self._handoffs.reading(redeemed, recipient=recipient)
        return Arrived(name, arrival.value, redeemed, reading.claims, reading.withheld)

    def _is_agreed(self, handoff: Handoff) -> bool:
        return self._c.policy().agreement(handoff.source, handoff.recipient, handoff.purpose) is not None

    async def _subject(self, session: Session, partner: str) -> str:
        """The customer's pairwise subject for *partner*, from the session where it has it."""
        sector = self._c.policy().sector(partner)
        known = session.subjects.get(sector)
        return known or await self._c.records.subject_for(session.customer, sector, self._c.tokens.id(), self._c.now())
