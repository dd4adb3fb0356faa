"""
Bytes <-> checked values: JOSE, OAuth rules, outbound HTTP.

The only home of joserfc, pyjwt, jwcrypto, authlib and aiohttp. A function here returns a checked frozen value or raises; it must
not decide what a value means for a customer or partner.
"""
