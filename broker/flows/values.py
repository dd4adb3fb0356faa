"""
Frozen values that flows take and keep, and that nobody else decides about.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from broker.core.refresh import Family

HANDOFF_AFTERLIFE_S = 14 * 24 * 3600.0
"""How long the record of a finished or expired handoff stays, so that its link is answered instead of being an error."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """
    The browser at the other end, as the edge saw it.

    ``browser`` and ``session``: its cookie values, None when absent. ``language``: best of the broker's for it.
    ``address``: IP as the trusted edge saw it. ``mobile``: looks like a phone or tablet.
    """

    browser: str | None
    session: str | None
    language: str
    address: str
    user_agent: str = ""
    mobile: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """
    What a code, and later its tokens, stand for. ``family``: of its refresh tokens, None without.

    ``claims``: what userinfo answers (``sub`` included). ``auth_time``: seconds since the epoch, None where the provider did not
    tell. ``handoff``: id of the handoff its data right is for. ``consent``: None when nothing rests on one.
    ``expires_at``: of the access token.
    """

    partner: str
    subject: str
    sid: str
    redirect_uri: str
    scopes: tuple[str, ...]
    nonce: str | None
    code_challenge: str | None
    acr: str
    amr: tuple[str, ...]
    auth_time: int | None
    claims: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime
    customer: str
    consent: str | None = None
    handoff: str | None = None
    handoff_claim: Mapping[str, Any] = field(default_factory=dict)
    family: Family | None = None


@dataclass(frozen=True, slots=True)
class PushedRequest:
    """An authorization request as its client pushed it (RFC 9126): ``params`` were checked for ``partner``."""

    partner: str
    params: Mapping[str, str]
