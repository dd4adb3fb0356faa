"""The BankID simulator is as strict as the real service: what it refuses, no connector may rely on."""

import base64
import hashlib
import hmac
import http.client
import io
import re
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import pytest
import zxingcpp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import ocsp
from PIL import Image
from starlette.testclient import TestClient

from broker.demo.providers.bankid import AppRefusal, BankIdSimulator, Script
from broker.demo.providers.bankid.control import Fault, fault, too_many_requests
from broker.demo.providers.bankid.markdown import render_markdown, render_plain
from tests.demo.bankid_server import BankIdServer, HandClock, bankid_server

IP = "198.51.100.20"
MINIMAL = {"endUserIp": IP}
DSIG = "{http://www.w3.org/2000/09/xmldsig#}"
TYPES = "{http://www.bankid.com/signature/v1.0.0/types}"


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


@pytest.fixture
def api(simulator: BankIdSimulator) -> TestClient:
    return TestClient(simulator.rp_api)


@pytest.fixture
def phone(simulator: BankIdSimulator) -> TestClient:
    return TestClient(simulator.app_page, follow_redirects=False, client=("203.0.113.5", 4711))


def post(api: TestClient, endpoint: str, body: Any) -> tuple[int, dict[str, Any]]:
    response = api.post(f"/rp/v6.0/{endpoint}", json=body)
    return response.status_code, response.json()


def start(api: TestClient, **members: Any) -> dict[str, str]:
    status, tokens = post(api, "auth", MINIMAL | members)
    assert status == 200, tokens
    return tokens


def collect(api: TestClient, tokens: dict[str, str]) -> dict[str, Any]:
    status, answer = post(api, "collect", {"orderRef": tokens["orderRef"]})
    assert status == 200, answer
    return answer


def qr_text(tokens: dict[str, str], seconds: int) -> str:
    code = hmac.new(tokens["qrStartSecret"].encode(), str(seconds).encode(), hashlib.sha256).hexdigest()
    return f"bankid.{tokens['qrStartToken']}.{seconds}.{code}"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class TestTransport:
    def test_a_caller_without_a_client_certificate_is_turned_away(self, server: BankIdServer) -> None:
        """Mutual TLS: no relying party certificate, no API."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", server.port, context=server.tls(with_client_certificate=False), timeout=5
        )
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            self._ask(connection)
        connection.close()

    def test_a_certificate_of_another_authority_is_turned_away(
        self, server: BankIdServer, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Only the test CA's certificates open the door."""
        with bankid_server(tmp_path_factory.mktemp("foreign")) as foreign:
            context = ssl.create_default_context(cafile=str(server.certificates.ca_cert))
            context.load_cert_chain(foreign.certificates.rp_cert, foreign.certificates.rp_key)
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=5)
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            self._ask(connection)
        connection.close()

    def test_the_server_is_not_signed_by_a_public_authority(self, server: BankIdServer) -> None:
        """A relying party must pin the CA; the system's trust store does not do."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", server.port, context=ssl.create_default_context(), timeout=5
        )
        with pytest.raises(ssl.SSLCertVerificationError):
            self._ask(connection)
        connection.close()

    def test_with_the_certificate_a_get_answers_405(self, server: BankIdServer) -> None:
        """The cheap health check: GET proves TLS, CA and client certificate, and creates nothing."""
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=server.tls(), timeout=5)
        assert self._ask(connection) == 405
        connection.close()

    def test_silence_can_be_scripted(self, server: BankIdServer, simulator: BankIdSimulator) -> None:
        """A caller with a deadline meets it; the server is free again when the caller hangs up."""
        simulator.control.fail_next("auth", Fault(silent=True))
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=server.tls(), timeout=0.1)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/rp/v6.0/auth", b'{"endUserIp":"192.0.2.1"}', headers)
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()

    @staticmethod
    def _ask(connection: http.client.HTTPSConnection) -> int:
        connection.request("GET", "/rp/v6.0/auth")
        with connection.getresponse() as response:
            response.read()
            return response.status

    def test_keys_are_private_and_kept_between_runs(self, server: BankIdServer) -> None:
        """Keys have mode 0600, and a second call does not replace a good set."""
        from datetime import UTC, datetime

        from broker.demo.providers.bankid import make_certificates

        files = server.certificates
        before = files.rp_cert.read_bytes()
        again = make_certificates(files.directory, now=datetime.now(UTC), rp_name="Testbolaget")
        assert again.rp_cert.read_bytes() == before
        for key in (files.ca_key, files.rp_key, files.server_key, files.person_key):
            assert key.stat().st_mode & 0o777 == 0o600


class TestStrictness:
    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
    def test_only_post_is_allowed(self, api: TestClient, method: str) -> None:
        """405 methodNotAllowed for anything but POST."""
        response = api.request(method, "/rp/v6.0/auth")
        assert (response.status_code, response.json()["errorCode"]) == (405, "methodNotAllowed")

    @pytest.mark.parametrize("path", ["/rp/v6.0/pay", "/rp/v5.1/auth", "/auth", "/"])
    def test_unknown_paths_are_not_found(self, api: TestClient, path: str) -> None:
        """404 notFound outside the four endpoints of version 6."""
        response = api.post(path, json=MINIMAL)
        assert (response.status_code, response.json()["errorCode"]) == (404, "notFound")

    @pytest.mark.parametrize(
        "content_type",
        ["application/json; charset=utf-8", "application/json;charset=UTF-8", "text/json", "text/plain", ""],
    )
    def test_the_content_type_is_exact(self, api: TestClient, content_type: str) -> None:
        """415 unsupportedMediaType for anything but `application/json`, a charset included."""
        response = api.post(
            "/rp/v6.0/auth", content=b'{"endUserIp":"192.0.2.1"}', headers={"content-type": content_type}
        )
        assert (response.status_code, response.json()["errorCode"]) == (415, "unsupportedMediaType")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            [],
            "text",
            {"endUserIp": "not an address"},
            {"endUserIp": "192.0.2.256"},
            {"endUserIp": 1},
            MINIMAL | {"personalNumber": "195704289999"},
            MINIMAL | {"tokenStartRequired": True},
            MINIMAL | {"returnUrl": ""},
            MINIMAL | {"returnUrl": "https://example.com/" + "a" * 493},
            MINIMAL | {"returnRisk": "true"},
            MINIMAL | {"userVisibleData": "not base64!"},
            MINIMAL | {"userVisibleData": ""},
            MINIMAL | {"userVisibleData": "A" * 1504},
            MINIMAL | {"userVisibleData": "/w=="},
            MINIMAL | {"userVisibleDataFormat": "html"},
            MINIMAL | {"requirement": {"risk": "low"}},
            MINIMAL | {"requirement": {"personalNumber": "9507042899"}},
            MINIMAL | {"requirement": {"certificatePolicies": ["mobile"]}},
            MINIMAL | {"web": {"referringDomain": "ab"}},
            MINIMAL | {"web": {"userAgent": "x" * 257}},
            MINIMAL | {"web": {"deviceIdentifier": "x" * 65}},
            MINIMAL | {"web": {"userAgent": "x"}, "app": {"appIdentifier": "x"}},
            MINIMAL | {"web": {"referer": "https://example.com"}},
        ],
        ids=lambda body: str(body)[:60],
    )
    def test_wrong_fields_are_refused(self, api: TestClient, body: Any) -> None:
        """
        400 invalidParameters for missing, unknown, ill-typed and too long fields; `risk` is not a
        requirement.
        """
        status, answer = post(api, "auth", body)
        assert (status, answer["errorCode"]) == (400, "invalidParameters")

    def test_a_full_request_is_accepted(self, api: TestClient) -> None:
        """Every documented field at its limit is fine, and the answer holds exactly the four tokens."""
        tokens = start(
            api,
            endUserIp="2001:db8::1",
            userVisibleData=base64.b64encode(b"x" * 1125).decode(),
            userVisibleDataFormat="simpleMarkdownV1",
            userNonVisibleData=b64("journey"),
            returnUrl="https://example.com/" + "a" * 492,
            returnRisk=True,
            requirement={"pinCode": True, "certificatePolicies": ["1.2.752.78.1.5", "1.2.752.78.*"]},
            web={"referringDomain": "example.com", "userAgent": "x" * 256, "deviceIdentifier": "d" * 64},
        )
        assert set(tokens) == {"orderRef", "autoStartToken", "qrStartToken", "qrStartSecret"}

    def test_sign_needs_a_text(self, api: TestClient) -> None:
        """A signature without visible data is refused; with it the order signs."""
        assert post(api, "sign", MINIMAL)[0] == 400
        assert post(api, "sign", MINIMAL | {"userVisibleData": b64("I agree")})[0] == 200

    def test_an_unknown_order_is_an_invalid_parameter(self, api: TestClient) -> None:
        """`No such order` for collect and cancel."""
        for endpoint in ("collect", "cancel"):
            status, answer = post(api, endpoint, {"orderRef": "131daac9-16c6-4618-beb0-365768f37288"})
            assert (status, answer) == (400, {"errorCode": "invalidParameters", "details": "No such order"})


class TestLife:
    def test_states_follow_the_customer(self, api: TestClient, simulator: BankIdSimulator) -> None:
        """outstandingTransaction, started, userSign, processing, complete: in this order."""
        tokens = start(api)
        assert collect(api, tokens)["hintCode"] == "outstandingTransaction"
        order = simulator.orders.open_by_autostart(tokens["autoStartToken"])
        assert collect(api, tokens)["hintCode"] == "started"
        simulator.orders.choose(order.handle, "anders", Script(settling=1))
        assert collect(api, tokens)["hintCode"] == "userSign"
        simulator.orders.approve(order.handle)
        assert collect(api, tokens) == {
            "orderRef": tokens["orderRef"],
            "status": "pending",
            "hintCode": "processing",
        }
        answer = collect(api, tokens)
        assert answer["status"] == "complete"
        assert answer["completionData"]["user"] == {
            "personalNumber": "195704289999",
            "name": "Anders Lindqvist",
            "givenName": "Anders",
            "surname": "Lindqvist",
        }

    @pytest.mark.parametrize("approve", [True, False], ids=["complete", "failed"])
    def test_a_final_result_is_handed_out_once(
        self, api: TestClient, simulator: BankIdSimulator, approve: bool
    ) -> None:
        """The second collect of a finished order says `No such order`."""
        tokens = start(api)
        order = simulator.orders.open_by_autostart(tokens["autoStartToken"])
        simulator.orders.choose(order.handle, "elsa")
        (simulator.orders.approve if approve else simulator.orders.decline)(order.handle)
        assert collect(api, tokens)["status"] == ("complete" if approve else "failed")
        assert post(api, "collect", {"orderRef": tokens["orderRef"]})[0] == 400

    def test_an_order_nobody_opens_fails_after_30_seconds(self, api: TestClient, clock: HandClock) -> None:
        """startFailed, not before 30 s."""
        tokens = start(api)
        clock.advance(29)
        assert collect(api, tokens)["status"] == "pending"
        clock.advance(1)
        assert collect(api, tokens)["hintCode"] == "startFailed"

    def test_an_opened_order_expires(self, api: TestClient, simulator: BankIdSimulator, clock: HandClock) -> None:
        """expiredTransaction when the customer does not approve within three minutes."""
        tokens = start(api)
        simulator.orders.open_by_autostart(tokens["autoStartToken"])
        clock.advance(180)
        assert collect(api, tokens)["hintCode"] == "expiredTransaction"

    def test_a_complete_result_is_kept_three_minutes(
        self, api: TestClient, simulator: BankIdSimulator, clock: HandClock
    ) -> None:
        """Who collects too late gets nothing."""
        tokens = start(api)
        order = simulator.orders.open_by_autostart(tokens["autoStartToken"])
        simulator.orders.choose(order.handle, "nils")
        simulator.orders.approve(order.handle)
        clock.advance(180)
        assert post(api, "collect", {"orderRef": tokens["orderRef"]})[0] == 400

    def test_an_unopened_order_is_forgotten(self, api: TestClient, clock: HandClock) -> None:
        """After 3 min 10 s not even the failure is known."""
        tokens = start(api)
        clock.advance(190)
        assert post(api, "collect", {"orderRef": tokens["orderRef"]})[0] == 400

    def test_cancel_ends_a_running_order(self, api: TestClient, simulator: BankIdSimulator) -> None:
        """
        cancel answers {}, collect says cancelled, and neither the app nor a second cancel finds the order.
        """
        tokens = start(api)
        reference = {"orderRef": tokens["orderRef"]}
        assert post(api, "cancel", reference) == (200, {})
        assert post(api, "cancel", reference)[0] == 400
        with pytest.raises(AppRefusal):
            simulator.orders.open_by_autostart(tokens["autoStartToken"])
        assert collect(api, tokens)["hintCode"] == "cancelled"

    def test_a_second_bound_order_stops_both(self, api: TestClient) -> None:
        """alreadyInProgress: the new order is refused and the running one aborted."""
        bound = {"requirement": {"personalNumber": "194608239986"}}
        first = start(api, **bound)
        status, answer = post(api, "auth", MINIMAL | bound)
        assert (status, answer["errorCode"]) == (400, "alreadyInProgress")
        assert collect(api, first)["hintCode"] == "cancelled"

    def test_another_person_cannot_use_a_bound_order(self, api: TestClient, simulator: BankIdSimulator) -> None:
        """A requirement on the personal number makes another person's order fail."""
        tokens = start(api, requirement={"personalNumber": "195704289999"})
        order = simulator.orders.open_by_autostart(tokens["autoStartToken"])
        with pytest.raises(AppRefusal):
            simulator.orders.choose(order.handle, "nils")
        assert collect(api, tokens)["status"] == "failed"

    def test_one_person_has_one_order(self, api: TestClient, simulator: BankIdSimulator) -> None:
        """When the same person takes up a newer order, the older one is cancelled."""
        first, second = start(api), start(api)
        for tokens in (first, second):
            order = simulator.orders.open_by_autostart(tokens["autoStartToken"])
            simulator.orders.choose(order.handle, "amina")
        assert collect(api, first)["hintCode"] == "cancelled"
        assert collect(api, second)["status"] == "pending"


class TestQr:
    def test_a_fresh_code_opens_the_order(self, api: TestClient, simulator: BankIdSimulator, clock: HandClock) -> None:
        """The code of this second, and of five seconds ago, is accepted."""
        tokens = start(api)
        clock.advance(12)
        simulator.orders.open_by_qr(qr_text(tokens, 7))
        assert collect(api, tokens)["hintCode"] == "started"

    @pytest.mark.parametrize(
        ("seconds", "because"),
        [(6, "too old"), (0, "too old"), (14, "too old")],
        ids=["6 s", "first", "future"],
    )
    def test_an_old_or_future_code_is_refused(
        self, api: TestClient, simulator: BankIdSimulator, clock: HandClock, seconds: int, because: str
    ) -> None:
        """A relayed photograph of a code is worth nothing a few seconds later."""
        tokens = start(api)
        clock.advance(12)
        with pytest.raises(AppRefusal, match=because):
            simulator.orders.open_by_qr(qr_text(tokens, seconds))
        assert collect(api, tokens)["hintCode"] == "outstandingTransaction"

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"),
            lambda text: text.replace(".0.", ".1."),
            lambda text: text.replace("bankid.", "bankrd."),
            lambda text: text + ".more",
            lambda text: re.sub(r"^bankid\.[^.]+", "bankid.11111111-2222-3333-4444-555555555555", text),
            lambda text: text.replace(".0.", ".٠."),
        ],
        ids=["code", "time", "prefix", "parts", "token", "digits"],
    )
    def test_a_spoiled_code_is_refused(self, api: TestClient, simulator: BankIdSimulator, spoil: Any) -> None:
        """Code, time and token belong together."""
        tokens = start(api)
        with pytest.raises(AppRefusal):
            simulator.orders.open_by_qr(spoil(qr_text(tokens, 0)))

    def test_an_order_opened_by_autostart_cannot_be_opened_by_code(
        self, api: TestClient, simulator: BankIdSimulator
    ) -> None:
        """One order, one way in."""
        tokens = start(api)
        simulator.orders.open_by_autostart(tokens["autoStartToken"])
        with pytest.raises(AppRefusal):
            simulator.orders.open_by_qr(qr_text(tokens, 0))


class TestScripts:
    @pytest.mark.parametrize(
        "hint",
        [
            "expiredTransaction",
            "certificateErr",
            "startFailed",
            "userDeclinedCall",
            "notSupportedByUserApp",
            "transactionRiskBlocked",
            "neverHeardOf",
        ],
    )
    def test_any_failure_can_be_scripted(self, api: TestClient, simulator: BankIdSimulator, hint: str) -> None:
        """A scripted person's approval ends with the scripted hint."""
        simulator.control.script("harald", Script(failure=hint))
        tokens = start(api)
        order = simulator.orders.open_by_autostart(tokens["autoStartToken"])
        simulator.orders.choose(order.handle, "harald")
        simulator.orders.approve(order.handle)
        assert collect(api, tokens) == {
            "orderRef": tokens["orderRef"],
            "status": "failed",
            "hintCode": hint,
        }

    @pytest.mark.parametrize("hint", ["userMrtd", "userCallConfirm", "noClient", "neverHeardOf"])
    def test_any_pending_hint_can_be_scripted(self, api: TestClient, simulator: BankIdSimulator, hint: str) -> None:
        """While the app waits for the customer, the scripted hint is shown."""
        tokens = start(api)
        order = simulator.orders.open_by_autostart(tokens["autoStartToken"])
        simulator.orders.choose(order.handle, "harald", Script(waiting=hint))
        assert collect(api, tokens)["hintCode"] == hint

    def test_an_error_replaces_one_answer(self, api: TestClient, simulator: BankIdSimulator) -> None:
        """Scripted errors are answered once each, with their headers; then the truth again."""
        simulator.control.fail_next("auth", fault(503, "maintenance"), too_many_requests(reset_s=7))
        assert post(api, "auth", MINIMAL)[0] == 503
        response = api.post("/rp/v6.0/auth", json=MINIMAL)
        assert response.status_code == 429
        assert response.headers["ratelimit-remaining"] == "0"
        assert response.headers["ratelimit-reset"] == "7"
        assert post(api, "auth", MINIMAL)[0] == 200

    def test_a_person_may_be_refused_at_the_start(self, api: TestClient, simulator: BankIdSimulator) -> None:
        """An order bound to a scripted person meets that person's error."""
        simulator.control.script("nils", Script(error=fault(400, "alreadyInProgress")))
        status, answer = post(api, "auth", MINIMAL | {"requirement": {"personalNumber": "200002292399"}})
        assert (status, answer["errorCode"]) == (400, "alreadyInProgress")

    @pytest.mark.parametrize(
        ("asked", "risk", "told"),
        [(True, "moderate", "moderate"), (True, None, None), (False, "high", None)],
        ids=["asked", "missing", "not asked"],
    )
    def test_risk_only_when_asked_for(
        self, api: TestClient, simulator: BankIdSimulator, asked: bool, risk: str | None, told: str | None
    ) -> None:
        """`risk` is in completionData only with returnRisk, and may be missing even then."""
        tokens = start(api, returnRisk=asked)
        order = simulator.orders.open_by_autostart(tokens["autoStartToken"])
        simulator.orders.choose(order.handle, "anders", Script(risk=risk, device_ip="203.0.113.9"))
        simulator.orders.approve(order.handle)
        completion = collect(api, tokens)["completionData"]
        assert completion.get("risk") == told
        assert completion["device"]["ipAddress"] == "203.0.113.9"


class TestProof:
    @pytest.fixture
    def completion(self, api: TestClient, simulator: BankIdSimulator) -> dict[str, Any]:
        tokens = start(api, userVisibleData=b64("Log in, <Anders>"), userNonVisibleData=b64("journey 1"))
        order = simulator.orders.open_by_autostart(tokens["autoStartToken"])
        simulator.orders.choose(order.handle, "anders")
        simulator.orders.approve(order.handle)
        completion: dict[str, Any] = collect(api, tokens)["completionData"]
        return completion

    def test_the_signature_covers_what_was_shown(self, completion: dict[str, Any], server: BankIdServer) -> None:
        """
        Digests and signature hold over the canonical form; data and purpose are the order's; the CA issued
        it.
        """
        xml = base64.b64decode(completion["signature"]).decode()
        root = ET.fromstring(xml)
        data = root.find(f"{DSIG}Object/{TYPES}bankIdSignedData")
        assert data is not None
        assert data.findtext(f"{TYPES}usrVisibleData") == b64("Log in, <Anders>")
        assert data.findtext(f"{TYPES}usrNonVisibleData") == b64("journey 1")
        assert data.findtext(f"{TYPES}clientInfo/{TYPES}funcId") == "Identification"
        for reference in root.iter(f"{DSIG}Reference"):
            part = self._cut(
                xml, {"#bidSignedData": "bankIdSignedData", "#bidKeyInfo": "KeyInfo"}[reference.attrib["URI"]]
            )
            digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
            assert reference.findtext(f"{DSIG}DigestValue") == digest
        holder, ca = (
            x509.load_der_x509_certificate(base64.b64decode(element.text or ""))
            for element in root.iter(f"{DSIG}X509Certificate")
        )
        key = holder.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        value = base64.b64decode(root.findtext(f"{DSIG}SignatureValue") or "")
        key.verify(value, self._cut(xml, "SignedInfo"), padding.PKCS1v15(), hashes.SHA256())
        holder.verify_directly_issued_by(ca)
        assert ca == x509.load_pem_x509_certificate(server.certificates.ca_cert.read_bytes())

    @staticmethod
    def _cut(xml: str, element: str) -> bytes:
        found = re.search(rf"<{element}[ >].*</{element}>", xml, re.DOTALL)
        assert found is not None
        return ET.canonicalize(found.group()).encode()

    def test_the_ocsp_answer_belongs_to_the_signature(self, completion: dict[str, Any]) -> None:
        """Good, and its nonce begins with SHA-1 of the signature as sent."""
        answer = ocsp.load_der_ocsp_response(base64.b64decode(completion["ocspResponse"]))
        assert answer.certificate_status is ocsp.OCSPCertStatus.GOOD
        nonce = answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
        expected = hashlib.sha1(completion["signature"].encode()).digest()
        assert nonce.startswith(expected)


class TestAppPage:
    def launch(self, phone: TestClient, tokens: dict[str, str], redirect: str = "null") -> str:
        response = phone.get("/", params={"autostarttoken": tokens["autoStartToken"], "redirect": redirect})
        assert response.status_code == 303, response.text
        return str(response.headers["location"])

    def test_same_device_ends_at_the_orders_return_url(self, api: TestClient, phone: TestClient) -> None:
        """Approve sends the browser to `returnUrl`, which wins over the launch URL's redirect."""
        tokens = start(api, returnUrl="http://localhost:8700/j/1/return?n=x")
        order = self.launch(phone, tokens, redirect="https://elsewhere.example/")
        assert phone.post(f"{order}/person", data={"person": "anders"}).headers["location"] == order
        assert 'id="approve"' in phone.get(order).text
        response = phone.post(f"{order}/approve")
        assert (response.status_code, response.headers["location"]) == (
            303,
            "http://localhost:8700/j/1/return?n=x",
        )
        assert collect(api, tokens)["completionData"]["device"]["ipAddress"] == "203.0.113.5"

    def test_without_return_url_the_launch_redirect_counts(self, api: TestClient, phone: TestClient) -> None:
        """An order without returnUrl falls back to `redirect`; `null` means stay here."""
        order = self.launch(phone, start(api), redirect="https://shop.example/back")
        assert phone.post(f"{order}/decline").headers["location"] == "https://shop.example/back"
        order = self.launch(phone, start(api), redirect="null")
        assert phone.post(f"{order}/decline").headers["location"] == order
        assert "Not completed" in phone.get(order).text

    @pytest.mark.parametrize("redirect", ["javascript:alert(1)", "data:text/html,x", "http://[", "//x.example"])
    def test_the_app_opens_web_addresses_only(self, api: TestClient, phone: TestClient, redirect: str) -> None:
        """A redirect that is no http(s) address is ignored."""
        order = self.launch(phone, start(api), redirect=redirect)
        assert phone.post(f"{order}/decline").headers["location"] == order

    def test_the_page_survives_a_reload(self, api: TestClient, phone: TestClient) -> None:
        """
        The order's page is the same however often it is asked for, and the launch link leads back to it.
        """
        tokens = start(api)
        order = self.launch(phone, tokens)
        assert phone.get(order).text == phone.get(order).text
        assert self.launch(phone, tokens) == order

    def test_an_unknown_token_opens_nothing(self, phone: TestClient) -> None:
        """A made-up or finished launch link gets a friendly refusal."""
        response = phone.get("/", params={"autostarttoken": "6c1f7a5e-0000-0000-0000-000000000000"})
        assert response.status_code == 400
        assert 'id="problem"' in response.text

    def test_visible_data_is_shown_and_escaped(self, api: TestClient, phone: TestClient) -> None:
        """Who asks and why is on the page; markup in it is text."""
        text = "# Log in to *Däck*\n+ <script>alert(1)</script>"
        tokens = start(api, userVisibleData=b64(text), userVisibleDataFormat="simpleMarkdownV1")
        html = phone.get(self.launch(phone, tokens)).text
        assert "<h2>Log in to <strong>Däck</strong></h2>" in html
        assert "<li>&lt;script&gt;alert(1)&lt;/script&gt;</li>" in html
        assert "Testbolaget" in html

    def test_every_person_and_button_has_a_stable_id(self, api: TestClient, phone: TestClient) -> None:
        """Automation finds persons, approve, decline and the code field by id."""
        order = self.launch(phone, start(api))
        html = phone.get(order).text
        for name in ("anders", "elsa", "nils", "harald", "amina"):
            assert f'id="person-{name}"' in html
        assert 'id="decline"' in html
        assert 'id="qr-text"' in phone.get("/").text

    def test_qr_by_text_stays_on_the_phone(self, api: TestClient, phone: TestClient) -> None:
        """A scanned order warns, and ends on the phone even when it has a returnUrl."""
        tokens = start(api, returnUrl="https://broker.example/return")
        response = phone.post("/scan", data={"qr-text": f"  {qr_text(tokens, 0)}\n"})
        order = response.headers["location"]
        assert "another screen" in phone.get(order).text
        phone.post(f"{order}/person", data={"person": "elsa"})
        assert phone.post(f"{order}/approve").headers["location"] == order
        assert "You are identified" in phone.get(order).text

    def test_qr_by_picture(self, api: TestClient, phone: TestClient) -> None:
        """A screenshot with the code somewhere in it opens the order."""
        tokens = start(api)
        response = phone.post("/scan", files={"qr-image": ("shot.png", screenshot(qr_text(tokens, 0)), "image/png")})
        assert response.status_code == 303
        assert collect(api, tokens)["hintCode"] == "started"

    @pytest.mark.parametrize(
        "upload",
        [b"", b"GIF89a nonsense", b"\x89PNG\r\n\x1a\n" + b"\x00" * 40],
        ids=["nothing", "not a picture", "broken picture"],
    )
    def test_a_picture_without_a_code_is_refused(self, phone: TestClient, upload: bytes) -> None:
        """Nothing, nonsense and broken files are answered with words, not with an error."""
        response = phone.post("/scan", files={"qr-image": ("x.png", upload, "image/png")})
        assert response.status_code == 400
        assert 'id="problem"' in response.text

    def test_a_foreign_code_in_a_picture_is_refused(self, phone: TestClient) -> None:
        """Only codes that begin with `bankid.` are read."""
        picture = screenshot("https://example.com/not-a-login")
        response = phone.post("/scan", files={"qr-image": ("x.png", picture, "image/png")})
        assert response.status_code == 400

    def test_pages_may_not_be_framed_or_kept(self, phone: TestClient) -> None:
        """No framing, no caching, no scripts but our own."""
        headers = phone.get("/").headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert phone.get("/static/app.css").status_code == 200

    def test_test_controls_replace_the_script(self, api: TestClient, phone: TestClient) -> None:
        """What is chosen under Test controls happens to this order."""
        tokens = start(api)
        order = self.launch(phone, tokens)
        phone.post(f"{order}/person", data={"person": "elsa", "script": "blocked"})
        phone.post(f"{order}/approve")
        assert collect(api, tokens)["hintCode"] == "certificateErr"

    def test_nothing_happens_twice(self, api: TestClient, phone: TestClient) -> None:
        """Approve or decline after the end is refused and changes nothing."""
        tokens = start(api)
        order = self.launch(phone, tokens)
        assert phone.post(f"{order}/approve").status_code == 400
        phone.post(f"{order}/person", data={"person": "elsa"})
        phone.post(f"{order}/decline")
        assert phone.post(f"{order}/approve").status_code == 400
        assert collect(api, tokens)["hintCode"] == "userCancel"


class TestMarkdown:
    def test_rendering(self) -> None:
        """Headings, bold, lists, rules and line breaks; everything else is text."""
        text = "## Head\r\none\rtwo\n\n---\n+ a\n- **b**\n| x | y |"
        assert render_markdown(text) == (
            "<h3>Head</h3><p>one<br>two</p><hr><ul><li>a</li><li><strong>b</strong></li></ul><p>| x | y |</p>"
        )

    def test_plain_text_has_no_markup(self) -> None:
        """Without a format nothing is interpreted."""
        assert render_plain("# a *b*\nc\n\n<d>") == "<p># a *b*<br>c</p><p>&lt;d&gt;</p>"


def screenshot(text: str) -> bytes:
    """A PNG as a customer's screenshot: the code, enlarged, on a grey page."""
    drawn = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode).to_image()
    height, width = drawn.shape[:2]
    code = Image.frombuffer("L", (width, height), bytes(drawn)).resize(
        (width * 6, height * 6), Image.Resampling.NEAREST
    )
    page = Image.new("L", (900, 700), 225)
    page.paste(code, (260, 150))
    out = io.BytesIO()
    page.save(out, "PNG")
    return out.getvalue()
