"""
Leaving: ending the browser's session.
"""

from broker.core.session import Session
from broker.flows.context import Context
from broker.flows.values import Visitor
from broker.stores.sealing import name_of


class Logouts:
    """The flow; one per process."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def session_of(self, visitor: Visitor) -> Session | None:
        """The browser's stored session, None when there is none."""
        if visitor.session is None:
            return None
        name = name_of(visitor.session)
        (raw,) = await self._c.state.run(self._c.shelves.sessions.get(name))
        held = self._c.shelves.sessions.read(name, raw)
        return held.value if held else None

    async def end(self, visitor: Visitor) -> None:
        """End the browser's session; tokens already given live out their short time."""
        session = await self.session_of(visitor)
        if visitor.session is not None:
            await self._c.state.run(self._c.shelves.sessions.drop(name_of(visitor.session)))
        if session is not None:
            self._c.audit.note("session.ended", customer=session.customer)
