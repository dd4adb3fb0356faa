"""node-saml (JavaScript, on xml-crypto), from its registry at the version of package-lock.json."""

import os
import shutil
import subprocess
from pathlib import Path

from setup import find
from tests.interop.processes import DidNotStart, run
from tests.interop.saml.party import Own, ServiceProvider
from tests.interop.site import Start

FILES = Path(__file__).parent


class NodeSaml(ServiceProvider):
    """Its metadata asks for signed assertions as well."""

    name = "node-saml"

    def install(self) -> None:
        for name in ("package.json", "package-lock.json", "app.mjs"):
            shutil.copy(FILES / name, self.cache / name)
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(self.cache / "npm"))
        run([*_node().npm, "ci", *quiet], folder=self.cache, environment=os.environ)

    def metadata(self, own: Own) -> bytes:
        own.give_key()
        command = (str(_node().program), str(self.cache / "app.mjs"), "metadata")
        return subprocess.run(command, env=self._environment(own), capture_output=True, check=True).stdout

    def start(self, own: Own, provider: bytes) -> Start:
        (own.folder / "idp.xml").write_bytes(provider)
        return Start((str(_node().program), str(self.cache / "app.mjs")), self._environment(own))

    def _environment(self, own: Own) -> dict[str, str]:
        return {**own.place.environment(), "FOLDER": str(own.folder)}


def _node() -> find.Node:
    node = find.node()
    if node is None:
        raise DidNotStart("Node.js is missing on this machine: run make interop")
    return node
