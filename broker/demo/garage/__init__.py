"""
The garage of the demo: a small workshop's website that customers of the tyre shop arrive at.

Owns: its booking diary, its customers and how they are recognised. What a partner has to write to receive a
handoff is in `arrival.py` and in the login routes of `app.py`; the rest is any workshop.
Must not know: the broker's code, and anything about the shop that the customer did not agree to.
"""

from .app import create_app

__all__ = ["create_app"]
