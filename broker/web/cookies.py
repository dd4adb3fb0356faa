"""
The broker's two cookies. Both hold an opaque random id and nothing else.

``__Host-`` (RFC 6265bis section 4.1.3.2): Secure, Path=/, no Domain, so that no other host can set or read them.
SameSite=Lax: sent when a partner or provider sends the customer here by a link or redirect.
"""

from datetime import timedelta

from starlette.requests import HTTPConnection
from starlette.responses import Response

BROWSER = "__Host-stafett-browser"
SESSION = "__Host-stafett-session"

_MAX_VALUE = 64
_BROWSER_LIFE = timedelta(days=1)


def read(connection: HTTPConnection, name: str) -> str | None:
    """The cookie's value; None when absent or not of the shape we give out."""
    value = connection.cookies.get(name)
    if value is None or not 20 <= len(value) <= _MAX_VALUE or not value.replace("-", "").replace("_", "").isalnum():
        return None
    return value


def set_browser(response: Response, value: str) -> None:
    """Bind this browser's journeys to *value*."""
    _set(response, BROWSER, value, _BROWSER_LIFE)


def set_session(response: Response, value: str, life: timedelta) -> None:
    """Log this browser in."""
    _set(response, SESSION, value, life)


def clear_session(response: Response) -> None:
    """Log this browser out."""
    _set(response, SESSION, "", timedelta(0))


def _set(response: Response, name: str, value: str, life: timedelta) -> None:
    response.set_cookie(
        name, value, max_age=int(life.total_seconds()), path="/", secure=True, httponly=True, samesite="lax"
    )
