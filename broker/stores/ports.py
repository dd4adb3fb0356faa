"""
The two small interfaces everything that remembers implements.

`StateStore` holds short-lived, one-time and compare-and-set things as bytes with a time to live. Its only
primitive is `StateStore.run`: several operations in **one round trip**, each atomic by itself, results in
order. `Records` holds what must survive: customers, linked identities, pairwise subjects, consents,
transfers and the audit trail.

A miss is a value (None, False); an error is `StoreDown`. The two are never confused.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from broker.core.keys import KeyBook

Key = str
"""``kind:opaque-id``, ASCII, 1 to 200 characters, never personal data. The adapters add their own prefix."""


class Get(Struct, frozen=True):
    """Read. Result: ``bytes | None``. With ``renew_s``, what is there lives for that long from now on."""

    key: Key
    renew_s: float | None = None


class Put(Struct, frozen=True):
    """Write whatever was there before, unless something is stored under ``unless``. Result: ``None``. ``ttl_s`` > 0 seconds."""

    key: Key
    value: bytes
    ttl_s: float
    unless: Key | None = None


class PutNew(Struct, frozen=True):
    """Write only if the key is free. Result: ``bool``, True for the one that wrote."""

    key: Key
    value: bytes
    ttl_s: float


class Take(Struct, frozen=True):
    """
    Read and remove at once, so that exactly one caller gets it. Result: ``bytes | None``.

    With ``leave``, an existing key is replaced by that tombstone for ``leave_ttl_s`` seconds instead of
    vanishing: the next taker gets the tombstone (and so knows the thing was used before), whoever comes to a
    key that never was gets None. Taking a tombstone this way renews it.
    """

    key: Key
    leave: bytes | None = None
    leave_ttl_s: float = 0


class Swap(Struct, frozen=True):
    """
    Replace ``old`` by ``new`` only if the value is still exactly ``old``, and nothing is stored under ``unless``. Result:
    ``bool``; always look at it.
    """

    key: Key
    old: bytes
    new: bytes
    ttl_s: float
    unless: Key | None = None


class Drop(Struct, frozen=True):
    """Remove. Result: ``bool``, whether it was there."""

    key: Key


class Count(Struct, frozen=True):
    """
    Add one to a counter. Result: ``int``, the count including this one.

    The first count opens a window of ``window_s`` seconds; when it is over, counting starts anew.
    """

    key: Key
    window_s: float


class Enlist(Struct, frozen=True):
    """
    Add *member* to a list for ``ttl_s`` seconds; again renews it. Result: ``tuple[str, ...]``, who fell off for it.

    A list keeps itself small: members whose time is over leave at the next `Enlist`, beyond ``most`` those of the others that
    would leave soonest fall off, and with its last member the list is gone. With ``drops``, the key made of it and the member's
    name is removed along with each that falls off, in the same step.
    """

    key: Key
    member: str
    ttl_s: float
    most: int
    drops: str = ""


class Delist(Struct, frozen=True):
    """Take *member* off a list. Result: ``bool``, whether it was on it."""

    key: Key
    member: str


class Listed(Struct, frozen=True):
    """
    Who is on a list. Result: ``tuple[str, ...]``, newest time limit last, empty for a list that is not there.

    A member whose time is over may still be among them: what it names is looked up anyway.
    """

    key: Key


Op = Get | Put | PutNew | Take | Swap | Drop | Count | Enlist | Delist | Listed


class StateStore(Protocol):
    """Short-lived state. One implementation for Redis/Valkey, one in memory."""

    async def run(self, *ops: Op) -> Sequence[Any]:
        """
        Carry out *ops* in one round trip; results in the same order, types as each operation says.

        Each operation is atomic and sees what the ones before it did; the batch as a whole is not a
        transaction.

        Raises:
            ValueError: a key or a time to live is not as described; nothing was carried out.
            StoreDown: not reachable, too slow, read-only or full. Some operations may have been carried out.
        """
        ...

    async def ping(self) -> None:
        """Return if reads and writes work. Raises StoreDown."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


class Customer(Struct, frozen=True):
    """
    A person the broker knows.

    ``id``: random, never leaves the broker. ``profile``: sealed JSON of names and contacts.
    """

    id: str
    created_at: datetime
    profile: bytes | None


class LinkedIdentity(Struct, frozen=True):
    """
    One way in of a customer.

    ``lookup``: keyed HMAC of issuer and subject (hex), since the subject may be a national number.
    ``sealed_subject``: the subject itself, encrypted.
    """

    lookup: str
    customer: str
    upstream: str
    sealed_subject: bytes
    created_at: datetime
    last_used_at: datetime


class ContactRecord(Struct, frozen=True):
    """
    That an identity has proven a contact.

    ``digest``: keyed HMAC of kind and address in one form (hex). ``identity``: its lookup. ``kind``: a
    `broker.core.identity.ContactKind` word. ``sealed``: the address itself, encrypted.
    """

    digest: str
    identity: str
    kind: str
    sealed: bytes
    verified_at: datetime


class FoundContact(Struct, frozen=True):
    """Who has proven a contact that was looked for: ``customer``, by an identity at ``upstream``, when last."""

    customer: str
    upstream: str
    verified_at: datetime


class RemovedIdentity(Struct, frozen=True):
    """A way in that its customer took out. ``identity``: as it was."""

    identity: LinkedIdentity
    removed_at: datetime


class ConsentRecord(Struct, frozen=True):
    """
    What a customer agreed to for one recipient and purpose.

    ``source``: partner the data comes from; None when the broker itself is the source (a plain login).
    ``granted`` / ``refused``: field names, in order. ``remember``: do not ask again. ``type``: payload
    type or ``login``.
    """

    id: str
    customer: str
    source: str | None
    recipient: str
    purpose: str
    type: str
    granted: tuple[str, ...]
    refused: tuple[str, ...]
    remember: bool
    policy_version: str
    created_at: datetime
    expires_at: datetime
    withdrawn_at: datetime | None = None


class Transfer(Struct, frozen=True):
    """
    One handoff after the customer's answer: the receipt, and the released data until it is swept.

    ``state``: a `broker.core.handoff.State` word. ``fields``: names released. ``payload``: sealed, None once
    swept. ``payload_sha256``: keyed digest (hex) of the released JSON, kept. ``result`` / ``reference``: the
    recipient's acknowledgement.
    """

    id: str
    customer: str | None
    source: str
    recipient: str
    purpose: str
    type: str
    state: str
    consent: str | None
    fields: tuple[str, ...]
    payload: bytes | None
    payload_sha256: str
    created_at: datetime
    picked_up_at: datetime | None = None
    acknowledged_at: datetime | None = None
    result: str | None = None
    reference: str | None = None


class AuditEvent(Struct, frozen=True):
    """
    Something that happened and must stay provable.

    ``action``: a name of docs/events.md. ``customer``: internal id or None. ``facts``: JSON of ids and
    rule names, no personal data.
    """

    at: datetime
    action: str
    reference: str
    customer: str | None
    partner: str | None
    facts: str


class ProofRecord(Struct, frozen=True):
    """Signed evidence of a strong login (BankID signature, OCSP answer), sealed, with its own retention."""

    id: str
    customer: str
    upstream: str
    sealed: bytes
    created_at: datetime
    delete_after: datetime


class Notice(Struct, frozen=True):
    """
    Something a partner must be told: in the outbox until it was told, or telling it was given up.

    ``kind``: a `broker.core.notice.Kind` word. ``batch``: what it came from; one logout tells several partners. ``sealed``:
    what to tell, None once told. ``state``: a `broker.core.notice.State` word. ``attempts``: begun so far. ``due_at``: nobody
    tries earlier; whoever tries moves it on first, which is the lease. ``give_up_at``: no attempt begins later.
    ``result``: how the last attempt went, in a word; None before.
    """

    id: str
    kind: str
    batch: str
    partner: str
    customer: str | None
    sealed: bytes | None
    state: str
    attempts: int
    created_at: datetime
    due_at: datetime
    give_up_at: datetime
    ended_at: datetime | None = None
    result: str | None = None


class Swept(Struct, frozen=True):
    """
    How many rows `Records.sweep` cleaned: payloads removed, proofs, expired consents, ended notices and removed ways deleted.
    """

    payloads: int
    proofs: int
    consents: int
    notices: int = 0
    ways: int = 0


GONE = "gone"
"""Reason of `Records.block_identity` that nothing lifts: the account there is no more."""


class KnownCustomer(Struct, frozen=True):
    """
    Who logged in: the stored ``customer`` and ``identity``, and ``subjects`` given to partners, by sector.

    ``blocked``: why nobody may log in by this identity; see `Records.block_identity`.
    """

    customer: Customer
    identity: LinkedIdentity
    is_new: bool
    subjects: Mapping[str, str]
    blocked: str | None = None


class PasskeyRecord(Struct, frozen=True):
    """
    A passkey: the linked ``identity`` that it is, and what is kept besides.

    ``sealed``: the encrypted `broker.core.passkey.Passkey`. ``counter``: how often it was used, by its own count; 0 for one
    that does not count. ``is_backed_up``: there was a copy of it when it was used last.
    """

    identity: LinkedIdentity
    sealed: bytes
    counter: int
    is_backed_up: bool


class Passkeys(Protocol):
    """
    Customers' passkeys, by the lookup of the identity each of them is.

    Every method raises StoreDown when the database is not reachable, too slow or full.
    """

    async def add_passkey(self, passkey: PasskeyRecord, most: int) -> bool:
        """
        Keep it, if its customer exists and then has no more than *most*, and nobody has it yet.

        Race-safe. Returns: False, and nothing is kept, otherwise.
        """
        ...

    async def get_passkey(self, lookup: str) -> PasskeyRecord | None: ...

    async def passkeys_of(self, customer: str) -> Sequence[PasskeyRecord]:
        """The oldest first."""
        ...

    async def count_passkey(self, lookup: str, *, known: int, counter: int, is_backed_up: bool) -> bool:
        """Set the counter, if it still is *known*: of two at once with one counter, one wins. Returns: whether it was."""
        ...

    async def reseal_passkey(self, lookup: str, customer: str, sealed: bytes) -> bool:
        """Replace what is sealed. Returns: False when *customer* has no such passkey."""
        ...

    async def remove_passkey(self, lookup: str, customer: str) -> bool:
        """Remove it, its identity included. Returns: False when *customer* has no such passkey (any more)."""
        ...


class Outbox(Protocol):
    """
    What partners must be told, durable and shared by all processes: told at least once, by one process at a time.

    Every method raises StoreDown when the database is not reachable, too slow or full.
    """

    async def add_notices(self, notices: Sequence[Notice]) -> None:
        """Keep all of them or none; one that is there already stays as it is."""
        ...

    async def claim_notices(self, now: datetime, until: datetime, limit: int) -> Sequence[Notice]:
        """
        Take at most *limit* pending notices that are due, those that wait longest first.

        Each is given to one caller: it is due again at *until*, unless it is settled earlier. ``attempts`` counts this one.
        """
        ...

    async def settle_notice(
        self, notice: Notice, *, state: str, result: str, due_at: datetime, ended_at: datetime | None
    ) -> bool:
        """
        Write down how the attempt went that *notice* was claimed for. The content of a delivered one is removed.

        Returns: False when somebody else has claimed it since; nothing is changed then.
        """
        ...

    async def notices_of(self, batch: str) -> Sequence[Notice]:
        """All of one batch, by partner."""
        ...

    async def list_notices(self, states: Sequence[str], partner: str | None, limit: int) -> Sequence[Notice]:
        """Those in one of *states*, of *partner* or of all, newest first."""
        ...

    async def revive_notices(
        self, now: datetime, give_up_at: datetime, *, partner: str | None = None, notice: str | None = None
    ) -> int:
        """Make what is pending, refused or given up due now, until *give_up_at*. Returns: how many."""
        ...

    async def notices_waiting(self) -> tuple[int, datetime | None]:
        """How many are pending, and when the oldest of them was added."""
        ...


class Ways(Protocol):
    """
    The ways in of customers. A change is one transaction: it happened, or it did not.

    Every method raises StoreDown when the database is not reachable, too slow or full.
    """

    async def link_identity(self, identity: LinkedIdentity, contacts_: Sequence[ContactRecord]) -> str:
        """
        Give *identity* to its customer, with its proven contacts, unless somebody has it.

        Returns: whose it is then. Race-safe: of many at once the first has it, and the others are told who.
        """
        ...

    async def remove_identity(self, lookup: str, customer: str, able: Collection[str], at: datetime) -> bool:
        """
        Take an identity from *customer*; it is nobody's then, and kept as removed.

        Only if she keeps another one at one of *able* (upstreams that can log in alone) that is not blocked. Returns: whether it
        was done.
        """
        ...

    async def restore_identity(self, lookup: str, customer: str, since: datetime) -> bool:
        """Give back what was removed after *since*, if it is still nobody's. Returns: whether it was done."""
        ...

    async def remover_of(self, lookup: str) -> str | None:
        """The customer who took out an identity, the last one; None when nobody did."""
        ...

    async def removed_of(self, customer: str, since: datetime) -> Sequence[RemovedIdentity]:
        """What *customer* removed after *since*, newest first."""
        ...

    async def save_contacts(self, lookup: str, contacts_: Sequence[ContactRecord]) -> None:
        """Replace what an identity has proven; nothing happens where there is no such identity."""
        ...

    async def contacts_of(self, customer: str) -> Sequence[ContactRecord]:
        """What all identities of *customer* have proven, newest first."""
        ...

    async def find_contacts(self, digests: Collection[str]) -> Sequence[FoundContact]:
        """Who has proven any of these contacts, newest first."""
        ...


class Records(Outbox, Passkeys, Ways, Protocol):
    """
    Durable records. One implementation in SQL (SQLite, PostgreSQL).

    Every method raises StoreDown when the database is not reachable, too slow or full. Times are aware UTC.
    """

    async def find_or_create_customer(self, identity: LinkedIdentity, new: Customer) -> KnownCustomer:
        """
        The customer behind ``identity.lookup``; made from *new* (whose id *identity* carries) if nobody has it.

        One statement for whoever was here before. Safe under concurrency: two first logins at once give one customer.
        """
        ...

    async def known_customer(self, lookup: str) -> KnownCustomer | None:
        """As `find_or_create_customer`, for a way in that makes nobody a customer; None when nobody has it."""
        ...

    async def customer_of(self, lookup: str) -> str | None:
        """The customer behind an identity's lookup; None when nobody has it."""
        ...

    async def block_identity(self, lookup: str, reason: str | None, said_at: datetime) -> bool:
        """
        Let nobody log in by an identity any more, for *reason*; None lets them again.

        What was said later counts, and `GONE` for good. Returns: whether it changed anything.
        """
        ...

    async def blocked(self, lookup: str) -> str | None:
        """Why nobody may log in by an identity, whoever's it is or was; None where they may."""
        ...

    async def blocked_of(self, customer: str) -> Collection[str]:
        """The lookups of those identities of *customer* by which nobody may log in."""
        ...

    async def mark_used(self, lookup: str, at: datetime) -> None:
        """Set ``last_used_at`` of an identity."""
        ...

    async def get_customer(self, customer: str) -> Customer | None: ...

    async def save_profile(self, customer: str, profile: bytes) -> None:
        """Replace the sealed profile."""
        ...

    async def identities_of(self, customer: str) -> Sequence[LinkedIdentity]: ...

    async def subject_for(self, customer: str, sector: str, new: str, now: datetime) -> str:
        """
        The pairwise subject of *customer* in *sector*: the stored one, else *new*, then stored.
        Race-safe.
        """
        ...

    async def customer_of_subject(self, sector: str, subject: str) -> str | None:
        """The customer behind a pairwise subject; None when no such subject was ever given to that sector."""
        ...

    async def add_consent(self, consent: ConsentRecord) -> None: ...

    async def live_consents(self, customer: str, now: datetime) -> Sequence[ConsentRecord]:
        """Not withdrawn and not expired, newest first."""
        ...

    async def get_consent(self, consent: str) -> ConsentRecord | None: ...

    async def withdraw_consent(self, consent: str, customer: str, now: datetime) -> ConsentRecord | None:
        """Mark withdrawn; the record if it was live and belongs to *customer*, else None."""
        ...

    async def save_transfers(self, transfers: Sequence[Transfer]) -> None:
        """
        Add them, or bring those that are there up to date: state, times, result and reference, never back to an earlier state
        (started, redeemed, acknowledged, revoked), and never with a payload that was removed.
        """
        ...

    async def revoke_transfers(self, ids: Sequence[str]) -> None:
        """Mark them revoked and remove what they carried; unknown ones are left out."""
        ...

    async def transfers_of(self, customer: str, limit: int) -> Sequence[Transfer]:
        """Newest first."""
        ...

    async def add_proof(self, proof: ProofRecord) -> None: ...

    async def add_audit(self, events: Sequence[AuditEvent]) -> None:
        """Append, in one transaction."""
        ...

    async def audit_of(self, customer: str, limit: int) -> Sequence[AuditEvent]:
        """Newest first."""
        ...

    async def sweep(self, now: datetime, payload_days: int, batch: int) -> Swept:
        """
        Remove what is past its time, the exact moment included: payloads *payload_days* after pick-up (or
        after creation, when never picked up), proofs at ``delete_after``, consents 365 days, notices 30 days and removed
        ways 90 days after they ended. At most *batch* rows of each kind a call.
        """
        ...

    async def schema_version(self) -> str | None:
        """The Alembic revision the database is at; None when empty."""
        ...

    async def ping(self) -> None: ...

    async def close(self) -> None: ...


class KeyStore(Protocol):
    """
    The broker's signing keys, shared by all its processes. Methods block, on a disk or a network file system.

    Every method but `mark` raises ConfigError, one sentence with what to do, for what cannot be read or written.
    """

    def read(self) -> KeyBook | None:
        """What is there now; None when there is nothing yet."""
        ...

    def mark(self) -> object:
        """Something cheap that is another when what is there is another."""
        ...

    @property
    def is_writable(self) -> bool:
        """Whether `change` can work here."""
        ...

    def change(self, edit: Callable[[KeyBook], KeyBook]) -> KeyBook:
        """Replace what is there by what *edit* makes of it, one process at a time. Returns: what is there now."""
        ...
