"""
Which addresses answers may be sent to: exactly the registered ones, with the one exception native apps need.

An app that listens on the customer's own machine gets a free port from the system, so the port is the one part of its
address that cannot be registered (RFC 8252 section 7.3).
"""

import re
from collections.abc import Collection

_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\])):([1-9][0-9]{0,4})((?:[/?].*)?)")

PRIVATE_USE = re.compile(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+:/[\x21\x24-\x5b\x5d-\x7e]*")
"""
An address of an app by a scheme of its own: a domain name the wrong way round, so always with a dot (RFC 8252 section 7.1).

security: no scheme that a browser itself acts on (``javascript:``, ``data:``, ``intent:``) has one.
"""


def is_registered(uri: str, registered: Collection[str], *, is_public: bool) -> bool:
    """
    Whether *uri* is one of *registered*, compared character by character (RFC 9700 section 4.1.3).

    Args:
        is_public: an app or page without a server: where ``http://127.0.0.1/...`` or ``http://[::1]/...`` is registered
            without a port, any port will do. ``localhost`` is compared as it is: a name can lead elsewhere.
    """
    if uri in registered:
        return True
    match = _LOOPBACK.fullmatch(uri) if is_public else None
    return match is not None and int(match[2]) <= 65535 and match[1] + match[3] in registered


def is_loopback_redirect(uri: str) -> bool:
    """Whether *uri* is on the customer's own machine by address, not by name."""
    return re.match(r"http://(127\.0\.0\.1|\[::1\])([:/?]|$)", uri) is not None


def is_private_use(uri: str) -> bool:
    """Whether *uri* leads into an app by a scheme of its own."""
    return PRIVATE_USE.fullmatch(uri) is not None
