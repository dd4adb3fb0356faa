"""
Cross-checks: what no single key can say about itself.

Each rule is a small generator over the facts, and yields one `Finding` per mistake. A finding with a ``risk`` is one of
production's refusals, which ``accept_risks`` lifts by name; one that is ``mild`` is a warning. Rules read no files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import BaseModel

from broker.config.document import KeyPath
from broker.config.validate import similar
from broker.core.assurance import Assurance
from broker.core.client_rules import ClientAuth, contradictions
from broker.core.keys import KeyTimes
from broker.core.membership import digits_only, may_be_both
from broker.core.policy import (
    Agreement,
    HttpSms,
    MailTls,
    Mode,
    NameIdFormat,
    OutboxMail,
    OutboxSms,
    Partner,
    PartnerOidc,
    PartnerSaml,
    Risk,
    ServerCredentials,
    SmsSettings,
    SmtpMail,
    SubjectType,
    TokenFormat,
    TrustConfig,
    TwilioSms,
    is_loopback,
)
from broker.core.redirects import is_loopback_redirect, is_private_use


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong at ``path`` and what to do."""

    path: KeyPath
    advice: str
    risk: Risk | None = None
    mild: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What the rules look at.

    ``connectors``: upstream id -> its checked ``connect`` block. ``reaches``: upstream id -> the strongest level its
    connector can prove. ``callers``: upstreams that can ask somebody on the phone. ``fields``: payload type -> names of its
    fields, for the schemas that could be read. ``published``: key of a metadata file -> the addresses there that customers are
    sent to.
    ``state_url``, ``records_url``: resolved, None when not set.
    """

    config: TrustConfig
    connectors: Mapping[str, BaseModel] = field(default_factory=dict)
    reaches: Mapping[str, Assurance] = field(default_factory=dict)
    callers: frozenset[str] = frozenset()
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    published: Mapping[KeyPath, Sequence[str]] = field(default_factory=dict)
    state_url: str | None = field(default=None, repr=False)
    records_url: str | None = field(default=None, repr=False)

    @property
    def is_production(self) -> bool:
        return self.config.mode is Mode.PRODUCTION

    def strongest(self, upstream: str) -> Assurance:
        """What logins of *upstream* can count as: the operator's ceiling, or less if the connector proves less."""
        ceiling = self.config.upstreams[upstream].ceiling
        return min(ceiling, self.reaches.get(upstream, ceiling), key=lambda level: level.rank)


Rule = Callable[[Facts], Iterator[Finding]]


def check(facts: Facts) -> list[Finding]:
    """Everything the rules find, in the order of the rules."""
    return [finding for rule in RULES for finding in rule(facts)]


# The broker itself


def _mode(facts: Facts) -> Iterator[Finding]:
    broker = facts.config.broker
    if not facts.is_production and not broker.is_loopback:
        yield Finding(
            ("mode",),
            "development is only for an issuer on this machine (http://localhost:PORT); for a real host remove the"
            " line, and lift single refusals with accept_risks while staging",
        )


_time_zones = cache(available_timezones)
"""Found out by a walk through the whole database."""


def _languages(facts: Facts) -> Iterator[Finding]:
    broker = facts.config.broker
    if broker.default_language not in broker.languages:
        yield Finding(("broker", "default_language"), "must be one of broker.languages")
    if len(set(broker.languages)) < len(broker.languages):
        yield Finding(("broker", "languages"), "names a language twice")
    if facts.config.broker.time_zone not in _time_zones():
        yield Finding(("broker", "time_zone"), "must be a time zone of the IANA database, such as Europe/Stockholm")


def _texts(facts: Facts) -> Iterator[Finding]:
    language = facts.config.broker.default_language
    for path, texts in _all_texts(facts.config):
        if language not in texts:
            yield Finding(path, f"has no text in the default language; add {language}: ...")


def _all_texts(config: TrustConfig) -> Iterator[tuple[KeyPath, Mapping[str, str]]]:
    for name, upstream in config.upstreams.items():
        yield ("upstreams", name, "titles"), upstream.titles
        if upstream.hints is not None:
            yield ("upstreams", name, "hints"), upstream.hints
    for name, partner in config.partners.items():
        yield ("partners", name, "names"), partner.names
    for name, payload_type in config.payload_types.items():
        yield ("payload_types", name, "titles"), payload_type.titles
    for index, agreement in enumerate(config.agreements):
        yield ("agreements", index, "purpose_texts"), agreement.purpose_texts


def _lifetimes(facts: Facts) -> Iterator[Finding]:
    lifetimes = facts.config.broker.lifetimes
    if lifetimes.session_idle > lifetimes.session:
        yield Finding(("broker", "lifetimes", "session_idle"), "must not be longer than broker.lifetimes.session")


def _signing_keys(facts: Facts) -> Iterator[Finding]:
    """Who looks after the keys: the operator, key by key, or the broker, in a folder."""
    keys, path = facts.config.broker.keys, ("broker", "keys")
    if keys.next and (keys.folder is not None or not keys.signing):
        advice = "belongs to keys.signing without keys.folder; in a folder stafett keys rotate makes the next key"
        yield Finding((*path, "next"), advice)
    if keys.rotate_every is None:
        return
    if keys.folder is None and keys.signing:
        advice = "renews keys in a keys.folder only; those under keys.signing are yours to renew"
        yield Finding((*path, "rotate_every"), advice)
    times = KeyTimes.of(facts.config.broker)
    if keys.rotate_every < (least := times.lead + times.kept):
        advice = f"is too often: a key needs {int(least.total_seconds())}s from being published until it may go"
        yield Finding((*path, "rotate_every"), advice)


def _telemetry(facts: Facts) -> Iterator[Finding]:
    broker = facts.config.broker
    traces, listen = broker.telemetry.traces, broker.telemetry.metrics.listen
    path: KeyPath = ("broker", "telemetry")
    if traces.otlp_endpoint is not None:
        parts = urlsplit(traces.otlp_endpoint)
        if parts.path in {"", "/"}:
            yield Finding((*path, "traces", "otlp_endpoint"), "has no path; it usually ends in /v1/traces")
        if traces.headers is not None and parts.scheme == "http" and not is_loopback(traces.otlp_endpoint):
            advice = "sends the headers in the clear; use https://"
            yield Finding((*path, "traces", "otlp_endpoint"), advice, mild=True)
    for index, name in enumerate(traces.propagate_to):
        if name not in facts.config.upstreams:
            advice = f"there is no upstream {name!r}{similar(name, list(facts.config.upstreams))}"
            yield Finding((*path, "traces", "propagate_to", index), advice)
    if broker.telemetry.metrics.enabled and listen.port == broker.listen.port:
        advice = "is the public port, and metrics are not for the public; choose another"
        yield Finding((*path, "metrics", "listen", "port"), advice)


# Messages


def _mail(facts: Facts) -> Iterator[Finding]:
    mail, path = facts.config.broker.mail, ("broker", "mail")
    if isinstance(mail, SmtpMail) and (mail.username is None) != (mail.password is None):
        lacking = "username" if mail.username is None else "password"
        yield Finding((*path, lacking), "is missing; a server that wants one wants both, username and password")


def _sms(facts: Facts) -> Iterator[Finding]:
    sms = facts.config.broker.sms
    if sms is None:
        return
    # Numbering plans are large; they are read by those who send text messages.
    from broker.notify.phone import known_countries

    path: KeyPath = ("broker", "sms")
    for index, country in enumerate(sms.countries):
        if country not in known_countries():
            yield Finding((*path, "countries", index), f"there is no country {country} with telephone numbers")
        elif country in sms.countries[:index]:
            yield Finding((*path, "countries", index), f"{country} is named twice")
    if sms.default_country is not None and sms.default_country not in sms.countries:
        yield Finding((*path, "default_country"), "must be one of broker.sms.countries")
    labels = [gateway.label for gateway in sms.gateways]
    for index, gateway in enumerate(sms.gateways):
        here: KeyPath = (*path, "gateways", index)
        if gateway.label in labels[:index]:
            yield Finding((*here, "name"), f"another gateway is called {gateway.label} already; give this one a name")
        if isinstance(gateway, TwilioSms) and (gateway.sender is None) == (gateway.messaging_service_sid is None):
            yield Finding(here, "needs either from or messaging_service_sid")
        if isinstance(gateway, HttpSms):
            yield from _template(gateway, here)


def _template(gateway: HttpSms, path: KeyPath) -> Iterator[Finding]:
    if (gateway.form is None) == (gateway.json_body is None):
        yield Finding(path, "needs either form or json")
        return
    if gateway.reports and not gateway.headers:
        yield Finding((*path, "reports"), "needs headers: what proves a report is made from their values")
    key = "form" if gateway.form is not None else "json"
    words = "\n".join(_strings(gateway.form or gateway.json_body))
    if "{text}" not in words:
        yield Finding((*path, key), "has no {text}, so the message would be empty")
    if "{to}" not in words and "{digits}" not in words:
        yield Finding((*path, key), "has neither {to} nor {digits}, so nobody would get the message")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _gateway_addresses(facts: Facts) -> Iterator[Finding]:
    for path, address in _gateway_urls(facts):
        if urlsplit(address).scheme == "http" and not is_loopback(address):
            yield Finding(path, "http is only for this machine (127.0.0.1, localhost); use https://")


def _gateway_urls(facts: Facts) -> Iterator[tuple[KeyPath, str]]:
    sms = facts.config.broker.sms
    for index, gateway in enumerate(sms.gateways if sms else ()):
        for key in ("api_url", "url"):
            if (address := getattr(gateway, key, None)) is not None:
                yield ("broker", "sms", "gateways", index, key), address


# What production refuses


def _production(facts: Facts) -> Iterator[Finding]:
    if facts.is_production:
        for rule in (_exposed, _unsent, _volatile, _unproven_keys, _simulated_upstreams, _published):
            yield from rule(facts)


def _exposed(facts: Facts) -> Iterator[Finding]:
    broker = facts.config.broker
    if urlsplit(broker.issuer).scheme != "https":
        yield Finding(("broker", "issuer"), "must begin with https:// in production", Risk.HTTP_ISSUER)
    if broker.debug:
        yield Finding(("broker", "debug"), "shows inner workings to strangers; remove it in production", Risk.DEBUG)
    if not broker.trusted_proxies:
        yield Finding(
            ("broker", "trusted_proxies"),
            "is empty, so no client address can be believed; list the networks your proxies connect from",
            Risk.NO_TRUSTED_PROXIES,
        )


def _unsent(facts: Facts) -> Iterator[Finding]:
    mail, sms = facts.config.broker.mail, facts.config.broker.sms
    kept = "outbox keeps messages in memory instead of sending them; name who sends them in production"
    if isinstance(mail, OutboxMail):
        yield Finding(("broker", "mail", "driver"), kept, Risk.OUTBOX_NOTIFIER)
    if isinstance(mail, SmtpMail) and mail.tls is MailTls.NONE and not is_loopback(f"smtp://{_bracketed(mail.host)}"):
        advice = "none sends codes and links in the clear; use starttls or implicit"
        yield Finding(("broker", "mail", "tls"), advice, Risk.PLAIN_MAIL)
    for index, gateway in enumerate(sms.gateways if sms else ()):
        if isinstance(gateway, OutboxSms):
            yield Finding(("broker", "sms", "gateways", index, "driver"), kept, Risk.OUTBOX_NOTIFIER)
    for path, address in _gateway_urls(facts):
        if is_loopback(address):
            advice = "is an address of this machine, so the gateway is a simulator; give the real one"
            yield Finding(path, advice, Risk.LOOPBACK_UPSTREAM)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _volatile(facts: Facts) -> Iterator[Finding]:
    state, records = facts.config.broker.state, facts.config.broker.records
    if state.url is None:
        risk = Risk.MEMORY_STATE if state.embedded == "memory" else Risk.EMBEDDED_STATE
        kept = "in this process's memory" if risk is Risk.MEMORY_STATE else "in an embedded server"
        yield Finding(
            ("broker", "state", "url"),
            f"is missing, so logins in progress live {kept} and end with it; give a reference to a Redis URL",
            risk,
        )
    if records.url is None or (facts.records_url or "").startswith("sqlite"):
        yield Finding(
            ("broker", "records", "url"),
            "SQLite serves one process on one disk; give a reference to a postgresql+asyncpg:// URL",
            Risk.SQLITE_RECORDS,
        )


def _unproven_keys(facts: Facts) -> Iterator[Finding]:
    keys = facts.config.broker.keys
    make = "is missing, and production does not make its own keys; make one and refer to it"
    if not keys.signing and keys.folder is None:
        advice = f"{make}, or give broker.keys.folder, where stafett keys makes them"
        yield Finding(("broker", "keys", "signing"), advice, Risk.GENERATED_KEYS)
    if not keys.secret:
        yield Finding(("broker", "keys", "secret"), make, Risk.GENERATED_KEYS)


def _simulated_upstreams(facts: Facts) -> Iterator[Finding]:
    for index, network in enumerate(facts.config.broker.outbound.allow_private_networks):
        if _covers_loopback(network):
            yield Finding(
                ("broker", "outbound", "allow_private_networks", index),
                "lets the broker call this machine, where only simulators are; remove it in production",
                Risk.LOOPBACK_UPSTREAM,
            )
    for name, connect in facts.connectors.items():
        for path, address in _addresses(connect, ("upstreams", name, "connect")):
            if is_loopback(address):
                advice = "is an address of this machine, so the provider is a simulator; give the real one"
                yield Finding(path, advice, Risk.LOOPBACK_UPSTREAM)
            elif f".{urlsplit(address).hostname}".endswith(".test.bankid.com"):
                yield Finding(
                    path,
                    "is BankID's test environment; remove the key to use the real one",
                    Risk.BANKID_TEST_ENVIRONMENT,
                )


def _published(facts: Facts) -> Iterator[Finding]:
    """Addresses in metadata files; those that are neither https nor on this machine are not read in the first place."""
    for path, addresses in facts.published.items():
        here = list(filter(is_loopback, addresses))
        if path[0] == "upstreams" and here:
            # The same simulator by Redirect and by POST.
            advice = (
                f"sends customers to {here[0]}, on this machine, so the provider is a simulator; give the real one's"
            )
            yield Finding(path, advice, Risk.LOOPBACK_UPSTREAM)
        elif path[0] != "upstreams":
            for address in (each for each in here if urlsplit(each).scheme != "https"):
                yield Finding(path, f"sends customers to {address}, which must begin with https:// in production")


def _covers_loopback(network: IPv4Network | IPv6Network) -> bool:
    loopback = ip_network("127.0.0.0/8" if network.version == 4 else "::1/128")
    return network.overlaps(loopback)


def _addresses(connect: BaseModel, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    content = connect.model_dump(mode="json", by_alias=True)
    called = {key: value for key, value in content.items() if key not in _NAMES}
    yield from _strings_with_scheme(called, path)


#: What holds names of claims, scopes and levels: many look like addresses, and nobody calls them.
_NAMES = frozenset({
    "acr_levels", "attributes", "authorities", "cancel_statuses", "claims", "entity_categories", "entity_id",
    "id_token_claims", "ignored_claims", "level_claim", "name_id_format", "own_entity_id", "providers", "requester_id",
    "required_claims", "required_values", "roles_claim", "scopes", "subject", "subject_claim", "userinfo_claims",
})  # fmt: skip


def _strings_with_scheme(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str) and value.startswith(("http://", "https://")) and _is_address(value):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings_with_scheme(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings_with_scheme(item, (*path, index))


def _is_address(text: str) -> bool:
    """Free text may look like an address without being one."""
    try:
        return bool(urlsplit(text).hostname)
    except ValueError:
        return False


# Upstreams and partners


def _upstream_addresses(facts: Facts) -> Iterator[Finding]:
    for name, connect in facts.connectors.items():
        for path, address in _addresses(connect, ("upstreams", name, "connect")):
            if urlsplit(address).scheme == "http" and not is_loopback(address):
                yield Finding(path, "http is only for this machine (127.0.0.1, localhost); use https://")


def _costs(facts: Facts) -> Iterator[Finding]:
    costs = [(name, each.cost) for name, each in facts.config.upstreams.items() if each.cost is not None]
    for name, cost in costs[1:]:
        first, known = costs[0]
        if cost.currency != known.currency:
            yield Finding(
                ("upstreams", name, "cost", "currency"),
                f"is another one than {known.currency} of upstreams.{first}: costs are compared",
            )


def _ceilings(facts: Facts) -> Iterator[Finding]:
    for name, upstream in facts.config.upstreams.items():
        if facts.strongest(name) < upstream.ceiling:
            yield Finding(
                ("upstreams", name, "ceiling"),
                f"is higher than {_said_by(facts.connectors.get(name))} can prove; "
                f"its logins count as {facts.strongest(name)} at most",
                mild=True,
            )


def _said_by(connect: BaseModel | None) -> str:
    """What it is that says how strong a login is: the levels in the file where the kind has such, else the kind."""
    return (
        "this kind without acr_levels"
        if connect is not None and getattr(connect, "acr_levels", None) == {}
        else "this kind"
    )


def client_path(name: str, partner: Partner) -> KeyPath:
    """Where the credentials of *partner*, called *name*, stand in the file."""
    if partner.saml is not None:
        return ("partners", name, "saml", "api")
    return ("partners", name, "oidc" if partner.oidc is not None else "service")


Registered = PartnerOidc | ServerCredentials
"""Whoever has a client id and proves itself."""


def registered(config: TrustConfig) -> Iterator[tuple[str, KeyPath, Registered]]:
    """Every partner and resource server that has credentials: its id, where they stand in the file, and they."""
    for name, partner in config.partners.items():
        if partner.client is not None:
            yield name, client_path(name, partner), partner.client
    for name, resource in config.resources.items():
        if resource.client is not None:
            yield name, ("resources", name, "client"), resource.client


def _clients(facts: Facts) -> Iterator[Finding]:
    first: dict[str, str] = {}
    partners = facts.config.partners
    for name, place, client in registered(facts.config):
        path, owner = (*place, "client_id"), f"{str(place[0]).removesuffix('s')} {name}"
        if (other := first.setdefault(client.client_id, owner)) != owner:
            yield Finding(path, f"is already the client_id of {other}; give each partner its own")
        if client.client_id != name and client.client_id in partners:
            yield Finding(path, "is the id of another partner; choose a client_id that cannot be mistaken for it")


def _sectors(facts: Facts) -> Iterator[Finding]:
    """Whom partners know their customers as (OpenID Connect Core section 8.1)."""
    partners = facts.config.partners
    for name, partner in partners.items():
        oidc = partner.oidc
        if oidc is not None and oidc.subject_type is SubjectType.PUBLIC:
            if partner.sector is not None:
                advice = "has no meaning with oidc.subject_type: public; remove one of them"
                yield Finding(("partners", name, "sector"), advice)
        elif oidc is not None and partner.sector is None and len(hosts := _hosts(oidc.redirect_uris)) > 1:
            yield Finding(
                ("partners", name, "sector"),
                f"is missing, and its redirect URIs are on several hosts ({', '.join(hosts)}); say whose customer numbers it"
                f" sees: sector: {name} for its own, as before",
            )
        if partner.sector not in {None, name} and partner.sector in partners:
            yield Finding(
                ("partners", name, "sector"),
                f"is the id of another partner, who would see the same customer numbers as {name}; choose another word",
            )


def _hosts(uris: Sequence[str]) -> list[str]:
    """Where logins of one client end; an app's own loopback address is no other party."""
    return sorted({urlsplit(uri).hostname or "" for uri in uris if not is_private_use(uri) and not is_loopback(uri)})


def _resources(facts: Facts) -> Iterator[Finding]:
    """APIs that access tokens are for, and the partners that have such tokens."""
    config, first = facts.config, dict[str, str]()
    for name, resource in config.resources.items():
        path: KeyPath = ("resources", name)
        if name in config.partners:
            yield Finding(path, "is the id of a partner; choose another, and say with sector whose numbers it sees")
        if (other := first.setdefault(resource.audience, name)) != name:
            yield Finding((*path, "audience"), f"is already that of {other}; give each its own")
        if f"{resource.audience}/".startswith(f"{config.broker.issuer}/"):
            yield Finding((*path, "audience"), "is an address of this broker; give that of the API")
    for name, partner in config.partners.items():
        if partner.oidc is not None:
            yield from _access_token(facts, name, partner.oidc)
    yield from _shared_numbers(facts)


def _access_token(facts: Facts, name: str, oidc: PartnerOidc) -> Iterator[Finding]:
    terms, known = oidc.access_token, facts.config.resources
    path: KeyPath = ("partners", name, "oidc", "access_token")
    if terms.resource is None and terms.format is TokenFormat.JWT:
        yield Finding((*path, "resource"), "is missing; format: jwt needs an API that the tokens are for")
    if terms.resource is not None and terms.resource not in known:
        advice = f"there is no resource {terms.resource!r}{similar(terms.resource, list(known))}"
        yield Finding((*path, "resource"), advice)
    if oidc.allowed_origins and not oidc.rules.is_public:
        yield Finding(
            ("partners", name, "oidc", "allowed_origins"),
            "is for pages without a server of their own (auth: none); remove it",
        )


def _shared_numbers(facts: Facts) -> Iterator[Finding]:
    """A JWT shows the API's number of a customer to the partner that carries it."""
    config, carriers = facts.config, dict[str, dict[str, str]]()
    for name, partner in config.partners.items():
        if partner.oidc is not None and partner.oidc.access_token.format is TokenFormat.JWT:
            sectors = carriers.setdefault(partner.oidc.access_token.resource or "", {})
            sectors.setdefault(partner.sector or name, name)
    for name, sectors in carriers.items():
        if name in config.resources and len(sectors) > 1:
            yield Finding(
                ("resources", name, "sector"),
                f"its numbers of customers are in the JWTs of {', '.join(sectors.values())}, who could compare them; use"
                " access_token.format: opaque, or give them one sector",
                mild=True,
            )


def _client_authentication(facts: Facts) -> Iterator[Finding]:
    for _, path, client in registered(facts.config):
        auth = client.rules.auth
        needed = _PROOFS[auth]
        for key, given in (("secret", client.secret), ("jwks_file", client.jwks_file)):
            if given is None and key == needed:
                yield Finding((*path, key), f"is missing, and auth: {auth} needs it")
            if given is not None and key != needed:
                yield Finding((*path, key), f"is not used with auth: {auth}; remove it")


_PROOFS = {
    ClientAuth.SECRET_BASIC: "secret",
    ClientAuth.SECRET_POST: "secret",
    ClientAuth.PRIVATE_KEY_JWT: "jwks_file",
    ClientAuth.NONE: "",
}
"""The key of the config that holds what a client proves itself by."""


def _client_rules(facts: Facts) -> Iterator[Finding]:
    """A partner's single keys fit its profile and each other."""
    for name, partner in facts.config.partners.items():
        if (client := partner.oidc) is None:
            continue
        path: KeyPath = ("partners", name, "oidc")
        for key, advice in contradictions(client.profile, client.refinements):
            yield Finding((*path, *_PATHS.get(key, (key,))), advice)
        yield from _native_redirects(client, path)
        if not client.rules.require_pkce:
            key = "require_pkce" if client.require_pkce is False else "profile"
            advice = "leaves codes without proof of who asked for them (RFC 9700 section 2.1.1); remove it when you can"
            yield Finding((*path, key), advice, mild=True)


def _native_redirects(client: PartnerOidc, path: KeyPath) -> Iterator[Finding]:
    """What only apps may have: schemes of their own, and the customer's machine in any mode."""
    for key in ("redirect_uris", "post_logout_redirect_uris"):
        for index, uri in enumerate(getattr(client, key)):
            if is_private_use(uri) and not client.rules.is_public:
                advice = "is an app's own scheme, and apps keep no secret; register the app on its own with auth: none"
                yield Finding((*path, key, index), advice)
            if client.rules.is_public and urlsplit(uri).hostname == "localhost":
                advice = (
                    "names localhost, which can lead elsewhere (RFC 8252 section 8.3); write 127.0.0.1, without a port"
                )
                yield Finding((*path, key, index), advice, mild=True)


def _public_partners(facts: Facts) -> Iterator[Finding]:
    """A handoff is between servers: payloads are offered and fetched by somebody who can prove who it is."""
    public = {name for name, each in facts.config.partners.items() if each.rules.is_public}
    for index, agreement in enumerate(facts.config.agreements):
        for key, partner in (("from", agreement.source), ("to", agreement.recipient)):
            if partner in public:
                advice = f"{partner} is a public client (auth: none), and handoffs need one that can prove itself"
                yield Finding(("agreements", index, key), f"{advice}; register its server as a partner of its own")


_PATHS: Mapping[str, KeyPath] = {"rotates": ("refresh_tokens", "rotate")}
"""Where a rule of a client stands in the file, if not by its own name."""


def _services(facts: Facts) -> Iterator[Finding]:
    """Partners without an OpenID Connect client: customers come to them by handoffs, and only that way."""
    recipients = {agreement.recipient for agreement in facts.config.agreements}
    for name, partner in facts.config.partners.items():
        if (service := partner.service) is None:
            continue
        path: KeyPath = ("partners", name, "service")
        if service.auth is ClientAuth.SECRET_POST:
            advice = "client_secret_post is for forms, and a service sends JSON; use client_secret_basic"
            yield Finding((*path, "auth"), advice)
        if partner.login is not None:
            yield Finding(
                ("partners", name, "login"),
                "is for logins the partner starts, which need oidc; remove it, or register an OpenID Connect client",
            )
        if name not in recipients:
            yield Finding(path, "is reached by handoffs only, and no agreement leads here", mild=True)


_NODES_OWN: Final = "http://id.elegnamnden.se/loa/1.0/eidas-"
"""Levels of Sweden Connect that no other member may claim (Identifiers, section 3.1.1)."""


def _saml(facts: Facts) -> Iterator[Finding]:
    """The broker as an identity provider, and its service providers."""
    own, first = facts.config.broker.saml, dict[str, str]()
    if own.keys and all(each.signs_from is not None for each in own.keys):
        yield Finding(("broker", "saml", "keys"), "none signs from the beginning; leave out signs_from of the first")
    for name, partner in facts.config.partners.items():
        if (saml := partner.saml) is None:
            continue
        path: KeyPath = ("partners", name, "saml")
        if (other := first.setdefault(saml.entity_id, name)) != name:
            yield Finding((*path, "entity_id"), f"is already that of {other}; each service provider has its own")
        if saml.entity_id == (own.entity_id or f"{facts.config.broker.issuer}/saml/metadata"):
            yield Finding((*path, "entity_id"), "is this broker's own")
        yield from _saml_description(saml, path)
        yield from _unsolicited(partner, saml, path)
        if NameIdFormat.EMAIL in saml.name_id_formats and "email" not in (
            partner.login.claims if partner.login else ()
        ):
            yield Finding((*path, "name_id_formats"), "email needs email among login.claims: it is told by it")
        if saml.identifier == "subject-id" and partner.sector is None:
            advice = "subject-id is the same at several partners; say with sector which they are"
            yield Finding((*path, "identifier"), advice)
        for claim in saml.attributes:
            if claim not in (partner.login.claims if partner.login else ()):
                yield Finding((*path, "attributes", claim), "is not among login.claims, so it is never told", mild=True)
        if any(each.startswith(_NODES_OWN) for each in saml.authn_contexts):
            advice = f"{_NODES_OWN}... is for the Swedish eIDAS node alone to say; a proxy says uncertified-eidas-..."
            yield Finding((*path, "authn_contexts"), advice)
        if saml.encrypt == "never":
            advice = "lets assertions pass through the customer's browser in the clear; remove it when you can"
            yield Finding((*path, "encrypt"), advice, mild=True)
    if first and facts.is_production and not own.keys:
        advice = "is missing, and production does not make its own keys; give a key and its certificate"
        yield Finding(("broker", "saml", "keys"), advice, Risk.GENERATED_KEYS)


def _saml_description(saml: PartnerSaml, path: KeyPath) -> Iterator[Finding]:
    """Where a service provider is, and by which keys: in its metadata, or here."""
    here = {key: getattr(saml, key) for key in ("acs", "certificates", "slo_uri") if getattr(saml, key)}
    if saml.metadata is not None:
        for key in here:
            yield Finding((*path, key), "stands in the partner's metadata; remove it, or remove metadata")
        return
    if not saml.acs:
        yield Finding((*path, "metadata"), "is missing; give it, or acs and certificates")
    if not saml.certificates and (saml.encrypt == "required" or saml.require_signed_requests or saml.slo_uri):
        advice = "is missing: assertions are encrypted to it, and signed requests verified by it"
        yield Finding((*path, "certificates"), advice)
    if saml.tell_logout and saml.slo_uri is None:
        yield Finding((*path, "slo_uri"), "is missing; tell_logout sends customers there")


def _unsolicited(partner: Partner, saml: PartnerSaml, path: KeyPath) -> Iterator[Finding]:
    """Responses that nobody asked for: nothing binds them to the browser they come by, so there are as few as can be."""
    if not saml.unsolicited:
        if saml.targets:
            yield Finding((*path, "targets"), "is for unsolicited responses; add unsolicited: true, or remove it")
        return
    if partner.login is None:
        yield Finding((*path, "unsolicited"), "needs login, for it begins one")
    if saml.require_signed_requests:
        advice = "is for a partner that need not ask, and require_signed_requests for one that must; remove one of them"
        yield Finding((*path, "unsolicited"), advice)
    if saml.start is not None:
        advice = f"is not needed: a link to {saml.start.uri} has the partner ask by itself, which is safer"
        yield Finding((*path, "unsolicited"), advice, mild=True)


_SAML_KINDS: Final = frozenset({"saml", "eidas", "sweden-connect"})


def _said_on_one_line(facts: Facts) -> Iterator[Finding]:
    """What is said in SAML documents is compared there as it stands, also by those who take blanks together."""
    config = facts.config
    said: list[tuple[KeyPath, Any]] = [(("broker", "name"), config.broker.name)]
    for name, partner in config.partners.items():
        said.append((("partners", name, "saml"), partner.saml.model_dump(mode="json") if partner.saml else None))
    for name, connect in facts.connectors.items():
        if config.upstreams[name].kind in _SAML_KINDS:
            said.append((("upstreams", name, "connect"), connect.model_dump(mode="json", by_alias=True)))
    for place, content in said:
        for path, text in _texts_in(content, place):
            if any(ord(char) < ord(" ") or char in "\u2028\u2029" for char in text):
                yield Finding(path, "has a line break or a tab; write it on one line")


def _texts_in(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """All texts of *value*, names of keys included."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield path, key
            yield from _texts_in(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _texts_in(item, (*path, index))


def _metadata_sources(facts: Facts) -> Iterator[Finding]:
    """Where metadata of SAML peers comes from."""
    for name, source in facts.config.saml.metadata.items():
        path: KeyPath = ("saml", "metadata", name)
        if source.file is None and not source.certificates:
            advice = "is missing: what comes over the network is believed by its signature only; give the signer's certificate"
            yield Finding((*path, "certificates"), advice)
        if source.by_hash and source.mdq is None:
            yield Finding((*path, "by_hash"), "is for mdq; remove it")
        for key in ("url", "mdq"):
            address = getattr(source, key) or ""
            if address.startswith("http:") and not is_loopback(address) and facts.is_production:
                yield Finding((*path, key), "must begin with https:// outside this machine")


def _saml_recipient(saml: PartnerSaml, path: KeyPath) -> Iterator[Finding]:
    if saml.start is None:
        yield Finding((*path, "start"), "is missing; arriving customers begin their login there")
    if saml.api is None:
        yield Finding((*path, "api"), "is missing; the partner's server fetches the data of handoffs by it")
    elif saml.api.auth is ClientAuth.SECRET_POST:
        advice = "client_secret_post is for forms, and the handoff API takes none; use client_secret_basic"
        yield Finding((*path, "api", "auth"), advice)


def _service_desk(facts: Facts) -> Iterator[Finding]:
    """Staff's ways in are staff's alone, and say who has the role."""
    config = facts.config
    if (desk := config.service_desk) is None:
        return
    for key, names, known in (
        ("upstreams", desk.upstreams, config.upstreams),
        ("methods", desk.methods, config.upstreams),
        ("clients", desk.clients, config.partners),
    ):
        for index, name in enumerate(names):
            if name not in known:
                yield Finding(
                    ("service_desk", key, index),
                    f"there is no {key.removesuffix('s')} of that name"
                    if key == "clients"
                    else "there is no upstream of that name",
                )
    for index, name in enumerate(desk.upstreams):
        if (upstream := config.upstreams.get(name)) is None:
            continue
        path: KeyPath = ("service_desk", "upstreams", index)
        if upstream.may_bootstrap_other_methods:
            yield Finding(
                path,
                f"{name} may add other ways in, and staff's way in must not: set may_bootstrap_other_methods: false",
            )
        if desk.role not in getattr(facts.connectors.get(name), "roles", {}).values():
            yield Finding(
                path, f"{name} says of nobody that the role is {desk.role}: set roles_claim and roles under its connect"
            )
    for name, partner in config.partners.items():
        used = partner.login.upstreams if partner.login is not None else ()
        if name not in desk.clients and set(used) & set(desk.upstreams):
            yield Finding(
                ("partners", name, "login", "upstreams"), "names a way in of staff's (service_desk.upstreams)"
            )
        elif name in desk.clients and not set(used) <= set(desk.upstreams):
            yield Finding(
                ("partners", name, "login", "upstreams"), "is for staff (service_desk.clients), and lets others in"
            )
    for number, agreement in enumerate(config.agreements):
        if set(agreement.upstreams or ()) & set(desk.upstreams):
            yield Finding(("agreements", number, "upstreams"), "names a way in of staff's (service_desk.upstreams)")
    for index, name in enumerate(desk.methods):
        if name in facts.connectors and name not in facts.callers:
            yield Finding(
                ("service_desk", "methods", index), f"{name} is of a kind that cannot ask somebody on the phone"
            )


def _members(facts: Facts) -> Iterator[Finding]:
    """A register of customers is asked only about those the partner is told of anyway, and for what it is told then."""
    for name, partner in facts.config.partners.items():
        if (register := partner.members) is None:
            continue
        path: KeyPath = ("partners", name, "members")
        if urlsplit(register.uri).scheme == "http" and not is_loopback(register.uri):
            yield Finding((*path, "uri"), "http is only for this machine (127.0.0.1, localhost); use https://")
        claims = partner.login.claims if partner.login is not None else ()
        for index, contact in enumerate(register.contacts):
            if contact not in claims:
                advice = f"the partner itself may not have {contact}; add it to login.claims, or ask by something else"
                yield Finding((*path, "contacts", index), advice)
        if "member_number" not in claims:
            yield Finding(path, "is asked in vain: add member_number to login.claims", mild=True)


_WRITES: Mapping[str, str] = {"email": "email", "phone_number": "sms"}
"""The kind of upstream that sends codes to a contact."""


def _member_numbers(facts: Facts) -> Iterator[Finding]:
    """A code must be able to go out, and what she types must be one thing only."""
    for name, partner in facts.config.partners.items():
        if partner.members is None or (terms := partner.members.by_number) is None:
            continue
        path: KeyPath = ("partners", name, "members", "by_number")
        if partner.oidc is None:
            yield Finding(path, "is for partners with oidc: the register is asked in the name of its client")
        offered = partner.login.upstreams if partner.login is not None else ()
        kinds = {known.kind for each in offered if (known := facts.config.upstreams.get(each)) is not None}
        if (writes := _WRITES[terms.contact]) not in kinds:
            advice = f"nothing can be sent there: name an upstream of kind {writes} in login.upstreams of this partner"
            yield Finding((*path, "contact"), advice)
        if "sms" in kinds and (sms := facts.config.broker.sms) is not None:
            yield from _also_phone_numbers(terms.formats, sms, path)


def _also_phone_numbers(formats: Sequence[str], sms: SmsSettings, path: KeyPath) -> Iterator[Finding]:
    # Numbering plans are large; they are read by those who send text messages.
    from broker.notify.phone import written_forms

    phones = written_forms(sms.countries, sms.home)
    for index, each in enumerate(formats):
        digits = digits_only(each)
        if digits is not None and any(may_be_both(digits, form) for form in phones):
            advice = (
                "also fits mobile numbers (broker.sms.countries): what fits is taken for a member number, and who means her "
                "phone must begin with +. A letter in the format, such as M-####, tells them apart"
            )
            yield Finding((*path, "formats", index), advice, mild=True)


def _refresh_tokens(facts: Facts) -> Iterator[Finding]:
    for name, partner in facts.config.partners.items():
        terms, path = partner.refresh_tokens, ("partners", name, "oidc", "refresh_tokens")
        if terms is None:
            continue
        if terms.idle > terms.lifetime:
            yield Finding((*path, "idle"), "must not be longer than lifetime")


def _is_native(config: TrustConfig, path: KeyPath, address: str) -> bool:
    """An app's own listener on the customer's machine: the answer never leaves it (RFC 8252 section 8.3)."""
    partner = config.partners.get(str(path[1]))
    is_answer = path[2:4] in {("oidc", "redirect_uris"), ("oidc", "post_logout_redirect_uris")}
    return is_answer and partner is not None and partner.rules.is_public and is_loopback_redirect(address)


def _partner_addresses(facts: Facts) -> Iterator[Finding]:
    config = facts.config
    models: list[tuple[KeyPath, BaseModel]] = [(("partners", name), each) for name, each in config.partners.items()]
    models += [(("resources", name), each) for name, each in config.resources.items()]
    for place, model in models:
        for path, address in _addresses(model, place):
            if urlsplit(address).scheme == "https":
                continue
            if _is_native(config, path, address) or path[2:4] in {("saml", "entity_id"), ("saml", "attributes")}:
                continue
            if facts.is_production:
                yield Finding(path, "must begin with https:// in production")
            elif not is_loopback(address):
                yield Finding(path, "http is only for this machine (127.0.0.1, localhost); use https://")


def _logout(facts: Facts) -> Iterator[Finding]:
    """How partners are told that a session ended."""
    for name, partner in facts.config.partners.items():
        if (client := partner.oidc) is None:
            continue
        path: KeyPath = ("partners", name, "oidc")
        for way, given, required in (
            ("backchannel", client.backchannel_logout_uri, client.backchannel_logout_session_required),
            ("frontchannel", client.frontchannel_logout_uri, client.frontchannel_logout_session_required),
        ):
            if required and given is None:
                key = f"{way}_logout_session_required"
                yield Finding((*path, key), f"says how to tell it, but not where; give {way}_logout_uri too")
        if client.frontchannel_logout_uri is not None:
            known = {urlsplit(each)[:2] for each in client.redirect_uris}
            if urlsplit(client.frontchannel_logout_uri)[:2] not in known:
                advice = "must have scheme, host and port of a redirect URI (Front-Channel Logout section 2)"
                yield Finding((*path, "frontchannel_logout_uri"), advice)


def _sso(facts: Facts) -> Iterator[Finding]:
    """Whose logins may be reused."""
    partners = facts.config.partners
    for name, partner in partners.items():
        if partner.login is None or isinstance(partner.login.sso.reuse_from, str):
            continue
        for index, other in enumerate(partner.login.sso.reuse_from):
            path: KeyPath = ("partners", name, "login", "sso", "reuse_from", index)
            if other == name:
                yield Finding(path, "is the partner itself, whose own logins always count; remove it", mild=True)
            elif other not in partners:
                yield Finding(path, f"there is no partner {other!r}{similar(other, list(partners))}")
            elif partners[other].login is None:
                yield Finding(path, "has no logins of its own to reuse; remove it", mild=True)


def _logins(facts: Facts) -> Iterator[Finding]:
    for name, partner in facts.config.partners.items():
        if partner.login is None:
            continue
        path: KeyPath = ("partners", name, "login")
        unknown = list(_unknown_upstreams(facts, partner.login.upstreams, (*path, "upstreams")))
        yield from unknown
        if not unknown:
            yield from _unreachable(
                facts, partner.login.upstreams, partner.login.minimum_assurance, (*path, "minimum_assurance")
            )


def _unknown_upstreams(facts: Facts, upstreams: Sequence[str], path: KeyPath) -> Iterator[Finding]:
    known = facts.config.upstreams
    for index, upstream in enumerate(upstreams):
        if upstream not in known:
            yield Finding((*path, index), f"there is no upstream {upstream!r}{similar(upstream, list(known))}")


def _unreachable(facts: Facts, upstreams: Sequence[str], minimum: Assurance, path: KeyPath) -> Iterator[Finding]:
    if not any(facts.strongest(upstream) >= minimum for upstream in upstreams):
        best = max((facts.strongest(upstream) for upstream in upstreams), key=lambda level: level.rank, default=None)
        reach = f"none of {', '.join(upstreams)} reaches it (at most {best})" if best else "there is no upstream at all"
        yield Finding(path, f"{minimum} is impossible: {reach}; lower it or allow a stronger upstream")


# Agreements


def _edges(facts: Facts) -> Iterator[Finding]:
    """From and to: known, not the same, and equipped for their part."""
    first: dict[tuple[str, str, str], int] = {}
    for index, agreement in enumerate(facts.config.agreements):
        path: KeyPath = ("agreements", index)
        partners = facts.config.partners
        for key, partner in (("from", agreement.source), ("to", agreement.recipient)):
            if partner not in partners:
                yield Finding((*path, key), f"there is no partner {partner!r}{similar(partner, list(partners))}")
        if agreement.source == agreement.recipient:
            yield Finding((*path, "to"), "is the same as from; a partner needs no agreement with itself")
        edge = (agreement.source, agreement.recipient, agreement.purpose)
        if (other := first.setdefault(edge, index)) != index:
            yield Finding(
                path,
                f"repeats agreements[{other}] ({agreement.id}); join the two, or give one another purpose",
            )


def _ends(facts: Facts) -> Iterator[Finding]:
    """What each end must have registered, told once per partner."""
    partners, agreements = facts.config.partners, facts.config.agreements
    for name in dict.fromkeys(each.source for each in agreements if each.source in partners):
        if not partners[name].return_uris:
            yield Finding(
                ("partners", name, "return_uris"),
                "is missing; customers sent from here need a way back when they cancel",
            )
    for name in dict.fromkeys(each.recipient for each in agreements if each.recipient in partners):
        partner = partners[name]
        if partner.oidc is not None and partner.login_start is None:
            yield Finding(
                ("partners", name, "oidc", "initiate_login_uri"),
                "is missing; the broker starts the login of arriving customers there (OpenID Connect Core section 4)",
            )
        if partner.saml is not None:
            yield from _saml_recipient(partner.saml, ("partners", name, "saml"))
        if partner.guest_uri is None:
            yield Finding(
                ("partners", name, "guest_uri"),
                "is missing; customers who continue without sharing arrive there",
            )


def _claims(facts: Facts) -> Iterator[Finding]:
    known = facts.config.payload_types
    for index, agreement in enumerate(facts.config.agreements):
        path: KeyPath = ("agreements", index)
        for position, name in enumerate(agreement.types):
            if name not in known:
                yield Finding(
                    (*path, "types", position),
                    f"there is no payload type {name!r}{similar(name, list(known))}",
                )
            elif name in agreement.types[:position]:
                yield Finding((*path, "types", position), f"{name} is named twice")
        claims = agreement.claims
        if not claims.required and not claims.optional:
            yield Finding((*path, "claims"), "names no field, so nothing could be handed over; name at least one")
        for key, names in (("required", claims.required), ("optional", claims.optional)):
            for position, name in enumerate(names):
                yield from _claim(facts, agreement, name, (*path, "claims", key, position))
                if name in names[:position] or (key == "optional" and name in claims.required):
                    yield Finding((*path, "claims", key, position), f"{name} is named twice; keep one")


def _claim(facts: Facts, agreement: Agreement, name: str, path: KeyPath) -> Iterator[Finding]:
    for payload_type in agreement.types:
        fields = facts.fields.get(payload_type)
        if fields is None or name in fields:
            continue
        inside = [each for each in fields if each.startswith(f"{name}.")]
        hint = f"; name its fields one by one: {', '.join(inside)}" if inside else similar(name, fields)
        yield Finding(path, f"{payload_type} has no field {name!r}{hint}")


def _assurance(facts: Facts) -> Iterator[Finding]:
    for index, agreement in enumerate(facts.config.agreements):
        path: KeyPath = ("agreements", index)
        upstreams = facts.config.upstreams_for(agreement)
        if unknown := list(_unknown_upstreams(facts, upstreams, (*path, "upstreams"))):
            # Those of the recipient's own logins are told there.
            yield from unknown if agreement.upstreams is not None else ()
            continue
        unreachable = list(_unreachable(facts, upstreams, agreement.minimum_assurance, (*path, "minimum_assurance")))
        yield from unreachable or _withheld(facts, agreement, upstreams, (*path, "minimum_assurance"))


def _withheld(facts: Facts, agreement: Agreement, upstreams: Sequence[str], path: KeyPath) -> Iterator[Finding]:
    """
    A level the recipient asks for but may never be told.

    Logins that must not raise another method hand over ``contact`` at most, unless the agreement says otherwise.
    """
    minimum = agreement.minimum_assurance
    if minimum <= Assurance.CONTACT or agreement.release_upstream_assurance is not False:
        return
    able = [each for each in upstreams if facts.strongest(each) >= minimum]
    if not any(facts.config.upstreams[each].may_bootstrap_other_methods for each in able):
        yield Finding(
            path,
            f"the needed level would be withheld: {minimum} is only reached by {', '.join(able)}, which may not vouch"
            " for other methods; set release_upstream_assurance with the reason you may, or ask for contact",
        )


# Accepted risks


def unneeded_risks(config: TrustConfig, lifted: Sequence[Risk]) -> Iterator[Finding]:
    """Warnings about ``accept_risks`` that lift nothing: they would hide a later mistake."""
    for index, risk in enumerate(config.accept_risks):
        if risk not in lifted:
            yield Finding(
                ("accept_risks", index), f"{risk} is accepted but nothing here needs it; remove it", mild=True
            )


RULES: tuple[Rule, ...] = (
    _mode,
    _languages,
    _texts,
    _lifetimes,
    _signing_keys,
    _telemetry,
    _mail,
    _sms,
    _gateway_addresses,
    _production,
    _upstream_addresses,
    _said_on_one_line,
    _costs,
    _ceilings,
    _clients,
    _sectors,
    _resources,
    _client_authentication,
    _client_rules,
    _public_partners,
    _services,
    _saml,
    _metadata_sources,
    _members,
    _member_numbers,
    _service_desk,
    _refresh_tokens,
    _partner_addresses,
    _logins,
    _logout,
    _sso,
    _edges,
    _ends,
    _claims,
    _assurance,
)
