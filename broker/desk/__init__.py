"""
Towards operators: is it alive, is it ready, and what it was told to put up with.

Owns the probes. It must not change anything, and tells nothing about customers or partners.
"""
