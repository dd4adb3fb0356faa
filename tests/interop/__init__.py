"""
Other people's client libraries, unchanged and configured by discovery alone, against the broker as a process of its own.

A new client is one module in `clients`, a new scenario one ``test_*.py``: `conftest.py` hands every client to every scenario
it is fit for. Run by ``make interop``, not by ``make test``: the clients come from their registries.
"""
