"""
Names under which secrets are remembered.
"""

import base64
import hashlib


def name_of(token: str) -> str:
    """
    The name a secret *token* is stored under: 192 bits of its SHA-256.

    A reader of the store, or of a log, cannot turn it back into something that opens anything.
    """
    return base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()[:24]).decode()
