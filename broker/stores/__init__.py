"""
What the broker remembers: short-lived state (`StateStore`) and durable records (`Records`).

Owns redis and SQLAlchemy. It must not know why something is remembered: journeys, codes and handoffs are
bytes here.
"""
