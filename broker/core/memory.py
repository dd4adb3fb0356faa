"""
What a browser is remembered by: which ways to log in were used in it, and when. Nothing of who used them, unless the operator
wants a masked hint to be shown.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from broker.core.session import Profile

_MOST = 5
"""Ways that are remembered; more than anybody uses in one browser."""


class Used(Struct, frozen=True):
    """A way to log in that led to a login. ``hint``: as much of the address as its owner needs to know it again."""

    upstream: str
    at: datetime
    hint: str | None = None


class DeviceRecord(Struct, frozen=True):
    """The ways used in one browser, the last one first."""

    used: tuple[Used, ...] = ()

    def hint_of(self, upstream: str) -> str | None:
        """What is shown beside *upstream*, None for nothing."""
        return next((each.hint for each in self.used if each.upstream == upstream), None)


def remembering(known: DeviceRecord | None, upstream: str, hint: str | None, now: datetime) -> DeviceRecord:
    """*known*, and that *upstream* led to a login at *now*."""
    others = tuple(each for each in known.used if each.upstream != upstream) if known is not None else ()
    return DeviceRecord((Used(upstream, now, hint), *others)[:_MOST])


def still_remembered(record: DeviceRecord, lifetime: timedelta, now: datetime) -> DeviceRecord:
    """*record* without what was used too long ago."""
    return DeviceRecord(tuple(each for each in record.used if now - each.at < lifetime))


def masked(profile: Profile) -> str | None:
    """The address of *profile* as its owner knows it again: ``m•••@example.com``, ``+46 ••• 67``; None without a proven one."""
    if profile.email is not None and profile.email_verified:
        return mask_address(profile.email)
    if profile.phone_number is not None and profile.phone_number_verified:
        return mask_phone(profile.phone_number)
    return None


def mask_address(address: str) -> str:
    """An e-mail *address* so that its owner knows it: ``maja@example.com`` -> ``m•••@example.com``."""
    name, _, host = address.rpartition("@")
    return f"{name[:1]}•••@{host}"


def mask_number(number: str) -> str:
    """A member number, so that she knows which it is: its last two characters."""
    return f"•••{number[-2:]}"


def mask_phone(number: str) -> str:
    """A phone *number* so that its owner knows it: ``+46701234567`` -> ``+46 ••• 67``."""
    return f"{number[:3]}\u00a0•••\u00a0{number[-2:]}"
