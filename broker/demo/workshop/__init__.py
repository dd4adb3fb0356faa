"""
The tyre workshop of the demo: a garage whose software speaks SAML, and which customers of the tyre shop arrive at.

Owns: its book of times, and how its customers log in. What a SAML partner has to write to receive customers is in `provider.py`
(who the broker is), `signed.py` (what is believed), `login.py` (the messages) and `arrival.py` (the data).
Must not know: the broker's code, and anything about the shop that the customer did not agree to.
"""

from .app import create_app
from .keys import Keys, keys_from
from .login import metadata

__all__ = ["Keys", "create_app", "keys_from", "metadata"]
