"""
The handoff API: what sources create and recipients fetch (docs/handoff.md).

Owns the shape of its JSON and who may call. It must not decide what a recipient gets: that is `core.release`.
"""
