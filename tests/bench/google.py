"""The simulated Google on a port: `python -m tests.bench.google PORT BROKER_PORT`."""

import sys
from dataclasses import replace

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.app import utc_now
from broker.demo.providers.google import ACCOUNTS, GoogleClient, create_app
from tests.stage import SECRET

_CUSTOMERS = [
    replace(ACCOUNTS[0], key=f"customer{number}", sub=f"{10**20 + number}", email=f"customer{number}@gmail.com")
    for number in range(200)
]


def main() -> None:
    port, broker_port = sys.argv[1:]
    redirect_uri = f"http://localhost:{broker_port}/up/google/callback"
    client = GoogleClient("Stafett", SECRET, frozenset({redirect_uri}))
    app = create_app(issuer=f"http://127.0.0.1:{port}", clients={"stafett": client}, clock=utc_now, accounts=_CUSTOMERS)
    uvicorn.run(_Remembering(app), host="127.0.0.1", port=int(port), log_level="error")


class _Remembering:
    """Whoever is logged in here and has allowed it before is sent back at once, without a page, as customers mostly are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/o/oauth2/v2/auth" and _is_known(scope):
            scope = {**scope, "query_string": scope["query_string"] + b"&prompt=none"}
        await self._app(scope, receive, send)


def _is_known(scope: Scope) -> bool:
    return any(name == b"cookie" for name, _ in scope["headers"])


main()
