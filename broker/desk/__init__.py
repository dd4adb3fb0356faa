"""
Towards operators: is it alive, is it ready, and what it was told to put up with.
"""
