"""The workshop's book: free times and bookings."""

import secrets
from dataclasses import dataclass, field
from datetime import date

from ..website.slots import Slot, days_on_offer

FITTING_KR = 845
"""Four wheels fitted and balanced."""

_HOURS = ("08:00", "10:00", "13:00", "15:00")
_DAYS_SHOWN = 4


@dataclass(frozen=True)
class Booking:
    """What was booked, and for whom."""

    reference: str
    slot: Slot
    name: str
    registration_number: str
    tyres: str


@dataclass
class Book:
    """All bookings, by reference."""

    bookings: dict[str, Booking] = field(default_factory=dict)

    def days(self, today: date) -> list[tuple[date, list[Slot]]]:
        """The next working days on offer, each with its free times."""
        taken = {booking.slot for booking in self.bookings.values()}
        offered = [(day, [Slot(day, hour) for hour in _HOURS]) for day in days_on_offer(today, _DAYS_SHOWN)]
        return [(day, [slot for slot in slots if slot not in taken]) for day, slots in offered]

    def free(self, slot_id: str, today: date) -> Slot | None:
        """The slot with this id when it is on offer and free, else None."""
        offered = (slot for _, slots in self.days(today) for slot in slots)
        return next((slot for slot in offered if slot.id == slot_id), None)

    def book(self, slot: Slot, *, name: str, registration_number: str, tyres: str) -> Booking:
        """Write it down."""
        booking = Booking(f"RD-{secrets.randbelow(900_000) + 100_000}", slot, name, registration_number, tyres)
        self.bookings[booking.reference] = booking
        return booking
