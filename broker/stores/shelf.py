"""
Typed, sealed shelves in the state store: a `Shelf` turns frozen values into the operations of `StateStore.run`.

Operations of several shelves go into one round trip. Everything on a shelf is encrypted and bound to its key.
"""

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from broker.stores.ports import Drop, Get, Put, PutNew, Swap, Take
from broker.stores.sealing import Broken, Sealer

T = TypeVar("T")

TOMBSTONE = b"spent"
"""What `Shelf.take` leaves behind: the thing existed and was used."""

_SPENT_S = 1.0


class Held(Struct, Generic[T], frozen=True):
    """A value as read: ``raw`` is what `Shelf.swap` compares with."""

    value: T
    raw: bytes


class Shelf(Generic[T]):
    """
    Values of one type.

    Args:
        kind: first part of the keys. type_: of the values kept there.
    """

    def __init__(self, kind: str, type_: type[T], sealer: Sealer) -> None:
        self._kind = kind
        self._sealer = sealer
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(type_)

    def key(self, name: str) -> str:
        """The store key of *name*."""
        return f"{self._kind}:{name}"

    def get(self, name: str, renew_s: float | None = None) -> Get:
        """Read; give the result to `read`. With *renew_s*, what is there lives for that long from now on."""
        return Get(self.key(name), renew_s)

    def put(self, name: str, value: T, ttl_s: float) -> Put:
        """Write whatever was there."""
        return Put(self.key(name), self._seal(name, value), ttl_s)

    def put_new(self, name: str, value: T, ttl_s: float) -> PutNew:
        """Write if free."""
        return PutNew(self.key(name), self._seal(name, value), ttl_s)

    def swap(self, name: str, old: Held[T], new: T, ttl_s: float, *, unless: str | None = None) -> Swap:
        """Replace *old* if nobody changed it meanwhile, and nothing is stored under the key *unless*."""
        return Swap(self.key(name), old.raw, self._seal(name, new), ttl_s, unless)

    def renew(self, name: str, held: Held[T], ttl_s: float) -> Swap:
        """Let *held* live for *ttl_s* from now on, if nobody changed it meanwhile."""
        return Swap(self.key(name), held.raw, held.raw, ttl_s)

    def take(self, name: str, leave_ttl_s: float) -> Take:
        """Take once; whoever comes later finds `TOMBSTONE` for *leave_ttl_s* seconds."""
        return Take(self.key(name), leave=TOMBSTONE, leave_ttl_s=leave_ttl_s)

    def spend(self, name: str, *, unless: str | None = None) -> Put:
        """
        Remove along with what is written for it: a full server forgets and writes nothing, and would only forget. Not where
        something is stored under the key *unless*.
        """
        return Put(self.key(name), TOMBSTONE, _SPENT_S, unless)

    def drop(self, name: str) -> Drop:
        """Remove."""
        return Drop(self.key(name))

    def read(self, name: str, raw: Any) -> Held[T] | None:
        """
        The value behind a `get` or `take` result.

        Returns: None for a miss, and for a value that does not open or fit: what was changed or moved in the store, or
        written by an incompatible version, is as good as gone and never trusted.
        """
        if raw is None or raw == TOMBSTONE:
            return None
        try:
            return Held(self._decoder.decode(self._sealer.open(raw, self.key(name))), raw)
        except (Broken, msgspec.DecodeError):
            return None

    def _seal(self, name: str, value: T) -> bytes:
        return self._sealer.seal(self._encoder.encode(value), self.key(name))
