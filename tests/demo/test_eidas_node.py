"""The simulated eIDAS node: as strict as real ones towards the broker, and how a person finds her own country there."""

import base64
import re
from collections.abc import AsyncIterator
from html import unescape
from urllib.parse import urlsplit

import httpx2
import pytest
import pytest_asyncio

from broker.core.assurance import Assurance
from broker.core.identity import Evidence
from broker.demo.providers.saml_idp import EIDAS_ON_CURVES, EUROPEANS, Fault, create_app
from broker.errors import Stopped
from tests.upstream.saml import Provider, ec_pair

NODE = "https://idp.example"


class Traveller:
    """The node, the broker's connector, and somebody's browser."""

    def __init__(self, node: Provider, browser: httpx2.AsyncClient) -> None:
        self.node, self.browser = node, browser
        self.page: httpx2.Response
        self._state = b""

    async def comes(self, minimum: Assurance = Assurance.LOW) -> None:
        """Sent there by the broker."""
        self._state, url = await self.node.begin(minimum=minimum)
        gone = await self.browser.get(f"/sso?{urlsplit(url).query}")
        assert gone.status_code == 303, gone.text
        self.page = await self.browser.get(gone.headers["location"])

    @property
    def request(self) -> str:
        """The name of the form on the page."""
        found = re.search(r'name="request" value="([^"]+)"', self.page.text)
        assert found, self.page.text
        return found[1]

    @property
    def offered(self) -> list[str]:
        """What one can choose on the page, by id."""
        return re.findall(r'id="((?:country|account|level)-[^"]+)"', self.page.text)

    async def takes(self, country: str) -> None:
        self.page = await self.browser.get("/login", params={"request": self.request, "country": country})

    async def sends(self, **form: str) -> httpx2.Response:
        return await self.browser.post("/choose", data={"request": self.request, **form})

    async def is_known_as(self, **form: str) -> Evidence:
        """What her answer proves to the broker."""
        answer = await self.sends(**form)
        members = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', answer.text))
        return await self.node.resume(self._state, members)


@pytest_asyncio.fixture
async def traveller() -> AsyncIterator[Traveller]:
    node = Provider("eidas", EIDAS_ON_CURVES, ec_pair(), signer=ec_pair(9), receiving_country="SE")
    transport = httpx2.ASGITransport(app=create_app(node.simulator, EUROPEANS))
    async with httpx2.AsyncClient(transport=transport, base_url=NODE) as browser:
        yield Traveller(node, browser)


async def test_the_country_comes_first(traveller: Traveller) -> None:
    """Nobody is named before it is known whose eID she has; then it is the people of that country."""
    await traveller.comes()
    assert traveller.offered == ["country-BG", "country-DE", "country-EL"]
    await traveller.takes("DE")
    assert traveller.offered == ["level-1", "level-2", "level-3", "account-kaethe", "account-lena"]


@pytest.mark.parametrize("country", ["", "SE", "el", "<b>"])
async def test_a_country_that_is_not_connected(traveller: Traveller, country: str) -> None:
    """She is asked again."""
    await traveller.comes()
    await traveller.takes(country)
    assert traveller.offered == ["country-BG", "country-DE", "country-EL"]


@pytest.mark.parametrize(
    ("country", "account", "names"),
    [
        ("EL", "eleni", ("Eleni", "Onasi")),
        ("BG", "darina", ("Darina", "Petrova")),
        ("DE", "kaethe", ("Käthe", "Weiß")),
    ],
)
async def test_whose_she_is(traveller: Traveller, country: str, account: str, names: tuple[str, str]) -> None:
    """Known by an identifier of her own country for ours, and by names in Latin letters, whatever she writes herself."""
    await traveller.comes()
    await traveller.takes(country)
    evidence = await traveller.is_known_as(account=account)
    assert evidence.subject.startswith(f"{country}/SE/")
    assert (evidence.given_name, evidence.family_name) == names


async def test_how_strongly(traveller: Traveller) -> None:
    """The least level that would do, unless she takes a higher one."""
    await traveller.comes(Assurance.SUBSTANTIAL)
    await traveller.takes("EL")
    assert traveller.offered == ["level-1", "level-2", "account-eleni"]
    assert (await traveller.is_known_as(account="eleni")).assurance is Assurance.SUBSTANTIAL
    await traveller.comes(Assurance.SUBSTANTIAL)
    await traveller.takes("EL")
    high = "http://eidas.europa.eu/LoA/high"
    assert (await traveller.is_known_as(account="eleni", level=high)).assurance is Assurance.HIGH


async def test_a_level_that_would_not_do(traveller: Traveller) -> None:
    """The page of the node keeps her, and nothing is answered."""
    await traveller.comes(Assurance.SUBSTANTIAL)
    await traveller.takes("EL")
    refused = await traveller.sends(account="eleni", level="http://eidas.europa.eu/LoA/low")
    assert (refused.status_code, traveller.node.simulator.calls["answer"]) == (400, 0)


async def test_a_form_is_sent_once(traveller: Traveller) -> None:
    """Whoever goes back behind an answer reads that it was given; so does whoever makes a form up."""
    await traveller.comes()
    await traveller.takes("EL")
    assert (await traveller.sends(account="eleni")).status_code == 200
    assert (await traveller.sends(account="eleni")).status_code == 400
    for request in ("", "made-up"):
        assert (await traveller.browser.get("/login", params={"request": request})).status_code == 400
        assert (await traveller.browser.post("/choose", data={"request": request})).status_code == 400


async def test_a_no_is_a_no_on_either_page(traveller: Traveller) -> None:
    """Before the country and after it."""
    await traveller.comes()
    with pytest.raises(Stopped):
        await traveller.is_known_as(cancel="1")
    await traveller.comes()
    await traveller.takes("BG")
    with pytest.raises(Stopped):
        await traveller.is_known_as(cancel="1")


@pytest.mark.parametrize("asked_for", [(), ("Gender", "CurrentAddress")])
async def test_what_nobody_asked_for(traveller: Traveller, asked_for: tuple[str, ...]) -> None:
    """Beside the minimum data set a node tells what the request names, and nothing else; names in both scripts."""
    traveller.node.connector = traveller.node.connect(attributes=list(asked_for))
    traveller.node.simulator.switch(Fault.NOT_ENCRYPTED)
    await traveller.comes()
    await traveller.takes("EL")
    answer = await traveller.sends(account="eleni")
    (document,) = re.findall(r'name="SAMLResponse" value="([^"]+)"', answer.text)
    told = unescape(base64.b64decode(document).decode())
    assert [each for each in ("Gender", "CurrentAddress") if f"/{each}" in told] == list(asked_for)
    for name in ("Ελένη", "Eleni", "Ωνάση", "Onasi"):
        assert f">{name}<" in told
