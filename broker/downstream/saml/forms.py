"""
Messages in forms, and messages that are not taken.
"""

from broker.errors import BadAsk
from broker.wire.saml.refused import XmlRefused

LARGEST = 256 * 1024
"""Octets of a form with a message in it: a signed one with the sender's certificates is larger than other forms."""

_MAX_MEMBERS = 20


def once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """security: each member of a form at most once (docs/security.md A7), and one message. Raises: BadAsk."""
    found = dict(pairs)
    if len(found) != len(pairs) or len(found) > _MAX_MEMBERS:
        raise BadAsk("a member is given twice", code="params.duplicate")
    if "SAMLRequest" in found and "SAMLResponse" in found:
        raise BadAsk("a request and a response at once", code="saml.query")
    return found


def not_taken(error: XmlRefused) -> BadAsk:
    """A message that is not taken, for the customer's page: nothing is known of where she could be sent instead."""
    return BadAsk(error.detail, code=error.code)
