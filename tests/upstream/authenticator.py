"""
A software authenticator: what a phone, a laptop or a security key does for a browser (WebAuthn level 3), and what bad ones do.

It keeps discoverable keys, counts if told to, and answers options of the broker as a browser's script would post it.
"""

import base64
import json
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_bytes
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from tests.changing import replace

ES256, EDDSA, RS256, ES384 = -7, -8, -257, -35

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Key:
    """A key pair of one algorithm."""

    def __init__(self, alg: int) -> None:
        self.alg = alg
        self._private: Any = {
            ES256: lambda: ec.generate_private_key(ec.SECP256R1()),
            ES384: lambda: ec.generate_private_key(ec.SECP384R1()),
            EDDSA: ed25519.Ed25519PrivateKey.generate,
            RS256: lambda: rsa.generate_private_key(65537, 2048),
        }[alg]()

    @property
    def cose(self) -> dict[int, Any]:
        """The public key as a COSE map (RFC 9053)."""
        public = self._private.public_key()
        match self.alg:
            case -8:
                return {1: 1, 3: self.alg, -1: 6, -2: public.public_bytes_raw()}
            case -257:
                numbers = public.public_numbers()
                return {1: 3, 3: self.alg, -1: numbers.n.to_bytes(256, "big"), -2: numbers.e.to_bytes(3, "big")}
        numbers, size = public.public_numbers(), public.curve.key_size // 8
        curve = 1 if self.alg == ES256 else 2
        return {1: 2, 3: self.alg, -1: curve, -2: numbers.x.to_bytes(size, "big"), -3: numbers.y.to_bytes(size, "big")}

    def sign(self, data: bytes) -> bytes:
        match self.alg:
            case -8:
                return bytes(self._private.sign(data))
            case -257:
                return bytes(self._private.sign(data, padding.PKCS1v15(), SHA256()))
        return bytes(self._private.sign(data, ec.ECDSA(SHA256())))


@dataclass
class Kept:
    """A passkey in the authenticator."""

    id: bytes
    key: Key
    rp_id: str
    user_handle: bytes
    counter: int = 0


@dataclass(frozen=True)
class Faults:
    """
    What is wrong with an answer. ``flags``: taken away; ``kind``, ``origin``, ``rp_id``, ``challenge``, ``user_handle``: said
    instead of the true ones; ``spoils_signature``; ``framed``: by a page inside another site's.
    """

    flags: int = 0
    kind: str | None = None
    origin: str | None = None
    rp_id: str | None = None
    challenge: str | None = None
    user_handle: bytes | None = None
    hides_user: bool = False
    credential: bytes | None = None
    spoils_signature: bool = False
    framed: bool = False


_NONE = Faults()


@dataclass
class Authenticator:
    """
    One device. ``counts``: whether it counts its uses; ``is_synced``: whether its keys are copied to others.
    """

    origin: str = "http://localhost:8700"
    alg: int = ES256
    counts: bool = False
    is_synced: bool = True
    aaguid: bytes = bytes(16)
    keys: list[Kept] = field(default_factory=list)

    def create(self, options: str, faults: Faults = _NONE) -> str:
        """RegistrationResponseJSON for PublicKeyCredentialCreationOptionsJSON."""
        asked = json.loads(options)
        rp_id = asked["rp"]["id"]
        excluded = {unb64(each["id"]) for each in asked["excludeCredentials"]}
        if excluded & {kept.id for kept in self.keys}:
            raise ValueError("InvalidStateError: there is one already")
        kept = Kept(token_bytes(32), Key(self.alg), rp_id, unb64(asked["user"]["id"]))
        self.keys.append(kept)
        cose = cbor2.dumps(kept.key.cose)
        attested = self.aaguid + len(kept.id).to_bytes(2, "big") + kept.id + cose
        data = self._data(kept, faults, AT) + attested
        response = {
            "clientDataJSON": self._client_data("webauthn.create", asked["challenge"], faults),
            "attestationObject": b64(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})),
            "transports": ["internal", "hybrid"],
        }
        return json.dumps(self._credential(kept.id, response))

    def get(self, options: str, faults: Faults = _NONE, *, kept: Kept | None = None) -> str:
        """AuthenticationResponseJSON for PublicKeyCredentialRequestOptionsJSON, by the newest key or *kept*."""
        asked = json.loads(options)
        kept = kept or [each for each in self.keys if each.rp_id == asked["rpId"]][-1]
        if self.counts:
            kept.counter += 1
        data = self._data(kept, faults, 0)
        client = self._client_data("webauthn.get", asked["challenge"], faults)
        signature = kept.key.sign(data + sha256(unb64(client)).digest())
        if faults.spoils_signature:
            signature = Key(kept.key.alg).sign(data)
        response = {"clientDataJSON": client, "authenticatorData": b64(data), "signature": b64(signature)}
        if not faults.hides_user:
            response["userHandle"] = b64(faults.user_handle or kept.user_handle)
        return json.dumps(self._credential(faults.credential or kept.id, response))

    def copy(self) -> "Authenticator":
        """A copy of it, keys and counters included, as a thief would make one."""
        return replace(self, keys=[replace(kept) for kept in self.keys])

    def _credential(self, id: bytes, response: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": b64(id),
            "rawId": b64(id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }

    def _data(self, kept: Kept, faults: Faults, more: int) -> bytes:
        flags = (UP | UV | more | ((BE | BS) if self.is_synced else 0)) & ~faults.flags
        rp_hash = sha256((faults.rp_id or kept.rp_id).encode()).digest()
        return rp_hash + bytes([flags]) + kept.counter.to_bytes(4, "big")

    def _client_data(self, kind: str, challenge: str, faults: Faults) -> str:
        said = {
            "type": faults.kind or kind,
            "challenge": faults.challenge or challenge,
            "origin": faults.origin or self.origin,
            "crossOrigin": faults.framed,
        }
        return b64(json.dumps(said).encode())
