"""
Towards identity providers: one module per provider, each turning the provider's words into `Evidence`.

Owns the connectors and the only place where `Evidence` is made. A connector sees plain `Reply` data, never a
web request, and knows nothing of partners, consent or sessions.
"""
