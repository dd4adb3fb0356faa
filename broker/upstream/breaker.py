"""
A provider that is ill is left alone for a while, and customers are shown the other ways in meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.flows.context import Clock

FAILURES = 3
"""So many calls in a row must fail; one that works starts the count anew."""

REST = timedelta(seconds=30)
"""How long nobody is sent there; then the next customer tries, and one more failure is a new rest."""


@dataclass(slots=True)
class _Health:
    failures: int = 0
    rests_until: datetime | None = None


class Breaker:
    """What this process has seen of each provider lately. Other processes find out for themselves."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, _Health] = {}

    def worked(self, upstream: str) -> None:
        """The provider answered, whatever it said."""
        self._seen.pop(upstream, None)

    def failed(self, upstream: str) -> bool:
        """The provider was down, slow or ill. Returns: whether it rests from now on."""
        health = self._seen.setdefault(upstream, _Health())
        health.failures += 1
        if health.failures < FAILURES:
            return False
        health.rests_until = self._clock() + REST
        return True

    def resting(self) -> frozenset[str]:
        """Who is left alone right now."""
        return frozenset(self.back_at())

    def back_at(self) -> Mapping[str, datetime]:
        """When those that rest are tried again."""
        now = self._clock()
        return {
            name: seen.rests_until for name, seen in self._seen.items() if seen.rests_until and now < seen.rests_until
        }
