"""
A provider that speaks SAML 2.0, for tests and the demo: a plain one, the national node of eIDAS and one as in Sweden Connect.

What it copies: requests must be signed (in the query or in the document, as the binding has it, and how is looked at), addressed
to where they come to, new, from a service whose metadata it has, with the answer to an address of that metadata; what a scheme
demands besides (`Mode`) is demanded. A level it cannot give is answered with NoAuthnContext. Answers go as a form from a page of
its own site, signed and encrypted. What it adds: switches that make it lie. It uses nothing of the broker's own SAML.
"""

import base64
import secrets
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import httpx2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from lxml import etree
from signxml.algorithms import SignatureMethod
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.demo.providers.forgery import remember
from broker.demo.providers.saml_documents import (
    NATURAL,
    PSC,
    Answer,
    Attribute,
    Pair,
    metadata,
    parsed,
    plain,
    response,
    signed,
    verifies_inside,
)

_FOLDER: Final = Path(__file__).with_suffix("")
_NS: Final = {
    "samlp": "urn:oasis:names:tc:SAML:2.0:protocol",
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "mdui": "urn:oasis:names:tc:SAML:metadata:ui",
    "eidas": "http://eidas.europa.eu/saml-extensions",
    "psc": PSC,
}
_STATUS: Final = "urn:oasis:names:tc:SAML:2.0:status:"
_ELEG: Final = "http://id.elegnamnden.se"
PERSISTENT: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
BINDINGS: Final = "urn:oasis:names:tc:SAML:2.0:bindings:"
TRANSIENT: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
LOA: Final = "http://eidas.europa.eu/LoA"
NOT_NOTIFIED: Final = "http://eidas.europa.eu/NotNotified/LoA"
_RSA: Final = {
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256": padding.PKCS1v15(),
    "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1": padding.PSS(padding.MGF1(hashes.SHA256()), 32),
}
_ECDSA: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
_PSS: Final = "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"


_ON_REQUEST: Final = frozenset({f"{NATURAL}/Gender", f"{NATURAL}/CurrentAddress"})


class Fault(StrEnum):
    """A lie or a failure that can be switched on."""

    UNSIGNED = "unsigned"
    ONLY_ASSERTION_SIGNED = "only_assertion_signed"
    UNKNOWN_KEY = "unknown_key"
    BROKEN_SIGNATURE = "broken_signature"
    NOT_ENCRYPTED = "not_encrypted"
    DOCTYPE = "doctype"
    NO_ASSERTION = "no_assertion"
    TWO_ASSERTIONS = "two_assertions"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_ASSERTION_ISSUER = "wrong_assertion_issuer"
    WRONG_DESTINATION = "wrong_destination"
    WRONG_RECIPIENT = "wrong_recipient"
    WRONG_AUDIENCE = "wrong_audience"
    NO_AUDIENCE = "no_audience"
    WRONG_REQUEST = "wrong_request"
    WRONG_CONFIRMED_REQUEST = "wrong_confirmed_request"
    UNSOLICITED = "unsolicited"
    HOLDER_OF_KEY = "holder_of_key"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    STALE = "stale"
    FROM_THE_FUTURE = "from_the_future"
    LOGIN_IN_THE_FUTURE = "login_in_the_future"
    UNKNOWN_LEVEL = "unknown_level"
    NO_LEVEL = "no_level"
    NOBODY = "nobody"
    SAME_ASSERTION = "same_assertion"
    OLD_LOGIN = "old_login"
    LOWEST_LEVEL = "lowest_level"
    NON_NOTIFIED = "non_notified"
    REPRESENTATIVE = "representative"
    LEGAL_PERSON = "legal_person"
    OTHER_RECEIVER = "other_receiver"
    NO_BIRTHDATE = "no_birthdate"
    TRANSIENT_PRID = "transient_prid"
    REFUSED = "refused"
    FRAUD = "fraud"


@dataclass(frozen=True, slots=True)
class Person:
    """
    ``key`` names the button (`#account-<key>`). ``original``, ``original_given``: family and given name in her own script.
    ``country``: whose eID she has, where a node leads to several; EL is Greece.
    """

    key: str
    given_name: str
    family_name: str
    birthdate: str
    personal_number: str
    email: str
    original: str | None = None
    original_given: str | None = None
    country: str | None = None

    @property
    def name(self) -> str:
        """The full name in Latin letters."""
        return f"{self.given_name} {self.family_name}"

    @property
    def original_name(self) -> str | None:
        """The full name in her own script, where that is another one."""
        return f"{self.original_given or self.given_name} {self.original}" if self.original else None


PEOPLE: Final = (
    Person("maja", "Maja", "Lindqvist", "1990-05-27", "199005271474", "maja.lindqvist@posten.example"),
    Person("eleni", "Eleni", "Onasi", "1984-02-11", "198402112380", "eleni@taxydromeio.example", "Ωνάση"),
)
EUROPEANS: Final = (
    replace(PEOPLE[1], original_given="Ελένη", country="EL"),
    Person("darina", "Darina", "Petrova", "1979-08-03", "", "darina@poshta.example", "Петрова", "Дарина", "BG"),
    Person("kaethe", "Käthe", "Weiß", "1991-04-22", "", "kaethe@post.example", country="DE"),
    Person("lena", "Lena", "Sommer", "2007-12-01", "", "lena@post.example", country="DE"),
)
"""Who one can be at the demo's node; none of them has a Swedish number."""

_COUNTRIES: Final = {"BG": "Bulgaria", "DE": "Germany", "EL": "Greece", "ES": "Spain"}


@dataclass(frozen=True, slots=True)
class Mode:
    """
    What a scheme demands and tells. ``levels``: weakest first. ``comparisons``: that requests may have. ``algorithms``: that
    requests may be signed by. ``method``: what answers are signed by. ``cancelled``: what a cancel is called. ``title``: what
    people call such a provider.
    """

    name: str
    levels: tuple[str, ...]
    comparisons: frozenset[str]
    attributes: Callable[["SamlIdp", Person], tuple[Attribute, ...]]
    algorithms: frozenset[str] = frozenset({*_RSA, _ECDSA})
    method: SignatureMethod = SignatureMethod.RSA_SHA256
    cancelled: str = f"{_STATUS}RequestDenied"
    is_eidas: bool = False
    certified: bool = False
    authorities: tuple[str, ...] = ()
    title: str = "identity provider"


def _generic(_: "SamlIdp", person: Person) -> tuple[Attribute, ...]:
    return (
        plain("urn:oid:2.5.4.42", person.given_name),
        plain("urn:oid:2.5.4.4", person.family_name),
        plain("urn:oid:2.16.840.1.113730.3.1.241", f"{person.given_name} {person.family_name}"),
        plain("urn:oid:0.9.2342.19200300.100.1.3", person.email),
        plain("urn:oid:1.3.6.1.4.1.5923.1.1.1.6", f"{person.key}@idp.example"),
    )


def _natural(provider: "SamlIdp", person: Person) -> tuple[Attribute, ...]:
    address = f"<natural:PoBox xmlns:natural='{NATURAL}'>1</natural:PoBox>"
    address += f"<natural:Thoroughfare xmlns:natural='{NATURAL}'>Storgatan</natural:Thoroughfare>"
    address += f"<natural:PostName xmlns:natural='{NATURAL}'>Umeå</natural:PostName>"
    receiver = "NO" if Fault.OTHER_RECEIVER in provider.faults else provider.receiver
    identifier = sha256(f"{person.key} {provider.generation}".encode()).hexdigest()[:20]
    told: tuple[Attribute, ...] = (
        plain(
            f"{NATURAL}/PersonIdentifier",
            f"{person.country or provider.country}/{receiver}/{identifier}",
            type="natural:PersonIdentifierType",
        ),
        _transliterated("CurrentFamilyName", person.family_name, person.original),
        _transliterated("CurrentGivenName", person.given_name, person.original_given),
        plain(f"{NATURAL}/DateOfBirth", person.birthdate, type="natural:DateOfBirthType"),
        plain(f"{NATURAL}/Gender", "Female", type="natural:GenderType"),
        plain(
            f"{NATURAL}/CurrentAddress", base64.b64encode(address.encode()).decode(), type="natural:CurrentAddressType"
        ),
    )
    if Fault.NO_BIRTHDATE in provider.faults:
        told = tuple(each for each in told if not each.name.endswith("DateOfBirth"))
    if Fault.REPRESENTATIVE in provider.faults:
        told += (plain(f"{NATURAL}/representative/PersonIdentifier", "ES/SE/1"),)
    if Fault.LEGAL_PERSON in provider.faults:
        told += (plain("http://eidas.europa.eu/attributes/legalperson/LegalPersonIdentifier", "ES/SE/B1"),)
    return told


def _transliterated(name: str, latin: str, original: str | None) -> Attribute:
    """In Latin letters, and beside them as she writes it herself (Attribute Profile 1.4)."""
    values: tuple[tuple[str, bool | None], ...] = ((original, False), (latin, True)) if original else ((latin, None),)
    return Attribute(f"{NATURAL}/{name}", values, f"natural:{name}Type")


def _swedish(provider: "SamlIdp", person: Person) -> tuple[Attribute, ...]:
    named = (
        plain("urn:oid:2.5.4.42", person.given_name),
        plain("urn:oid:2.5.4.4", person.family_name),
        plain("urn:oid:2.16.840.1.113730.3.1.241", f"{person.given_name} {person.family_name}"),
        plain("urn:oid:1.3.6.1.5.5.7.9.1", person.birthdate),
    )
    if not provider.is_foreign:
        return (*named, plain("urn:oid:1.2.752.29.4.13", person.personal_number))
    persistence = "C" if Fault.TRANSIENT_PRID in provider.faults else "A"
    return (
        *named,
        plain("urn:oid:1.2.752.201.3.4", f"{provider.country}:{sha256(person.key.encode()).hexdigest()[:10]}"),
        plain("urn:oid:1.2.752.201.3.5", persistence),
        plain("urn:oid:1.2.752.201.3.7", f"{provider.country}/SE/{person.key}"),
        plain("urn:oid:2.5.4.6", provider.country),
    )


GENERIC: Final = Mode(
    "generic",
    ("urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport", "https://refeds.org/profile/mfa"),
    frozenset({"exact", "minimum"}),
    _generic,
)
EIDAS: Final = Mode(
    "eidas",
    (f"{LOA}/low", f"{LOA}/substantial", f"{LOA}/high"),
    frozenset({"exact", "minimum"}),
    _natural,
    algorithms=frozenset({_PSS, _ECDSA}),
    method=SignatureMethod.SHA256_RSA_MGF1,
    is_eidas=True,
    title="eIDAS node",
)
EIDAS_ON_CURVES: Final = replace(EIDAS, method=SignatureMethod.ECDSA_SHA256)
SWEDEN_CONNECT: Final = Mode(
    "sweden-connect",
    (f"{_ELEG}/loa/1.0/loa2", f"{_ELEG}/loa/1.0/loa3"),
    frozenset({"exact"}),
    _swedish,
    cancelled=f"{_ELEG}/status/1.0/cancel",
    certified=True,
    title="eID provider of Sweden",
)
SWEDISH_EIDAS: Final = replace(
    SWEDEN_CONNECT,
    levels=tuple(f"{_ELEG}/loa/1.0/eidas-{each}" for each in ("nf-low", "nf-sub", "nf-high")),
    authorities=("https://node.example/metadata",),
)


@dataclass(frozen=True, slots=True)
class Service:
    """A service provider, as its metadata says. ``name``: in English, what people know it by."""

    entity_id: str
    name: str
    acs: tuple[str, ...]
    signing: tuple[bytes, ...]
    encryption: tuple[bytes, ...]

    @classmethod
    def read(cls, document: bytes) -> "Service":
        """From its ``EntityDescriptor``."""
        root = parsed(document)

        def keys(use: str) -> tuple[bytes, ...]:
            path = f"//md:KeyDescriptor[not(@use) or @use='{use}']//ds:X509Certificate"
            return tuple(base64.b64decode(each.text) for each in root.xpath(path, namespaces=_NS))

        consumers = root.xpath("//md:AssertionConsumerService/@Location", namespaces=_NS)
        names = root.xpath("//mdui:DisplayName[@xml:lang='en']/text()", namespaces=_NS)
        name = str(names[0]) if names else root.get("entityID")
        return cls(root.get("entityID"), name, tuple(map(str, consumers)), keys("signing"), keys("encryption"))


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A request that was let in. ``levels``: that would do, weakest first; empty when none is demanded. ``attributes``: the names
    of those that are asked for.
    """

    id: str
    service: Service
    acs: str
    relay_state: str
    levels: tuple[str, ...]
    is_impossible: bool
    name_id_format: str
    forced: bool
    attributes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Known:
    """A session of somebody who logged in, as the service was told it."""

    name_id: str
    name_id_format: str
    index: str


class Refused(Exception):
    """A request that stays here, on a page of the provider's own."""


@dataclass
class SamlIdp:
    """
    State and rules of the simulated provider; the routes below are thin.

    ``origin``: its own, another *site* than the broker's, or browsers send cookies that they keep back in life. ``published``:
    gives the service's metadata. ``keys``: the first signs. ``country``: whose node it is; ``receiver``: to whom it tells.
    ``takes``: the bindings that messages go to it by; ``expects``: by what it wants to be told whom to expect. ``generation``:
    changes what persons are known by. ``is_foreign``: persons are from abroad (Sweden Connect). ``logs_out``: whether it takes
    part in logging out (`broker.demo.providers.saml_logout`), ``sealed_to``: by which key names are encrypted to it then;
    ``sessions``: who logged in.
    """

    origin: str
    mode: Mode
    published: Callable[[], Awaitable[bytes]]
    clock: Callable[[], datetime]
    keys: list[Pair]
    country: str = "ES"
    receiver: str = "SE"
    takes: tuple[str, ...] = ("HTTP-Redirect", "HTTP-POST")
    expects: tuple[str, ...] = ()
    logs_out: bool = False
    sealed_to: Pair | None = None
    sessions: list[Known] = field(default_factory=list)
    generation: int = 1
    is_foreign: bool = False
    faults: frozenset[Fault] = frozenset()
    gives: str | None = None
    calls: Counter[str] = field(default_factory=Counter)
    requests: list[Any] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _pending: dict[str, Asked] = field(default_factory=dict)

    @property
    def entity_id(self) -> str:
        """The address of its metadata."""
        return f"{self.origin}/metadata"

    def at(self, service: str) -> dict[str, str]:
        """By binding, where messages for *service* go: another address for each."""
        places = {"HTTP-Redirect": f"{self.origin}/{service}", "HTTP-POST": f"{self.origin}/{service}/post"}
        return {f"{BINDINGS}{each}": places[each] for each in self.takes}

    def switch(self, *faults: Fault) -> None:
        """Lie and fail as *faults* say from now on."""
        self.faults = frozenset(faults)

    def roll(self, key: Pair) -> None:
        """Sign with *key* from now on; the old one stays in the metadata."""
        self.keys.insert(0, key)

    def metadata(self, valid_for: timedelta = timedelta(days=7)) -> bytes:
        """Its own, signed."""
        text = metadata(
            self.entity_id,
            self.at("sso"),
            self.keys,
            until=self.clock() + valid_for,
            name=f"Simulated provider ({self.mode.name})",
            certified=self.mode.levels if self.mode.certified or self.mode.is_eidas else (),
            country=self.country if self.mode.is_eidas else None,
            expects=self.expects,
            slo=self.at("slo") if self.logs_out else {},
            sealed_to=self.sealed_to,
        )
        return signed(text, self.keys[0], self.mode.method)

    async def asked(self, query: str) -> Asked:
        """The request in the raw *query*. Raises: Refused."""
        service = Service.read(await self.published())
        members = members_of(query)
        self.check_signature(members, service)
        root = parsed(zlib.decompress(base64.b64decode(unquote_plus(members["SAMLRequest"])), -15))
        if root.find(".//ds:Signature", namespaces=_NS) is not None:
            raise Refused("a message in an address has no signature inside")
        return self._taken(root, service, "HTTP-Redirect", unquote_plus(members.get("RelayState", "")))

    async def asked_by_form(self, members: Sequence[tuple[str, str]]) -> Asked:
        """The request in the *members* of a form. Raises: Refused."""
        service, given = Service.read(await self.published()), dict(members)
        if len(given) != len(members) or not {"SAMLRequest"} <= given.keys() <= {"SAMLRequest", "RelayState"}:
            raise Refused("not a request by POST, and nothing else")
        octets = document_of(given["SAMLRequest"])
        self.check_inner_signature(octets, service)
        return self._taken(parsed(octets), service, "HTTP-POST", given.get("RelayState", ""))

    def _taken(self, root: Any, service: Service, binding: str, relay_state: str) -> Asked:
        expected = root.xpath(
            "//psc:PrincipalSelection/psc:MatchValue[@Name='urn:oid:1.2.752.29.4.13']", namespaces=_NS
        )
        if expected and binding == "HTTP-Redirect":
            raise Refused("a personal number in an address")
        self.requests.append(root)
        self._check_request(root, service, self.at("sso").get(f"{BINDINGS}{binding}"))
        if self.mode.is_eidas:
            _check_eidas(root)
        if self.mode.certified and root.get("ForceAuthn") not in ("true", "false"):
            raise Refused("ForceAuthn is not stated")
        levels, is_impossible = self._levels(root)
        if len(relay_state.encode()) > 80:
            raise Refused("RelayState is longer than 80 bytes")
        policies = root.xpath("samlp:NameIDPolicy/@Format", namespaces=_NS)
        acs, identifier, forced = (
            root.get("AssertionConsumerServiceURL"),
            root.get("ID"),
            root.get("ForceAuthn") == "true",
        )
        wanted = str(policies[0]) if policies else TRANSIENT
        attributes = frozenset(map(str, root.xpath("//eidas:RequestedAttribute/@Name", namespaces=_NS)))
        return Asked(
            identifier, service, acs or service.acs[0], relay_state, levels, is_impossible, wanted, forced, attributes
        )

    def hold(self, asked: Asked) -> str:
        """Keep a request while the person chooses; returns the name of its form."""
        return remember(self._pending, asked)

    def held(self, name: str) -> Asked:
        """The request behind a form that is not sent yet. Raises: Refused."""
        if name not in self._pending:
            raise Refused("this page was used already")
        return self._pending[name]

    def taken(self, name: str) -> Asked:
        """The request behind a form, once. Raises: Refused."""
        asked = self.held(name)
        del self._pending[name]
        return asked

    def answer(self, asked: Asked, person: Person | None, level: str = "") -> dict[str, str]:
        """The members of the form that answers; nobody for one who cancelled. ``level``: one of those that would do."""
        truth = self._truth(asked, person, level)
        answer = truth
        for fault in sorted(self.faults):
            answer = _LIES[fault](answer, self) if fault in _LIES else answer
        signer = Pair.made(rsa.generate_private_key(65537, 2048)) if Fault.UNKNOWN_KEY in self.faults else self.keys[0]
        octets = response(
            answer,
            signer=signer,
            method=self.mode.method,
            to=asked.service.encryption[0] if asked.service.encryption else None,
            is_modern=self.mode.is_eidas,
        )
        if Fault.BROKEN_SIGNATURE in self.faults:
            octets = octets.replace(
                b"</samlp:Status>", b"<samlp:StatusMessage>x</samlp:StatusMessage></samlp:Status>", 1
            )
        self.calls["answer"] += 1
        if person is not None:
            self.sessions.append(Known(answer.name_id, answer.name_id_format, answer.session_index))
        members = {"SAMLResponse": base64.b64encode(octets).decode()}
        return members | ({"RelayState": asked.relay_state} if asked.relay_state else {})

    def _truth(self, asked: Asked, person: Person | None, level: str) -> Answer:
        now = self.clock()
        status: tuple[str, ...] = (f"{_STATUS}Success",)
        if person is None:
            status = (f"{_STATUS}Responder", self.mode.cancelled)
        elif asked.is_impossible:
            status = (f"{_STATUS}Responder", f"{_STATUS}NoAuthnContext")
        known_as = sha256(f"{person.key if person else ''} {asked.service.entity_id}".encode()).hexdigest()
        transient = asked.name_id_format == TRANSIENT
        return Answer(
            issuer=self.entity_id,
            assertion_issuer=self.entity_id,
            destination=asked.acs,
            recipient=asked.acs,
            audience=asked.service.entity_id,
            in_response_to=asked.id,
            confirmed_request=asked.id,
            issued_at=now,
            not_before=now - timedelta(seconds=5),
            not_on_or_after=now + timedelta(minutes=5),
            authn_instant=now,
            level=self.gives or level or (asked.levels[0] if asked.levels else self.mode.levels[-1]),
            name_id=secrets.token_hex(16) if transient else known_as,
            name_id_format=asked.name_id_format,
            assertion_id=f"_{secrets.token_hex(16)}",
            session_index=f"_{secrets.token_hex(8)}",
            attributes=self._told(asked, person) if person else (),
            authorities=self.mode.authorities,
            status=status,
        )

    def _told(self, asked: Asked, person: Person) -> tuple[Attribute, ...]:
        """Nodes tell nothing but the minimum data set and what is asked for."""
        told = self.mode.attributes(self, person)
        return tuple(each for each in told if each.name not in _ON_REQUEST or each.name in asked.attributes)

    def check_signature(self, members: Mapping[str, str], service: Service, field: str = "SAMLRequest") -> None:
        """Over the octets as they came (saml-bindings-2.0-os, section 3.4.4.1)."""
        algorithm = unquote_plus(members.get("SigAlg", ""))
        if algorithm not in self.mode.algorithms:
            raise Refused("not signed, or by an algorithm that is not accepted")
        octets = "&".join(f"{name}={members[name]}" for name in (field, "RelayState", "SigAlg") if name in members)
        value = base64.b64decode(unquote_plus(members.get("Signature", "")))
        if not any(_verifies(each, algorithm, value, octets.encode()) for each in service.signing):
            raise Refused("the signature does not verify")

    def check_inner_signature(self, octets: bytes, service: Service) -> None:
        """One, right behind the Issuer, for the whole message, and by a key of the metadata (saml-core-2.0-os, section 5.4)."""
        root = parsed(octets)
        found = root.findall(".//ds:Signature", namespaces=_NS)
        if len(found) != 1 or found[0].getparent() is not root or root.index(found[0]) != 1:
            raise Refused("not signed, or the signature is not behind the Issuer")
        method = found[0].find("ds:SignedInfo/ds:SignatureMethod", namespaces=_NS).get("Algorithm")
        if method not in self.mode.algorithms:
            raise Refused("signed by an algorithm that is not accepted")
        if not any(verifies_inside(octets, each, method) for each in service.signing):
            raise Refused("the signature does not verify")

    def _check_request(self, root: Any, service: Service, here: str | None) -> None:
        now, issued_at = self.clock(), datetime.fromisoformat(root.get("IssueInstant"))
        if etree.QName(root).localname != "AuthnRequest" or root.get("Version") != "2.0":
            raise Refused("not an AuthnRequest of SAML 2.0")
        if root.findtext("saml:Issuer", namespaces=_NS) != service.entity_id:
            raise Refused("from a service that is not known")
        if here is None or root.get("Destination") != here:
            raise Refused("Destination is missing, or of somebody else")
        if abs(now - issued_at) > timedelta(minutes=5):
            raise Refused("IssueInstant is too old, or in the future")
        if root.get("ID") in self._seen or len(root.get("ID", "")) < 17:
            raise Refused("the ID was used before, or can be guessed")
        self._seen.add(root.get("ID"))
        if root.get("AssertionConsumerServiceURL") not in (None, *service.acs):
            raise Refused("AssertionConsumerServiceURL is not in the metadata")

    def _levels(self, root: Any) -> tuple[tuple[str, ...], bool]:
        """The levels that would do, and whether there are demands that cannot be met."""
        wanted = root.find("samlp:RequestedAuthnContext", namespaces=_NS)
        if wanted is None:
            return (), False
        comparison = wanted.get("Comparison", "exact")
        if comparison not in self.mode.comparisons:
            raise Refused(f"Comparison {comparison} is not supported")
        named = [str(each) for each in wanted.xpath("saml:AuthnContextClassRef/text()", namespaces=_NS)]
        if comparison == "minimum" and self.mode.is_eidas and len(named) != 1:
            raise Refused("Comparison minimum goes with one level")
        levels = [each for each in self.mode.levels if each in named]
        if comparison == "minimum" and levels:
            levels = list(self.mode.levels[self.mode.levels.index(levels[0]) :])
        return tuple(levels), not levels


def _lied(**changes: Any) -> Callable[[Answer, SamlIdp], Answer]:
    return lambda answer, _: replace(answer, **changes)


def _later(seconds: int, *names: str) -> Callable[[Answer, SamlIdp], Answer]:
    def moved(answer: Answer, _: SamlIdp) -> Answer:
        return replace(answer, **{name: getattr(answer, name) + timedelta(seconds=seconds) for name in names})

    return moved


_LIES: Final[Mapping[Fault, Callable[[Answer, SamlIdp], Answer]]] = {
    Fault.UNSIGNED: _lied(signs_response=False),
    Fault.ONLY_ASSERTION_SIGNED: _lied(signs_response=False, signs_assertion=True),
    Fault.NOT_ENCRYPTED: _lied(encrypts=False),
    Fault.DOCTYPE: _lied(doctype=True),
    Fault.NO_ASSERTION: _lied(assertions=0),
    Fault.TWO_ASSERTIONS: _lied(assertions=2),
    Fault.WRONG_ISSUER: _lied(issuer="https://other.example/metadata"),
    Fault.WRONG_ASSERTION_ISSUER: _lied(assertion_issuer="https://other.example/metadata"),
    Fault.WRONG_DESTINATION: _lied(destination="https://other.example/callback"),
    Fault.WRONG_RECIPIENT: _lied(recipient="https://other.example/callback"),
    Fault.WRONG_AUDIENCE: _lied(audience="https://other.example/metadata"),
    Fault.NO_AUDIENCE: _lied(audience=None),
    Fault.WRONG_REQUEST: _lied(in_response_to="_another"),
    Fault.WRONG_CONFIRMED_REQUEST: _lied(confirmed_request="_another"),
    Fault.UNSOLICITED: _lied(in_response_to=None, confirmed_request=None),
    Fault.HOLDER_OF_KEY: _lied(method="urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"),
    Fault.EXPIRED: _later(-1200, "not_before", "not_on_or_after"),
    Fault.NOT_YET_VALID: _later(1200, "not_before", "not_on_or_after"),
    Fault.STALE: _later(-1200, "issued_at"),
    Fault.FROM_THE_FUTURE: _later(1200, "issued_at"),
    Fault.LOGIN_IN_THE_FUTURE: _later(1200, "authn_instant"),
    Fault.OLD_LOGIN: _later(-3600, "authn_instant"),
    Fault.UNKNOWN_LEVEL: _lied(level="https://other.example/level"),
    Fault.NO_LEVEL: _lied(level=None),
    Fault.LOWEST_LEVEL: lambda answer, provider: replace(answer, level=provider.mode.levels[0]),
    Fault.NON_NOTIFIED: _lied(level=f"{NOT_NOTIFIED}/high"),
    Fault.NOBODY: _lied(name_id_format=TRANSIENT, attributes=()),
    Fault.SAME_ASSERTION: _lied(assertion_id="_the-same-as-ever"),
    Fault.REFUSED: _lied(status=(f"{_STATUS}Responder", f"{_STATUS}UnsupportedBinding")),
    Fault.FRAUD: _lied(status=(f"{_STATUS}Responder", f"{_ELEG}/status/1.0/fraud")),
}


def _check_eidas(root: Any) -> None:
    """eIDAS SAML Message Format 1.4, requests."""
    if root.get("ForceAuthn") != "true" or root.get("IsPassive") != "false":
        raise Refused("ForceAuthn must be true and IsPassive false")
    if root.findtext("samlp:Extensions/eidas:SPType", namespaces=_NS) not in ("public", "private"):
        raise Refused("SPType is missing")
    wanted = root.xpath("samlp:Extensions/eidas:RequestedAttributes/eidas:RequestedAttribute", namespaces=_NS)
    required = {each.get("Name") for each in wanted if each.get("isRequired") == "true"}
    minimum = ("PersonIdentifier", "CurrentFamilyName", "CurrentGivenName", "DateOfBirth")
    if not {f"{NATURAL}/{each}" for each in minimum} <= required:
        raise Refused("the minimum data set is not asked for")


def published_at(url: str) -> Callable[[], Awaitable[bytes]]:
    """Fetch a service's metadata where it publishes it, for `SamlIdp.published`."""

    async def fetch() -> bytes:
        async with httpx2.AsyncClient(trust_env=False, timeout=5.0) as client:
            answer = await client.get(url)
            answer.raise_for_status()
            return answer.content

    return fetch


def members_of(query: str, field: str = "SAMLRequest") -> dict[str, str]:
    """The parameters of a query with a message, still encoded. Raises: Refused."""
    pairs = [each.partition("=") for each in query.split("&")]
    names = [name for name, _, _ in pairs]
    if len(set(names)) != len(names) or field not in names:
        raise Refused("not a message by Redirect")
    return {name: value for name, _, value in pairs}


def document_of(member: str) -> bytes:
    """The document in a member of a form, in base64 and not deflated. Raises: Refused."""
    try:
        octets = base64.b64decode(member, validate=True)
    except ValueError:
        raise Refused("not base64") from None
    if not octets.startswith(b"<"):
        raise Refused("not a document")
    return octets


def _verifies(certificate: bytes, algorithm: str, value: bytes, octets: bytes) -> bool:
    key = x509.load_der_x509_certificate(certificate).public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm in _RSA:
            key.verify(value, octets, _RSA[algorithm], hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm == _ECDSA:
            half = len(value) // 2
            numbers = int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big")
            key.verify(encode_dss_signature(*numbers), octets, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def create_app(simulator: SamlIdp, people: Sequence[Person] = PEOPLE) -> Starlette:
    """
    The simulated provider as an app; ``app.state.simulator`` has its switches.

    Where *people* are of several countries, as at a node, it asks for the country first.
    """
    app = Starlette(
        routes=[
            Route("/metadata", _metadata),
            Route("/sso", _sso),
            Route("/sso/post", _sso_by_form, methods=["POST"]),
            Route("/login", _login),
            Route("/choose", _choose, methods=["POST"]),
            Route("/saml.css", _file),
            Route("/post.js", _file),
        ],
        exception_handlers={Refused: _on_refused},
    )
    app.state.simulator = simulator
    app.state.people = {each.key: each for each in people}
    return app


async def _metadata(request: Request) -> Response:
    return Response(_simulator(request, "metadata").metadata(), media_type="application/samlmetadata+xml")


async def _sso(request: Request) -> Response:
    simulator = _simulator(request, "sso")
    asked = await simulator.asked(request.scope["query_string"].decode("latin-1"))
    return _at_login(simulator.hold(asked))


async def _sso_by_form(request: Request) -> Response:
    simulator = _simulator(request, "sso")
    members = parse_qsl((await request.body()).decode(), keep_blank_values=True)
    return _at_login(simulator.hold(await simulator.asked_by_form(members)))


def _at_login(request_id: str) -> Response:
    """To a page that can be gone back to, which one that answers a POST, or a request that counts once, cannot."""
    return RedirectResponse(f"/login?request={request_id}", status_code=303)


async def _login(request: Request) -> Response:
    """Who she is; before that of which country, where there are several and she has not said."""
    request_id, people = request.query_params.get("request", ""), request.app.state.people.values()
    asked = _simulator(request, "login").held(request_id)
    country = request.query_params.get("country", "")
    known = sorted({each.country for each in people if each.country})
    values: dict[str, Any] = {"request_id": request_id, "client_name": asked.service.name}
    if known and country not in known:
        return _html(request, "country.html", countries=[(each, _COUNTRIES[each]) for each in known], **values)
    people = [each for each in people if country in ("", each.country)]
    return _html(
        request, "choose.html", people=people, levels=asked.levels, country=_COUNTRIES.get(country, ""), **values
    )


async def _choose(request: Request) -> Response:
    simulator, form = _simulator(request, "choose"), await _form(request)
    asked = simulator.taken(form.get("request", ""))
    level = form.get("level", "")
    if level and level not in asked.levels:
        raise Refused("this level would not do")
    return _answered(request, asked, request.app.state.people.get(form.get("account", "")), level)


def _answered(request: Request, asked: Asked, person: Person | None, level: str = "") -> Response:
    members = request.app.state.simulator.answer(asked, person, level)
    parts = urlsplit(asked.acs)
    return _html(
        request,
        "answer.html",
        form_action=f"{parts.scheme}://{parts.netloc}",
        acs=asked.acs,
        members=members,
        client_name=asked.service.name,
    )


async def _form(request: Request) -> Mapping[str, str]:
    return dict(parse_qsl((await request.body()).decode()))


async def _file(request: Request) -> Response:
    return FileResponse(_FOLDER / request.url.path.removeprefix("/"))


async def _on_refused(request: Request, error: Exception) -> Response:
    return _html(request, "problem.html", status=400, detail=str(error))


def _simulator(request: Request, endpoint: str) -> SamlIdp:
    simulator: SamlIdp = request.app.state.simulator
    simulator.calls[endpoint] += 1
    return simulator


_TEMPLATES: Final = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)


def _html(
    request: Request, template: str, *, status: int = 200, form_action: str = "'self'", **values: object
) -> Response:
    """A page that may post to *form_action* only: in Chromium that rule clings to every redirect after its form."""
    policy = f"default-src 'none'; img-src data:; style-src 'self'; script-src 'self'; form-action {form_action}; base-uri 'none'"
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    provider = request.app.state.simulator.mode.title
    page = _TEMPLATES.get_template(template).render(provider=provider, **values)
    return HTMLResponse(page, status, headers=headers)
