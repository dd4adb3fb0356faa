"""Senders whose outcomes are told: one line per message in the log, one count in the metrics, and nothing of the message."""

from time import perf_counter
from typing import Literal

from broker.core.changing import replace
from broker.notify.ports import Accepted, Mail, MailSender, Rejected, Sent, Sms, SmsSender
from broker.observe.logging import log


class ToldMail:
    """*inner*, with what became of each mail told; ``by`` of the outcome is *name*."""

    def __init__(self, inner: MailSender, name: str) -> None:
        self._inner = inner
        self._name = name

    async def send(self, mail: Mail, ref: str) -> Sent:
        """As `MailSender.send`."""
        started = perf_counter()
        sent = await self._inner.send(mail, ref)
        return _told("mail", self._name, ref, sent, perf_counter() - started)

    async def close(self) -> None:
        """Close it."""
        await self._inner.close()


class ToldSms:
    """*inner*, with what became of each text message told; ``by`` of the outcome is *name*."""

    def __init__(self, inner: SmsSender, name: str) -> None:
        self._inner = inner
        self._name = name

    async def send(self, sms: Sms, ref: str) -> Sent:
        """As `SmsSender.send`."""
        started = perf_counter()
        sent = await self._inner.send(sms, ref)
        return _told("sms", self._name, ref, sent, perf_counter() - started)

    async def close(self) -> None:
        """Close it."""
        await self._inner.close()


def _told(way: Literal["mail", "sms"], name: str, ref: str, sent: Sent, took_s: float) -> Sent:
    seconds = round(took_s, 3)
    match sent:
        case Accepted():
            cost = {} if sent.cost is None else {"cost": str(sent.cost)}
            log("message.accepted", way=way, by=name, ref=ref, id=sent.id, took_s=seconds, **cost)
        case Rejected():
            log(
                "message.rejected",
                "warning",
                way=way,
                by=name,
                ref=ref,
                why=sent.reason.value,
                code=sent.code,
                took_s=seconds,
            )
        case _:
            log("message.unknown", "warning", way=way, by=name, ref=ref, code=sent.code, took_s=seconds)
    return replace(sent, by=name)
