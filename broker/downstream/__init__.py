"""
Towards websites and partners: OpenID Connect and the handoff API.

Owns client authentication and every answer a partner's software reads. It must not know providers or pages; what a
claim release contains is decided in the core.
"""
