"""
Logins that SAML service providers ask for: each request once, and what the answer is made of.

There is no code and no grant here: the assertion is the answer, and nothing is fetched with it afterwards.
"""

from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from msgspec import Struct

from broker.core.changing import replace
from broker.core.consent import Consent
from broker.core.journey import Ask
from broker.core.naming import is_id, name_of
from broker.core.policy import NameIdFormat
from broker.core.release import Release
from broker.core.saml_login import entity_of
from broker.core.session import Session
from broker.errors import Spent, StoreDown, TooMany
from broker.flows.answers import Answers, Due
from broker.flows.context import Context
from broker.flows.login import Turn
from broker.flows.sessions import FAREWELL_S
from broker.flows.values import Leaving, SentAway
from broker.stores.ports import Drop, Op, PutNew
from broker.stores.shelf import Shelf

T = TypeVar("T")

SEEN_S = 1200.0
"""Longer than a request is taken, however far the clocks differ."""

_NOTED_S = 60.0
_TAKEN_PER_MINUTE = 1200

_KEPT_S = 60.0
"""The browser comes back at once; whoever does not starts again."""


class Told(Struct, frozen=True):
    """
    What an assertion is made of: the answer that is ``due``, and its ``release``. ``transient``: a name of the customer for this
    session only. ``until``: when the session ends at the latest (aware UTC).
    """

    due: Due
    release: Release
    transient: str
    until: datetime


class SamlLogins:
    """The flow; one per process."""

    def __init__(self, context: Context, answers: Answers) -> None:
        self._c = context
        self._answers = answers

    async def admit(self, ask: Ask, address: str, *, comes_back: bool) -> str | None:
        """
        Take the request behind *ask*, which came from the network *address*, once.

        Args:
            comes_back: the browser brings its cookies only afterwards: the ask is kept for it (`kept`).
        Returns: what it is kept by.
        Raises: Spent: a request of that ID was taken before. TooMany, StoreDown; then it was not taken.
        """
        request_id = ask.saml.request_id if ask.saml is not None else None
        waits = ask if comes_back else None
        return await self._admit(ask.partner, request_id, waits, self._c.shelves.asks, unproven=address)

    async def kept(self, reference: str) -> Ask:
        """What `admit` kept, once. Raises: Spent."""
        return await self._kept(reference, self._c.shelves.asks)

    def knows(self, ask: Ask, turn: Turn) -> bool:
        """Whether the partner was ever told who the turn's customer is."""
        return turn.session is not None and self._c.policy().sector(ask.partner) in turn.session.value.subjects

    async def prepare(self, ask: Ask, turn: Turn, consent: Consent | None) -> Told:
        """What answers *ask* for the turn's customer; nothing has happened yet. Raises: Spent, Denied."""
        due = _remembering(await self._answers.prepare(ask, turn, consent))
        until = due.session.created_at + due.policy.broker.lifetimes.session
        return Told(due, due.release(), self.transient(ask.partner, due.sid), until)

    async def settle(self, told: Told) -> None:
        """The partner is answered: the journey is over. Raises: Spent; then the answer is never given out."""
        due = told.due
        await self._answers.settle(due, ())
        handoff, consent = due.handoff, due.consent
        self._answers.note(
            due,
            told.release,
            acr=told.release.acr or "",
            handoff=handoff.id if handoff else None,
            consent=handoff.consent if handoff else (consent.id if consent else None),
            **({"unsolicited": True} if due.ask.saml is not None and due.ask.saml.is_unsolicited else {}),
        )

    async def note_refused_start(self, partner: str) -> None:
        """
        For the audit: somebody was to be sent to *partner* unasked, which no agreement allows. Once a minute: anybody can follow
        such a link as often as she likes.
        """
        with suppress(StoreDown):
            (is_first,) = await self._c.state.run(PutNew(f"noted:{name_of(f'saml-start {partner}')}", b"1", _NOTED_S))
            if is_first:
                self._c.audit.note("saml.unsolicited_refused", partner=partner)

    async def admit_leaving(self, leaving: Leaving, *, comes_back: bool) -> str | None:
        """Take a logout request, once; as `admit`. Raises: Spent, StoreDown."""
        waits = leaving if comes_back else None
        return await self._admit(leaving.partner, leaving.request_id, waits, self._c.shelves.leavings)

    async def kept_leaving(self, reference: str) -> Leaving:
        """What `admit_leaving` kept, once. Raises: Spent."""
        return await self._kept(reference, self._c.shelves.leavings)

    async def _admit(
        self, partner: str, request_id: str | None, waits: T | None, shelf: Shelf[T], *, unproven: str | None = None
    ) -> str | None:
        """
        Take the request of that ID, once.

        Args:
            unproven: the address of one who perhaps only says that it is from *partner*, as requests need no signature.
        Returns: what *waits* is kept by, if anything does.
        """
        seen = name_of(f"saml-request {partner} {request_id}")
        ops: list[Op] = [PutNew(f"seen:{seen}", b"1", SEEN_S)]
        reference = None
        if waits is not None:
            reference = self._c.tokens.id()
            ops.append(shelf.put_new(name_of(reference), waits, _KEPT_S))
        if unproven is not None:
            ops.append(self._c.counted("requests", unproven))
        is_first, *counted = await self._c.state.run(*ops)
        is_too_many = unproven is not None and counted[-1] > _TAKEN_PER_MINUTE
        if is_first and not is_too_many:
            return reference
        gone: list[Op] = [Drop(f"seen:{seen}")] if is_first else []
        if reference is not None:
            gone.append(shelf.drop(name_of(reference)))
        if gone:
            await self._c.state.run(*gone)
        if is_first:
            # security: nobody fills the store, which is everybody's
            raise TooMany("requests per address", retry_after_s=60, code="rate.requests")
        raise Spent("request ID was used before", code="saml.replayed", partner=partner)

    async def _kept(self, reference: str, shelf: Shelf[T]) -> T:
        if not is_id(reference):
            raise Spent("not a reference of ours")
        if (kept := await self._c.once(shelf, reference, _KEPT_S)) is None:
            raise Spent("the request was taken up before, or too late", code="saml.posted")
        return kept

    def means(self, leaving: Leaving, session: Session) -> bool:
        """
        Whether a logout request is about *session*: by a name the partner was told in it, and its index where one is given.
        """
        policy, sid = self._c.policy(), session.sids.get(leaving.partner)
        if sid is None or (leaving.session_indexes and sid not in leaving.session_indexes):
            return False
        names = {self.transient(leaving.partner, sid), session.subjects.get(policy.sector(leaving.partner))}
        terms = entity_of(policy, leaving.partner)
        format_ = session.name_formats.get(leaving.partner, terms.name_id_formats[0]) if terms is not None else None
        if format_ == NameIdFormat.EMAIL.value:
            # security: else a partner that was not told her address could find it out by asking.
            names.add(session.profile.email)
        return leaving.name_id in names

    async def send_away(self, request_id: str, partner: str, farewell: str) -> None:
        """The customer is sent to *partner* by our request *request_id*, to be logged out there."""
        sent = SentAway(partner, farewell)
        await self._c.state.run(self._c.shelves.sent_away.put_new(name_of(request_id), sent, FAREWELL_S))

    async def returned(self, request_id: str, partner: str) -> str:
        """
        *partner* answered our request *request_id*, once.

        Returns: what the customer looks up how it went by. Raises: Spent: no request of ours to it, or answered before.
        """
        sent = await self._c.once(self._c.shelves.sent_away, request_id, FAREWELL_S)
        if sent is None or sent.partner != partner:
            raise Spent("an answer to nothing we asked", code="saml.in_response_to", partner=partner)
        return sent.farewell

    def transient(self, partner: str, sid: str) -> str:
        """The transient name of the customer in the partner's session *sid*: always the same, and worth nothing elsewhere."""
        return f"_{self._c.lookup.digest('transient', partner, sid)[:40]}"


def _remembering(due: Due) -> Due:
    """*due*, whose session remembers the format the partner is told her name in, for when she logs out."""
    session, saml = due.session, due.ask.saml
    if saml is None or session.name_formats.get(due.ask.partner) == saml.name_id_format.value:
        return due
    formats = {**session.name_formats, due.ask.partner: saml.name_id_format.value}
    return replace(due, session=replace(session, name_formats=formats), is_changed=True)
