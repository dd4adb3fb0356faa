"""One test per module of the OpenID Foundation's plans, named after the module."""
