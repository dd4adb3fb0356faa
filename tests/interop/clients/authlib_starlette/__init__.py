"""Authlib's Starlette client (Python), from the locked environment."""

import sys
from importlib.metadata import version
from pathlib import Path

from tests.interop.site import Can, Client, Place, Start


class Authlib(Client):
    name = "authlib-starlette"
    abilities = frozenset({Can.REFRESH, Can.DEMAND_ISS, Can.HEAR_ERRORS, Can.PLAIN_HTTP})

    def install(self) -> None:
        version("authlib")  # `make` installs it with everything else

    def start(self, place: Place, folder: Path) -> Start:
        return Start((sys.executable, str(self.folder / "app.py")), place.environment())
