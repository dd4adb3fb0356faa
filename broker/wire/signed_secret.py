"""
A client secret that is a signed assertion, made on the fly: what Apple wants in place of a fixed text.

Source: Sign in with Apple, "Creating a client secret": ES256 by the team's key, at most six months; ours live minutes.
"""

from datetime import datetime, timedelta
from typing import Final

from joserfc import jwt

from broker.wire.oauth import Authentication, ClientKey, parse_client_key

_LIFETIME: Final = timedelta(minutes=10)
#: So long before its end a secret is replaced: it may travel, and clocks differ.
_RESERVE: Final = timedelta(minutes=3)


def parse_es256_key(pem: str) -> ClientKey:
    """
    A private EC P-256 key in PEM form (PKCS #8, as a ``.p8`` file has it).

    Raises:
        ValueError: unreadable, or another kind of key. The text never quotes it.
    """
    key = parse_client_key(pem)
    if key.alg != "ES256":
        raise ValueError("not a PEM private key of EC P-256")
    return key


class SignedSecret:
    """
    The secret of one client, signed anew shortly before the last one ends.

    Args:
        kid: the name the provider gave the key. issuer: whose key it is (Apple: the team). audience: the provider.
    """

    def __init__(self, key: ClientKey, *, kid: str, issuer: str, client_id: str, audience: str) -> None:
        self._key = key
        self._kid = kid
        self._claims = {"iss": issuer, "sub": client_id, "aud": audience}
        self._made: tuple[datetime, Authentication] | None = None

    def authenticate(self, now: datetime) -> Authentication:
        """Client authentication by ``client_secret_post`` (RFC 6749 section 2.3.1) with a secret that is good at *now*."""
        if self._made is None or not self._made[0] <= now < self._made[0] + _LIFETIME - _RESERVE:
            self._made = (now, self._signed(now))
        return self._made[1]

    def forget(self) -> None:
        """The provider did not take it: the next call makes a new one."""
        self._made = None

    def _signed(self, now: datetime) -> Authentication:
        issued = int(now.timestamp())
        claims = {**self._claims, "iat": issued, "exp": issued + int(_LIFETIME.total_seconds())}
        header = {"alg": "ES256", "kid": self._kid}
        secret = jwt.encode(header, claims, self._key.key, algorithms=["ES256"])
        return Authentication({"client_id": self._claims["sub"], "client_secret": secret})
