"""
Starlette plumbing that the edges share: the hub, cookies, form tokens, parameters, request middleware.

It must not know any protocol, page or provider.
"""
