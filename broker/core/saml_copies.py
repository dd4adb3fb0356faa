"""
Copies of SAML metadata: when to look for a newer one, when to be alarmed, when a copy may no longer be used.

Metadata has an end so that a key that was withdrawn is forgotten even by those who are kept from hearing of it
(saml-metadata-2.0-os, section 4.3.1). A copy that is not renewed although half of what was left of its life is over is an
alarm: there is as much time again to mend what keeps it from being renewed.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

SKEW = timedelta(minutes=3)
"""How far clocks may differ (saml2int SDP-G01)."""
SHORTEST = timedelta(minutes=5)
"""Nobody is asked more often, whatever its cacheDuration."""
RETRY = timedelta(minutes=5)
"""After which a source that failed is asked again."""
NEGATIVE = timedelta(minutes=1)
"""How long it is remembered that a source does not know somebody."""


class CopyState(StrEnum):
    """``expiring``: past half of its remaining life, and not renewed. ``missing``: there never was one."""

    GOOD = "good"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    MISSING = "missing"


class Copy(Struct, frozen=True):
    """
    Metadata as it was fetched, not yet verified. ``etag``, ``last_modified``: what its server called it, empty for nothing.

    ``fetched_at``: when this very document was first fetched.
    """

    octets: bytes
    fetched_at: datetime
    etag: str = ""
    last_modified: str = ""


class Life(Struct, frozen=True):
    """The life of one copy, from when it was fetched. ``valid_until``: None for one without an end."""

    fetched_at: datetime
    valid_until: datetime | None = None
    cache_duration: timedelta | None = None

    def state(self, now: datetime) -> CopyState:
        """Where it stands."""
        if self.valid_until is None:
            return CopyState.GOOD
        if self.valid_until <= now - SKEW:
            return CopyState.EXPIRED
        alarm_at = self.fetched_at + (self.valid_until - self.fetched_at) / 2
        return CopyState.EXPIRING if now > alarm_at else CopyState.GOOD

    def period(self, refresh: timedelta) -> timedelta:
        """How often to look for a newer one: as configured, or as it wishes if that is more often."""
        wished = refresh if self.cache_duration is None else min(refresh, self.cache_duration)
        left = timedelta.max if self.valid_until is None else (self.valid_until - self.fetched_at) / 4
        return max(SHORTEST, min(wished, left))


class Standing(Struct, frozen=True):
    """How a source stands. ``entities``: how many it has here; ``valid_until``: of the copy that ends first."""

    source: str
    state: CopyState
    entities: int = 0
    valid_until: datetime | None = None
    fetched_at: datetime | None = None

    @property
    def needs_care(self) -> bool:
        """Whether an operator should look."""
        return self.state is not CopyState.GOOD
