"""
OpenID Connect towards websites: discovery, authorization, token, userinfo, logout. Each endpoint lists its checks in order.
"""
