"""
A native app logs its customer in with BankID on the same phone: app, browser tab, BankID app, browser, app (RFC 8252).

The tab the app opened shares its cookies with the phone's browser, where BankID sends the customer back to; whoever has them
goes on into the app, nobody else does. BankID is the simulator over real TLS.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from broker.upstream.bankid import BankIdConnect, BankIdConnector
from broker.wire.bankid_api import BankIdApi, client_tls
from tests.demo.bankid_server import BankIdServer, bankid_server
from tests.downstream.test_public_clients import App
from tests.stage import ISSUER, Answer, Browser, Stage, open_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Safari/604.1"
ANDROID = "Mozilla/5.0 (Linux; Android 16; Pixel 9) AppleWebKit/537.36 Chrome/140.0.0.0 Mobile Safari/537.36"
CLAIMED = "https://app.nordhjul.example/login/callback"
OWN = "com.nordhjul.app:/login/callback"

_APP = f"""
partners:
  app:
    names: {{en: Nordhjul app}}
    home_uri: https://nordhjul.example/app
    oidc:
      client_id: tyre-app
      auth: none
      redirect_uris: ["{CLAIMED}", "{OWN}"]
    login:
      upstreams: [bankid, google]
      claims: [name]
      consent: implied
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BankIdServer]:
    with bankid_server(tmp_path_factory.mktemp("bankid")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(prepared_stage: Path, server: BankIdServer) -> AsyncIterator[Stage]:
    """The staged broker, with the real BankID connector in place of the played one."""
    files = server.certificates
    connect = BankIdConnect.model_validate(
        {
            "api_url": server.url,
            "client_certificate": f"file:{files.rp_cert}",
            "client_key": f"file:{files.rp_key}",
            "ca": f"file:{files.ca_cert}",
        }
    )
    tls = client_tls(certificate=files.rp_cert, key=files.rp_key, ca=files.ca_cert)
    connector = BankIdConnector("bankid", connect, BankIdApi(server.url, tls, timeout_s=5.0), monotonic=lambda: 0.0)
    async with open_stage(prepared_stage, edit={"\npartners:\n": _APP}, cast=lambda _: {"bankid": connector}) as opened:
        yield opened
        await connector.close()


class Tab(Browser):
    """A tab of a phone's browser."""

    def __init__(self, stage: Stage, agent: str) -> None:
        super().__init__(stage)
        self._agent = agent

    def _headers(self) -> dict[str, str]:
        return {**super()._headers(), "user-agent": self._agent}


class Phone:
    """A tab of the phone's browser that the app opened, and the BankID app beside it."""

    def __init__(self, stage: Stage, server: BankIdServer, agent: str) -> None:
        self.tab = Tab(stage, agent)
        self._server = server

    async def start(self, request: str) -> str:
        """From the app's request to the link that opens BankID; returns that link."""
        await self.tab.follow(await self.tab.get(request))
        waiting = await self._on(await self.tab.press("method-bankid"))
        assert {"device-same", "device-other"} <= waiting.ids
        launched = await self._on(await self.tab.press("device-same"))
        link = launched.text.partition('id="launch"')[2].partition('href="')[2].partition('"')[0]
        return link.replace("&amp;", "&")

    def sign(self, link: str) -> str:
        """Open BankID by the link, sign, and return the address BankID then opens."""
        orders = self._server.simulator.orders
        token = parse_qs(urlsplit(link).query)["autostarttoken"][0]
        opened = orders.open_by_autostart(token, app_ip="127.0.0.1")
        orders.choose(opened.handle, "anders")
        orders.approve(opened.handle)
        assert opened.request.return_url is not None
        return str(opened.request.return_url)

    async def come_back(self, stage: Stage, address: str) -> Answer:
        """BankID opens *address*; a page that still waits for BankID's word loads itself again."""
        answer = await self.tab.get(address)
        for _ in range(3):
            if not answer.location.startswith(ISSUER):
                break
            stage.clock.forward(seconds=2)
            answer = await self.tab.get(answer.location)
        return answer

    async def _on(self, answer: Answer) -> Answer:
        return await self.tab.get(answer.location) if answer.location else answer


@pytest.mark.parametrize("agent", [IPHONE, ANDROID], ids=["iphone", "android"])
@pytest.mark.parametrize("redirect_uri", [CLAIMED, OWN], ids=["claimed", "own-scheme"])
async def test_the_link_works_from_the_apps_tab_and_leads_back_into_the_app(
    stage: Stage, server: BankIdServer, agent: str, redirect_uri: str
) -> None:
    """One link opens BankID; BankID's return opens the browser, which goes straight on to the app's own address."""
    app = App(stage, "tyre-app", redirect_uri, scope="openid profile")
    phone = Phone(stage, server, agent)
    link = await phone.start(app.request())
    assert link.startswith("https://app.bankid.com/?autostarttoken=")
    returned = await phone.come_back(stage, phone.sign(link))
    assert returned.status == 303
    assert returned.location.startswith(f"{redirect_uri}?code=")
    tokens = await app.exchange(returned)
    assert tokens["claims"]["acr"] == "http://eidas.europa.eu/LoA/substantial"
    assert (await app.userinfo(tokens["access_token"])).json["name"]


async def test_another_browser_gets_nothing_from_the_return(stage: Stage, server: BankIdServer) -> None:
    """Whoever relayed the link has no cookie: a page that says so, no code, and the tab still waits (CWE-384)."""
    app = App(stage, "tyre-app", CLAIMED, scope="openid profile")
    phone = Phone(stage, server, IPHONE)
    address = phone.sign(await phone.start(app.request()))
    elsewhere: Browser = stage.browser()
    refused = await elsewhere.get(address)
    assert refused.status == 403
    assert not refused.location
    assert (await phone.come_back(stage, address)).location.startswith(f"{CLAIMED}?code=")


async def test_without_pkce_the_way_through_bankid_does_not_begin(stage: Stage) -> None:
    """Another app that took the scheme over would get a code it can redeem."""
    app = App(stage, "tyre-app", OWN)
    refused = await stage.browser().get(app.request(code_challenge=None, code_challenge_method=None))
    assert refused.location.startswith(f"{OWN}?error=invalid_request")
