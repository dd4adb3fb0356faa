"""
The tyre hotel of the demo: a small service without an OpenID Connect client, which customers reach by handoffs only.

Owns: its shelves, and who has one. What a partner has to write to receive customers this way is in `arrival.py`.
Must not know: the broker's code, and anything about the shop that the customer did not agree to.
"""

from .app import create_app

__all__ = ["create_app"]
