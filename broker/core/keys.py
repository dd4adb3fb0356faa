"""
The life of a signing key: what it may do follows from its times and from the keys after it, nothing else is remembered.

    created_at        signs_from          its successor's signs_from                                    forgotten
        |  published      |   signing            |  retired                      | gone                      |
        |<--- lead ------>|                      |<--- kept -------------------->|<------ a session -------->|
        in the key set, signs nothing            in the key set, signs nothing   its ID tokens count as hints only

``lead``: a partner may keep the key set for ``cached``, and not all of our processes notice a new key, or the hour, at once
(``spread``). ``kept``: until every token it signed has run out, by the slowest of our clocks and by the partner's.

A book given by hand (mounted PEM files) has no ``created_at`` and may have keys that wait for no hour at all.

Spec: OpenID Connect Core section 10.1.1 (rotation of signing keys), RP-Initiated Logout 1.0 section 2 (old hints).
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, Self

from msgspec import Struct
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from broker.core.policy import BrokerSettings, Lifetimes
from broker.errors import Denied

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Since when a key signs of which nobody knows since when."""


_SHOWN = 16
"""Characters of a kid that tell keys apart; whole ones look like secrets to whatever watches over logs."""


class KeyState(StrEnum):
    """What a key is good for; see the diagram above."""

    PUBLISHED = "published"
    SIGNING = "signing"
    RETIRED = "retired"
    GONE = "gone"


class KeyRecord(BaseModel):
    """
    One key and its times (aware UTC).

    ``kid``: RFC 7638 thumbprint. ``public``: JWK with its kid, use and alg. ``private``: PKCS#8 PEM, None once it has signed
    for the last time. ``signs_from``: None while nobody has said when. ``withdrawn_at``: when somebody said that it is
    compromised.
    """

    # security: what is refused is not repeated, for it may be a private key.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kid: str
    alg: str
    public: Mapping[str, Any]
    private: str | None = Field(repr=False)
    created_at: AwareDatetime | None = None
    signs_from: AwareDatetime | None = None
    withdrawn_at: AwareDatetime | None = None

    @property
    def name(self) -> str:
        """As logs and the audit trail name it: the beginning of its kid."""
        return self.kid[:_SHOWN]


class KeyBook(BaseModel):
    """All keys there are; each kid once."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    version: Literal[1] = 1
    keys: tuple[KeyRecord, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({key.kid for key in self.keys}) != len(self.keys):
            raise ValueError("the same key is there twice")
        return self

    def put(self, *changed: KeyRecord) -> "KeyBook":
        """This book with *changed* in place of the keys of the same name, or behind all others."""
        by_kid = {key.kid: key for key in (*self.keys, *changed)}
        return KeyBook(keys=tuple(by_kid.values()))

    def without(self, kid: str) -> "KeyBook":
        """This book without that key."""
        return KeyBook(keys=tuple(key for key in self.keys if key.kid != kid))


class KeyTimes(Struct, frozen=True):
    """
    What the times of keys follow from.

    ``cached``: how long partners may keep the key set. ``longest``: the longest life of a token we sign. ``session``: how
    long an old ID token may come back as a hint. ``spread``: how far apart in time our processes and clocks may be.
    """

    cached: timedelta
    longest: timedelta
    session: timedelta
    spread: timedelta

    @classmethod
    def of(cls, broker: BrokerSettings) -> Self:
        """As the config says."""
        keys, lives = broker.keys, broker.lifetimes
        # Every lifetime of a token counts, signed today or not: an access token may become one that is.
        longest = max(getattr(lives, name) for name in Lifetimes.model_fields if name.endswith("_token"))
        return cls(cached=keys.jwks_max_age, longest=longest, session=lives.session, spread=keys.spread)

    @property
    def lead(self) -> timedelta:
        """How long a key is published before it signs."""
        return self.cached + self.spread

    @property
    def kept(self) -> timedelta:
        """How long a key stays published after it has signed: once for our slow clocks, once for the partner's."""
        return self.longest + 2 * self.spread


class KeyStanding(Struct, frozen=True):
    """
    Where a key stands now.

    ``since``: None when nobody knows. ``next_state``, ``next_at``: what is already certain to happen.
    """

    key: KeyRecord
    state: KeyState
    since: datetime | None
    next_state: KeyState | None = None
    next_at: datetime | None = None

    @property
    def is_published(self) -> bool:
        """Whether the key set has it."""
        return self.state is not KeyState.GONE

    @property
    def vouches_for_hints(self) -> bool:
        """Whether an ID token it signed still says who was logged in, however old."""
        return self.key.withdrawn_at is None


def standings(book: KeyBook, times: KeyTimes, now: datetime) -> tuple[KeyStanding, ...]:
    """Where every key of *book* stands, in its order."""
    return tuple(_standing(key, book, times, now) for key in book.keys)


def signer(book: KeyBook, alg: str, now: datetime) -> KeyRecord | None:
    """The key that signs *alg* now."""
    return next((key for key in book.keys if key.alg == alg and _state(key, book, now) is KeyState.SIGNING), None)


def successor(book: KeyBook, alg: str, now: datetime) -> KeyRecord | None:
    """The key that is published and will sign *alg*."""
    waiting = [key for key in book.keys if key.alg == alg and key.signs_from is not None and now < key.signs_from]
    return min(waiting, key=_rank, default=None)


# What somebody decides about keys

_INSTANT = timedelta(microseconds=1)

Maker = Callable[[str], KeyRecord]
"""Makes a key pair for an algorithm; without times."""


def begun(book: KeyBook, algs: tuple[str, ...], make: Maker, times: KeyTimes, now: datetime) -> KeyBook:
    """*book* with a key for each of *algs* that has none: it signs at once, for there is nothing to wait for."""
    lacking = [alg for alg in algs if not any(key.alg == alg for key in book.keys)]
    # A process whose clock is behind this one's has nothing else to sign with either.
    return book.put(*(_dated(make(alg), now, now - times.spread) for alg in lacking))


def rotated(
    book: KeyBook, alg: str, make: Maker, times: KeyTimes, now: datetime, *, at_once: bool = False
) -> tuple[KeyBook, KeyRecord]:
    """
    A new key for *alg*, published now, signing when every partner can have it; and the book with it.

    Args:
        at_once: it signs now, or the one that waits does; partners that keep the key set then refuse its tokens.
    Raises:
        Denied: there is one already, or this machine's clock is behind the one that made the last key.
    """
    _check_clock(book, times, now)
    waiting = successor(book, alg, now)
    if waiting is not None and not at_once:
        raise Denied(
            f"{waiting.kid} is published already and signs {alg} from {said(waiting.signs_from)};"
            " one key at a time, so wait until it does",
            code="keys.rotating",
        )
    if waiting is None and signer(book, alg, now) is None:
        begins = now - times.spread
    else:
        begins = now if at_once else now + times.lead
    key = (waiting or _dated(make(alg), now, begins)).model_copy(update={"signs_from": begins})
    return book.put(key), key


def retired(book: KeyBook, kid: str, make: Maker, times: KeyTimes, now: datetime) -> KeyBook:
    """
    Take the key *kid* out of use without breaking anything: one that signs gets a successor, one that waits is dropped.

    Raises:
        Denied: there is no such key, it is about to sign, or it is on its way out as fast as can be.
    """
    key = _known(book, kid)
    standing = _standing(key, book, times, now)
    match standing.state:
        case KeyState.PUBLISHED:
            if key.signs_from is not None and key.signs_from - times.spread <= now:
                raise Denied(
                    f"{key.kid} signs from {said(key.signs_from)}, and another process may be there already;"
                    " retire it when it signs",
                    code="keys.about_to_sign",
                )
            return book.without(key.kid)
        case KeyState.SIGNING:
            return book if standing.next_at else rotated(book, key.alg, make, times, now)[0]
        case KeyState.RETIRED:
            raise Denied(
                f"{key.kid} signs no more, but tokens it signed are good until {said(standing.next_at)}; then it goes by"
                " itself (if somebody else may have it: --compromised)",
                code="keys.still_needed",
            )
        case KeyState.GONE:
            raise Denied(f"{key.kid} is gone already", code="keys.gone")


def withdrawn(book: KeyBook, kid: str, make: Maker, times: KeyTimes, now: datetime) -> KeyBook:
    """
    The key *kid* is compromised: neither published nor believed from now on, and another one signs at once, both by any clock.

    Raises:
        Denied: there is no such key.
    """
    key = _known(book, kid)
    was_signing = _state(key, book, now) is KeyState.SIGNING
    has_signed = key.signs_from is not None and key.signs_from <= now
    ended = {
        "withdrawn_at": key.withdrawn_at or now,
        "private": None,
        "signs_from": key.signs_from if has_signed else None,
    }
    book = book.put(key.model_copy(update=ended))
    if not was_signing or key.signs_from is None:
        return book
    heir = successor(book, key.alg, now) or _dated(make(key.alg), now, now)
    begins = max(now - times.spread, key.signs_from + _INSTANT)
    return book.put(heir.model_copy(update={"signs_from": begins}))


def tidied(book: KeyBook, times: KeyTimes, now: datetime) -> KeyBook:
    """*book* without private halves that never sign again, and without keys that not even a hint needs."""
    return KeyBook(keys=tuple(_tidied(book, times, now)))


def due(book: KeyBook, algs: tuple[str, ...], every: timedelta, now: datetime) -> tuple[str, ...]:
    """Those of *algs* whose newest key was made longer ago than *every*, with none on its way."""
    return tuple(alg for alg in algs if (newest := _newest(book, alg)) is not None and newest + every <= now)


def said(at: datetime | None) -> str:
    """A time as an operator reads it: ISO 8601, UTC, whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else "-"


def _dated(key: KeyRecord, created_at: datetime, signs_from: datetime) -> KeyRecord:
    return key.model_copy(update={"created_at": created_at, "signs_from": signs_from})


def _known(book: KeyBook, kid: str) -> KeyRecord:
    """By its name, or the beginning of it that logs show."""
    found = [key for key in book.keys if len(kid) >= _SHOWN and key.kid.startswith(kid)]
    if len(found) != 1:
        raise Denied("there is no key of that name; stafett keys list tells them", code="keys.unknown")
    return found[0]


def _check_clock(book: KeyBook, times: KeyTimes, now: datetime) -> None:
    """security: a key made by a clock that runs behind would sign before partners can have it."""
    newest = max((key.created_at for key in book.keys if key.created_at), default=BEGINNING)
    if now < newest - times.spread:
        raise Denied(
            f"the last key was made at {said(newest)}, and here it is {said(now)}; set this machine's clock",
            code="keys.clock",
        )


def _newest(book: KeyBook, alg: str) -> datetime | None:
    made = [key.created_at or BEGINNING for key in book.keys if key.alg == alg and key.withdrawn_at is None]
    return max(made, default=None)


def _rank(key: KeyRecord) -> tuple[datetime, str]:
    return (key.signs_from or BEGINNING, key.kid)


def _ended_at(key: KeyRecord, book: KeyBook) -> datetime | None:
    """When the next key of the same algorithm begins, or this one was withdrawn."""
    if key.withdrawn_at is not None or key.signs_from is None:
        return key.withdrawn_at
    later = (
        other.signs_from
        for other in book.keys
        if other.alg == key.alg and other.signs_from is not None and _rank(other) > _rank(key)
    )
    return min(later, default=None)


def _state(key: KeyRecord, book: KeyBook, now: datetime) -> KeyState:
    """As `_standing`, without what needs the durations: a key that is gone counts as retired."""
    ended_at = _ended_at(key, book)
    if key.withdrawn_at is not None or (ended_at is not None and ended_at <= now):
        return KeyState.RETIRED
    return KeyState.SIGNING if key.signs_from is not None and key.signs_from <= now else KeyState.PUBLISHED


def _standing(key: KeyRecord, book: KeyBook, times: KeyTimes, now: datetime) -> KeyStanding:
    ended_at = _ended_at(key, book)
    match _state(key, book, now):
        case KeyState.PUBLISHED if key.signs_from is None:
            return KeyStanding(key, KeyState.PUBLISHED, key.created_at)
        case KeyState.PUBLISHED:
            return KeyStanding(key, KeyState.PUBLISHED, key.created_at, KeyState.SIGNING, key.signs_from)
        case KeyState.SIGNING:
            since = max(filter(None, (key.signs_from, key.created_at)), default=BEGINNING)
            next_state = KeyState.RETIRED if ended_at else None
            known_since = since if since != BEGINNING else None
            return KeyStanding(key, KeyState.SIGNING, known_since, next_state, ended_at)
        case _:
            return _ended(key, ended_at or now, times, now)


def _ended(key: KeyRecord, ended_at: datetime, times: KeyTimes, now: datetime) -> KeyStanding:
    if key.withdrawn_at is not None:
        return KeyStanding(key, KeyState.GONE, key.withdrawn_at)
    if now < (gone_at := ended_at + times.kept):
        return KeyStanding(key, KeyState.RETIRED, ended_at, KeyState.GONE, gone_at)
    return KeyStanding(key, KeyState.GONE, gone_at)


def _tidied(book: KeyBook, times: KeyTimes, now: datetime) -> Iterator[KeyRecord]:
    for key in book.keys:
        ended_at = _ended_at(key, book)
        if ended_at is not None and ended_at + times.kept + times.session <= now:
            continue
        # A process whose clock is behind still signs with it for a while.
        is_spent = ended_at is not None and ended_at + times.spread <= now
        yield key.model_copy(update={"private": None}) if is_spent and key.private else key
