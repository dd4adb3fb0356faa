"""
What a request of a service provider must be: one check per rule, in the order `Sso` asks them.

Until the assertion consumer is proven nothing is ever answered to anybody; then everything is, as a status.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from msgspec import Struct

from broker.core.changing import replace
from broker.core.claims_request import ClaimsRequest
from broker.core.journey import Ask
from broker.core.policy import NameIdFormat, Partner, PartnerSaml, Policy
from broker.core.saml import POST, SamlService
from broker.core.saml_login import SamlAsk, claims_asked, claims_required, identifier_name, name_id_format
from broker.downstream.saml.services import Services
from broker.errors import BadAsk, Denied
from broker.wire.saml import redirect, xml
from broker.wire.saml.asked import AuthnRequest, unverified_issuer
from broker.wire.saml.encryption import Recipient, recipient_of
from broker.wire.saml.keys import VerifyingKey, verifying_key
from broker.wire.saml.message import Head
from broker.wire.saml.redirect import Redirected
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.signature import is_signed, verified
from broker.wire.saml.xml import Element

AGE = timedelta(minutes=5)
SKEW = timedelta(minutes=3)
"""How far a peer's clock may be from ours (saml2int SDP-G01)."""

_MAX_ELEMENTS = 300
"""security: of a message that anybody may send; checking one against the schema takes longest where it follows it least."""

MAX_RELAY_STATE = 1024
"""Octets that a peer may send, and gets back. SAML says 80 (saml-bindings-2.0-os, section 3.4.3); addresses are longer."""


class Sender(Struct, frozen=True):
    """A service provider that is known: which partner it is, by what it is known."""

    partner_id: str
    partner: Partner
    terms: PartnerSaml
    service: SamlService

    @property
    def keys(self) -> tuple[VerifyingKey, ...]:
        """What its signatures are verified by."""
        return tuple(verifying_key(each.certificate) for each in self.service.keys if each.signs)

    @property
    def must_sign(self) -> bool:
        """Whether its requests must be signed."""
        return self.terms.require_signed_requests or self.service.authn_requests_signed


class Proven(Struct, frozen=True):
    """Sender and assertion consumer fit together: answers, errors included, may be sent there."""

    sender: Sender
    acs: str
    relay_state: str | None
    request: AuthnRequest


def parsed(octets: bytes) -> Element:
    """The message, which is XML by all our rules and by SAML's schema. Raises: XmlRefused."""
    root = xml.parse(octets, max_elements=_MAX_ELEMENTS)
    xml.schema_check(root)
    return root


async def known_sender(root: Element, policy: Policy, services: Services) -> Sender:
    """
    Who *root* says it is from, of those we know; nothing of it is verified yet.

    Raises: BadAsk: unknown. Denied: known, and there is no metadata of it now.
    """
    partner_id = policy.partner_of_entity(unverified_issuer(root))
    partner = policy.partner(partner_id) if partner_id else None
    if partner_id is None or partner is None or partner.saml is None:
        raise BadAsk("Issuer is no service provider we know", code="saml.issuer")
    service = await services.of(partner_id)
    if service is None:
        raise Denied("no metadata of the partner that may be used", code="saml.no_metadata", partner=partner_id)
    return Sender(partner_id, partner, partner.saml, service)


def check_relay_state(relay_state: str | None) -> None:
    """Not longer than an address. Raises: XmlRefused."""
    if relay_state is not None and len(relay_state.encode()) > MAX_RELAY_STATE:
        raise XmlRefused("relay_state")


def checked_signature(
    root: Element, by_query: Redirected | None, sender: Sender, *, needed: bool
) -> tuple[Element, bool]:
    """
    What may be read of *root*, and whether it is signed: what is signed must verify, wanted or not (saml2int SDP-IDP05).

    Raises: XmlRefused.
    """
    signs_query = by_query is not None and by_query.signature is not None
    if by_query is not None and signs_query:
        redirect.verify(by_query, sender.keys)
    if is_signed(root):
        root = xml.parse(verified(root, sender.keys))
    elif needed and not signs_query:
        raise XmlRefused("unsigned")
    else:
        return root, signs_query
    return root, True


def check_destination(head: Head, here: str, *, is_signed: bool) -> None:
    """Where it is sent is here; what is signed must say so (saml-bindings-2.0-os, sections 3.4.5.2 and 3.5.5.2)."""
    if head.destination is None and not is_signed:
        return
    if head.destination != here:
        raise BadAsk("the message is for another address", code="saml.destination")


def check_time(head: Head, now: datetime) -> None:
    """It was made just now."""
    if not now - AGE - SKEW <= head.issued_at <= now + SKEW:
        raise BadAsk("the message is too old, or from the future", code="saml.time")


def default_consumer(service: SamlService) -> str:
    """Where a response goes that nobody asked for (saml-profiles-2.0-os, section 4.1.5). Raises: Denied."""
    found = service.default_acs()
    if found is None:
        raise Denied("the partner has no assertion consumer", code="saml.acs")
    return found.location


def consumer(request: AuthnRequest, service: SamlService) -> str:
    """
    The assertion consumer that is answered: the one named, if it is registered, compared character by character; else the
    default one (saml2int SDP-IDP06).

    Raises: BadAsk, which is shown here and never sent anywhere.
    """
    posts = [each for each in service.acs if each.binding == POST]
    if request.acs_url is not None and request.acs_index is not None:
        raise BadAsk("names its assertion consumer twice", code="saml.acs")
    if request.acs_url is not None:
        found = next((each for each in posts if each.location == request.acs_url), None)
    elif request.acs_index is not None:
        found = next((each for each in posts if each.index == request.acs_index), None)
    else:
        found = service.default_acs()
    if found is None:
        raise BadAsk("the assertion consumer is not registered", code="saml.acs")
    return found.location


def is_registered(acs: str, service: SamlService) -> bool:
    """Whether *acs* (still) is an assertion consumer of *service*."""
    return any(each.location == acs and each.binding == POST for each in service.acs)


def check_supported(request: AuthnRequest) -> None:
    """
    What we do not do is refused, and not left out in silence.

    Raises: BadAsk, whose ``oauth_error`` names the status (`broker.downstream.saml.statuses`).
    """
    if request.binding not in {None, POST}:
        raise BadAsk("answers are posted only", oauth_error="unsupported_binding", code="saml.binding")
    if request.names_subject:
        raise BadAsk("a request may not name its customer", oauth_error="request_unsupported", code="saml.subject")
    if request.declarations:
        raise BadAsk("no declarations of contexts here", oauth_error="no_authn_context", code="saml.context")
    if request.proxies == 0:
        raise BadAsk("every login here is at a provider", oauth_error="proxy_count_exceeded", code="saml.proxies")
    if request.name_qualifier not in {None, request.head.issuer}:
        raise BadAsk("names are for the asking party only", oauth_error="invalid_name_id_policy", code="saml.name_id")


def checked_name_id_format(request: AuthnRequest, terms: PartnerSaml) -> NameIdFormat:
    """The format to answer in. Raises: BadAsk."""
    found = name_id_format(request.name_id_format, terms.name_id_formats)
    if found is None:
        raise BadAsk("no names in that format", oauth_error="invalid_name_id_policy", code="saml.name_id")
    return found


def checked_recipient(terms: PartnerSaml, service: SamlService) -> Recipient | None:
    """
    Whom assertions are encrypted to; None where the operator lets them travel in the clear.

    security: fails closed. Where encryption is needed and the partner has no key for it, or none by methods we use, there is no
    assertion (saml2int SDP-IDP11).

    Raises: Denied.
    """
    if terms.encrypt == "never":
        return None
    try:
        found = recipient_of(service.keys)
    except XmlRefused as error:
        raise Denied(error.detail, code="saml.no_encryption") from error
    if found is None:
        raise Denied("the partner has no key to encrypt to", code="saml.no_encryption")
    return found


def ask_of(proven: Proven, handoff: str | None) -> Ask:
    """The request as all protocols say it. Raises: BadAsk, Denied."""
    request, sender = proven.request, _asking(proven)
    saml = SamlAsk(
        request_id=request.head.id,
        name_id_format=checked_name_id_format(request, sender.terms),
        contexts=request.contexts,
        comparison=request.comparison,
        may_create=request.may_create is not False,
        required=claims_required(sender.service, sender.terms) if handoff is None else (),
    )
    ask = _ask(sender, proven.acs, proven.relay_state, saml)
    return replace(ask, prompt=_prompt(request), handoff=handoff)


def _asking(proven: Proven) -> Sender:
    """
    The sender, asking for the attributes that the request names among those of its metadata (saml-core-2.0-os, section 3.4.1).

    Raises: BadAsk.
    """
    sender, index = proven.sender, proven.request.attribute_set
    service = sender.service.asking_for(index) if index is not None else sender.service
    if service is None:
        detail = "its metadata has no AttributeConsumingService of that index"
        raise BadAsk(detail, oauth_error="request_unsupported", code="saml.attributes")
    return replace(sender, service=service)


def unsolicited_ask(sender: Sender, target: str | None) -> Ask:
    """
    What is asked where nobody did: all by our config and the partner's metadata, at its default assertion consumer.

    Args:
        target: a name among the partner's ``targets``; what a link says is never passed on itself.
    Raises: BadAsk, Denied.
    """
    relay_state = sender.terms.targets.get(target) if target is not None else None
    if target is not None and relay_state is None:
        raise BadAsk("no target of that name at the partner", code="saml.target", partner=sender.partner_id)
    checked_recipient(sender.terms, sender.service)
    required = claims_required(sender.service, sender.terms)
    saml = SamlAsk(request_id=None, name_id_format=sender.terms.name_id_formats[0], required=required)
    return _ask(sender, default_consumer(sender.service), relay_state, saml)


def _ask(sender: Sender, acs: str, relay_state: str | None, saml: SamlAsk) -> Ask:
    login = sender.partner.login
    _check_required(saml.required, sender)
    identifier_name(sender.service, sender.terms)
    return Ask(
        partner=sender.partner_id,
        redirect_uri=acs,
        state=relay_state,
        nonce=None,
        scopes=(),
        code_challenge=None,
        claims=claims_asked(sender.service, sender.terms, login.claims) if login is not None else ClaimsRequest(),
        response_mode="form_post",
        saml=saml,
    )


def _check_required(required: tuple[str, ...], sender: Sender) -> None:
    """Nobody logs in for nothing: what a partner requires and may never have is found out at once. Raises: Denied."""
    allowed = sender.partner.login.claims if sender.partner.login is not None else ()
    if sender.terms.missing_required == "refuse" and not set(required) <= set(allowed):
        raise Denied(
            "its metadata requires claims that it may not have", code="saml.required", partner=sender.partner_id
        )


def _prompt(request: AuthnRequest) -> tuple[str, ...]:
    """IsPassive and ForceAuthn in the words of OpenID Connect."""
    wanted: Collection[tuple[bool, str]] = ((request.is_passive, "none"), (request.forces_login, "login"))
    return tuple(word for is_wanted, word in wanted if is_wanted)
