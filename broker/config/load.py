"""
From the operator's YAML file to everything the broker is built from, or to every mistake in it at once.
"""

import hashlib
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from broker.config.check import Facts, Finding, check, registered, unneeded_risks
from broker.config.document import MAX_BYTES, Document, KeyPath, Problem, read
from broker.config.keys import (
    belong_together,
    certificate,
    derivation_secret,
    encryption_key,
    public_keys,
    signing_kind,
)
from broker.config.references import References, Unresolved
from broker.config.schemas import Schema, read_schema
from broker.config.validate import similar, validate
from broker.core.client_rules import ClientAuth
from broker.core.policy import Mode, Partner, PartnerSaml, Policy, Risk, SmtpMail, TrustConfig
from broker.core.saml import POST, REDIRECT, SamlEntity, SamlProvider, SamlService, endpoint_for
from broker.core.saml_login import claims_required, identifier_name
from broker.errors import ConfigError, StafettError
from broker.upstream.registry import KINDS, Described, Kind
from broker.wire.saml.aggregate import Demands, Metadata, read_file
from broker.wire.saml.encryption import recipient_of

MAX_PROBLEMS = 200
MIN_CLIENT_SECRET = 32


class Refused(ConfigError):
    """The file does not hold together; ``found``: what is wrong, in the order of the file."""

    def __init__(self, found: tuple[Problem, ...]) -> None:
        super().__init__(tuple(str(problem) for problem in found))
        self.found = found


@dataclass(frozen=True, slots=True)
class SamlKeyPair:
    """A private key (PEM) that SAML messages are signed by, its certificate (DER), and from when on (None: always)."""

    key: bytes = field(repr=False)
    certificate: bytes
    signs_from: datetime | None


@dataclass(frozen=True, slots=True)
class Secrets:
    """
    The broker's own secrets, resolved.

    ``signing``: PEM private keys in the order given; ``next_signing``: more, each from a time on. ``secret``,
    ``previous_secrets``: bytes to derive keys from.
    ``otlp_headers``: for the collector of traces. ``saml``: in the order given. None or empty: not configured, so development
    makes its own.
    """

    state_url: str | None = field(default=None, repr=False)
    records_url: str | None = field(default=None, repr=False)
    signing: tuple[bytes, ...] = field(default=(), repr=False)
    next_signing: tuple[tuple[bytes, datetime], ...] = field(default=(), repr=False)
    secret: bytes | None = field(default=None, repr=False)
    previous_secrets: tuple[bytes, ...] = field(default=(), repr=False)
    otlp_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    saml: tuple[SamlKeyPair, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class AcceptedRisk:
    """A refusal of production that the operator lifted: at ``key``, for the reason in ``advice``."""

    risk: Risk
    key: str
    advice: str

    def __str__(self) -> str:
        return f"accepted risk {self.risk}: {self.key}: {self.advice}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """
    A config that holds together.

    ``connectors``: upstream id -> its checked ``connect`` block, of the type its kind declares. ``references``: what
    connectors are built with (`Kind.build`). ``data_dir``: absolute. ``kinds``: those that existed when it was read.
    ``metadata_certificates``: source of SAML metadata -> who signs it, DER. ``providers``: upstream id -> where its metadata is.
    ``warned``: what holds, but should be mended. ``accepted_risks``: to be repeated at start, in readyz and in metrics.
    """

    path: Path
    policy: Policy
    connectors: Mapping[str, BaseModel]
    secrets: Secrets
    references: References
    data_dir: Path
    warned: tuple[Problem, ...] = ()
    accepted_risks: tuple[AcceptedRisk, ...] = ()
    metadata_certificates: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    providers: Mapping[str, Described] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=lambda: KINDS)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to mend, as sentences."""
        return tuple(str(warning) for warning in self.warned)


def load(
    path: Path | str,
    *,
    environment: Mapping[str, str] | None = None,
    kinds: Mapping[str, Kind] = KINDS,
    data_dir: Path | None = None,
) -> Loaded:
    """
    Read and check the config file at *path*.

    Args:
        environment: where ``env:`` references look; `os.environ` unless given.
        kinds: the upstream kinds that exist.
        data_dir: goes before ``broker.data_dir``.
    Raises:
        Refused: with every problem found, each a sentence with file, line and key.
    """
    return _Load(Path(path), os.environ if environment is None else environment, kinds).run(data_dir)


class _Load:
    """One reading of one file; collects problems and warnings on the way."""

    def __init__(self, path: Path, environment: Mapping[str, str], kinds: Mapping[str, Kind]) -> None:
        self.path = path
        self.references = References(path.absolute().parent, environment)
        self.kinds = kinds
        self.problems: list[Problem] = []
        self.published: dict[KeyPath, tuple[str, ...]] = {}
        self.warnings: list[Problem] = []
        self.digest = hashlib.sha256()

    def run(self, data_dir: Path | None) -> Loaded:
        document = self._document()
        config, problems = validate(TrustConfig, document)
        self.problems += problems
        connectors = self._connectors(document)
        if config is None:
            raise self._failed()
        self.document, self.config, kinds = document, config, self.kinds
        schemas = self._schemas()
        self._logos()
        client_secrets, client_jwks = self._client_secrets(), self._client_jwks()
        encryption_keys, saml_certificates = self._encryption_keys(), self._saml_certificates()
        metadata_certificates = self._metadata_certificates()
        providers = {
            name: described
            for name, connect in connectors.items()
            if (described := kinds[config.upstreams[name].kind].described(connect)) is not None
        }
        self._metadata(metadata_certificates, providers)
        secrets = self._broker_secrets()
        self._messages()
        accepted = self._cross_checks(
            Facts(
                config=config,
                connectors=connectors,
                reaches={name: kinds[config.upstreams[name].kind].reaches(connectors[name]) for name in connectors},
                callers=frozenset(name for name in connectors if kinds[config.upstreams[name].kind].asks_callers),
                published=self.published,
                fields={name: [each.name for each in schema.fields] for name, schema in schemas.items()},
                state_url=secrets.state_url,
                records_url=secrets.records_url,
            )
        )
        if self.problems:
            raise self._failed()
        policy = Policy(
            config=config,
            version=self.digest.hexdigest()[:12],
            fields={name: schema.fields for name, schema in schemas.items()},
            schemas={name: schema.content for name, schema in schemas.items()},
            client_secrets=client_secrets,
            client_jwks=client_jwks,
            encryption_keys=encryption_keys,
            saml_certificates=saml_certificates,
        )
        return Loaded(
            path=self.path,
            policy=policy,
            connectors=connectors,
            secrets=secrets,
            references=self.references,
            data_dir=(data_dir or self.references.path(config.broker.data_dir or "data")).absolute(),
            warned=tuple(self.warnings),
            accepted_risks=accepted,
            metadata_certificates=metadata_certificates,
            providers=providers,
            kinds=kinds,
        )

    # Reading

    def _document(self) -> Document:
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a file name"
            advice = f"cannot be read ({reason}); give the path of the config file"
            raise Refused((Problem(str(self.path), None, "", advice),)) from None
        self.digest.update(data)
        document = read(data, str(self.path))
        self.problems += document.problems
        if document.value is None:
            raise self._failed()
        if not isinstance(document.value, dict):
            self.problems.append(document.problem((), "must be keys with values (broker: ...), not a list or a text"))
            raise self._failed()
        return self._without_unknown_risks(document)

    def _without_unknown_risks(self, document: Document) -> Document:
        """A risk that no longer exists is no reason not to start: its refusal would stand anyway."""
        given = document.value.get("accept_risks")
        if not isinstance(given, list):
            return document
        known = [risk.value for risk in Risk]
        for index, risk in enumerate(given):
            if isinstance(risk, str) and risk not in known:
                self._warn(document, ("accept_risks", index), f"there is no such risk{similar(risk, known)}")
        kept = [risk for risk in given if not isinstance(risk, str) or risk in known]
        return replace(document, value={**document.value, "accept_risks": kept})

    def _connectors(self, document: Document) -> dict[str, BaseModel]:
        """Looked at even when other parts of the file are wrong, so that the operator sees everything at once."""
        upstreams = document.value.get("upstreams")
        found: dict[str, BaseModel] = {}
        for name, upstream in upstreams.items() if isinstance(upstreams, dict) else ():
            if not isinstance(upstream, dict) or not isinstance(kind := upstream.get("kind"), str):
                continue
            path: KeyPath = ("upstreams", name)
            if kind not in self.kinds:
                told = document.problem((*path, "kind"), f"there is no kind {kind!r}{similar(kind, list(self.kinds))}")
                # What letters a kind may have is nothing to who writes one that there is in another way.
                self.problems = [each for each in self.problems if each.key != told.key] + [told]
            elif isinstance(upstream.get("connect"), dict):
                connect, problems = validate(self.kinds[kind].config, document, (*path, "connect"))
                self.problems += problems
                if connect is not None:
                    found[name] = connect
        return found

    def _schemas(self) -> dict[str, Schema]:
        found: dict[str, Schema] = {}
        for name, payload_type in self.config.payload_types.items():
            try:
                data = self.references.bytes(payload_type.schema_file)
            except Unresolved as unresolved:
                self._problem(("payload_types", name, "schema"), str(unresolved))
                continue
            self.digest.update(data)
            file = str(self.path.parent / payload_type.schema_file)
            schema, problems = read_schema(data, file, self.config.broker.default_language)
            self.problems += problems
            if schema is not None:
                found[name] = schema
        return found

    def _logos(self) -> None:
        for name, partner in self.config.partners.items():
            if partner.logo is not None and not (file := self.references.path(partner.logo)).is_file():
                self._problem(("partners", name, "logo"), f"the file {file} does not exist; correct the path")

    # Secrets and keys

    def _client_secrets(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, place, client in registered(self.config):
            path: KeyPath = (*place, "secret")
            if client.secret is None or client.rules.auth is ClientAuth.PRIVATE_KEY_JWT:
                continue
            if (secret := self._secret(client.secret, path)) is None:
                continue
            if len(secret) < MIN_CLIENT_SECRET:
                advice = f"is shorter than {MIN_CLIENT_SECRET} characters; make it with: openssl rand -hex 32"
                (self._problem if self._is_production else self._mild)(path, advice)
            found[name] = secret
        return found

    def _client_jwks(self) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for name, place, client in registered(self.config):
            if client.jwks_file is None or client.rules.auth is not ClientAuth.PRIVATE_KEY_JWT:
                continue
            if (keys := self._key_file(client.jwks_file, (*place, "jwks_file"), public_keys)) is not None:
                found[name] = keys
        return found

    def _encryption_keys(self) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for name, partner in self.config.partners.items():
            if partner.service is None or (encrypt := partner.service.token.encrypt) is None:
                continue
            path: KeyPath = ("partners", name, "service", "token", "encrypt", "jwks_file")
            if (key := self._key_file(encrypt.jwks_file, path, encryption_key)) is not None:
                found[name] = key
        return found

    def _saml_certificates(self) -> dict[str, tuple[bytes, ...]]:
        found: dict[str, tuple[bytes, ...]] = {}
        for name, partner in self.config.partners.items():
            files = partner.saml.certificates if partner.saml is not None else ()
            paths: list[KeyPath] = [("partners", name, "saml", "certificates", index) for index in range(len(files))]
            read = [self._certificate(file, path) for file, path in zip(files, paths, strict=True)]
            found |= {name: tuple(each for each in read if each is not None)} if read else {}
        return found

    def _metadata_certificates(self) -> dict[str, tuple[bytes, ...]]:
        found: dict[str, tuple[bytes, ...]] = {}
        for name, source in self.config.saml.metadata.items():
            path: KeyPath = ("saml", "metadata", name, "certificates")
            read = [self._certificate(file, (*path, index)) for index, file in enumerate(source.certificates)]
            found[name] = tuple(each for each in read if each is not None)
        return found

    def _metadata(self, certificates: Mapping[str, tuple[bytes, ...]], providers: Mapping[str, Described]) -> None:
        """Pinned metadata is looked at now; what is at an address, when the broker runs."""
        sources, pinned = self.config.saml.metadata, dict[str, Metadata | None]()
        for name, source in sources.items():
            if source.file is not None:
                path: KeyPath = ("saml", "metadata", name, "file")
                pinned[name] = self._metadata_file(source.file, path, certificates[name], source.max_validity)
        for name, partner in self.config.partners.items():
            if partner.saml is None or (place := partner.saml.metadata) is None:
                continue
            path = ("partners", name, "saml", "metadata")
            document = pinned.get(place) if place in sources else self._metadata_file(place, path)
            if document is not None and (entity := self._described(document, partner.saml.entity_id, path)) is not None:
                self._identified(name, entity, partner.saml)
                self._encrypted(entity, partner.saml, path)
                self._required(name, entity, partner)
        for name, described in providers.items():
            path, place = ("upstreams", name, "connect", "metadata"), described.metadata
            document = pinned.get(place) if place in sources else self._metadata_file(place, path)
            if document is not None:
                self._described(document, described.entity_id, path, described)

    def _metadata_file(
        self, file: str, path: KeyPath, certificates: tuple[bytes, ...] = (), max_validity: timedelta = timedelta.max
    ) -> Metadata | None:
        """One that is over stops nobody from starting: other peers are none the worse for it."""
        try:
            demands = Demands.of(certificates, max_validity)
            return read_file(self.references.path(file), demands=demands, now=datetime.now(UTC))
        except OSError as error:
            may_be_source = path[-1] == "metadata" and not {"/", "."} & set(file)
            source = similar(file, list(self.config.saml.metadata)) if may_be_source else ""
            self._problem(path, f"the metadata file {file} cannot be read ({error.strerror}){source}")
        except StafettError as refused:
            tell = self._mild if refused.code == "saml.metadata_expired" else self._problem
            tell(path, f"the metadata in {file} cannot be used: {refused.detail}")
        return None

    def _identified(self, partner: str, entity: SamlEntity, terms: PartnerSaml) -> None:
        """Whether the partner may have the identifier that its metadata requires."""
        try:
            if entity.service is not None:
                identifier_name(entity.service, terms)
        except StafettError as refused:
            advice = f"{terms.identifier} is not enough: {refused.detail}"
            self._problem(("partners", partner, "saml", "identifier"), advice)

    def _encrypted(self, entity: SamlEntity, terms: PartnerSaml, path: KeyPath) -> None:
        """A partner that assertions cannot be encrypted to gets none, and stops nobody else from starting."""
        if entity.service is None or terms.encrypt == "never":
            return
        try:
            lacks = "has no key to encrypt to" if recipient_of(entity.service.keys) is None else ""
        except StafettError:
            lacks = "lists only ways to encrypt that are not used here (AES-GCM is, with RSA-OAEP or ECDH-ES)"
        if lacks:
            self._mild(path, f"{entity.entity_id} {lacks}: its logins fail until it has, or encrypt is never")

    def _required(self, name: str, entity: SamlEntity, partner: Partner) -> None:
        """Whether logins at a partner that goes without nothing it requires can succeed; the default set is what is looked at."""
        terms, login = partner.saml, partner.login
        if terms is None or entity.service is None or login is None or terms.missing_required != "refuse":
            return
        if lacks := [claim for claim in claims_required(entity.service, terms) if claim not in login.claims]:
            path: KeyPath = ("partners", name, "saml", "missing_required")
            advice = f"refuse refuses every login: its metadata requires {', '.join(lacks)}, which login.claims lacks"
            self._mild(path, advice)

    def _described(
        self, document: Metadata, entity_id: str, path: KeyPath, provider: Described | None = None
    ) -> SamlEntity | None:
        """What *document* says of *entity_id*, and whether that is what is needed of a service, or of a *provider*."""
        try:
            entity = document.find(entity_id)
        except StafettError as refused:
            self._problem(path, f"what it says of {entity_id} cannot be used: {refused.detail}")
            return None
        if entity is None:
            self._problem(path, f"says nothing of {entity_id}{similar(entity_id, list(document.entity_ids)[:1000])}")
            return None
        known = entity.service if provider is None else entity.provider
        self.published[path] = _addresses_of(known) if known is not None else ()
        if provider is not None:
            if entity.provider is None or endpoint_for(entity.provider.sso, provider.binding) is None:
                how = {"redirect": "by Redirect", "post": "by POST", None: "by Redirect or POST"}[provider.binding]
                advice = f"does not describe {entity_id} as an identity provider of SAML 2.0 that takes requests {how}"
                self._problem(path, advice)
            elif provider.logs_out and endpoint_for(entity.provider.slo) is None:
                advice = f"names no single logout service of {entity_id}, which logout: true needs"
                self._problem((*path[:-1], "logout"), advice)
            if entity.provider is not None and not any(key.signs for key in entity.provider.keys):
                self._mild(path, f"{entity_id} has no key to sign by: its answers are refused until it has")
        elif entity.service is None or not any(each.binding == POST for each in entity.service.acs):
            advice = f"does not describe {entity_id} as a service provider of SAML 2.0 that takes answers by POST"
            self._problem(path, advice)
        return entity

    def _certificate(self, file: str, path: KeyPath) -> bytes | None:
        try:
            der = certificate(self.references.bytes(file))
        except (Unresolved, ValueError) as error:
            self._problem(path, str(error))
            return None
        self.digest.update(der)
        return der

    def _saml_keys(self) -> Iterator[SamlKeyPair]:
        for index, pair in enumerate(self.config.broker.saml.keys):
            path: KeyPath = ("broker", "saml", "keys", index)
            key, der = self._signing_key(pair.key, (*path, "key")), self._certificate(pair.certificate, path)
            if key is None or der is None:
                continue
            if not belong_together(key[0], der):
                self._problem((*path, "certificate"), "is not of this key; give the one that was made for it")
            else:
                yield SamlKeyPair(key[0], der, pair.signs_from)

    def _key_file(
        self, file: str, path: KeyPath, read_keys: Callable[[str], Mapping[str, Any]]
    ) -> Mapping[str, Any] | None:
        """What *read_keys* makes of a partner's public keys; problems are told at *path*."""
        try:
            text = self.references.text(file)
            keys = read_keys(text)
        except (Unresolved, ValueError) as error:
            for advice in str(error).splitlines():
                self._problem(path, advice)
            return None
        self.digest.update(text.encode())
        return keys

    def _broker_secrets(self) -> Secrets:
        broker = self.config.broker
        return Secrets(
            state_url=self._url(broker.state.url, ("broker", "state", "url"), _STATE_SCHEMES),
            records_url=self._url(broker.records.url, ("broker", "records", "url"), _RECORDS_SCHEMES),
            signing=tuple(self._signing()),
            next_signing=tuple(self._next_signing()),
            saml=tuple(self._saml_keys()),
            secret=self._derivation(broker.keys.secret, ("broker", "keys", "secret")) if broker.keys.secret else None,
            previous_secrets=tuple(
                secret
                for index, reference in enumerate(broker.keys.previous_secrets)
                if (secret := self._derivation(reference, ("broker", "keys", "previous_secrets", index)))
            ),
            otlp_headers=self._headers(broker.telemetry.traces.headers, ("broker", "telemetry", "traces", "headers")),
        )

    def _messages(self) -> None:
        """Whatever mail and text messages need must be there; it is read when their drivers are built."""
        broker = self.config.broker
        if isinstance(broker.mail, SmtpMail):
            path: KeyPath = ("broker", "mail")
            self._references_lead_somewhere(broker.mail.model_dump(include={"password"}), path)
            if broker.mail.ca is not None:
                self._authority(broker.mail.ca, (*path, "ca"))
        for index, gateway in enumerate(broker.sms.gateways if broker.sms else ()):
            path = ("broker", "sms", "gateways", index)
            given = gateway.model_dump(include={"username", "password", "auth_token", "headers"})
            self._references_lead_somewhere(given, path)
            self._references_lead_somewhere(given.get("headers", {}), (*path, "headers"))

    def _authority(self, file: str, path: KeyPath) -> None:
        try:
            ssl.create_default_context(cafile=str(self.references.path(file)))
        except (OSError, ValueError):
            self._problem(path, "must be a PEM file of certificates that can be read")

    def _url(self, reference: str | None, path: KeyPath, schemes: tuple[str, ...]) -> str | None:
        if reference is None or (url := self._secret(reference, path)) is None:
            return None
        if not url.startswith(schemes):
            self._problem(path, f"the address behind {reference} must begin with one of {', '.join(schemes)}")
        return url

    def _headers(self, reference: str | None, path: KeyPath) -> dict[str, str]:
        if reference is None or (text := self._secret(reference, path)) is None:
            return {}
        pairs = [each.partition("=") for each in text.split(",")]
        if not all(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value) for name, _, value in pairs):
            self._problem(path, f"what is behind {reference} must be name=value, several separated by commas")
        return {name: value for name, _, value in pairs}

    def _signing(self) -> Iterator[bytes]:
        path: KeyPath = ("broker", "keys", "signing")
        references = self.config.broker.keys.signing
        kinds: set[str] = set()
        for index, reference in enumerate(references):
            if (found := self._signing_key(reference, (*path, index))) is None:
                return
            pem, kind = found
            kinds.add(kind)
            yield pem
        if references and (lacking := {"RSA", "EC P-256"} - kinds):
            self._problem(path, f"needs at least one RSA and one EC P-256 key; add {' and '.join(sorted(lacking))}")

    def _next_signing(self) -> Iterator[tuple[bytes, datetime]]:
        for index, following in enumerate(self.config.broker.keys.next):
            path: KeyPath = ("broker", "keys", "next", index, "key")
            if found := self._signing_key(following.key, path):
                yield found[0], following.signs_from

    def _signing_key(self, reference: str, path: KeyPath) -> tuple[bytes, str] | None:
        if (pem := self._secret(reference, path)) is None:
            return None
        try:
            return pem.encode(), signing_kind(pem.encode())
        except ValueError as error:
            self._problem(path, str(error))
            return None

    def _derivation(self, reference: str, path: KeyPath) -> bytes | None:
        if (text := self._secret(reference, path)) is None:
            return None
        try:
            return derivation_secret(text)
        except ValueError as error:
            self._problem(path, str(error))
            return None

    def _secret(self, reference: str, path: KeyPath) -> str | None:
        try:
            secret = self.references.secret(reference)
        except Unresolved as unresolved:
            self._problem(path, str(unresolved))
            return None
        is_public = secret.startswith("-----BEGIN CERTIFICATE") and "PRIVATE KEY" not in secret
        if not is_public and self.references.is_open_to_all(reference):
            advice = f"every user of this machine can read {reference.partition(':')[2]}; chmod 600 it"
            (self._problem if self._is_production else self._mild)(path, advice)
        return secret

    # Judging

    def _cross_checks(self, facts: Facts) -> tuple[AcceptedRisk, ...]:
        accepted: list[AcceptedRisk] = []
        for finding in [*check(facts), *self._concerns(facts)]:
            if finding.risk in self.config.accept_risks and finding.risk is not None:
                place = self.document.problem(finding.path, finding.advice)
                accepted.append(AcceptedRisk(finding.risk, place.key, finding.advice))
            else:
                self._judge(finding)
        for finding in unneeded_risks(self.config, [each.risk for each in accepted]):
            self._judge(finding)
        return tuple(accepted)

    def _concerns(self, facts: Facts) -> Iterator[Finding]:
        for name, upstream in facts.config.upstreams.items():
            needed = self.kinds[upstream.kind].needs if upstream.kind in self.kinds else None
            if needed is not None and getattr(facts.config.broker, needed) is None:
                advice = f"{upstream.kind} needs broker.{needed}, which says how messages are sent; add it"
                yield Finding(("upstreams", name, "kind"), advice)
        for name, connect in facts.connectors.items():
            path: KeyPath = ("upstreams", name, "connect")
            if not self._references_lead_somewhere(connect.model_dump(mode="json", by_alias=True), path):
                continue
            kind, issuer = self.kinds[self.config.upstreams[name].kind], facts.config.broker.issuer
            for concern in [*kind.concerns(connect, self.references), *kind.misfits(connect, issuer)]:
                if concern.risk is None or facts.is_production:
                    meant = similar(concern.unknown, concern.known) if concern.unknown is not None else ""
                    yield Finding((*path, concern.key), concern.advice + meant, concern.risk, concern.mild)

    def _references_lead_somewhere(self, block: Mapping[str, Any], path: KeyPath) -> bool:
        """Whatever in a ``connect`` block is written as a reference must be one that works."""
        resolved = [
            self._secret(value, place) for place, value in _texts(path, block) if value.startswith(("env:", "file:"))
        ]
        return None not in resolved

    def _judge(self, finding: Finding) -> None:
        if finding.mild:
            self._mild(finding.path, finding.advice)
        else:
            lift = f" (to accept it while staging: accept_risks: [{finding.risk}])" if finding.risk else ""
            self._problem(finding.path, finding.advice + lift)

    @property
    def _is_production(self) -> bool:
        return self.config.mode is Mode.PRODUCTION

    def _problem(self, path: KeyPath, advice: str) -> None:
        problem = self.document.problem(path, advice)
        # What the reader refused is as good as not there, and need not be told a second time.
        if problem.key not in {refused.key for refused in self.document.problems}:
            self.problems.append(problem)

    def _mild(self, path: KeyPath, advice: str) -> None:
        self._warn(self.document, path, advice)

    def _warn(self, document: Document, path: KeyPath, advice: str) -> None:
        self.warnings.append(document.problem(path, advice))

    def _failed(self) -> Refused:
        """In the order of the file: what stands first is often what the rest follows from."""
        ordered = sorted(
            dict.fromkeys(self.problems), key=lambda each: (each.file != str(self.path), each.file, each.line or 0)
        )
        shown = ordered[:MAX_PROBLEMS]
        if (rest := len(ordered) - len(shown)) > 0:
            shown.append(Problem(str(self.path), None, "", f"{rest} more problems are not shown; mend these first"))
        return Refused(tuple(shown))


def _addresses_of(peer: SamlService | SamlProvider) -> tuple[str, ...]:
    """Where customers may be sent to *peer*, by the bindings that we speak."""
    begins = peer.acs if isinstance(peer, SamlService) else peer.sso
    spoken = [each for each in (*begins, *peer.slo) if each.binding in {REDIRECT, POST}]
    return tuple(dict.fromkeys(address for each in spoken for address in (each.location, each.answers_to)))


def _texts(path: KeyPath, given: Any) -> Iterator[tuple[KeyPath, str]]:
    """Every text in *given*, however deep, and where it stands."""
    if isinstance(given, str):
        yield path, given
    elif isinstance(given, Mapping | list):
        items = given.items() if isinstance(given, Mapping) else enumerate(given)
        for key, value in items:
            yield from _texts((*path, key), value)


_STATE_SCHEMES = ("redis://", "rediss://", "unix://")
_RECORDS_SCHEMES = ("postgresql://", "postgresql+asyncpg://", "sqlite://", "sqlite+aiosqlite://")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,4000}[\x21-\x7e])?")
