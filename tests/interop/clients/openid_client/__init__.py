"""openid-client (JavaScript), from its registry at the version of package-lock.json."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from joserfc.jwk import ECKey

from setup import find
from tests.changing import replace
from tests.interop.processes import DidNotStart, run
from tests.interop.site import API, CACHES, Can, Client, Place, Start

FILES = Path(__file__).parent
FOLDER = CACHES / "openid-client"
"""Where the library is installed, once for all three."""


class OpenidClient(Client):
    """A site with a server, which also listens to the back channel."""

    name = "openid-client"
    abilities = frozenset(Can)
    registration = {
        "      refresh_tokens: {}\n": "      refresh_tokens: {}\n"
        "      backchannel_logout_uri: http://127.0.0.1:3000/backchannel\n"
        f"      access_token: {{resource: {API}}}\n"
    }

    def install(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json", "app.mjs"):
            shutil.copy(FILES / name, FOLDER / name)
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(FOLDER / "npm"))
        run([*_node().npm, "ci", *quiet], folder=FOLDER, environment=os.environ)

    def start(self, place: Place, folder: Path) -> Start:
        return Start((str(_node().program), str(FOLDER / "app.mjs")), place.environment())

    def logout_uri(self, site: str) -> str:
        return f"{site}/backchannel"


class PublicOpenidClient(OpenidClient):
    """An app on the customer's device: no secret, PKCE alone."""

    name = "openid-client-public"
    abilities = frozenset(Can) - {Can.HEAR_LOGOUT, Can.DOCUMENTED, Can.BE_REMEMBERED}
    registration = {
        "      auth: client_secret_basic\n      secret: env:BOOKSHOP_SECRET\n": "      auth: none\n"
        f"      access_token: {{resource: {API}, format: jwt}}\n"
    }

    def install(self) -> None:
        """See OpenidClient."""

    def start(self, place: Place, folder: Path) -> Start:
        return super().start(replace(place, secret=""), folder)


class StrictOpenidClient(OpenidClient):
    """A site that proves itself by a key and pushes its requests."""

    name = "openid-client-strict"
    algorithm = "ES256"
    abilities = frozenset(Can) - {Can.HEAR_LOGOUT, Can.CALL_API, Can.DOCUMENTED}
    registration = {
        "      auth: client_secret_basic\n      secret: env:BOOKSHOP_SECRET\n": "      profile: strict\n"
        "      jwks_file: openid-client-strict.json\n"
    }

    def __init__(self) -> None:
        self._key = ECKey.generate_key("P-256", {"kid": "1", "alg": "ES256", "use": "sig"})

    def install(self) -> None:
        """See OpenidClient."""

    def files(self) -> Mapping[str, str]:
        return {"openid-client-strict.json": json.dumps({"keys": [self._key.as_dict(private=False)]})}

    def start(self, place: Place, folder: Path) -> Start:
        key = folder / "key.pem"
        key.write_bytes(self._key.as_pem(private=True))
        start = super().start(replace(place, secret=""), folder)
        return replace(start, environment={**start.environment, "CLIENT_KEY": str(key)})


def _node() -> find.Node:
    node = find.node()
    if node is None:
        raise DidNotStart("Node.js is missing on this machine: run make interop")
    return node
