"""python3-saml (Python, on python-xmlsec), from its registry at the version of requirements.txt."""

import os
import subprocess
import sys
from pathlib import Path

from tests.interop.processes import run
from tests.interop.saml.party import Own, ServiceProvider
from tests.interop.site import Start

FILES = Path(__file__).parent
CLASSES = "urn:oasis:names:tc:SAML:2.0:ac:classes"


class Python3Saml(ServiceProvider):
    """With the context class it asks for unless it is told not to."""

    name = "python3-saml"
    registration = f"authn_contexts: {{'{CLASSES}:PasswordProtectedTransport': contact}}"

    def install(self) -> None:
        pip = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet")
        exact = ("--require-hashes", "--only-binary", ":all:", "--no-deps", "--upgrade")
        wanted = ("--target", str(self.cache), "--requirement", str(FILES / "requirements.txt"))
        run((*pip, *exact, *wanted), folder=self.cache, environment=os.environ)

    def metadata(self, own: Own) -> bytes:
        own.give_key()
        command = (sys.executable, str(FILES / "app.py"), "metadata")
        return subprocess.run(command, env=self._environment(own), capture_output=True, check=True).stdout

    def start(self, own: Own, provider: bytes) -> Start:
        (own.folder / "idp.xml").write_bytes(provider)
        return Start((sys.executable, str(FILES / "app.py")), self._environment(own))

    def _environment(self, own: Own) -> dict[str, str]:
        return {**own.place.environment(), "FOLDER": str(own.folder), "PYTHONPATH": str(self.cache)}
