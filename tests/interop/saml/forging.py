"""
Somebody who has the broker's key: responses that are right but for one thing, so that each is refused for that or not at all.
"""

import base64
import secrets
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from lxml import etree

from broker.core.saml import TRANSIENT, SamlEntity
from broker.core.saml_login import PAIRWISE_ID
from broker.wire.saml import xml
from broker.wire.saml.answer import Attribute, Envelope, NameId, Protection, ToAssert, success
from broker.wire.saml.encryption import recipient_of
from broker.wire.saml.keys import SigningKey, signing_key
from broker.wire.saml.metadata import read_entity
from tests.changing import replace
from tests.downstream.saml_party import pair, pem
from tests.interop.browser import Browser, Page
from tests.interop.saml.party import Site

CLASS = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"


@dataclass(frozen=True)
class Forgery:
    """
    What a response is made of. ``spoil`` changes its octets after it was signed.
    """

    envelope: Envelope
    content: ToAssert
    key: SigningKey
    encrypted: bool = True

    def told(self, **changed: Any) -> "Forgery":
        """With other parts of the assertion."""
        return replace(self, content=replace(self.content, **changed))

    def sent(self, **changed: Any) -> "Forgery":
        """With another envelope."""
        return replace(self, envelope=replace(self.envelope, **changed))


class Forger:
    """Answers a login that is begun at *site* in *browser*."""

    def __init__(self, site: Site, issuer: str, browser: Browser) -> None:
        self._site = site
        self._issuer = issuer
        self._browser = browser
        self._entity: SamlEntity = read_entity(xml.parse(site.metadata))

    def begin(self) -> Forgery:
        """Begin a login, and stop before the broker hears of it; the right answer to it."""
        asked = self._site.begin(self._browser, stop_before=f"{self._issuer}/saml/sso")
        query = dict(parse_qsl(urlsplit(asked.url).query))
        request = etree.fromstring(zlib.decompress(base64.b64decode(query["SAMLRequest"]), -15))
        self._relay_state = query.get("RelayState")
        now = datetime.now(UTC)
        envelope = Envelope(_id(), f"{self._issuer}/saml/metadata", self._site.acs, now, request.get("ID"))
        content = ToAssert(
            id=_id(),
            name_id=NameId(_id(), TRANSIENT, self._site.entity_id),
            audience=self._site.entity_id,
            authenticated_at=now,
            valid_from=now - timedelta(minutes=3),
            valid_until=now + timedelta(minutes=5),
            session_index=_id(),
            session_until=now + timedelta(hours=1),
            context=CLASS,
            attributes=(Attribute(PAIRWISE_ID, ("mallory@localhost",), "pairwise-id"),),
        )
        return Forgery(envelope, content, own_key())

    def octets(self, forged: Forgery) -> bytes:
        """The response, signed by its key."""
        assert self._entity.service is not None
        to = recipient_of(self._entity.service.keys) if forged.encrypted else None
        wants = self._entity.service.wants_assertions_signed
        return success(forged.envelope, forged.content, Protection(forged.key, to, wants))

    def deliver(self, response: bytes) -> Page:
        """Have the browser post it."""
        members = {"SAMLResponse": base64.b64encode(response).decode(), "RelayState": self._relay_state}
        fields = [(name, value) for name, value in members.items() if value is not None]
        return self._browser.submit(self._site.acs, fields)


def own_key() -> SigningKey:
    """The broker's."""
    return _key("broker")


def another_key() -> SigningKey:
    """One that nobody published."""
    return _key("somebody-else")


def _key(name: str) -> SigningKey:
    private, certificate = pair(name)
    return signing_key(pem(private), certificate)


def _id() -> str:
    return f"_{secrets.token_hex(16)}"
