"""
Partners' servers as the broker meets them when it tells them of a logout: real HTTP on this machine, and as ill as a test
wants them.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from joserfc import jws, jwt
from joserfc.jwk import KeySet

from broker.stores.ports import Notice
from tests.stage import Answer, Browser, Partner, Stage, open_stage

EVENT = "http://schemas.openid.net/event/backchannel-logout"

_PARTNERS = """
partners:
  bakery:
    names: {{en: Bakery}}
    home_uri: https://bakery.example/
    oidc:
      client_id: bakery-web
      auth: client_secret_basic
      secret: file:secrets/tyre-shop
      redirect_uris: [https://bakery.example/cb]
      post_logout_redirect_uris: [https://bakery.example/bye]
      backchannel_logout_uri: {bakery}/logout?of=bakery
      backchannel_logout_session_required: true
      id_token_alg: ES256
    login: {{upstreams: [google, bankid], claims: [name], consent: implied}} # bakery
  dairy:
    names: {{en: Dairy}}
    home_uri: https://dairy.example/
    oidc:
      client_id: dairy-web
      auth: client_secret_basic
      secret: file:secrets/tyre-shop
      redirect_uris: [https://dairy.example/cb]
      post_logout_redirect_uris: [https://dairy.example/bye]
      backchannel_logout_uri: {dairy}/logout
    login: {{upstreams: [google, bankid], claims: [name], consent: implied}} # dairy
  kiosk:
    names: {{en: Kiosk}}
    home_uri: https://kiosk.example/
    oidc:
      client_id: kiosk-web
      auth: client_secret_basic
      secret: file:secrets/tyre-shop
      redirect_uris: [https://kiosk.example/cb]
      post_logout_redirect_uris: [https://kiosk.example/bye]
      frontchannel_logout_uri: https://kiosk.example/leave?lang=sv
      frontchannel_logout_session_required: true
    login: {{upstreams: [google, bankid], claims: [name], consent: implied}} # kiosk
  museum:
    names: {{en: Museum}}
    home_uri: https://museum.example/
    oidc:
      client_id: museum-web
      auth: client_secret_basic
      secret: file:secrets/tyre-shop
      redirect_uris: [https://museum.example/cb]
      post_logout_redirect_uris: [https://museum.example/bye]
    login: {{upstreams: [google, bankid], claims: [name], consent: implied}} # museum
"""


@dataclass
class Call:
    """A request as it came."""

    head: str
    form: dict[str, str]

    @property
    def path(self) -> str:
        return self.head.split(" ")[1]

    @property
    def token(self) -> str:
        return self.form["logout_token"]


@dataclass
class Receiver:
    """
    One server. ``answers``: statuses in turn, the last one for good; 0 hangs up without one. ``gate``: nothing is answered
    before it is set.
    """

    answers: list[int] = field(default_factory=lambda: [200])
    calls: list[Call] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Receiver"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.gate.set()
        try:
            yield self
        finally:
            self.gate.set()
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-l")
            )
            self.calls.append(Call(head, dict(parse_qsl((await reader.readexactly(length)).decode()))))
            self.called.set()
            await self.gate.wait()
            status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if status:
                extra = "Location: http://127.0.0.1:1/elsewhere\r\n" if 300 <= status < 400 else ""
                writer.write(f"HTTP/1.1 {status} x\r\n{extra}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.at_once -= 1
            writer.close()


@dataclass
class Village:
    """
    A broker with partners that hear of logouts: bakery and dairy by their servers, the kiosk by the browser only; the museum
    does not hear of any.
    """

    stage: Stage
    bakery_server: Receiver
    dairy_server: Receiver

    def __post_init__(self) -> None:
        self.bakery = Partner(self.stage, "bakery-web", "https://bakery.example/cb", scope="openid profile")
        self.dairy = Partner(self.stage, "dairy-web", "https://dairy.example/cb", scope="openid profile")
        self.museum = Partner(self.stage, "museum-web", "https://museum.example/cb", scope="openid profile")
        self.kiosk = Partner(self.stage, "kiosk-web", "https://kiosk.example/cb", scope="openid profile")

    async def log_in(
        self, browser: Browser, *partners: Partner, who: str = "maja", method: str = "bankid"
    ) -> list[dict[str, Any]]:
        """*who* logs in at each of *partners* in turn; their token responses."""
        given = []
        for partner in partners:
            answer = await browser.get(partner.request())
            if "code" not in answer.query:
                await browser.follow(answer)
                answer = await browser.log_in(method, who)
            given.append(await partner.exchange(answer))
        return given

    async def is_logged_in(self, browser: Browser) -> bool:
        return "code" in (await browser.get(self.bakery.request(prompt="none"))).query

    async def log_out(self, browser: Browser) -> Answer:
        """By the broker's own page, to whatever follows."""
        await browser.get("/logout/confirm")
        return await browser.press("log-out")

    async def waiting(self) -> list[Notice]:
        return list(await self.stage.records.list_notices(("pending",), None, 100))

    async def settled(self) -> list[Notice]:
        return list(await self.stage.records.list_notices(("delivered", "refused", "given_up"), None, 100))

    async def round(self, **later: float) -> None:
        """Time passes, and the courier looks what is due."""
        self.stage.clock.forward(**later)
        await self.stage.broker.notices.round()

    async def logout_token(self, call: Call) -> dict[str, Any]:
        """The claims of what a partner was sent; signature and type hold."""
        keys = KeySet.import_key_set((await self.stage.client.get("/jwks")).json())
        header = jws.extract_compact(call.token.encode()).headers()
        assert header["typ"] == "logout+jwt"
        return dict(jwt.decode(call.token, keys, algorithms=["ES256", "RS256"]).claims)


@asynccontextmanager
async def open_village(
    folder: Path,
    *,
    edit: Mapping[str, str] | None = None,
    patience_s: float = 2.5,
    sso: Mapping[str, str] = MappingProxyType({}),
    **options: Any,
) -> AsyncIterator[Village]:
    """A broker of this test's own, with the demo's partners besides. ``sso``: partner -> its rule."""
    async with Receiver().listening() as bakery, Receiver().listening() as dairy:
        partners = _PARTNERS.format(bakery=bakery.url, dairy=dairy.url)
        for partner, rule in sso.items():
            partners = partners.replace(f"consent: implied}} # {partner}", f"consent: implied, sso: {rule}}}")
        async with open_stage(folder, edit={"\npartners:\n": partners, **(edit or {})}, **options) as stage:
            stage.broker.context.outbox.patience_s = patience_s
            yield Village(stage, bakery, dairy)
