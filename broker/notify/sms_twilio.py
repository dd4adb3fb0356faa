"""
Text messages by Twilio: ``POST /2010-04-01/Accounts/{sid}/Messages.json`` (twilio.com/docs/messaging/api/message-resource).

Reports are signed: ``X-Twilio-Signature`` is the HMAC-SHA1, by the account's token, over the address as we gave it and the
form's fields sorted by name, each followed by its value (twilio.com/docs/usage/webhooks/webhooks-security).
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from hashlib import sha1
from typing import Any, Final

from broker.core.policy import TwilioSms
from broker.notify.gateway import FORM, Delivery, form_body, is_same, posted, refused_by_status
from broker.notify.ports import Accepted, Reason, Rejected, Sent, Sms, Unknown
from broker.wire.http import Fetched, Fetcher

_REASONS: Final[Mapping[int, Reason]] = {
    21211: Reason.RECIPIENT,  # not a number
    21265: Reason.RECIPIENT,  # a short code
    21612: Reason.RECIPIENT,  # no way from this sender to there
    21614: Reason.RECIPIENT,  # not a mobile number
    21635: Reason.RECIPIENT,  # a fixed line
    21610: Reason.OPTED_OUT,
    21602: Reason.CONTENT,
    21617: Reason.CONTENT,  # too long
    21611: Reason.BUSY,  # their queue of this sender is full
    14107: Reason.BUSY,
    20429: Reason.BUSY,
}
"""Of their error codes those that are not about our account (twilio.com/docs/api/errors)."""


class TwilioGateway:
    """
    A `broker.notify.gateway.Gateway`.

    Args:
        auth_token: resolved. report_uri: where reports go, as the world sees it; None for none.
    """

    def __init__(self, settings: TwilioSms, *, auth_token: str, report_uri: str | None, fetcher: Fetcher) -> None:
        credentials = f"{settings.account_sid}:{auth_token}".encode()
        self._url = f"{settings.api_url}/2010-04-01/Accounts/{settings.account_sid}/Messages.json"
        self._authorization = f"Basic {b64encode(credentials).decode()}"
        self._sender = (
            {"From": settings.sender}
            if settings.sender is not None
            else {"MessagingServiceSid": settings.messaging_service_sid or ""}
        )
        self._auth_token = auth_token
        self._report_uri = report_uri
        self._fetcher = fetcher

    async def send(self, sms: Sms, ref: str) -> Sent:
        """As `SmsSender.send`."""
        fields = {"To": sms.to, "Body": sms.text, **self._sender}
        if self._report_uri is not None:
            fields["StatusCallback"] = self._report_uri
        headers = {"Authorization": self._authorization}
        answer = await posted(self._fetcher, self._url, form_body(fields), content_type=FORM, headers=headers)
        return _read(answer) if isinstance(answer, Fetched) else answer

    async def close(self) -> None:
        """The way out is not ours to close."""

    def reported(self, form: Mapping[str, str], *, key: str, signature: str) -> Delivery | None:
        """As `Gateway.reported`; their signature stands for the key."""
        if self._report_uri is None or not is_same(signature, signed(self._auth_token, self._report_uri, form)):
            return None
        match form.get("MessageStatus"):
            case "delivered" | "read":
                return Delivery.DELIVERED
            case "undelivered" | "failed":
                return Delivery.FAILED
            case _:
                return Delivery.PENDING


def signed(auth_token: str, uri: str, form: Mapping[str, str]) -> str:
    """The signature of a report with *form* to *uri*."""
    words = uri + "".join(f"{name}{form[name]}" for name in sorted(form))
    return b64encode(hmac.new(auth_token.encode(), words.encode(), sha1).digest()).decode()


def _read(answer: Fetched) -> Sent:
    if answer.status not in {200, 201}:
        return _refusal(answer)
    sid, status = answer.json.get("sid"), answer.json.get("status")
    if not isinstance(sid, str):
        return Unknown(code="answer")
    if status in {"failed", "undelivered"}:
        return _refusal(answer)
    return Accepted(sid[:64], cost=_cost(answer.json.get("price")))


def _refusal(answer: Fetched) -> Rejected:
    code = answer.json.get("code", answer.json.get("error_code"))
    if not isinstance(code, int):
        return refused_by_status(answer.status)
    return Rejected(_REASONS.get(code, Reason.ACCOUNT), code=str(code))


def _cost(value: Any) -> Decimal | None:
    """A negative number as text, or nothing while they do not know it."""
    try:
        return abs(Decimal(value)) if isinstance(value, str) else None
    except InvalidOperation:
        return None
