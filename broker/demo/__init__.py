"""
The demo: simulated identity providers, the tyre shop and the garage, and the story that runs through them.

Nothing in the broker imports this package. The sites use stock client libraries and the providers speak the
real protocols, so what works here works outside; the tests run against the same simulators.
"""
