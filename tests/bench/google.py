"""The simulated Google on a port: `python -m tests.bench.google PORT BROKER_PORT`."""

import sys

import uvicorn

from broker.app import utc_now
from broker.demo.providers.google import GoogleClient, create_app
from tests.stage import SECRET


def main() -> None:
    port, broker_port = sys.argv[1:]
    redirect_uri = f"http://localhost:{broker_port}/up/google/callback"
    client = GoogleClient("Stafett", SECRET, frozenset({redirect_uri}))
    app = create_app(issuer=f"http://127.0.0.1:{port}", clients={"stafett": client}, clock=utc_now)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")


main()
