"""
Leaving: ending the browser's session.
"""

from broker.core.naming import name_of
from broker.core.session import Session, is_alive
from broker.flows.context import Context
from broker.flows.values import Visitor


class Logouts:
    """The flow; one per process."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def session_of(self, visitor: Visitor) -> Session | None:
        """The browser's live session, None when there is none."""
        if visitor.session is None:
            return None
        name = name_of(visitor.session)
        (raw,) = await self._c.state.run(self._c.shelves.sessions.get(name))
        held = self._c.shelves.sessions.read(name, raw)
        times = self._c.policy().broker.lifetimes
        if held is None or not is_alive(held.value, now=self._c.now(), idle=times.session_idle, absolute=times.session):
            return None
        return held.value

    def form_token(self, visitor: Visitor) -> str:
        """The token that forms of this session's pages carry; empty without a session."""
        return self._c.lookup.digest("form", visitor.session) if visitor.session is not None else ""

    async def end(self, visitor: Visitor) -> None:
        """End the browser's session; tokens already given live out their short time."""
        session = await self.session_of(visitor)
        if visitor.session is not None:
            await self._c.state.run(self._c.shelves.sessions.drop(name_of(visitor.session)))
        if session is not None:
            self._c.audit.note("session.ended", customer=session.customer)
