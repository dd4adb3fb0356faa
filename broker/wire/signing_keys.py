"""
Key pairs that sign: made here, read from PEM files, parsed once.

An RSA key signs RS256, an EC key on P-256 ES256; `ALGS` is what there is a key pair for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey
from msgspec import Struct

from broker.core.keys import BEGINNING, KeyBook, KeyRecord
from broker.errors import ConfigError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_MAKERS: Mapping[str, Callable[[], PrivateKey]] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
}

ALGS: tuple[str, ...] = tuple(_MAKERS)
"""Algorithms of which one key each is signing at any time."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class SigningKey:
    """A private key ready to sign."""

    kid: str
    alg: str
    private: PrivateKey


class VerifyingKey(Struct, frozen=True):
    """A public key, and the one algorithm it is for."""

    alg: str
    keys: KeySet


def new_key(alg: str) -> KeyRecord:
    """A key pair for *alg*, one of `ALGS`; its times are others' business."""
    return _record(_MAKERS[alg](), alg)


def given_book(signing: Sequence[bytes], later: Sequence[tuple[bytes, datetime]] = ()) -> KeyBook:
    """
    The book of an operator's own keys (PKCS#8 PEM): the first of each kind signs, *later* ones take over at their time.

    Raises:
        ConfigError: a key that cannot be read or is too weak, one given twice, or a kind that is missing.
    """
    records = [_given(pem, f"broker.keys.signing[{index}]") for index, pem in enumerate(signing)]
    firsts = {alg: record.kid for record in reversed(records) for alg in [record.alg]}
    if missing := set(ALGS) - set(firsts):
        problem = (
            f"no key for {' and '.join(sorted(missing))}; give one RSA key (2048 bits or more) and one EC P-256 key"
        )
        raise ConfigError((f"broker.keys.signing: {problem}",))
    dated = [_from(record, BEGINNING) if record.kid == firsts[record.alg] else record for record in records]
    for index, (pem, signs_from) in enumerate(later):
        dated.append(_from(_given(pem, f"broker.keys.next[{index}].key"), signs_from))
    if len({record.kid for record in dated}) != len(dated):
        raise ConfigError(("broker.keys.signing: the same key is given twice",))
    return KeyBook(keys=tuple(dated))


def signing_key(record: KeyRecord) -> SigningKey:
    """The private half of *record*, parsed. Raises: ConfigError for one that no longer has it, or a damaged one."""
    name = (record.kid, record.alg, record.private)
    if (parsed := _parsed.get(name)) is None:
        parsed = _parsed[name] = _parse(record)
    return parsed


_parsed: WeakValueDictionary[tuple[str, str, str | None], SigningKey] = WeakValueDictionary()
"""To see that an RSA key is sound takes as long as ten logins: once, as long as anybody signs with it, and no longer."""


def _parse(record: KeyRecord) -> SigningKey:
    try:
        private = serialization.load_pem_private_key((record.private or "").encode(), password=None)
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, PrivateKey):
        raise ConfigError((f"broker.keys: the private key of {record.kid} cannot be read",))
    return SigningKey(record.kid, record.alg, private)


def verifying_key(record: KeyRecord) -> VerifyingKey:
    """The public half of *record*, parsed. Raises: ConfigError."""
    members: dict[str, str | list[str]] = {
        name: str(value) for name, value in record.public.items() if name not in {"kid", "use", "alg"}
    }
    try:
        public = RSAKey.import_key(members) if members.get("kty") == "RSA" else ECKey.import_key(members)
    except (JoseError, ValueError, KeyError) as error:
        raise ConfigError((f"broker.keys: the public key of {record.kid} cannot be read",)) from error
    return VerifyingKey(record.alg, KeySet([public]))


def _from(record: KeyRecord, signs_from: datetime) -> KeyRecord:
    return record.model_copy(update={"signs_from": signs_from})


def _given(pem: bytes, where: str) -> KeyRecord:
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError((f"{where}: not an unencrypted PEM private key",)) from error
    match private:
        case rsa.RSAPrivateKey() if private.key_size >= 2048:
            return _record(private, "RS256")
        case ec.EllipticCurvePrivateKey() if isinstance(private.curve, ec.SECP256R1):
            return _record(private, "ES256")
        case _:
            raise ConfigError((f"{where}: must be RSA of at least 2048 bits or EC P-256",))


def _record(private: PrivateKey, alg: str) -> KeyRecord:
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = RSAKey.import_key(public) if isinstance(private, rsa.RSAPrivateKey) else ECKey.import_key(public)
    kid = key.thumbprint()
    members: dict[str, Any] = {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}
    return KeyRecord(kid=kid, alg=alg, public={**members, "kid": kid, "use": "sig", "alg": alg}, private=pem.decode())
