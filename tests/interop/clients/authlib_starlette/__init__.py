"""Authlib's Starlette client (Python), from the locked environment."""

import sys
from importlib.metadata import version
from pathlib import Path

from tests.interop.site import Can, Client, Place, Start

FILES = Path(__file__).parent


class Authlib(Client):
    name = "authlib-starlette"
    abilities = frozenset(Can) - {Can.HEAR_LOGOUT, Can.CALL_API}

    def install(self) -> None:
        version("authlib")  # `make` installs it with everything else

    def start(self, place: Place, folder: Path) -> Start:
        return Start((sys.executable, str(FILES / "app.py")), place.environment())
