"""
Access tokens as partners and resource servers see them: opaque, or JWTs (RFC 9068).

A JWT's ``jti`` is a sealed token of its own kind, so that it is opened, looked up and ended like an opaque one, in one
round trip; outside its JWT it opens nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

from broker.core.policy import Policy
from broker.errors import BadAsk, Spent
from broker.flows.context import Clock
from broker.flows.tokens import Redeemed
from broker.flows.values import TokenKind
from broker.wire.jose import BadToken, Keyring

Presented = tuple[str, tuple[TokenKind, ...]]
"""A token to open, and what it may be."""


class AccessTokens:
    """Makes them, and reads what somebody presents."""

    def __init__(self, policy: Callable[[], Policy], keyring: Keyring, clock: Clock) -> None:
        self._policy = policy
        self._keyring = keyring
        self._clock = clock

    def given(self, redeemed: Redeemed, client_id: str) -> str:
        """The access token to answer with."""
        target = redeemed.grant.target
        if target is None or target.alg is None:
            return redeemed.access_token
        claims = _claims(redeemed, client_id, self._policy().issuer, int(self._clock().timestamp()))
        return self._keyring.sign(claims, alg=target.alg, typ="at+jwt")

    def presented(self, token: str) -> Presented:
        """*token*, or what a JWT access token holds. Opaque tokens have no dots. Raises: Spent."""
        if "." not in token:
            return token, (TokenKind.ACCESS,)
        try:
            return self._keyring.access_token(token, issuer=self._policy().issuer), (TokenKind.SIGNED,)
        except BadToken as error:
            raise Spent(f"access token: {error}") from error

    def presented_any(self, token: str) -> Presented:
        """As `presented`, where refresh tokens are meant as well. Raises: Spent."""
        inner, kinds = self.presented(token)
        return inner, kinds if TokenKind.SIGNED in kinds else (*kinds, TokenKind.REFRESH)

    def is_other(self, token: str) -> bool:
        """Whether *token* is a JWT of ours that is no access token."""
        return "." in token and self._keyring.signed(token)


def check_resource(form: Mapping[str, str], partner: str, policy: Policy) -> None:
    """``resource`` (RFC 8707 section 2) may name the one API the partner's tokens are for, and nothing else."""
    resource = policy.resource_of(partner)
    if "resource" in form and (resource is None or form["resource"] != resource.audience):
        raise BadAsk("no access tokens for that resource", oauth_error="invalid_target", code="token.resource")


def _claims(redeemed: Redeemed, client_id: str, issuer: str, now_s: int) -> dict[str, Any]:
    """RFC 9068 section 2.2, and what step-up needs (RFC 9470); nothing of the customer but the API's own subject."""
    grant, target = redeemed.grant, redeemed.grant.target
    if target is None:
        raise ValueError("a JWT access token has an audience")
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": target.subject,
        "aud": target.audience,
        "client_id": client_id,
        "iat": now_s,
        "exp": int(grant.expires_at.timestamp()),
        "jti": redeemed.access_token,
        "scope": " ".join(grant.scopes),
        "acr": grant.acr or None,
        "auth_time": grant.auth_time,
    }
    return {name: value for name, value in claims.items() if value is not None}
