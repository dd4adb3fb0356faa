"""
Sweden Connect: identity providers of the Swedish federation, and its node to the other countries of eIDAS; what kind
``sweden-connect`` has beside kind ``saml``.

Source: Sweden Connect Technical Framework, its Deployment Profile (02), Identifiers (03), Attribute Specification (04), Entity
Categories (06), eIDAS Constructed Attributes (11) and Principal Selection (14).
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.policy import Country, Duration, EntityId
from broker.core.saml import PERSISTENT, SamlProvider
from broker.errors import Stopped, UpstreamRefused
from broker.upstream.claims import Attribute
from broker.upstream.port import UpstreamAsk
from broker.upstream.saml import SamlConnect, Scheme
from broker.wire.saml.metadata import ENTITY_CATEGORY, ServiceRole
from broker.wire.saml.request import ToAsk
from broker.wire.saml.response import ReadResponse, Status

_ELEG: Final = "http://id.elegnamnden.se"
_SC: Final = "http://id.swedenconnect.se"
LOA: Final = f"{_ELEG}/loa/1.0"
SC_LOA: Final = f"{_SC}/loa/1.0"
_STATUS: Final = f"{_ELEG}/status/1.0"

PNR: Final = "urn:oid:1.2.752.29.4.13"
PRID: Final = "urn:oid:1.2.752.201.3.4"
PRID_PERSISTENCE: Final = "urn:oid:1.2.752.201.3.5"
COUNTRY: Final = "urn:oid:2.5.4.6"

_LASTING: Final = frozenset({"A", "B"})
_PRID: Final = re.compile(r"[A-Z]{2}:[0-9a-z][0-9a-z-]{8,28}[0-9a-z]")
_SWEDISH: Final = re.compile(r"[0-9]{12}")
_FRAUD: Final = frozenset({f"{_STATUS}/fraud", f"{_STATUS}/possibleFraud"})

_LEVELS: Final = {"2": Assurance.LOW, "3": Assurance.SUBSTANTIAL, "4": Assurance.HIGH}
_NOTIFIED: Final = {"low": Assurance.LOW, "sub": Assurance.SUBSTANTIAL, "high": Assurance.HIGH}
# What nobody but the country itself vouches for is never high.
_NOT_NOTIFIED: Final = {**_NOTIFIED, "high": Assurance.SUBSTANTIAL}

_NONRESIDENT: Final = {f"{SC_LOA}/loa{each}-nonresident": level for each, level in _LEVELS.items()}
_UNCERTIFIED: Final = {
    f"{SC_LOA}/uncertified-loa2": Assurance.LOW,
    f"{SC_LOA}/uncertified-loa3": Assurance.SUBSTANTIAL,
    **{f"{SC_LOA}/uncertified-eidas-{word}": level for word, level in _NOT_NOTIFIED.items()},
}
_FOREIGN: Final = {
    **{f"{LOA}/eidas-nf-{word}": level for word, level in _NOTIFIED.items()},
    **{f"{LOA}/eidas-{word}": level for word, level in _NOT_NOTIFIED.items()},
    **{name: level for name, level in _UNCERTIFIED.items() if "/uncertified-eidas-" in name},
}
CEILINGS: Final[Mapping[str, Assurance]] = {
    f"{LOA}/loa1": Assurance.SELF_ASSERTED,
    **{f"{LOA}/loa{each}": level for each, level in _LEVELS.items()},
    **_NONRESIDENT,
    **_UNCERTIFIED,
    **_FOREIGN,
}
"""The most that each level of the federation may count for."""

_Service = Literal[
    "loa2-pnr", "loa3-pnr", "loa4-pnr", "eidas-naturalperson", "eidas-pnr-delivery", "uncertified-loa3-pnr",
    "loa2-name", "loa3-name", "loa4-name", "loa2-orgid", "loa3-orgid", "loa4-orgid",
]  # fmt: skip


def _claims() -> Mapping[str, Attribute]:
    return {
        "urn:oid:2.16.840.1.113730.3.1.241": "name",
        "urn:oid:2.5.4.42": "given_name",
        "urn:oid:2.5.4.4": "family_name",
        "urn:oid:1.3.6.1.5.5.7.9.1": "birthdate",
        PNR: "personal_number",
        "urn:oid:0.9.2342.19200300.100.1.3": "email",
    }


def _known() -> tuple[str, ...]:
    """Identifiers besides that of the account, the evidence of the login, and what nobody here needs to know of her."""
    constructed = [f"urn:oid:1.2.752.201.3.{each}" for each in (2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 16)]
    personal = ["urn:oid:1.3.6.1.5.5.7.9.2", "urn:oid:1.3.6.1.5.5.7.9.3", COUNTRY]
    return (*constructed, *personal)


def _usual_levels() -> Mapping[str, Assurance]:
    return {f"{LOA}/loa{each}": level for each, level in _LEVELS.items()}


class SwedenConnect(SamlConnect):
    """
    The ``connect`` block of an upstream of kind ``sweden-connect``: that of kind ``saml``, with what the federation demands.

    Persons are known by their personal number; at levels of eIDAS by ``prid``; at levels for those who have no number by the
    ``NameID`` that is made for us. ``acr_levels``: the levels of the federation that are accepted; none counts for more than
    it says. ``uncertified``: the most that levels may count for that nobody certified; without it they are not accepted.
    ``services``: the service entity categories in our metadata, by which providers tell attributes; ``categories``: others.
    ``sector``: what the broker is. ``coordination_numbers``: whether persons with one are let in. ``countries``: whose persons
    may come by levels of eIDAS; without it all. ``country``: the one that its node begins with, unless a partner hints at
    another. ``names_customer``: tell the provider the personal number of a customer who is logged in and has to log in once
    more, if it wants that; by POST only.
    """

    subject: Literal["urn:oid:1.2.752.29.4.13"] = "urn:oid:1.2.752.29.4.13"
    uncertified: Literal[Assurance.LOW, Assurance.SUBSTANTIAL] | None = None
    services: Annotated[tuple[_Service, ...], Field(min_length=1)] = ("loa3-pnr",)
    sector: Literal["public", "private"] = "private"
    coordination_numbers: bool = False
    categories: tuple[EntityId, ...] = ()
    countries: tuple[Country, ...] = ()
    country: Country | None = None
    names_customer: bool = False
    claims: Mapping[str, Attribute] = Field(default_factory=_claims)
    ignored_claims: tuple[str, ...] = Field(default=_known(), json_schema_extra={"x-default": "see below"})
    acr_levels: Annotated[Mapping[str, Assurance], Field(min_length=1)] = Field(default_factory=_usual_levels)
    personal_number_country: Literal["SE"] = "SE"
    comparison: Literal["exact"] = "exact"
    encrypted: Literal[True] = True
    signs_response: Literal[True] = True
    skew: Annotated[Duration, Field(le=timedelta(minutes=1))] = timedelta(minutes=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name, level in self.acr_levels.items():
            if name not in CEILINGS:
                raise ValueError(f"acr_levels: {name} is no level of Sweden Connect")
            most = CEILINGS[name]
            if name in _UNCERTIFIED:
                if self.uncertified is None:
                    raise ValueError(
                        f"acr_levels: {name} is certified by nobody: uncertified must say what it counts for"
                    )
                most = min(most, self.uncertified, key=lambda each: each.rank)
            if level > most:
                raise ValueError(f"acr_levels: {name} counts for {most.value} at most")
        if not _FOREIGN.keys().isdisjoint(self.acr_levels) and "eidas-naturalperson" not in self.services:
            raise ValueError(
                "services must hold eidas-naturalperson where levels of eIDAS are accepted: prid is told by it"
            )
        if self.names_customer and self.binding != "post":
            raise ValueError("names_customer needs binding: post, or her personal number would be in an address")
        if self.claims.get(PNR) != "personal_number":
            raise ValueError(f"claims must say that {PNR} is personal_number: persons are known by it")
        return self

    @property
    def scheme(self) -> "SwedenConnectScheme":
        """See `SamlConnect.scheme`."""
        return SwedenConnectScheme(self)


class SwedenConnectScheme(Scheme):
    """What the federation wants said, and what its members may not say."""

    def __init__(self, connect: SwedenConnect) -> None:
        self._connect = connect

    def contexts(self, provider: SamlProvider, sufficient: Sequence[str]) -> Sequence[str]:
        """
        Those that the provider is certified for, as the federation says in its metadata.

        security: a proxy cannot claim the levels of the node to other countries: it is not certified for them, so they are
        not asked for, and what is not asked for is not accepted.
        """
        return [each for each in sufficient if each in provider.loa_certification]

    def asks(self, request: ToAsk, ask: UpstreamAsk, provider: SamlProvider) -> ToAsk:
        """
        The country whose eID she has, where the partner hints at one and we ask for such levels; her personal number, where she
        is logged in and the provider wants to be told.

        security: nothing else of a hint goes into PrincipalSelection.
        """
        country, expected = self._connect.country, dict[str, str]()
        if re.fullmatch(r"[A-Z]{2}", ask.login_hint or "") and self._accepts(ask.login_hint or ""):
            country = ask.login_hint
        if country is not None and not _FOREIGN.keys().isdisjoint(request.contexts):
            expected[COUNTRY] = country
        number = ask.personal_number or ""
        # security: it is personal; requests by POST are no part of an address, which histories and logs keep.
        if self._connect.names_customer and PNR in provider.principal_attributes and _SWEDISH.fullmatch(number):
            expected[PNR] = number
        return replace(request, principal=expected)

    def subject(self, response: ReadResponse) -> str | None:
        """By what persons at such a level are known, where that is not their number. Raises: UpstreamRefused."""
        if response.authn_context in _FOREIGN:
            return self._prid(response)
        if response.authn_context in _NONRESIDENT:
            # security: a NameID of another format is another one next time, or may be given to somebody else.
            is_hers = response.name_id_format == PERSISTENT and not response.is_anothers
            if not response.name_id or not is_hers or len(response.name_id) > 256:
                raise UpstreamRefused("no NameID that lasts", code="saml.subject")
            return response.name_id
        return None

    def claims(self, response: ReadResponse, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the level that was reached allows to be said. Raises: UpstreamRefused."""
        level, number = response.authn_context, _single(response, PNR)
        if level in _NONRESIDENT and number:
            raise UpstreamRefused("a personal number at a level without", code="sweden_connect.nonresident")
        if level in _FOREIGN:
            # Who found her among the residents, and how surely, is in attributes that nobody here judges.
            return {name: value for name, value in claims.items() if name != PNR}
        if _is_coordination(number) and not self._connect.coordination_numbers:
            # It may be replaced by a personal number one day, and her account would be lost to her.
            detail = "a coordination number, which coordination_numbers does not allow"
            raise UpstreamRefused(detail, code="sweden_connect.coordination_number")
        return claims

    def refused(self, status: Status) -> Stopped | UpstreamRefused | None:
        """The status codes of the federation (Identifiers, section 3.1.4)."""
        for code in status.codes[1:]:
            if code == f"{_STATUS}/cancel":
                return Stopped("cancelled at the provider", code="saml.cancelled")
            if code in _FRAUD:
                word = code.rpartition("/")[2]
                return UpstreamRefused("the provider suspects fraud", code="sweden_connect.fraud", status=word)
        return None

    def role(self, role: ServiceRole) -> ServiceRole:
        """What is wanted is said by the entity categories."""
        return replace(role, requested_attributes=())

    @property
    def entity_attributes(self) -> Mapping[str, tuple[str, ...]]:
        """The entity categories, and what kind of service the broker is."""
        connect = self._connect
        sector = f"{_ELEG}/st/1.0/{connect.sector}-sector-sp"
        coordination = (f"{_SC}/general-ec/1.0/accepts-coordination-number",) if connect.coordination_numbers else ()
        services = tuple(_category(each) for each in connect.services)
        return {ENTITY_CATEGORY: (*services, sector, *coordination, *connect.categories)}

    def _accepts(self, country: str) -> bool:
        return not self._connect.countries or country in self._connect.countries

    def _prid(self, response: ReadResponse) -> str:
        """Her ``prid``, in lower case as it is compared (eIDAS Constructed Attributes, section 2.1). Raises: UpstreamRefused."""
        if not response.authenticating_authorities:
            raise UpstreamRefused("who authenticated her abroad is not told", code="sweden_connect.authority")
        country, _, identifier = _single(response, PRID).partition(":")
        prid = f"{country}:{identifier.lower()}"
        if not _PRID.fullmatch(prid) or len(identifier.replace("-", "")) < 8:
            raise UpstreamRefused("prid is missing or malformed", code="sweden_connect.prid")
        if not self._accepts(country):
            raise UpstreamRefused("from a country that is not accepted", code="sweden_connect.country", country=country)
        if _single(response, PRID_PERSISTENCE) not in _LASTING:
            # Section 2.2: of class C it is another one as soon as she gets another eID.
            detail = "pridPersistence is neither A nor B: nobody can be known again by this prid"
            raise UpstreamRefused(detail, code="sweden_connect.persistence", message_key="notice.not_lasting")
        return prid


def _category(service: str) -> str:
    """The URI of a service entity category (Entity Categories, section 2)."""
    if service.startswith("uncertified-"):
        return f"{_SC}/ec/sc/{service}"
    return f"{_SC if service.endswith(('-name', '-orgid')) else _ELEG}/ec/1.0/{service}"


def _single(response: ReadResponse, name: str) -> str:
    """The one value of an attribute; empty without. Raises: UpstreamRefused: there are several."""
    values = response.attributes.get(name, ())
    if len(values) > 1:
        raise UpstreamRefused("two values of what there is one of", code="sweden_connect.attribute", attribute=name)
    return values[0].text if values else ""


def _is_coordination(number: str) -> bool:
    """Whether 60 was added to the day (SKV 707)."""
    return re.fullmatch(r"[0-9]{6}[6-9][0-9]{5}", number) is not None
