"""
Refresh tokens: a family of one successor per use.

    token 1 --use--> token 2 --use--> token 3 ...        the last one is current
       |                |
       +-- used again within the grace: the same successor once more (a retry, a lost answer, two workers at once)
       +-- used again later, or an older one: stolen or copied -> the whole family ends

Spec: RFC 9700 sections 2.2.2 and 4.14.2, RFC 6749 section 10.4.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from broker.core.changing import replace
from broker.errors import Spent

GRACE = timedelta(seconds=30)
"""How long the predecessor of the current token may be repeated."""


class Family(Struct, frozen=True):
    """
    Where a family stands.

    ``current``: number of the token that was given last, counting from 1. ``turned_at``: when it was given.
    ``ends_at``: when the family ends whatever happens. ``idle``: it ends earlier when no token is used for so long.
    ``rotates``: False where the client proves itself by a key of its own, so that a stolen token is worth nothing.
    """

    current: int
    turned_at: datetime
    ends_at: datetime
    idle: timedelta
    rotates: bool


class Reused(Spent):
    """A token that was replaced came back too late: the family must end, and somebody must look at it."""

    default_code = "refresh.reused"


def begin(*, now: datetime, lifetime: timedelta, idle: timedelta, rotates: bool) -> Family:
    """The family of a first token."""
    return Family(current=1, turned_at=now, ends_at=now + lifetime, idle=idle, rotates=rotates)


def use(family: Family, *, presented: int, now: datetime) -> Family:
    """
    Decide what the token number *presented* gives.

    Returns: the family afterwards; its ``current`` is the number of the token to answer with. Unchanged for a repeat, and
        for a token that stays and was used a moment ago.
    Raises:
        Spent: the family ended by time. Reused: see there.
    """
    if now >= family.ends_at or now >= family.turned_at + family.idle:
        raise Spent("refresh token ran out", code="refresh.expired")
    if presented == family.current:
        if not family.rotates and now < family.turned_at + GRACE:
            return family  # of many at once, one writes down that it was used
        return replace(family, turned_at=now, current=family.current + 1 if family.rotates else family.current)
    if presented == family.current - 1 and now < family.turned_at + GRACE:
        return family
    raise Reused("a replaced refresh token was used again", presented=presented, current=family.current)


def expires_at(family: Family) -> datetime:
    """When the current token runs out if it is not used."""
    return min(family.ends_at, family.turned_at + family.idle)
