"""Schema revisions, oldest first in ``versions``; run by `broker.stores.migrate`."""
