"""openid-client (JavaScript), from its registry at the version of package-lock.json."""

import os
import shutil
from pathlib import Path

from setup import find
from tests.interop.processes import DidNotStart, run
from tests.interop.site import Can, Client, Place, Start


class OpenidClient(Client):
    name = "openid-client"
    abilities = frozenset({Can.REFRESH, Can.DEMAND_ISS, Can.HEAR_ERRORS, Can.PLAIN_HTTP})

    def install(self) -> None:
        for name in ("package.json", "package-lock.json", "app.mjs"):
            shutil.copy(self.folder / name, self.cache / name)
        node = find.node()
        if node is None:
            raise DidNotStart("Node.js is missing on this machine: run make interop")
        self._node = node
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(self.cache / "npm"))
        run([*node.npm, "ci", *quiet], folder=self.cache, environment=os.environ)

    def start(self, place: Place, folder: Path) -> Start:
        return Start((str(self._node.program), str(self.cache / "app.mjs")), place.environment())
