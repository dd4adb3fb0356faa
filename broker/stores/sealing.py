"""
Encryption of what is remembered, and keyed digests to look things up by.

One secret gives a separate key per use by HKDF-SHA256 (RFC 5869). Sealed values are AES-256-GCM-SIV (RFC 8452) with a
random 96-bit nonce: keys live for years and seal many values, so a repeated nonce must not break anything. The place a
value belongs to is authenticated with it, so a value moved or changed by somebody with access to the store does not
open.
"""

import hashlib
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY_ID_BYTES = 4
_NONCE_BYTES = 12


class Broken(ValueError):
    """A sealed value that does not open: changed, moved, made with an unknown key, or not sealed at all."""


class UnknownKey(Broken):
    """Sealed with a secret that is not among ours; or never sealed."""


class Sealer:
    """
    Seals and opens bytes for one ``use`` (such as ``state`` or ``records``).

    Args:
        secrets_: at least 32 bytes each; the first seals, all open.
        use: separates keys; values sealed for one use do not open for another.
    """

    def __init__(self, secrets_: Sequence[bytes], use: str) -> None:
        if not secrets_ or any(len(secret) < 32 for secret in secrets_):
            raise ValueError("a sealing secret needs at least 32 bytes")
        keys = [_derive(secret, f"seal:{use}") for secret in secrets_]
        self._ciphers = {hashlib.sha256(key).digest()[:_KEY_ID_BYTES]: AESGCMSIV(key) for key in keys}
        self._current = next(iter(self._ciphers))
        self._cipher = self._ciphers[self._current]
        self._nonces = HMAC(_derive(secrets_[0], f"nonce:{use}"), SHA256())

    def seal(self, plain: bytes, place: str) -> bytes:
        """*plain*, readable only by `open` with the same *place*."""
        return self._sealed(os.urandom(_NONCE_BYTES), plain, place)

    def seal_same(self, plain: bytes, place: str) -> bytes:
        """
        As `seal`, but the same *plain* for the same *place* always gives the same bytes.

        The nonce is the content's keyed digest: equal nonces then mean equal messages, which is all that AES-GCM-SIV
        lets an onlooker see (RFC 8452 section 9).
        """
        nonce = _mac(self._nonces, place.encode() + b"\0" + plain)[:_NONCE_BYTES]
        return self._sealed(nonce, plain, place)

    def _sealed(self, nonce: bytes, plain: bytes, place: str) -> bytes:
        return self._current + nonce + self._cipher.encrypt(nonce, plain, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """
        What was sealed for *place*.

        Raises: Broken.
        """
        cipher = self._ciphers.get(sealed[:_KEY_ID_BYTES])
        if cipher is None:
            raise UnknownKey("sealed with an unknown key")
        nonce, body = (
            sealed[_KEY_ID_BYTES : _KEY_ID_BYTES + _NONCE_BYTES],
            sealed[_KEY_ID_BYTES + _NONCE_BYTES :],
        )
        try:
            return cipher.decrypt(nonce, body, place.encode())
        except (InvalidTag, ValueError) as error:
            raise Broken("changed, moved or cut") from error


class Digester:
    """Keyed digests (HMAC-SHA256) of values that may not be stored in clear but must be found again."""

    def __init__(self, secret: bytes, use: str) -> None:
        self._digests = HMAC(_derive(secret, f"digest:{use}"), SHA256())

    def digest(self, *parts: str) -> str:
        """Hex digest of *parts*, kept apart from each other."""
        message = b"".join([len(raw := part.encode()).to_bytes(4, "big") + raw for part in parts])
        return _mac(self._digests, message).hex()


def _mac(keyed: HMAC, message: bytes) -> bytes:
    """HMAC-SHA256 of *message* by a key that is prepared already, which is most of the work for so little text."""
    mac = keyed.copy()
    mac.update(message)
    return mac.finalize()


def _derive(secret: bytes, label: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"stafett:" + label.encode()).derive(secret)
