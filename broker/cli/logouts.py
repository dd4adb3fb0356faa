"""``stafett logouts list`` and ``stafett logouts retry``."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from broker.app import utc_now
from broker.cli.opening import open_records, read
from broker.core.notice import State
from broker.errors import StafettError
from broker.stores.ports import Notice

_MOST = 1000
_OPEN = (State.PENDING.value, State.REFUSED.value, State.GIVEN_UP.value)


def list_all(config: Path | None, *, partner: str | None, told: bool) -> None:
    """Which partners were not told of a logout yet, or never will be; with *told* also those that were."""
    notices = asyncio.run(_list(config, partner, told))
    for each in notices:
        print(_line(each))
    if not notices:
        print("stafett: nobody waits to be told of a logout", file=sys.stderr)


def retry(config: Path | None, *, partner: str | None, notice: str | None) -> None:
    """
    Have partners told again that refused or did not answer.

    Raises: StafettError when there is nothing to tell.
    """
    revived = asyncio.run(_retry(config, partner, notice))
    if not revived:
        raise StafettError("there is nothing of that kind to tell anybody")
    print(f"{revived} to be told now; a running broker does it within seconds")


async def _list(config: Path | None, partner: str | None, told: bool) -> Sequence[Notice]:
    loaded, _ = read(config)
    async with open_records(loaded) as records:
        states = (*_OPEN, State.DELIVERED.value) if told else _OPEN
        return await records.list_notices(states, partner, _MOST)


async def _retry(config: Path | None, partner: str | None, notice: str | None) -> int:
    loaded, _ = read(config)
    now = utc_now()
    async with open_records(loaded) as records:
        bound = now + loaded.policy.broker.lifetimes.logout_notice
        return await records.revive_notices(now, bound, partner=partner, notice=notice)


def _line(notice: Notice) -> str:
    """One notice: id, partner, state, attempts, since when, how the last attempt went, and what happens when."""
    next_at = notice.ended_at or notice.due_at
    what = "ended" if notice.ended_at else "next"
    return (
        f"{notice.id}  {notice.partner}  {notice.state}  attempts={notice.attempts}"
        f"  since={notice.created_at:%Y-%m-%dT%H:%M:%SZ}  {what}={next_at:%Y-%m-%dT%H:%M:%SZ}  last={notice.result or '-'}"
    )
