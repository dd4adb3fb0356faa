"""openid-client (JavaScript), from its registry at the version of package-lock.json."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from setup import find
from tests.interop.processes import DidNotStart, run
from tests.interop.site import CACHES, Can, Client, Place, Start

FILES = Path(__file__).parent


class OpenidClient(Client):
    """A site with a server, which also listens to the back channel."""

    name = "openid-client"
    abilities = frozenset(Can)
    registration = {
        "      refresh_tokens: {}\n": "      refresh_tokens: {}\n"
        "      backchannel_logout_uri: http://127.0.0.1:3000/backchannel\n"
    }

    def install(self) -> None:
        node = find.node()
        if node is None:
            raise DidNotStart("Node.js is missing on this machine: run make interop")
        self._node = node
        for name in ("package.json", "package-lock.json", "app.mjs"):
            shutil.copy(FILES / name, self.cache / name)
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(CACHES / "npm"))
        run([*node.npm, "ci", *quiet], folder=self.cache, environment=os.environ)

    def start(self, place: Place, folder: Path) -> Start:
        return Start((str(self._node.program), str(self.cache / "app.mjs")), place.environment())

    def logout_uri(self, site: str) -> str:
        return f"{site}/backchannel"


class PublicOpenidClient(OpenidClient):
    """An app on the customer's device: no secret, PKCE alone."""

    name = "openid-client-public"
    abilities = frozenset(Can) - {Can.HEAR_LOGOUT, Can.DOCUMENTED}
    registration = {"      auth: client_secret_basic\n      secret: env:BOOKSHOP_SECRET\n": "      auth: none\n"}

    def start(self, place: Place, folder: Path) -> Start:
        return super().start(replace(place, secret=""), folder)
