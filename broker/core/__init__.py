"""
The core decides: pure functions on frozen values.

It knows assurance, journeys, trust, consent and release. It must not know HTTP, stores, config files,
clocks, randomness or logging: time, random values and policy come in as arguments.
"""
