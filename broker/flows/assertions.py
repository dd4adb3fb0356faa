"""
Assertions of identity providers are used once (saml-profiles-2.0-os, section 4.1.4.5).
"""

from datetime import datetime

from broker.core.naming import name_of
from broker.stores.ports import PutNew, StateStore

_AT_LEAST_S = 60.0


class Assertions:
    """Which ones were used, for as long as they could be used again."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    async def use(self, issuer: str, assertion_id: str, *, until: datetime, now: datetime) -> bool:
        """
        Whether this is the first use of the assertion; of many at once one is.

        Args:
            until: when it is too old by itself.
        Raises: StoreDown; then it is not to be used, since nobody knows.
        """
        name = name_of(f"saml-assertion {issuer} {assertion_id}")
        kept_s = max(_AT_LEAST_S, (until - now).total_seconds())
        (is_first,) = await self._state.run(PutNew(f"seen:{name}", b"1", kept_s))
        return bool(is_first)
