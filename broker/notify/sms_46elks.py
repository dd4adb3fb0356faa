"""
Text messages by 46elks: ``POST /a1/sms`` (46elks.com/docs/send-sms).

``dontlog=message``: they keep no text, and so no code. Errors are plain sentences with status 400, 401 or 403, so only the
status is looked at.
"""

from base64 import b64encode
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from broker.core.policy import ElksSms
from broker.notify.gateway import FORM, Delivery, form_body, is_same, posted, refused_by_status, report_key
from broker.notify.ports import Accepted, Reason, Rejected, Sent, Sms, Unknown
from broker.wire.http import Fetched, Fetcher

_COST = Decimal(10_000)


class ElksGateway:
    """
    A `broker.notify.gateway.Gateway`.

    Args:
        username, password: resolved. report_uri: where reports go, without the key; None for none.
    """

    def __init__(
        self, settings: ElksSms, *, username: str, password: str, report_uri: str | None, fetcher: Fetcher
    ) -> None:
        self._settings = settings
        self._authorization = f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"
        self._key = report_key(password)
        self._report_uri = f"{report_uri}/{self._key}" if report_uri else None
        self._fetcher = fetcher

    async def send(self, sms: Sms, ref: str) -> Sent:
        """As `SmsSender.send`."""
        fields = {"from": self._settings.sender, "to": sms.to, "message": sms.text, "dontlog": "message"}
        if self._report_uri is not None:
            fields["whendelivered"] = self._report_uri
        headers = {"Authorization": self._authorization}
        url = self._settings.api_url
        answer = await posted(self._fetcher, url, form_body(fields), content_type=FORM, headers=headers)
        return _read(answer) if isinstance(answer, Fetched) else answer

    async def close(self) -> None:
        """The way out is not ours to close."""

    def reported(self, form: Mapping[str, str], *, key: str, signature: str) -> Delivery | None:
        """As `Gateway.reported`."""
        if not is_same(key, self._key):
            return None
        match form.get("status"):
            case "delivered":
                return Delivery.DELIVERED
            case "failed":
                return Delivery.FAILED
            case _:
                return Delivery.PENDING


def _read(answer: Fetched) -> Sent:
    if answer.status != 200:
        return refused_by_status(answer.status)
    id, status = answer.json.get("id"), answer.json.get("status")
    if not isinstance(id, str):
        return Unknown(code="answer")
    if status == "failed":
        return Rejected(Reason.RECIPIENT, code="failed")
    return Accepted(id[:64], cost=_cost(answer.json.get("cost")))


def _cost(value: Any) -> Decimal | None:
    """They count in ten-thousandths of the account's currency."""
    return Decimal(value) / _COST if isinstance(value, int) and not isinstance(value, bool) else None
