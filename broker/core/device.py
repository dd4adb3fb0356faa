"""
The customer's device in words she recognises: which browser on which system. Nothing finer is kept of what it says.
"""

from msgspec import Struct

_MARKS_OF_BROWSERS = (
    # The order matters: nearly all of them claim to be one of the later ones as well.
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("Edg/", "Edge"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("OPR/", "Opera"),
    ("OPT/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Version/", "Safari"),
)
_MARKS_OF_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
)


class Device(Struct, frozen=True):
    """``browser`` and ``system``: names of products, the same in every language; None where they cannot be told."""

    browser: str | None = None
    system: str | None = None


def device_of(user_agent: str) -> Device:
    """What *user_agent* (RFC 9110 section 10.1.5) claims; it is shown to the customer and decides nothing."""
    return Device(_first(_MARKS_OF_BROWSERS, user_agent), _first(_MARKS_OF_SYSTEMS, user_agent))


def _first(marks: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((name for mark, name in marks if mark in text), None)
