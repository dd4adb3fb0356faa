"""
The handoff API: what sources create and recipients fetch (docs/handoff.md).
"""
