"""Debian's libapache2-mod-auth-mellon (C, on Lasso), in an apache2 of the test's own with TLS."""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from setup import find
from tests.interop.browser import Browser, Page
from tests.interop.clients.mod_auth_openidc import account
from tests.interop.processes import DidNotStart, run
from tests.interop.saml.party import Own, ServiceProvider
from tests.interop.site import Start

FILES = Path(__file__).parent
WHO = (
    '{"name_id": "<!--#echo encoding="none" var="MELLON_NAME_ID" -->",'
    ' "pairwise_id": "<!--#echo encoding="none" var="WHO_PAIRWISE" -->",'
    ' "name": "<!--#echo encoding="none" var="WHO_NAME" -->", "email": "<!--#echo encoding="none" var="WHO_EMAIL" -->"}'
)
"""What the protected application knows: the module tells it by environment variables."""


class Mellon(ServiceProvider):
    """Its own script makes its key and its metadata, which says that it signs its requests."""

    name = "mod-auth-mellon"
    scheme = "https"
    acs_path = "/mellon/postResponse"
    home = "/private/who.json"
    slo_path = "/mellon/logout"
    forces = False
    only_answers = False
    takes_unasked = True

    def install(self) -> None:
        if find.mellon() is None:
            raise DidNotStart("apache2 with mod_auth_mellon is missing on this machine: run make interop")

    def metadata(self, own: Own) -> bytes:
        site = own.place.site
        run(("mellon_create_metadata", site, f"{site}/mellon"), folder=own.folder, environment=os.environ)
        (made,) = own.folder.glob("*.xml")
        return made.read_bytes()

    def start(self, own: Own, provider: bytes) -> Start:
        apache = find.mellon()
        assert apache is not None
        # As root apache gives up its rights for everything it serves, and a temporary folder of root is closed to it then.
        given = TemporaryDirectory(prefix="stafett-mellon-", dir="/tmp")
        public = Path(given.name)
        public.chmod(0o755)
        for made in own.folder.iterdir():
            if made.suffix in {".xml", ".key", ".cert"}:
                shutil.copy(made, public / f"sp{made.suffix}")
                (public / f"sp{made.suffix}").chmod(0o644)
        (public / "idp.xml").write_bytes(provider)
        (public / "www/private").mkdir(parents=True)
        (public / "www/private/who.json").write_text(WHO, "utf-8")
        (public / "www/bye.json").write_text("{}", "utf-8")
        config = (FILES / "httpd.conf").read_text("utf-8")
        config = config.format(
            run=own.folder,
            account=account(),
            modules=apache.modules,
            port=own.place.port,
            certificate=own.place.certificates.server_cert,
            key=own.place.certificates.server_key,
            public=public,
        )
        (own.folder / "httpd.conf").write_text(config, "utf-8")
        command = (str(apache.program), "-f", str(own.folder / "httpd.conf"), "-DFOREGROUND")
        return Start(command, own.place.environment(), given.cleanup)

    def leave(self, browser: Browser, site: str, *, stop_before: str = "") -> Page:
        return browser.open(
            f"{site}{self.slo_path}?{urlencode({'ReturnTo': f'{site}/bye.json'})}", stop_before=stop_before
        )

    def begin(self, browser: Browser, site: str, *, anew: bool = False, stop_before: str = "") -> Page:
        return browser.open(f"{site}{self.home}", stop_before=stop_before)
