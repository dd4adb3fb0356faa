"""
Other people's SAML software, unchanged, against the broker as a process of its own: service providers that log customers in by
it, and identity providers it logs customers in by.

A new service provider is one module in `parties` and a line in its ``__init__.py``. Both sides know of each other by metadata.
"""
