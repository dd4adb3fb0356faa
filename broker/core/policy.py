"""
The trust config as frozen data: who may send whom where, with which claims, at which assurance, for which purpose.

These are the models of the operators' YAML (docs/configuration.md); reading, cross-checking and secrets are the
business of ``broker/config``. Every model refuses unknown keys. Texts are given per language (BCP 47).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    StringConstraints,
    Tag,
    model_validator,
)

from broker.core.assurance import Assurance
from broker.core.client_rules import ClientAuth, ClientProfile, ClientRules, Refinements, SigningAlg, rules_of
from broker.core.redirects import is_private_use, is_registered


def _matching(pattern: str, sentence: str) -> AfterValidator:
    """A pattern whose refusal is a sentence for the operator. The value is never in it: it may be a secret."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(sentence)
        return value

    return AfterValidator(check)


LANGUAGES = ("sv", "fi", "pl", "en")
"""The languages the pages are written in (BCP 47)."""

Identifier = Annotated[
    str,
    _matching(
        r"[a-z][a-z0-9-]{0,62}",
        "must be lower-case letters, digits and hyphens, start with a letter, and have at most 63 characters",
    ),
]
"""Ids that operators choose: lower case letters, digits and hyphens, at most 63."""

Language = Annotated[str, _matching("|".join(LANGUAGES), f"must be one of the languages {', '.join(LANGUAGES)}")]
Texts = Annotated[
    Mapping[Language, Annotated[str, StringConstraints(min_length=1, max_length=500)]], Field(min_length=1)
]
"""A text per language; the broker's default language must be there (checked by ``check-config``)."""

SecretRef = Annotated[
    str,
    _matching(
        r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00]+",
        "secrets are never written here: put it in an environment variable and write env:NAME, or in a file and write"
        " file:PATH (relative to this config file)",
    ),
]
"""Where a secret is: ``env:NAME`` or ``file:PATH`` (relative to the config file). Never the secret itself."""

TypeName = Annotated[
    str,
    _matching(r"[a-z][a-z0-9-]{0,62}/v[1-9][0-9]{0,3}", "must be a name and a version, such as tyre-fitting/v1"),
]
"""A versioned payload type, such as ``tyre-fitting/v1``."""

FieldName = Annotated[
    str,
    _matching(
        r"(?=.{1,120}$)[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*",
        "must be the dotted name of a field of the payload, such as vehicle.registration_number",
    ),
]
"""A dotted path to a leaf of a payload schema: the unit of consent and release."""

_DURATION = re.compile(r"^([1-9][0-9]{0,5})(s|m|h|d)$")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a whole number with a unit, such as 60s, 30m, 24h or 7d")
    return timedelta(seconds=int(match[1]) * _UNIT_S[match[2]])


Duration = Annotated[timedelta, BeforeValidator(_duration)]


def _network(value: object) -> object:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(value if isinstance(value, str) else "")
    except ValueError as error:
        hint = " (bits behind the mask must be zero)" if "host bits" in str(error) else ""
        raise ValueError(f"must be a network in CIDR form, such as 10.0.0.0/8 or ::1/128{hint}") from None


Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network), PlainSerializer(str)]


def _uri(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not an address: check brackets and port number") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("must be a complete http or https address")
    if parts.fragment or "#" in value or parts.username is not None or parts.password is not None:
        raise ValueError("must have neither a fragment nor a user name")
    if any(ord(char) <= 0x20 or ord(char) >= 0x7F or char == "\\" for char in value):
        raise ValueError("must be plain ASCII without spaces or backslashes")
    return value


Uri = Annotated[str, AfterValidator(_uri)]


def _redirect_uri(value: str) -> str:
    return value if is_private_use(value) else _uri(value)


RedirectUri = Annotated[str, AfterValidator(_redirect_uri)]
"""Where answers go: a web address, or into an app by a scheme of its own (RFC 8252 section 7.1)."""


def _origin(value: str) -> str:
    parts = urlsplit(_uri(value))
    if parts.path or "?" in value:
        raise ValueError("must be scheme, host and port only, without a trailing slash")
    if parts.netloc != parts.netloc.lower() or parts.port == {"http": 80, "https": 443}[parts.scheme]:
        raise ValueError("must be written as browsers do: host in lower case, no default port")
    return value


Origin = Annotated[str, AfterValidator(_origin)]


def is_loopback(address: str) -> bool:
    """Whether the host of *address* (a URL) can only be this machine."""
    host = urlsplit(address).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip = ip_address(host)
    except ValueError:
        return False
    return (
        ip.is_loopback or ip.is_unspecified or bool((mapped := getattr(ip, "ipv4_mapped", None)) and mapped.is_loopback)
    )


class Strict(BaseModel):
    """Base of all config models: frozen, unknown keys refused, no loose conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, str_strip_whitespace=False)


class Mode(StrEnum):
    """``production`` is the default; ``development`` is refused unless the issuer's host is loopback."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"


class Risk(StrEnum):
    """What production refuses, each of which an operator may lift by name in ``accept_risks`` (for staging)."""

    HTTP_ISSUER = "http_issuer"
    MEMORY_STATE = "memory_state"
    EMBEDDED_STATE = "embedded_state"
    SQLITE_RECORDS = "sqlite_records"
    GENERATED_KEYS = "generated_keys"
    LOOPBACK_UPSTREAM = "loopback_upstream"
    BANKID_TEST_ENVIRONMENT = "bankid_test_environment"
    OUTBOX_NOTIFIER = "outbox_notifier"
    PLAIN_MAIL = "plain_mail"
    DEBUG = "debug"
    NO_TRUSTED_PROXIES = "no_trusted_proxies"


class Listen(Strict):
    """Where ``serve`` listens."""

    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=1, le=65535)


class Outbound(Strict):
    """
    What the broker itself may call.

    ``allow_private_networks``: networks that are otherwise refused (loopback, RFC 1918 ...).
    """

    allow_private_networks: tuple[Network, ...] = ()


class State(Strict):
    """Short-lived state. ``url``: reference to a Redis URL; without it the broker starts an embedded server."""

    url: SecretRef | None = None
    embedded: Literal["auto", "memory"] = "auto"


class RecordsSettings(Strict):
    """
    Durable records. ``url``: reference to an SQLAlchemy URL; without it SQLite in ``data_dir``.

    ``pgbouncer``: there is a pooler in transaction mode between the broker and PostgreSQL.
    """

    url: SecretRef | None = None
    pgbouncer: bool = False


def _instant(value: object) -> object:
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError("a point in time is a date, a time and an offset, such as 2027-01-31T04:00:00Z")
    return at.astimezone(UTC)


Instant = Annotated[datetime, BeforeValidator(_instant)]


class NextKey(Strict):
    """
    A key that takes over from the one of its kind.

    ``key``: PEM private key, published at once. ``signs_from``: when it signs; leave every partner the time to fetch it.
    """

    key: SecretRef
    signs_from: Instant


class Keys(Strict):
    """
    Signing keys, and the secret everything else is derived from. Without them development makes its own once, in ``data_dir``.

    ``signing``: PEM private keys, at least one RSA of 2048 bits or more and one EC P-256; the first of each kind signs.
    ``next``: keys that take over at a time of their own. ``folder``: where ``stafett keys`` looks after the keys, encrypted;
    ``signing`` then is only what it begins with. ``rotate_every``: how often keys are renewed without being told to.
    ``jwks_max_age``: how long partners may keep the published keys. ``spread``: how far apart our clocks may be, and how
    long it may take until every process sees a new key. ``secret``: 32 or more random bytes as base64url; encryption and
    lookup keys are derived from it (HKDF). ``previous_secrets``: older ones, still accepted for reading.
    """

    signing: tuple[SecretRef, ...] = ()
    next: tuple[NextKey, ...] = ()
    folder: str | None = None
    rotate_every: Duration | None = None
    jwks_max_age: Annotated[Duration, Field(le=timedelta(days=1))] = timedelta(minutes=15)
    spread: Annotated[Duration, Field(le=timedelta(days=1))] = timedelta(minutes=5)
    secret: SecretRef | None = None
    previous_secrets: tuple[SecretRef, ...] = ()


class Lifetimes(Strict):
    """
    How long things live.

    ``journey``: one login attempt. ``handoff_reference``: the opaque ``login_hint`` or ``handoff`` towards a partner.
    ``artifact``: what a partner without OpenID Connect exchanges for its ``handoff_token``. ``logout_notice``: how long it is
    tried to tell a partner that a session ended.
    """

    journey: Duration = timedelta(minutes=30)
    session_idle: Duration = timedelta(hours=8)
    session: Duration = timedelta(hours=24)
    code: Annotated[Duration, Field(le=timedelta(minutes=1))] = timedelta(seconds=60)
    access_token: Annotated[Duration, Field(le=timedelta(hours=1))] = timedelta(minutes=10)
    id_token: Annotated[Duration, Field(le=timedelta(hours=1))] = timedelta(minutes=10)
    pushed_request: Annotated[Duration, Field(le=timedelta(minutes=10))] = timedelta(seconds=90)
    handoff_reference: Duration = timedelta(minutes=15)
    guest_reference: Annotated[Duration, Field(le=timedelta(minutes=5))] = timedelta(seconds=60)
    artifact: Annotated[Duration, Field(le=timedelta(minutes=1))] = timedelta(seconds=60)
    handoff_token: Annotated[Duration, Field(le=timedelta(minutes=5))] = timedelta(minutes=5)
    logout_notice: Annotated[Duration, Field(le=timedelta(days=7))] = timedelta(hours=24)


class Retention(Strict):
    """How long personal data stays. ``payload``: after pick-up. ``proof``: signed evidence of strong logins."""

    payload: Duration = timedelta(days=7)
    proof: Duration = timedelta(days=90)


class Linking(Strict):
    """
    Several ways in for one customer (docs/linking.md).

    ``proof_age``: how long ago each side may have been proven. ``contact_age``: how long a proven contact may be matched.
    ``answer``: how long she may take to answer. ``undo``: how long a way that she removed can be brought back.
    """

    enabled: bool = True
    proof_age: Annotated[Duration, Field(le=timedelta(hours=1))] = timedelta(minutes=10)
    contact_age: Annotated[Duration, Field(le=timedelta(days=365))] = timedelta(days=180)
    answer: Annotated[Duration, Field(le=timedelta(minutes=15))] = timedelta(minutes=5)
    undo: Annotated[Duration, Field(le=timedelta(days=90))] = timedelta(days=30)


class Traces(Strict):
    """
    Traces, sent to a collector; off without an address.

    ``otlp_endpoint``: complete address for OTLP over HTTP, usually ending in /v1/traces. ``headers``: reference to
    name=value pairs, separated by commas, that are sent along. ``sample_ratio``: the part of the requests that is traced,
    0 to 1. ``accept_parent``: take up a caller's traceparent. ``propagate_to``: upstreams that are sent ours.
    """

    otlp_endpoint: Uri | None = None
    headers: SecretRef | None = None
    sample_ratio: float = Field(default=1.0, ge=0, le=1)
    accept_parent: bool = False
    propagate_to: tuple[Identifier, ...] = ()


class MetricsListen(Strict):
    """Where the metrics are served, apart from the public port."""

    host: str = "127.0.0.1"
    port: int = Field(default=9464, ge=1, le=65535)


class MetricsSettings(Strict):
    """
    Metrics for Prometheus; off by default.

    ``enabled``: whether the broker counts, and serves /metrics at ``listen``.
    """

    enabled: bool = False
    listen: MetricsListen = MetricsListen()


class TelemetrySettings(Strict):
    """What is told to those who watch the broker."""

    traces: Traces = Traces()
    metrics: MetricsSettings = MetricsSettings()


MailAddress = Annotated[
    str,
    _matching(
        r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*",
        "must be one mail address such as login@example.com: no name before it, the domain in lower case ASCII",
    ),
]

Host = Annotated[
    str,
    _matching(
        r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|[0-9a-f:]{2,39}",
        "must be the name or IP address of a server, in lower case and without scheme and port",
    ),
]


class MailTls(StrEnum):
    """``starttls``: from plain to TLS before anything is said (port 587). ``implicit``: TLS at once (465). ``none``: 25."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"

    @property
    def port(self) -> int:
        """The usual port."""
        return {MailTls.STARTTLS: 587, MailTls.IMPLICIT: 465, MailTls.NONE: 25}[self]


class SmtpMail(Strict):
    """
    Mail by an SMTP server that takes it from us.

    ``host``, ``port``: the server; the usual port for ``tls`` unless given. ``tls``: how the way there is
    encrypted. ``ca``: PEM file of the authority that signed the server's certificate, if it is none the system knows.
    ``username``, ``password``: for AUTH; both or neither. ``from``: the sender's address. ``from_name``: the name beside it;
    the broker's name unless given. ``reply_to``: where answers go. ``connections``: so many at once at most.
    """

    driver: Literal["smtp"]
    host: Host
    port: int | None = Field(default=None, ge=1, le=65535)
    tls: MailTls = MailTls.STARTTLS
    ca: str | None = None
    username: str | None = Field(default=None, min_length=1, max_length=200)
    password: SecretRef | None = None
    sender: MailAddress = Field(alias="from")
    from_name: (
        Annotated[str, _matching(r"[^\x00-\x1f\x7f]{1,60}", "must be one line of at most 60 characters")] | None
    ) = None
    reply_to: MailAddress | None = None
    connections: int = Field(default=4, ge=1, le=50)


class OutboxMail(Strict):
    """Mail that is kept in memory and goes nowhere, for development."""

    driver: Literal["outbox"]


MailSettings = Annotated[SmtpMail | OutboxMail, Field(discriminator="driver")]

SmsSender = Annotated[
    str,
    _matching(
        r"[A-Za-z][A-Za-z0-9 ]{0,9}[A-Za-z0-9]|\+[1-9][0-9]{6,14}",
        "must be what phones show as the sender: at most 11 letters, digits and blanks, a letter first, or a number"
        " such as +46701740605",
    ),
]

Country = Annotated[str, _matching(r"[A-Z]{2}", "must be a country by its two letters (ISO 3166), such as SE")]


class _Gateway(Strict):
    """
    What all gateways have.

    ``name``: what metrics and logs call it; the driver's name unless given. ``reports``: whether the gateway is asked to
    report what became of a message; it must then be able to reach the issuer.
    """

    driver: str
    name: Identifier | None = None
    reports: bool = False

    @property
    def label(self) -> str:
        """What it is called."""
        return self.name or self.driver


class ElksSms(_Gateway):
    """
    Text messages by 46elks.

    ``api_url``: where messages are posted. ``username``, ``password``: of the API, not of the dashboard.
    ``from``: what phones show as the sender.
    """

    driver: Literal["46elks"]
    api_url: Uri = "https://api.46elks.com/a1/sms"
    username: SecretRef
    password: SecretRef
    sender: SmsSender = Field(alias="from")


class TwilioSms(_Gateway):
    """
    Text messages by Twilio.

    ``api_url``: scheme and host of the API. ``account_sid``: of the account. ``auth_token``: its token.
    ``from``: what phones show as the sender, or ``messaging_service_sid``, which chooses one.
    """

    driver: Literal["twilio"]
    api_url: Origin = "https://api.twilio.com"
    account_sid: Annotated[str, _matching(r"AC[0-9a-f]{32}", "must be AC and 32 hexadecimal digits")]
    auth_token: SecretRef
    sender: SmsSender | None = Field(default=None, alias="from")
    messaging_service_sid: (
        Annotated[str, _matching(r"MG[0-9a-f]{32}", "must be MG and 32 hexadecimal digits")] | None
    ) = None


HeaderName = Annotated[
    str, _matching(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", "must be the name of an HTTP header, such as Authorization")
]


class HttpSms(_Gateway):
    """
    Text messages by a gateway that takes an HTTP POST.

    ``url``: where messages are posted. ``form``: fields of a form. ``json``: an object, instead of a form. In the texts of
    either {to} is the number, {digits} the number without its plus sign, {text} the text, {ref} our name for the message
    and {report} the address for reports. ``headers``: sent along, their values by reference. ``success``: the
    statuses that mean the message was taken. ``id``: where in the JSON answer their name for it is (RFC 6901).
    """

    driver: Literal["http"]
    url: Uri
    form: Annotated[Mapping[str, str], Field(min_length=1)] | None = None
    json_body: Annotated[Mapping[str, Any], Field(min_length=1)] | None = Field(default=None, alias="json")
    headers: Mapping[HeaderName, SecretRef] = Field(default_factory=dict)
    success: Annotated[tuple[Annotated[int, Field(ge=200, le=299)], ...], Field(min_length=1)] = (200, 201, 202)
    id: Annotated[str, _matching(r"(/[^/]+)+", "must be a JSON pointer, such as /messages/0/id")] | None = None


class OutboxSms(_Gateway):
    """Text messages that are kept in memory and go nowhere, for development."""

    driver: Literal["outbox"]


GatewaySettings = Annotated[ElksSms | TwilioSms | HttpSms | OutboxSms, Field(discriminator="driver")]


class SmsSettings(Strict):
    """
    Text messages.

    ``gateways``: whom they are given to; the second when the first does not take them, and so on. ``countries``: those that
    are sent to, by their two letters (ISO 3166); no others, for text messages to far countries are how fraud is paid.
    ``default_country``: of numbers typed without a country code; the first of ``countries`` unless given.
    """

    gateways: Annotated[tuple[GatewaySettings, ...], Field(min_length=1, max_length=8)]
    countries: Annotated[tuple[Country, ...], Field(min_length=1)]
    default_country: Country | None = None

    @property
    def home(self) -> str:
        """The country of numbers without a country code."""
        return self.default_country or self.countries[0]


class DeviceMemory(Strict):
    """
    Which ways to log in a browser was used with before, kept for the customer's convenience (docs/assurance.md).

    ``enabled``: whether it is kept at all. ``lifetime``: how long after the last login there. ``show_hint``: whether the page
    shows to whoever opens it a masked part of the address she logged in with: not for computers that people share.
    """

    enabled: bool = True
    lifetime: Annotated[Duration, Field(le=timedelta(days=400))] = timedelta(days=180)
    show_hint: bool = False


EntityId = Annotated[
    str,
    _matching(
        r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]{1,230}", "must be an entityID or another URI, of at most 256 characters"
    ),
]
"""The name of a SAML peer, compared exactly (saml2int SDP-G04)."""


class SamlKey(Strict):
    """
    A key that SAML messages of ours are signed by. ``key``: PEM private key. ``certificate``: PEM file partners know it by.

    ``signs_from``: published at once, it signs from then on; None: from the beginning.
    """

    key: SecretRef
    certificate: str
    signs_from: Instant | None = None


class SamlSettings(Strict):
    """
    The broker as a SAML identity provider (docs/saml.md).

    ``entity_id``: the address of its metadata unless given. ``keys``: the one whose ``signs_from`` passed last signs; without
    any, development makes its own. ``scope``: what stands behind the @ of identifiers, the issuer's host unless given.
    ``metadata_validity``: how long a copy of its metadata may be used. ``contact``: technical contact.
    """

    entity_id: EntityId | None = None
    keys: tuple[SamlKey, ...] = ()
    scope: Host | None = None
    metadata_validity: Annotated[Duration, Field(ge=timedelta(days=1), le=timedelta(days=28))] = timedelta(days=10)
    contact: MailAddress | None = None


class BrokerSettings(Strict):
    """The broker itself."""

    name: str = Field(default="Stafett", min_length=1, max_length=60)
    issuer: Origin
    listen: Listen = Listen()
    data_dir: str | None = None
    languages: tuple[Language, ...] = ("sv", "fi", "pl", "en")
    default_language: Language = "en"
    time_zone: str = "Europe/Stockholm"
    trusted_proxies: tuple[Network, ...] = ()
    outbound: Outbound = Outbound()
    state: State = State()
    records: RecordsSettings = RecordsSettings()
    keys: Keys = Keys()
    lifetimes: Lifetimes = Lifetimes()
    retention: Retention = Retention()
    linking: Linking = Linking()
    telemetry: TelemetrySettings = TelemetrySettings()
    mail: MailSettings | None = None
    sms: SmsSettings | None = None
    device_memory: DeviceMemory = DeviceMemory()
    saml: SamlSettings = SamlSettings()
    debug: bool = False
    support_uri: Uri | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether the issuer's host is this machine only."""
        return is_loopback(self.issuer)


Currency = Annotated[
    str, _matching("[A-Z]{3}", "must be the three capital letters of a currency, such as SEK (ISO 4217)")
]


def _amount(value: object) -> object:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("an amount is a number, such as 0.25")
    # A number of the YAML has passed through a float; what was written is what its shortest text says.
    return Decimal(str(value))


Amount = Annotated[Decimal, BeforeValidator(_amount), Field(ge=0, le=1000, max_digits=8, decimal_places=4)]


class Cost(Strict):
    """
    What one login costs the operator. ``amount``: in units of ``currency``.
    """

    amount: Amount
    currency: Currency


Icon = Literal["apple", "bankid", "eid", "email", "europe", "generic", "google", "meta", "passkey", "phone", "sms"]
"""Those of `pages/templates/icons.html` that stand for a way to log in."""


class UpstreamPolicy(Strict):
    """
    One identity provider as the trust config sees it; ``connect`` belongs to the connector of that ``kind``.

    ``ceiling``: the strongest assurance its logins may count as. ``may_bootstrap_other_methods``: whether its logins
    may enrol, recover or raise another method (the Swedish BankID agreement forbids that). ``cost``: of each login there;
    None for nothing.
    """

    kind: Identifier
    titles: Texts
    hints: Texts | None = None
    icon: Icon = "generic"
    ceiling: Assurance
    may_bootstrap_other_methods: bool
    cost: Cost | None = None
    connect: Mapping[str, Any]

    @property
    def price(self) -> Decimal:
        """What a login there costs, for comparing: ``check-config`` sees to it that all costs are in one currency."""
        return self.cost.amount if self.cost is not None else Decimal(0)


ServerAuth = Literal[ClientAuth.SECRET_BASIC, ClientAuth.SECRET_POST, ClientAuth.PRIVATE_KEY_JWT]
"""How somebody proves itself who has a server."""

ClientId = Annotated[
    str, _matching(r"[A-Za-z0-9._-]{1,100}", "must be 1 to 100 letters, digits, dots, underscores or hyphens")
]


def _by_profile() -> Any:
    """A key that a client's profile decides where it is not given."""
    return Field(default=None, json_schema_extra={"x-default": "by profile"})


class RefreshTokens(Strict):
    """
    Refresh tokens of a partner, which it gets for the scope ``offline_access``.

    ``idle``: a family ends when no token of it is used for so long. ``lifetime``: it ends then in any case. ``rotate``: each
    use gives a successor; off only for clients that prove themselves by a key (RFC 9700 section 2.2.2).
    """

    idle: Duration = timedelta(days=14)
    lifetime: Annotated[Duration, Field(le=timedelta(days=30))] = timedelta(days=30)
    rotate: bool | None = _by_profile()


class ClientCredentials(Strict):
    """How a partner's server is known. ``secret`` or ``jwks_file`` (its public keys), as ``auth`` needs."""

    client_id: ClientId
    secret: SecretRef | None = None
    jwks_file: str | None = None


class TokenFormat(StrEnum):
    """What an access token looks like; ``jwt`` as RFC 9068 says."""

    OPAQUE = "opaque"
    JWT = "jwt"


class SubjectType(StrEnum):
    """Whether a customer has a number of her own per sector, or one for all ``public`` partners (Core section 8)."""

    PAIRWISE = "pairwise"
    PUBLIC = "public"


class AccessTokenTerms(Strict):
    """
    Access tokens of a partner. ``resource``: the API of ``resources`` they are for, besides our own endpoints.

    ``format``: ``jwt`` lets that API check them by itself; it then goes on taking one that was revoked until it expires.
    """

    format: TokenFormat = TokenFormat.OPAQUE
    resource: Identifier | None = None


class PartnerOidc(ClientCredentials):
    """
    A partner as an OpenID Connect client. All addresses are compared exactly; a public client's on the loopback address may
    leave the port open (`broker.core.redirects`).

    ``profile``: what holds where ``auth``, ``require_pkce``, ``require_par``, ``id_token_alg`` and
    ``refresh_tokens.rotate`` are not given (`broker.core.client_rules`). ``auth``: ``none`` for an app or a page without a
    server. ``backchannel_logout_uri``: where its server is told that a customer's session ended;
    ``frontchannel_logout_uri``: where her browser is sent, out of sight, to tell it. Both get the ``sid`` whatever
    ``..._session_required`` says. ``require_par``: authorization requests only by way of the PAR endpoint (RFC 9126).
    ``refresh_tokens``: None for none.
    ``userinfo_signed_response_alg``: None for plain JSON. ``allowed_origins``: of pages that call us by script; where
    none are given and ``auth`` is ``none``, those of the redirect URIs.
    """

    profile: ClientProfile = ClientProfile.STANDARD
    auth: ClientAuth | None = _by_profile()
    redirect_uris: Annotated[tuple[RedirectUri, ...], Field(min_length=1)]
    post_logout_redirect_uris: tuple[RedirectUri, ...] = ()
    initiate_login_uri: Uri | None = None
    target_link_uri: Uri | None = None
    backchannel_logout_uri: Uri | None = None
    backchannel_logout_session_required: bool = False
    frontchannel_logout_uri: Uri | None = None
    frontchannel_logout_session_required: bool = False
    id_token_alg: SigningAlg | None = _by_profile()
    require_pkce: bool | None = _by_profile()
    require_par: bool | None = _by_profile()
    refresh_tokens: RefreshTokens | None = None
    access_token: AccessTokenTerms = AccessTokenTerms()
    userinfo_signed_response_alg: SigningAlg | None = None
    subject_type: SubjectType = SubjectType.PAIRWISE
    allowed_origins: tuple[Origin, ...] = ()
    _rules: ClientRules = PrivateAttr()

    def model_post_init(self, _context: Any, /) -> None:
        """Resolve the rules once."""
        self._rules = rules_of(self.profile, self.refinements)

    @property
    def origins(self) -> frozenset[str]:
        """Of pages that may call the token, userinfo and revocation endpoints by script."""
        if self.allowed_origins or not self.rules.is_public:
            return frozenset(self.allowed_origins)
        pages = (uri for uri in self.redirect_uris if not is_private_use(uri))
        return frozenset(_origin_of(uri) for uri in pages)

    @property
    def refinements(self) -> Refinements:
        """The keys that differ from the profile."""
        return Refinements(
            auth=self.auth,
            require_pkce=self.require_pkce,
            require_par=self.require_par,
            id_token_alg=self.id_token_alg,
            rotates=self.refresh_tokens.rotate if self.refresh_tokens else None,
        )

    @cached_property
    def rules(self) -> ClientRules:
        """What holds for this client."""
        return self._rules

    def may_answer_at(self, redirect_uri: str) -> bool:
        """Whether answers to this client may be sent to *redirect_uri*."""
        return is_registered(redirect_uri, self.redirect_uris, is_public=self.rules.is_public)


class TokenEncryption(Strict):
    """``jwks_file``: public keys of the partner; the first with ``use: enc`` is encrypted to (ECDH-ES, A256GCM)."""

    jwks_file: str


class HandoffToken(Strict):
    """How a handoff token is made for a partner. ``alg``: its signature. ``encrypt``: None, signed only."""

    alg: SigningAlg = SigningAlg.ES256
    encrypt: TokenEncryption | None = None


class ServerCredentials(ClientCredentials):
    """How somebody is known who calls us by a server and has no login of ours."""

    auth: ServerAuth = ClientAuth.SECRET_BASIC
    _rules: ClientRules = PrivateAttr()

    def model_post_init(self, _context: Any, /) -> None:
        """Resolve the rules once."""
        self._rules = rules_of(ClientProfile.STANDARD, Refinements(auth=self.auth))

    @cached_property
    def rules(self) -> ClientRules:
        """What holds for this client."""
        return self._rules


class PartnerService(ServerCredentials):
    """
    A partner without an OpenID Connect client, which customers reach by handoffs only.

    ``arrive_uri``: where customers arrive, compared exactly. ``token``: the handoff token it is given for them.
    """

    arrive_uri: Uri
    token: HandoffToken = HandoffToken()


LoginClaim = Literal[
    "name",
    "given_name",
    "family_name",
    "birthdate",
    "email",
    "phone_number",
    "locale",
    "personal_number",
    "member_number",
]


class NameIdFormat(StrEnum):
    """
    How a SAML partner names a customer. ``transient``: anew in each session; ``persistent``: her pairwise subject; ``email``: her
    address, where the partner is told it.
    """

    TRANSIENT = "transient"
    PERSISTENT = "persistent"
    EMAIL = "email"


class SamlSignature(StrEnum):
    """What a partner's messages are signed by; the kind of key must fit."""

    RSA_SHA256 = "rsa-sha256"
    RSA_SHA384 = "rsa-sha384"
    RSA_SHA512 = "rsa-sha512"
    RSA_PSS_SHA256 = "rsa-pss-sha256"
    ECDSA_SHA256 = "ecdsa-sha256"
    ECDSA_SHA384 = "ecdsa-sha384"


class SamlStart(Strict):
    """
    Where the partner's own login begins (SAML Service Provider Request Initiation).

    ``uri``: of the partner. ``parameter``: that carries the reference of a handoff; the partner gives it back as RelayState.
    """

    uri: Uri
    parameter: Annotated[str, _matching(r"[A-Za-z][A-Za-z0-9_.-]{0,39}", "must be the name of a parameter")] = "target"


RelayState = Annotated[
    str, _matching(r"[\x21-\x7e]{1,1024}", "must be at most 1,024 characters of ASCII without blanks")
]
"""What a service provider makes of it is its own business: usually an address of its own."""


class PartnerSaml(Strict):
    """
    A partner as a SAML service provider (docs/saml.md).

    ``metadata``: file of its metadata, or the name of a source that has it; else ``acs`` and ``certificates`` (PEM files) say
    what it is, with ``slo_uri`` for its logout. ``require_signed_requests``: also where its metadata does not say so.
    ``name_id_formats``: it may have, the first unless it asks for one. ``identifier``: the attribute that names the customer.
    ``attribute_names``: ``uri`` or ``basic`` ones; ``attributes``: names of its own for single claims. ``encrypt``: ``never``
    only where its software cannot decrypt. ``sign_assertion``: besides the response, also where its metadata does not say so.
    ``authn_contexts``: classes of its own, and the level a login must have to be told as them. ``tell_logout``: send the
    customer there when she logs out. ``tell_provider``: name who she logged in at, where that may be told.
    ``missing_required``: what happens where an attribute that its metadata requires cannot be told. ``unsolicited``: customers
    may come without a request of its own, from our start address; ``targets``: where at the partner to, by name, as RelayState.
    ``start``: needed for handoffs. ``api``: how its server proves itself, for their data.
    """

    entity_id: EntityId
    metadata: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    acs: tuple[Uri, ...] = ()
    certificates: tuple[str, ...] = ()
    slo_uri: Uri | None = None
    require_signed_requests: bool = False
    name_id_formats: Annotated[tuple[NameIdFormat, ...], Field(min_length=1)] = (
        NameIdFormat.TRANSIENT,
        NameIdFormat.PERSISTENT,
    )
    identifier: Literal["pairwise-id", "subject-id", "none"] = "pairwise-id"
    attribute_names: Literal["uri", "basic"] = "uri"
    attributes: Mapping[LoginClaim, Annotated[str, StringConstraints(min_length=1, max_length=256)]] = Field(
        default_factory=dict
    )
    encrypt: Literal["required", "never"] = "required"
    sign_assertion: bool = False
    signature: SamlSignature | None = None
    authn_contexts: Mapping[EntityId, Assurance] = Field(default_factory=dict)
    tell_logout: bool = False
    tell_provider: bool = False
    missing_required: Literal["proceed", "refuse"] = "proceed"
    unsolicited: bool = False
    targets: Mapping[Identifier, RelayState] = Field(default_factory=dict)
    start: SamlStart | None = None
    api: ServerCredentials | None = None


class ResourceCredentials(ServerCredentials):
    """How an API proves itself at the introspection endpoint."""


class ResourceServer(Strict):
    """
    An API that partners' access tokens are for (RFC 8707, RFC 9068).

    ``audience``: its address, the ``aud`` of such tokens. ``sector``: whose numbers it knows customers by, its own when None.
    ``token_alg``: signature of JWTs for it. ``client``: None for one that introspects nothing.
    """

    audience: Uri
    sector: Identifier | None = None
    token_alg: SigningAlg = SigningAlg.RS256
    client: ResourceCredentials | None = None


ProvenContact = Literal["email", "phone_number"]
"""The claims that are contacts, which somebody can prove to be hers."""

NumberFormat = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9#?][A-Z0-9#? ./-]{2,38}[A-Z0-9#?]$")]
"""How a member number is written: ``#`` stands for a digit, ``?`` for a letter A to Z, all else for itself."""


class ByNumber(Strict):
    """
    Members may give their member number to log in: a code goes to the contact the register has on file (docs/members.md).

    ``formats``: how the numbers are written. ``contact``: the one kind of contact that codes go to, whoever it is, so that no
    page says what is on file.
    """

    formats: Annotated[tuple[NumberFormat, ...], Field(min_length=1, max_length=8)]
    contact: ProvenContact


class MemberRegister(Strict):
    """
    The partner's own register of customers, which is asked whether it knows who logged in (docs/members.md).

    ``uri``: its server. ``contacts``: what it is asked by, each only where the partner is told it and it is proven.
    ``timeout``: how long a login waits for it. ``remember``: after which it is asked again within one session.
    ``by_number``: None where a member number is nothing to log in with.
    """

    uri: Uri
    contacts: Annotated[tuple[ProvenContact, ...], Field(min_length=1)] = ("email",)
    timeout: Annotated[Duration, Field(le=timedelta(seconds=3))] = timedelta(seconds=1)
    remember: Annotated[Duration, Field(le=timedelta(days=1))] = timedelta(minutes=15)
    by_number: ByNumber | None = None


class Sso(Strict):
    """
    Which logins a partner may reuse, as far as the broker's session still holds them.

    ``reuse_from``: ``all``; ``none``, so that each session of this partner begins by a login of its own; or the partners
    whose logins count besides its own. It says nothing about who may reuse this partner's. ``max_session_age``: how long
    after a login it may be reused here; None as long as the session lives.
    """

    reuse_from: Literal["all", "none"] | tuple[Identifier, ...] = "all"
    max_session_age: Duration | None = None


class PartnerLogin(Strict):
    """
    Logins the partner starts itself.

    ``claims``: what may be released of the customer's own profile, as far as the scopes ask for it.
    ``consent``: ``ask`` the customer once, or ``implied`` where partner and broker serve customers under one agreement.
    """

    upstreams: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    minimum_assurance: Assurance = Assurance.SELF_ASSERTED
    claims: tuple[LoginClaim, ...] = ()
    consent: Literal["ask", "implied"] = "ask"
    sso: Sso = Sso()


class Newsletter(Strict):
    """
    Newsletters the partner sends, whose links recognise readers softly (docs/newsletters.md).

    ``landing_uris``: the pages links may lead to, compared exactly. ``lifetime``: how long a link recognises anybody.
    """

    landing_uris: Annotated[tuple[Uri, ...], Field(min_length=1)]
    lifetime: Annotated[Duration, Field(le=timedelta(days=30))] = timedelta(days=14)


_STANDARD = rules_of(ClientProfile.STANDARD, Refinements())


class Partner(Strict):
    """
    A website or service customers are sent to, or come from.

    It is reached in one of three ways: ``oidc``, as an OpenID Connect client; ``saml``, as a SAML service provider; ``service``,
    by a one-time artifact.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["oidc"]}, {"required": ["saml"]}, {"required": ["service"]}]}
    )

    names: Texts
    logo: str | None = None
    home_uri: Uri
    return_uris: tuple[Uri, ...] = ()
    guest_uri: Uri | None = None
    sector: Identifier | None = None
    oidc: PartnerOidc | None = None
    saml: PartnerSaml | None = None
    service: PartnerService | None = None
    login: PartnerLogin | None = None
    members: MemberRegister | None = None
    newsletter: Newsletter | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if [self.oidc, self.saml, self.service].count(None) != 2:
            raise ValueError("must have exactly one of oidc (an OpenID Connect client), saml and service (neither)")
        return self

    @property
    def client(self) -> PartnerOidc | PartnerService | ServerCredentials | None:
        """How the partner's server proves itself; None for one that has nothing to ask for."""
        return self.oidc or self.service or (self.saml.api if self.saml else None)

    @property
    def rules(self) -> ClientRules:
        """What holds for whoever proves itself as the partner; the standard where nobody does."""
        return self.client.rules if self.client is not None else _STANDARD

    @property
    def login_start(self) -> str | None:
        """Where a login at the partner begins; None where it has none of ours, or cannot be asked to."""
        if self.saml is not None:
            return self.saml.start.uri if self.saml.start else None
        return self.oidc.initiate_login_uri if self.oidc else None

    @property
    def refresh_tokens(self) -> RefreshTokens | None:
        """Terms of the refresh tokens it may have, None for none."""
        return self.oidc.refresh_tokens if self.oidc else None


class PayloadType(Strict):
    """
    A versioned kind of handoff payload.

    ``schema``: JSON Schema file (draft 2020-12). Its leaves are the fields; ``x-product: true`` marks a field that may
    go to a guest handoff (everything else is personal), ``x-label`` gives its name per language.
    """

    schema_file: str = Field(alias="schema")
    titles: Texts


class AgreementClaims(Strict):
    """
    Fields of the payload the recipient gets.

    ``required``: no handoff without them. ``optional``: the customer may leave them out.
    """

    required: tuple[FieldName, ...] = ()
    optional: tuple[FieldName, ...] = ()


class AgreementLifetime(Strict):
    """``handle``: how long the link works. ``consent``: how long a remembered consent holds."""

    handle: Duration = timedelta(hours=24)
    consent: Duration = timedelta(days=365)


class ReleaseUpstreamAssurance(Strict):
    """Pass on the assurance and method of the login; ``because``: why the operator may (kept in the audit)."""

    because: Annotated[str, StringConstraints(min_length=10, max_length=500)]


def _release_kind(value: object) -> str | None:
    if value is False:
        return "withheld"
    return "released" if isinstance(value, Mapping | ReleaseUpstreamAssurance) else None


ReleaseChoice = Annotated[
    Annotated[Literal[False], Tag("withheld")] | Annotated[ReleaseUpstreamAssurance, Tag("released")],
    Discriminator(
        _release_kind,
        custom_error_type="release_choice",
        custom_error_message="must be false, or give the reason: release_upstream_assurance: {because: ...}",
    ),
]


class Agreement(Strict):
    """
    One edge of trust: *source* may send customers with payloads of *types* to *recipient* for *purpose*.

    ``minimum_assurance``: what the recipient needs. ``upstreams``: whose logins count (`TrustConfig.upstreams_for`).
    ``enabled: false`` is the kill switch of this edge.
    """

    source: Identifier = Field(alias="from")
    recipient: Identifier = Field(alias="to")
    purpose: Identifier
    purpose_texts: Texts
    types: Annotated[tuple[TypeName, ...], Field(min_length=1)]
    claims: AgreementClaims
    minimum_assurance: Assurance = Assurance.CONTACT
    upstreams: tuple[Identifier, ...] | None = None
    lifetime: AgreementLifetime = AgreementLifetime()
    release_upstream_assurance: ReleaseChoice = False
    enabled: bool = True

    @property
    def id(self) -> str:
        """Stable name of this edge, for reasons, logs and audit."""
        return f"{self.source}>{self.recipient}:{self.purpose}"


class ServiceDesk(Strict):
    """
    Customer service: staff who ask callers who they are (docs/customer-service.md).

    ``upstreams``: staff's ways in, which are nobody else's. ``role``: what an upstream must say of a member of staff (its
    ``roles``). ``methods``: upstreams callers are asked by. ``clients``: partners whose access tokens may do what an agent may.
    ``calls_per_hour``: that one agent may make.
    """

    upstreams: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    role: Identifier
    methods: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    clients: tuple[Identifier, ...] = ()
    calls_per_hour: Annotated[int, Field(ge=1, le=1000)] = 60


class MaxAge(Strict):
    """
    How long a proof counts as each level; then it counts as the strongest one below that it still proves.

    A weaker level counts at least as long as a stronger one.
    """

    contact: Duration = timedelta(days=180)
    low: Duration = timedelta(hours=24)
    substantial: Duration = timedelta(hours=12)
    high: Duration = timedelta(hours=12)

    @model_validator(mode="after")
    def _weaker_lasts(self) -> Self:
        if not self.contact >= self.low >= self.substantial >= self.high:
            raise ValueError("a weaker level must count at least as long as a stronger one")
        return self

    @property
    def by_level(self) -> Mapping[Assurance, timedelta]:
        """The limits; ``soft`` and ``self-asserted`` prove nothing that could be too old."""
        return {
            Assurance.CONTACT: self.contact,
            Assurance.LOW: self.low,
            Assurance.SUBSTANTIAL: self.substantial,
            Assurance.HIGH: self.high,
        }


class AssuranceSettings(Strict):
    """How sure is sure enough, for how long."""

    max_age: MaxAge = MaxAge()


class MetadataSource(Strict):
    """
    Where metadata of SAML peers comes from (docs/saml-metadata.md): one of ``file``, ``url`` (all of it at one address) and
    ``mdq`` (a server that is asked for one entity at a time).

    ``certificates``: PEM files; one of these keys must have signed it. A file needs none, as the operator put it there.
    ``by_hash``: an MDQ server is asked by the SHA-1 of names. ``max_validity``: how far away its end may be. ``refresh``: how
    often to look for newer metadata.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [key]} for key in ("file", "url", "mdq")]})

    file: Annotated[str, StringConstraints(min_length=1)] | None = None
    url: Uri | None = None
    mdq: Uri | None = None
    certificates: tuple[str, ...] = ()
    by_hash: bool = False
    max_validity: Annotated[Duration, Field(ge=timedelta(hours=1), le=timedelta(days=90))] = timedelta(days=28)
    refresh: Annotated[Duration, Field(ge=timedelta(minutes=5), le=timedelta(days=1))] = timedelta(hours=1)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if [self.file, self.url, self.mdq].count(None) != 2:
            raise ValueError("must have exactly one of file, url and mdq")
        return self


class SamlTrust(Strict):
    """Whose SAML metadata is believed. ``metadata``: sources, by the name that partners and upstreams call them."""

    metadata: Mapping[Identifier, MetadataSource] = Field(default_factory=dict)


class TrustConfig(Strict):
    """The whole YAML file."""

    mode: Mode = Mode.PRODUCTION
    broker: BrokerSettings
    assurance: AssuranceSettings = AssuranceSettings()
    upstreams: Mapping[Identifier, UpstreamPolicy]
    partners: Mapping[Identifier, Partner]
    resources: Mapping[Identifier, ResourceServer] = Field(default_factory=dict)
    payload_types: Mapping[TypeName, PayloadType] = Field(default_factory=dict)
    agreements: tuple[Agreement, ...] = ()
    service_desk: ServiceDesk | None = None
    saml: SamlTrust = SamlTrust()
    accept_risks: tuple[Risk, ...] = ()

    def upstreams_for(self, agreement: Agreement) -> tuple[str, ...]:
        """Whose logins count for a handoff: those the agreement names, else those of the recipient's logins, else all."""
        if agreement.upstreams is not None:
            return agreement.upstreams
        recipient = self.partners.get(agreement.recipient)
        return recipient.login.upstreams if recipient and recipient.login else self.customers_upstreams

    @property
    def customers_partners(self) -> Mapping[str, Partner]:
        """All but staff's own tools: those a customer may be shown the way to."""
        staffs = self.service_desk.clients if self.service_desk is not None else ()
        return {name: partner for name, partner in self.partners.items() if name not in staffs}

    @property
    def customers_upstreams(self) -> tuple[str, ...]:
        """All but staff's ways in."""
        staffs = self.service_desk.upstreams if self.service_desk is not None else ()
        return tuple(name for name in self.upstreams if name not in staffs)


class PayloadField(Strict):
    """One leaf of a payload schema, as the loader found it: ``labels`` per language, ``is_product`` for guests."""

    name: str
    labels: Mapping[str, str]
    is_product: bool


class Resource(Struct, frozen=True):
    """A resource server as tokens name it: its ``id``, ``audience`` and ``sector``, and the signature of its JWTs."""

    id: str
    audience: str
    sector: str
    token_alg: SigningAlg


_K = TypeVar("_K")
_V = TypeVar("_V")

PUBLIC_SECTOR = "*"
"""The sector of all partners with ``subject_type: public``; no operator can write it as one of theirs."""


class Policy:
    """
    The checked config as the broker uses it: `TrustConfig` plus what the loader resolved. Made once, never changed.

    ``version``: first 12 hex digits of the SHA-256 of the file and of the schemas and key sets it names; stands in
    reasons, logs and audit.
    ``fields``: payload type -> its fields in schema order. ``schemas``: payload type -> JSON Schema (parsed).
    ``client_secrets``: partner or resource id -> secret. ``client_jwks``: likewise -> public JWK Set (parsed).
    ``encryption_keys``: partner id -> public JWK its handoff tokens are encrypted to. ``saml_certificates``: partner id -> its
    certificates (DER), where the config and no metadata names them.

    ``broker``: its own settings. ``issuer``: exactly as partners compare it. ``age_limits``: how long a proof of each level
    counts. ``origins``: those of all partners' pages that call us by script, as browsers send them. ``agreements_by_edge``: the
    enabled agreements by source, recipient and purpose.

    Thousands of partners are looked up on every request, by index and not by search. ``partner``: by its id.
    ``partner_of_client``: its id by an OAuth client id. ``partner_of_entity``: its id by a SAML entityID. ``resource_of``: the
    resource server that the access tokens of a partner are for. ``resource_of_client``: the id of the one behind an OAuth client
    id. All are None for what nobody configured.
    """

    _is_made = False

    def __init__(
        self,
        config: TrustConfig,
        version: str,
        fields: Mapping[str, tuple[PayloadField, ...]],
        schemas: Mapping[str, Mapping[str, Any]],
        client_secrets: Mapping[str, str] = MappingProxyType({}),
        client_jwks: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        encryption_keys: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        saml_certificates: Mapping[str, tuple[bytes, ...]] = MappingProxyType({}),
    ) -> None:
        self.config = config
        self.version = version
        self.fields = fields
        self.schemas = schemas
        self.client_secrets = client_secrets
        self.client_jwks = client_jwks
        self.encryption_keys = encryption_keys
        self.saml_certificates = saml_certificates
        self.broker = config.broker
        self.issuer = config.broker.issuer
        self.age_limits = config.assurance.max_age.by_level
        self.partner: Callable[[str], Partner | None] = config.partners.get

        clients = {name: each.oidc for name, each in config.partners.items() if each.oidc is not None}
        self.origins = frozenset(origin.encode() for client in clients.values() for origin in client.origins)
        resources = {name: _resource(name, each) for name, each in config.resources.items()}
        targets = ((name, resources.get(client.access_token.resource or "")) for name, client in clients.items())
        partners, servers, agreements = config.partners.items(), config.resources.items(), config.agreements
        self.partner_of_client = _first((each.client.client_id, name) for name, each in partners if each.client).get
        self.partner_of_entity = _first((each.saml.entity_id, name) for name, each in partners if each.saml).get
        self.resource_of = _first((name, resource) for name, resource in targets if resource is not None).get
        self.resource_of_client = _first((each.client.client_id, name) for name, each in servers if each.client).get
        self.agreements_by_edge = _first(
            ((each.source, each.recipient, each.purpose), each) for each in agreements if each.enabled
        )
        self._is_made = True

    def __setattr__(self, name: str, value: object) -> None:
        if self._is_made:
            raise AttributeError("a policy is not changed: another config makes another one")
        super().__setattr__(name, value)

    @property
    def saml_entity_id(self) -> str:
        """Our own entityID."""
        return self.broker.saml.entity_id or f"{self.issuer}/saml/metadata"

    @property
    def saml_scope(self) -> str:
        """What stands behind the @ of the identifiers we give."""
        return self.broker.saml.scope or urlsplit(self.issuer).hostname or ""

    def agreement(self, source: str, recipient: str, purpose: str) -> Agreement | None:
        """The enabled agreement for that edge and purpose."""
        return self.agreements_by_edge.get((source, recipient, purpose))

    def text(self, texts: Mapping[str, str], language: str) -> str:
        """*texts* in *language*, else in the default language, else in any."""
        return texts.get(language) or texts.get(self.broker.default_language) or next(iter(texts.values()))

    def partner_name(self, partner: str, language: str) -> str:
        """The partner's name in *language*; its id when the partner is gone from the config."""
        known = self.partner(partner)
        return self.text(known.names, language) if known else partner

    def sector(self, partner: str) -> str:
        """
        The sector pairwise subjects are made for (OpenID Connect Core section 8.1), else the partner itself.

        It does not follow from redirect URIs: subjects stay the same when those change.
        """
        known = self.partner(partner)
        if known is not None and known.oidc is not None and known.oidc.subject_type is SubjectType.PUBLIC:
            return PUBLIC_SECTOR
        return (known.sector if known else None) or partner

    def sectors_told(self, partner: str) -> tuple[str, ...]:
        """All sectors that learn a subject when *partner* logs somebody in: its own, and that of its tokens' resource."""
        resource = self.resource_of(partner)
        return (self.sector(partner),) if resource is None else (self.sector(partner), resource.sector)


def _first(pairs: Iterable[tuple[_K, _V]]) -> dict[_K, _V]:
    """The first value of each key."""
    found: dict[_K, _V] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def _resource(name: str, server: ResourceServer) -> Resource:
    return Resource(name, server.audience, server.sector or name, server.token_alg)


def _origin_of(uri: str) -> str:
    """The origin of an http(s) address as browsers write it: lower case, no default port (RFC 6454 section 6.2)."""
    parts = urlsplit(uri)
    default = {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in {None, default} else "")
