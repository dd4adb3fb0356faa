"""
Bytes <-> checked values: JOSE, OAuth rules, SAML, outbound HTTP.

The only home of joserfc, pyjwt, authlib, lxml, xmlsec, pysaml2 and aiohttp; the demo plays other people and has its own.
A function here returns a checked frozen value or raises; it must not decide what a value means for a customer or partner.
"""
