"""
What the drivers of gateways for text messages share: one POST, and what its silence means; the key in addresses for reports.
"""

import hmac
from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Protocol
from urllib.parse import urlencode

from broker.errors import UpstreamDown
from broker.notify.ports import Reason, Rejected, Sent, SmsSender, Unknown
from broker.wire.http import Fetched, Fetcher, never_sent

FORM = "application/x-www-form-urlencoded"


class Delivery(StrEnum):
    """What a gateway reports of a message it took."""

    DELIVERED = "delivered"
    FAILED = "failed"
    PENDING = "pending"
    """Underway, or a word we do not know."""


class Gateway(SmsSender, Protocol):
    """A gateway that may also report."""

    def reported(self, form: Mapping[str, str], *, key: str, signature: str) -> Delivery | None:
        """
        What a report says; None when it is not proven to be theirs.

        Args:
            form: its fields. key: the last part of the address it came to. signature: of the header, empty without one.
        """
        ...


async def posted(
    fetcher: Fetcher, url: str, body: bytes, *, content_type: str, headers: Mapping[str, str]
) -> Fetched | Sent:
    """The gateway's answer below 500; what no such answer means otherwise."""
    try:
        answer = await fetcher.post_body(url, body, headers={"Content-Type": content_type, **headers})
    except UpstreamDown as error:
        return Rejected(Reason.UNREACHABLE, code=error.code) if never_sent(error) else Unknown(code=error.code)
    if answer.status in {429, 503}:
        return Rejected(Reason.BUSY, code=str(answer.status))
    # A server that broke down may have done so after sending.
    return Unknown(code=str(answer.status)) if answer.status >= 500 else answer


def form_body(fields: Mapping[str, str]) -> bytes:
    """A form as it is posted."""
    return urlencode(fields).encode()


def refused_by_status(status: int) -> Rejected:
    """What a refusal means of which only the status is known."""
    reason = Reason.ACCOUNT if status in {401, 402, 403, 404} else Reason.CONTENT
    return Rejected(reason, code=str(status))


def report_key(secret: str) -> str:
    """What proves a report of a gateway that signs nothing: it stands in the address that only the gateway is told."""
    return hmac.new(secret.encode(), b"stafett delivery report", sha256).hexdigest()[:40]


def is_same(given: str, expected: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())
