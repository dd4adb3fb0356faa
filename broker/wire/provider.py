"""
One OpenID provider as seen from here: its metadata and keys, fetched when needed and kept as long as it says.

Concurrent callers share one fetch. A key nobody knows leads to at most one new fetch a minute, so that a stranger
who sends tokens with invented key names cannot make us hammer the provider (docs/security.md B9).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Generic, TypeVar

from msgspec import Struct

from broker.errors import UpstreamDown
from broker.wire.http import Fetched, Fetcher
from broker.wire.id_token import BadIdToken, KeySet, UnknownKey, parse_key_set, verify_key_set
from broker.wire.oauth import ProviderMetadata, discovery_url, parse_metadata

_DEFAULT: Final = timedelta(hours=1)
_SHORTEST: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(hours=24)
#: How long something that could not be renewed is still used.
_STALE: Final = timedelta(hours=24)
#: After a failed fetch nobody tries again for this long.
_PAUSE: Final = timedelta(seconds=10)
#: At most one fetch for an unknown key in this time.
_REFETCH: Final = timedelta(seconds=60)
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=\"?(\d{1,9})\"?(?:$|[\s,])", re.ASCII | re.IGNORECASE)

T = TypeVar("T")


def lifetime(headers: Mapping[str, str]) -> timedelta:
    """How long an answer may be kept: its Cache-Control (RFC 9111 section 5.2.2), between a minute and a day."""
    control = headers.get("cache-control", "")
    if "no-store" in control.lower() or "no-cache" in control.lower():
        return _SHORTEST
    found = _MAX_AGE.search(control)
    return max(_SHORTEST, min(_LONGEST, timedelta(seconds=int(found[1])))) if found else _DEFAULT


class _Kept(Struct, Generic[T], frozen=True):
    value: T
    fresh_until: datetime


class _Cached(Generic[T]):
    """One document; ``load`` fetches and checks it, and says how long it may be kept."""

    def __init__(self, load: Callable[[datetime], Awaitable[tuple[T, timedelta]]]) -> None:
        self._load = load
        self._kept: _Kept[T] | None = None
        self._failed_at: datetime | None = None
        self._lock = asyncio.Lock()

    async def get(self, now: datetime) -> T:
        """
        The document, renewed when it is no longer fresh; an old one serves while the provider is ill.

        Raises:
            UpstreamDown: there is none to serve.
        """
        if self._kept is not None and now < self._kept.fresh_until:
            return self._kept.value
        async with self._lock:
            if self._kept is not None and now < self._kept.fresh_until:
                return self._kept.value
            return await self._renew(now)

    async def renewed(self, now: datetime) -> T:
        """The document fetched anew; a failure leaves the old one in place. Raises: UpstreamDown."""
        async with self._lock:
            return await self._fetch(now)

    async def _renew(self, now: datetime) -> T:
        kept = self._kept
        usable = kept is not None and now < kept.fresh_until + _STALE
        try:
            if self._failed_at is not None and now < self._failed_at + _PAUSE:
                raise UpstreamDown("the provider failed a moment ago", code="provider.pause")
            return await self._fetch(now)
        except UpstreamDown:
            if kept is None or not usable:
                raise
            return kept.value

    async def _fetch(self, now: datetime) -> T:
        try:
            value, kept_for = await self._load(now)
        except UpstreamDown:
            self._failed_at = now
            raise
        self._failed_at = None
        self._kept = _Kept(value, now + kept_for)
        return value


class SignedKeySet(Struct, frozen=True):
    """
    Where a provider publishes its keys under a signature, and whose signature counts.

    ``trusted``: keys the operator got from it beforehand. ``issuers``: who may have signed (``iss``).
    """

    url: str
    trusted: KeySet
    issuers: frozenset[str]


class Provider:
    """
    Metadata and keys of the provider with this *issuer*; one object per issuer and process.

    ``given``: metadata that is not discovered. ``signed_keys``: where keys come from in place of ``jwks_uri``. Times are
    passed in, aware UTC.
    """

    def __init__(
        self,
        issuer: str,
        fetcher: Fetcher,
        *,
        given: ProviderMetadata | None = None,
        signed_keys: SignedKeySet | None = None,
    ) -> None:
        self._issuer = issuer
        self._fetcher = fetcher
        self._given = given
        self._metadata = _Cached(self._load_metadata)
        self._keys = _Cached(self._load_keys if signed_keys is None else partial(self._load_signed_keys, signed_keys))
        self._refetched_at: datetime | None = None
        self._rotation = asyncio.Lock()

    async def metadata(self, now: datetime) -> ProviderMetadata:
        """The checked discovery document. Raises: UpstreamDown."""
        return self._given or await self._metadata.get(now)

    async def keys(self, now: datetime) -> KeySet:
        """The provider's signing keys. Raises: UpstreamDown."""
        return await self._keys.get(now)

    async def keys_after_rotation(self, now: datetime, *, unknown_in: KeySet) -> KeySet:
        """
        A newer key set than *unknown_in*, in which a key was missing.

        Raises:
            UnknownKey: somebody asked for a newer one less than a minute ago.
            UpstreamDown: it could not be fetched.
        """
        async with self._rotation:
            current = await self.keys(now)
            if current is not unknown_in:
                return current
            if self._refetched_at is not None and now < self._refetched_at + _REFETCH:
                raise UnknownKey("unknown key, and the key set was fetched less than a minute ago")
            self._refetched_at = now
            return await self._keys.renewed(now)

    async def _load_metadata(self, now: datetime) -> tuple[ProviderMetadata, timedelta]:
        fetched = await self._fetcher.get_json(discovery_url(self._issuer), operation="discovery")
        _expect_ok(fetched.status, "discovery")
        return parse_metadata(fetched.json, expected_issuer=self._issuer), lifetime(fetched.headers)

    async def _load_keys(self, now: datetime) -> tuple[KeySet, timedelta]:
        metadata = await self.metadata(now)
        fetched = await self._fetcher.get_json(metadata.jwks_uri, operation="keys")
        _expect_ok(fetched.status, "key set")
        return _parse_keys(fetched), lifetime(fetched.headers)

    async def _load_signed_keys(self, signed: SignedKeySet, now: datetime) -> tuple[KeySet, timedelta]:
        """security: keys under the provider's own signature hold even where its web server is somebody else's."""
        fetched = await self._fetcher.get_jwt(signed.url, operation="keys")
        _expect_ok(fetched.status, "key set")
        try:
            keys = verify_key_set(fetched.unverified_token, keys=signed.trusted, issuers=signed.issuers, now=now)
        except BadIdToken as error:
            raise UpstreamDown(f"signed key set: {error.detail}", code=error.code) from error
        return keys, lifetime(fetched.headers)


class Transmitter(Provider):
    """
    Who sends security events, as its configuration at *url* says: ``issuer`` and ``jwks_uri`` (OpenID RISC Profile 1.0
    section 4.1). Kept and renewed like a provider's.
    """

    def __init__(self, url: str, fetcher: Fetcher) -> None:
        super().__init__("", fetcher)
        self._url = url

    async def _load_metadata(self, now: datetime) -> tuple[ProviderMetadata, timedelta]:
        fetched = await self._fetcher.get_json(self._url, operation="risc")
        _expect_ok(fetched.status, "risc configuration")
        issuer, keys = fetched.json.get("issuer"), fetched.json.get("jwks_uri")
        if not isinstance(issuer, str) or not isinstance(keys, str) or not issuer or not keys:
            raise UpstreamDown("risc configuration lacks issuer or jwks_uri", code="provider.risc")
        metadata = ProviderMetadata(issuer, "", "", keys, None, frozenset(), sends_issuer=False)
        return metadata, lifetime(fetched.headers)


def _parse_keys(fetched: Fetched) -> KeySet:
    try:
        return parse_key_set(fetched.json)
    except ValueError as error:
        raise UpstreamDown(f"key set: {error}", code="provider.keys") from error


def _expect_ok(status: int, name: str) -> None:
    if status != 200:
        raise UpstreamDown(f"{name}: status {status}", status=status)
