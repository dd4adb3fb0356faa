"""
The demo: simulated identity providers, the tyre shop and the garage, and the story that runs through them.

Only `cli/demo.py` imports this package, when that command runs. The sites use stock client libraries and the providers speak the
real protocols, so what works here works outside; the tests run against the same simulators.
"""
