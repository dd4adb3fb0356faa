"""
The memory of a browser: read and written along with what is read and written anyway, so that it costs no round trip.
"""

from broker.core.memory import DeviceRecord, masked, remembering, still_remembered
from broker.core.naming import name_of
from broker.core.session import Session
from broker.flows.context import Context
from broker.flows.values import Visitor
from broker.stores.ports import Op


class Devices:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._c = context

    def recall(self, visitor: Visitor) -> list[Op]:
        """What reads the browser's memory; give the result to `read`."""
        return [self._c.shelves.devices.get(name_of(visitor.device))] if visitor.device is not None else []

    def read(self, visitor: Visitor, raws: list[object]) -> DeviceRecord | None:
        """The browser's memory from the result of `recall`, if any; None where there is none, or none we can open."""
        if visitor.device is None or not raws:
            return None
        held = self._c.shelves.devices.read(name_of(visitor.device), raws[0])
        lifetime = self._c.policy().broker.device_memory.lifetime
        return still_remembered(held.value, lifetime, self._c.now()) if held is not None else None

    def remember(self, visitor: Visitor, known: DeviceRecord | None, session: Session) -> tuple[str | None, list[Op]]:
        """
        The browser was used for the login that opened *session*.

        Returns: the cookie it is known by from now on, None where nothing is remembered; and what writes it.
        """
        terms = self._c.policy().broker.device_memory
        if not terms.enabled:
            return None, []
        # security: a value we do not know is not taken over: whoever planted it would see what is used here
        cookie = visitor.device if visitor.device is not None and known is not None else self._c.tokens.random()
        hint = masked(session.profile) if terms.show_hint else None
        record = remembering(known, session.upstream, hint, self._c.now())
        return cookie, [self._c.shelves.devices.put(name_of(cookie), record, terms.lifetime.total_seconds())]

    async def forget(self, visitor: Visitor) -> None:
        """The browser is known no more."""
        if visitor.device is not None:
            await self._c.state.run(self._c.shelves.devices.drop(name_of(visitor.device)))
