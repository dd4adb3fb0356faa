"""The BankID connector against the simulator, over real TLS. The clock is turned by hand; nobody sleeps."""

import base64
import json
import logging
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from broker.core.assurance import Assurance
from broker.core.identity import Evidence
from broker.demo.providers.bankid import AppRefusal, BankIdSimulator, Script
from broker.demo.providers.bankid.control import Fault, answer, fault, too_many_requests
from broker.errors import ConfigError, Stopped, UpstreamDown, UpstreamRefused
from broker.observe.telemetry import Call
from broker.upstream.bankid import (
    BankIdConnect,
    BankIdConnector,
    Message,
    app_return_url,
    bankid_connector,
    qr_text,
    visible_text,
)
from broker.upstream.port import Done, Poll, Reply, ReplyKind, UpstreamAsk, WaitingConnector
from broker.wire.bankid_api import BankIdApi, client_tls, is_public_test_certificate
from tests.changing import replace
from tests.demo.bankid_server import BankIdServer, HandClock, bankid_server
from tests.stage import Answer, Browser, open_stage
from tests.upstream.cases import Case, Play, Said, Sent

BROWSER_IP = "192.0.2.10"
DESKTOP = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Safari/604.1"
RETURN_URL = "https://login.example/j/journey-1/return"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BankIdServer]:
    with bankid_server(tmp_path_factory.mktemp("bankid")) as running:
        yield running


@pytest.fixture
def clock(server: BankIdServer) -> HandClock:
    return server.clock


@pytest.fixture
def simulator(server: BankIdServer) -> BankIdSimulator:
    server.simulator.control.reset()
    return server.simulator


def block(server: BankIdServer, **members: Any) -> BankIdConnect:
    files = server.certificates
    given = {
        "api_url": server.url,
        "client_certificate": f"file:{files.rp_cert}",
        "client_key": f"file:{files.rp_key}",
        "ca": f"file:{files.ca_cert}",
    }
    return BankIdConnect.model_validate(given | members)


def build(server: BankIdServer, **members: Any) -> BankIdConnector:
    connect = block(server, **members)
    tls = client_tls(
        certificate=server.certificates.rp_cert,
        key=server.certificates.rp_key,
        ca=server.certificates.ca_cert,
    )
    api = BankIdApi(server.url, tls, timeout_s=connect.timeout.total_seconds())
    return BankIdConnector("bankid", connect, api, monotonic=lambda: 0.0)


@pytest.fixture
async def connector(server: BankIdServer, simulator: BankIdSimulator) -> AsyncIterator[BankIdConnector]:
    built = build(server)
    yield built
    await built.close()


class Customer:
    """One browser and one phone: drives the connector as the flow would, and the simulated app."""

    def __init__(self, connector: BankIdConnector, simulator: BankIdSimulator, clock: HandClock) -> None:
        self.connector = connector
        self.simulator = simulator
        self.clock = clock
        self.state = b""
        self.poll = Poll("", "")

    async def begin(self, **members: Any) -> "Customer":
        ask = UpstreamAsk(
            callback_url="https://login.example/up/bankid/callback",
            return_url=RETURN_URL,
            state="s" * 43,
            language="sv",
            partner_name="Däckfirman",
            broker_name="Stafett",
            minimum=Assurance.CONTACT,
            end_user_ip=BROWSER_IP,
            user_agent=DESKTOP,
            mobile=False,
            now=self.clock(),
        )
        begun = await self.connector.begin(replace(ask, **members))
        assert isinstance(begun.prompt, Poll)
        self.state, self.poll = begun.state, begun.prompt
        return self

    async def send(
        self, kind: ReplyKind, data: Mapping[str, str] | None = None, ip: str = BROWSER_IP
    ) -> Evidence | None:
        result = await self.connector.resume(self.state, Reply(kind, data or {}, self.clock(), ip))
        if isinstance(result, Done):
            return result.evidence
        assert isinstance(result.prompt, Poll)
        self.state, self.poll = result.state, result.prompt
        return None

    async def press(self, button: str) -> "Customer":
        assert await self.send(ReplyKind.ACT, {"do": button}) is None
        return self

    async def wait(self, seconds: float = 2) -> Evidence | None:
        self.clock.advance(seconds)
        return await self.send(ReplyKind.POLL)

    async def come_back(self, nonce: str | None = None, ip: str = BROWSER_IP) -> Evidence | None:
        return await self.send(ReplyKind.RETURN, {"n": self.nonce() if nonce is None else nonce}, ip)

    def nonce(self) -> str:
        """As the app would: from the address the order came with."""
        order = self.order()
        assert order.request.return_url is not None
        return parse_qs(urlsplit(order.request.return_url).query)["n"][0]

    def order(self) -> Any:
        reference = json.loads(self.state)["step"]["order_ref"]
        return self.simulator.orders._orders[reference]

    def launch(self) -> str:
        """Tap the link; returns the app's handle."""
        assert self.poll.launch_url is not None
        token = parse_qs(urlsplit(self.poll.launch_url).query)["autostarttoken"][0]
        return str(self.simulator.orders.open_by_autostart(token, app_ip=BROWSER_IP).handle)

    def scan(self, ip: str = "203.0.113.80") -> str:
        """Hold the phone to the screen; returns the app's handle."""
        now = self.connector.view(self.state, self.clock())
        assert now.qr_text is not None
        return self.simulator.orders.open_by_qr(now.qr_text, app_ip=ip).handle

    def approve(self, handle: str, person: str = "anders", script: Script | None = None) -> None:
        self.simulator.orders.choose(handle, person, script)
        self.simulator.orders.approve(handle)


@pytest.fixture
def customer(connector: BankIdConnector, simulator: BankIdSimulator, clock: HandClock) -> Customer:
    return Customer(connector, simulator, clock)


class BankIdPlay(Play):
    """
    The simulated BankID in a whole broker: on the same device, whose app leads back to our page.

    What proves is BankID's own answer to us; the nonce in the app's way back proves that this device is the one.
    """

    proof = "n"
    bound = None
    late_s = 200.0
    server: BankIdServer
    calls: list[str]

    async def answered(self, browser: Browser, gone: Answer, said: Said = Said.YES) -> Sent | None:
        page = await browser.follow(await browser.press("device-same"))
        if self.offers(page):
            return None
        token = parse_qs(urlsplit(launch_url(page.text)).query)["autostarttoken"][0]
        orders = self.server.simulator.orders
        order = orders.open_by_autostart(token, app_ip="127.0.0.1")
        if said is Said.NO:
            orders.decline(order.handle)
        else:
            failure = "certificateErr" if said is Said.REFUSED else None
            orders.choose(order.handle, "anders", Script(failure=failure) if failure else None)
            orders.approve(order.handle)
        url, _, query = str(order.request.return_url).partition("?")
        return Sent("GET", url, {name: values[0] for name, values in parse_qs(query).items()})

    async def send(self, browser: Browser, sent: Sent) -> Answer:
        """The app leads back; then her page asks how it goes until it is over."""
        answer = await super().send(browser, sent)
        for _ in range(8):
            if "wait" not in answer.ids:
                return answer
            if "retry" in answer.ids and 'data-phase="failed"' in answer.text:
                return await browser.follow(await browser.press("cancel"))
            self.forward(2)
            answer = await browser.follow(await browser.get(answer.url))
        return answer

    def misdirected(self, sent: Sent) -> Sent:
        """The way back to another journey."""
        journey = sent.url.split("/")[-2]
        return replace(sent, url=sent.url.replace(journey, journey[::-1]))

    def forward(self, seconds: float) -> None:
        super().forward(seconds)
        self.server.clock.advance(seconds)

    def lie(self, lie: str) -> None:
        changes = {"person": {"user": {}}, "signature": {"signature": ""}, "ocsp": {"ocspResponse": None}}
        if lie in changes:
            self.server.simulator.control.script("anders", Script(changes=changes[lie]))
        else:
            other = {"orderRef": "11111111-2222-3333-4444-555555555555", "status": "complete"}
            self.server.simulator.control.fail_next("collect", *(answer(other) for _ in range(8)))

    def fail(self) -> None:
        trouble = fault(503, "maintenance")
        for endpoint in ("auth", "collect", "cancel"):
            self.server.simulator.control.fail_next(endpoint, *(trouble for _ in range(20)))

    def stall(self) -> None:
        self.server.simulator.control.fail_next("collect", *(Fault(silent=True) for _ in range(8)))

    def heal(self) -> None:
        self.server.simulator.control.reset()

    def asked(self) -> int:
        return len(self.calls)


def launch_url(html: str) -> str:
    """Where the waiting page's link opens the app."""
    found = re.search(r'id="launch"[^>]* href="([^"]+)"', html)
    assert found, html
    return unescape(found[1])


@asynccontextmanager
async def play_bankid(folder: Path) -> AsyncIterator[Play]:
    with bankid_server(folder / "bankid") as server:
        files = server.certificates
        tls = client_tls(certificate=files.rp_cert, key=files.rp_key, ca=files.ca_cert)
        calls: list[str] = []

        def watch(operation: str, parts: Sequence[str] = ()) -> Call:
            calls.append(operation)
            return Call()

        api = BankIdApi(server.url, tls, timeout_s=1.5, watch=watch)
        connector = BankIdConnector("bankid", block(server), api)
        async with open_stage(folder, cast=lambda clock: {"bankid": connector}) as stage:
            play = BankIdPlay(stage, "bankid", connector, spare="google")
            play.server, play.calls = server, calls
            yield play
        await connector.close()


def cases() -> list[Case]:
    """For the contract suite."""
    return [Case("bankid", play_bankid, ("person", "signature", "ocsp", "order"))]


class TestChoosing:
    async def test_no_order_before_the_choice(self, customer: Customer) -> None:
        """The first page asks where the app is; BankID hears nothing yet."""
        await customer.begin()
        assert customer.poll.phase == "choose_device"
        assert customer.poll.message_key == Message.WHERE_COMPUTER
        assert customer.poll.actions == ("other", "same", "cancel")
        assert await customer.wait(100) is None
        assert customer.poll.phase == "choose_device"

    async def test_phones_are_offered_their_own_app_first(self, customer: Customer) -> None:
        """Same-device start is preferred on phones and tablets."""
        await customer.begin(mobile=True)
        assert customer.poll.message_key == Message.WHERE_PHONE
        assert customer.poll.actions == ("same", "other", "cancel")

    async def test_one_order_never_shows_both_ways(self, customer: Customer) -> None:
        """Launch link and QR code belong to different orders, and neither page nor state holds the other's tokens."""
        await (await customer.begin()).press("same")
        assert customer.poll.phase == "launch"
        assert customer.poll.qr_text is None
        first = customer.order()
        assert first.qr_start_secret not in customer.state.decode()
        await customer.press("other")
        assert customer.poll.phase == "qr"
        assert customer.poll.launch_url is None
        second = customer.order()
        assert second.order_ref != first.order_ref
        assert second.auto_start_token not in customer.state.decode()
        assert first.hint == "cancelled"

    async def test_the_secret_of_the_code_never_reaches_the_page(self, customer: Customer) -> None:
        """What the page gets holds neither the QR secret nor the order's reference."""
        await (await customer.begin()).press("other")
        order = customer.order()
        shown = repr(customer.poll) + repr(customer.connector.view(customer.state, customer.clock()))
        assert order.qr_start_secret not in shown
        assert order.order_ref not in shown

    async def test_pressing_twice_opens_one_order(self, customer: Customer) -> None:
        """A double click does not replace the running order."""
        await (await customer.begin()).press("other")
        first = customer.order().order_ref
        await customer.press("other")
        assert customer.order().order_ref == first

    async def test_an_unknown_button_changes_nothing(self, customer: Customer) -> None:
        """Tampered forms are answered with the page as it is."""
        await customer.begin()
        before = customer.state
        for button in ("", "approve", "retry", "SAME"):
            await customer.press(button)
        assert customer.state == before


class TestOrder:
    async def test_bankid_is_told_who_asks_and_why(self, customer: Customer) -> None:
        """Intent and party in the customer's language, the browser's facts, returnRisk, and no requirement."""
        await (await customer.begin(device_id="d" * 64)).press("same")
        request = customer.order().request
        shown = base64.b64decode(request.user_visible_data).decode()
        assert shown.startswith("Logga in på Däckfirman via Stafett.")
        assert request.user_visible_data_format is None
        assert request.return_risk is True
        assert request.requirement is None
        assert request.end_user_ip == BROWSER_IP
        assert (request.web.referring_domain, request.web.user_agent) == ("login.example", DESKTOP)
        assert request.web.device_identifier == "d" * 64

    async def test_the_proof_is_bound_to_this_login(self, customer: Customer) -> None:
        """userNonVisibleData differs per login and does not reveal the state value."""
        await (await customer.begin(state="a" * 43)).press("other")
        one = base64.b64decode(customer.order().request.user_non_visible_data)
        await (await customer.begin(state="b" * 43)).press("other")
        two = base64.b64decode(customer.order().request.user_non_visible_data)
        assert one != two
        assert b"aaaa" not in one

    async def test_long_values_are_cut_to_what_bankid_takes(self, customer: Customer) -> None:
        """Neither a long user agent nor long names make BankID refuse the order."""
        members = {
            "user_agent": "x" * 900,
            "device_id": "d" * 200,
            "partner_name": "😀" * 500,
            "broker_name": "Ж" * 500,
        }
        await (await customer.begin(**members)).press("same")
        assert customer.poll.phase == "launch"

    async def test_a_missing_user_agent_is_left_out(self, customer: Customer) -> None:
        """An empty string would be refused."""
        await (await customer.begin(user_agent="")).press("other")
        assert customer.order().request.web.user_agent is None

    async def test_a_qr_order_has_no_return_address(self, customer: Customer) -> None:
        """The phone that scans has nowhere to return to."""
        await (await customer.begin()).press("other")
        assert customer.order().request.return_url is None

    @pytest.mark.parametrize(
        ("mobile", "user_agent", "start", "redirect"),
        [
            (False, DESKTOP, "bankid:///?", "null"),
            (True, "Mozilla/5.0 (Linux; Android 16)", "https://app.bankid.com/?", "null"),
            (True, IPHONE, "https://app.bankid.com/?", RETURN_URL),
        ],
        ids=["desktop", "android", "ios"],
    )
    async def test_launch_links(
        self, customer: Customer, mobile: bool, user_agent: str, start: str, redirect: str
    ) -> None:
        """Each platform its own link; `redirect` only where old apps heed it."""
        await (await customer.begin(mobile=mobile, user_agent=user_agent)).press("same")
        assert customer.poll.launch_url is not None
        assert customer.poll.launch_url.startswith(start)
        query = parse_qs(urlsplit(customer.poll.launch_url).query)
        assert query["redirect"][0].startswith(redirect)

    async def test_the_nonce_is_new_in_every_order(self, customer: Customer) -> None:
        """Whoever learns the nonce of an order he opened himself cannot finish another one with it."""
        await (await customer.begin()).press("same")
        first = customer.nonce()
        customer.clock.advance(30)
        await customer.send(ReplyKind.POLL)
        assert customer.poll.phase == "launch"
        assert customer.nonce() != first


class TestQr:
    def test_vector(self) -> None:
        """The published example: token, secret and the first three codes."""
        token, secret = "67df3917-fa0d-44e5-b327-edcc928297f8", "d28db9a7-4cde-429e-a983-359be676944c"
        codes = [
            "dc69358e712458a66a7525beef148ae8526b1c71610eff2c16cdffb4cdac9bf8",
            "949d559bf23403952a94d103e67743126381eda00f0b3cbddbf7c96b1adcbce2",
            "a9e5ec59cb4eee4ef4117150abc58fad7a85439a6a96ccbecc3668b41795b3f3",
        ]
        for seconds, code in enumerate(codes):
            assert qr_text(token, secret, seconds) == f"bankid.{token}.{seconds}.{code}"

    async def test_the_code_changes_every_second(self, customer: Customer) -> None:
        """`view` needs no call to BankID and shows the second that has passed."""
        await (await customer.begin()).press("other")
        seen = []
        for _ in range(4):
            page = customer.connector.view(customer.state, customer.clock())
            assert page.qr_text is not None
            seen.append(page.qr_text.split(".")[2])
            customer.clock.advance(1)
        assert seen == ["0", "1", "2", "3"]

    async def test_the_time_an_answer_takes_is_not_counted(
        self, server: BankIdServer, simulator: BankIdSimulator, clock: HandClock
    ) -> None:
        """The code's seconds count from the arrival of the answer, not from the request."""
        ticks = iter([10.0, 13.0])
        slow = build(server)
        slow._monotonic = lambda: next(ticks)
        customer = Customer(slow, simulator, clock)
        await (await customer.begin()).press("other")
        clock.advance(4)
        page = slow.view(customer.state, clock())
        assert page.qr_text is not None
        assert page.qr_text.split(".")[2] == "1"
        await slow.close()

    async def test_an_old_code_opens_nothing(self, customer: Customer) -> None:
        """A photographed code is refused by the app, and the login goes on waiting."""
        await (await customer.begin()).press("other")
        old = customer.connector.view(customer.state, customer.clock()).qr_text
        assert old is not None
        customer.clock.advance(6)
        with pytest.raises(AppRefusal):
            customer.simulator.orders.open_by_qr(old)
        await customer.send(ReplyKind.POLL)
        assert customer.poll.phase == "qr"

    async def test_completes_by_polling(self, customer: Customer) -> None:
        """Scan, approve, next poll: done."""
        await (await customer.begin()).press("other")
        handle = customer.scan()
        assert await customer.wait() is None
        assert (customer.poll.phase, customer.poll.message_key) == ("working", Message.SEARCHING_OTHER)
        customer.simulator.orders.choose(handle, "elsa")
        assert await customer.wait() is None
        assert customer.poll.message_key == Message.CONFIRM
        customer.simulator.orders.approve(handle)
        evidence = await customer.wait()
        assert evidence is not None
        assert evidence.given_name == "Elsa"
        assert evidence.signals == ("bankid.ip_differs",)

    async def test_a_return_is_refused(self, customer: Customer) -> None:
        """No order of the QR way is finished by a return."""
        await (await customer.begin()).press("other")
        for nonce in ("", "x", "null"):
            with pytest.raises(UpstreamRefused) as refusal:
                await customer.come_back(nonce)
            assert refusal.value.code == "bankid.return_nonce"


class TestSameDevice:
    async def test_completes_when_the_browser_comes_back(self, customer: Customer) -> None:
        """The straight way: launch, approve, return with the nonce."""
        await (await customer.begin()).press("same")
        customer.approve(customer.launch())
        customer.clock.advance(8)
        evidence = await customer.come_back()
        assert evidence is not None
        assert evidence.signals == ()

    async def test_polling_alone_never_completes(self, customer: Customer) -> None:
        """Session fixation: the one who relays the launch link and polls gets nothing, however long he polls."""
        await (await customer.begin()).press("same")
        customer.approve(customer.launch())
        for _ in range(50):
            assert await customer.wait() is None
        assert (customer.poll.phase, customer.poll.message_key) == ("working", Message.COME_BACK)

    @pytest.mark.parametrize("nonce", ["", "wrong", "null", "ü" * 43], ids=["missing", "wrong", "null", "not ascii"])
    @pytest.mark.parametrize("polled", [False, True], ids=["unseen", "seen"])
    async def test_a_wrong_nonce_is_refused(self, customer: Customer, nonce: str, polled: bool) -> None:
        """A return without the order's own nonce completes nothing, also when the answer is already known."""
        await (await customer.begin()).press("same")
        customer.approve(customer.launch())
        if polled:
            await customer.wait()
        with pytest.raises(UpstreamRefused) as refusal:
            await customer.come_back(nonce)
        assert refusal.value.code == "bankid.return_nonce"
        assert refusal.value.message_key == Message.WRONG_RETURN

    async def test_the_nonce_of_a_replaced_order_is_refused(self, customer: Customer) -> None:
        """Foreign returnUrl: what the first order's app learned does not finish the second."""
        await (await customer.begin()).press("same")
        old = customer.nonce()
        await customer.press("other")
        await customer.press("same")
        customer.approve(customer.launch())
        with pytest.raises(UpstreamRefused):
            await customer.come_back(old)

    async def test_the_first_sight_of_the_answer_is_kept(self, customer: Customer) -> None:
        """BankID answers once; the answer seen by a poll waits in the state until the browser is back."""
        await (await customer.begin()).press("same")
        customer.approve(customer.launch())
        reference = customer.order().order_ref
        nonce = customer.nonce()
        await customer.wait()
        assert reference not in customer.simulator.orders._orders
        seen_at = customer.clock()
        assert not customer.connector.is_due(customer.state, customer.clock.advance(60))
        evidence = await customer.come_back(nonce)
        assert evidence is not None
        assert evidence.authenticated_at == seen_at

    async def test_a_return_before_the_answer_is_remembered(self, customer: Customer) -> None:
        """The browser may be back while BankID is still processing; then polling completes."""
        await (await customer.begin()).press("same")
        customer.approve(customer.launch(), script=Script(settling=2))
        customer.clock.advance(5)
        assert await customer.come_back() is None
        assert customer.poll.message_key == Message.WORKING
        assert await customer.wait() is None
        assert await customer.wait() is not None

    async def test_a_quick_return_does_not_ask_too_often(self, customer: Customer) -> None:
        """Back within two seconds of the last question: the next poll asks."""
        await (await customer.begin()).press("same")
        customer.approve(customer.launch())
        customer.clock.advance(1)
        assert await customer.come_back() is None
        assert await customer.wait(1) is not None

    async def test_declined_in_the_app(self, customer: Customer) -> None:
        """The customer said no; the app sends the browser back all the same."""
        await (await customer.begin()).press("same")
        nonce = customer.nonce()
        customer.simulator.orders.decline(customer.launch())
        customer.clock.advance(5)
        with pytest.raises(Stopped) as stopped:
            await customer.come_back(nonce)
        assert stopped.value.code == "bankid.user_cancel"

    async def test_a_return_after_the_end_shows_how_it_ended(self, customer: Customer) -> None:
        """A late tab finds the page that offers a new try, not an error."""
        await (await customer.begin()).press("same")
        nonce = customer.nonce()
        customer.launch()
        await customer.wait(185)
        assert customer.poll.phase == "failed"
        assert await customer.come_back(nonce) is None
        assert customer.poll.phase == "failed"

    @pytest.mark.parametrize(
        ("user_agent", "address"),
        [
            (DESKTOP, f"{RETURN_URL}?n=N"),
            (IPHONE, f"{RETURN_URL}?n=N"),
            (IPHONE + " CriOS/140.0", "googlechromes://login.example/j/journey-1/return?n=N"),
            (IPHONE + " OPT/5.1", "touch-https://login.example/j/journey-1/return?n=N"),
            (
                IPHONE + " FxiOS/140.0",
                "firefox://open-url?url=https%3A%2F%2Flogin.example%2Fj%2Fjourney-1%2Freturn%3Fn%3DN",
            ),
            (DESKTOP + " CriOS/140.0", f"{RETURN_URL}?n=N"),
        ],
    )
    def test_the_app_opens_the_browser_the_customer_came_from(self, user_agent: str, address: str) -> None:
        """On iOS the default browser lacks our cookie when another one was used."""
        assert app_return_url(RETURN_URL, "N", user_agent) == address


class TestEvidence:
    async def test_everything_that_is_proven(self, customer: Customer) -> None:
        """Names, number, birthdate, assurance, methods, time and the signed proof."""
        await (await customer.begin()).press("same")
        customer.approve(customer.launch())
        customer.clock.advance(3)
        evidence = await customer.come_back()
        assert evidence is not None
        assert evidence.subject == evidence.personal_number == "195704289999"
        assert (evidence.name, evidence.given_name, evidence.family_name) == ("Anders Lindqvist", "Anders", "Lindqvist")
        assert str(evidence.birthdate) == "1957-04-28"
        assert evidence.assurance is Assurance.SUBSTANTIAL
        assert evidence.amr == ("bankid", "mfa")
        assert evidence.authenticated_at == customer.clock()
        assert (evidence.upstream, evidence.issuer) == ("bankid", "https://www.bankid.com")
        assert evidence.proof is not None
        proof = json.loads(evidence.proof)
        assert set(proof) == {"format", "shown", "signature", "ocsp_response"}
        signed = base64.b64decode(proof["signature"]).decode()
        assert base64.b64encode(proof["shown"].encode()).decode() in signed
        base64.b64decode(proof["ocsp_response"], validate=True)

    async def test_a_coordination_number_is_marked(self, customer: Customer) -> None:
        """Such a person may get another number later."""
        await (await customer.begin()).press("other")
        customer.approve(customer.scan(), "amina")
        evidence = await customer.wait()
        assert evidence is not None
        assert str(evidence.birthdate) == "1973-06-14"
        assert "bankid.coordination_number" in evidence.signals

    @pytest.mark.parametrize("number", ["197004289895", "20000101T220", "5704289999", "195704289998"])
    async def test_a_number_of_another_form_is_refused(self, customer: Customer, number: str) -> None:
        """What is no valid number logs nobody in, and is not repeated in the error."""
        changed = {"user": {"personalNumber": number, "name": "A B", "givenName": "A", "surname": "B"}}
        await (await customer.begin()).press("other")
        customer.approve(customer.scan(), script=Script(changes=changed))
        with pytest.raises(UpstreamRefused) as refusal:
            await customer.wait()
        assert refusal.value.code == "bankid.personal_number"
        assert number not in str(refusal.value)

    @pytest.mark.parametrize("same", [True, False], ids=["same", "other"])
    async def test_another_address_is_a_signal(self, customer: Customer, same: bool) -> None:
        """With the nonce checked a mismatch is told, not refused; for the QR way it is expected."""
        await (await customer.begin()).press("same" if same else "other")
        handle = customer.launch() if same else customer.scan()
        customer.approve(handle, script=Script(device_ip="203.0.113.200"))
        customer.clock.advance(2)
        evidence = await (customer.come_back() if same else customer.send(ReplyKind.POLL))
        assert evidence is not None
        assert evidence.signals == ("bankid.ip_mismatch" if same else "bankid.ip_differs",)

    async def test_the_same_address_in_another_spelling_is_the_same(self, customer: Customer) -> None:
        """Addresses are compared as numbers."""
        await (await customer.begin(end_user_ip="2001:db8::1")).send(ReplyKind.ACT, {"do": "same"}, ip="2001:db8::1")
        customer.approve(customer.launch(), script=Script(device_ip="2001:0DB8:0:0:0:0:0:1"))
        customer.clock.advance(2)
        evidence = await customer.come_back(ip="2001:db8::1")
        assert evidence is not None
        assert evidence.signals == ()

    async def test_a_browser_that_moved_is_a_signal(self, customer: Customer) -> None:
        """The address at the end differs from the one the order was opened with."""
        await (await customer.begin()).press("same")
        customer.approve(customer.launch())
        customer.clock.advance(2)
        evidence = await customer.come_back(ip="198.51.100.99")
        assert evidence is not None
        assert evidence.signals == ("bankid.browser_ip_changed",)

    @pytest.mark.parametrize("changes", [{"device": None}, {"device": {}}], ids=["no device", "no address"])
    async def test_a_missing_address_is_a_signal(self, customer: Customer, changes: dict[str, Any]) -> None:
        """BankID may leave the device out."""
        await (await customer.begin()).press("other")
        customer.approve(customer.scan(), script=Script(changes=changes))
        evidence = await customer.wait()
        assert evidence is not None
        assert evidence.signals == ("bankid.device_ip_missing",)


class TestRisk:
    @pytest.mark.parametrize("same", [True, False], ids=["same", "other"])
    @pytest.mark.parametrize("risk", ["high", "HIGH"])
    async def test_high_risk_stops(self, customer: Customer, risk: str, same: bool) -> None:
        """High risk is refused at first sight, in any spelling."""
        await (await customer.begin()).press("same" if same else "other")
        customer.approve(customer.launch() if same else customer.scan(), script=Script(risk=risk))
        with pytest.raises(UpstreamRefused) as refusal:
            await customer.wait()
        assert refusal.value.code == "bankid.risk_high"
        assert refusal.value.message_key == Message.RISK

    @pytest.mark.parametrize("risk", ["moderate", "Moderate", "extraordinary"])
    async def test_moderate_and_unknown_risk_pass_with_a_signal(self, customer: Customer, risk: str) -> None:
        """The operator allows moderate risk unless the config says otherwise."""
        await (await customer.begin()).press("other")
        customer.approve(customer.scan(BROWSER_IP), script=Script(risk=risk))
        evidence = await customer.wait()
        assert evidence is not None
        assert evidence.signals == ("bankid.risk_moderate",)

    @pytest.mark.parametrize("risk", ["moderate", "extraordinary"])
    async def test_moderate_risk_can_be_refused(
        self, server: BankIdServer, simulator: BankIdSimulator, clock: HandClock, risk: str
    ) -> None:
        """`moderate_risk: refuse`."""
        strict = build(server, moderate_risk="refuse")
        customer = Customer(strict, simulator, clock)
        await (await customer.begin()).press("other")
        customer.approve(customer.scan(), script=Script(risk=risk))
        with pytest.raises(UpstreamRefused) as refusal:
            await customer.wait()
        assert refusal.value.code == "bankid.risk_moderate"
        await strict.close()

    async def test_missing_risk_is_a_signal(self, customer: Customer) -> None:
        """BankID may leave it out although we asked."""
        await (await customer.begin()).press("other")
        customer.approve(customer.scan(BROWSER_IP), script=Script(risk=None))
        evidence = await customer.wait()
        assert evidence is not None
        assert evidence.signals == ("bankid.risk_missing",)


class TestHints:
    @pytest.mark.parametrize(
        ("hint", "message"),
        [
            ("userSign", Message.CONFIRM),
            ("userMrtd", Message.READ_DOCUMENT),
            ("userCallConfirm", Message.CONFIRM_CALL),
            ("processing", Message.WORKING),
            ("neverHeardOf", Message.WORKING),
            ("started", Message.SEARCHING_OTHER),
        ],
    )
    async def test_pending_hints(self, customer: Customer, hint: str, message: Message) -> None:
        """Each hint its text; an unknown one goes on as pending."""
        await (await customer.begin()).press("other")
        customer.simulator.orders.choose(customer.scan(), "anders", Script(waiting=hint))
        await customer.wait()
        assert (customer.poll.phase, customer.poll.message_key) == ("working", message)
        assert customer.poll.actions == ("cancel",)

    @pytest.mark.parametrize("hint", ["outstandingTransaction", "noClient"])
    async def test_unopened_hints_keep_the_code(self, customer: Customer, hint: str) -> None:
        """The code moves on only while nobody has taken up the order."""
        await (await customer.begin()).press("other")
        lie = {"orderRef": customer.order().order_ref, "status": "pending", "hintCode": hint}
        customer.simulator.control.fail_next("collect", answer(lie))
        await customer.wait()
        assert (customer.poll.phase, customer.poll.message_key) == ("qr", Message.OPEN_APP)

    @pytest.mark.parametrize(
        ("mobile", "message"), [(True, Message.SEARCHING_PHONE), (False, Message.SEARCHING_COMPUTER)]
    )
    async def test_where_the_app_searches(self, customer: Customer, mobile: bool, message: Message) -> None:
        """`started` on the same device: computer or phone."""
        await (await customer.begin(mobile=mobile)).press("same")
        assert customer.poll.message_key == Message.OPENING_APP
        customer.launch()
        await customer.wait()
        assert customer.poll.message_key == message

    @pytest.mark.parametrize(
        ("hint", "message"),
        [
            ("expiredTransaction", Message.NO_CONTACT),
            ("cancelled", Message.INTERRUPTED),
            ("notSupportedByUserApp", Message.APP_TOO_OLD),
            ("neverHeardOf", Message.UNEXPECTED),
            ("", Message.UNEXPECTED),
        ],
    )
    async def test_failures_that_a_new_try_may_mend(self, customer: Customer, hint: str, message: Message) -> None:
        """The page says what happened and offers retry, the other device, and cancel."""
        await (await customer.begin()).press("other")
        customer.approve(customer.scan(), script=Script(failure=hint))
        assert await customer.wait() is None
        assert (customer.poll.phase, customer.poll.message_key) == ("failed", message)
        assert customer.poll.actions == ("retry", "same", "cancel")
        await customer.press("retry")
        assert customer.poll.phase == "qr"

    @pytest.mark.parametrize(
        ("hint", "code", "message"),
        [
            ("certificateErr", "bankid.certificate_err", Message.BLOCKED),
            ("transactionRiskBlocked", "bankid.risk_blocked", Message.RISK),
            ("userDeclinedCall", "bankid.user_declined_call", Message.CALL_DECLINED),
        ],
    )
    async def test_failures_without_another_try(
        self, customer: Customer, hint: str, code: str, message: Message
    ) -> None:
        """Blocked BankIDs, BankID's own risk decision and fraud signals end the attempt."""
        await (await customer.begin()).press("other")
        customer.approve(customer.scan(), script=Script(failure=hint))
        with pytest.raises(UpstreamRefused) as refusal:
            await customer.wait()
        assert (refusal.value.code, refusal.value.message_key) == (code, message)

    async def test_cancelled_in_the_app(self, customer: Customer) -> None:
        """userCancel stops the login; nothing was shared."""
        await (await customer.begin()).press("other")
        customer.simulator.orders.decline(customer.scan())
        with pytest.raises(Stopped) as stopped:
            await customer.wait()
        assert stopped.value.facts["message_key"] == Message.YOU_CANCELLED

    def test_every_message_key_is_of_the_catalogue(self) -> None:
        """Keys are closed and look alike, so that the catalogue can be checked against them."""
        assert all(message.value.startswith("bankid.") for message in Message)
        assert len({message.value for message in Message}) == len(Message)


class TestRenewal:
    @pytest.mark.parametrize("button", ["other", "same"])
    async def test_an_unopened_order_is_renewed_silently(self, customer: Customer, button: str) -> None:
        """After 30 s a new order takes its place; the customer sees the same page."""
        await (await customer.begin()).press(button)
        phase, first = customer.poll.phase, customer.order().order_ref
        await customer.wait(30)
        assert customer.poll.phase == phase
        assert customer.order().order_ref != first
        page = customer.connector.view(customer.state, customer.clock())
        assert page.qr_text is None or page.qr_text.split(".")[2] == "0"

    @pytest.mark.parametrize(("button", "message"), [("other", Message.CODE_NOT_READ), ("same", Message.APP_NOT_FOUND)])
    async def test_renewal_ends_after_three_minutes(self, customer: Customer, button: str, message: Message) -> None:
        """Each order may cost: nobody at the screen, no more orders."""
        await (await customer.begin()).press(button)
        orders = {customer.order().order_ref}
        begun = customer.clock()
        while customer.poll.phase != "failed":
            await customer.wait(2)
            if customer.poll.phase != "failed":
                orders.add(customer.order().order_ref)
            assert customer.clock() - begun < timedelta(minutes=4)
        assert customer.poll.message_key == message
        assert customer.clock() - begun <= timedelta(minutes=3)
        assert len(orders) <= 6

    async def test_a_new_try_begins_a_new_count(self, customer: Customer) -> None:
        """Pressing retry is the customer's own wish."""
        await (await customer.begin()).press("other")
        while customer.poll.phase != "failed":
            await customer.wait(15)
        await customer.press("retry")
        await customer.wait(30)
        assert customer.poll.phase == "qr"

    async def test_an_opened_order_is_not_renewed(self, customer: Customer) -> None:
        """Who opened the app and then let it lie is told so."""
        await (await customer.begin()).press("other")
        customer.scan()
        await customer.wait(185)
        assert (customer.poll.phase, customer.poll.message_key) == ("failed", Message.NO_CONTACT)


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "word", "message"),
        [
            (400, "alreadyInProgress", Message.ALREADY_RUNNING),
            (400, "canceled", Message.INTERRUPTED),
            (400, "cancelled", Message.INTERRUPTED),
            (408, "requestTimeout", Message.TECHNICAL),
        ],
    )
    async def test_an_order_that_may_be_tried_again(
        self, customer: Customer, status: int, word: str, message: Message
    ) -> None:
        """The customer decides about another try; we never retry alreadyInProgress by ourselves."""
        customer.simulator.control.fail_next("auth", fault(status, word))
        await (await customer.begin()).press("other")
        assert (customer.poll.phase, customer.poll.message_key) == ("failed", message)
        assert not customer.connector.is_due(customer.state, customer.clock.advance(300))

    @pytest.mark.parametrize(
        ("status", "word", "error", "code"),
        [
            (400, "invalidParameters", UpstreamRefused, "bankid.invalid_parameters"),
            (400, "somethingNew", UpstreamRefused, "bankid.unknown"),
            (401, "unauthorized", UpstreamDown, "bankid.unauthorized"),
            (403, "unauthorized", UpstreamDown, "bankid.unauthorized"),
            (403, "somethingNew", UpstreamDown, "bankid.unauthorized"),
            (404, "notFound", UpstreamRefused, "bankid.not_found"),
            (405, "methodNotAllowed", UpstreamRefused, "bankid.method_not_allowed"),
            (415, "unsupportedMediaType", UpstreamRefused, "bankid.unsupported_media_type"),
            (500, "internalError", UpstreamDown, "bankid.internal_error"),
            (503, "maintenance", UpstreamDown, "bankid.maintenance"),
            (503, "unknown", UpstreamDown, "bankid.maintenance"),
            (599, "somethingNew", UpstreamRefused, "bankid.unknown"),
        ],
    )
    async def test_an_order_that_is_refused(
        self, customer: Customer, status: int, word: str, error: type[UpstreamDown | UpstreamRefused], code: str
    ) -> None:
        """Every error code has its own operator's code; the customer is offered other ways."""
        customer.simulator.control.fail_next("auth", fault(status, word))
        await customer.begin()
        with pytest.raises(error) as refusal:
            await customer.press("other")
        assert refusal.value.code == code

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{", b'{"errorCode":7}', b"\xff\xfe"])
    async def test_an_error_without_a_readable_body(self, customer: Customer, body: bytes) -> None:
        """The status alone tells enough."""
        customer.simulator.control.fail_next("auth", Fault(503, body))
        await customer.begin()
        with pytest.raises(UpstreamDown) as refusal:
            await customer.press("other")
        assert refusal.value.code == "bankid.maintenance"

    async def test_too_many_requests_means_queueing(self, customer: Customer) -> None:
        """429: the customer waits as long as BankID says, then the order opens by itself."""
        customer.simulator.control.fail_next("auth", too_many_requests(reset_s=7))
        await (await customer.begin()).press("other")
        assert (customer.poll.phase, customer.poll.message_key) == ("working", Message.QUEUE)
        assert customer.poll.again_after_s == 7
        await customer.wait(6)
        assert customer.poll.message_key == Message.QUEUE
        await customer.wait(1)
        assert customer.poll.phase == "qr"

    async def test_queueing_ends(self, customer: Customer) -> None:
        """After three waits BankID counts as down."""
        customer.simulator.control.fail_next("auth", *(too_many_requests(reset_s=1) for _ in range(4)))
        await (await customer.begin()).press("other")
        await customer.wait(1)
        await customer.wait(1)
        with pytest.raises(UpstreamDown) as refusal:
            await customer.wait(1)
        assert refusal.value.code == "bankid.too_many_requests"

    @pytest.mark.parametrize(
        "value", ["0", "-5", "soon", "9" * 30, "3600", "٣"], ids=["0", "-5", "word", "long", "hour", "digits"]
    )
    async def test_an_odd_reset_time_is_tamed(self, customer: Customer, value: str) -> None:
        """Between one second and one minute, whatever the header says."""
        refusal = Fault(429, b"{}", {"RateLimit-Reset": value} if value.isascii() else {})
        customer.simulator.control.fail_next("auth", refusal)
        await (await customer.begin()).press("other")
        assert 1 <= customer.poll.again_after_s <= 60

    async def test_a_lost_order(self, customer: Customer) -> None:
        """`No such order`: a new try is offered."""
        await (await customer.begin()).press("other")
        customer.simulator.control.fail_next("collect", fault(400, "invalidParameters", "No such order"))
        await customer.wait()
        assert (customer.poll.phase, customer.poll.message_key) == ("failed", Message.UNEXPECTED)

    async def test_collecting_backs_off(self, customer: Customer) -> None:
        """429 while collecting: no question before the time is up; the code goes on moving."""
        await (await customer.begin()).press("other")
        customer.simulator.control.fail_next("collect", too_many_requests(reset_s=5))
        await customer.wait()
        assert customer.poll.phase == "qr"
        assert not customer.connector.is_due(customer.state, customer.clock.advance(4))
        assert customer.connector.is_due(customer.state, customer.clock.advance(1))

    @pytest.mark.parametrize(
        "trouble",
        [
            fault(408, "requestTimeout"),
            fault(500, "internalError"),
            fault(503, "maintenance"),
            Fault(200, b"not json"),
            Fault(200, b"{}"),
            answer({"orderRef": "x", "status": 1}),
        ],
        ids=["408", "500", "503", "not json", "empty", "ill-typed"],
    )
    async def test_collecting_survives_two_troubles(self, customer: Customer, trouble: Fault) -> None:
        """The order lives on at BankID, so a stumble is not the end; the third in a row is."""
        await (await customer.begin()).press("other")
        customer.simulator.control.fail_next("collect", trouble, trouble)
        await customer.wait()
        await customer.wait()
        await customer.wait()
        assert customer.poll.phase == "qr"
        customer.simulator.control.fail_next("collect", trouble, trouble, trouble)
        await customer.wait()
        await customer.wait()
        with pytest.raises(UpstreamDown):
            await customer.wait()

    @pytest.mark.parametrize(
        ("status", "word", "error"),
        [(401, "unauthorized", UpstreamDown), (404, "notFound", UpstreamRefused), (400, "new", UpstreamRefused)],
    )
    async def test_collecting_is_refused(
        self, customer: Customer, status: int, word: str, error: type[Exception]
    ) -> None:
        """What will not get better is not repeated."""
        await (await customer.begin()).press("other")
        customer.simulator.control.fail_next("collect", fault(status, word))
        with pytest.raises(error):
            await customer.wait()

    async def test_an_answer_about_another_order_is_refused(self, customer: Customer) -> None:
        """Nobody is logged in by an answer that belongs to somebody else."""
        other = Customer(customer.connector, customer.simulator, customer.clock)
        await (await other.begin()).press("other")
        other.approve(other.scan(), "elsa")
        theirs = customer.simulator.orders.collect(other.order().order_ref)
        await (await customer.begin()).press("other")
        customer.simulator.control.fail_next("collect", answer(theirs))
        with pytest.raises(UpstreamRefused) as refusal:
            await customer.wait()
        assert refusal.value.code == "bankid.wrong_order"

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda data: data | {"user": {}},
            lambda data: data | {"user": data["user"] | {"personalNumber": None}},
            lambda data: data | {"signature": ""},
            lambda data: {name: value for name, value in data.items() if name != "ocspResponse"},
            lambda data: None,
        ],
        ids=["no user", "no number", "no signature", "no ocsp", "no data"],
    )
    async def test_a_half_answer_is_no_answer(
        self, customer: Customer, spoil: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> None:
        """A completion without person or proof logs nobody in."""
        await (await customer.begin()).press("other")
        customer.approve(customer.scan())
        full = customer.simulator.orders.collect(customer.order().order_ref)
        half = full | {"completionData": spoil(full["completionData"])}
        customer.simulator.control.fail_next("collect", *(answer(half) for _ in range(3)))
        await customer.wait()
        await customer.wait()
        with pytest.raises(UpstreamDown) as refusal:
            await customer.wait()
        assert refusal.value.code == "bankid.malformed"
        assert "Anders" not in str(refusal.value)

    @pytest.mark.parametrize(
        "lie",
        [b"", b"[]", b'"orderRef"', b'{"orderRef":"a"}', b'{"orderRef":1}', b"{" * 3000, b" " * 1_100_000],
        ids=["empty", "list", "text", "half", "number", "deep", "huge"],
    )
    async def test_a_lying_start_is_no_order(self, customer: Customer, lie: bytes) -> None:
        """Malformed JSON, missing tokens, and answers without end."""
        customer.simulator.control.fail_next("auth", Fault(200, lie))
        await customer.begin()
        with pytest.raises(UpstreamDown) as refusal:
            await customer.press("other")
        assert refusal.value.code == "bankid.malformed"

    async def test_redirects_are_not_followed(self, customer: Customer) -> None:
        """BankID redirects nobody; a redirect is an error."""
        customer.simulator.control.fail_next("auth", Fault(307, b"", {"location": "https://127.0.0.1:1/"}))
        await customer.begin()
        with pytest.raises(UpstreamRefused):
            await customer.press("other")

    async def test_a_slow_bankid_is_down(
        self, server: BankIdServer, simulator: BankIdSimulator, clock: HandClock
    ) -> None:
        """One deadline for the whole call, the handshake included: here the other side never says a word."""
        files = server.certificates
        tls = client_tls(certificate=files.rp_cert, key=files.rp_key, ca=files.ca_cert)
        with socket.create_server(("127.0.0.1", 0)) as mute:
            url = f"https://127.0.0.1:{mute.getsockname()[1]}/rp/v6.0/"
            impatient = BankIdConnector("bankid", block(server), BankIdApi(url, tls, timeout_s=0.1))
            customer = Customer(impatient, simulator, clock)
            await customer.begin()
            with pytest.raises(UpstreamDown) as refusal:
                await customer.press("other")
            await impatient.close()
        assert refusal.value.code == "bankid.slow"

    async def test_an_absent_bankid_is_down(
        self, server: BankIdServer, simulator: BankIdSimulator, clock: HandClock
    ) -> None:
        """Nobody listens."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        tls = client_tls(
            certificate=server.certificates.rp_cert,
            key=server.certificates.rp_key,
            ca=server.certificates.ca_cert,
        )
        absent = BankIdConnector("bankid", block(server), BankIdApi(f"https://127.0.0.1:{port}/rp/v6.0/", tls))
        customer = Customer(absent, simulator, clock)
        await customer.begin()
        with pytest.raises(UpstreamDown) as refusal:
            await customer.press("same")
        assert refusal.value.code == "bankid.unreachable"
        await absent.close()


class TestTls:
    async def call(self, server: BankIdServer, tls: ssl.SSLContext) -> None:
        api = BankIdApi(server.url, tls)
        try:
            await api.auth({"endUserIp": "192.0.2.1"})
        finally:
            await api.close()

    async def test_without_our_certificate_there_is_no_api(self, server: BankIdServer) -> None:
        """Mutual TLS."""
        bare = server.tls(with_client_certificate=False)
        with pytest.raises(UpstreamDown) as refusal:
            await self.call(server, bare)
        assert refusal.value.code == "bankid.unreachable"

    async def test_only_the_pinned_root_counts(
        self, server: BankIdServer, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """A server of another authority is not BankID."""
        with bankid_server(tmp_path_factory.mktemp("foreign")) as foreign:
            files = server.certificates
            tls = client_tls(certificate=files.rp_cert, key=files.rp_key, ca=foreign.certificates.ca_cert)
        with pytest.raises(UpstreamDown) as refusal:
            await self.call(server, tls)
        assert refusal.value.code == "bankid.unreachable"

    async def test_with_it_the_content_type_is_accepted(self, server: BankIdServer) -> None:
        """The simulator answers 415 to anything but exactly `application/json`."""
        files = server.certificates
        tls = client_tls(certificate=files.rp_cert, key=files.rp_key, ca=files.ca_cert)
        assert tls.minimum_version == ssl.TLSVersion.TLSv1_2
        await self.call(server, tls)

    def test_the_published_test_certificate_is_known(self, server: BankIdServer) -> None:
        """Production refuses the certificate everybody can download; its issuer gives it away."""
        vectors = Path(__file__).parents[1] / "vectors" / "bankid"
        assert is_public_test_certificate((vectors / "FPTestcert5_20240610_cert.pem").read_bytes())
        assert not is_public_test_certificate(server.certificates.rp_cert.read_bytes())


class TestCancel:
    async def test_cancel_on_our_page(self, customer: Customer) -> None:
        """The order is withdrawn at BankID, so the app cannot take it up any more."""
        await (await customer.begin()).press("same")
        order = customer.order()
        with pytest.raises(Stopped) as stopped:
            await customer.press("cancel")
        assert stopped.value.code == "bankid.cancelled_here"
        assert order.hint == "cancelled"

    async def test_cancel_before_the_choice(self, customer: Customer) -> None:
        """Nothing runs, nothing is withdrawn."""
        await customer.begin()
        with pytest.raises(Stopped):
            await customer.press("cancel")

    async def test_leaving_withdraws_the_order(self, customer: Customer) -> None:
        """`cancel` is for a customer who chose another way in."""
        await (await customer.begin()).press("other")
        order = customer.order()
        await customer.connector.cancel(customer.state)
        assert order.hint == "cancelled"

    @pytest.mark.parametrize("trouble", [fault(400, "invalidParameters"), fault(503, "maintenance"), Fault(200, b"?")])
    async def test_cancel_never_raises(self, customer: Customer, trouble: Fault) -> None:
        """Over, ill or unreachable: the order ends by itself."""
        await (await customer.begin()).press("other")
        customer.simulator.control.fail_next("cancel", trouble)
        await customer.connector.cancel(customer.state)


class TestPort:
    async def test_it_is_a_polling_connector(self, connector: BankIdConnector) -> None:
        """The flow may use `view`, `is_due` and `cancel`."""
        assert isinstance(connector, WaitingConnector)
        assert connector.reaches is Assurance.SUBSTANTIAL

    async def test_a_callback_is_refused(self, customer: Customer) -> None:
        """BankID never redirects to the callback; whoever comes there is not from BankID."""
        await customer.begin()
        with pytest.raises(UpstreamRefused):
            await customer.send(ReplyKind.CALLBACK, {"code": "x", "state": "s"})

    async def test_collects_at_most_every_two_seconds(self, customer: Customer) -> None:
        """Polls in between are answered from what is known."""
        await (await customer.begin()).press("other")
        customer.scan()
        assert not customer.connector.is_due(customer.state, customer.clock())
        await customer.wait(1.9)
        assert customer.poll.phase == "qr"
        await customer.wait(0.1)
        assert customer.poll.phase == "working"
        assert not customer.connector.is_due(customer.state, customer.clock.advance(1.9))

    async def test_another_worker_may_go_on(self, customer: Customer, server: BankIdServer) -> None:
        """All memory is in the state."""
        await (await customer.begin()).press("other")
        handle = customer.scan()
        elsewhere = build(server)
        customer.connector = elsewhere
        customer.approve(handle)
        assert await customer.wait() is not None
        await elsewhere.close()

    async def test_the_log_holds_no_personal_data(self, customer: Customer, caplog: pytest.LogCaptureFixture) -> None:
        """Neither names, numbers, tokens nor addresses, whether it goes well or not."""
        caplog.set_level(logging.DEBUG, logger="broker")
        await (await customer.begin()).press("other")
        tokens = customer.order().tokens().values()
        customer.approve(customer.scan(), script=Script(failure="expiredTransaction"))
        await customer.wait()
        assert "bankid.order_failed" in caplog.text
        everything = caplog.text + repr([record.__dict__ for record in caplog.records])
        for secret in (*tokens, "195704289999", "Lindqvist", BROWSER_IP):
            assert secret not in everything


class TestConfig:
    def test_production_is_the_default(self) -> None:
        """Real addresses unless told otherwise."""
        connect = BankIdConnect.model_validate({"client_certificate": "file:c", "client_key": "file:k", "ca": "file:a"})
        assert connect.api_url == "https://appapi2.bankid.com/rp/v6.0/"
        assert connect.launch_url == "https://app.bankid.com/"
        assert connect.desktop_launch_url == "bankid:///"
        assert connect.moderate_risk == "allow"

    @pytest.mark.parametrize(
        "members",
        [
            {"api_url": "http://127.0.0.1:8704/rp/v6.0/"},
            {"api_url": "https://appapi2.bankid.com/rp/v6.0"},
            {"launch_url": "javascript:alert(1)"},
            {"launch_url": "https://app.bankid.com/?autostarttoken="},
            {"client_key": "/etc/key.pem"},
            {"client_key": "env:KEY"},
            {"client_key": "file:"},
            {"moderate_risk": "maybe"},
            {"timeout": "30s"},
            {"timeout": 5},
            {"certificate": "file:c"},
        ],
        ids=lambda members: str(members),
    )
    def test_mistakes_are_refused(self, server: BankIdServer, members: dict[str, Any]) -> None:
        """Plain http, missing slash, inline secrets, unknown keys and loose units."""
        with pytest.raises(ValidationError):
            block(server, **members)

    async def test_the_block_builds_a_connector(
        self, server: BankIdServer, simulator: BankIdSimulator, clock: HandClock
    ) -> None:
        """References are resolved by the caller; the built connector reaches the API."""
        built = bankid_connector("bankid", block(server), path=Path, secret=lambda _: "")
        customer = Customer(built, simulator, clock)
        await (await customer.begin()).press("other")
        assert customer.poll.phase == "qr"
        await built.close()

    @pytest.mark.parametrize("broken", ["missing", "nonsense", "foreign key"])
    def test_unusable_files_are_a_config_error(self, server: BankIdServer, tmp_path: Path, broken: str) -> None:
        """Found at start, with the key to look at, and without the file's content."""
        file = tmp_path / "x.pem"
        if broken == "nonsense":
            file.write_text("SECRET")
        elif broken == "foreign key":
            file.write_bytes(server.certificates.server_key.read_bytes())
        with pytest.raises(ConfigError) as error:
            bankid_connector(
                "bankid", block(server, client_key=f"file:{file}"), path=Path, secret=os.environ.__getitem__
            )
        assert "upstreams.bankid.connect" in error.value.problems[0]
        assert "SECRET" not in error.value.problems[0]


class TestTexts:
    @pytest.mark.parametrize(
        ("language", "start"),
        [("sv", "Logga in på"), ("fi", "Kirjaudu"), ("pl", "Logowanie do"), ("en", "Log in to"), ("de", "Log in to")],
    )
    def test_the_app_speaks_the_customers_language(self, language: str, start: str) -> None:
        """Four languages; English for every other."""
        text = visible_text(language, partner="Garaget", broker="Stafett")
        assert text.startswith(start)
        assert "Garaget" in text
        assert "Stafett" in text

    def test_a_name_cannot_pretend(self) -> None:
        """Line breaks, control and direction characters in a name vanish; braces are text."""
        text = visible_text("en", partner="A\n\n# Pay\u202e {broker}", broker="B")
        assert text.splitlines()[0] == "Log in to A # Pay {broker} via B."
