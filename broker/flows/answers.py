"""
Answering a partner's request, whatever protocol it came by.

`Answers.prepare` brings what an answer is made of, `Answers.settle` stores in one round trip what it leaves behind: the
protocol's own operations, what the session was told, and the end of the journey.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from broker.core.changing import replace
from broker.core.consent import Consent
from broker.core.handoff import Handoff
from broker.core.journey import Ask, Ending, login_release
from broker.core.naming import name_of
from broker.core.policy import Policy
from broker.core.release import Release
from broker.core.session import Session, with_sid, with_subject
from broker.errors import ConsentWithdrawn, Spent
from broker.flows.context import Context, withdrawn_key
from broker.flows.login import JOURNEY_KEPT_S, Turn
from broker.flows.members import Members
from broker.stores.ports import Get, Op

_TOUCH_S = 60.0
_TRIES = 60


class Due(Struct, frozen=True):
    """
    An answer that is due to ``ask``. ``session``: the customer's, with her subject and session id for the partner;
    ``is_changed``: they, or what its register says, are new to it. ``consent``: what the answer rests on. ``now``: aware UTC.
    """

    ask: Ask
    turn: Turn
    session: Session
    is_changed: bool
    consent: Consent | None
    policy: Policy
    now: datetime

    @property
    def handoff(self) -> Handoff | None:
        """What the partner redeems by this answer."""
        return self.turn.handoff.value if self.turn.handoff is not None else None

    @property
    def subject(self) -> str:
        """The customer as the partner knows her."""
        return self.session.subjects[self.policy.sector(self.ask.partner)]

    @property
    def sid(self) -> str:
        """Her session as the partner knows it."""
        return self.session.sids[self.ask.partner]

    @property
    def unless(self) -> str | None:
        """Key of the marker whose presence keeps the answer from going out."""
        return withdrawn_key(self.consent.id) if self.consent is not None else None

    def release(self) -> Release:
        """What the partner gets of her. Raises: Denied."""
        agreed = _agreed(self.ask, self.consent, self.policy)
        return login_release(self.ask, self.session, self.policy, handoff=self.handoff, agreed=agreed, now=self.now)


class Answers:
    """The part of an answer that all protocols share; one per process."""

    def __init__(self, context: Context, members: Members) -> None:
        self._c = context
        self._members = members

    async def prepare(self, ask: Ask, turn: Turn, consent: Consent | None) -> Due:
        """
        What the answer to *ask* for the turn's customer is made of.

        Subject and sid are taken from the session where it has them, so that a re-login asks no database.

        Raises: Spent: there is no session to answer with.
        """
        if turn.session is None:
            raise Spent("no session to answer with")
        session, is_changed = await self._known_to(turn.session.value, ask.partner)
        policy = self._c.policy()
        if turn.handoff is None:
            session = await self._members.recognise(ask, session, _agreed(ask, consent, policy), consent)
            is_changed = is_changed or session is not turn.session.value
        return Due(ask, turn, session, is_changed, consent, policy, self._c.now())

    async def settle(self, due: Due, own: Sequence[Op]) -> Sequence[Any]:
        """
        Store what *due* changes, and *own*, in one round trip.

        Returns: the results of *own*.
        Raises:
            Spent: another tab finished the journey, or the session ended meanwhile. ConsentWithdrawn: session and journey are
                as they were. The answer is never given out then.
        """
        turn, session, policy, now = due.turn, due.session, due.policy, due.now
        # security: her session keeps in mind what she agreed to, also what she has taken back since.
        withdrawn = due.unless
        ops, touch = [*own, *([Get(withdrawn)] if withdrawn is not None else [])], None
        times = policy.broker.lifetimes
        if due.is_changed:
            sector = policy.sector(due.ask.partner)
            ops.append(self._c.told(sector, session.subjects[sector], session.customer))
        if (
            turn.session is not None
            and turn.browser_session is not None
            and (due.is_changed or (now - session.seen_at).total_seconds() > _TOUCH_S)
        ):
            touch = len(ops)
            touched = replace(session, seen_at=now)
            left = (session.created_at + times.session - now).total_seconds()
            name = name_of(turn.browser_session)
            ops.append(self._c.shelves.sessions.swap(name, turn.session, touched, max(1.0, left), unless=withdrawn))
        if turn.held is not None:
            ended = replace(turn.held.value, ended=Ending.ANSWERED, attempt=None)
            ops.append(self._c.shelves.journeys.swap(ended.id, turn.held, ended, JOURNEY_KEPT_S, unless=withdrawn))
        results = await self._c.state.run(*ops)
        if withdrawn is not None and results[len(own)] is not None:
            raise ConsentWithdrawn("consent was withdrawn")
        if turn.held is not None and not results[-1]:
            if due.consent is not None and await self._c.is_withdrawn(due.consent.id):
                raise ConsentWithdrawn("consent was withdrawn just then")
            # security: of two tabs that finish one journey at once, one answers; the other's answer is never given out
            raise Spent("the journey went on in another tab", code="journey.went_on")
        if touch is not None and due.is_changed and not results[touch]:
            await self._remember(turn.browser_session or "", session)
        return results[: len(own)]

    def note(self, due: Due, release: Release, **facts: Any) -> None:
        """For the audit: the partner was answered; *facts* say with what. A handoff has said before what it gives."""
        if due.handoff is None:
            facts |= {"given": release.given, "withheld": release.reasons}
        self._c.audit.note(
            "login.answered",
            customer=due.session.customer,
            partner=due.ask.partner,
            upstream=due.session.upstream,
            **facts,
            took_s=_took_s(due),
        )

    async def _known_to(self, session: Session, partner: str) -> tuple[Session, bool]:
        """*session* with its pairwise subject and sid for *partner*, and whether either is new to it."""
        changed = session
        for sector in self._c.policy().sectors_told(partner):
            if sector in session.subjects:
                continue
            subject = await self._c.records.subject_for(session.customer, sector, self._c.tokens.id(), self._c.now())
            changed = with_subject(changed, sector, subject)
        if partner not in session.sids:
            changed = with_sid(changed, partner, self._c.tokens.id())
        return changed, changed is not session

    async def _remember(self, cookie: str, told: Session) -> None:
        """Another tab changed the session first: add what *told* one partner, so that logout still knows it."""
        shelf = self._c.shelves.sessions
        for _ in range(_TRIES):
            (raw,) = await self._c.state.run(shelf.get(name_of(cookie)))
            held = shelf.read(name_of(cookie), raw)
            if held is None:
                # security: nobody would tell this partner of the logout that was faster
                raise Spent("the session ended meanwhile", code="journey.went_on")
            subjects, sids = {**told.subjects, **held.value.subjects}, {**told.sids, **held.value.sids}
            both = replace(held.value, subjects=subjects, sids=sids)
            left = (both.created_at + self._c.policy().broker.lifetimes.session - self._c.now()).total_seconds()
            (swapped,) = await self._c.state.run(shelf.swap(name_of(cookie), held, both, max(1.0, left)))
            if swapped:
                return


def _agreed(ask: Ask, consent: Consent | None, policy: Policy) -> frozenset[str] | None:
    """What the customer agreed to; None where partner and broker serve her under one agreement."""
    partner = policy.partner(ask.partner)
    if partner is not None and partner.login is not None and partner.login.consent == "implied":
        return None
    return frozenset(consent.granted if consent else ())


def _took_s(due: Due) -> dict[str, float]:
    """How long the login took; without a login on the way (SSO) there is nothing to tell."""
    session, journey = due.session, due.turn.journey
    if due.turn.held is None or session.created_at < journey.created_at:
        return {}
    return {
        "proved_to_answered": (due.now - session.created_at).total_seconds(),
        "begun_to_answered": (due.now - journey.created_at).total_seconds(),
    }
