"""
What a partner's client must do and may do: a profile, refined by single keys, resolved once per config.

    profile      PKCE      PAR       proves itself by        assertion            ID token           refresh tokens
    standard     required  offered   secret or key           issuer or token      RS256, or chosen   rotate
                                                             endpoint, 1 h
    strict       required  required  private_key_jwt only    issuer, 5 min,       ES256, never       stay
                                                             no RS256             RS256
    legacy       offered   offered   as standard             as standard          as standard        rotate
    (any, with auth: none)  required  -  nothing (a public client: an app, a page)  -  -             rotate

Every endpoint reads `ClientRules`; none knows the profiles. A further profile is one more bundle in `_BUNDLES`, and a rule
that does not exist yet one more field.

Spec: RFC 9700 sections 2.1.1 and 2.2.2, RFC 8252 section 8, draft-ietf-oauth-rfc7523bis (audience of assertions).
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from broker.core.changing import replace


class ClientAuth(StrEnum):
    """
    How a partner's server proves itself (OpenID Connect Core section 9); ``none`` is a client without one, which cannot.
    """

    SECRET_BASIC = "client_secret_basic"  # noqa: S105 - a method name
    SECRET_POST = "client_secret_post"  # noqa: S105 - a method name
    PRIVATE_KEY_JWT = "private_key_jwt"
    NONE = "none"


class SigningAlg(StrEnum):
    """Signature of what the broker gives partners; RS256 is what OpenID Connect libraries assume (Discovery section 3)."""

    RS256 = "RS256"
    ES256 = "ES256"


class ClientProfile(StrEnum):
    """The bundles of `ClientRules` there are."""

    STANDARD = "standard"
    STRICT = "strict"
    LEGACY = "legacy"


class ClientRules(Struct, frozen=True):
    """
    What holds for one client.

    ``require_pkce``: a request without ``code_challenge`` is refused; one that was sent is enforced in any case.
    ``require_par``: authorization requests only by way of the PAR endpoint. ``assertion_algs``: signatures of client
    assertions. ``assertion_to_token_endpoint``: their ``aud`` may be the token endpoint, besides the issuer.
    ``assertion_max_age_s``: how far ahead their ``exp`` may be. ``rotates``: each use of a refresh token gives a successor.
    """

    auth: ClientAuth
    require_pkce: bool
    require_par: bool
    id_token_alg: SigningAlg
    assertion_algs: frozenset[str]
    assertion_to_token_endpoint: bool
    assertion_max_age_s: int
    rotates: bool

    @property
    def is_public(self) -> bool:
        """Whether the client runs where it can keep no secret (RFC 6749 section 2.1)."""
        return self.auth is ClientAuth.NONE


class Refinements(Struct, frozen=True):
    """Single keys of one partner that differ from its profile; None: as the profile says."""

    auth: ClientAuth | None = None
    require_pkce: bool | None = None
    require_par: bool | None = None
    id_token_alg: SigningAlg | None = None
    rotates: bool | None = None


ASSERTION_ALGS = ("RS256", "PS256", "ES256", "Ed25519", "EdDSA")
"""Signatures of client assertions that any client may use."""

_STANDARD = ClientRules(
    auth=ClientAuth.SECRET_BASIC,
    require_pkce=True,
    require_par=False,
    id_token_alg=SigningAlg.RS256,
    assertion_algs=frozenset(ASSERTION_ALGS),
    assertion_to_token_endpoint=True,
    assertion_max_age_s=3600,
    rotates=True,
)


class _Bundle(Struct, frozen=True):
    """
    ``rules``: where nothing is refined. ``allowed``: what a key may be refined to; any value where it is not named.
    """

    rules: ClientRules
    allowed: Mapping[str, frozenset[object]] = field(default_factory=dict)


_BUNDLES: Mapping[ClientProfile, _Bundle] = {
    ClientProfile.STANDARD: _Bundle(_STANDARD),
    ClientProfile.STRICT: _Bundle(
        ClientRules(
            auth=ClientAuth.PRIVATE_KEY_JWT,
            require_pkce=True,
            require_par=True,
            id_token_alg=SigningAlg.ES256,
            assertion_algs=frozenset(ASSERTION_ALGS) - {"RS256"},
            assertion_to_token_endpoint=False,
            assertion_max_age_s=300,
            # A stolen refresh token is worth nothing without the client's key, and a lost answer loses no session.
            rotates=False,
        ),
        allowed={
            "auth": frozenset({ClientAuth.PRIVATE_KEY_JWT}),
            "require_pkce": frozenset({True}),
            "require_par": frozenset({True}),
            "id_token_alg": frozenset(SigningAlg) - {SigningAlg.RS256},
        },
    ),
    ClientProfile.LEGACY: _Bundle(replace(_STANDARD, require_pkce=False)),
}


def rules_of(profile: ClientProfile, given: Refinements) -> ClientRules:
    """
    What holds for a client of *profile* with the keys *given*.

    security: a public client cannot prove itself, so PKCE and rotation hold for it whatever is configured (RFC 8252
    section 8.1, RFC 9700 section 2.2.2).
    """
    refined = replace(_BUNDLES[profile].rules, **_given(given))
    return replace(refined, require_pkce=True, rotates=True) if refined.is_public else refined


def contradictions(profile: ClientProfile, given: Refinements) -> Iterator[tuple[str, str]]:
    """Each key of *given* that cannot be together with the others, and what to do about it."""
    bundle, chosen = _BUNDLES[profile], _given(given)
    for key, value in chosen.items():
        if value not in (allowed := bundle.allowed.get(key, {value})):
            may_be = " or ".join(sorted(_written(each) for each in allowed))
            advice = f"contradicts profile: {profile}, where it is {may_be}; remove it, or choose profile: standard"
            yield key, advice
    rules = replace(bundle.rules, **chosen)
    if rules.is_public and given.require_pkce is False:
        yield "require_pkce", "may not be false with auth: none: PKCE is all such a client has; remove it"
    if not rules.rotates and given.rotates is False and rules.auth is not ClientAuth.PRIVATE_KEY_JWT:
        yield "rotates", "may be false only with auth: private_key_jwt; remove it"


def _given(given: Refinements) -> dict[str, Any]:
    values = {name: getattr(given, name) for name in given.__struct_fields__}
    return {name: value for name, value in values.items() if value is not None}


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
