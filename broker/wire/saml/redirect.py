"""
The HTTP-Redirect binding: a message deflated into a query, signed as a query (saml-bindings-2.0-os, section 3.4.4).

What is verified are the octets of the query as it came, never an encoding of our own of what it decodes to: senders
differ in how they write a blank or a hexadecimal digit. Each parameter may be there once.
"""

import base64
import binascii
import zlib
from collections.abc import Collection, Iterable
from typing import Literal
from urllib.parse import quote, unquote_plus

from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from broker.wire.saml.algorithms import SIGNATURES, Signature
from broker.wire.saml.keys import PublicKey, SigningKey, VerifyingKey
from broker.wire.saml.octets import is_signature, side_by_side, signature_of
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.xml import MAX_MESSAGE

Field = Literal["SAMLRequest", "SAMLResponse"]

MAX_QUERY = 64 * 1024
"""Octets of a query that are looked at."""
MAX_RELAY_STATE = 80
"""Octets, says section 3.4.3; senders exist that do not care, see `decode`."""

_DEFLATE = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"
_KNOWN = {"SAMLRequest", "SAMLResponse", "RelayState", "SigAlg", "Signature", "SAMLEncoding"}


class QuerySignature(Struct, frozen=True):
    """The signature of a query, and the octets it is for; not believed yet."""

    algorithm: Signature
    value: bytes
    octets: bytes


class Redirected(Struct, frozen=True):
    """A message that came in a query: not parsed, and not verified before `verify` has said so."""

    field: Field
    octets: bytes
    relay_state: str | None
    signature: QuerySignature | None


def encode(
    octets: bytes,
    *,
    field: Field,
    relay_state: str | None = None,
    key: SigningKey | None = None,
    algorithm: Signature | None = None,
    max_relay_state: int = MAX_RELAY_STATE,
) -> str:
    """
    The query, without question mark, that carries *octets*: signed when there is a *key*.

    Args:
        max_relay_state: octets; more than the 80 of the standard only for one that is given back to who sent it.
    Raises: XmlRefused: signature_algorithm when it does not fit the key, relay_state beyond *max_relay_state*.
    """
    if relay_state is not None and len(relay_state.encode()) > max_relay_state:
        raise XmlRefused("relay_state")
    query = f"{field}={_quoted(_deflated(octets))}"
    if relay_state is not None:
        query += f"&RelayState={quote(relay_state, safe='')}"
    if key is None:
        return query
    chosen = algorithm or key.default_algorithm
    if not key.fits(chosen):
        raise XmlRefused("signature_algorithm", "does not fit the key")
    query += f"&SigAlg={quote(chosen, safe='')}"
    return f"{query}&Signature={_quoted(signature_of(query.encode(), key=key, algorithm=chosen))}"


def decode(query: str, *, max_relay_state: int = MAX_RELAY_STATE) -> Redirected:
    """
    The message in *query*, which is the query string as it came, without question mark.

    Args:
        max_relay_state: octets; more than the 80 of the standard only for senders that need it.
    Raises: XmlRefused: too_large, query, base64, deflate, relay_state, signature_algorithm.
    """
    if len(query) > MAX_QUERY:
        raise XmlRefused("too_large")
    raw = _raw_parameters(query)
    fields: list[Field] = [each for each in ("SAMLRequest", "SAMLResponse") if each in raw]
    if len(fields) != 1 or unquote_plus(raw.get("SAMLEncoding", _DEFLATE)) != _DEFLATE:
        raise XmlRefused("query")
    relay_state = unquote_plus(raw["RelayState"]) if "RelayState" in raw else None
    if len((relay_state or "").encode()) > max_relay_state:
        raise XmlRefused("relay_state")
    return Redirected(fields[0], _inflated(_base64(raw[fields[0]])), relay_state, _signature(raw, fields[0]))


def verify(message: Redirected, keys: Iterable[VerifyingKey], *, allowed: Collection[Signature] = SIGNATURES) -> None:
    """
    The query was signed by one of *keys*.

    Raises: XmlRefused: unsigned, signature_algorithm, no_keys, signature_invalid.
    """
    signature = message.signature
    if signature is None:
        raise XmlRefused("unsigned")
    if signature.algorithm not in allowed:
        raise XmlRefused("signature_algorithm")
    given = tuple(keys)
    if not given:
        raise XmlRefused("no_keys")
    if not any(_verifies(key, signature) for key in given):
        raise XmlRefused("signature_invalid")


def _raw_parameters(query: str) -> dict[str, str]:
    """The parameters of the binding by name, percent-encoded as they came; others are nobody's business."""
    found: dict[str, str] = {}
    for pair in query.split("&"):
        raw_name, _, value = pair.partition("=")
        name = unquote_plus(raw_name)
        if name not in _KNOWN:
            continue
        if name in found or raw_name != name:
            raise XmlRefused("query", "a parameter twice, or its name in another spelling")
        found[name] = value
    return found


def _signature(raw: dict[str, str], field: Field) -> QuerySignature | None:
    if "Signature" not in raw and "SigAlg" not in raw:
        return None
    if "Signature" not in raw or "SigAlg" not in raw:
        raise XmlRefused("query", "half a signature")
    try:
        algorithm = Signature(unquote_plus(raw["SigAlg"]))
    except ValueError:
        raise XmlRefused("signature_algorithm") from None
    signed = "&".join(f"{name}={raw[name]}" for name in (field, "RelayState", "SigAlg") if name in raw)
    return QuerySignature(algorithm, _base64(raw["Signature"]), signed.encode())


def _base64(raw: str) -> bytes:
    try:
        return base64.b64decode(unquote_plus(raw).replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        raise XmlRefused("base64") from None


def _deflated(octets: bytes) -> bytes:
    # A window of 4 kB is as good for a message of one, and need not be made from a quarter of a megabyte of fresh memory.
    deflater = zlib.compressobj(wbits=-12, memLevel=5)
    return deflater.compress(octets) + deflater.flush()


def _inflated(octets: bytes) -> bytes:
    # security: never more than a message may have, however small the query is.
    inflater = zlib.decompressobj(-15)
    try:
        message = inflater.decompress(octets, MAX_MESSAGE + 1)
    except zlib.error:
        raise XmlRefused("deflate") from None
    if len(message) > MAX_MESSAGE or not inflater.eof or inflater.unused_data or not message:
        raise XmlRefused("deflate")
    return message


def _quoted(octets: bytes) -> str:
    """Base64, percent-encoded: of its letters only these three need it."""
    return base64.b64encode(octets).decode().replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")


def _verifies(key: VerifyingKey, signature: QuerySignature) -> bool:
    value = _unwrapped(signature.value, key.public)
    return is_signature(value, signature.octets, key=key, algorithm=signature.algorithm)


def _unwrapped(value: bytes, public: PublicKey) -> bytes:
    """Some senders of this binding write r and s of an EC signature as DER."""
    if not isinstance(public, ec.EllipticCurvePublicKey):
        return value
    try:
        return side_by_side(value, public.curve)
    except ValueError:
        return value
