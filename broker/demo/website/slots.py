"""
Times that a demo garage offers: the working days ahead, each with its hours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

# Tyres need this long from the shop's warehouse, so nobody is offered a time before they are here.
_FIRST_AFTER = timedelta(days=3)


@dataclass(frozen=True)
class Slot:
    """A time on a day, local to the garage."""

    day: date
    time: str

    @property
    def id(self) -> str:
        return f"slot-{self.day:%Y%m%d}-{self.time.replace(':', '')}"


def days_on_offer(today: date, count: int) -> Iterator[date]:
    """The first *count* working days by which tyres bought *today* are here."""
    day, found = today + _FIRST_AFTER, 0
    while found < count:
        if day.weekday() < 5:
            yield day
            found += 1
        day += timedelta(days=1)
