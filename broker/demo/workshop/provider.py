"""
Who the broker is to us: its metadata, fetched from its own address and kept for as long as it says.

The first copy is believed for where it comes from, which on the web means https. Every later one must be signed by a key that
the copy before it named: whoever takes the address over for an hour does not become our identity provider by that.
"""

import base64
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2
from cryptography import x509

from .signed import NS, Element, NotBelieved, parsed, verified

REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
_KEPT = timedelta(hours=6)
_SOONEST = timedelta(seconds=10)


class Unavailable(Exception):
    """The broker does not answer, or answers with what is no metadata of it."""


@dataclass(frozen=True)
class Provider:
    """``sso``, ``slo``: where requests go, by HTTP-Redirect. ``certificates``: of the keys it signs by."""

    entity_id: str
    sso: str
    slo: str
    certificates: tuple[x509.Certificate, ...]


class Providers:
    """
    The broker's metadata at ``{issuer}/saml/metadata``.

    Args:
        transport: replaces the network, for tests.
        now: the time, aware UTC.
    """

    def __init__(
        self, issuer: str, *, now: Callable[[], datetime], transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.entity_id = f"{issuer}/saml/metadata"
        self._now = now
        self._http: dict[str, Any] = {
            "timeout": 5.0,
            "transport": transport,
            "trust_env": False,
            "verify": ssl.create_default_context(),
        }
        self._known: Provider | None = None
        self._fetched_at: datetime | None = None

    async def current(self) -> Provider:
        """What we know of the broker. Raises: Unavailable."""
        if self._known is None or self._age() > _KEPT:
            return await self._renewed()
        return self._known

    async def newer(self) -> Provider | None:
        """What it says now, for a signature of a key that we do not know; None when we have looked a moment ago."""
        return await self._renewed() if self._age() > _SOONEST else None

    def _age(self) -> timedelta:
        return self._now() - self._fetched_at if self._fetched_at is not None else timedelta.max

    async def _renewed(self) -> Provider:
        try:
            async with httpx2.AsyncClient(**self._http) as client:
                answer = await client.get(self.entity_id)
            if answer.status_code != 200:
                raise Unavailable
            known = self._known.certificates if self._known is not None else None
            self._known = read_provider(answer.content, self.entity_id, known=known, now=self._now())
        except (httpx2.HTTPError, NotBelieved) as error:
            raise Unavailable from error
        self._fetched_at = self._now()
        return self._known


def read_provider(
    octets: bytes, entity_id: str, *, known: Sequence[x509.Certificate] | None, now: datetime
) -> Provider:
    """
    What metadata says, signed by one of the *known* certificates, or, when there are none yet, by one that it brings.

    Raises: NotBelieved (`xml`, `signature`, `metadata`).
    """
    named = _certificates(parsed(octets))
    root = verified(octets, known if known is not None else named)
    valid_until = root.get("validUntil")
    if root.tag != f"{{{NS['md']}}}EntityDescriptor" or root.get("entityID") != entity_id or valid_until is None:
        raise NotBelieved("metadata")
    if now >= datetime.fromisoformat(valid_until):
        raise NotBelieved("metadata")
    return Provider(
        entity_id=entity_id,
        sso=_location(root, "SingleSignOnService"),
        slo=_location(root, "SingleLogoutService"),
        certificates=_certificates(root),
    )


def _location(root: Element, service: str) -> str:
    found = root.findall(f"md:IDPSSODescriptor/md:{service}", NS)
    places = [str(each.get("Location", "")) for each in found if each.get("Binding") == REDIRECT]
    if not places:
        raise NotBelieved("metadata")
    return places[0]


def _certificates(root: Element) -> tuple[x509.Certificate, ...]:
    found = root.findall("md:IDPSSODescriptor/md:KeyDescriptor[@use='signing']//ds:X509Certificate", NS)
    try:
        return tuple(x509.load_der_x509_certificate(base64.b64decode(each.text or "")) for each in found)
    except ValueError as error:
        raise NotBelieved("metadata") from error
