"""
Forms come from our own pages: a token per journey or session, and what the browser says of the sender.
"""

import hmac
from collections.abc import Mapping

from starlette.requests import Request

from broker.errors import BadAsk


def check(request: Request, fields: Mapping[str, str], expected: str, issuer: str) -> None:
    """
    Return if the form was sent by our own page.

    The token decides. ``Sec-Fetch-Site`` and ``Origin`` are looked at where they are sent; ``Origin: null`` is what our
    pages without referrer send (docs/security.md C3).

    Raises: BadAsk ``form.token`` or ``form.origin``.
    """
    check_origin(request, issuer)
    if not hmac.compare_digest(fields.get("csrf", "").encode(), expected.encode()):
        raise BadAsk("form token is missing or old", code="form.token")


def check_origin(request: Request, issuer: str) -> None:
    """As far as the browser says, a page of ours sent the form. Raises: BadAsk ``form.origin``."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site not in {None, "same-origin"} or origin not in {None, "null", issuer}:
        raise BadAsk("form was sent from elsewhere", code="form.origin")
