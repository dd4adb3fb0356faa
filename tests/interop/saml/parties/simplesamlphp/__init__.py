"""Debian's simplesamlphp (PHP, on xmlseclibs), an identity provider with a config folder of its own, served by PHP itself."""

import secrets
import shutil
from pathlib import Path

import httpx2
from lxml import etree

from setup import find
from tests.downstream.saml_party import pair, pem
from tests.interop.browser import Browser, Page
from tests.interop.processes import DidNotStart, Process

FILES = Path(__file__).parent


class SimpleSamlPhp:
    """
    Running on *port* of 127.0.0.1 until `close`; it knows nobody until it has met somebody.

    Args:
        folder: does not exist yet.
    """

    def __init__(self, port: int, folder: Path) -> None:
        found = find.simplesamlphp()
        if found is None:
            raise DidNotStart("simplesamlphp is missing on this machine: run make interop")
        self.site = f"http://127.0.0.1:{port}"
        self._folder = folder
        (folder / "metadata").mkdir(parents=True)
        (folder / "tmp").mkdir()
        for name in ("config.php", "authsources.php"):
            shutil.copy(FILES / name, folder)
        for name in ("saml20-idp-hosted.php", "saml20-sp-remote.php"):
            shutil.copy(FILES / name, folder / "metadata")
        private, certificate = pair("campus")
        (folder / "key.pem").write_bytes(pem(private))
        (folder / "certificate.pem").write_bytes(certificate)
        command = (str(found.php), "-S", f"127.0.0.1:{port}", "-t", str(found.folder / "www"))
        told = {
            "SITE": self.site,
            "FOLDER": str(folder),
            "SALT": secrets.token_hex(),
            "SIMPLESAMLPHP_CONFIG_DIR": str(folder),
        }
        self._process = Process(command, told, port=port, log=folder / "log")
        with httpx2.Client(trust_env=False, timeout=30) as http:
            self.metadata = http.get(f"{self.site}/saml2/idp/metadata.php").raise_for_status().content

    @property
    def entity_id(self) -> str:
        """As its metadata says."""
        return str(etree.fromstring(self.metadata).get("entityID"))

    def meet(self, name: str, service_provider: bytes, *, encrypts: bool) -> None:
        """Know the service provider of that metadata; *encrypts*: its assertions are."""
        (self._folder / f"{name}.{'sealed' if encrypts else 'plain'}.xml").write_bytes(service_provider)

    def log_in(self, browser: Browser, password: str = "password-of-maja", *, stop_before: str = "") -> Page:
        """Maja says who she is on its page; where that leads."""
        browser.fill("AuthState", username="maja", password=password)
        if "SAMLResponse" in browser.page.text:
            browser.fill("SAMLResponse", stop_before=stop_before)
        return browser.page

    def log(self) -> str:
        """The end of its log, to explain a failure."""
        return self._process.tail()

    def close(self) -> None:
        """Stop it."""
        self._process.stop()
