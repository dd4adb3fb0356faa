"""
A national eIDAS node, as a SAML provider of persons from other countries: what kind ``eidas`` has beside kind ``saml``.

Source: eIDAS SAML Message Format 1.4, Attribute Profile 1.4 and Cryptographic Requirements 1.4.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Final, Literal, Self

from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import Field, StringConstraints, model_validator

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.policy import Country, EntityId
from broker.core.saml import PERSISTENT, URI_NAMES, RequestedAttribute, SamlProvider
from broker.errors import UpstreamRefused
from broker.upstream.claims import Attribute
from broker.upstream.port import UpstreamAsk
from broker.upstream.saml import SamlConnect, Scheme
from broker.wire.saml.algorithms import EIDAS_ENCRYPTION, EIDAS_SIGNATURES, ENCRYPTION, SIGNATURES, Signature
from broker.wire.saml.eidas_address import PARTS, read_address
from broker.wire.saml.keys import SigningKey
from broker.wire.saml.metadata import ServiceRole
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.request import ToAsk
from broker.wire.saml.response import ReadResponse

COUNTRIES: Final = frozenset({
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "EL", "ES", "EU", "FI", "FR", "HR", "HU", "IE", "IS", "IT", "LI", "LT", "LU",
    "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
})  # fmt: skip
"""The letters of the EU and the EEA in PersonIdentifiers (eIDAS SAML Attribute Profile 1.4): ISO 3166, but EL for Greece."""

NATURAL: Final = "http://eidas.europa.eu/attributes/naturalperson"
LOA: Final = "http://eidas.europa.eu/LoA"
NOT_NOTIFIED: Final = "http://eidas.europa.eu/NotNotified/LoA"

_LEGAL: Final = "http://eidas.europa.eu/attributes/legalperson"
_MINIMUM: Final = ("PersonIdentifier", "CurrentFamilyName", "CurrentGivenName", "DateOfBirth")
_IDENTIFIER: Final = re.compile(r"([A-Z]{2})/([A-Z]{2})/[^\s/][^\s]{0,249}")
_GENDERS: Final = frozenset({"Male", "Female", "Unspecified"})
_RANKS: Final = {"low": 0, "substantial": 1, "high": 2}
_CEILINGS: Final = {"low": Assurance.LOW, "substantial": Assurance.SUBSTANTIAL, "high": Assurance.HIGH}
_ADDRESS: Final = f"{NATURAL}/CurrentAddress"

_Optional = Literal[
    "BirthName", "PlaceOfBirth", "Gender", "CurrentAddress", "Nationality", "CountryOfBirth", "TownOfBirth",
    "CountryOfResidence", "PhoneNumber", "EmailAddress",
]  # fmt: skip
_OPTIONAL: Final[tuple[str, ...]] = (
    "BirthName", "PlaceOfBirth", "Gender", "CurrentAddress", "Nationality", "CountryOfBirth", "TownOfBirth",
    "CountryOfResidence", "PhoneNumber", "EmailAddress",
)  # fmt: skip


def _claims() -> Mapping[str, Attribute]:
    return {
        f"{NATURAL}/CurrentGivenName": "given_name",
        f"{NATURAL}/CurrentFamilyName": "family_name",
        f"{NATURAL}/DateOfBirth": "birthdate",
    }


def _names(*attributes: str) -> tuple[str, ...]:
    return tuple(f"{NATURAL}/{each}" for each in attributes)


def _notified() -> Mapping[str, Assurance]:
    return {f"{LOA}/{word}": level for word, level in _CEILINGS.items()}


class EidasConnect(SamlConnect):
    """
    The ``connect`` block of an upstream of kind ``eidas``: that of kind ``saml``, with what nodes demand.

    ``receiving_country``: for whom persons are identified, the second part of every PersonIdentifier. ``countries``: whose
    persons are let in; without it all. ``sp_type``: what the broker is; ``sp_type_in``: where it says so. ``attributes``: asked
    for beside the minimum data set. ``requester_id``, ``provider_name``: on whose behalf we ask, where the node wants to know.
    ``strict_crypto``: RSA-PSS or ECDSA, and no key transport of XML Encryption 1.0. ``names_callback``: requests say where the
    answer goes, which nodes rather read in the metadata.
    """

    receiving_country: Country
    countries: tuple[Country, ...] = ()
    sp_type: Literal["public", "private"] = "private"
    sp_type_in: Literal["request", "metadata"] = "request"
    attributes: tuple[_Optional, ...] = ()
    requester_id: EntityId | None = None
    provider_name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    strict_crypto: bool = True
    names_callback: bool = False
    claims: Mapping[str, Attribute] = Field(default_factory=_claims)
    required_claims: tuple[str, ...] = Field(default=_names(*_MINIMUM), json_schema_extra={"x-default": "see below"})
    ignored_claims: tuple[str, ...] = Field(
        default=_names("PersonIdentifier", *_OPTIONAL), json_schema_extra={"x-default": "see below"}
    )
    acr_levels: Mapping[str, Assurance] = Field(default_factory=_notified)
    comparison: Literal["exact", "minimum"] = "minimum"
    subject: Literal["http://eidas.europa.eu/attributes/naturalperson/PersonIdentifier"] = (
        "http://eidas.europa.eu/attributes/naturalperson/PersonIdentifier"
    )
    name_id_format: EntityId | None = PERSISTENT
    encrypted: Literal[True] = True
    signs_response: Literal[True] = True

    @model_validator(mode="after")
    def _levels(self) -> Self:
        for name, level in self.acr_levels.items():
            base, _, word = name.rpartition("/")
            if base not in (LOA, NOT_NOTIFIED) or word not in _CEILINGS:
                raise ValueError(f"acr_levels: {name} is no level of eIDAS")
            if level > _CEILINGS[word]:
                raise ValueError(f"acr_levels: {name} counts for {word} at most")
            if base == NOT_NOTIFIED and self.comparison == "minimum":
                raise ValueError("comparison must be exact where levels that are not notified are accepted")
        if not self.acr_levels:
            raise ValueError("acr_levels must name the levels that are accepted")
        return self

    @property
    def scheme(self) -> "EidasScheme":
        """See `SamlConnect.scheme`."""
        return EidasScheme(self)


class EidasScheme(Scheme):
    """What nodes want said, and what they may not say."""

    def __init__(self, connect: EidasConnect) -> None:
        self._connect = connect
        strict = connect.strict_crypto
        self.signatures: Collection[Signature] = EIDAS_SIGNATURES if strict else SIGNATURES
        self.encryption: Collection[str] = EIDAS_ENCRYPTION if strict else ENCRYPTION
        self.least_rsa_bits = 3072 if strict else 2048

    def algorithm(self, key: SigningKey) -> Signature:
        """RSA-PSS for RSA keys (Cryptographic Requirements 1.4, section 3)."""
        if self._connect.strict_crypto and isinstance(key.private, rsa.RSAPrivateKey):
            return Signature.RSA_PSS_SHA256
        return key.default_algorithm

    def contexts(self, provider: SamlProvider, sufficient: Sequence[str]) -> Sequence[str]:
        """Notified levels up to the highest that the node's metadata names; others only where it names them."""
        named = provider.loa_certification
        if not named:
            return sufficient
        highest = max((_RANKS[_word(each)] for each in named if each.startswith(f"{LOA}/")), default=-1)
        return [
            each
            for each in sufficient
            if each in named or (each.startswith(f"{LOA}/") and _RANKS[_word(each)] <= highest)
        ]

    def asks(self, request: ToAsk, ask: UpstreamAsk, provider: SamlProvider) -> ToAsk:
        """Message Format 1.4, section 2.3: always a new login, the kind of service, and the minimum data set at least."""
        connect = self._connect
        needed = [RequestedAttribute(f"{NATURAL}/{each}", URI_NAMES, is_required=True) for each in _MINIMUM]
        wanted = [RequestedAttribute(f"{NATURAL}/{each}", URI_NAMES) for each in connect.attributes]
        return replace(
            request,
            acs=request.acs if connect.names_callback else None,
            forces_login=True,
            sp_type=connect.sp_type if connect.sp_type_in == "request" else None,
            attributes=(*needed, *wanted),
            requesters=(connect.requester_id,) if connect.requester_id else (),
            provider_name=connect.provider_name,
        )

    def claims(self, response: ReadResponse, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """One natural person for herself, in Latin letters. Raises: UpstreamRefused."""
        _check_alone(response.attributes)
        told = dict(claims)
        for name, values in response.attributes.items():
            latin = next((value.text for value in values if value.is_latin and value.text), None)
            told.pop(name, None)
            if latin is not None:
                told[name] = latin
        self._check_identifier(told["sub"])
        _check_forms(told)
        if (address := told.pop(_ADDRESS, None)) is not None:
            told |= self._address(address)
        return told

    def tells(self, names: frozenset[str]) -> frozenset[str]:
        """Of the optional attributes those that are asked for; of the address its parts."""
        asked_for = set(_names(*self._connect.attributes))
        parts = {f"{_ADDRESS}.{each}" for each in PARTS} if _ADDRESS in asked_for else set[str]()
        return (names - set(_names(*_OPTIONAL))) | (asked_for - {_ADDRESS}) | parts

    def role(self, role: ServiceRole) -> ServiceRole:
        """What is wanted is said in each request."""
        sp_type = self._connect.sp_type if self._connect.sp_type_in == "metadata" else None
        return replace(role, requested_attributes=(), sp_type=sp_type)

    def _check_identifier(self, identifier: str) -> None:
        found = _IDENTIFIER.fullmatch(identifier)
        if found is None or found[2] != self._connect.receiving_country:
            raise UpstreamRefused(
                "PersonIdentifier is malformed, or meant for another country", code="eidas.identifier"
            )
        if self._connect.countries and found[1] not in self._connect.countries:
            raise UpstreamRefused("from a country that is not accepted", code="eidas.country", country=found[1])

    def _address(self, text: str) -> Mapping[str, str]:
        """The parts that the config asks for, as names of their own."""
        try:
            parts = read_address(text)
        except XmlRefused as refused:
            raise UpstreamRefused("CurrentAddress cannot be read", code=refused.code) from None
        asked_for = {*self._connect.required_claims, *self._connect.required_values}
        return {name: part for each, part in parts.items() if (name := f"{_ADDRESS}.{each}") in asked_for}


def _check_alone(names: Collection[str]) -> None:
    if any("/representative/" in name for name in names):
        # security: who acts for somebody else is not that person.
        raise UpstreamRefused("somebody acts for another", code="eidas.representative")
    if any(name.startswith(f"{_LEGAL}/") for name in names):
        raise UpstreamRefused("a legal person, or one beside a natural one", code="eidas.legal_person")


def _check_forms(told: Mapping[str, Any]) -> None:
    born, gender = told.get(f"{NATURAL}/DateOfBirth", ""), told.get(f"{NATURAL}/Gender", "Unspecified")
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", born, re.ASCII) or gender not in _GENDERS:
            raise ValueError
        date.fromisoformat(born)
    except ValueError:
        raise UpstreamRefused("DateOfBirth or Gender is malformed", code="eidas.attribute") from None


def _word(level: str) -> str:
    word = level.rpartition("/")[2]
    return word if word in _RANKS else "low"
