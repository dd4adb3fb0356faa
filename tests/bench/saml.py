"""
What SAML costs: `python -m tests.bench.saml [--rsa 3072] [--ours p256]`.

First whole logins, as server CPU of a broker on a real Redis: at a service provider through an identity provider, at the same
with a session, at an OpenID Connect partner through that identity provider; and for comparison at one with a session. Then the
messages alone, beside the same work done by pysaml2 with the program xmlsec1, in the same run; the CPU of programs that are
started is counted. Keys are RSA of the size given, theirs and, unless said otherwise, ours; requests are signed, assertions
encrypted, responses signed.
Figures are printed, never asserted.
"""

import argparse
import asyncio
import base64
import platform
import re
import resource
import secrets
import shutil
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from broker.core.saml import PERSISTENT, POST, REDIRECT, TRANSIENT, Endpoint, PeerKey
from broker.wire.saml import posted, redirect, xml
from broker.wire.saml.answer import Attribute, Envelope, NameId, Protection, ToAssert, success
from broker.wire.saml.asked import read_authn_request
from broker.wire.saml.encryption import recipient_of
from broker.wire.saml.keys import PrivateKey, decrypting_key, signing_key, verifying_key
from broker.wire.saml.metadata import Described, ProviderRole, ServiceRole, write
from broker.wire.saml.request import ToAsk, build_request
from broker.wire.saml.response import Expected, ReadResponse, read_response
from tests.bench.measure import Figures, Flow, measure
from tests.bench.people import Failed, Person
from tests.bench.world import World, open_world

IDP = "https://idp.example/saml"
IDP_SSO = "https://idp.example/sso"
SP = "https://sp.example/saml"
SP_ACS = "https://sp.example/acs"
CLASS = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
NAME, MAIL = "urn:oid:2.16.840.1.113730.3.1.241", "urn:oid:0.9.2342.19200300.100.1.3"
CONFIG = {
    "\nbroker:\n": "\nbroker:\n  saml:\n    keys: [{key: file:saml-key.pem, certificate: saml.pem}]\n",
    "\nupstreams:\n": f"""
upstreams:
  campus:
    kind: saml
    titles: {{sv: Campus, fi: Kampus, pl: Kampus, en: Campus}}
    ceiling: self-asserted
    may_bootstrap_other_methods: false
    connect:
      entity_id: {IDP}
      metadata: idp.xml
      keys: [{{key: file:up-key.pem, certificate: up.pem}}]
      signs_response: true
""",
    "\npartners:\n": f"""
partners:
  hotel:
    names: {{en: Hotel}}
    home_uri: https://sp.example/
    saml:
      entity_id: {SP}
      metadata: sp.xml
      require_signed_requests: true
    login: {{upstreams: [campus], claims: [name, email], consent: implied}}
  library:
    names: {{en: Library}}
    home_uri: http://127.0.0.1:3000/
    oidc:
      client_id: library
      auth: client_secret_basic
      secret: env:BENCH_SECRET
      redirect_uris: [http://127.0.0.1:3000/callback]
    login: {{upstreams: [campus], claims: [name, email], consent: implied}}
""",
}


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate, PEM and DER."""

    private: PrivateKey
    pem: bytes
    certificate_pem: bytes
    certificate: bytes

    @classmethod
    def of(cls, private: PrivateKey) -> "Pair":
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(1)
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=30))
            .sign(private, hashes.SHA256())
        )
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(private, pem, certificate.public_bytes(Encoding.PEM), certificate.public_bytes(Encoding.DER))


class Peers:
    """A service provider and an identity provider as quick as can be: they check nothing and have their keys at hand."""

    def __init__(self, bits: int, *, ours_p256: bool = False) -> None:
        def made() -> rsa.RSAPrivateKey:
            return rsa.generate_private_key(65537, bits)

        self.sp, self.idp = Pair.of(made()), Pair.of(made())
        self.ours, self.up = (
            Pair.of(ec.generate_private_key(ec.SECP256R1()) if ours_p256 else made()) for _ in range(2)
        )
        self.idp_key, self.sp_key = (signing_key(each.pem, each.certificate) for each in (self.idp, self.sp))
        self.to_us = recipient_of((PeerKey(self.up.certificate, "both"),))

    def files(self) -> dict[str, bytes]:
        return {
            "saml-key.pem": self.ours.pem,
            "saml.pem": self.ours.certificate_pem,
            "up-key.pem": self.up.pem,
            "up.pem": self.up.certificate_pem,
            "sp.xml": self.service_provider(),
            "idp.xml": self.identity_provider(),
        }

    def service_provider(self) -> bytes:
        """Its metadata."""
        acs = (Endpoint(POST, SP_ACS, index=0, is_default=True),)
        return self._metadata(SP, self.sp, ServiceRole(acs, (), wants_assertions_signed=False))

    def identity_provider(self) -> bytes:
        """Its metadata."""
        return self._metadata(IDP, self.idp, ProviderRole(sso=(Endpoint(REDIRECT, IDP_SSO),)))

    def request(self, issuer: str) -> str:
        """The address of a signed request for a login, as a service provider sends it."""
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        text = (
            f'<samlp:AuthnRequest xmlns:samlp="{xml.SAMLP}" xmlns:saml="{xml.SAML}" ID="_{secrets.token_hex(16)}"'
            f' Version="2.0" IssueInstant="{now}" Destination="{issuer}/saml/sso" AssertionConsumerServiceURL="{SP_ACS}">'
            f"<saml:Issuer>{SP}</saml:Issuer></samlp:AuthnRequest>"
        )
        signed = redirect.encode(text.encode(), field="SAMLRequest", relay_state="app-1", key=self.sp_key)
        return f"{issuer}/saml/sso?{signed}"

    def answer(self, asked: str) -> tuple[str, dict[str, str]]:
        """Where the form that answers the request at the address *asked* goes, and its members."""
        query = dict(parse_qsl(urlsplit(asked).query))
        text = zlib.decompress(base64.b64decode(query["SAMLRequest"]), -15).decode()
        told = {name: re.search(rf'{name}="([^"]+)"', text) for name in ("ID", "AssertionConsumerServiceURL")}
        audience = re.search(r"Issuer[^>]*>([^<]+)<", text)
        if not (told["ID"] and told["AssertionConsumerServiceURL"] and audience):
            raise Failed(f"no request: {text[:300]}")
        acs = told["AssertionConsumerServiceURL"][1]
        now = datetime.now(UTC)
        envelope = Envelope(f"_{secrets.token_hex(16)}", IDP, acs, now, told["ID"][1])
        response = success(envelope, content(audience[1], now, PERSISTENT), Protection(self.idp_key, self.to_us))
        return acs, {"SAMLResponse": posted.encode(response), "RelayState": query["RelayState"]}

    @staticmethod
    def _metadata(entity_id: str, pair: Pair, role: ProviderRole | ServiceRole) -> bytes:
        until = datetime.now(UTC) + timedelta(days=10)
        keys = (PeerKey(pair.certificate, "both"),)
        about = Described(
            entity_id=entity_id, keys=keys, valid_until=until, cache_duration=timedelta(hours=6), names={}
        )
        return write(about, role, signing_key(pair.pem, pair.certificate))


def content(audience: str, now: datetime, format_: str) -> ToAssert:
    """An assertion about Maja."""
    return ToAssert(
        id=f"_{secrets.token_hex(16)}",
        name_id=NameId("m" * 40, format_, audience),
        audience=audience,
        authenticated_at=now,
        valid_from=now - timedelta(minutes=3),
        valid_until=now + timedelta(minutes=5),
        session_index="s" * 32,
        session_until=now + timedelta(hours=8),
        context=CLASS,
        attributes=(Attribute(NAME, ("Maja Lind",)), Attribute(MAIL, ("maja@example.com",))),
    )


class Visitor(Person):
    """A browser that comes from a service provider or goes to an identity provider."""

    def __init__(self, world: World, http: aiohttp.ClientSession, peers: Peers) -> None:
        super().__init__(world, http)
        self._peers = peers

    async def log_in_at_hotel(self) -> None:
        """At the service provider, through the identity provider."""
        location, page = await self._get(self._peers.request(self._world.issuer))
        location, page = await self._through_campus(location)
        self._arrived(page)

    async def log_in_at_hotel_again(self) -> None:
        """The service provider asks again while the session lives."""
        _, page = await self._get(self._peers.request(self._world.issuer))
        self._arrived(page)

    async def log_in_at_library(self) -> None:
        """At an OpenID Connect partner, through the identity provider."""
        callback = "http://127.0.0.1:3000/callback"
        location, _ = await self._get(self._request("library", callback, scope="openid profile email"))
        location, _ = await self._through_campus(location)
        await self._finish("library", callback, location)

    async def _through_campus(self, location: str) -> tuple[str, str]:
        if not location.startswith(IDP_SSO):
            raise Failed(f"not at the provider: {location[:200]}")
        acs, form = self._peers.answer(location)
        location, page = await self._browse("POST", acs, form)
        came_from = acs
        while location != came_from and location.startswith(self._world.issuer):
            came_from = location
            location, page = await self._get(location)
        return location, page

    @staticmethod
    def _arrived(page: str) -> None:
        if "SAMLResponse" not in page:
            raise Failed(f"no response: {page[:500]}")


async def flows(world: World, peers: Peers, runs: int) -> dict[str, Figures]:
    """The logins."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:

        def anew(way: Callable[[Visitor], Awaitable[object]]) -> Callable[[], Awaitable[tuple[Person, Flow]]]:
            async def begin() -> tuple[Person, Flow]:
                visitor = Visitor(world, http, peers)

                async def log_in() -> None:
                    visitor.forget()
                    await way(visitor)

                return visitor, log_in

            return begin

        async def known() -> tuple[Person, Flow]:
            visitor = Visitor(world, http, peers)
            await visitor.log_in_at_hotel()
            return visitor, visitor.log_in_at_hotel_again

        async def known_to_the_shop() -> tuple[Person, Flow]:
            person = Person(world, http)
            await person.log_in()
            return person, person.log_in_again

        begins = {
            "OIDC, with a session": known_to_the_shop,
            "SAML to SAML": anew(Visitor.log_in_at_hotel),
            "SAML, with a session": known,
            "OIDC through SAML": anew(Visitor.log_in_at_library),
        }
        return {name: await measure(world, runs, begin) for name, begin in begins.items()}


def cpu_ms(once: Callable[[], object], times: int) -> float:
    """CPU of this process and of those it starts, in milliseconds a time."""
    once()
    before = _cpu_s()
    for _ in range(times):
        once()
    return (_cpu_s() - before) / times * 1000


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def messages(peers: Peers, times: int) -> dict[str, float]:
    """The broker's own, alone."""
    ours = signing_key(peers.ours.pem, peers.ours.certificate)
    to_sp = recipient_of((PeerKey(peers.sp.certificate, "both"),))
    issuer = "https://broker.example"
    query = urlsplit(peers.request(issuer)).query
    sp_key = verifying_key(peers.sp.certificate)

    def read_request() -> object:
        message = redirect.decode(query)
        redirect.verify(message, (sp_key,))
        root = xml.parse(message.octets)
        xml.schema_check(root)
        return read_authn_request(root)

    def write_response() -> bytes:
        now = datetime.now(UTC)
        envelope = Envelope(f"_{secrets.token_hex(16)}", issuer, SP_ACS, now, "_asked")
        return success(envelope, content(SP, now, TRANSIENT), Protection(ours, to_sp))

    def write_request() -> str:
        ask = ToAsk(f"_{secrets.token_hex(16)}", SP, IDP_SSO, datetime.now(UTC), acs=SP_ACS, name_id_format=PERSISTENT)
        return redirect.encode(build_request(ask), field="SAMLRequest", relay_state="app-1", key=ours)

    form = posted.encode(write_response())
    expected = Expected(
        issuer,
        SP,
        SP_ACS,
        "_asked",
        (verifying_key(peers.ours.certificate),),
        (decrypting_key(peers.sp.pem),),
        signs_response=True,
        encrypted=True,
    )

    def read_form() -> object:
        read = read_response(posted.decode(form), expected=expected, now=datetime.now(UTC))
        assert isinstance(read, ReadResponse)
        return read

    return {
        "read a signed request": cpu_ms(read_request, times),
        "write a response, encrypted and signed": cpu_ms(write_response, times),
        "write a signed request": cpu_ms(write_request, times),
        "read a response, encrypted and signed": cpu_ms(read_form, times),
    }


def messages_of_pysaml2(peers: Peers, program: str, folder: Path, times: int) -> dict[str, float]:
    """The same with pysaml2 as it comes: it starts *program* for signatures and ciphers in documents."""
    from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
    from saml2.client import Saml2Client
    from saml2.config import IdPConfig, SPConfig
    from saml2.saml import NameID
    from saml2.server import Server

    for name, pair in (("idp", peers.idp), ("sp", peers.sp)):
        (folder / f"{name}.key").write_bytes(pair.pem)
        (folder / f"{name}.crt").write_bytes(pair.certificate_pem)

    def common(name: str) -> dict[str, Any]:
        own = {"key_file": str(folder / f"{name}.key"), "cert_file": str(folder / f"{name}.crt")}
        return {
            **own,
            "encryption_keypairs": [own],
            "xmlsec_binary": program,
            "signing_algorithm": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "digest_algorithm": "http://www.w3.org/2001/04/xmlenc#sha256",
            "metadata": {"inline": [peers.service_provider().decode(), peers.identity_provider().decode()]},
        }

    idp_service = {
        "idp": {
            "endpoints": {"single_sign_on_service": [(IDP_SSO, BINDING_HTTP_REDIRECT)]},
            "want_authn_requests_signed": True,
        }
    }
    sp_service = {
        "sp": {
            "endpoints": {"assertion_consumer_service": [(SP_ACS, BINDING_HTTP_POST)]},
            "authn_requests_signed": True,
            "want_response_signed": True,
            "want_assertions_signed": False,
        }
    }
    server = Server(config=IdPConfig().load({**common("idp"), "entityid": IDP, "service": idp_service}))
    client = Saml2Client(config=SPConfig().load({**common("sp"), "entityid": SP, "service": sp_service}))

    def write_request() -> tuple[str, str]:
        id_, info = client.prepare_for_authenticate(IDP, relay_state="app-1", binding=BINDING_HTTP_REDIRECT)[:2]
        return id_, dict(info["headers"])["Location"]

    asked, address = write_request()
    query = dict(parse_qsl(urlsplit(address).query))

    def read_request() -> object:
        read = server.parse_authn_request(
            query["SAMLRequest"], BINDING_HTTP_REDIRECT, query["RelayState"], query["SigAlg"], query["Signature"]
        )
        assert read.message.id == asked
        return read

    def write_response() -> str:
        return str(
            server.create_authn_response(
                {"displayName": ["Maja Lind"], "mail": ["maja@example.com"]},
                asked,
                SP_ACS,
                SP,
                name_id=NameID(format=TRANSIENT, text="m" * 40, sp_name_qualifier=SP),
                authn={"class_ref": CLASS},
                sign_response=True,
                sign_assertion=False,
                encrypt_assertion=True,
            )
        )

    form = base64.b64encode(write_response().encode()).decode()

    def read_form() -> object:
        read = client.parse_authn_request_response(form, BINDING_HTTP_POST, outstanding={asked: "/"})
        assert read is not None
        assert read.assertion is not None
        return read

    return {
        "read a signed request": cpu_ms(read_request, times),
        "write a response, encrypted and signed": cpu_ms(write_response, times),
        "write a signed request": cpu_ms(write_request, times),
        "read a response, encrypted and signed": cpu_ms(read_form, times),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.saml", description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="runs of each flow (default 400)")
    parser.add_argument("--rsa", type=int, default=2048, help="bits of all keys (default 2048)")
    parser.add_argument(
        "--ours", choices=["rsa", "p256"], default="rsa", help="kind of the broker's keys (default rsa)"
    )
    options = parser.parse_args()
    peers = Peers(options.rsa, ours_p256=options.ours == "p256")
    print(f"{platform.processor() or platform.machine()}, {platform.platform()}, Python {platform.python_version()}")
    print(f"RSA of {options.rsa} bits: one signature {_signature_ms(peers.sp.private):.2f} ms; ours: {options.ours}")

    def edited(text: str) -> str:
        for anchor, more in CONFIG.items():
            text = text.replace(anchor, more, 1)
        return text

    with open_world(edited, peers.files()) as world:
        found = asyncio.run(flows(world, peers, options.runs))
    print(f"{'flow':<24}{'cpu ms':>9}{'p50 ms':>9}{'p95 ms':>9}{'requests':>10}{'failed':>8}")
    for name, each in found.items():
        print(
            f"{name:<24}{median(each.cpu_ms):>9.2f}{each.p50_ms:>9.1f}{each.p95_ms:>9.1f}{each.requests:>10.1f}{each.failed:>8}"
        )
    own = messages(peers, 200)
    program = shutil.which("xmlsec1")
    theirs: dict[str, float] = {}
    if program is not None:
        with tempfile.TemporaryDirectory(prefix="stafett-bench-") as folder:
            theirs = messages_of_pysaml2(peers, program, Path(folder), 20)
    print(f"{'message':<44}{'cpu ms':>9}{'pysaml2 and xmlsec1':>22}")
    for name, value in own.items():
        print(f"{name:<44}{value:>9.2f}{f'{theirs[name]:.1f}' if theirs else 'no xmlsec1':>22}")
    raise SystemExit(1 if any(each.failed for each in found.values()) else 0)


def _signature_ms(key: PrivateKey) -> float:
    assert isinstance(key, rsa.RSAPrivateKey)
    return cpu_ms(lambda: key.sign(b"x" * 600, padding.PKCS1v15(), hashes.SHA256()), 200)


if __name__ == "__main__":
    main()
