"""
The composition root: builds every object and the routes, and nothing else.

`build` takes the checked config and what tests want to replace (clock, stores, connectors); `serve` in the command line
gives it the real ones.
"""

import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from msgspec import Struct, field
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from broker import __version__
from broker.config.load import Loaded
from broker.core.identity import ContactKind
from broker.core.keys import KeyBook, KeyRecord, KeyTimes, said, standings
from broker.core.policy import BrokerSettings, Mode, Policy
from broker.core.trust import Available
from broker.desk.health import Health
from broker.desk.metrics import metrics_app
from broker.desk.service import ServicePages
from broker.downstream.clients import Clients
from broker.downstream.handoff.artifact import ArtifactApi
from broker.downstream.handoff.offer import OfferApi
from broker.downstream.handoff.redeem import RedeemApi
from broker.downstream.members import MemberRegisters
from broker.downstream.newsletter import NewsletterApi
from broker.downstream.notices import Notices
from broker.downstream.oidc.access_tokens import AccessTokens
from broker.downstream.oidc.answers import OidcAnswers
from broker.downstream.oidc.authorize import Authorize
from broker.downstream.oidc.discovery import CALLED_BY_SCRIPTS, READ_BY_ALL, Discovery
from broker.downstream.oidc.introspection import Introspection
from broker.downstream.oidc.logout import Logout
from broker.downstream.oidc.revocation import Revocation
from broker.downstream.oidc.token import Token
from broker.downstream.oidc.userinfo import Userinfo
from broker.downstream.partners import PartnerExits
from broker.downstream.saml.answers import SamlAnswers
from broker.downstream.saml.forms import LARGEST
from broker.downstream.saml.keys import SIGNATURES, SamlKeys, TimedKey
from broker.downstream.saml.logout import SLO_PATH, Slo
from broker.downstream.saml.metadata import SamlMetadata
from broker.downstream.saml.services import Services
from broker.downstream.saml.sso import SSO_PATH, Sso
from broker.downstream.saml.start import Start
from broker.downstream.service_desk import ServiceDeskApi
from broker.errors import ConfigError, StafettError
from broker.flows.answers import Answers
from broker.flows.artifact import Artifacts
from broker.flows.audit import AuditTrail
from broker.flows.consent import Consents
from broker.flows.context import Clock, Context, Shelves, Tokens
from broker.flows.handoff import Handoffs
from broker.flows.issued import IssuedTokens
from broker.flows.keys import KeyCare, KeyWatch
from broker.flows.links import Links
from broker.flows.login import Logins
from broker.flows.logout import Logouts
from broker.flows.members import Members
from broker.flows.newsletter import Newsletters
from broker.flows.outbox import Outbox
from broker.flows.provider_logouts import ProviderLogouts
from broker.flows.receipts import Receipts
from broker.flows.saml_logins import SamlLogins
from broker.flows.saml_peers import SamlPeers
from broker.flows.saml_sources import FeedSource, FileSource, QuerySource, Source
from broker.flows.service_desk import ServiceDesks
from broker.flows.tokens import TokenFlow
from broker.flows.values import Visitor
from broker.flows.ways import Ways
from broker.notify.build import Senders, Workshop
from broker.notify.ports import Messages
from broker.notify.routes import Reports
from broker.observe.logging import current_reference, log
from broker.observe.telemetry import Telemetry
from broker.pages.account import AccountPages
from broker.pages.faults import Faults
from broker.pages.logo import BadLogo, Logo, Logos, read_logo
from broker.pages.mailed import MailedLinks
from broker.pages.passkeys import PasskeyPages
from broker.pages.render import Pages
from broker.pages.routes import JourneyPages
from broker.pages.views import ContinuePage, PostPage
from broker.pages.ways_in import WaysInPages
from broker.stores.key_folder import GivenKeys, KeyFolder
from broker.stores.ports import KeyStore, Records, StateStore
from broker.stores.saml_files import CopyFolder, PinnedFile
from broker.stores.sealing import Digester, Sealer
from broker.stores.watched import WatchedState, watched_records
from broker.upstream.breaker import Breaker
from broker.upstream.calls import callers
from broker.upstream.hearing import UpstreamHearing
from broker.upstream.leaving import UpstreamLeaving
from broker.upstream.passkey_desk import PasskeyDesk
from broker.upstream.port import Connector
from broker.upstream.routes import UpstreamEdge, UpstreamKeys, UpstreamRoutes, larger_forms
from broker.upstream.supplies import MembersOnFile, ProvidersKnown, Supplies
from broker.upstream.way_news import WayNews
from broker.web.cors import Cors
from broker.web.dispatch import Dispatch
from broker.web.hub import Exit, FormPost, Hub
from broker.web.middleware import QUIET, RequestMiddleware
from broker.wire.http import FetchedDocument, Fetcher
from broker.wire.jose import Keyring
from broker.wire.own_keys import own_secret
from broker.wire.saml.aggregate import MAX_DOCUMENT, MAX_ENTITY, Demands, Metadata
from broker.wire.saml.aggregate import read as read_metadata
from broker.wire.saml.keys import signing_key
from broker.wire.saml.own_keys import own_pair
from broker.wire.signing_keys import ALGS, given_book, new_key


def utc_now() -> datetime:
    """The time, aware UTC."""
    return datetime.now(UTC)


class KeyMaterial(Struct, frozen=True):
    """
    ``secrets``: the current one first. ``signing``: where the signing keys are; ``first``: what an empty place begins with.

    ``makes_own``: whether a place without keys is given some at start.
    """

    secrets: tuple[bytes, ...]
    signing: KeyStore
    first: KeyBook = field(default_factory=KeyBook)
    makes_own: bool = True

    @classmethod
    def of(cls, loaded: Loaded) -> "KeyMaterial":
        """
        The config's keys; what it does not name is made once in the data folder (check-config refuses that in production).

        Raises: ConfigError for PEM files that do not belong together.
        """
        given, keys = loaded.secrets, loaded.policy.broker.keys
        folder = loaded.data_dir / "keys"
        secrets = (given.secret or own_secret(folder), *given.previous_secrets)
        pems = given_book(given.signing, given.next_signing) if given.signing else KeyBook()
        if keys.folder is None and given.signing:
            return cls(secrets, GivenKeys(pems), makes_own=False)
        store = KeyFolder(loaded.references.path(keys.folder) if keys.folder else folder, secrets)
        # A folder that the operator chose and that is empty is the wrong one more often than a new one.
        makes_own = keys.folder is None or loaded.policy.config.mode is Mode.DEVELOPMENT
        return cls(secrets, store, pems, makes_own)

    def care(self, broker: BrokerSettings, clock: Clock) -> KeyCare:
        """What is done to the signing keys, by the config's times."""
        return KeyCare(self.signing, KeyTimes.of(broker), clock, new_key, ALGS, self.first)


def signing_keys(material: KeyMaterial, care: KeyCare) -> KeyBook:
    """The signing keys there are. Raises: ConfigError when there are none, or they cannot be read."""
    book = material.signing.read()
    if material.makes_own and (book is None or not {key.alg for key in book.keys} >= set(care.algs)):
        return care.begin()
    if book is None:
        advice = "there are no signing keys yet; make them with: stafett keys rotate (or is it another folder?)"
        raise ConfigError((f"broker.keys.folder: {advice}",))
    return book


class Broker(Struct, frozen=True):
    """
    A built broker. ``app``: the ASGI application. ``context``: for commands that work without a web server.

    ``notices``: tells partners what they must know. ``keys``: looks after what is signed with. ``metrics``: the application
    for the operator's own port, None when nothing is counted. ``messages``: how customers are written to.
    """

    app: ASGIApp
    context: Context
    connectors: Mapping[str, Connector]
    notices: Notices
    keys: KeyWatch
    metrics: ASGIApp | None = None
    messages: Messages = field(default_factory=Messages)


class MetadataFetchers(Struct, frozen=True):
    """The ways out for SAML metadata: ``feeds`` may take their time, for ``queries`` customers wait."""

    feeds: Fetcher
    queries: Fetcher

    @classmethod
    def of(cls, loaded: Loaded) -> "MetadataFetchers":
        """By the config's rules for outgoing calls."""
        allowed = loaded.policy.broker.outbound.allow_private_networks
        return cls(
            Fetcher(allow_private_networks=allowed, timeout_s=60, max_bytes=MAX_DOCUMENT),
            Fetcher(allow_private_networks=allowed, timeout_s=4, max_bytes=MAX_ENTITY),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self.feeds.close()
        await self.queries.close()


def build_peers(loaded: Loaded, fetchers: MetadataFetchers, clock: Clock = utc_now) -> SamlPeers:
    """Where SAML peers' metadata comes from, as the config says."""
    sources = {name: build_source(loaded, name, fetchers, clock) for name in loaded.policy.config.saml.metadata}

    def pinned(file: str) -> Source:
        return FileSource(file, PinnedFile(loaded.references.path(file)), _believing(Demands()), clock)

    peers = SamlPeers(sources, pinned=pinned, clock=clock, spread=lambda: secrets.randbelow(1000) / 1000)
    for partner in loaded.policy.config.partners.values():
        if partner.saml is not None and partner.saml.metadata is not None:
            peers.pin(partner.saml.metadata)
    for described in loaded.providers.values():
        peers.pin(described.metadata)
    return peers


def build_source(loaded: Loaded, name: str, fetchers: MetadataFetchers, clock: Clock = utc_now) -> Source:
    """The metadata source of that name."""
    config = loaded.policy.config.saml.metadata[name]
    read = _believing(Demands.of(loaded.metadata_certificates[name], config.max_validity))
    folder = loaded.data_dir / "saml-metadata"
    if config.url is not None:
        return FeedSource(
            name,
            config.url,
            fetch=_documents(fetchers.feeds),
            read=read,
            copies=CopyFolder(folder),
            refresh=config.refresh,
            clock=clock,
        )
    if config.mdq is not None:
        return QuerySource(
            name,
            config.mdq,
            by_hash=config.by_hash,
            fetch=_documents(fetchers.queries),
            read=read,
            copies=CopyFolder(folder / name),
            refresh=config.refresh,
            clock=clock,
        )
    return FileSource(name, PinnedFile(loaded.references.path(config.file or "")), read, clock)


def _believing(demands: Demands) -> Callable[[bytes, datetime], Metadata]:
    return lambda octets, now: read_metadata(octets, demands=demands, now=now)


def _documents(fetcher: Fetcher) -> Callable[[str, Mapping[str, str]], Awaitable[FetchedDocument]]:
    return lambda url, headers: fetcher.get_document(url, headers=headers, operation="metadata")


def build_context(
    loaded: Loaded,
    keys: KeyMaterial,
    *,
    state: StateStore,
    records: Records,
    available: Callable[[], Available],
    clock: Clock = utc_now,
) -> Context:
    """What the flows work with."""
    audit, sealer = AuditTrail(records, clock, current_reference), Sealer(keys.secrets, "records")
    return Context(
        state=state,
        records=records,
        shelves=Shelves.of(Sealer(keys.secrets, "state")),
        policy=lambda: loaded.policy,
        available=available,
        clock=clock,
        tokens=Tokens(Sealer(keys.secrets, "tokens")),
        sealer=sealer,
        lookup=Digester(keys.secrets[-1], "lookup"),
        audit=audit,
        outbox=Outbox(records, clock, audit, sealer),
    )


def build_telemetry(loaded: Loaded) -> Telemetry:
    """Who watches, as the config says; what nobody asked for is not even imported."""
    config, tracing, metrics = loaded.policy.config, None, None
    traces = config.broker.telemetry.traces
    if traces.otlp_endpoint is not None:
        from broker.observe.tracing import Tracing, over_otlp

        tracing = Tracing(
            over_otlp(traces.otlp_endpoint, loaded.secrets.otlp_headers),
            version=__version__,
            sample_ratio=traces.sample_ratio,
            accepts_parent=traces.accept_parent,
            propagates_to=traces.propagate_to,
        )
    if config.broker.telemetry.metrics.enabled:
        from broker.observe.metrics import Metrics

        metrics = Metrics(upstreams=config.upstreams, partners=config.partners, senders=_senders(config.broker))
    return Telemetry(tracing=tracing, metrics=metrics)


def _senders(broker: BrokerSettings) -> list[str]:
    mail = [broker.mail.driver] if broker.mail else []
    return mail + [gateway.label for gateway in (broker.sms.gateways if broker.sms else ())]


def build_messages(loaded: Loaded, fetcher: Fetcher, telemetry: Telemetry, clock: Clock = utc_now) -> Senders:
    """How customers are written to, as the config says, and which gateways report."""
    return Workshop(loaded.policy.broker, loaded.references, fetcher, telemetry.sender, clock).senders()


def build_connectors(
    loaded: Loaded,
    fetcher: Fetcher,
    telemetry: Telemetry,
    context: Context,
    messages: Messages,
    members: MembersOnFile,
    peers: ProvidersKnown,
) -> tuple[dict[str, Connector], dict[str, str]]:
    """The connectors that can be started, and why the others cannot; those stay listed as unavailable."""
    connectors: dict[str, Connector] = {}
    failed: dict[str, str] = {}
    broker = loaded.policy.broker
    names = dict.fromkeys(broker.languages, broker.name)
    for name, connect in loaded.connectors.items():
        kind = loaded.kinds[loaded.policy.config.upstreams[name].kind]
        try:
            watched = fetcher.watched_by(telemetry.upstream(name))
            supplies = Supplies(loaded.references, watched, context, messages, members, peers, names)
            connectors[name] = kind.build(name, connect, supplies)
        except (StafettError, OSError, ValueError) as error:
            failed[name] = f"{type(error).__name__}: {error}"
            log("upstream.unavailable", "error", upstream=name, detail=failed[name])
    return connectors, failed


def build(
    loaded: Loaded,
    *,
    state: StateStore,
    records: Records,
    keys: KeyMaterial | None = None,
    clock: Clock = utc_now,
    connectors: Mapping[str, Connector] | None = None,
    telemetry: Telemetry | None = None,
    messages: Messages | None = None,
) -> Broker:
    """
    The whole broker.

    Args:
        connectors, telemetry, messages: in place of the config's (tests).
    Raises:
        ConfigError: a logo or key that cannot be used.
    """
    material = keys or KeyMaterial.of(loaded)
    care = material.care(loaded.policy.broker, clock)
    book = signing_keys(material, care)
    keyring = Keyring(standings(book, care.times, clock()))
    fetcher = Fetcher(allow_private_networks=loaded.policy.broker.outbound.allow_private_networks)
    failed: dict[str, str] = {}
    telemetry = telemetry or build_telemetry(loaded)
    if telemetry.is_on:
        state = WatchedState(state, telemetry.store("state"))
        records = watched_records(records, telemetry.store("records"))
    breaker = Breaker(clock)
    takes: dict[str, ContactKind] = {}
    kinds = {name: loaded.kinds[each.kind] for name, each in loaded.policy.config.upstreams.items()}
    brings = {name: kinds[name].brings(connect) for name, connect in loaded.connectors.items()}

    def available() -> Available:
        back_at = breaker.back_at()
        return Available(frozenset(connectors or {}) - back_at.keys(), back_at, takes, brings=brings)

    context = build_context(loaded, material, state=state, records=records, available=available, clock=clock)
    senders = build_messages(loaded, fetcher, telemetry, clock) if messages is None else Senders(messages)
    allowed = loaded.policy.broker.outbound.allow_private_networks
    to_partners = Fetcher(allow_private_networks=allowed)
    metadata_fetchers = MetadataFetchers.of(loaded)
    peers = build_peers(loaded, metadata_fetchers, clock)
    members = Members(context, MemberRegisters(context.policy, keyring, context.tokens, to_partners))
    if connectors is None:
        connectors, failed = build_connectors(loaded, fetcher, telemetry, context, senders.messages, members, peers)
    takes |= {name: kind for name, each in connectors.items() if (kind := getattr(each, "takes", None)) is not None}

    def tell_key(action: str, key: KeyRecord) -> None:
        context.audit.note(action, kid=key.name, alg=key.alg, signs_from=said(key.signs_from))

    watch = KeyWatch(care, book, keyring.show, tell_key, every=loaded.policy.broker.keys.rotate_every)
    notices = Notices(context, keyring, to_partners, listens=telemetry.listens)
    news = WayNews(context, senders.messages)
    logins = Logins(context, Links(context, news))
    receipts = Receipts(context)
    handoffs = Handoffs(context, receipts)
    consents = Consents(context, logins, handoffs, receipts)
    answers = Answers(context, members)
    tokens = TokenFlow(context, handoffs, answers)
    issued = IssuedTokens(context, tokens)
    artifacts = Artifacts(context, logins, handoffs)
    logouts = Logouts(context)
    ways = Ways(context, news)
    newsletters = Newsletters(context)
    desks = ServiceDesks(context, callers(connectors, lambda _: loaded.policy.broker.name))
    policy = context.policy

    pages = _pages(loaded.policy)
    logos = Logos(_logos(loaded))
    saml_logins = SamlLogins(context, answers)
    services, saml_keys = Services(policy, peers.service), _saml_keys(loaded, clock())
    saml = SamlAnswers(policy, services, saml_logins, saml_keys, clock)
    exits = PartnerExits(policy, OidcAnswers(policy, tokens), saml, consents, handoffs, artifacts)

    def continue_page(where: Exit, visitor: Visitor) -> Response:
        view = PostPage(where.url, where.members, where.back) if isinstance(where, FormPost) else ContinuePage(where)
        return pages.render(view, language=visitor.language, reference=current_reference(), here=None)

    upstreams = UpstreamEdge(policy, logins, connectors, breaker, clock)
    desk = PasskeyDesk(context, connectors, senders.messages)
    hub = Hub(logins, exits, upstreams, continue_page)
    passkeys = PasskeyPages(policy, logins, logouts, desk, hub, pages)
    ways_in = WaysInPages(policy, logins, logouts, ways, hub, pages)
    clients = Clients(policy, tokens, clock)
    access_tokens = AccessTokens(policy, keyring, clock)
    faults = Faults(policy, pages, exits, logos)
    health = Health(
        version=__version__,
        config_version=lambda: policy().version,
        checks={"state": state.ping, "records": records.ping},
        unavailable=lambda: sorted({*failed, *breaker.resting()}),
        metadata=peers.alarms,
        accepted_risks=[risk.risk.value for risk in loaded.accepted_risks],
    )
    # In the order of how often they are asked for: they are tried one after the other.
    routes = [
        *Authorize(policy, clients, logins, tokens, handoffs, keyring, hub).routes(),
        *Token(policy, clients, tokens, access_tokens, keyring, clock).routes(),
        *Userinfo(policy, tokens, access_tokens, keyring).routes(),
        *Sso(policy, services, logins, saml_logins, handoffs, saml, hub, clock).routes(),
        *UpstreamRoutes(policy, upstreams, hub).routes(),
        *UpstreamHearing(logouts, connectors, clock).routes(),
        *UpstreamLeaving(policy, ProviderLogouts(context, logouts), connectors, hub, clock).routes(),
        *UpstreamKeys(policy, connectors, clock).routes(),
        *OfferApi(policy, clients, handoffs, clock).routes(),
        *ArtifactApi(policy, clients, artifacts, keyring, hub, clock).routes(),
        *RedeemApi(clients, tokens, handoffs).routes(),
        *NewsletterApi(policy, clients, newsletters).routes(),
        *JourneyPages(
            policy, logins, consents, handoffs, newsletters, upstreams, exits, hub, pages, logos, ways
        ).routes(),
        *MailedLinks(policy, logins, upstreams, pages, logos).routes(),
        *Discovery(policy, keyring).routes(),
        *SamlMetadata(policy, saml_keys, clock).routes(),
        *Start(policy, services, logins, saml_logins, hub).routes(),
        *Slo(policy, services, logouts, saml_logins, saml_keys, hub, clock).routes(),
        *Introspection(policy, clients, issued, access_tokens).routes(),
        *Revocation(clients, issued, access_tokens).routes(),
        *Logout(policy, logouts, keyring).routes(),
        *AccountPages(policy, logins, logouts, consents, hub, pages, logos, passkeys, ways_in).routes(),
        *passkeys.routes(),
        *ways_in.routes(),
        *Reports(senders.reporting).routes(),
        *ServicePages(policy, desks, logins, logouts, hub, pages).routes(),
        *ServiceDeskApi(policy, desks, tokens, access_tokens).routes(),
        *health.routes(),
        *pages.routes(),
        *logos.routes(),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        context.audit.later(receipts.write_all)
        context.audit.start()
        notices.start()
        watch.start()
        peers.start()
        try:
            yield
        finally:
            await peers.stop()
            await watch.stop()
            await notices.stop()
            await context.audit.stop()
            for connector in connectors.values():
                await connector.close()
            await news.close()
            await desk.close()
            await senders.messages.close()
            await fetcher.close()
            await metadata_fetchers.close()
            await state.close()
            await records.close()
            await telemetry.close()

    starlette = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={StafettError: faults.expected, HTTPException: faults.http, Exception: faults.unexpected},
    )
    starlette.router.redirect_slashes = False
    short = Dispatch(starlette, routes, expected=faults.expected, http=faults.http, unexpected=faults.unexpected)
    shared = Cors(short, guarded=CALLED_BY_SCRIPTS, public=READ_BY_ALL, origins=lambda: policy().origins)
    app = RequestMiddleware(
        shared,
        issuer=lambda: policy().issuer,
        trusted=lambda: policy().broker.trusted_proxies,
        larger={**larger_forms(connectors), SSO_PATH: LARGEST, SLO_PATH: LARGEST},
    )
    metrics = _metrics(telemetry, loaded, context.audit, context.outbox, sorted(failed), peers)
    return Broker(telemetry.watched(app, quiet=QUIET), context, connectors, notices, watch, metrics, senders.messages)


def _metrics(
    telemetry: Telemetry,
    loaded: Loaded,
    audit: AuditTrail,
    outbox: Outbox,
    unavailable: Sequence[str],
    peers: SamlPeers,
) -> ASGIApp | None:
    """What is served on the operator's own port, if anything is counted."""
    if telemetry.metrics is None:
        return None
    from broker.observe.metrics import Standing

    standing = Standing(
        version=__version__,
        config_version=lambda: loaded.policy.version,
        accepted_risks=[risk.risk.value for risk in loaded.accepted_risks],
        unavailable=lambda: unavailable,
        audit_waiting=lambda: audit.waiting,
        audit_dropped=lambda: audit.dropped,
        notices_waiting=lambda: outbox.waiting,
        notices_oldest_s=outbox.oldest_s,
        metadata=lambda: [(each.source, each.needs_care, each.valid_until) for each in peers.standings()],
    )
    telemetry.metrics.stands(standing)
    return metrics_app(telemetry.metrics.render)


def _pages(policy: Policy) -> Pages:
    broker = policy.broker
    return Pages(
        broker_name=broker.name,
        languages=broker.languages,
        default_language=broker.default_language,
        support_uri=broker.support_uri,
        zone=ZoneInfo(broker.time_zone),
    )


def _saml_keys(loaded: Loaded, now: datetime) -> SamlKeys:
    """
    What SAML messages are signed by. Raises: ConfigError for an algorithm that none of the keys is for.
    """
    given = loaded.secrets.saml
    keys = [TimedKey(signing_key(each.key, each.certificate), each.signs_from) for each in given]
    partners = {name: each.saml for name, each in loaded.policy.config.partners.items() if each.saml is not None}
    if not keys and partners:
        host = urlsplit(loaded.policy.issuer).hostname or ""
        keys = [TimedKey(signing_key(*own_pair(loaded.data_dir / "keys", name=host, now=now)))]
    problems = tuple(
        f"{loaded.path}: partners.{name}.saml.signature: none of the keys of broker.saml is for {terms.signature}"
        for name, terms in partners.items()
        if terms.signature is not None and not all(each.key.fits(SIGNATURES[terms.signature]) for each in keys)
    )
    if problems:
        raise ConfigError(problems)
    return SamlKeys(keys)


def _logos(loaded: Loaded) -> dict[str, Logo]:
    found: dict[str, Logo] = {}
    problems: list[str] = []
    for name, partner in loaded.policy.config.partners.items():
        if partner.logo is None:
            continue
        try:
            found[name] = read_logo(loaded.references.path(partner.logo))
        except BadLogo as error:
            problems.append(f"{loaded.path}: partners.{name}.logo: {error}")
    if problems:
        raise ConfigError(tuple(problems))
    return found
