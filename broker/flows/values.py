"""
Frozen values that flows take and keep, and that nobody else decides about.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from broker.core.changing import replace
from broker.core.identity import Identity
from broker.core.logout import Fate
from broker.core.refresh import Family
from broker.core.release import narrowed, permitted

HANDOFF_AFTERLIFE_S = 14 * 24 * 3600.0
"""How long the record of a finished or expired handoff stays, so that its link is answered instead of being an error."""


DESK_SCOPE = "service_desk"
"""What an access token must be for to ask callers."""


class Visitor(Struct, frozen=True):
    """
    The browser at the other end, as the edge saw it.

    ``browser``, ``session`` and ``device``: its cookie values, None when absent. ``language``: best of the broker's for it.
    ``address``: IP as the trusted edge saw it. ``mobile``: looks like a phone or tablet.
    """

    browser: str | None
    session: str | None
    language: str
    address: str
    user_agent: str = ""
    mobile: bool = False
    device: str | None = None


class TokenKind(StrEnum):
    """
    What tokens of a grant are sealed as: none opens as another.

    ``SIGNED`` is the ``jti`` of a JWT access token, which only counts inside its signed token.
    """

    ACCESS = "access"
    SIGNED = "signed-access"
    REFRESH = "refresh"


class Target(Struct, frozen=True):
    """
    The resource server that a grant's access tokens are for (RFC 8707): its id and ``audience``.

    ``subject``: the customer as its sector knows her. ``alg``: JWTs signed by it (RFC 9068); None for opaque tokens.
    """

    resource: str
    audience: str
    subject: str
    alg: str | None


class Grant(Struct, frozen=True, omit_defaults=True):
    """
    What a code, and later its tokens, stand for. ``family``: of its refresh tokens, None without.

    ``claims``: what userinfo answers (``sub`` included); ``id_token_claims``: what of the profile the ID token holds.
    ``auth_time``: seconds since the epoch, None where the provider did not tell. ``handoff``: id of the handoff its data right
    is for. ``consent``: None when nothing rests on one. ``expires_at``: of the access token.
    ``target``: None where access tokens are for the broker's own endpoints only. ``way``: which of her ways in the login was by
    (`broker.core.linking.WayIn.name`); empty where that is not known. ``lenders``: the other ways in whose contacts are told.
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
    id_token_claims: Mapping[str, Any] = field(default_factory=dict)
    target: Target | None = None
    way: str = ""
    lenders: tuple[str, ...] = ()

    @property
    def ways(self) -> frozenset[str]:
        """All the ways in that it rests on."""
        return frozenset({self.way, *self.lenders})

    def narrowed_to(self, scopes: tuple[str, ...]) -> "Grant":
        """What an access token for *scopes* only stands for (RFC 6749 section 6); empty: for all there are."""
        if not scopes or set(scopes) >= set(self.scopes):
            return self
        kept = tuple(scope for scope in self.scopes if scope in scopes)
        return replace(
            self,
            scopes=kept,
            claims=narrowed(self.claims, kept),
            id_token_claims=narrowed(self.id_token_claims, kept),
        )

    def permitted_to(self, allowed: tuple[str, ...]) -> "Grant":
        """What it stands for where only these claims of the profile are *allowed*."""
        return replace(
            self,
            claims=permitted(self.claims, allowed),
            id_token_claims=permitted(self.id_token_claims, allowed),
        )


class PostedAnswer(Struct, frozen=True):
    """What a provider's page posted to us from its own site, unverified, until the browser brings its cookies."""

    members: Mapping[str, str]


class Proven(Struct, frozen=True):
    """A login that was proven, until it is known whose it is. ``proof``: its signed evidence, where it has some."""

    identity: Identity
    proof: bytes | None = None


class Leaving(Struct, frozen=True):
    """
    A service provider's checked logout request. ``name_id``, ``session_indexes``: whose session is meant, as it knows them.
    """

    partner: str
    request_id: str
    name_id: str
    session_indexes: tuple[str, ...]
    relay_state: str | None


class SentAway(Struct, frozen=True):
    """A customer was sent to ``partner`` to be logged out there. ``farewell``: what she looks up how it went by."""

    partner: str
    farewell: str


class SentToProvider(Struct, frozen=True):
    """As `SentAway`, to a provider of identity. ``browser``: the name of who was sent; nobody else brings the answer."""

    upstream: str
    farewell: str
    browser: str


class ProviderAnswer(Struct, frozen=True):
    """A provider's checked answer to our logout request ``request_id``, until the browser brings its cookies. ``fate``: there."""

    upstream: str
    request_id: str
    fate: Fate


class PushedRequest(Struct, frozen=True):
    """An authorization request as its client pushed it (RFC 9126); ``params`` were checked for it."""

    params: Mapping[str, str]
