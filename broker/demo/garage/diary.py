"""The garage's diary: free times, prices and bookings."""

import secrets
from dataclasses import dataclass, field
from datetime import date

from ..website.slots import Slot, days_on_offer

FITTING_KR = 890
AC_SERVICE_KR = 795
AC_SERVICE_USUALLY_KR = 1095

_TIMES = ("07:30", "09:00", "10:30", "13:00", "14:30")
_DAYS_SHOWN = 5


@dataclass(frozen=True)
class Job:
    """What is to be done, on which car, for whom; `tyres` in the words of whoever sold them."""

    name: str
    contact: str
    registration_number: str
    car: str
    tyres: str
    ac_service: bool

    @property
    def price_kr(self) -> int:
        return FITTING_KR + (AC_SERVICE_KR if self.ac_service else 0)


@dataclass
class Booking:
    """
    A booked job. `account` is the customer's number, None for a guest; `acknowledged`: the broker has been
    told.
    """

    reference: str
    slot: Slot
    job: Job
    account: int | None
    acknowledged: bool = True


@dataclass
class Diary:
    """All bookings of the garage, by reference."""

    bookings: dict[str, Booking] = field(default_factory=dict)

    def days(self, today: date) -> list[tuple[date, list[tuple[Slot, bool]]]]:
        """The next working days on offer, each with its times and whether they are free."""
        return [
            (day, [(slot, self.is_free(slot)) for slot in (Slot(day, time) for time in _TIMES)])
            for day in days_on_offer(today, _DAYS_SHOWN)
        ]

    def free_slot(self, slot_id: str, today: date) -> Slot | None:
        """The slot with this id when it is on offer and free, else None."""
        offered = (slot for _, slots in self.days(today) for slot, free in slots if free)
        return next((slot for slot in offered if slot.id == slot_id), None)

    def is_free(self, slot: Slot) -> bool:
        booked = any(booking.slot == slot for booking in self.bookings.values())
        return not booked and not _taken_by_others(slot)

    def book(self, slot: Slot, job: Job, account: int | None) -> Booking:
        booking = Booking(f"VH-{secrets.randbelow(900_000) + 100_000}", slot, job, account)
        self.bookings[booking.reference] = booking
        return booking

    def of_account(self, account: int) -> list[Booking]:
        """A customer's bookings, next first."""
        mine = [booking for booking in self.bookings.values() if booking.account == account]
        return sorted(mine, key=lambda booking: (booking.slot.day, booking.slot.time))


def _taken_by_others(slot: Slot) -> bool:
    """Other customers of a busy garage: an even scatter of taken times, the same for everybody who looks."""
    return (slot.day.toordinal() * 3 + _TIMES.index(slot.time) * 2) % 5 == 0
