"""
The tests, which parse each private key once per process.

OpenSSL proves the primes of an RSA key whenever it reads one, 30 ms for 2048 bits and 80 for 3072; every broker that is opened
reads its keys anew, so that this was close to half of what the run cost. What is remembered is a pure function of the
library's: the same text gives the same key, which nobody can change; what is refused is refused each time.

Here, because it has to happen before anything imports the function by its name.
"""

from functools import lru_cache

from cryptography.hazmat.primitives import serialization

for _load in (serialization.load_pem_private_key, serialization.load_der_private_key):
    setattr(serialization, _load.__name__, lru_cache(maxsize=512)(_load))
