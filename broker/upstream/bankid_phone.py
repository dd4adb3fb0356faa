"""
BankID on the phone: customer service asks whom it talks to.

The order shows in the app of the person it is about by itself. The app asks first whether a call with this party is going on;
who says no has been talked into something by somebody else, which is a security event. It is no login: nothing of it reaches a
browser of hers.
"""

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from broker.errors import BadAsk
from broker.upstream.personal_number import parse_personal_number
from broker.upstream.port import Call
from broker.wire.bankid_api import BankIdApi

#: What she reads in the app; who asks is named by BankID itself above it.
_INTENT: Final[Mapping[str, str]] = {
    "sv": "Bekräfta för {party} vem du är.\n\nFortsätt bara om du pratar i telefon med {party} just nu.",
    "fi": "Vahvista henkilöllisyytesi: {party}.\n\nJatka vain, jos puhut parhaillaan puhelimessa: {party}.",
    "pl": "Potwierdź swoją tożsamość: {party}.\n\nKontynuuj tylko wtedy, gdy właśnie rozmawiasz przez telefon: {party}.",
    "en": "Confirm who you are to {party}.\n\nGo on only if you are on the phone with {party} right now.",
}
RENEW_AFTER: Final = timedelta(seconds=2)


class CallState(msgspec.Struct, frozen=True):
    """A running order. ``shown``: what she reads; ``ask_at``: the next collect is not before."""

    order_ref: str
    shown: str
    ask_at: datetime
    hint: str = "outstandingTransaction"
    failures: int = 0


async def open_call(api: BankIdApi, call: Call) -> CallState:
    """
    Open the order.

    Raises: BadAsk: not a Swedish personal number. RpError, UpstreamDown.
    """
    try:
        number = parse_personal_number(call.identifier, today=call.now.date())
    except ValueError:
        raise BadAsk("not a Swedish personal number", code="call.personal_number") from None
    shown = _INTENT.get(call.language, _INTENT["en"]).format(party=_one_line(call.party))
    request: dict[str, Any] = {
        "personalNumber": number.digits,
        "callInitiator": "user" if call.incoming else "RP",
        "userVisibleData": base64.b64encode(shown.encode()).decode(),
        "userNonVisibleData": base64.b64encode(call.binding.encode()).decode(),
    }
    return CallState(await api.phone_auth(request), shown, call.now + RENEW_AFTER)


def _one_line(name: str) -> str:
    return "".join(char for char in " ".join(name.split()) if char.isprintable())[:80]
