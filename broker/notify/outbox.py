"""Messages that are kept in memory and go nowhere: for development and tests."""

from collections import deque
from typing import Final

from broker.notify.ports import Accepted, Mail, Sent, Sms

KEPT: Final = 200


class MailOutbox:
    """A `broker.notify.ports.MailSender`. ``sent``: the latest mails, oldest first."""

    def __init__(self) -> None:
        self.sent: deque[Mail] = deque(maxlen=KEPT)

    async def send(self, mail: Mail, ref: str) -> Sent:
        """Keeps *mail*."""
        self.sent.append(mail)
        return Accepted(ref)

    async def close(self) -> None:
        """Nothing to let go of."""


class SmsOutbox:
    """A `broker.notify.ports.SmsSender`. ``sent``: the latest text messages, oldest first."""

    def __init__(self) -> None:
        self.sent: deque[Sms] = deque(maxlen=KEPT)

    async def send(self, sms: Sms, ref: str) -> Sent:
        """Keeps *sms*."""
        self.sent.append(sms)
        return Accepted(ref)

    async def close(self) -> None:
        """Nothing to let go of."""
