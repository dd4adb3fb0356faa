"""
Offering to store the tyres that come off: a second handoff, to another partner and for another purpose.

It is made only when the customer asks for it, so that nothing is deposited that nobody wants.
"""

from datetime import date
from typing import Any

from ..website.login import BrokerUnavailable, Login
from .orders import Order


class Storage:
    """
    Makes offers to one tyre hotel.

    Args:
        login: our relation to the broker.
        partner: the hotel's name in the broker's partner list.
        return_uri: our registered address for customers who turn back on the way.
    """

    def __init__(self, login: Login, *, partner: str, return_uri: str) -> None:
        self._login = login
        self._partner = partner
        self._return_uri = return_uri

    async def link(self, order: Order, today: date) -> str | None:
        """The customer's link, the same all day however often it is asked for; None when there is none just now."""
        try:
            answer = await self._login.call_as_site(
                "POST",
                "/handoffs",
                body=self._request(order),
                headers={"Idempotency-Key": f"{order.reference}-storage-{today:%Y%m%d}"},
            )
        except BrokerUnavailable:
            return None
        return str(answer.json()["link"]) if answer.status_code in {200, 201} else None

    def _request(self, order: Order) -> dict[str, Any]:
        contact = {"email": order.contact.email, "phone": order.contact.phone}
        return {
            "partner": self._partner,
            "purpose": "tyre-storage",
            "type": "tyre-storage/v1",
            "subject": order.subject,
            "contact": None if order.subject else {name: value for name, value in contact.items() if value},
            "payload": payload(order),
            "return_uri": self._return_uri,
            "language": order.language,
        }


def payload(order: Order) -> dict[str, Any]:
    """What the hotel could be told, after the schema tyre-storage/v1: the summer tyres the new ones take the place of."""
    quantity = sum(line.quantity for line in order.lines)
    vehicle = {"registration_number": order.car.registration_number, "model": order.car.name}
    person = {"name": order.contact.name, "email": order.contact.email, "preferred_language": order.language}
    return {
        "vehicle": {name: value for name, value in vehicle.items() if value},
        "tyres": [{"dimension": order.lines[0].tyre.dimension, "quantity": min(quantity, 20), "season": "summer"}],
        "customer": {name: value for name, value in person.items() if value},
    }
