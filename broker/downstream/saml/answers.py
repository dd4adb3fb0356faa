"""
The response to a service provider: an assertion, or the status that says why there is none, posted by the browser.
"""

import secrets
from collections.abc import Callable
from datetime import timedelta

from msgspec import Struct

from broker.core.consent import Consent
from broker.core.handoff import Handoff
from broker.core.journey import Ask
from broker.core.policy import NameIdFormat, PartnerSaml, Policy
from broker.core.saml import SamlService
from broker.core.saml_login import (
    NAME_ID_FORMATS,
    SamlAsk,
    attributes_of,
    context_of_acr,
    identifier_name,
    subject_identifier,
)
from broker.downstream.saml.checks import SKEW, checked_recipient, is_registered
from broker.downstream.saml.keys import SamlKeys, algorithms
from broker.downstream.saml.services import Services
from broker.downstream.saml.statuses import status_of, untold
from broker.errors import Denied
from broker.flows.context import Clock
from broker.flows.login import Turn
from broker.flows.saml_logins import SamlLogins, Told
from broker.web.hub import FormPost
from broker.wire.saml import posted
from broker.wire.saml.answer import Attribute, Envelope, NameId, Protection, Status, ToAssert, failure, success
from broker.wire.saml.encryption import Recipient

_VALID = timedelta(minutes=5)
"""How long an assertion may be on its way."""


class Address(Struct, frozen=True):
    """Where a response goes: the proven assertion consumer of a partner, and which request it answers."""

    terms: PartnerSaml
    service: SamlService
    acs: str
    relay_state: str | None
    in_response_to: str | None


class SamlAnswers:
    """`broker.downstream.partners.Answering` for service providers."""

    def __init__(
        self, policy: Callable[[], Policy], services: Services, logins: SamlLogins, keys: SamlKeys, clock: Clock
    ) -> None:
        self._policy = policy
        self._services = services
        self._logins = logins
        self._keys = keys
        self._clock = clock

    async def answer(self, ask: Ask, turn: Turn, consent: Consent | None) -> FormPost:
        """The response with its assertion. What stands in the way of one is found out before the journey is over."""
        address, saml = await self._registered(ask)
        if not saml.may_create and not self._logins.knows(ask, turn):
            return await self.refuse(ask, "invalid_name_id_policy", "the customer is new to this partner")
        to = checked_recipient(address.terms, address.service)
        told = await self._logins.prepare(ask, turn, consent)
        name_id, context = self._name_id(saml, address, told), self._context(saml, address, told)
        if name_id is None:
            return await self.refuse(ask, "invalid_name_id_policy", "the customer has no name in that format")
        if context is None:
            return await self.refuse(ask, "no_authn_context", "the login is none of the classes asked for")
        content = self._content(address, told, name_id, context)
        response = success(self._envelope(address), content, self._protection(address, to))
        await self._logins.settle(told)
        return _posted(address, response)

    async def refuse(self, ask: Ask, error: str, reason: str) -> FormPost:
        """
        The response that says why not.

        Raises: Denied, TooWeak: nobody asked for a response, so that only the customer is told.
        """
        if ask.saml is not None and ask.saml.is_unsolicited:
            raise untold(error, reason, ask.partner)
        address, _ = await self._registered(ask)
        return self.failed(address, status_of(error, reason))

    def failed(self, address: Address, status: Status) -> FormPost:
        """A response without an assertion."""
        return _posted(address, failure(self._envelope(address), status, self._protection(address, None)))

    async def address_of(self, ask: Ask) -> Address:
        """Where *ask* is answered. Raises: Denied."""
        return (await self._registered(ask))[0]

    async def _registered(self, ask: Ask) -> tuple[Address, SamlAsk]:
        """Raises Denied when the partner, its metadata or the address are gone since it asked."""
        partner, service = self._policy().partner(ask.partner), await self._services.of(ask.partner)
        if partner is None or partner.saml is None or service is None or ask.saml is None:
            raise Denied("no metadata of the partner any more", code="saml.no_metadata", partner=ask.partner)
        if not is_registered(ask.redirect_uri, service):
            raise Denied("the assertion consumer is not registered any more", code="saml.acs", partner=ask.partner)
        return Address(partner.saml, service, ask.redirect_uri, ask.state, ask.saml.request_id), ask.saml

    def _envelope(self, address: Address) -> Envelope:
        return Envelope(_id(), self._policy().saml_entity_id, address.acs, self._clock(), address.in_response_to)

    def _protection(self, address: Address, to: Recipient | None) -> Protection:
        key = self._keys.signing(self._clock())
        algorithm, digest = algorithms(key, address.terms, address.service)
        signs = address.terms.sign_assertion or address.service.wants_assertions_signed
        return Protection(key, to, signs, algorithm, digest)

    def _content(self, address: Address, told: Told, name_id: NameId, context: str) -> ToAssert:
        due = told.due
        return ToAssert(
            id=_id(),
            name_id=name_id,
            audience=address.terms.entity_id,
            authenticated_at=due.session.authenticated_at,
            valid_from=due.now - SKEW,
            valid_until=due.now + _VALID,
            session_index=due.sid,
            session_until=told.until,
            context=context,
            attributes=self._attributes(address, told),
            authorities=_authorities(address, told),
        )

    def _name_id(self, saml: SamlAsk, address: Address, told: Told) -> NameId | None:
        """The customer's name in the format that was settled on; None where she has none that may be told."""
        format_, entity_id = NAME_ID_FORMATS[saml.name_id_format], address.terms.entity_id
        match saml.name_id_format:
            case NameIdFormat.TRANSIENT:
                return NameId(told.transient, format_, entity_id)
            case NameIdFormat.PERSISTENT:
                return NameId(told.due.subject, format_, entity_id)
            case NameIdFormat.EMAIL:
                released = told.release.nested() if told.due.handoff is None else {}
                # security: one that she only told a provider may be the name of somebody else.
                return NameId(str(released["email"]), format_) if released.get("email_verified") is True else None

    @staticmethod
    def _context(saml: SamlAsk, address: Address, told: Told) -> str | None:
        """The class the login is told as: never more than what is released of it."""
        return context_of_acr(saml, told.release.acr, address.terms.authn_contexts)

    def _attributes(self, address: Address, told: Told) -> tuple[Attribute, ...]:
        """Who she is, and what is released of her; for a handoff only what it is fetched by."""
        found = []
        if (name := identifier_name(address.service, address.terms)) is not None:
            value = subject_identifier(told.due.subject, told.due.policy.saml_scope)
            friendly = name.rpartition(":")[2]
            found.append(Attribute(name, (value,), friendly))
        if told.due.handoff is not None:
            return (*found, *_handoff_attributes(told.due.handoff, told.due.policy.issuer))
        found += [
            Attribute(name.name, values, name.friendly, is_uri=":" in name.name)
            for name, values in attributes_of(told.release.nested(), address.terms)
        ]
        return tuple(found)


def _authorities(address: Address, told: Told) -> tuple[str, ...]:
    """Who else took part in the login: where the operator wants it told, and it may be told how she logged in at all."""
    session = told.due.session
    is_told = address.terms.tell_provider and told.release.amr and session.issuer
    return (session.issuer, *session.authorities) if is_told else ()


def _handoff_attributes(handoff: Handoff, issuer: str) -> tuple[Attribute, ...]:
    """References only, never the data: it is fetched by the partner's server (docs/handoff.md)."""
    facts = {
        "id": handoff.id,
        "source": handoff.source,
        "purpose": handoff.purpose,
        "type": handoff.type,
        "consent_id": handoff.consent or "",
    }
    return tuple(
        Attribute(f"{issuer}/saml/handoff/{name}", (value,), f"handoff_{name}") for name, value in facts.items()
    )


def _posted(address: Address, response: bytes) -> FormPost:
    members = {"SAMLResponse": posted.encode(response)}
    return FormPost(address.acs, members | ({"RelayState": address.relay_state} if address.relay_state else {}))


def _id() -> str:
    """An ID of a message or assertion: unguessable, and an NCName."""
    return f"_{secrets.token_hex(20)}"
