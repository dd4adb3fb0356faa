"""The BankID simulator on a free port, with a clock that tests turn by hand."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn

from broker.demo.providers.bankid import BankIdSimulator, Certificates, make_certificates, tls_options


class HandClock:
    """Aware UTC time that moves only when told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        """Move on; returns the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now


class BankIdServer:
    """A running RP API: ``url`` ends with ``/rp/v6.0/``."""

    def __init__(self, certificates: Certificates, clock: HandClock, port: int) -> None:
        self.certificates = certificates
        self.clock = clock
        self.port = port
        self.url = f"https://127.0.0.1:{port}/rp/v6.0/"
        self.simulator = BankIdSimulator(certificates, clock=clock)

    def tls(self, *, with_client_certificate: bool = True) -> ssl.SSLContext:
        """A client's TLS context that trusts the test CA only."""
        context = ssl.create_default_context(cafile=str(self.certificates.ca_cert))
        if with_client_certificate:
            context.load_cert_chain(self.certificates.rp_cert, self.certificates.rp_key)
        return context


@contextmanager
def bankid_server(directory: Path) -> Iterator[BankIdServer]:
    """Serve over real TLS, in a thread of its own, until the block ends."""
    certificates = make_certificates(directory, now=datetime.now(UTC), rp_name="Testbolaget")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = BankIdServer(certificates, HandClock(), listener.getsockname()[1])
        config = uvicorn.Config(served.simulator.rp_api, log_config=None, **tls_options(certificates))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(timeout=5)
