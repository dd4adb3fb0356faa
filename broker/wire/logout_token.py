"""
Logout tokens of upstream providers: every check between a string and the end of somebody's session.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from broker.wire.id_token import (
    BadIdToken,
    Expected,
    KeySet,
    check_audience,
    check_issuer,
    check_times,
    checked_header,
    signed_claims,
)

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"

#: The type is recommended only (section 2.4), so providers without it are told from ID tokens by ``events`` and ``nonce``.
_TYPS: Final = frozenset({"LOGOUT+JWT", "JWT"})
_MAX_ID: Final = 255


class ProviderLogout(Struct, frozen=True):
    """
    What a provider says is over: its session ``sid``, or all sessions of its ``subject``; at least one is there.

    ``jti``: to be taken once. ``issued_at``, ``expires_at``: aware UTC.
    """

    subject: str | None
    sid: str | None
    jti: str
    issued_at: datetime
    expires_at: datetime


def verify_logout_token(token: str, *, keys: KeySet, expected: Expected, now: datetime) -> ProviderLogout:
    """
    Check a logout token as it came. ``nonce`` and ``access_token`` of *expected* have no meaning here.

    Raises:
        UnknownKey: no published key fits. BadIdToken: any other failed check.
    Spec: OpenID Connect Back-Channel Logout 1.0 section 2.6.
    """
    header = checked_header(token, expected.algs, _TYPS)
    claims = signed_claims(token, keys.find(header.get("kid"), header["alg"]), header["alg"])
    check_issuer(claims, expected)
    check_audience(claims, expected)
    check_times(claims, now.timestamp())
    _check_kind(claims)
    subject, sid, jti = (_id(claims, name) for name in ("sub", "sid", "jti"))
    if subject is None and sid is None:
        raise BadIdToken("neither sub nor sid", code="logout_token.sub")
    if jti is None:
        raise BadIdToken("jti is missing", code="logout_token.jti")
    issued, expires = (datetime.fromtimestamp(claims[name], UTC) for name in ("iat", "exp"))
    return ProviderLogout(subject, sid, jti, issued, expires)


def _check_kind(claims: Mapping[str, Any]) -> None:
    """security: an ID token has a nonce and no such event; neither passes for the other."""
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise BadIdToken("no logout event", code="logout_token.events")
    if "nonce" in claims:
        raise BadIdToken("a logout token has no nonce", code="logout_token.nonce")


def _id(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_ID or not (value.isascii() and value.isprintable()):
        raise BadIdToken(f"{name} is not 1 to 255 printable ASCII characters", code=f"logout_token.{name}")
    return value
