"""
What a customer brings along from the shop: all the garage has to write to receive a handoff.

After an ordinary login the ID Token names a handoff; its data is fetched with the access token, and the
outcome reported back. A customer who chose not to share arrives with a one-time reference instead, and
product data only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..website.login import BrokerUnavailable, Login, SignedIn


class Gone(Exception):
    """There is no such data for us any more: withdrawn, too old, or the reference has been used."""


@dataclass(frozen=True)
class Item:
    """Tyres that come with the customer, or are sent here."""

    description: str
    dimension: str
    load_speed_index: str
    quantity: int
    season: str
    comes_here: bool


@dataclass(frozen=True)
class Arrival:
    """What we were told. Anything may be empty; texts are the source's, to be shown and never interpreted."""

    source: str
    items: tuple[Item, ...]
    tyre_size: str
    registration_number: str = ""
    make: str = ""
    model: str = ""
    order_reference: str = ""
    name: str = ""
    email: str = ""
    phone: str = ""
    language: str = ""

    @property
    def car(self) -> str:
        return f"{self.make} {self.model}".strip()

    @property
    def tyres(self) -> str:
        return ", ".join(f"{item.quantity} × {item.description} {item.dimension}" for item in self.items)


class Handoffs:
    """Receives handoffs from the broker."""

    def __init__(self, login: Login) -> None:
        self._login = login

    async def read(self, customer: SignedIn, handoff_id: str) -> Arrival:
        """
        Fetch what *customer* agreed to share.

        Raises: Gone also when our token is refused although it has not run out: then it was taken back.
            BrokerUnavailable.
        """
        answer = await self._login.call_as_customer("GET", f"/handoffs/{handoff_id}", customer)
        if answer.status_code != 200:
            raise Gone
        return arrival_from(answer.json())

    async def read_as_guest(self, reference: str) -> Arrival:
        """
        Exchange a guest's one-time reference for product data.

        Raises: Gone, BrokerUnavailable.
        """
        answer = await self._login.call_as_site("POST", "/handoffs/guest", body={"ref": reference})
        if answer.status_code != 200:
            raise Gone
        return arrival_from(answer.json())

    async def acknowledge(self, customer: SignedIn, handoff_id: str, *, reference: str) -> bool:
        """Report that a time was booked; False when the broker could not be told just now."""
        try:
            answer = await self._login.call_as_customer(
                "POST",
                f"/handoffs/{handoff_id}/acknowledgement",
                customer,
                body={"result": "booked", "reference": reference},
            )
        except BrokerUnavailable:
            return False
        return answer.status_code == 200


def handoff_id(customer: SignedIn) -> str:
    """Which handoff this login was for, as the ID Token says; empty for an ordinary login."""
    claim = customer.claims.get("handoff")
    return str(claim.get("id", "")) if isinstance(claim, Mapping) else ""


def arrival_from(answer: Mapping[str, Any]) -> Arrival:
    """What a data answer says; members we do not know are ignored, missing ones are empty."""
    claims = _object(answer.get("claims"))
    vehicle, order, person = (_object(claims.get(name)) for name in ("vehicle", "order", "customer"))
    items = claims.get("items")
    return Arrival(
        source=_text(answer.get("source")),
        items=tuple(_item(_object(item)) for item in items) if isinstance(items, list) else (),
        tyre_size=_text(vehicle.get("tyre_size_front")),
        registration_number=_text(vehicle.get("registration_number")),
        make=_text(vehicle.get("make")),
        model=_text(vehicle.get("model")),
        order_reference=_text(order.get("reference")),
        name=_text(person.get("name")),
        email=_text(person.get("email")),
        phone=_text(person.get("phone")),
        language=_text(person.get("preferred_language")),
    )


def _item(member: Mapping[str, Any]) -> Item:
    quantity = member.get("quantity")
    return Item(
        description=_text(member.get("description")),
        dimension=_text(member.get("dimension")),
        load_speed_index=_text(member.get("load_speed_index")),
        quantity=quantity if isinstance(quantity, int) else 0,
        season=_text(member.get("season")),
        comes_here=member.get("delivered_to") == "partner",
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""
