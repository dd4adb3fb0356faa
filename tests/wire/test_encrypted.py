"""What opens of an encrypted token, and everything that must not: forged by hand, beyond what a simulator would do."""

import base64
import json
import time
import warnings
import zlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwe
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, RSAKey

from broker.wire.encrypted import MAX_ENCRYPTED_CHARS, BadEncryption, opened, parse_decryption_key

RSA_KEY = RSAKey.generate_key(2048)
EC_KEY = ECKey.generate_key("P-256")
OURS = [parse_decryption_key(key.as_pem(private=True).decode()) for key in (RSA_KEY, EC_KEY)]
ALGS = frozenset({"RSA-OAEP-256", "ECDH-ES"})
ENCS = frozenset({"A256GCM", "A128CBC-HS256"})
INSIDE = "e30.e30.c2ln"


def sealed(content: str = INSIDE, key: Any = RSA_KEY, **header: Any) -> str:
    full = {"alg": "RSA-OAEP-256", "enc": "A256GCM", "cty": "JWT", **header}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return jwe.encrypt_compact(
            {k: v for k, v in full.items() if v is not None}, content, key, algorithms=[full["alg"], full["enc"], "DEF"]
        )


def reheaded(token: str, **changes: Any) -> str:
    """*token* with another header: what is protected by it no longer opens, but the header is read first."""
    head, _, rest = token.partition(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    return f"{encoded({**header, **changes})}.{rest}"


def encoded(header: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()


def refusal(token: str) -> str:
    with pytest.raises(BadEncryption) as error:
        opened(token, keys=OURS, algs=ALGS, encs=ENCS)
    assert INSIDE not in str(error.value)
    return error.value.code


@pytest.mark.parametrize(
    ("key", "header"),
    [
        (RSA_KEY, {}),
        (RSA_KEY, {"enc": "A128CBC-HS256"}),
        (RSA_KEY, {"kid": OURS[0].kid}),
        (RSA_KEY, {"cty": None}),
        (RSA_KEY, {"cty": "jwt"}),
        (RSA_KEY, {"x5t": "ignored"}),
        (EC_KEY, {"alg": "ECDH-ES"}),
        (EC_KEY, {"alg": "ECDH-ES", "kid": OURS[1].kid}),
    ],
)
def test_what_is_for_us_opens(key: Any, header: dict[str, Any]) -> None:
    """By either kind of key, named or not."""
    assert opened(sealed(key=key, **header), keys=OURS, algs=ALGS, encs=ENCS) == INSIDE


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (INSIDE, "jwe.not_encrypted"),
        ("", "jwe.shape"),
        ("a.b.c.d", "jwe.shape"),
        ("a.b.c.d.e.f", "jwe.shape"),
        ("....", "jwe.shape"),
        ("e30.b.c.d.e" + "x" * MAX_ENCRYPTED_CHARS, "jwe.shape"),
        (f"{encoded([1])}.b.c.d.e", "jwe.shape"),
        (f"{encoded({'x': 'y' * 4096})}.b.c.d.e", "jwe.shape"),
        (sealed(alg="RSA-OAEP"), "jwe.alg"),
        (sealed(enc="A128GCM"), "jwe.alg"),
        (sealed(alg="RSA1_5"), "jwe.alg"),
        (sealed(alg="dir", key=OctKey.generate_key(256)), "jwe.alg"),
        (reheaded(sealed(), alg=["RSA-OAEP-256"]), "jwe.alg"),
        (reheaded(sealed(), alg="none"), "jwe.alg"),
        (reheaded(sealed(), alg=None), "jwe.alg"),
        (reheaded(sealed(), enc=["A256GCM"]), "jwe.alg"),
        (reheaded(sealed(), alg="PBES2-HS256+A128KW", p2c=10**9, p2s="c2FsdA"), "jwe.crit"),
        (sealed(zip="DEF"), "jwe.crit"),
        (reheaded(sealed(), crit=["exp"]), "jwe.crit"),
        (sealed(kid="another"), "jwe.key"),
        (sealed(kid=OURS[1].kid), "jwe.key"),
        (reheaded(sealed(), kid=7), "jwe.kid"),
        (sealed(cty="at+jwt"), "jwe.cty"),
        (reheaded(sealed(), cty=["JWT"]), "jwe.cty"),
        (reheaded(sealed(), x="y"), "jwe.decryption"),
        (sealed(key=RSAKey.generate_key(2048)), "jwe.decryption"),
        (f"{sealed()[:-6]}AAAAAA", "jwe.decryption"),
        (sealed("no token"), "jwe.content"),
        (sealed("a.b"), "jwe.content"),
        (sealed(sealed()), "jwe.content"),
        (sealed("ä.b.c"), "jwe.content"),
    ],
)
def test_what_must_not_open(token: str, code: str) -> None:
    """Each by the check it meets first; the text never quotes what is inside."""
    assert refusal(token) == code


def test_a_bomb_is_not_unpacked() -> None:
    """A few bytes that would become gigabytes are refused by their header (docs/security.md B6)."""
    bomb = zlib.compress(b"\0" * 10_000_000)
    began = time.perf_counter()
    assert (
        refusal(f"{encoded({'alg': 'RSA-OAEP-256', 'enc': 'A256GCM', 'zip': 'DEF'})}.x.x.{encoded(list(bomb[:100]))}.x")
        == "jwe.crit"
    )
    assert time.perf_counter() - began < 0.5


def test_without_keys_nothing_opens() -> None:
    """Nor by those of others."""
    with pytest.raises(BadEncryption) as error:
        opened(sealed(), keys=[], algs=ALGS, encs=ENCS)
    assert error.value.code == "jwe.key"


def test_the_newest_key_opens_what_names_none() -> None:
    """The older one is for those that name it."""
    older = RSAKey.generate_key(2048)
    keys = [OURS[0], parse_decryption_key(older.as_pem(private=True).decode())]
    assert opened(sealed(key=older, kid=keys[1].kid), keys=keys, algs=ALGS, encs=ENCS) == INSIDE
    with pytest.raises(BadEncryption):
        opened(sealed(key=older), keys=keys, algs=ALGS, encs=ENCS)


@pytest.mark.parametrize(
    "private", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP384R1()), None, "nonsense"]
)
def test_keys_that_cannot_be_used(private: Any) -> None:
    """Too short, another curve, no key at all; the text never quotes them."""
    text = str(private)
    if private is not None and not isinstance(private, str):
        text = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(ValueError, match="not a PEM private key") as error:
        parse_decryption_key(text)
    assert text[30:60] not in str(error.value) or len(text) < 30


@pytest.mark.parametrize("key", OURS, ids=["rsa", "ec"])
def test_the_public_half_is_published(key: Any) -> None:
    """For encryption, by its thumbprint, and nothing private."""
    public = key.public()
    assert (public["use"], public["kid"]) == ("enc", key.kid)
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(public)
