"""
One person, several ways in: asking whether a login is hers as well, and carrying out her answer.

A login that nobody has yet is kept sealed for a few minutes, used once, while she is asked. What it joins is decided anew when
she answers: somebody may have been faster. Before the link stands, everybody else who is in as her is put out (docs/linking.md),
so that a process that dies in between has put out too many rather than too few, and linked nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from broker.core.changing import replace
from broker.core.discreet import Discreet
from broker.core.identity import ContactKind, Identity
from broker.core.journey import Journey
from broker.core.linking import (
    Apart,
    Decision,
    KnownContact,
    Offer,
    Question,
    Rule,
    Same,
    decide,
    match,
    proven_contacts,
    without_unverified,
)
from broker.core.logout import Why
from broker.core.naming import name_of
from broker.core.session import Session
from broker.errors import UpstreamRefused
from broker.flows.contacts import contact_digest
from broker.flows.context import Context
from broker.flows.sessions import Sessions
from broker.flows.values import Proven
from broker.stores.ports import GONE, ContactRecord, Delist, Enlist, KnownCustomer, LinkedIdentity, Listed, Op
from broker.stores.sealing import Broken
from broker.stores.shelf import TOMBSTONE

_ANSWERING_S = 20.0
"""How long an answer is being carried out at most: until then a second one waits for it."""

_MOST = 20
"""Questions open at once to one customer, in all her browsers."""


class OnFile(Discreet, frozen=True):
    """A verified contact of a customer, from before."""

    UNSPOKEN = frozenset({"value"})

    kind: ContactKind
    value: str


class News(Protocol):
    """Who tells customers what became of their ways in, at the contacts on file."""

    def way_added(self, contacts: Sequence[OnFile], *, upstream: str, language: str, at: datetime) -> None:
        """A way to log in was added. Returns at once; whether it arrives is not known here."""
        ...

    def way_removed(self, contacts: Sequence[OnFile], *, upstream: str, language: str, at: datetime) -> None:
        """A way to log in was taken out."""
        ...


class NoNews:
    """Nobody is told: the operator sends no messages."""

    def way_added(self, contacts: Sequence[OnFile], *, upstream: str, language: str, at: datetime) -> None:
        """See `News.way_added`."""

    def way_removed(self, contacts: Sequence[OnFile], *, upstream: str, language: str, at: datetime) -> None:
        """See `News.way_removed`."""


class Taken(Struct, frozen=True):
    """What `Links.take` found: the login, or that another tab is answering (``is_busy``), or neither."""

    proven: Proven | None
    is_busy: bool = False


class Links:
    """One per process. *news*: who tells customers."""

    def __init__(self, context: Context, news: News | None = None) -> None:
        self._c = context
        self._sessions = Sessions(context)
        self._news = news or NoNews()

    def lookup(self, identity: Identity) -> str:
        """What *identity* is found by."""
        return self._c.lookup.digest(identity.issuer, identity.subject)

    def row(self, identity: Identity, customer: str, now: datetime) -> LinkedIdentity:
        """*identity* as it is kept of *customer*."""
        lookup = self.lookup(identity)
        return LinkedIdentity(
            lookup=lookup,
            customer=customer,
            upstream=identity.upstream,
            sealed_subject=self._c.sealer.seal(identity.subject.encode(), f"identity:{lookup}"),
            created_at=now,
            last_used_at=now,
        )

    async def meet(
        self, identity: Identity, journey: Journey, session: Session | None, now: datetime
    ) -> KnownCustomer | Question | None:
        """
        Whose a login is that was just proven: a known customer's, nobody's (None), or she must be asked first.

        One statement for whoever was here before, as without linking.

        Raises: UpstreamRefused: its provider said not to trust it.
        """
        known = await self._c.records.known_customer(self.lookup(identity))
        # security: one that its customer took out is nobody's, and must neither make a customer nor be linked
        reason = known.blocked if known is not None else await self._c.records.blocked(self.lookup(identity))
        if reason is not None:
            raise shut(reason)
        if known is None and identity.is_of_known:
            return None
        if session is None:
            return known or await self._seen_before(identity, now)
        owner = known.customer.id if known is not None else None
        match self._decide(identity, journey, session, owner, now, is_adding=journey.is_adding):
            case Offer() as offer:
                return self._question(offer.rule, offer.customer, identity, now, offer=offer)
            case Apart(rule) if journey.is_adding or rule is Rule.BELONGS_TO_ANOTHER:
                return self._question(rule, session.customer, identity, now)
            case Apart(rule):
                self._c.audit.note("link.apart", customer=session.customer, upstream=identity.upstream, rule=rule.value)
                return known
            case Same():
                return known

    async def _seen_before(self, identity: Identity, now: datetime) -> Question | None:
        """Nobody is logged in, and the login is nobody's: does somebody have the contact it proves?"""
        policy = self._c.policy()
        contacts = proven_contacts(identity)
        if not contacts or not policy.broker.linking.enabled:
            return None
        found = await self._c.records.find_contacts([self._digest(kind, value) for kind, value in contacts])
        decision = match(
            identity, [KnownContact(each.customer, each.upstream, each.verified_at) for each in found], policy, now
        )
        if isinstance(decision, Apart):
            return None
        able = tuple(name for name in decision.renew if name in self._c.available().ready)
        if not able:
            return None
        return self._question(decision.rule, decision.customer, identity, now, offer=replace(decision, renew=able))

    def other_number(
        self, identity: Identity, known: KnownCustomer, session: Session | None, now: datetime
    ) -> Question | None:
        """
        What she is told whose login goes by a member number, and who has linked another one of that partner; None when she has
        not. A household may share an address, and a number replaces none by itself.
        """
        linked = identity.membership
        if linked is None or known.customer.profile is None:
            return None
        try:
            numbers = self._c.open_profile(known.customer.id, known.customer.profile).member_numbers
        except Broken:
            return None
        if numbers.get(linked.partner, linked.number) == linked.number:
            return None
        asked = session.customer if session is not None else known.customer.id
        return self._question(Rule.ANOTHER_NUMBER, asked, identity, now)

    def number_linked(self, identity: Identity, customer: str) -> None:
        """Note the member number that *identity* brought, if it did: it is one of *customer*'s now."""
        if (linked := identity.membership) is not None:
            self._c.audit.note("member.linked", customer=customer, partner=linked.partner, upstream=identity.upstream)

    def _decide(
        self,
        identity: Identity,
        journey: Journey,
        session: Session,
        owner: str | None,
        now: datetime,
        *,
        is_adding: bool,
    ) -> Decision:
        wants_switch = journey.ask is not None and "select_account" in journey.ask.prompt
        return decide(
            session,
            identity,
            owner,
            self._c.policy(),
            now,
            is_adding=is_adding,
            wants_switch=wants_switch,
        )

    def _question(
        self, rule: Rule, customer: str, identity: Identity, now: datetime, *, offer: Offer | None = None
    ) -> Question:
        contacts = [value for value in (identity.email, identity.phone_number) if value is not None]
        return Question(
            id=self._c.tokens.id(),
            rule=rule,
            customer=customer,
            upstream=identity.upstream,
            until=now + self._c.policy().broker.linking.answer,
            contact=contacts[0] if contacts else None,
            renew=offer.renew if offer else (),
            fresh=offer.fresh if offer else False,
        )

    def keep(self, question: Question, proven: Proven) -> list[Op]:
        """What goes along with asking *question*: the login it is about, sealed."""
        ttl_s = max(1.0, (question.until - self._c.now()).total_seconds())
        return [
            self._c.shelves.links.put(question.id, proven, ttl_s),
            Enlist(_questions(question.customer), question.id, ttl_s, _MOST),
        ]

    def forget(self, question: Question) -> list[Op]:
        """What goes along with giving *question* up."""
        return [self._c.shelves.links.drop(question.id), Delist(_questions(question.customer), question.id)]

    def asked(self, question: Question, journey: Journey) -> None:
        """Note that she is asked."""
        self._c.audit.note(
            "link.asked",
            customer=question.customer,
            upstream=question.upstream,
            rule=question.rule.value,
            renew=bool(question.renew),
            journey=journey.id,
        )

    async def take(self, question: Question) -> Taken:
        """The login *question* is about, once: of several answers at a time one gets it."""
        shelf = self._c.shelves.links
        (raw,) = await self._c.state.run(shelf.take(question.id, _ANSWERING_S))
        held = shelf.read(question.id, raw)
        return Taken(held.value if held is not None else None, is_busy=raw == TOMBSTONE)

    async def give_back(self, question: Question, proven: Proven) -> None:
        """The answer could not be carried out, and nothing happened: she may answer again."""
        await self._c.state.run(*self.keep(question, proven))

    async def join(
        self, question: Question, proven: Proven, journey: Journey, session: Session, keep: str | None
    ) -> KnownCustomer | Question:
        """
        Link *proven* to the customer of *session*, if it is still so that it may be.

        Args:
            keep: name of her session on this browser, which stays.
        Returns: the customer it is one of the ways of now; else what to ask or tell instead, with nothing changed.
        Raises: StoreDown; then nothing is linked, or all of it.
        """
        now, identity = self._c.now(), proven.identity
        owner = await self._c.records.customer_of(self.lookup(identity))
        match self._decide(identity, journey, session, owner, now, is_adding=True):
            case Offer(renew=()):
                ended = await self._put_out_others(session, question, keep)
                on_file = await self._on_file(session.customer)
                owner = await self._c.records.link_identity(
                    self.row(identity, session.customer, now), self.contacts(identity, now)
                )
                if owner != session.customer:
                    return self._question(Rule.BELONGS_TO_ANOTHER, session.customer, identity, now)
                # She may have taken it out a minute ago.
                await self._sessions.reopen(session.customer, {self.lookup(identity)})
                self._linked(question, identity, session, ended, on_file, journey, now)
            case Offer() as offer:
                return self._question(offer.rule, offer.customer, identity, now, offer=offer)
            case Apart(rule):
                return self._question(rule, session.customer, identity, now)
            case Same():
                pass
        known = await self._c.records.known_customer(self.lookup(identity))
        return known or self._question(Rule.BELONGS_TO_ANOTHER, session.customer, identity, now)

    async def _put_out_others(self, session: Session, question: Question, keep: str | None) -> tuple[int, int]:
        """
        End all else that somebody is in by as this customer: sessions, refresh tokens, and questions in other browsers.

        security: whoever made the account before its owner came must not stay in it (pre-hijacking, docs/linking.md).
        """
        sessions = await self._sessions.end_others(session.customer, keep, why=Why.LINKED)
        grants = await self._sessions.end_grants(session.customer, keep=session.sids.values() if keep else ())
        key = _questions(session.customer)
        (open_questions,) = await self._c.state.run(Listed(key))
        others = [each for each in open_questions if each != question.id]
        if others:
            drops: list[Op] = [self._c.shelves.links.drop(each) for each in others]
            await self._c.state.run(*drops, *(Delist(key, each) for each in others))
        return sessions, grants

    def _linked(
        self,
        question: Question,
        identity: Identity,
        session: Session,
        ended: tuple[int, int],
        on_file: Sequence[OnFile],
        journey: Journey,
        now: datetime,
    ) -> None:
        self._c.audit.note(
            "identity.linked",
            customer=session.customer,
            upstream=identity.upstream,
            beside=session.upstream,
            rule=question.rule.value,
            journey=journey.id,
            sessions=ended[0],
            grants=ended[1],
        )
        self._c.audit.later(lambda: self._clean_profile(session.customer, identity))
        self._news.way_added(on_file, upstream=identity.upstream, language=journey.language, at=now)

    async def _clean_profile(self, customer: str, identity: Identity) -> None:
        """What nobody verified does not survive a link; a member number that came with it does, where she had none."""
        known = await self._c.records.get_customer(customer)
        if known is None or known.profile is None:
            return
        try:
            profile = self._c.open_profile(customer, known.profile)
        except Broken:
            return
        clean, linked = without_unverified(profile), identity.membership
        if linked is not None and linked.partner not in clean.member_numbers:
            clean = replace(clean, member_numbers={**clean.member_numbers, linked.partner: linked.number})
            self.number_linked(identity, customer)
        if clean != profile:
            await self._c.records.save_profile(customer, self._c.seal_profile(customer, clean))

    def kept_apart(self, question: Question, customer: str) -> None:
        """Note that she said no: *customer* is whose the login is."""
        self._c.audit.note(
            "link.kept_apart",
            customer=customer,
            upstream=question.upstream,
            rule=question.rule.value,
        )

    def contacts(self, identity: Identity, now: datetime) -> list[ContactRecord]:
        """What *identity* has proven, as it is kept."""
        lookup = self.lookup(identity)
        records = []
        for kind, value in proven_contacts(identity):
            digest = self._digest(kind, value)
            sealed = self._c.sealer.seal(value.encode(), f"contact:{digest}")
            records.append(ContactRecord(digest, lookup, kind.value, sealed, now))
        return records

    def remember_contacts(self, identity: Identity, now: datetime) -> None:
        """Write beside the login what it proved."""
        lookup, records = self.lookup(identity), self.contacts(identity, now)
        self._c.audit.later(lambda: self._c.records.save_contacts(lookup, records))

    async def _on_file(self, customer: str) -> Sequence[OnFile]:
        return opened(self._c, await self._c.records.contacts_of(customer))

    def _digest(self, kind: ContactKind, value: str) -> str:
        return contact_digest(self._c.lookup, kind, value)


def shut(reason: str) -> UpstreamRefused:
    """The refusal of a way in that is blocked for *reason* (`Records.block_identity`)."""
    key = "notice.account_gone" if reason == GONE else "notice.account_blocked"
    return UpstreamRefused("its provider said not to trust it", code="identity.blocked", message_key=key, reason=reason)


def opened(context: Context, records: Sequence[ContactRecord]) -> list[OnFile]:
    """The contacts behind *records*, each once; one that does not open (an older key) is left out."""
    found: dict[str, OnFile] = {}
    for each in records:
        try:
            value = context.sealer.open(each.sealed, f"contact:{each.digest}").decode()
        except Broken:
            continue
        found.setdefault(each.digest, OnFile(ContactKind(each.kind), value))
    return list(found.values())


def _questions(customer: str) -> str:
    return f"questions:{name_of(customer)}"
