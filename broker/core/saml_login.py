"""
What a SAML service provider asks of a login, and what it is told: contexts, names of the customer, names of attributes.

No XML here; `wire/saml` reads requests and writes assertions. What is released decides `broker.core.release`, as for everybody.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from broker.core.assurance import Assurance, Comparison, context_of, level_of_acr, level_of_context, meets_context
from broker.core.claims_request import ClaimsRequest
from broker.core.policy import NameIdFormat, PartnerSaml, Policy
from broker.core.saml import EMAIL_ADDRESS, PERSISTENT, TRANSIENT, UNSPECIFIED, SamlService
from broker.errors import Denied

PAIRWISE_ID = "urn:oasis:names:tc:SAML:attribute:pairwise-id"
SUBJECT_ID = "urn:oasis:names:tc:SAML:attribute:subject-id"
UNSPECIFIED_CONTEXT = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"


class SamlAsk(Struct, frozen=True):
    """
    What an AuthnRequest says besides what every request does (SAML Core section 3.4.1).

    ``request_id``: None for an answer nobody asked for. ``contexts``: the AuthnContextClassRefs asked for. ``name_id_format``:
    the one to answer in. ``may_create``: False where only a customer the partner knows already may be named. ``required``: the
    claims that its metadata says it cannot do without.
    """

    request_id: str | None
    name_id_format: NameIdFormat
    contexts: tuple[str, ...] = ()
    comparison: Comparison = Comparison.EXACT
    may_create: bool = True
    required: tuple[str, ...] = ()

    @property
    def is_unsolicited(self) -> bool:
        """Whether nobody asked: then the partner hears of a login only, and of nothing that stood in its way."""
        return self.request_id is None


def told_context(ask: SamlAsk, level: Assurance | None, own: Mapping[str, Assurance]) -> str | None:
    """
    The AuthnContextClassRef that a login at *level* is told as; None where it is none of those asked for.

    Classes of the eIDAS levels are compared as `meets_context` does. A class of the partner's *own* vocabulary says "at least
    that level": software that asks for one exact class means what it used to get, and never gets a login that proves less.

    Args:
        level: None for a login whose level may not be told.
    """
    if level is None:
        return None if ask.contexts else UNSPECIFIED_CONTEXT
    usual = _usual(level, own)
    if not ask.contexts:
        return usual
    if meets_context(level, ask.contexts, ask.comparison):
        return context_of(level)
    asked = [(own[each], each) for each in ask.contexts if each in own]
    met = [each for each in asked if each[0] <= level]
    match ask.comparison:
        case Comparison.EXACT:
            return max(met, key=lambda each: each[0].rank)[1] if met else None
        case Comparison.MINIMUM:
            return usual if met else None
        case Comparison.MAXIMUM:
            return usual if any(each[0] >= level for each in asked) else None
        case Comparison.BETTER:
            all_asked = [own.get(each) or level_of_context(each) for each in ask.contexts]
            known = [each for each in all_asked if each is not None and each < level]
            return _better(level, own, max(known)) if len(known) == len(all_asked) else None


def _usual(level: Assurance, own: Mapping[str, Assurance]) -> str | None:
    """The strongest of the partner's own classes that *level* is, else the usual one."""
    met = [(asked, uri) for uri, asked in own.items() if asked <= level]
    return max(met, key=lambda each: each[0].rank)[1] if met else context_of(level)


def _better(level: Assurance, own: Mapping[str, Assurance], than: Assurance) -> str | None:
    """As `_usual`, of what says more than the level *than*; None where nothing does."""
    said = context_of(than)
    is_said = said is None or meets_context(level, (said,), Comparison.BETTER)
    met = [(asked, uri) for uri, asked in own.items() if than < asked <= level]
    return max(met, key=lambda each: each[0].rank)[1] if met else context_of(level) if is_said else None


def context_of_acr(ask: SamlAsk, acr: str | None, own: Mapping[str, Assurance]) -> str | None:
    """As `told_context`, for the level that a release tells."""
    return told_context(ask, level_of_acr(acr) if acr is not None else None, own)


def fitting_levels(ask: SamlAsk, own: Mapping[str, Assurance]) -> tuple[Assurance, ...]:
    """The levels at which a login may answer *ask*, weakest first; none where it asks for what nobody here is told as."""
    return tuple(level for level in Assurance if told_context(ask, level, own) is not None)


#: URI of each NameID format (SAML Core section 8.3).
NAME_ID_FORMATS: Mapping[NameIdFormat, str] = {
    NameIdFormat.TRANSIENT: TRANSIENT,
    NameIdFormat.PERSISTENT: PERSISTENT,
    NameIdFormat.EMAIL: EMAIL_ADDRESS,
}


def name_id_format(asked: str | None, allowed: tuple[NameIdFormat, ...]) -> NameIdFormat | None:
    """The format to name the customer in, given the one *asked* for (a URI); None where that is not *allowed*."""
    if asked is None or asked == UNSPECIFIED:
        return allowed[0]
    return next((each for each in allowed if NAME_ID_FORMATS[each] == asked), None)


def identifier_name(service: SamlService, terms: PartnerSaml) -> str | None:
    """
    The attribute that identifies the customer; None for none.

    Raises: Denied: the partner's metadata requires another than the operator allows (saml2int SDP-IDP15).
    """
    wanted = service.subject_id_req
    if wanted == "subject-id" and terms.identifier != "subject-id":
        raise Denied("its metadata requires subject-id", code="saml.identifier")
    if wanted in {"pairwise-id", "any"} and terms.identifier == "none":
        raise Denied("its metadata requires pairwise-id", code="saml.identifier")
    if terms.identifier == "none" or wanted == "none":
        return None
    return SUBJECT_ID if terms.identifier == "subject-id" and wanted != "pairwise-id" else PAIRWISE_ID


def subject_identifier(subject: str, scope: str) -> str:
    """
    The pairwise *subject*, which the partner may also know from OpenID Connect, as a subject identifier.

    Base32 in lower case, for it is compared without regard to case (SAML Subject Identifier Attributes Profile section 3.4).
    """
    return f"{base64.b32encode(subject.encode()).decode().rstrip('=').lower()}@{scope}"


class AttributeName(Struct, frozen=True):
    """How a claim is called in an attribute statement. ``friendly``: for people."""

    name: str
    friendly: str


#: X.500 and eduPerson names (eduPerson 202208, RFC 4519, RFC 4524), and those of eIDAS where these have none.
URI_ATTRIBUTES: Mapping[str, AttributeName] = {
    "name": AttributeName("urn:oid:2.16.840.1.113730.3.1.241", "displayName"),
    "given_name": AttributeName("urn:oid:2.5.4.42", "givenName"),
    "family_name": AttributeName("urn:oid:2.5.4.4", "sn"),
    "birthdate": AttributeName("urn:oid:1.3.6.1.5.5.7.9.1", "dateOfBirth"),
    "locale": AttributeName("urn:oid:2.16.840.1.113730.3.1.39", "preferredLanguage"),
    "email": AttributeName("urn:oid:0.9.2342.19200300.100.1.3", "mail"),
    "phone_number": AttributeName("urn:oid:0.9.2342.19200300.100.1.41", "mobile"),
    "personal_number": AttributeName("urn:oid:1.2.752.29.4.13", "personalIdentityNumber"),
    "member_number": AttributeName("urn:oid:2.16.840.1.113730.3.1.3", "employeeNumber"),
}


def attribute_name(claim: str, terms: PartnerSaml) -> AttributeName:
    """How the partner is told *claim*."""
    usual = URI_ATTRIBUTES[claim]
    name = next((name for each, name in terms.attributes.items() if each == claim), None)
    if name is not None:
        return AttributeName(name, usual.friendly)
    return usual if terms.attribute_names == "uri" else AttributeName(usual.friendly, usual.friendly)


def claims_asked(service: SamlService, terms: PartnerSaml, allowed: Iterable[str]) -> ClaimsRequest:
    """
    The claims *service* asks for: what its metadata requests, by any name we know, else everything it is *allowed*.

    Asked for by name, as with OpenID Connect's ``claims``: consent page and release then see no difference.
    """
    requested = {each.name for each in service.requested_attributes}
    names = tuple(claim for claim in allowed if not requested or requested & _names_of(claim, terms))
    return ClaimsRequest(userinfo=names)


def claims_required(service: SamlService, terms: PartnerSaml) -> tuple[str, ...]:
    """The claims that *service* marks as required in its metadata, allowed or not; attributes that we do not know are none."""
    required = {each.name for each in service.requested_attributes if each.is_required}
    return tuple(claim for claim in URI_ATTRIBUTES if required & _names_of(claim, terms)) if required else ()


def _names_of(claim: str, terms: PartnerSaml) -> set[str]:
    """All names of *claim* that metadata may use."""
    usual = URI_ATTRIBUTES[claim]
    return {attribute_name(claim, terms).name, usual.name, usual.friendly}


def attributes_of(claims: Mapping[str, Any], terms: PartnerSaml) -> tuple[tuple[AttributeName, tuple[str, ...]], ...]:
    """Released *claims* as attributes; flags about other claims have none of their own and are left out."""
    return tuple(
        (attribute_name(claim, terms), (str(value),)) for claim, value in claims.items() if claim in URI_ATTRIBUTES
    )


def entity_of(policy: Policy, partner: str) -> PartnerSaml | None:
    """What *partner* is as a SAML service provider; None where it is none."""
    known = policy.partner(partner)
    return known.saml if known is not None else None


def demanded(saml: SamlAsk | None, partner: str, policy: Policy) -> tuple[str, ...]:
    """The claims without which the login at *partner* is refused: what it requires, where the operator takes that at its word."""
    if saml is None or not saml.required:
        return ()
    terms = entity_of(policy, partner)
    return saml.required if terms is not None and terms.missing_required == "refuse" else ()
