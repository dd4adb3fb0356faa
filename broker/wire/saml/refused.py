"""The one error of this room: a message, key or document that is not taken, and why."""

from broker.errors import StafettError


class XmlRefused(StafettError):
    """
    SAML that is not taken. ``code`` says which rule it broke (`CODES`), ``detail`` is for the operator.

    Neither ever quotes the message: names of elements and algorithms at most. Edges make `BadAsk` or
    `UpstreamRefused` of it.
    """

    default_code = "xml_refused"

    def __init__(self, code: str, detail: str = "", **facts: str | int | bool | None) -> None:
        super().__init__(detail or CODES[code], code=f"saml.{code}", **facts)


CODES = {
    # the document
    "too_large": "larger than what is read",
    "encoding": "not XML in UTF-8",
    "doctype": "has a document type declaration",
    "not_xml": "not well-formed",
    "too_deep": "nested too deeply",
    "too_many_nodes": "too many elements or attributes",
    "instruction": "has a processing instruction or an entity reference",
    "duplicate_id": "two elements have one ID",
    "nested_message": "a SAML message stands inside another element",
    "schema": "does not follow the schema",
    "wrong_element": "another element than expected",
    "message_head": "lacks what every message begins with",
    # responses
    "issuer": "from somebody else than was asked",
    "destination": "for another address",
    "in_response_to": "an answer to something else, or to nothing",
    "time": "too old, or from the future",
    "assertion_count": "not exactly one assertion",
    "assertion_time": "the assertion is not valid yet, or not any more",
    "assertion_shape": "the assertion says something that is not understood",
    "confirmation": "no confirmation of the subject is for this address and request",
    "audience": "the assertion is for somebody else",
    # signatures
    "unsigned": "not signed",
    "signature_count": "more than one signature",
    "signature_position": "a signature stands where none belongs",
    "signature_shape": "the signature is not formed as SAML requires",
    "reference_count": "the signature has not exactly one reference",
    "reference_target": "the signature is for something else",
    "transform": "a transform that SAML does not allow",
    "canonicalization": "a canonicalization that is not accepted",
    "signature_algorithm": "a signature algorithm that is not accepted",
    "digest_algorithm": "a digest algorithm that is not accepted",
    "digest_mismatch": "what was signed is not what is read",
    "signature_invalid": "no key of the sender verifies the signature",
    "no_keys": "no key of the sender is known",
    # keys
    "key_unreadable": "a key or certificate cannot be read",
    "key_weak": "a key is too weak or of a kind that is not used",
    # encryption
    "unencrypted": "not encrypted",
    "encryption_shape": "the encryption is not formed as expected",
    "encryption_algorithm": "an encryption algorithm that is not accepted",
    "undecryptable": "cannot be decrypted",
    # bindings
    "query": "the query is not a SAML message",
    "base64": "not base64",
    "deflate": "cannot be inflated to a message of bearable size",
    "relay_state": "the relay state is too long",
    # metadata
    "metadata_expired": "the metadata is past its validUntil",
    "metadata_endless": "the metadata has no validUntil",
    "metadata_distant": "the metadata's validUntil is further away than is accepted",
    "metadata_time": "a time in the metadata cannot be read",
}
"""Every code, without its prefix ``saml.``, and what it says."""
