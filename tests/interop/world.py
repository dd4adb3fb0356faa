"""The broker as a process of its own, with the demo's Google beside it and a front before it."""

import asyncio
import os
import ssl
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import httpx2

from broker.app import utc_now
from broker.cli.serve import bind
from broker.config.render import Ports, example_text, render_example
from broker.demo.providers.bankid.certificates import Certificates, make_certificates
from broker.demo.providers.google import GoogleClient, create_app
from broker.demo.run import Party, running, server_of
from tests.interop.browser import Browser
from tests.interop.front import Front
from tests.interop.processes import Process
from tests.interop.site import API, AUDIENCE, Client, Place
from tests.servers import free_port
from tests.stage import SECRET, prepare, with_one_eid

PARTNER = Path(__file__).with_name("partner.yaml")
"""What an operator writes for a site, as on the page for developers."""


_ADDRESSES = 3
_RESOURCES = f"""
resources:
  {API}:
    audience: {AUDIENCE}
    client:
      client_id: {API}
      secret: env:BOOKSHOP_SECRET
"""


class World:
    """
    Everything but the sites, until `close`.

    Args:
        folder: empty; for config, data and logs.
        clients: who is registered.
        with_tls: https as in production, or plain http on localhost as in the demo.
        edit: changes the config's text.
        files: what the config refers to, by the name beside it.
    """

    def __init__(
        self,
        folder: Path,
        clients: Sequence[Client],
        *,
        with_tls: bool,
        edit: Callable[[str], str] = lambda text: text,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        self.folder = prepare(folder / "config")
        self.certificates = make_certificates(folder / "tls", now=datetime.now(UTC))
        self.trust = ssl.create_default_context(cafile=str(self.certificates.ca_cert))
        ports = Ports(*(free_port() for _ in fields(Ports)))
        self.issuer = f"{'https' if with_tls else 'http'}://localhost:{ports.broker}"
        self._places = {client.name: [self._place(client) for _ in range(_ADDRESSES)] for client in clients}
        for name, text in ((name, text) for client in clients for name, text in client.files().items()):
            (self.folder / name).write_text(text, "utf-8")
        for name, octets in (files or {}).items():
            (self.folder / name).write_bytes(octets)
            (self.folder / name).chmod(0o600)
        listen = free_port()
        (self.folder / "stafett.yaml").write_text(edit(self._config(ports, listen, clients)), "utf-8")
        with ExitStack() as stack:
            google = _Google(ports.google, self.issuer)
            stack.callback(google.close)
            self.front = Front(
                f"http://127.0.0.1:{listen}", ports.broker, _server_tls(self.certificates) if with_tls else None
            )
            stack.callback(self.front.close)
            self._broker = Process(
                [sys.executable, "-m", "broker", "serve", "--config", str(self.folder / "stafett.yaml")],
                {**os.environ, "BOOKSHOP_SECRET": SECRET, "SSL_CERT_FILE": str(self.certificates.ca_cert)},
                port=listen,
                log=folder / "broker.log",
            )
            stack.callback(self._broker.stop)
            self._wait_until_ready()
            self._stack = stack.pop_all()

    def place(self, client: Client, *, spare: int = 0) -> Place:
        """What *client* is configured with; *spare* chooses another of its registered addresses, for a site beside the first."""
        return self._places[client.name][spare]

    def browser(self) -> Browser:
        """Another person's."""
        return Browser(self.trust)

    def log_in(self, browser: Browser, *, stop_before: str = "", who: str = "maja") -> None:
        """From the broker's choice page, by Google, to wherever the login leads."""
        browser.press("method-google", stop_before=stop_before)
        browser.press(f"account-{who}", stop_before=stop_before)
        if browser.has("allow"):
            browser.press("allow", stop_before=stop_before)

    def log(self) -> str:
        """The end of the broker's log, to explain a failure."""
        return self._broker.tail()

    def close(self) -> None:
        """Stop everything."""
        self._stack.close()

    def _place(self, client: Client) -> Place:
        port = free_port()
        return Place(
            issuer=self.issuer,
            client_id=client.name,
            secret=SECRET,
            port=port,
            site=f"{client.scheme}://127.0.0.1:{port}",
            certificates=self.certificates,
        )

    def _config(self, ports: Ports, listen: int, clients: Sequence[Client]) -> str:
        text = with_one_eid(render_example(example_text(), ports, data_dir=self.folder / "data"))
        text = text.replace(f"issuer: http://localhost:{ports.broker}", f"issuer: {self.issuer}", 1)
        text = text.replace(f"    port: {ports.broker}\n", f"    port: {listen}\n", 1)
        text = text.replace("  data_dir:", '  trusted_proxies: ["127.0.0.0/8", "::1/128"]\n  data_dir:', 1)
        partners = "".join(self._registration(client) for client in clients)
        text = text.replace("\npartners:\n", f"\npartners:\n{partners}\n", 1)
        return f"{text}\n{_RESOURCES}"

    def _registration(self, client: Client) -> str:
        text = PARTNER.read_text("utf-8")
        for old, new in client.registration.items():
            assert old in text, f"{PARTNER.name} has no {old!r}"
            text = text.replace(old, new, 1)
        for place in self._places[client.name][1:]:
            text = text.replace("/callback]", f"/callback, {place.site}/callback]").replace("/]", f"/, {place.site}/]")
        text = text.replace("http://127.0.0.1:3000", self.place(client).site)
        text = text.replace("  bookshop:", f"  {client.name}:")
        return text.replace("client_id: bookshop", f"client_id: {client.name}")

    def _wait_until_ready(self) -> None:
        with httpx2.Client(transport=httpx2.HTTPTransport(verify=self.trust, retries=3), timeout=30) as http:
            ready = http.get(f"{self.issuer}/readyz")
        assert ready.status_code == 200, f"{ready.text}\n{self.log()}"


class _Google:
    """The demo's Google on a port, in a thread of its own."""

    def __init__(self, port: int, issuer: str) -> None:
        client = GoogleClient("Stafett", SECRET, frozenset({f"{issuer}/up/google/callback"}))
        app = create_app(issuer=f"http://127.0.0.1:{port}", clients={"stafett": client}, clock=utc_now)
        self._server = (server_of(Party("google", "Google", app)), bind("127.0.0.1", port, "google"))
        self._stack = AsyncExitStack()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._stack.enter_async_context(running([self._server])))

    def close(self) -> None:
        """Stop."""
        self._do(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)  # type: ignore[arg-type]


def _server_tls(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    return context
