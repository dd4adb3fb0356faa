"""
What SAML peers say about themselves, as frozen values: service providers that send customers here, identity providers
that customers are sent to. Read from their metadata by `wire/saml`; nothing here knows XML.

Names of elements and attributes are those of SAML 2.0 Metadata and its extensions (saml-metadata-2.0-os, sections 2.4.3
and 2.4.4; algorithm support: sstc-saml-metadata-algsupport-v1.0; texts for people: sstc-saml-metadata-ui-v1.0).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct, field

from broker.core.changing import replace

REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"

TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
EMAIL_ADDRESS = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
UNSPECIFIED = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"

URI_NAMES = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"


class Endpoint(Struct, frozen=True):
    """An address of a peer and how it is spoken to; *index* and *is_default* where the metadata has them, else None."""

    binding: str
    location: str
    index: int | None = None
    is_default: bool | None = None
    response_location: str | None = None

    @property
    def answers_to(self) -> str:
        """Where responses go: ``ResponseLocation``, or the one address (saml-metadata-2.0-os, section 2.2.2)."""
        return self.response_location or self.location


WayToSend = Literal["redirect", "post"]
"""How a message goes through a browser: in an address, or as a form."""


def endpoint_for(endpoints: Sequence[Endpoint], by: WayToSend | None = None) -> Endpoint | None:
    """The first of a peer's addresses that is spoken to so; by either, Redirect before POST, where nothing is said."""
    wanted = (REDIRECT, POST) if by is None else (REDIRECT,) if by == "redirect" else (POST,)
    return next((each for binding in wanted for each in endpoints if each.binding == binding), None)


class PeerKey(Struct, frozen=True):
    """
    A key of a peer: its certificate as DER, whose dates carry no meaning, and what it is for.

    ``encryption_methods`` are the algorithm URIs of ``md:EncryptionMethod``, content and key transport together, as
    the peer lists them; empty when it says nothing.
    """

    certificate: bytes
    use: Literal["signing", "encryption", "both"]
    encryption_methods: tuple[str, ...] = ()

    @property
    def signs(self) -> bool:
        """Whether signatures may be verified with it."""
        return self.use in ("signing", "both")

    @property
    def encrypts(self) -> bool:
        """Whether something may be encrypted to it."""
        return self.use in ("encryption", "both")


class RequestedAttribute(Struct, frozen=True):
    """``md:RequestedAttribute``: what a service asks for; *values* only where it names some."""

    name: str
    name_format: str | None = None
    friendly_name: str | None = None
    is_required: bool = False
    values: tuple[str, ...] = ()


class SamlService(Struct, frozen=True):
    """
    A service provider: what its ``SPSSODescriptor`` says.

    ``subject_id_req`` is the entity attribute ``urn:oasis:names:tc:SAML:profiles:subject-id:req`` (subject-id,
    pairwise-id, none or any), ``names`` the ``mdui:DisplayName`` by language, ``logo`` the first ``mdui:Logo``.
    ``requested_attributes``: those it asks for unless a request says otherwise, by an index among ``attribute_sets``.
    """

    entity_id: str
    acs: tuple[Endpoint, ...]
    slo: tuple[Endpoint, ...] = ()
    keys: tuple[PeerKey, ...] = ()
    authn_requests_signed: bool = False
    wants_assertions_signed: bool = False
    requested_attributes: tuple[RequestedAttribute, ...] = ()
    attribute_sets: Mapping[int, tuple[RequestedAttribute, ...]] = field(default_factory=dict)
    name_id_formats: tuple[str, ...] = ()
    subject_id_req: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    logo: str | None = None
    entity_categories: tuple[str, ...] = ()
    signing_methods: tuple[str, ...] = ()
    digest_methods: tuple[str, ...] = ()
    valid_until: datetime | None = None

    def asking_for(self, index: int) -> "SamlService | None":
        """The same, asking for its set of attributes of that *index*; None where there is none."""
        chosen = self.attribute_sets.get(index)
        return replace(self, requested_attributes=chosen) if chosen is not None else None

    def default_acs(self) -> Endpoint | None:
        """
        The assertion consumer when none is named: the first that is the default, else that does not say it is not, else the
        first (saml-metadata-2.0-os, section 2.2.3).
        """
        posts = [each for each in self.acs if each.binding == POST]
        return min(posts, key=lambda each: (True, None, False).index(each.is_default), default=None)


class SamlProvider(Struct, frozen=True):
    """
    An identity provider: what its ``IDPSSODescriptor`` says.

    ``loa_certification`` are the values of the entity attribute ``urn:oasis:names:tc:SAML:attribute:assurance-
    certification``, ``node_country`` the ``eidas:NodeCountry`` of an eIDAS node, ``scopes`` its ``shibmd:Scope``,
    ``principal_attributes`` by which it would like to be told whom to expect (``psc:RequestedPrincipalSelection``).
    """

    entity_id: str
    sso: tuple[Endpoint, ...]
    slo: tuple[Endpoint, ...] = ()
    keys: tuple[PeerKey, ...] = ()
    want_authn_requests_signed: bool = False
    name_id_formats: tuple[str, ...] = ()
    loa_certification: tuple[str, ...] = ()
    node_country: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    logo: str | None = None
    entity_categories: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    principal_attributes: tuple[str, ...] = ()
    signing_methods: tuple[str, ...] = ()
    digest_methods: tuple[str, ...] = ()
    valid_until: datetime | None = None


class SamlEntity(Struct, frozen=True):
    """
    One ``EntityDescriptor``: a peer in the roles it has.

    ``valid_until`` is the earliest of its own, its roles' and the surrounding document's; None when none of them has one.
    ``cache_duration``: after which the peer would like to be asked again. ``registration_authority``: the federation that
    registered it, as the document says.
    """

    entity_id: str
    service: SamlService | None = None
    provider: SamlProvider | None = None
    valid_until: datetime | None = None
    cache_duration: timedelta | None = None
    registration_authority: str | None = None
