"""go-oidc with golang.org/x/oauth2 (Go), from the module proxy at the versions of go.sum."""

import os
from pathlib import Path

from setup import find
from tests.interop.processes import DidNotStart, run
from tests.interop.site import Can, Client, Place, Start

FILES = Path(__file__).parent


class GoOidc(Client):
    name = "go-oidc"
    abilities = frozenset(Can) - {Can.HEAR_LOGOUT, Can.CALL_API}

    def install(self) -> None:
        go = find.go()
        if go is None:
            raise DidNotStart("Go is missing on this machine: run make interop")
        caches = {
            "GOCACHE": str(self.cache / "build"),
            "GOMODCACHE": str(self.cache / "modules"),
            "GOTOOLCHAIN": "local",
        }
        # Without -modcacherw nobody could remove the cache, and without the other go.sum could be written to.
        environment = {**os.environ, **caches, "GOFLAGS": "-mod=readonly -modcacherw", "CGO_ENABLED": "0"}
        run([str(go), "build", "-o", str(self.cache / "site"), "."], folder=FILES, environment=environment)

    def start(self, place: Place, folder: Path) -> Start:
        return Start((str(self.cache / "site"),), place.environment())
