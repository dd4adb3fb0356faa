"""``stafett migrate`` and ``stafett sweep``."""

import asyncio
from pathlib import Path

from broker.app import KeyMaterial, build_context
from broker.cli.opening import open_records, read, records_url
from broker.core.trust import Available
from broker.flows import sweep as flow
from broker.stores.memory import MemoryState
from broker.stores.migrate import head_revision
from broker.stores.migrate import migrate as to_head


def migrate(config: Path | None) -> None:
    """Bring the database to this version's schema."""
    loaded, _ = read(config)
    asyncio.run(to_head(records_url(loaded), pgbouncer=loaded.policy.broker.records.pgbouncer))
    print(f"the database is at schema {head_revision()}")


def sweep(config: Path | None) -> None:
    """Erase what is past its retention."""
    asyncio.run(_sweep(config))


async def _sweep(config: Path | None) -> None:
    loaded, _ = read(config)
    async with open_records(loaded) as records:
        context = build_context(
            loaded,
            KeyMaterial.of(loaded),
            state=MemoryState(),
            records=records,
            available=lambda: Available(frozenset()),
        )
        swept = await flow.sweep(context)
    print(
        f"erased: {swept.payloads} payloads, {swept.proofs} proofs of login, {swept.consents} ended consents,"
        f" {swept.notices} settled notices"
    )
