"""
What every flow works with, built once by ``app.py``.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from broker.core.arrival import Arrival
from broker.core.case import Case
from broker.core.consent import Consent
from broker.core.handoff import Handoff
from broker.core.journey import Ask, Journey
from broker.core.logout import Farewell
from broker.core.membership import OnFile
from broker.core.memory import DeviceRecord
from broker.core.naming import name_of, neighbourhood
from broker.core.octets import base64url, from_base64url
from broker.core.policy import Policy
from broker.core.session import Profile, Session
from broker.core.trust import Available
from broker.errors import Spent
from broker.flows.audit import AuditTrail
from broker.flows.outbox import Outbox
from broker.flows.values import (
    Grant,
    Leaving,
    PostedAnswer,
    Proven,
    ProviderAnswer,
    PushedRequest,
    SentAway,
    SentToProvider,
)
from broker.stores.ports import ConsentRecord, Count, Get, Put, Records, StateStore
from broker.stores.sealing import Broken, Digester, Sealer
from broker.stores.shelf import Shelf

Clock = Callable[[], datetime]
T = TypeVar("T")

_MAX_TOKEN = 2048


class Tokens:
    """
    Random ids, and sealed tokens: opaque to everybody else, they carry what must be known before the store is asked, so
    that one round trip is enough. A sealed token of one ``kind`` does not open as another.
    """

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def random(self) -> str:
        """256 random bits as base64url."""
        return base64url(os.urandom(32))

    def id(self) -> str:
        """128 random bits as base64url, for ids that need not be secret but must not be guessed."""
        return base64url(os.urandom(16))

    def seal(self, kind: str, *parts: str, expires_at: datetime) -> str:
        """A token of *kind* holding *parts*, until *expires_at* (second precision)."""
        plain = msgspec.msgpack.encode([int(expires_at.timestamp()), *parts])
        return base64url(self._sealer.seal(plain, kind))

    def seal_same(self, kind: str, *parts: str, expires_at: datetime) -> str:
        """As `seal`, but the same parts always give the same token."""
        plain = msgspec.msgpack.encode([int(expires_at.timestamp()), *parts])
        return base64url(self._sealer.seal_same(plain, kind))

    def open(self, kind: str, token: str, *, now: datetime) -> tuple[str, ...]:
        """
        The parts of a token made by `seal`.

        Raises: Spent for anything that is not a live token of *kind*.
        """
        return self.open_until(kind, token, now=now)[0]

    def open_until(self, kind: str, token: str, *, now: datetime) -> tuple[tuple[str, ...], int]:
        """As `open`, and until when it lives, in seconds since the epoch."""
        if not 1 <= len(token) <= _MAX_TOKEN:
            raise Spent(f"{kind}: not a token")
        try:
            sealed = from_base64url(token)
            if base64url(sealed) != token:
                raise ValueError("a token has one spelling")
            expires_at, *parts = msgspec.msgpack.decode(self._sealer.open(sealed, kind))
        except (Broken, ValueError) as error:
            raise Spent(f"{kind}: not one of ours") from error
        if now.timestamp() >= expires_at:
            raise Spent(f"{kind}: expired", code="expired_token")
        return tuple(parts), expires_at


class Shelves(Struct, frozen=True):
    """Everything short-lived, by kind."""

    journeys: Shelf[Journey]
    sessions: Shelf[Session]
    handoffs: Shelf[Handoff]
    grants: Shelf[Grant]
    pushed: Shelf[PushedRequest]
    posted: Shelf[PostedAnswer]
    arrivals: Shelf[Arrival]
    subjects: Shelf[str]
    farewells: Shelf[Farewell]
    cases: Shelf[Case]
    devices: Shelf[DeviceRecord]
    links: Shelf[Proven]
    on_file: Shelf[OnFile]
    asks: Shelf[Ask]
    leavings: Shelf[Leaving]
    sent_away: Shelf[SentAway]
    sent_to_provider: Shelf[SentToProvider]
    provider_answers: Shelf[ProviderAnswer]

    @classmethod
    def of(cls, sealer: Sealer) -> "Shelves":
        """All shelves, sealed with *sealer*."""
        return cls(
            Shelf("journey", Journey, sealer),
            Shelf("session", Session, sealer),
            Shelf("handoff", Handoff, sealer),
            Shelf("grant", Grant, sealer),
            Shelf("pushed", PushedRequest, sealer),
            Shelf("posted", PostedAnswer, sealer),
            Shelf("arrival", Arrival, sealer),
            Shelf("subject", str, sealer),
            Shelf("farewell", Farewell, sealer),
            Shelf("case", Case, sealer),
            Shelf("device", DeviceRecord, sealer),
            Shelf("link", Proven, sealer),
            Shelf("on-file", OnFile, sealer),
            Shelf("ask", Ask, sealer),
            Shelf("leaving", Leaving, sealer),
            Shelf("sent-away", SentAway, sealer),
            Shelf("sent-to-provider", SentToProvider, sealer),
            Shelf("provider-answer", ProviderAnswer, sealer),
        )


class Context(Struct, frozen=True):
    """
    ``policy``: the current config snapshot. ``available``: connectors usable right now. ``sealer``: for records.
    ``lookup``: digests of upstream subjects. ``tokens``: randomness and token sealing.
    """

    state: StateStore
    records: Records
    shelves: Shelves
    policy: Callable[[], Policy]
    available: Callable[[], Available]
    clock: Clock
    tokens: Tokens
    sealer: Sealer
    lookup: Digester
    audit: AuditTrail
    outbox: Outbox

    def now(self) -> datetime:
        """The time, aware UTC."""
        return self.clock()

    def told(self, sector: str, subject: str, customer: str) -> Put:
        """Keeps in mind whom *subject* was told about: who hands her over soon after is answered without the database."""
        name = self._subject_name(sector, subject)
        return self.shelves.subjects.put(name, customer, self.policy().broker.lifetimes.session.total_seconds())

    async def customer_of_subject(self, sector: str, subject: str) -> str | None:
        """The customer behind a pairwise *subject*; None when no such subject was ever told to that *sector*."""
        name = self._subject_name(sector, subject)
        (raw,) = await self.state.run(self.shelves.subjects.get(name))
        held = self.shelves.subjects.read(name, raw)
        return held.value if held else await self.records.customer_of_subject(sector, subject)

    async def is_withdrawn(self, consent: str) -> bool:
        """Whether the consent of that id was taken back: its mark says so before the records do."""
        (mark,) = await self.state.run(Get(withdrawn_key(consent)))
        return mark is not None

    async def once(self, shelf: Shelf[T], reference: str, known_s: float) -> T | None:
        """What *reference* stands for on *shelf*, for the first who asks; None for the others, and for what never was."""
        name = name_of(reference)
        (raw,) = await self.state.run(shelf.take(name, known_s))
        held = shelf.read(name, raw)
        return held.value if held is not None else None

    def counted(self, what: str, address: str) -> Count:
        """One more of *what* in this minute, from *address* and its neighbours."""
        name = self.lookup.digest("address", neighbourhood(address))
        return Count(f"rate:{what}:{name[:32]}", 60)

    def _subject_name(self, sector: str, subject: str) -> str:
        return self.lookup.digest("subject", sector, subject)[:32]

    def seal_profile(self, customer: str, profile: Profile) -> bytes:
        """*profile*, encrypted for the customer's row."""
        return self.sealer.seal(msgspec.msgpack.encode(profile), f"profile:{customer}")

    def open_profile(self, customer: str, sealed: bytes) -> Profile:
        """What `seal_profile` made. Raises `broker.stores.sealing.Broken`."""
        return msgspec.msgpack.decode(self.sealer.open(sealed, f"profile:{customer}"), type=Profile)

    def seal_payload(self, transfer: str, payload: Mapping[str, Any]) -> tuple[bytes, str]:
        """
        A released payload, encrypted for its transfer's row, and a keyed digest of its JSON in hex.

        security: the digest outlives the payload, which is guessable; without the key nothing can be tried out on it.
        """
        plain = canonical(payload)
        return self.sealer.seal(plain, f"transfer:{transfer}"), self.lookup.digest("payload", transfer, plain.decode())


def withdrawn_key(consent: str) -> str:
    """Key of the marker that refuses everything resting on *consent* at once."""
    return f"withdrawn:{consent}"


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: the same value always gives the same bytes."""
    return msgspec.json.encode(value, order="deterministic")


def digest_of(value: Any) -> str:
    """Hex SHA-256 of *value* as canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


def consent_of(record: ConsentRecord) -> Consent:
    """The core's view of a stored consent."""
    return Consent(
        id=record.id,
        source=record.source,
        recipient=record.recipient,
        purpose=record.purpose,
        type=record.type,
        granted=record.granted,
        refused=record.refused,
        remember=record.remember,
        expires_at=record.expires_at,
    )
