"""BankID on the phone, against the simulator: what confirms a caller, and what does not."""

import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from broker.demo.providers.bankid import BankIdSimulator
from broker.demo.providers.bankid.control import Script, fault, too_many_requests
from broker.errors import BadAsk, StafettError, Stopped, UpstreamDown, UpstreamRefused
from broker.upstream.bankid import BankIdConnector, Message
from broker.upstream.port import Call, CallConnector, Done, Ringing
from tests.demo.bankid_server import BankIdServer, HandClock, bankid_server
from tests.upstream.test_bankid import build

ANDERS = "195704289999"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BankIdServer]:
    with bankid_server(tmp_path_factory.mktemp("bankid-phone")) as running:
        yield running


@pytest.fixture
def simulator(server: BankIdServer) -> BankIdSimulator:
    server.simulator.control.reset()
    return server.simulator


@pytest.fixture
async def connector(server: BankIdServer, simulator: BankIdSimulator) -> AsyncIterator[BankIdConnector]:
    built = build(server)
    yield built
    await built.close()


@pytest.fixture
def app(simulator: BankIdSimulator) -> TestClient:
    return TestClient(simulator.app_page, follow_redirects=True)


class Agent:
    """Asks, and looks how it goes."""

    def __init__(self, connector: BankIdConnector, clock: HandClock) -> None:
        self.connector = connector
        self.clock = clock
        self.state = b""

    async def call(self, number: str = ANDERS, **changed: Any) -> "Agent":
        given: dict[str, Any] = {
            "party": "Däckfirman",
            "language": "sv",
            "incoming": True,
            "binding": "case-1",
            "now": self.clock(),
            **changed,
        }
        self.state = await self.connector.begin_call(Call(identifier=number, **given))
        return self

    async def look(self, seconds: float = 2) -> Done | Message:
        seen = await self.connector.look_at_call(self.state, self.clock.advance(seconds))
        if isinstance(seen, Ringing):
            self.state = seen.state
            return Message(seen.message_key)
        return seen


@pytest.fixture
async def agent(connector: BankIdConnector, server: BankIdServer, app: TestClient) -> Agent:
    server.clock.advance(600)  # nothing of an earlier test runs on
    return Agent(connector, server.clock)


def waiting(app: TestClient) -> str:
    """The reference of the order the phone shows."""
    return app.get("/").text.partition('name="order" value="')[2].partition('"')[0]


def opened(app: TestClient) -> str:
    """The app's page of the order, opened."""
    return str(app.post("/calls", data={"order": waiting(app)}).url.path)


async def test_a_caller_confirms_who_she_is(agent: Agent, app: TestClient) -> None:
    """The app names the party, asks about the call, and then for the security code."""
    assert isinstance(agent.connector, CallConnector)
    await agent.call()
    assert await agent.look() is Message.OPEN_APP
    page = opened(app)
    assert await agent.look() is Message.CONFIRM_CALL
    shown = app.get(page).text
    assert "Däckfirman" in shown
    assert "Testbolaget" in shown
    app.post(f"{page}/call", data={"answer": "yes"})
    assert await agent.look() is Message.CONFIRM
    app.post(f"{page}/approve")
    done = await agent.look()
    assert isinstance(done, Done)
    assert (done.evidence.subject, done.evidence.name) == (ANDERS, "Anders Lindqvist")
    assert "bankid.phone" in done.evidence.signals
    assert done.evidence.proof is not None


async def test_nobody_is_asked_twice_in_two_seconds(agent: Agent, simulator: BankIdSimulator) -> None:
    """However often the agent's page looks."""
    await agent.call()
    simulator.control.fail_next("collect", fault(500, "internalError"))
    assert await agent.look(1) is Message.OPEN_APP
    assert simulator.control.next_fault("collect") is not None


async def test_who_says_no_is_talking_to_somebody_else(agent: Agent, app: TestClient) -> None:
    """A refusal with a word of its own: the agent, or whoever passes for one, is not who she thinks."""
    await agent.call()
    app.post(f"{opened(app)}/call", data={"answer": "no"})
    with pytest.raises(UpstreamRefused) as refused:
        await agent.look()
    assert refused.value.code == "bankid.user_declined_call"


async def test_an_order_of_a_call_cannot_be_taken_by_somebody_else(agent: Agent, app: TestClient) -> None:
    """It is bound to the person, and no QR code or link leads to it."""
    await agent.call()
    page = opened(app)
    assert app.post(f"{page}/person", data={"person": "elsa"}).status_code == 400
    assert app.post(f"{page}/approve").status_code == 400
    assert await agent.look() is Message.CONFIRM_CALL


async def test_who_cancels_in_the_app(agent: Agent, app: TestClient) -> None:
    """Stopped, and nothing more."""
    await agent.call()
    page = opened(app)
    app.post(f"{page}/call", data={"answer": "yes"})
    app.post(f"{page}/decline")
    with pytest.raises(Stopped):
        await agent.look()


async def test_nobody_opens_the_app(agent: Agent) -> None:
    """Thirty seconds, then it is over; the agent may ask once more."""
    await agent.call()
    with pytest.raises(UpstreamRefused) as refused:
        await agent.look(31)
    assert refused.value.message_key == Message.NO_CONTACT


async def test_hanging_up_takes_the_order_off_the_phone(agent: Agent, app: TestClient) -> None:
    """And twice is harmless."""
    await agent.call()
    await agent.connector.hang_up(agent.state)
    await agent.connector.hang_up(agent.state)
    assert waiting(app) == ""


async def test_two_orders_for_one_person(agent: Agent, app: TestClient) -> None:
    """Perhaps somebody else has her start a login right now: both end, and nobody tries again by itself."""
    await agent.call()
    with pytest.raises(UpstreamRefused) as refused:
        await agent.call()
    assert refused.value.code == "bankid.already_in_progress"
    with pytest.raises(UpstreamRefused):
        await agent.look()


@pytest.mark.parametrize("number", ["", "5704289999", "195704289998", "19570428-9999", "abcdefghijkl", "299904289996"])
async def test_what_is_no_personal_number(agent: Agent, number: str, app: TestClient) -> None:
    """Refused here, before BankID hears anything; the text does not repeat it."""
    with pytest.raises(BadAsk) as refused:
        await agent.call(number)
    assert not number or number not in str(refused.value)
    assert waiting(app) == ""


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (fault(401, "unauthorized"), UpstreamDown),
        (fault(503, "maintenance"), UpstreamDown),
        (too_many_requests(), UpstreamDown),
        (fault(400, "invalidParameters"), UpstreamRefused),
        (fault(400, "somethingNew"), UpstreamRefused),
    ],
)
async def test_bankid_says_no(agent: Agent, simulator: BankIdSimulator, answer: Any, error: type[StafettError]) -> None:
    """Each as what it is."""
    simulator.control.fail_next("phone/auth", answer)
    with pytest.raises(error):
        await agent.call()


async def test_a_hiccup_is_survived_and_an_illness_told(agent: Agent, simulator: BankIdSimulator) -> None:
    """Two collects that fail on the way are repeated; the third is enough."""
    await agent.call()
    ill = fault(500, "internalError")
    simulator.control.fail_next("collect", ill, ill)
    assert [await agent.look(), await agent.look(), await agent.look()] == [Message.OPEN_APP] * 3
    simulator.control.fail_next("collect", ill, ill, ill)
    assert [await agent.look(), await agent.look()] == [Message.OPEN_APP] * 2
    with pytest.raises(UpstreamDown):
        await agent.look()


async def test_blocked_by_bankid(agent: Agent, simulator: BankIdSimulator, app: TestClient) -> None:
    """A blocked BankID confirms nobody."""
    simulator.control.script("anders", Script(failure="certificateErr"))
    await agent.call()
    page = opened(app)
    app.post(f"{page}/call", data={"answer": "yes"})
    app.post(f"{page}/approve")
    with pytest.raises(UpstreamRefused) as refused:
        await agent.look()
    assert refused.value.code == "bankid.certificate_err"


@pytest.mark.parametrize(
    "body",
    [
        {"personalNumber": ANDERS},
        {"callInitiator": "user"},
        {"personalNumber": ANDERS, "callInitiator": "rp"},
        {"personalNumber": "9999", "callInitiator": "RP"},
        {"personalNumber": ANDERS, "callInitiator": "RP", "endUserIp": "198.51.100.2"},
        {"personalNumber": ANDERS, "callInitiator": "RP", "returnUrl": None},
        {"personalNumber": ANDERS, "callInitiator": "RP", "userVisibleData": "%%"},
        {"personalNumber": ANDERS, "callInitiator": "RP", "userVisibleData": base64.b64encode(b"x" * 1200).decode()},
    ],
)
def test_the_simulator_refuses_what_the_real_one_would(simulator: BankIdSimulator, body: dict[str, Any]) -> None:
    """So no connector relies on it."""
    api = TestClient(simulator.rp_api)
    answer = api.post("/rp/v6.0/phone/auth", json=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "invalidParameters")
