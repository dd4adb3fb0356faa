"""The published key set, byte for byte, from the example keys of RFC 7517 appendix A.2."""

import base64
import json
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from broker.core.keys import KeyTimes, standings
from broker.wire.jose import Keyring
from broker.wire.signing_keys import given_book
from tests.conftest import Golden

EC_D = "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"
RSA_N = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMst"
    "n64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn"
    "1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)
RSA_D = (
    "X4cTteJY_gn4FYPsXB8rdXix5vwsg1FLN5E3EaG6RJoVH-HLLKD9M7dx5oo7GURknchnrRweUkC7hT5fJLM0WbFAKNLWY2vv7B6NqXSzUvxT0_YSfqijw"
    "p3RTzlBaCxWp4doFk5N2o8Gy_nHNKroADIkJ46pRUohsXywbReAdYaMwFs9tv8d_cPVY3i07a3t8MN6TNwm0dSawm9v47UiCl3Sk5ZiG7xojPLu4sbg1U"
    "2jx4IBTNBznbJSzFHK66jT8bgkuqsk0GjskDJk19Z4qwjwbsnn4j2WBii3RL-Us2lGVkY8fkFzme1z0HbIkfz0Y6mqnOYtqc0X4jfcKoAC8Q"
)
THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
"""Of the RSA key, from RFC 7638 section 3.1."""
TIMES = KeyTimes(
    cached=timedelta(minutes=15),
    longest=timedelta(minutes=10),
    session=timedelta(hours=24),
    spread=timedelta(minutes=5),
)


def number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=="), "big")


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_the_key_set_is_as_published(golden: Golden) -> None:
    """Public members only, kid by thumbprint, use and alg: what partners' libraries pick their key by."""
    n, d = number(RSA_N), number(RSA_D)
    p, q = rsa.rsa_recover_prime_factors(n, 65537, d)
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(65537, n)
    )
    pems = (pem(numbers.private_key()), pem(ec.derive_private_key(number(EC_D), ec.SECP256R1())))
    keyring = Keyring(standings(given_book(pems), TIMES, datetime(2026, 11, 21, tzinfo=UTC)))
    published = json.loads(keyring.jwks())
    assert published["keys"][0]["kid"] == THUMBPRINT
    golden("jwks.json", json.dumps(published, indent=2) + "\n")
