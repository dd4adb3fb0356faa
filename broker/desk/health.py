"""
The probes. ``/healthz``: the process runs. ``/readyz``: it can do its work now.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.errors import StoreDown

_PATIENCE_S = 2.0


class Health:
    """
    Both probes.

    Args:
        checks: name -> a call that raises StoreDown when that part is ill.
        unavailable: connectors that could not be started, by id.
        metadata: sources of SAML metadata that somebody should look after.
        accepted_risks: refusals of production the operator lifted.
    """

    def __init__(
        self,
        *,
        version: str,
        config_version: Callable[[], str],
        checks: dict[str, Callable[[], Awaitable[None]]],
        unavailable: Callable[[], Sequence[str]],
        metadata: Callable[[], Sequence[str]],
        accepted_risks: Sequence[str],
    ) -> None:
        self._version = version
        self._config_version = config_version
        self._checks = checks
        self._unavailable = unavailable
        self._metadata = metadata
        self._accepted_risks = tuple(accepted_risks)

    async def healthz(self, request: Request) -> Response:
        """Alive."""
        return JSONResponse({"status": "ok", "version": self._version})

    async def readyz(self, request: Request) -> Response:
        """Ready: 200, or 503 naming what is ill. A connector that is ill does not make the broker unready."""
        names = list(self._checks)
        results = await asyncio.gather(*(self._is_well(name) for name in names))
        checks = {name: "ok" if well else "down" for name, well in zip(names, results, strict=True)}
        content = {
            "status": "ok" if all(results) else "unavailable",
            "version": self._version,
            "config_version": self._config_version(),
            "checks": checks,
            "unavailable_upstreams": list(self._unavailable()),
            "alarming_metadata": list(self._metadata()),
            "accepted_risks": list(self._accepted_risks),
        }
        return JSONResponse(content, status_code=200 if all(results) else 503)

    def routes(self) -> list[Route]:
        """Both."""
        return [Route("/healthz", self.healthz), Route("/readyz", self.readyz)]

    async def _is_well(self, name: str) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._checks[name]()
        except (StoreDown, TimeoutError):
            return False
        return True
