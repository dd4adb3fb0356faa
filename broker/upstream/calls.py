"""
What customer service sees of the connectors: whoever can ask a caller, as `broker.flows.service_desk.Callers`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from broker.core.case import LIFE
from broker.core.identity import Evidence
from broker.errors import BadAsk
from broker.upstream.port import Call, CallConnector, CodeCallConnector, Connector, Done, Ringing


class UpstreamCallers:
    """
    One connector.

    Args:
        party: who talks to the caller, in her language.
    """

    def __init__(self, connector: CallConnector, party: Callable[[str], str]) -> None:
        self._connector = connector
        self._party = party

    @property
    def takes_code(self) -> bool:
        """Whether she reads a code out to the agent."""
        return isinstance(self._connector, CodeCallConnector)

    @property
    def life(self) -> timedelta:
        """How long she is waited for."""
        return self._connector.code_life if isinstance(self._connector, CodeCallConnector) else LIFE

    async def begin(
        self, identifier: str, *, language: str, incoming: bool, binding: str, network: str, now: datetime
    ) -> bytes:
        """As `CallConnector.begin_call`."""
        call = Call(identifier, self._party(language), language, incoming, binding, now, network)
        return await self._connector.begin_call(call)

    async def look(self, state: bytes, now: datetime) -> Evidence | tuple[bytes, str]:
        """As `CallConnector.look_at_call`."""
        return _plain(await self._connector.look_at_call(state, now))

    async def enter(self, state: bytes, typed: str, *, network: str, now: datetime) -> Evidence | tuple[bytes, str]:
        """As `CodeCallConnector.try_code`. Raises: BadAsk: nobody reads a code out here."""
        if not isinstance(self._connector, CodeCallConnector):
            raise BadAsk("callers asked that way read no code out", code="desk.code")
        return _plain(await self._connector.try_code(state, typed, network, now))

    async def hang_up(self, state: bytes) -> None:
        """As `CallConnector.hang_up`."""
        await self._connector.hang_up(state)


def _plain(seen: Done | Ringing) -> Evidence | tuple[bytes, str]:
    return seen.evidence if isinstance(seen, Done) else (seen.state, seen.message_key)


def callers(connectors: Mapping[str, Connector], party: Callable[[str], str]) -> dict[str, UpstreamCallers]:
    """Those of *connectors* that can ask callers."""
    able = {name: each for name, each in connectors.items() if isinstance(each, CallConnector)}
    return {name: UpstreamCallers(each, party) for name, each in able.items()}
