"""
A case of customer service: an agent asks whom she talks to on the phone.

    waiting --> confirmed              the caller proved who she is
       |------> declined               she said in her app that she talks to nobody: a fraud, probably
       |------> not_confirmed          cancelled, too late, refused by the provider
       |------> unavailable            the provider is ill
       '------> cancelled              the agent gave up

The agent sees that, and nothing the caller proved beyond it.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.discreet import Discreet

LIFE = timedelta(minutes=5)
"""How long a caller is waited for whose provider asks her; longer than any provider does."""

BUSY = timedelta(seconds=15)
"""How long one worker may ask the provider before another may try."""


class Standing(StrEnum):
    """How a case stands; the words are an interface (docs/customer-service.md)."""

    WAITING = "waiting"
    CONFIRMED = "confirmed"
    DECLINED = "declined"
    NOT_CONFIRMED = "not_confirmed"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"


class Case(Discreet, frozen=True):
    """
    ``agent``: internal id of the member of staff. ``reference``: the agent's own words for it, such as a ticket number.
    ``method``: upstream the caller is asked by. ``message_key``: how it goes, as a text of the catalogue. ``state``: the
    connector's own, empty once it is over. ``customer``: who it was, None while nobody was confirmed and for somebody the broker
    does not know. ``level``: of the proof. ``busy_until``: a worker is asking the provider. ``life``: how long she is waited for.
    ``takes_code``: she reads a code out, and the agent types it in.
    """

    UNSPOKEN = frozenset({"state"})

    id: str
    agent: str
    reference: str
    method: str
    opened_at: datetime
    standing: Standing = Standing.WAITING
    message_key: str = "call.asked"
    state: bytes = b""
    customer: str | None = None
    level: Assurance | None = None
    ended_at: datetime | None = None
    busy_until: datetime | None = None
    life: timedelta = LIFE
    takes_code: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.standing is not Standing.WAITING


def may_look(case: Case, now: datetime) -> bool:
    """Whether the provider may be asked now."""
    return not case.is_over and (case.busy_until is None or now >= case.busy_until)


def is_late(case: Case, now: datetime) -> bool:
    """Whether the call was waited for long enough."""
    return not case.is_over and now >= case.opened_at + case.life


def ended(case: Case, standing: Standing, message_key: str, now: datetime) -> Case:
    """*case*, over: the connector's state goes with it."""
    return replace(case, standing=standing, message_key=message_key, state=b"", ended_at=now, busy_until=None)


def confirmed(case: Case, customer: str | None, level: Assurance, now: datetime) -> Case:
    """*case*, whose caller proved who she is."""
    over = ended(case, Standing.CONFIRMED, "call.confirmed", now)
    return replace(over, customer=customer, level=level)
