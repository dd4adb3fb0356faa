"""Baskets, the checkout form and orders."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from .catalogue import BY_SKU, Car, Tyre, look_up, normal_plate

MOST_PER_LINE = 8
_KIRUNA = ZoneInfo("Europe/Stockholm")


@dataclass(frozen=True)
class Contact:
    """
    How the customer says she can be reached; typed by her, checked for form only. `phone` is E.164 or empty.
    """

    name: str = ""
    email: str = ""
    phone: str = ""


@dataclass(frozen=True)
class Line:
    """So many of one article."""

    tyre: Tyre
    quantity: int

    @property
    def total_kr(self) -> int:
        return self.tyre.price_kr * self.quantity


@dataclass(frozen=True)
class Offer:
    """
    The handoff we made for an order: where the customer goes to book the fitting, and how far it has come.
    """

    handoff_id: str
    link: str
    expires_at: datetime
    state: str


@dataclass
class Order:
    """A paid order. `subject` is our pairwise identifier of the customer, None for a guest; `garage`: the partner that fits."""

    reference: str
    placed_at: datetime
    lines: tuple[Line, ...]
    contact: Contact
    car: Car
    deliver_to: Literal["partner", "customer"]
    language: str
    subject: str | None
    garage: str
    offer: Offer | None = None
    offers_made: int = 0

    @property
    def placed_on(self) -> date:
        """The day it was in Kiruna."""
        return self.placed_at.astimezone(_KIRUNA).date()

    @property
    def total_kr(self) -> int:
        return sum(line.total_kr for line in self.lines)


@dataclass
class Account:
    """What we remember for a customer who logs in: her cars and how to reach her."""

    contact: Contact = field(default_factory=Contact)
    cars: list[Car] = field(default_factory=list)

    def remember(self, contact: Contact, car: Car) -> None:
        self.contact = contact
        self.cars = [car, *(other for other in self.cars if other.registration_number != car.registration_number)]


class Basket:
    """What the customer means to buy."""

    def __init__(self) -> None:
        self._quantities: dict[str, int] = {}

    def add(self, sku: str, quantity: int) -> None:
        self.change(sku, self._quantities.get(sku, 0) + quantity)

    def change(self, sku: str, quantity: int) -> None:
        """Set the quantity of an article; zero or less removes it, more than we sell at once is cut down."""
        if quantity <= 0:
            self._quantities.pop(sku, None)
        else:
            self._quantities[sku] = min(quantity, MOST_PER_LINE)

    def empty(self) -> None:
        self._quantities.clear()

    @property
    def lines(self) -> tuple[Line, ...]:
        return tuple(Line(BY_SKU[sku], quantity) for sku, quantity in self._quantities.items())

    @property
    def total_kr(self) -> int:
        return sum(line.total_kr for line in self.lines)

    @property
    def count(self) -> int:
        return sum(self._quantities.values())


@dataclass(frozen=True)
class Checkout:
    """The checkout form as typed, and which of its fields are wrong (field name -> text key)."""

    contact: Contact
    car: Car
    deliver_to: Literal["partner", "customer"]
    mistakes: Mapping[str, str]


def is_email(typed: str) -> bool:
    """Whether *typed* looks like an address; whether it is one shows when a mail arrives."""
    return re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", typed) is not None and len(typed) <= 254


def read_checkout(form: Mapping[str, str], *, cars: list[Car]) -> Checkout:
    """
    Read the checkout form.

    Args:
        form: what was posted.
        cars: the customer's own cars, one of which she may have chosen by its number in the list.
    """
    contact = Contact(_text(form, "name", 100), _text(form, "email", 254), normal_phone(form.get("phone", "")))
    car = _chosen(form, cars) or _typed_car(form)
    mistakes = {
        "name": "mistake_name" if not contact.name else "",
        "email": "mistake_email" if not is_email(contact.email) else "",
        "phone": "mistake_phone" if form.get("phone", "").strip() and not contact.phone else "",
        "registration_number": "mistake_plate" if not car.registration_number else "",
    }
    deliver_to: Literal["partner", "customer"] = "customer" if form.get("deliver_to") == "customer" else "partner"
    return Checkout(contact, car, deliver_to, {name: key for name, key in mistakes.items() if key})


def normal_phone(typed: str) -> str:
    """A phone number as E.164, a Swedish national number understood as such; empty when it cannot be one."""
    compact = re.sub(r"[\s()\-]", "", typed)
    if compact.startswith("00"):
        compact = "+" + compact[2:]
    elif compact.startswith("0"):
        compact = "+46" + compact[1:]
    return compact if re.fullmatch(r"\+[1-9]\d{6,14}", compact) else ""


def new_reference() -> str:
    """An order number that cannot be guessed from another one."""
    return f"NH-{secrets.randbelow(900_000) + 100_000}"


def _text(form: Mapping[str, str], name: str, longest: int) -> str:
    return " ".join(form.get(name, "").split())[:longest]


def _chosen(form: Mapping[str, str], cars: list[Car]) -> Car | None:
    position = form.get("car", "")
    return cars[int(position)] if position.isdecimal() and int(position) < len(cars) else None


def _typed_car(form: Mapping[str, str]) -> Car:
    plate = normal_plate(form.get("registration_number", ""))
    known = look_up(plate)
    make, model = _text(form, "make", 40), _text(form, "model", 60)
    if known and not (make or model):
        return known
    return Car(plate, make, model, known.dimension if known else "")
