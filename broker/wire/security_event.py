"""
Security event tokens of upstream providers (RFC 8417): every check between a text and what it makes us do.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from broker.wire.id_token import SKEW_S, BadIdToken, KeySet, checked_header, seconds, signed_claims

#: RFC 8417 section 2.3 recommends the first; Google has been seen without.
_TYPS: Final = frozenset({"SECEVENT+JWT", "JWT"})
_MAX_ID: Final = 255
_MAX_EVENTS: Final = 20


class SecurityEvent(Struct, frozen=True):
    """``type``: its URI. ``issuer``, ``subject``: whom it is about, None where it names nobody so; ``members``: the rest."""

    type: str
    issuer: str | None
    subject: str | None
    members: Mapping[str, Any]


class SecurityEvents(Struct, frozen=True):
    """``jti``: to be taken once; they never expire. ``issued_at``: aware UTC."""

    jti: str
    issued_at: datetime
    events: Sequence[SecurityEvent]


def verify_security_events(
    token: str, *, keys: KeySet, issuer: str, client_id: str, algs: frozenset[str], now: datetime
) -> SecurityEvents:
    """
    Check a security event token as it came. ``exp`` means nothing here: events are history (RFC 8417 section 2.2).

    Args:
        issuer: who may send such tokens, exactly.
    Raises:
        UnknownKey: no published key fits. BadIdToken: any other failed check.
    Spec: RFC 8417 sections 2.2 and 4.1 to 4.6; OpenID RISC Profile 1.0.
    """
    header = checked_header(token, algs, _TYPS)
    claims = signed_claims(token, keys.find(header.get("kid"), header["alg"]), header["alg"])
    if claims.get("iss") != issuer:
        raise BadIdToken("sent by somebody else", code="secevent.iss")
    audience = claims.get("aud")
    if client_id not in ([audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []):
        raise BadIdToken("meant for another client", code="secevent.aud")
    issued = seconds(claims, "iat")
    if issued is None or not 0 <= issued <= now.timestamp() + SKEW_S:
        raise BadIdToken("iat is missing or in the future", code="secevent.iat")
    if "nonce" in claims:
        # security: an ID token never passes for an event (RFC 8417 section 4.5).
        raise BadIdToken("an event has no nonce", code="secevent.nonce")
    jti = claims.get("jti")
    if not _is_id(jti):
        raise BadIdToken("jti is missing or not 1 to 255 printable ASCII characters", code="secevent.jti")
    return SecurityEvents(str(jti), datetime.fromtimestamp(issued, UTC), _events(claims))


def _events(claims: Mapping[str, Any]) -> list[SecurityEvent]:
    events = claims.get("events")
    if not isinstance(events, dict) or not 1 <= len(events) <= _MAX_EVENTS:
        raise BadIdToken("events must be an object of 1 to 20", code="secevent.events")
    if not all(isinstance(members, dict) for members in events.values()):
        raise BadIdToken("an event is no object", code="secevent.events")
    return [SecurityEvent(kind, *_subject(members), members) for kind, members in events.items()]


def _subject(members: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """
    Issuer and subject of an event that names both, in the words of the RISC profile (``subject_type``) or of RFC 9493.

    Raises: BadIdToken: half a name, or one of odd characters.
    """
    subject = members.get("subject")
    if not isinstance(subject, dict) or not {"iss", "sub"} & set(subject):
        return None, None
    issuer, name = subject.get("iss"), subject.get("sub")
    if not isinstance(issuer, str) or not _is_id(name):
        raise BadIdToken("subject has no iss, or no usable sub", code="secevent.subject")
    return issuer, str(name)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= _MAX_ID and value.isascii() and value.isprintable()
