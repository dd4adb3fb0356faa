"""
The SAML 2.0 identity provider that partners with a service provider see (docs/saml.md).

It knows addresses and forms; XML belongs to `broker.wire.saml`, decisions to the core.
"""
