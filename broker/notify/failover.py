"""
Several gateways behind one another, and the one that is ill left alone for a while.

The next gateway gets the very same text, so that a code that arrives twice is the same code. No gateway is tried twice for one
message. What this process has seen of a gateway is not shared; other processes find out for themselves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.notify.ports import Accepted, Reason, Rejected, Sent, Sms, SmsSender, Unknown

FAILURES: Final = 3
"""So many messages in a row must fail by the gateway's own fault; one that it takes starts the count anew."""

REST: Final = timedelta(seconds=30)
"""How long others are asked first."""

_ITS_FAULT: Final = frozenset({Reason.ACCOUNT, Reason.BUSY, Reason.UNREACHABLE})


@dataclass(slots=True)
class _Health:
    failures: int = 0
    rests_until: datetime | None = None


class Failover:
    """
    An `SmsSender` made of several.

    Args:
        gateways: by name, in the order they are tried. clock: aware UTC now.
    """

    def __init__(self, gateways: Mapping[str, SmsSender], clock: Callable[[], datetime]) -> None:
        self._gateways = dict(gateways)
        self._clock = clock
        self._health = {name: _Health() for name in gateways}

    async def send(self, sms: Sms, ref: str) -> Sent:
        """As `SmsSender.send`: the first acceptance; without one `Unknown` if any gateway may have it, else the last refusal."""
        sent: Sent = Rejected(Reason.UNREACHABLE)
        unknown: Unknown | None = None
        for name in self._order():
            sent = await self._gateways[name].send(sms, ref)
            self._learn(name, sent)
            if isinstance(sent, Unknown):
                unknown = unknown or sent
            # security: she asked to be left alone; another company's number is no way around that.
            elif isinstance(sent, Accepted) or sent.reason is Reason.OPTED_OUT:
                return sent
        return unknown or sent

    async def close(self) -> None:
        """Close all of them."""
        for gateway in self._gateways.values():
            await gateway.close()

    def resting(self) -> frozenset[str]:
        """Who is left alone right now."""
        now = self._clock()
        return frozenset(name for name, seen in self._health.items() if seen.rests_until and now < seen.rests_until)

    def _order(self) -> list[str]:
        """Those that are well; when none is, the one whose rest ends first, so that she does not wait for all of them."""
        resting = self.resting()
        awake = [name for name in self._gateways if name not in resting]
        return awake or [min(self._gateways, key=lambda name: self._health[name].rests_until or self._clock())]

    def _learn(self, name: str, sent: Sent) -> None:
        if not isinstance(sent, Unknown) and not (isinstance(sent, Rejected) and sent.reason in _ITS_FAULT):
            self._health[name] = _Health()
            return
        seen = self._health[name]
        seen.failures += 1
        if seen.failures >= FAILURES:
            seen.rests_until = self._clock() + REST
