"""
Logging in by SAML: requests that we sign, and responses that are believed only when every check holds
(saml-profiles-2.0-os, section 4.1.4.3).

What was asked is remembered here; which browser asked it, in that browser's visit. A response is posted from another site and so
comes without our cookies: it is checked at once, and taken up by the browser that asked in the request after.
"""

import base64
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from xml.sax.saxutils import escape, quoteattr

from .keys import Keys, certificate_of
from .provider import REDIRECT, Provider, Providers
from .signed import (
    AES256_GCM,
    DS,
    MD,
    NS,
    RSA_OAEP,
    SAML,
    SAMLP,
    SHA256,
    XENC11,
    Carried,
    Element,
    NotBelieved,
    decrypted,
    parsed,
    signed_query,
    unpacked,
    verified,
    verified_query,
)

POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
PAIRWISE_ID = "urn:oasis:names:tc:SAML:attribute:pairwise-id"
NAME = "urn:oid:2.16.840.1.113730.3.1.241"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
STATUS = "urn:oasis:names:tc:SAML:2.0:status:"

_SKEW = timedelta(seconds=60)
_ASKED_FOR = timedelta(minutes=45)
_TAKEN_UP_WITHIN = timedelta(minutes=2)
_MOST = 10_000

Clock = Callable[[], datetime]
Kept = TypeVar("Kept")


class LoginRefused(Exception):
    """The broker said no; ``code`` is its second status, else its first."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Customer:
    """
    Who logged in. ``subject``: her number with us. ``name_id``: the element she is logged out by, with ``session``.
    ``handoff``: which one she came with; empty for none.
    """

    subject: str
    session: str
    name_id: bytes = field(repr=False)
    name: str = ""
    handoff: str = ""


@dataclass(frozen=True)
class Arrived:
    """A response that held, for the browser that asked ``request``."""

    request: str
    customer: Customer


@dataclass(frozen=True)
class Farewell:
    """The broker asks to log out whoever is here by that session. ``answer``: where the browser goes on to."""

    session: str
    answer: str


class Remembered(Generic[Kept]):
    """Things that are used once, within their time; the oldest go when there are too many."""

    def __init__(self, now: Clock, lifetime: timedelta) -> None:
        self._now = now
        self._lifetime = lifetime
        self._kept: OrderedDict[str, tuple[datetime, Kept]] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        until, _ = self._kept.get(name, (None, None))
        return until is not None and self._now() <= until

    def keep(self, name: str, value: Kept) -> None:
        """Remember *value*."""
        self._kept[name] = (self._now() + self._lifetime, value)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def take(self, name: str) -> Kept | None:
        """What was remembered, for the last time."""
        until, value = self._kept.pop(name, (None, None))
        return value if until is not None and self._now() <= until else None


class ServiceProvider:
    """
    One site as a SAML service provider.

    Args:
        entity_id: its name. base_url: its origin, without a slash at the end.
        issuer: the broker's, which the names of its own attributes begin with.
        now: the time, aware UTC.
    """

    def __init__(
        self, *, entity_id: str, base_url: str, issuer: str, keys: Keys, providers: Providers, now: Clock
    ) -> None:
        self.acs, self.slo = f"{base_url}/saml/acs", f"{base_url}/saml/slo"
        self.metadata = metadata(entity_id, base_url, keys)
        self._entity_id = entity_id
        self._issuer = issuer
        self._keys = keys
        self._providers = providers
        self._now = now
        self._asked: Remembered[str] = Remembered(now, _ASKED_FOR)
        self._arrived: Remembered[Arrived] = Remembered(now, _TAKEN_UP_WITHIN)
        self._leaving: Remembered[str] = Remembered(now, _ASKED_FOR)
        self._seen: Remembered[str] = Remembered(now, _ASKED_FOR)

    async def ask(self, relay_state: str = "") -> tuple[str, str]:
        """
        A login: the ID of its request, to be kept in the browser's visit, and where to send the browser.

        Raises: Unavailable.
        """
        provider = await self._providers.current()
        name = _new_id()
        inside = f'<samlp:NameIDPolicy Format="{TRANSIENT}" AllowCreate="true"/>'
        message = self._message(
            "AuthnRequest", name, provider.sso, inside, AssertionConsumerServiceURL=self.acs, ProtocolBinding=POST
        )
        self._asked.keep(name, relay_state)
        return name, _with_query(provider.sso, signed_query("SAMLRequest", message, relay_state, self._keys.signing))

    async def receive(self, response: str, relay_state: str) -> str:
        """
        Check a posted response; a one-time reference, by which the browser that asked takes it up.

        Raises: NotBelieved; LoginRefused; Unavailable.
        """
        root, provider = await self._verified(unpacked(response))
        self._check_envelope(root, provider, "Response", self.acs)
        request = root.get("InResponseTo", "")
        expected = self._asked.take(request)
        if expected is None:
            raise NotBelieved("unsolicited")
        if expected != relay_state:
            raise NotBelieved("relay_state")
        _check_success(root)
        customer = self._customer(self._assertion(root, provider), request, provider)
        reference = secrets.token_urlsafe(32)
        self._arrived.keep(reference, Arrived(request, customer))
        return reference

    def take_up(self, reference: str) -> Arrived | None:
        """What *reference* stands for, once."""
        return self._arrived.take(reference)

    async def leave(self, customer: Customer) -> str:
        """Where to send the browser to be logged out there as well. Raises: Unavailable."""
        provider = await self._providers.current()
        name = _new_id()
        inside = f"{customer.name_id.decode()}<samlp:SessionIndex>{escape(customer.session)}</samlp:SessionIndex>"
        message = self._message("LogoutRequest", name, provider.slo, inside)
        self._leaving.keep(name, customer.session)
        return _with_query(provider.slo, signed_query("SAMLRequest", message, "", self._keys.signing))

    async def hear(self, query: str) -> Farewell | None:
        """
        A message at our single logout service: a request of the broker's, or None for its answer to one of ours.

        Raises: NotBelieved; Unavailable.
        """
        carried, provider = await self._verified_query(query)
        root = parsed(carried.octets)
        if carried.field == "SAMLResponse":
            self._check_envelope(root, provider, "LogoutResponse", self.slo)
            if self._leaving.take(root.get("InResponseTo", "")) is None:
                raise NotBelieved("unsolicited")
            return None
        self._check_envelope(root, provider, "LogoutRequest", self.slo)
        name, (session,) = root.get("ID", ""), _texts(root, "samlp:SessionIndex", most=1)
        self._check_first(name)
        inside = f'<samlp:Status><samlp:StatusCode Value="{STATUS}Success"/></samlp:Status>'
        message = self._message("LogoutResponse", _new_id(), provider.slo, inside, InResponseTo=name)
        answer = signed_query("SAMLResponse", message, carried.relay_state, self._keys.signing)
        return Farewell(session, _with_query(provider.slo, answer))

    def _message(self, kind: str, name: str, destination: str, inside: str, **attributes: str) -> bytes:
        told = {
            "ID": name,
            "Version": "2.0",
            "IssueInstant": f"{self._now().astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "Destination": destination,
            **attributes,
        }
        written = " ".join(f"{name}={quoteattr(value)}" for name, value in told.items())
        head = f'<samlp:{kind} xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" {written}>'
        return f"{head}<saml:Issuer>{escape(self._entity_id)}</saml:Issuer>{inside}</samlp:{kind}>".encode()

    async def _verified(self, octets: bytes) -> tuple[Element, Provider]:
        provider = await self._providers.current()
        try:
            return verified(octets, provider.certificates), provider
        except NotBelieved as error:
            newer = await self._providers.newer() if error.code == "signature" else None
            if newer is None:
                raise
            return verified(octets, newer.certificates), newer

    async def _verified_query(self, query: str) -> tuple[Carried, Provider]:
        provider = await self._providers.current()
        return verified_query(query, provider.certificates), provider

    def _check_envelope(self, root: Element, provider: Provider, kind: str, here: str) -> None:
        """It is what it should be, from the broker, for this address, and of now."""
        if root.tag != f"{{{SAMLP}}}{kind}" or root.get("Version") != "2.0":
            raise NotBelieved("kind")
        if _texts(root, "saml:Issuer", most=1) != [provider.entity_id]:
            raise NotBelieved("issuer")
        if root.get("Destination") != here:
            raise NotBelieved("destination")
        issued_at = _time(root.get("IssueInstant"))
        if not self._now() - timedelta(minutes=5) - _SKEW <= issued_at <= self._now() + _SKEW:
            raise NotBelieved("time")

    def _assertion(self, root: Element, provider: Provider) -> Element:
        """The one assertion, which was encrypted to us and signed by itself."""
        encrypted = root.findall("saml:EncryptedAssertion", NS)
        if root.find("saml:Assertion", NS) is not None or len(encrypted) != 1:
            raise NotBelieved("unencrypted")
        assertion = verified(decrypted(encrypted[0], self._keys.decryption), provider.certificates)
        if assertion.tag != f"{{{SAML}}}Assertion":
            raise NotBelieved("kind")
        return assertion

    def _customer(self, assertion: Element, request: str, provider: Provider) -> Customer:
        if _texts(assertion, "saml:Issuer", most=1) != [provider.entity_id]:
            raise NotBelieved("issuer")
        self._check_conditions(assertion)
        self._check_subject(assertion, request)
        (statement,) = _elements(assertion, "saml:AuthnStatement", most=1)
        told = _attributes(assertion)
        self._check_first(assertion.get("ID", ""))
        return Customer(
            # Compared without regard to case (saml-subject-id-attr-v1.0, section 3.3).
            subject=_only(told.get(PAIRWISE_ID, ())).casefold(),
            session=statement.get("SessionIndex", ""),
            name_id=_name_id(assertion),
            name=" ".join(told.get(NAME, ()))[:200],
            handoff="".join(told.get(f"{self._issuer}/saml/handoff/id", ())[:1]),
        )

    def _check_conditions(self, assertion: Element) -> None:
        (conditions,) = _elements(assertion, "saml:Conditions", most=1)
        if (
            not _time(conditions.get("NotBefore")) - _SKEW
            <= self._now()
            < _time(conditions.get("NotOnOrAfter")) + _SKEW
        ):
            raise NotBelieved("time")
        restrictions = conditions.findall("saml:AudienceRestriction", NS)
        audiences = [{each.text for each in one.findall("saml:Audience", NS)} for one in restrictions]
        if not audiences or any(self._entity_id not in each for each in audiences):
            raise NotBelieved("audience")

    def _check_subject(self, assertion: Element, request: str) -> None:
        (confirmation,) = _elements(assertion, "saml:Subject/saml:SubjectConfirmation", most=1)
        (data,) = _elements(confirmation, "saml:SubjectConfirmationData", most=1)
        if confirmation.get("Method") != BEARER or data.get("NotBefore") is not None:
            raise NotBelieved("confirmation")
        if data.get("Recipient") != self.acs:
            raise NotBelieved("recipient")
        if data.get("InResponseTo") != request:
            raise NotBelieved("in_response_to")
        if self._now() >= _time(data.get("NotOnOrAfter")) + _SKEW:
            raise NotBelieved("time")

    def _check_first(self, name: str) -> None:
        """security: messages are not used twice, and those without a name are not used at all."""
        if not name or name in self._seen:
            raise NotBelieved("replayed")
        self._seen.keep(name, "")


def metadata(entity_id: str, base_url: str, keys: Keys) -> bytes:
    """What we say of ourselves: where responses go, that we sign requests, and how assertions are to be encrypted."""
    methods = (
        f'<md:EncryptionMethod Algorithm="{AES256_GCM}"/><md:EncryptionMethod Algorithm="{RSA_OAEP}">'
        f'<ds:DigestMethod Algorithm="{SHA256}"/>'
        f'<xenc11:MGF xmlns:xenc11="{XENC11}" Algorithm="{XENC11}mgf1sha256"/></md:EncryptionMethod>'
    )
    return (
        f'<md:EntityDescriptor xmlns:md="{MD}" xmlns:ds="{DS}" entityID={quoteattr(entity_id)}>'
        f'<md:SPSSODescriptor AuthnRequestsSigned="true" WantAssertionsSigned="true" protocolSupportEnumeration="{SAMLP}">'
        f"{_key('signing', certificate_of(keys.signing))}{_key('encryption', certificate_of(keys.decryption), methods)}"
        f'<md:SingleLogoutService Binding="{REDIRECT}" Location="{base_url}/saml/slo"/>'
        f"<md:NameIDFormat>{TRANSIENT}</md:NameIDFormat>"
        f'<md:AssertionConsumerService Binding="{POST}" Location="{base_url}/saml/acs" index="0" isDefault="true"/>'
        "</md:SPSSODescriptor></md:EntityDescriptor>\n"
    ).encode()


def _key(use: str, certificate: bytes, methods: str = "") -> str:
    encoded = base64.b64encode(certificate).decode()
    told = f"<ds:X509Data><ds:X509Certificate>{encoded}</ds:X509Certificate></ds:X509Data>"
    return f'<md:KeyDescriptor use="{use}"><ds:KeyInfo>{told}</ds:KeyInfo>{methods}</md:KeyDescriptor>'


def _check_success(root: Element) -> None:
    (top,) = _elements(root, "samlp:Status/samlp:StatusCode", most=1)
    if top.get("Value") != f"{STATUS}Success":
        second = top.find("samlp:StatusCode", NS)
        code = second if second is not None else top
        raise LoginRefused(code.get("Value", "").removeprefix(STATUS))


def _name_id(assertion: Element) -> bytes:
    """The NameID as it was told, to be given back word for word (saml-core-2.0-os, section 3.7.1)."""
    (found,) = _elements(assertion, "saml:Subject/saml:NameID", most=1)
    told = " ".join(f"{name}={quoteattr(str(value))}" for name, value in found.attrib.items())
    return f'<saml:NameID xmlns:saml="{SAML}" {told}>{escape(found.text or "")}</saml:NameID>'.encode()


def _attributes(assertion: Element) -> Mapping[str, Sequence[str]]:
    found = assertion.findall("saml:AttributeStatement/saml:Attribute", NS)
    return {each.get("Name", ""): [one.text or "" for one in each.findall("saml:AttributeValue", NS)] for each in found}


def _elements(parent: Element, path: str, *, most: int) -> list[Element]:
    found: list[Element] = parent.findall(path, NS)
    if not 1 <= len(found) <= most:
        raise NotBelieved("shape")
    return found


def _texts(parent: Element, path: str, *, most: int) -> list[str]:
    return [each.text or "" for each in _elements(parent, path, most=most)]


def _only(values: Sequence[str]) -> str:
    if len(values) != 1 or not values[0]:
        raise NotBelieved("subject")
    return values[0]


def _time(text: str | None) -> datetime:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError as error:
        raise NotBelieved("time") from error
    if moment.tzinfo is None:
        raise NotBelieved("time")
    return moment


def _new_id() -> str:
    return f"_{secrets.token_hex(20)}"


def _with_query(address: str, query: str) -> str:
    return f"{address}{'&' if '?' in address else '?'}{query}"
