"""
The broker's cookies. They hold an opaque random id and nothing else; but for the soft one, which holds what a newsletter's
link held (docs/newsletters.md), encrypted with a key of ours and good for nothing but a hint on our own page.

``__Host-`` (RFC 6265bis section 4.1.3.2): Secure, Path=/, no Domain, so that no other host can set or read them.
SameSite=Lax: sent when a partner or provider sends the customer here by a link or redirect.
"""

from collections.abc import Mapping
from datetime import timedelta

from starlette.requests import HTTPConnection
from starlette.responses import Response

BROWSER = "__Host-stafett-browser"
SOFT = "__Host-stafett-soft"
SESSION = "__Host-stafett-session"
DEVICE = "__Host-stafett-device"

_MAX_VALUE = 64
_MAX_SOFT = 2048
_BROWSER_LIFE = timedelta(days=1)


def sent(connection: HTTPConnection) -> Mapping[str, str]:
    """All cookies of a request, as they were written; of two that have one name the last."""
    found: dict[str, str] = {}
    for header, value in connection.scope["headers"]:
        if header == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                name, equals, content = pair.partition("=")
                if equals:
                    found[name.strip()] = content.strip()
    return found


def read(cookies: Mapping[str, str], name: str) -> str | None:
    """The cookie's value; None when absent or not of the shape we give out."""
    value = cookies.get(name)
    if value is None or not 20 <= len(value) <= _MAX_VALUE or not value.replace("-", "").replace("_", "").isalnum():
        return None
    return value


def set_browser(response: Response, value: str) -> None:
    """Bind this browser's journeys to *value*."""
    _set(response, BROWSER, value, _BROWSER_LIFE)


def set_session(response: Response, value: str, life: timedelta) -> None:
    """Log this browser in."""
    _set(response, SESSION, value, life)


def read_soft(connection: HTTPConnection) -> str | None:
    """Who the browser softly is, encrypted; None when absent or not of the shape we give out."""
    value = sent(connection).get(SOFT)
    if value is None or not 20 <= len(value) <= _MAX_SOFT or not value.replace("-", "").replace("_", "").isalnum():
        return None
    return value


def set_soft(response: Response, value: str, life: timedelta) -> None:
    """Remember who probably followed a newsletter's link."""
    _set(response, SOFT, value, life)


def clear_session(response: Response) -> None:
    """Log this browser out."""
    _set(response, SESSION, "", timedelta(0))


def set_device(response: Response, value: str, life: timedelta) -> None:
    """Know this browser again: what was used in it is kept under *value*."""
    _set(response, DEVICE, value, life)


def clear_device(response: Response) -> None:
    """Forget this browser, and who probably followed a newsletter's link in it."""
    _set(response, DEVICE, "", timedelta(0))
    _set(response, SOFT, "", timedelta(0))


def _set(response: Response, name: str, value: str, life: timedelta) -> None:
    # What Starlette writes by way of http.cookies, at a tenth of the cost; nothing in the value needs quotes.
    attributes = f"HttpOnly; Max-Age={int(life.total_seconds())}; Path=/; SameSite=lax; Secure"
    shown = value or '""'
    response.raw_headers.append((b"set-cookie", f"{name}={shown}; {attributes}".encode("ascii")))
