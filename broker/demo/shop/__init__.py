"""
The tyre shop of the demo: a small web shop that knows Stafett only as a login page and one address to post an
offer to.

Owns: its goods, baskets, orders, customers and the offers ("handoffs") it makes. What a partner has to write
is in `booking.py` (offer the fitting) and in the login routes of `app.py`; the rest is any shop.
Must not know: the broker's code, and anything about the garage but its name.
"""

from .app import create_app

__all__ = ["create_app"]
