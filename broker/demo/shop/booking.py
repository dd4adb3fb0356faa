"""
Offering the fitting at a partner garage, of which there may be several: all the shop has to write for a handoff.

The shop's server posts what the customer bought to the broker and gets a link back. Nothing reaches the
garage unless the customer follows the link and agrees there.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ..website.login import BrokerUnavailable, Login
from .orders import Line, Offer, Order

_ENDED = frozenset({"acknowledged", "expired", "revoked", "declined"})


class Bookings:
    """
    Makes offers to the garage of each order, which is a name in the broker's partner list.

    Args:
        login: our relation to the broker.
        return_uri: our registered address for customers who turn back on the way.
    """

    def __init__(self, login: Login, *, return_uri: str) -> None:
        self._login = login
        self._return_uri = return_uri

    async def offer(self, order: Order) -> None:
        """
        Make a new offer for *order* and keep it there. Without one the order is just as good, so a failure
        only leaves `order.offer` empty; trying again repeats the same offer (Idempotency-Key) and cannot make
        two.
        """
        order.offer = None
        try:
            answer = await self._login.call_as_site(
                "POST",
                "/handoffs",
                body=self._request(order),
                headers={"Idempotency-Key": f"{order.reference}-{order.offers_made}"},
            )
        except BrokerUnavailable:
            return
        if answer.status_code == 201:
            order.offers_made += 1
            order.offer = _offer(answer.json())

    async def follow(self, order: Order) -> None:
        """Ask how far the offer of *order* has come; when nobody can tell, what we knew stays."""
        if order.offer is None or order.offer.state in _ENDED:
            return
        try:
            answer = await self._login.call_as_site("GET", f"/handoffs/{order.offer.handoff_id}/status")
        except BrokerUnavailable:
            return
        if answer.status_code == 200:
            update(order, str(answer.json().get("state", order.offer.state)))

    def _request(self, order: Order) -> dict[str, Any]:
        """
        The offer. A guest has no subject here, so the broker is told how she can be reached: who follows the link
        must prove that contact there. It is passed on to nobody.
        """
        contact = _filled(email=order.contact.email, phone=order.contact.phone)
        return {
            "partner": order.garage,
            "purpose": "tyre-fitting",
            "type": "tyre-fitting/v1",
            "subject": order.subject,
            "contact": None if order.subject else contact,
            "payload": payload(order),
            "return_uri": self._return_uri,
            "language": order.language,
        }


def payload(order: Order) -> dict[str, Any]:
    """What the garage could be told, after the schema tyre-fitting/v1: no prices, no payment, no address."""
    return {
        "vehicle": _filled(
            registration_number=order.car.registration_number,
            make=order.car.make,
            model=order.car.model,
            tyre_size_front=order.lines[0].tyre.dimension,
        ),
        "items": [_item(line, order.deliver_to) for line in order.lines],
        "order": {"reference": order.reference, "placed_at": _utc(order.placed_at), "paid": True},
        "customer": _filled(
            name=order.contact.name,
            email=order.contact.email,
            phone=order.contact.phone,
            preferred_language=order.language,
        ),
    }


def update(order: Order, state: str) -> None:
    """Note that the offer of *order* is now in *state*."""
    if order.offer:
        order.offer = replace(order.offer, state=state)


def _item(line: Line, deliver_to: str) -> dict[str, Any]:
    return {
        "sku": line.tyre.sku,
        "description": line.tyre.model,
        "dimension": line.tyre.dimension,
        "load_speed_index": line.tyre.load_speed_index,
        "quantity": line.quantity,
        "season": line.tyre.season,
        "delivered_to": deliver_to,
    }


def _offer(answer: dict[str, Any]) -> Offer:
    expires_at = datetime.fromisoformat(answer["expires_at"])
    return Offer(answer["handoff_id"], answer["link"], expires_at, answer["state"])


def _filled(**members: str) -> dict[str, str]:
    return {name: value for name, value in members.items() if value}


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
