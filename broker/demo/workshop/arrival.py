"""
What a customer brings along from the shop. The assertion names a handoff and holds no data; our server fetches it with its own
credentials, and says later what became of it (docs/handoff.md).
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from .provider import Unavailable


class Gone(Exception):
    """There is no such data for us any more: withdrawn, too old, or the reference has been used."""


@dataclass(frozen=True)
class Tyres:
    """So many tyres of one kind. ``comes_here``: the shop sends them; else the customer brings them."""

    description: str
    dimension: str
    quantity: int
    comes_here: bool


@dataclass(frozen=True)
class Arrival:
    """What we were told. Texts are the source's, to be shown and never interpreted; anything may be empty."""

    tyres: tuple[Tyres, ...]
    registration_number: str = ""
    car: str = ""
    order_reference: str = ""
    name: str = ""
    phone: str = ""
    language: str = ""


class Handoffs:
    """
    Our server's relation to the handoff API.

    Args:
        issuer: the broker's address.
        transport: replaces the network, for tests.
    """

    def __init__(
        self, *, issuer: str, client_id: str, client_secret: str, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._issuer = issuer
        self._auth = (client_id, client_secret)
        self._http: dict[str, Any] = {
            "timeout": 5.0,
            "transport": transport,
            "trust_env": False,
            "verify": ssl.create_default_context(),
        }

    async def read(self, handoff: str) -> Arrival:
        """What the customer agreed to share. Raises: Gone, Unavailable."""
        return _received(await self._call("GET", f"/handoffs/{handoff}"))

    async def read_as_guest(self, reference: str) -> Arrival:
        """The tyres of somebody who shares nothing else. Raises: Gone, Unavailable."""
        return _received(await self._call("POST", "/handoffs/guest", {"ref": reference}))

    async def acknowledge(self, handoff: str, *, reference: str) -> bool:
        """Report that a time was booked; False when the broker could not be told just now."""
        body = {"result": "booked", "reference": reference}
        try:
            answer = await self._call("POST", f"/handoffs/{handoff}/acknowledgement", body)
        except Unavailable:
            return False
        return answer.status_code == 200

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx2.Response:
        try:
            async with httpx2.AsyncClient(**self._http) as client:
                answer = await client.request(method, self._issuer + path, json=body, auth=self._auth)
        except httpx2.HTTPError as error:
            raise Unavailable from error
        if answer.status_code >= 500:
            raise Unavailable
        return answer


def _received(answer: httpx2.Response) -> Arrival:
    if answer.status_code != 200:
        raise Gone
    return arrival_from(answer.json().get("claims"))


def arrival_from(claims: Any) -> Arrival:
    """What *claims* say, after tyre-fitting/v1; members we do not know are ignored, missing ones are empty."""
    known = _object(claims)
    vehicle, order, person = (_object(known.get(name)) for name in ("vehicle", "order", "customer"))
    items = known.get("items")
    return Arrival(
        tyres=tuple(_tyres(_object(each)) for each in items) if isinstance(items, list) else (),
        registration_number=_text(vehicle.get("registration_number")),
        car=f"{_text(vehicle.get('make'))} {_text(vehicle.get('model'))}".strip(),
        order_reference=_text(order.get("reference")),
        name=_text(person.get("name")),
        phone=_text(person.get("phone")),
        language=_text(person.get("preferred_language")),
    )


def _tyres(member: Mapping[str, Any]) -> Tyres:
    quantity = member.get("quantity")
    return Tyres(
        description=_text(member.get("description")),
        dimension=_text(member.get("dimension")),
        quantity=quantity if isinstance(quantity, int) else 0,
        comes_here=member.get("delivered_to") == "partner",
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""
