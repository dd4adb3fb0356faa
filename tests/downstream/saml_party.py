"""
A strict SAML service provider: it signs with another library than the broker, reads nothing that was not signed, and takes no
assertion that was not encrypted to it. And a broker that knows a few of them.
"""

import base64
import shutil
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from signxml import CanonicalizationMethod, SignatureConfiguration, SignatureConstructionMethod, XMLSigner, XMLVerifier

from broker.observe.telemetry import Telemetry
from broker.stores.ports import Records, StateStore
from tests.stage import ISSUER, LEFT_BEHIND, SECRET, Answer, Browser, Stage, open_stage

SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
NS = {
    "samlp": SAMLP,
    "saml": SAML,
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "xenc": "http://www.w3.org/2001/04/xmlenc#",
}
IDP = f"{ISSUER}/saml/metadata"
SSO = f"{ISSUER}/saml/sso"
SLO = f"{ISSUER}/saml/slo"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
STATUS = "urn:oasis:names:tc:SAML:2.0:status:"
CLASSES = "urn:oasis:names:tc:SAML:2.0:ac:classes:"
LOA = "http://eidas.europa.eu/LoA/"

KEYS = """
broker:
  saml:
    keys: [{key: file:secrets/saml.pem, certificate: broker.pem}]
"""
WORKSHOP_SECRET = "w" * 40
PARTNERS = """
partners:
  hotel:
    names: {en: Hotel}
    home_uri: https://hotel.example/
    saml:
      entity_id: https://hotel.example/saml
      acs: [https://hotel.example/acs, "https://hotel.example/acs?two"]
      certificates: [hotel.pem]
      slo_uri: https://hotel.example/slo
      tell_logout: true
    login:
      upstreams: [google, bankid]
      claims: [name, email]
      consent: implied
  clinic:
    names: {en: Clinic}
    home_uri: https://clinic.example/
    saml:
      entity_id: urn:clinic:saml
      acs: [https://clinic.example/acs]
      certificates: [clinic.pem]
      require_signed_requests: true
      sign_assertion: true
      name_id_formats: [persistent, email]
      attribute_names: basic
      attributes: {email: epost}
      authn_contexts:
        urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport: contact
    login:
      upstreams: [google, bankid]
      claims: [name, email]
      consent: ask
  archive:
    names: {en: Archive}
    home_uri: https://archive.example/
    saml:
      entity_id: https://archive.example/saml
      acs: [https://archive.example/acs]
      encrypt: never
      identifier: none
      tell_provider: true
    login:
      upstreams: [bankid]
      consent: implied
  workshop:
    names: {en: Workshop}
    home_uri: https://workshop.example/
    guest_uri: https://workshop.example/guest
    saml:
      entity_id: https://workshop.example/saml
      acs: [https://workshop.example/acs]
      certificates: [workshop.pem]
      start: {uri: "https://workshop.example/login?idp=stafett"}
      tell_provider: true
      api: {client_id: workshop-api, secret: file:secrets/workshop}
"""
AGREEMENTS = """
agreements:
  - from: tyre-shop
    to: workshop
    purpose: repair
    purpose_texts: {en: Repairing your tyres}
    types: [tyre-fitting/v1]
    claims: {required: [customer.name, items], optional: [customer.email]}
    minimum_assurance: contact
    upstreams: [bankid, google]
"""


@cache
def pair(name: str) -> tuple[rsa.RSAPrivateKey, bytes]:
    """A private key, and its certificate as PEM: long out of date, which means nothing."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    certificate = made.not_valid_after(datetime(2021, 1, 1, tzinfo=UTC)).sign(key, hashes.SHA256())
    return key, certificate.public_bytes(Encoding.PEM)


def pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass
class Received:
    """A response as its service provider believes it."""

    status: str
    second: str | None
    message: str | None
    in_response_to: str | None
    relay_state: str | None
    assertion: Any = None
    was_encrypted: bool = False
    assertion_signed: bool = False

    def one(self, path: str) -> Any:
        (found,) = self.assertion.xpath(path, namespaces=NS)
        return found

    @property
    def name_id(self) -> str:
        return str(self.one("saml:Subject/saml:NameID").text)

    @property
    def context(self) -> str:
        return str(self.one("saml:AuthnStatement/saml:AuthnContext/saml:AuthnContextClassRef").text)

    @property
    def session_index(self) -> str:
        return str(self.one("saml:AuthnStatement").get("SessionIndex"))

    @property
    def attributes(self) -> dict[str, list[str]]:
        return {
            each.get("Name"): [value.text for value in each.findall("saml:AttributeValue", NS)]
            for each in self.assertion.findall("saml:AttributeStatement/saml:Attribute", NS)
        }


@dataclass
class Sp:
    """One service provider. ``now``: its clock."""

    stage: Stage
    name: str
    entity_id: str
    acs: str
    needs_encryption: bool = True
    idp_certificate: bytes = b""
    sent: dict[str, str] = field(default_factory=dict)
    content: str = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
    _count: int = 0

    @property
    def key(self) -> rsa.RSAPrivateKey:
        return pair(self.name)[0]

    @property
    def idp(self) -> str:
        """The broker as it calls itself."""
        return f"{self.stage.loaded.policy.issuer}/saml/metadata"

    def request(self, inside: str = "", *, drop: tuple[str, ...] = (), **changed: str) -> bytes:
        """An AuthnRequest; attributes are changed or dropped, *inside* stands after the Issuer."""
        self._count += 1
        attributes = {
            "ID": f"_{self.name}{self._count}",
            "Version": "2.0",
            "IssueInstant": f"{self.stage.clock.now:%Y-%m-%dT%H:%M:%SZ}",
            "Destination": f"{self.stage.loaded.policy.issuer}/saml/sso",
            "AssertionConsumerServiceURL": self.acs,
            **changed,
        }
        issuer = attributes.pop("Issuer", self.entity_id)
        self.sent[attributes["ID"]] = attributes.get("AssertionConsumerServiceURL", "")
        told = " ".join(f'{name}="{value}"' for name, value in attributes.items() if name not in drop)
        head = f'<samlp:AuthnRequest xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" {told}>'
        return f"{head}<saml:Issuer>{issuer}</saml:Issuer>{inside}</samlp:AuthnRequest>".encode()

    def redirect(
        self, request: bytes | None = None, *, relay_state: str | None = "app-1", key: rsa.RSAPrivateKey | None = None
    ) -> str:
        """The address of a request by HTTP-Redirect; signed where there is a *key*."""
        return f"/saml/sso?{self.query(request or self.request(), relay_state=relay_state, key=key)}"

    def query(
        self, message: bytes, *, field_: str = "SAMLRequest", relay_state: str | None, key: rsa.RSAPrivateKey | None
    ) -> str:
        deflated = zlib.compress(message, wbits=-15)
        members = {field_: base64.b64encode(deflated).decode()}
        if relay_state is not None:
            members["RelayState"] = relay_state
        if key is None:
            return urlencode(members)
        signed = urlencode({**members, "SigAlg": RSA_SHA256})
        value = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}&{urlencode({'Signature': base64.b64encode(value).decode()})}"

    def form(
        self, request: bytes | None = None, *, relay_state: str | None = "app-1", signed: bool = True
    ) -> dict[str, str]:
        """The form of a request by HTTP-POST."""
        octets = request or self.request()
        octets = self.signed(octets) if signed else octets
        members = {"SAMLRequest": base64.b64encode(octets).decode()}
        return members | ({"RelayState": relay_state} if relay_state is not None else {})

    def signed(self, octets: bytes) -> bytes:
        """*octets* with an enveloped signature after its Issuer."""
        place = f'<ds:Signature xmlns:ds="{NS["ds"]}" Id="placeholder"/>'.encode()
        root = etree.fromstring(octets.replace(b"</saml:Issuer>", b"</saml:Issuer>" + place, 1))
        signer = XMLSigner(
            method=SignatureConstructionMethod.enveloped,
            c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
        )
        signer.namespaces = {"ds": NS["ds"]}
        done = signer.sign(
            root,
            key=pem(self.key),
            cert=pair(self.name)[1].decode(),
            reference_uri=f"#{root.get('ID')}",
            id_attribute="ID",
        )
        return bytes(etree.tostring(done))

    def logout_request(self, received: "Received", **changed: str) -> bytes:
        """A LogoutRequest about the session that *received* is of."""
        self._count += 1
        told = {
            "ID": f"_{self.name}out{self._count}",
            "Version": "2.0",
            "IssueInstant": f"{self.stage.clock.now:%Y-%m-%dT%H:%M:%SZ}",
            "Destination": SLO,
            **changed,
        }
        name, index = told.pop("NameID", received.name_id), told.pop("SessionIndex", received.session_index)
        self.sent[told["ID"]] = "logout"
        attributes = " ".join(f'{name}="{value}"' for name, value in told.items())
        return (
            f'<samlp:LogoutRequest xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" {attributes}>'
            f"<saml:Issuer>{self.entity_id}</saml:Issuer><saml:NameID>{name}</saml:NameID>"
            f"<samlp:SessionIndex>{index}</samlp:SessionIndex></samlp:LogoutRequest>"
        ).encode()

    def log_out(self, message: bytes, *, key: rsa.RSAPrivateKey | None = None) -> str:
        """The address of a LogoutRequest by HTTP-Redirect, signed by this service provider unless by another *key*."""
        return f"/saml/slo?{self.query(message, relay_state='bye', key=key or self.key)}"

    def logged_out(self, answer: Answer) -> tuple[str, str | None, str | None]:
        """Status, second status and RelayState of the LogoutResponse that *answer* carries; its signature is checked."""
        root, relay_state = self._redirected(answer, "SAMLResponse")
        assert root.tag == f"{{{SAMLP}}}LogoutResponse"
        assert root.get("InResponseTo") in self.sent
        top = root.find("samlp:Status/samlp:StatusCode", NS)
        second = top.find("samlp:StatusCode", NS)
        found = second.get("Value").removeprefix(STATUS) if second is not None else None
        return top.get("Value").removeprefix(STATUS), found, relay_state

    def asked_to_log_out(self, answer: Answer) -> Any:
        """The LogoutRequest that *answer* carries."""
        root, _ = self._redirected(answer, "SAMLRequest")
        assert root.tag == f"{{{SAMLP}}}LogoutRequest"
        return root

    def _redirected(self, answer: Answer, field_: str) -> tuple[Any, str | None]:
        where, _, query = answer.location.partition("?")
        assert where == f"https://{self.name}.example/slo"
        signed, _, signature = query.partition("&Signature=")
        public = x509.load_pem_x509_certificate(self.idp_certificate).public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        public.verify(base64.b64decode(unquote(signature)), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        members = dict(parse_qsl(signed))
        root = etree.fromstring(zlib.decompress(base64.b64decode(members[field_]), wbits=-15))
        assert root.get("Destination") == where
        assert root.findtext("saml:Issuer", namespaces=NS) == IDP
        return root, members.get("RelayState")

    def answer_logout(self, request: Any, status: str = "Success", **changed: str) -> str:
        """The address of our LogoutResponse to *request*."""
        self._count += 1
        told = {
            "ID": f"_{self.name}bye{self._count}",
            "Version": "2.0",
            "IssueInstant": f"{self.stage.clock.now:%Y-%m-%dT%H:%M:%SZ}",
            "Destination": SLO,
            "InResponseTo": request.get("ID"),
            **changed,
        }
        attributes = " ".join(f'{name}="{value}"' for name, value in told.items())
        message = (
            f'<samlp:LogoutResponse xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" {attributes}>'
            f'<saml:Issuer>{self.entity_id}</saml:Issuer><samlp:Status><samlp:StatusCode Value="{STATUS}{status}"/>'
            "</samlp:Status></samlp:LogoutResponse>"
        ).encode()
        return f"/saml/slo?{self.query(message, field_='SAMLResponse', relay_state=None, key=self.key)}"

    def receive(self, answer: Answer, *, wants: str | None = None) -> Received:
        """What the response that *answer* makes the browser post says, if there is anything to believe."""
        form = answer.form_post
        assert form is not None, answer.text[:2000]
        assert form["action"] == (wants or self.acs)
        return self.posted(form["action"], dict(form["fields"]))

    def unsolicited(self, answer: Answer) -> Received:
        """As `receive`, of a response this service provider did not ask for, and says so itself (saml-profiles-2.0-os, 4.1.5)."""
        form = answer.form_post
        assert form is not None, answer.text[:2000]
        received = self.posted(form["action"], dict(form["fields"]), is_asked=False)
        assert form["action"] == self.acs
        assert received.in_response_to is None
        return received

    def posted(self, acs: str, members: Mapping[str, str], *, is_asked: bool = True) -> Received:
        """What a form with *members*, posted to *acs*, says, if there is anything to believe."""
        root = self.verified(base64.b64decode(members["SAMLResponse"]))
        assert root.tag == f"{{{SAMLP}}}Response"
        assert root.get("Destination") == acs
        assert root.findtext("saml:Issuer", namespaces=NS) == self.idp
        top = root.find("samlp:Status/samlp:StatusCode", NS)
        second = top.find("samlp:StatusCode", NS)
        received = Received(
            status=top.get("Value").removeprefix(STATUS),
            second=second.get("Value").removeprefix(STATUS) if second is not None else None,
            message=root.findtext("samlp:Status/samlp:StatusMessage", namespaces=NS),
            in_response_to=root.get("InResponseTo"),
            relay_state=members.get("RelayState"),
        )
        assert not is_asked or received.in_response_to in self.sent
        return received if received.status != "Success" else self._with_assertion(received, root, acs)

    def verified(self, octets: bytes) -> Any:
        """The signed root alone, read from what signxml verified."""
        config = SignatureConfiguration(location="./", expect_references=1, verification_time=THEN)
        found = XMLVerifier().verify(
            octets, x509_cert=self.idp_certificate.decode(), id_attribute="ID", expect_config=config
        )
        return found.signed_xml

    def _with_assertion(self, received: Received, root: Any, acs: str) -> Received:
        encrypted = root.findall("saml:EncryptedAssertion", NS)
        plain = root.findall("saml:Assertion", NS)
        assert len(encrypted) + len(plain) == 1
        assert bool(encrypted) == self.needs_encryption
        received.was_encrypted = bool(encrypted)
        assertion = self._decrypted(encrypted[0]) if encrypted else plain[0]
        if assertion.find("ds:Signature", NS) is not None:
            received.assertion_signed = True
            assertion = self.verified(etree.tostring(assertion))
        received.assertion = assertion
        self._check(received, acs)
        return received

    def _decrypted(self, encrypted: Any) -> Any:
        (wrapped, sealed) = (base64.b64decode(each.text) for each in encrypted.iter(f"{{{NS['xenc']}}}CipherValue"))
        methods = [each.get("Algorithm") for each in encrypted.iter(f"{{{NS['xenc']}}}EncryptionMethod")]
        assert methods == [
            self.content,
            "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
        ]
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        content_key = self.key.decrypt(wrapped, oaep)
        return etree.fromstring(AESGCM(content_key).decrypt(sealed[:12], sealed[12:], None))

    def _check(self, received: Received, acs: str) -> None:
        """saml-profiles-2.0-os, section 4.1.4.3."""
        now = self.stage.clock.now
        assert received.one("saml:Issuer").text == self.idp
        assert received.one("saml:Conditions/saml:AudienceRestriction/saml:Audience").text == self.entity_id
        conditions = received.one("saml:Conditions")
        assert _time(conditions.get("NotBefore")) <= now < _time(conditions.get("NotOnOrAfter"))
        data = received.one("saml:Subject/saml:SubjectConfirmation/saml:SubjectConfirmationData")
        assert data.get("Recipient") == acs
        assert data.get("InResponseTo") == received.in_response_to
        assert now < _time(data.get("NotOnOrAfter")) <= now + timedelta(minutes=5)
        assert len(received.assertion.findall("saml:AuthnStatement", NS)) == 1
        assert len(received.assertion.findall("saml:AttributeStatement", NS)) <= 1
        assert now < _time(received.one("saml:AuthnStatement").get("SessionNotOnOrAfter"))


THEN = datetime(2020, 6, 1, tzinfo=UTC)
"""When the certificates were good; nobody cares."""


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


class Party:
    """The stage and the service providers on it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.others: dict[str, Sp] = {}
        idp = pair("broker")[1]
        self.hotel = Sp(stage, "hotel", "https://hotel.example/saml", "https://hotel.example/acs", idp_certificate=idp)
        self.clinic = Sp(stage, "clinic", "urn:clinic:saml", "https://clinic.example/acs", idp_certificate=idp)
        workshop = "https://workshop.example"
        self.workshop = Sp(stage, "workshop", f"{workshop}/saml", f"{workshop}/acs", idp_certificate=idp)
        self.archive = Sp(stage, "archive", "https://archive.example/saml", "https://archive.example/acs", False, idp)

    async def fetch(self, handoff: str, auth: tuple[str, str] = ("workshop-api", WORKSHOP_SECRET)) -> Answer:
        """The workshop's server asks for the data."""
        return Answer(await self.stage.client.get(f"/handoffs/{handoff}", auth=auth))

    async def log_in(self, browser: Browser, address: str, method: str = "bankid", who: str = "maja") -> Answer:
        """*who* follows a request and logs in; where the broker leads."""
        begun = await browser.follow(await browser.get(address))
        if begun.status == 200 and begun.form_post is None:
            return await browser.log_in(method, who)
        if begun.status == 303 and begun.location.startswith(f"https://{method}.test/"):
            returned = {"state": begun.query["state"], "who": who}
            return await browser.follow(await browser.get(f"/up/{method}/callback?{urlencode(returned)}"))
        return begun


@asynccontextmanager
async def open_party(
    prepared: Path,
    *,
    files: Mapping[str, bytes] = MappingProxyType({}),
    state: StateStore | None = None,
    edit: Mapping[str, str] | None = None,
    keys: str = KEYS,
    telemetry: Telemetry | None = None,
    wrap: Callable[[Records], Records] = lambda records: records,
) -> AsyncIterator[Party]:
    """
    A broker with these partners besides the demo's. *prepared*: the folder `tests.stage.prepare` made. *keys*: of the broker.
    *files*: beside its config. *wrap*: as `open_stage` has it.
    """
    folder = Path(tempfile.mkdtemp(dir=prepared.parent))
    shutil.copytree(prepared, folder, dirs_exist_ok=True, ignore=LEFT_BEHIND)
    for name in ("hotel", "clinic", "workshop", "broker", "broker-next"):
        (folder / f"{name}.pem").write_bytes(pair(name)[1])
    for file, name in (("saml.pem", "broker"), ("saml-next.pem", "broker-next")):
        (folder / "secrets" / file).write_bytes(pem(pair(name)[0]))
        (folder / "secrets" / file).chmod(0o600)
    for file, octets in files.items():
        (folder / file).write_bytes(octets)
    (folder / "secrets" / "workshop").write_text(WORKSHOP_SECRET)
    (folder / "secrets" / "workshop").chmod(0o600)
    edits = {"\nbroker:\n": keys, "\npartners:\n": PARTNERS, "\nagreements:\n": AGREEMENTS, **(edit or {})}
    try:
        async with open_stage(folder, state=state, edit=edits, telemetry=telemetry, wrap=wrap) as stage:
            yield Party(stage)
    finally:
        shutil.rmtree(folder)


__all__ = [
    "CLASSES",
    "IDP",
    "LOA",
    "NS",
    "POST",
    "SECRET",
    "SSO",
    "Party",
    "Received",
    "Sp",
    "open_party",
    "pair",
    "pem",
]
