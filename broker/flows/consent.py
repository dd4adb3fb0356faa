"""
The customer's answer to "may this be shared?", and taking it back.
"""

from collections.abc import Sequence
from datetime import timedelta

from msgspec import Struct

from broker.core.changing import replace
from broker.core.consent import Consent, Wish, granted_of
from broker.core.handoff import UNDERWAY, Handoff, State
from broker.core.journey import LOGIN_TYPE, Agreed, Answer, AskConsent, Deliver, narrowed
from broker.core.release import Release
from broker.core.saml_login import demanded
from broker.core.session import Session
from broker.errors import BadAsk, Gone, Spent
from broker.flows.context import Context, consent_of, digest_of, withdrawn_key
from broker.flows.handoff import Handoffs
from broker.flows.login import Logins, Turn
from broker.flows.receipts import Receipts
from broker.flows.values import Visitor
from broker.stores.ports import ConsentRecord, Put, Transfer

__all__ = [
    "LOGIN_CONSENT",
    "ConsentRecord",
    "Consents",
    "Sharing",
    "Transfer",
    "digest_of_release",
    "edge_of",
]

_WITHDRAWN_S = 30 * 24 * 3600.0
"""Longer than any token or payload that could rest on a consent."""

LOGIN_CONSENT = timedelta(days=365)
"""How long a remembered consent to a partner's own login holds."""

_HISTORY = 50
_ALL = 100_000


class Sharing(Struct, frozen=True):
    """What a customer shares: live consents and the latest transfers, newest first."""

    consents: Sequence[ConsentRecord]
    transfers: Sequence[Transfer]


def edge_of(shared: ConsentRecord | Transfer) -> tuple[str | None, str, str]:
    """What the customer sees as one sharing: source, recipient, purpose."""
    return shared.source, shared.recipient, shared.purpose


def digest_of_release(customer: str, wish: Wish, release: Release) -> str:
    """
    What the consent page binds the answer of *customer* to: exactly these fields with these values, which are
    required, and under the config whose words she read.

    security: an answer to anything else than what is due now is not taken (changed payload or config, stale page, somebody
    else logged in meanwhile).
    """
    shown = [[item.name, item.value] for item in release.items if item.given]
    return digest_of(
        [
            customer,
            wish.source,
            wish.recipient,
            wish.purpose,
            wish.type,
            wish.required,
            shown,
            release.rule,
            release.policy_version,
        ]
    )


class Consents:
    """The flow; one per process."""

    def __init__(self, context: Context, logins: Logins, handoffs: Handoffs, receipts: Receipts) -> None:
        self._c = context
        self._logins = logins
        self._handoffs = handoffs
        self._receipts = receipts

    async def agree(self, journey: str, visitor: Visitor, *, kept: frozenset[str], remember: bool, digest: str) -> Turn:
        """
        The customer shares the required fields and those in *kept*.

        Returns: the turn whose step is `Answer` or `Deliver`; the same for a repeated answer. Where a remembered consent
        came to cover it meanwhile, nothing goes out that she left out here.
        Raises:
            BadAsk: ``consent.changed``, what she saw is not what is due now: show it again.
            Spent: no consent is due.
        """
        turn = await self._logins.look(journey, visitor, trusts_session=False)
        step, left = turn.step, kept | self._demanded(turn)
        turn = replace(turn, kept=left)
        if isinstance(step, Answer | Deliver):
            return replace(turn, step=narrowed(step, left))
        if not isinstance(step, AskConsent) or turn.session is None:
            raise Spent("no consent is due", code="journey.went_on", step=type(step).__name__)
        if digest != digest_of_release(turn.session.value.customer, step.wish, step.release):
            raise BadAsk("the customer answered to something else than is due", code="consent.changed")
        about = turn.handoff.value.id if turn.handoff else turn.journey.id
        consent = await self._record(about, step, turn.session.value, kept, remember)
        if step.agreement is None or turn.handoff is None:
            return replace(turn, step=Answer(turn.session.value, consent))
        return replace(turn, step=Deliver(turn.handoff.value, Agreed(step.wish, step.release, consent)))

    def _demanded(self, turn: Turn) -> frozenset[str]:
        """What was required of her, and so is in no answer of hers."""
        ask = turn.journey.ask
        return frozenset(demanded(ask.saml, ask.partner, self._c.policy()) if ask is not None else ())

    async def deliver(self, turn: Turn) -> Handoff:
        """
        Carry out a `Deliver` step: put the handoff on its way, or find where it stands already.

        Raises: Spent, Gone, StoreDown.
        """
        step = turn.step
        if not isinstance(step, Deliver) or turn.handoff is None or turn.session is None:
            raise Spent("nothing to deliver", code="journey.went_on")
        if turn.handoff.value.state in UNDERWAY:
            return await self._handoffs.start_again(turn.handoff)
        if step.agreed is None:
            raise Spent("no consent to deliver by")
        consent, session = step.agreed.consent, turn.session.value
        shared = await self._handoffs.share(turn.handoff, session, step.agreed)
        if shared.consent != consent.id and not consent.remember:
            # Another tab was faster, with another choice: what this one agreed to never came about.
            await self._c.records.withdraw_consent(consent.id, session.customer, self._c.now())
        return shared

    async def sharing_of(self, session: Session) -> Sharing:
        """For the page "What I share"."""
        now = self._c.now()
        await self._receipts.write_all()
        consents = await self._c.records.live_consents(session.customer, now)
        return Sharing(consents, await self._c.records.transfers_of(session.customer, _HISTORY))

    async def withdraw(self, consent: str, session: Session) -> ConsentRecord:
        """
        Stop sharing: from now on every token, userinfo and data read that rests on *consent* is refused, and on every other
        one of this customer for the same source, recipient and purpose; she sees them as one.

        Raises: Gone when there is no such consent of this customer. StoreDown: try again, nothing is lost.
        """
        now = self._c.now()
        known = await self._c.records.get_consent(consent)
        if known is None or known.customer != session.customer:
            raise Gone("no such consent of this customer")
        live = await self._c.records.live_consents(session.customer, now)
        ending = {each.id for each in live if edge_of(each) == edge_of(known)} | {consent}
        kept_s = max(_WITHDRAWN_S, 2 * self._c.policy().broker.lifetimes.session.total_seconds())
        await self._c.state.run(*(Put(withdrawn_key(each), b"1", kept_s) for each in sorted(ending)))
        for each in sorted(ending):
            await self._c.records.withdraw_consent(each, session.customer, now)
        await self._receipts.write_all()
        transfers = await self._c.records.transfers_of(session.customer, _ALL)
        # By edge and not by consent: a try that got no further than this has ended the other consents already.
        ended = [each.id for each in transfers if edge_of(each) == edge_of(known) and each.state != State.REVOKED]
        for handoff in ended:
            await self._handoffs.revoke(handoff)
        await self._c.records.revoke_transfers(ended)
        for each in sorted(ending):
            self._c.audit.note("consent.withdrawn", customer=session.customer, partner=known.recipient, consent=each)
        return known

    async def _record(
        self, about: str, step: AskConsent, session: Session, kept: frozenset[str], remember: bool
    ) -> Consent:
        """
        Write the answer down; the same answer about the same thing (a double click, a retry) is one consent, unless she
        took it back in between.

        Args:
            about: id of the handoff or journey it is given in.
        """
        now = self._c.now()
        granted, refused = granted_of(step.wish, kept)
        lifetime = step.agreement.lifetime.consent if step.agreement else LOGIN_CONSENT
        same = self._c.lookup.digest("consent", about, session.customer, digest_of([granted, refused, remember]))[:32]
        record = ConsentRecord(
            id=self._c.tokens.id() if await self._c.is_withdrawn(same) else same,
            customer=session.customer,
            source=step.wish.source,
            recipient=step.wish.recipient,
            purpose=step.wish.purpose,
            type=step.wish.type,
            granted=granted,
            refused=refused,
            remember=remember,
            policy_version=self._c.policy().version,
            created_at=now,
            expires_at=now + lifetime,
        )
        await self._c.records.add_consent(record)
        self._c.audit.note(
            "consent.given",
            customer=session.customer,
            partner=step.wish.recipient,
            consent=record.id,
            rule=step.release.rule,
            granted=granted,
            refused=refused,
            remembered=remember,
            login=step.wish.type == LOGIN_TYPE,
        )
        return consent_of(record)
