"""The workshop's book: free times and bookings."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

FITTING_KR = 845
"""Four wheels fitted and balanced."""

_HOURS = ("08:00", "10:00", "13:00", "15:00")
_DAYS_SHOWN = 4
# Tyres need this long from the shop's warehouse, so nobody is offered a time before they are here.
_FIRST_AFTER = timedelta(days=3)


@dataclass(frozen=True)
class Time:
    """When, local to the workshop."""

    day: date
    hour: str

    @property
    def id(self) -> str:
        return f"slot-{self.day:%Y%m%d}-{self.hour.replace(':', '')}"


@dataclass(frozen=True)
class Booking:
    """What was booked, and for whom."""

    reference: str
    time: Time
    name: str
    registration_number: str
    tyres: str


@dataclass
class Book:
    """All bookings, by reference."""

    bookings: dict[str, Booking] = field(default_factory=dict)

    def days(self, today: date) -> list[tuple[date, list[Time]]]:
        """The next working days on offer, each with its free times."""
        taken = {booking.time for booking in self.bookings.values()}
        offered = [(day, [Time(day, hour) for hour in _HOURS]) for day in _working_days(today + _FIRST_AFTER)]
        return [(day, [time for time in times if time not in taken]) for day, times in offered]

    def free(self, time_id: str, today: date) -> Time | None:
        """The time with this id when it is on offer and free, else None."""
        offered = (time for _, times in self.days(today) for time in times)
        return next((time for time in offered if time.id == time_id), None)

    def book(self, time: Time, *, name: str, registration_number: str, tyres: str) -> Booking:
        """Write it down."""
        booking = Booking(f"RD-{secrets.randbelow(900_000) + 100_000}", time, name, registration_number, tyres)
        self.bookings[booking.reference] = booking
        return booking


def _working_days(start: date) -> Iterator[date]:
    day, found = start, 0
    while found < _DAYS_SHOWN:
        if day.weekday() < 5:
            yield day
            found += 1
        day += timedelta(days=1)
