"""
Cleaning: personal data goes when its time is over.
"""

from broker.flows.context import Context
from broker.stores.ports import Swept

_BATCH = 1000


async def sweep(context: Context) -> Swept:
    """Remove everything past its retention, batch by batch. Returns: what was removed."""
    days = max(1, context.policy().broker.retention.payload.days)
    total = Swept(0, 0, 0)
    while True:
        done = await context.records.sweep(context.now(), days, _BATCH)
        total = Swept(
            total.payloads + done.payloads,
            total.proofs + done.proofs,
            total.consents + done.consents,
            total.notices + done.notices,
            total.ways + done.ways,
        )
        if max(done.payloads, done.proofs, done.consents, done.notices, done.ways) < _BATCH:
            return total
