"""Debian's libapache2-mod-auth-openidc (C), in an apache2 of the test's own with TLS."""

import json
import os
import pwd
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from setup import find
from tests.interop.browser import Browser, Page
from tests.interop.processes import DidNotStart
from tests.interop.site import API, AUDIENCE, Can, Client, Place, Start

FILES = Path(__file__).parent
WHO = (
    '{"claims": <!--#echo encoding="none" var="OIDC_id_token_payload" -->,'
    ' "userinfo": <!--#echo encoding="none" var="OIDC_userinfo_json" -->}'
)
"""What the protected application knows: the module tells it by environment variables."""

CALLER = '{"sub": "<!--#echo encoding="none" var="OIDC_CLAIM_sub" -->"}'
"""What an API behind it knows of the access token, likewise."""


class ModAuthOpenidc(Client):
    """
    Signatures are ES256 here, to have that with one client too.

    Answers come by form: the module takes any redirect with ``iss`` and without ``code`` for a login that begins elsewhere
    (OpenID Connect Core section 4), errors too, in 2.4.12 as in later versions.
    """

    name = "mod-auth-openidc"
    abilities = frozenset({Can.REFRESH, Can.HEAR_LOGOUT, Can.HEAR_ERRORS, Can.BE_REMEMBERED})
    registration = {
        "      refresh_tokens: {}\n": "      refresh_tokens: {}\n      id_token_alg: ES256\n"
        "      backchannel_logout_uri: http://127.0.0.1:3000/callback?logout=backchannel\n"
    }
    algorithm = "ES256"
    settings = "OIDCIDTokenSignedResponseAlg ES256\nOIDCPKCEMethod S256\nOIDCResponseMode form_post"
    api_settings = (
        "OIDCOAuthServerMetadataURL {issuer}/.well-known/oauth-authorization-server\n"
        "OIDCOAuthClientID {api}\nOIDCOAuthClientSecret {secret}"
    )
    scheme = "https"
    home = "/private/who.json"

    def install(self) -> None:
        if find.apache() is None:
            raise DidNotStart("apache2 with mod_auth_openidc is missing on this machine: run make interop")

    def start(self, place: Place, folder: Path) -> Start:
        apache = find.apache()
        assert apache is not None
        # As root apache gives up its rights for everything it serves, and a temporary folder of root is closed to it then.
        given = TemporaryDirectory(prefix="stafett-httpd-", dir="/tmp")
        public = Path(given.name)
        public.chmod(0o755)
        (public / "index.html").write_text("Not logged in: go to /private/who.json", "utf-8")
        (public / "private").mkdir()
        (public / "private/who.json").write_text(WHO, "utf-8")
        (public / "api").mkdir()
        (public / "api/who.json").write_text(CALLER, "utf-8")
        shutil.copy(place.certificates.ca_cert, public / "ca.pem")
        config = (FILES / "httpd.conf").read_text("utf-8")
        config = config.format(
            run=folder,
            account=account(),
            modules=apache.modules,
            port=place.port,
            certificate=place.certificates.server_cert,
            key=place.certificates.server_key,
            public=public,
            issuer=place.issuer,
            client_id=place.client_id,
            secret=place.secret,
            site=place.site,
            settings=self.settings,
            api_settings=self.api_settings.format(issuer=place.issuer, api=API, secret=place.secret),
            audience=AUDIENCE,
        )
        (folder / "httpd.conf").write_text(config, "utf-8")
        return Start(
            (str(apache.program), "-f", str(folder / "httpd.conf"), "-DFOREGROUND"), place.environment(), given.cleanup
        )

    def is_refusal(self, page: Page) -> bool:
        return page.status >= 400 or "<title>Error</title>" in page.text  # the latter with status 200

    def logout_uri(self, site: str) -> str:
        return f"{site}/callback?logout=backchannel"

    def begin(self, browser: Browser, site: str, *, stop_before: str = "") -> Page:
        return browser.open(f"{site}{self.home}", stop_before=stop_before)

    def refresh(self, browser: Browser, site: str) -> Page:
        token = json.loads(browser.open(f"{site}/callback?info=json").text)["access_token"]
        asked = {"refresh": f"{site}{self.home}", "access_token": token}
        return browser.open(f"{site}/callback?{urlencode(asked)}")

    def log_out(self, browser: Browser, site: str, *, stop_before: str = "") -> Page:
        return browser.open(f"{site}/callback?{urlencode({'logout': f'{site}/'})}", stop_before=stop_before)


class OldModAuthOpenidc(ModAuthOpenidc):
    """As those have it who set it up years ago: no PKCE, RS256, answers by redirect, so that errors do not reach it."""

    name = "mod-auth-openidc-old"
    abilities = frozenset({Can.REFRESH, Can.HEAR_LOGOUT, Can.BE_REMEMBERED})
    registration = {
        "      auth: client_secret_basic\n": "      profile: legacy\n      auth: client_secret_basic\n",
        "      refresh_tokens: {}\n": "      refresh_tokens: {}\n"
        "      backchannel_logout_uri: http://127.0.0.1:3000/callback?logout=backchannel\n",
    }
    algorithm = "RS256"
    settings = ""
    api_settings = "OIDCOAuthVerifyJwksUri {issuer}/jwks"


def account() -> str:
    """The lines that say as whom apache serves; none unless this is root, who may not."""
    if os.geteuid() != 0:
        return ""
    found = next(entry for entry in pwd.getpwall() if entry.pw_name in ("www-data", "apache", "nobody"))
    return f"User {found.pw_name}\nGroup #{found.pw_gid}"
