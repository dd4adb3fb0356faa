"""
Links in newsletters: they recognise a reader softly, and prove nothing.

A mail is forwarded, archived, and opened by scanners, so whoever follows its link may be anybody. It may choose a language and
an offer, and spare her typing the address a code is to be sent to; it never logs anybody in, links, shares or consents.
"""

from datetime import datetime

from broker.core.discreet import Discreet
from broker.core.identity import normal_email
from broker.core.policy import Newsletter
from broker.errors import BadAsk

MAX_RECIPIENTS = 500
"""Of one call; a campaign makes as many calls as it needs."""

_MAX_ADDRESS = 254


class SoftRecognition(Discreet, frozen=True):
    """
    Who probably follows a link: the reader ``partner`` wrote to at ``address`` for ``campaign``.

    ``landing_uri``: where the link leads. ``language``: BCP 47, None as the browser likes. ``until``: the link recognises
    nobody afterwards (aware UTC).
    """

    UNSPOKEN = frozenset({"address"})

    partner: str
    campaign: str
    landing_uri: str
    language: str | None
    until: datetime
    address: str


def check_mailing(terms: Newsletter, *, landing_uri: str, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """
    Whether links may be made for a mailing.

    Returns: the addresses in their normal form, in the same order.
    Raises: BadAsk: a page that is not registered, none or too many readers, no address.
    """
    if landing_uri not in terms.landing_uris:
        raise BadAsk("landing_uri is not registered", code="newsletter.landing_uri")
    if not 1 <= len(addresses) <= MAX_RECIPIENTS:
        raise BadAsk(f"recipients must be 1 to {MAX_RECIPIENTS} addresses", code="newsletter.recipients")
    for index, address in enumerate(addresses):
        if len(address) > _MAX_ADDRESS or not 1 <= address.find("@") < len(address) - 1 or not address.isprintable():
            raise BadAsk(f"recipients[{index}] is no e-mail address", code="newsletter.recipients")
    return tuple(normal_email(address) for address in addresses)
