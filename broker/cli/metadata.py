"""
``stafett metadata``: SAML metadata of peers, looked at as the broker would look at it.
"""

import asyncio
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from broker.app import MetadataFetchers, build_source, utc_now
from broker.cli.opening import read as read_config
from broker.config.keys import certificate
from broker.config.load import Loaded
from broker.core.policy import MetadataSource
from broker.core.saml import Endpoint, PeerKey, SamlEntity
from broker.errors import ConfigError, Denied, StafettError, UpstreamDown
from broker.flows.saml_sources import ACCEPT, QuerySource
from broker.wire.saml.aggregate import MAX_DOCUMENT, Demands, Metadata, read

UNREACHABLE = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What a command is about: a file, or a source of the config.

    ``certificates``: PEM files a file must be signed by one of. ``entity``: only this one; an MDQ server needs it.
    """

    what: str
    config: Path | None = None
    certificates: Sequence[Path] = ()
    max_validity: timedelta = timedelta(days=28)
    entity: str | None = None


def show(asked: Asked, *, as_json: bool) -> None:
    """Print who is in it, and of whom it says what cannot be used. Raises: StafettError when that is the one asked for."""
    _, _, found = _read(asked)
    entities, unusable = _entities(found, asked)
    if as_json:
        rows = [_row(entity) for entity in entities]
        told = {"valid_until": _said(found.valid_until), "entities": rows, "unusable": unusable}
        print("\n".join(map(_visible, json.dumps(told, indent=2, ensure_ascii=False).split("\n"))))
        return
    print(f"{_counted(found)}, valid until {_said(found.valid_until) or 'further notice'}")
    print("\n".join(_table(entities)))
    for name, code in unusable.items():
        print(f"unusable: {_visible(name)} ({code})")


def verify(asked: Asked) -> None:
    """Say whether the broker would believe it. Raises: StafettError with why not."""
    _, demands, found = _read(asked)
    _check_wanted(found, asked)
    by = "signed by a given key" if demands.keys else "not held to any signature"
    print(f"{_counted(found)}, {by}, valid until {_said(found.valid_until) or 'further notice'}")


def fetch(asked: Asked, out: Path) -> None:
    """Write what the source gives now to *out*, verified."""
    octets, _, found = _read(asked)
    _check_wanted(found, asked)
    fresh = out.with_name(f".{out.name}.new")
    fresh.write_bytes(octets)
    fresh.replace(out)
    print(f"{out}: {_counted(found)}, valid until {_said(found.valid_until) or 'further notice'}")


def _counted(found: Metadata) -> str:
    return "1 entity" if len(found) == 1 else f"{len(found)} entities"


def _check_wanted(found: Metadata, asked: Asked) -> None:
    """The broker could use what it says of the one entity that is asked for, or that there is. Raises: Denied."""
    if asked.entity is not None or len(found) == 1:
        _entities(found, asked)


def _entities(found: Metadata, asked: Asked) -> tuple[list[SamlEntity], dict[str, str]]:
    """Those that are asked for, and by which code the others are refused. Raises: Denied: that is the only one."""
    if asked.entity is not None and asked.entity not in found.entity_ids:
        raise Denied(f"{asked.what}: says nothing of {_visible(asked.entity)}", code="saml.metadata_entity")
    wanted = list(found.entity_ids) if asked.entity is None else [asked.entity]
    entities, unusable = list[SamlEntity](), dict[str, str]()
    for name in wanted:
        try:
            entity = found.find(name)
        except StafettError as error:
            if len(wanted) == 1:
                raise Denied(f"{asked.what}: {error.detail} ({error.code})", code=error.code) from None
            unusable[name] = error.code
        else:
            entities += [entity] if entity is not None else []
    return entities, unusable


def _read(asked: Asked) -> tuple[bytes, Demands, Metadata]:
    """Raises: StafettError: why it is not believed, by the code that the log has for it."""
    octets, demands, only = _obtained(asked)
    try:
        found = read(octets, demands=demands, now=utc_now())
    except StafettError as error:
        raise Denied(f"{asked.what}: {error.detail} ({error.code})", code=error.code) from None
    if only is not None and list(found.entity_ids) != [only]:
        code = "saml.metadata_entity"
        raise Denied(f"{asked.what}: the answer is about another entity ({code})", code=code)
    return octets, demands, found


def _obtained(asked: Asked) -> tuple[bytes, Demands, str | None]:
    """What is to be looked at, not believed yet, what it must be, and the one entity that an MDQ server was asked for."""
    file = Path(asked.what)
    if file.is_file():
        given = [_certificate(each) for each in asked.certificates]
        return _octets(file), Demands.of(given, asked.max_validity), None
    if file.suffix or len(file.parts) > 1:
        raise ConfigError((f"{file}: there is no such file",))
    loaded, _ = read_config(asked.config, plainly=True)
    source = loaded.policy.config.saml.metadata.get(asked.what)
    if source is None:
        raise Denied(f"there is neither a file nor a metadata source {asked.what}", code="saml.metadata_source")
    demands = Demands.of(loaded.metadata_certificates[asked.what], source.max_validity)
    if source.file is not None:
        return _octets(loaded.references.path(source.file)), demands, None
    try:
        octets = asyncio.run(_fetched(loaded, source, asked))
    except UpstreamDown as down:
        print(f"stafett: {down.detail}", file=sys.stderr)
        raise SystemExit(UNREACHABLE) from None
    return octets, demands, asked.entity if source.mdq is not None else None


def _octets(file: Path) -> bytes:
    """No more of it than shows that it is too large."""
    with file.open("rb") as opened:
        return opened.read(MAX_DOCUMENT + 1)


async def _fetched(loaded: Loaded, source: MetadataSource, asked: Asked) -> bytes:
    fetchers = MetadataFetchers.of(loaded)
    try:
        url, fetcher = source.url, fetchers.feeds
        if url is None:
            url, fetcher = _question(loaded, fetchers, asked), fetchers.queries
        answer = await fetcher.get_document(url, headers=ACCEPT, operation="metadata")
    finally:
        await fetchers.close()
    if answer.status != 200:
        raise UpstreamDown(f"the server answered with status {answer.status}")
    return answer.body


def _question(loaded: Loaded, fetchers: MetadataFetchers, asked: Asked) -> str:
    """Made in the one place that knows how: `QuerySource.address` has no state of a running loop."""
    if asked.entity is None:
        raise Denied("an MDQ server is asked for one entity; say which with --entity", code="saml.metadata_source")
    source = build_source(loaded, asked.what, fetchers)
    if not isinstance(source, QuerySource):
        raise Denied(f"{asked.what} is not an MDQ server", code="saml.metadata_source")
    return source.address(asked.entity)


def _certificate(file: Path) -> bytes:
    try:
        return certificate(file.read_bytes())
    except OSError as error:
        raise ConfigError((f"{file}: cannot be read ({error.strerror})",)) from None
    except ValueError as error:
        raise ConfigError((f"{file}: {error}",)) from None


def _table(entities: Sequence[SamlEntity]) -> Iterator[str]:
    lines = [("ENTITY", "ROLES", "KEYS", "VALID UNTIL", "NAME")]
    for each in entities:
        row = _row(each)
        keys = ", ".join(f"{key['use']} {key['sha256'][:12]}" for key in row["keys"]) or "-"
        name = next(iter(row["names"].values()), "-")
        roles = "+".join(row["roles"]) or "-"
        lines.append((_visible(each.entity_id), roles, keys, row["valid_until"] or "-", name))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    for line in lines:
        yield "  ".join([*(f"{text:{width}}" for text, width in zip(line, widths, strict=False)), line[4]])


def _row(entity: SamlEntity) -> dict[str, Any]:
    """Keys by the SHA-256 of their certificates; times as ISO 8601, UTC, null for no end."""
    service, provider = entity.service, entity.provider
    roles = [role for role in (service, provider) if role is not None]
    keys = dict.fromkeys(key for role in roles for key in role.keys)
    row: dict[str, Any] = {
        "entity_id": entity.entity_id,
        "roles": [name for name, role in (("service", service), ("provider", provider)) if role is not None],
        "names": {language: text for role in roles for language, text in role.names.items()},
        "valid_until": _said(entity.valid_until),
        "registered_by": entity.registration_authority,
        "keys": [_key(key) for key in keys],
    }
    if service is not None:
        row["service"] = {
            "assertion_consumers": [_endpoint(each) for each in service.acs],
            "logout": [_endpoint(each) for each in service.slo],
            "requests_signed": service.authn_requests_signed,
            "wants_assertions_signed": service.wants_assertions_signed,
            "subject_id": service.subject_id_req,
            "requested_attributes": [each.name for each in service.requested_attributes],
        }
    if provider is not None:
        row["provider"] = {
            "single_sign_on": [_endpoint(each) for each in provider.sso],
            "logout": [_endpoint(each) for each in provider.slo],
            "wants_requests_signed": provider.want_authn_requests_signed,
            "scopes": list(provider.scopes),
            "country": provider.node_country,
            "assurance": list(provider.loa_certification),
        }
    return row


def _key(key: PeerKey) -> dict[str, Any]:
    digest = hashlib.sha256(key.certificate).hexdigest()
    return {"use": key.use, "sha256": digest, "encryption_methods": list(key.encryption_methods)}


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {"binding": endpoint.binding.rpartition(":")[2], "location": endpoint.location}


def _visible(text: str) -> str:
    """
    *text* with escapes, as JSON has them, for what is no visible character.

    security: entities name themselves, and a terminal obeys some characters, or writes backwards after others.
    """
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def _said(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"
