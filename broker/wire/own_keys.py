"""
Keys that development makes for itself, once, so that a restart keeps sessions and subjects. Production gets its keys by
reference.
"""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """``signing``: PEM private keys, RSA then EC. ``secret``: 32 random bytes."""

    signing: tuple[bytes, ...]
    secret: bytes


def own_keys(folder: Path) -> OwnKeys:
    """
    The keys in *folder*, made now if they are not there yet; readable by this user only.

    Several processes may do this at once: the first to finish a file wins, the others read it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    signing = (
        _kept(folder / "signing-rsa.pem", lambda: _pem(rsa.generate_private_key(65537, 2048))),
        _kept(folder / "signing-ec.pem", lambda: _pem(ec.generate_private_key(ec.SECP256R1()))),
    )
    return OwnKeys(signing, _kept(folder / "secret", lambda: secrets.token_bytes(32)))


def _kept(path: Path, make: Callable[[], bytes]) -> bytes:
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(make())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another process was first; its file is read below
        finally:
            fresh.unlink()
    return path.read_bytes()


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
