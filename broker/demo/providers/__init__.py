"""
Faithful simulators of identity providers, one package or module each.

A simulator is as strict as the real service and can be made to misbehave like it. It knows nothing of the
broker.
"""
