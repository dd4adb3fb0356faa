"""
The kinds of upstream an operator may name in the YAML: for each, its config model, what is to be checked beyond it, and
how its connector is built. Adding a kind is one entry here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from ssl import SSLError
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct
from pydantic import BaseModel

from broker.core.assurance import Assurance
from broker.core.client_rules import ClientAuth
from broker.core.policy import Risk
from broker.core.saml import WayToSend
from broker.errors import StafettError
from broker.flows.assertions import Assertions
from broker.upstream.apple import AppleConnect, AppleConnector
from broker.upstream.bankid import BankIdConnect, BankIdConnector, bankid_connector
from broker.upstream.claims import ClaimRules, reaches, tells
from broker.upstream.eidas import COUNTRIES, EidasConnect
from broker.upstream.email_code import EmailCodeConnect, EmailCodeConnector
from broker.upstream.meta import MetaConfig, MetaConnector
from broker.upstream.national_oidc import (
    NationalOidcConnect,
    NationalOidcConnector,
    OwnKeys,
    Settled,
    UnusableKey,
    settled,
    trusted_keys,
)
from broker.upstream.oidc import OidcConfig, OidcConnector
from broker.upstream.passkey import PasskeyConnect, PasskeyConnector, passkey_connector, relying_party
from broker.upstream.port import Connector
from broker.upstream.saml import OwnKeys as SamlKeys
from broker.upstream.saml import SamlConnect, SamlConnector, spoken_of
from broker.upstream.sms_code import SmsCodeConnect, SmsCodeConnector
from broker.upstream.supplies import References, Supplies
from broker.upstream.sweden_connect import SwedenConnect
from broker.wire.bankid_api import client_tls, is_public_test_certificate
from broker.wire.oauth import parse_client_key
from broker.wire.signed_secret import parse_es256_key


class Concern(Struct, frozen=True):
    """
    What is wrong at ``key`` of a ``connect`` block; with a ``risk``, only production minds; ``mild``: it can start all the same.

    ``unknown``: the word that nothing else in the block knows; ``known``: those it does know, to find which one was meant.
    """

    key: str
    advice: str
    risk: Risk | None = None
    mild: bool = False
    unknown: str | None = None
    known: Sequence[str] = ()


def _unconcerned(_connect: Any, _references: References) -> Iterator[Concern]:
    return iter(())


def _fitting(_connect: Any, _issuer: str) -> Iterator[Concern]:
    return iter(())


class Described(Struct, frozen=True):
    """
    A SAML provider is described in ``metadata``, a file or a source of the config, as ``entity_id``. ``binding``: how requests
    have to go there; None for either way. ``logs_out``: whether it has to have an address for logging out.
    """

    metadata: str
    entity_id: str
    binding: WayToSend | None = None
    logs_out: bool = False


def _undescribed(_connect: Any) -> Described | None:
    return None


def _told(connect: BaseModel) -> frozenset[str]:
    """What the rules for claims in the block name; nothing where it has none."""
    return tells(connect) if isinstance(connect, ClaimRules) else frozenset()


def _unsettled(_connect: Any) -> Iterator[Settled]:
    return iter(())


class Kind(Struct, frozen=True):
    """
    One kind of upstream.

    ``config``: model of its ``connect`` block. ``reaches``: the strongest assurance logins with such a block can prove.
    ``build``: makes the connector of an upstream id and its block. ``concerns``: what the model cannot see. ``misfits``: what
    does not go with the broker's issuer. ``needs``: the block of ``broker`` without which it cannot be. ``settled``: what a
    preset named in the block came to. ``asks_callers``: whether it can ask somebody on the phone. ``described``: where a SAML
    provider's metadata is. ``brings``: the claims that a login with such a block can tell.
    """

    config: type[BaseModel]
    reaches: Callable[[Any], Assurance]
    build: Callable[[str, Any, Supplies], Connector]
    concerns: Callable[[Any, References], Iterator[Concern]] = _unconcerned
    misfits: Callable[[Any, str], Iterator[Concern]] = _fitting
    settled: Callable[[Any], Iterator[Settled]] = _unsettled
    needs: Literal["mail", "sms"] | None = None
    asks_callers: bool = False
    described: Callable[[Any], Described | None] = _undescribed
    brings: Callable[[Any], frozenset[str]] = _told


def _bankid_concerns(connect: BankIdConnect, references: References) -> Iterator[Concern]:
    certificate, key, ca = (
        references.path(reference.removeprefix("file:"))
        for reference in (connect.client_certificate, connect.client_key, connect.ca)
    )
    passphrase = references.secret(connect.client_key_passphrase) if connect.client_key_passphrase else None
    try:
        client_tls(certificate=certificate, key=key, ca=ca, passphrase=passphrase)
        is_public_test = is_public_test_certificate(certificate.read_bytes())
    except (OSError, SSLError, ValueError):
        advice = "client_certificate, client_key and ca must be PEM files, and the key that of the certificate"
        yield Concern("client_certificate", f"cannot be used: {advice} (client_key_passphrase, if it has one)")
        return
    if is_public_test:
        advice = "is BankID's public test certificate; use the one your bank issued"
        yield Concern("client_certificate", advice, Risk.BANKID_TEST_ENVIRONMENT)


def _build_bankid(id: str, connect: BankIdConnect, supplies: Supplies) -> Connector:
    # It has its own way out, by mutual TLS; only who watches is the same.
    refer = supplies.references
    return bankid_connector(id, connect, path=refer.path, secret=refer.secret, watch=supplies.fetcher.watch)


def _oidc_concerns(connect: OidcConfig, references: References) -> Iterator[Concern]:
    if connect.client_auth is ClientAuth.PRIVATE_KEY_JWT:
        try:
            parse_client_key(references.secret(connect.credential))
        except ValueError:
            yield Concern("client_key", "must be a private key in PEM form: RSA of 2048 bits or more, or EC P-256")


def _build_oidc(id: str, connect: OidcConfig, supplies: Supplies) -> Connector:
    return OidcConnector.of(
        id, connect, credential=supplies.references.secret(connect.credential), fetcher=supplies.fetcher
    )


def _build_meta(id: str, connect: MetaConfig, supplies: Supplies) -> Connector:
    return MetaConnector(id, connect, secret=supplies.references.secret(connect.app_secret), fetcher=supplies.fetcher)


def _apple_concerns(connect: AppleConnect, references: References) -> Iterator[Concern]:
    try:
        parse_es256_key(references.secret(connect.key))
    except ValueError:
        yield Concern("key", "must be the private key that Apple gave out for key_id (AuthKey_*.p8): PEM, EC P-256")


def _build_apple(id: str, connect: AppleConnect, supplies: Supplies) -> Connector:
    return AppleConnector(id, connect, key=supplies.references.secret(connect.key), fetcher=supplies.fetcher)


def _national_concerns(connect: NationalOidcConnect, references: References) -> Iterator[Concern]:
    try:
        OwnKeys.of(connect, references.secret)
    except UnusableKey as error:
        yield Concern(error.key, "must be private keys in PEM form: RSA of 2048 to 4096 bits, or EC P-256")
    if connect.signed_jwks is not None:
        try:
            trusted_keys(references.path(connect.signed_jwks.trusted_file))
        except (OSError, ValueError):
            advice = "trusted_file must be the JWK Set with the provider's public keys that it gave you"
            yield Concern("signed_jwks", f"cannot be used: {advice}")


def _build_national(id: str, connect: NationalOidcConnect, supplies: Supplies) -> Connector:
    refer, signed = supplies.references, connect.signed_jwks
    return NationalOidcConnector(
        id,
        connect,
        keys=OwnKeys.of(connect, refer.secret),
        secret=refer.secret(connect.client_secret) if connect.client_secret else None,
        fetcher=supplies.fetcher,
        trusted=trusted_keys(refer.path(signed.trusted_file)) if signed else None,
    )


def _saml_concerns(connect: SamlConnect, references: References) -> Iterator[Concern]:
    try:
        SamlKeys.of(connect, references)
    except (OSError, StafettError) as error:
        advice = "each key must be a private key in PEM form, RSA or EC, beside the certificate made for it"
        yield Concern("keys", f"cannot be used: {advice} ({_why(error)})")
    told = connect.scheme.tells(spoken_of(connect))
    for name in connect.required_claims:
        if name not in told:
            advice = (
                f"{name} is nothing that the rest of this block names or asks for, and logins without it are refused"
            )
            yield Concern("required_claims", advice, mild=True, unknown=name, known=sorted(told))


def _eidas_concerns(connect: EidasConnect, references: References) -> Iterator[Concern]:
    yield from _saml_concerns(connect, references)
    given = [("receiving_country", connect.receiving_country), *(("countries", each) for each in connect.countries)]
    for key, country in given:
        if country not in COUNTRIES:
            meant = "; Greece is EL there" if country == "GR" else ""
            yield Concern(
                key, f"{country} is no country of the EU or the EEA as PersonIdentifiers have them{meant}", mild=True
            )


def _why(error: OSError | StafettError) -> str:
    return error.detail if isinstance(error, StafettError) else f"{error.filename}: {error.strerror}"


def _described(connect: SamlConnect) -> Described:
    return Described(connect.metadata, connect.entity_id, connect.binding, connect.logout)


def _build_saml(id: str, connect: SamlConnect, supplies: Supplies) -> Connector:
    return SamlConnector(
        id,
        connect,
        keys=SamlKeys.of(connect, supplies.references),
        peers=supplies.peers,
        assertions=Assertions(supplies.context.state),
        names=supplies.names,
    )


def _build_email(id: str, connect: EmailCodeConnect, supplies: Supplies) -> Connector:
    if supplies.messages.mail is None:
        raise ValueError("broker.mail is missing")
    return EmailCodeConnector(
        id, connect, mail=supplies.messages.mail, context=supplies.context, members=supplies.members
    )


def _build_sms(id: str, connect: SmsCodeConnect, supplies: Supplies) -> Connector:
    messages = supplies.messages
    if messages.sms is None or messages.numbers is None:
        raise ValueError("broker.sms is missing")
    members = supplies.members
    return SmsCodeConnector(
        id, connect, sms=messages.sms, numbers=messages.numbers, context=supplies.context, members=members
    )


def _passkey_misfits(connect: PasskeyConnect, issuer: str) -> Iterator[Concern]:
    if connect.rp_id is None:
        return
    try:
        relying_party(connect, issuer=issuer, name="")
    except ValueError:
        host = urlsplit(issuer).hostname
        advice = f"must be {host}, the host of broker.issuer, or a parent domain of it; browsers refuse any other"
        yield Concern("rp_id", advice)


def _build_passkey(id: str, connect: PasskeyConnect, supplies: Supplies) -> Connector:
    return passkey_connector(id, connect, supplies.context)


KINDS: Mapping[str, Kind] = {
    "apple": Kind(
        AppleConnect,
        lambda connect: reaches(connect.oidc),
        _build_apple,
        _apple_concerns,
        brings=lambda connect: tells(connect.oidc),
    ),
    "bankid": Kind(
        BankIdConnect,
        lambda _: BankIdConnector.reaches,
        _build_bankid,
        _bankid_concerns,
        asks_callers=True,
        brings=lambda _: frozenset({"name", "given_name", "family_name", "birthdate", "personal_number"}),
    ),
    "eidas": Kind(EidasConnect, reaches, _build_saml, _eidas_concerns, described=_described),
    "email": Kind(
        EmailCodeConnect,
        lambda _: EmailCodeConnector.reaches,
        _build_email,
        needs="mail",
        asks_callers=True,
        brings=lambda _: frozenset({"email"}),
    ),
    "meta": Kind(
        MetaConfig,
        lambda _: MetaConnector.reaches,
        _build_meta,
        brings=lambda connect: frozenset({"name", "given_name", "family_name"} | ({"email"} & set(connect.scopes))),
    ),
    "national-oidc": Kind(NationalOidcConnect, reaches, _build_national, _national_concerns, settled=settled),
    "oidc": Kind(OidcConfig, reaches, _build_oidc, _oidc_concerns),
    "passkey": Kind(
        PasskeyConnect,
        lambda _: PasskeyConnector.reaches,
        _build_passkey,
        misfits=_passkey_misfits,
        brings=lambda _: frozenset(),
    ),
    "saml": Kind(SamlConnect, reaches, _build_saml, _saml_concerns, described=_described),
    "sms": Kind(
        SmsCodeConnect,
        lambda _: SmsCodeConnector.reaches,
        _build_sms,
        needs="sms",
        asks_callers=True,
        brings=lambda _: frozenset({"phone_number"}),
    ),
    "sweden-connect": Kind(SwedenConnect, reaches, _build_saml, _saml_concerns, described=_described),
}
