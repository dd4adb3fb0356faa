"""
SAML 2.0 identity providers: the broker as their service provider (Web Browser SSO, saml-profiles-2.0-os, section 4.1).

A signed request goes by Redirect or as a form, the answer comes as a form from the provider's site. What it says is read by
`broker.wire.saml.response`, becomes claims under the names of the attributes, and is evidence by the same rules as the claims of
OpenID providers (`broker.upstream.claims`). What a scheme has of its own is a `Scheme`.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field, StringConstraints, model_validator

from broker.core.assurance import Assurance, Comparison
from broker.core.changing import replace
from broker.core.discreet import Discreet
from broker.core.policy import Duration, EntityId, SecretRef, Strict
from broker.core.saml import (
    PERSISTENT,
    POST,
    TRANSIENT,
    URI_NAMES,
    Endpoint,
    PeerKey,
    RequestedAttribute,
    SamlProvider,
    WayToSend,
    endpoint_for,
)
from broker.errors import Stopped, UpstreamDown, UpstreamRefused
from broker.flows.assertions import Assertions
from broker.upstream.claims import Attribute, ClaimRules, evidence_from, reaches, sufficient_acrs
from broker.upstream.national_number import parse_national_number
from broker.upstream.port import Begun, Done, Pending, Published, Reply, ReplyKind, SingleLogout, UpstreamAsk
from broker.upstream.saml_logout import SamlLogout, Terms, endpoints_of, kept
from broker.upstream.saml_messages import is_short, sent, signing_keys
from broker.upstream.supplies import ProvidersKnown, References
from broker.wire.saml import metadata, posted
from broker.wire.saml.algorithms import ECDH_ES, ENCRYPTION, SIGNATURES, Content, KeyTransport, KeyWrap, Signature
from broker.wire.saml.keys import DecryptingKey, SigningKey, decrypting_key, signing_key
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.request import ToAsk, build_request
from broker.wire.saml.response import MAX_AGE, Expected, ReadResponse, Refusal, Status, read_response

LARGEST_FORM: Final = 256 * 1024
"""Octets of a posted answer: signed and encrypted assertions with certificates in them."""

_STATUS: Final = "urn:oasis:names:tc:SAML:2.0:status:"
_CANCELLED: Final = frozenset({f"{_STATUS}RequestDenied"})
_LACKING: Final = frozenset({f"{_STATUS}{each}" for each in ("NoAuthnContext", "NoAvailableIDP", "NoSupportedIDP")})
_VALIDITY: Final = timedelta(days=10)
_CACHE: Final = timedelta(hours=6)
_NAME_ID: Final = "NameID"
_AGREED: Final = (Content.AES256_GCM, Content.AES128_GCM, ECDH_ES, KeyWrap.AES256, KeyWrap.AES128)
_TRANSPORTED: Final = (Content.AES256_GCM, Content.AES128_GCM, KeyTransport.OAEP, KeyTransport.OAEP_MGF1P)
_ENTITY: Final = re.compile(r"(?:https?://|urn:)[A-Za-z0-9._~:/%+-]{1,240}", re.ASCII)
_MOST_AUTHORITIES: Final = 5
_MAIL: Final = "urn:oid:0.9.2342.19200300.100.1.3"


def _usual_claims() -> Mapping[str, Attribute]:
    return {
        "urn:oid:2.16.840.1.113730.3.1.241": "name",
        "urn:oid:2.5.4.42": "given_name",
        "urn:oid:2.5.4.4": "family_name",
        _MAIL: "email",
    }


class Scheme:
    """What a national scheme has of its own; SAML as such has nothing."""

    signatures: Collection[Signature] = SIGNATURES
    encryption: Collection[str] = ENCRYPTION
    least_rsa_bits = 2048

    def algorithm(self, key: SigningKey) -> Signature:
        """What our requests are signed by."""
        return key.default_algorithm

    def contexts(self, provider: SamlProvider, sufficient: Sequence[str]) -> Sequence[str]:
        """Which of the *sufficient* levels, weakest first, *provider* can be asked for."""
        return sufficient

    def asks(self, request: ToAsk, ask: UpstreamAsk, provider: SamlProvider) -> ToAsk:
        """*request* to *provider* with what the scheme wants said."""
        return request

    def subject(self, response: ReadResponse) -> str | None:
        """Whom the response speaks of, where the scheme has a way of its own to say that. Raises: UpstreamRefused."""
        return None

    def claims(self, response: ReadResponse, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """*claims* in the words that the config maps. Raises: UpstreamRefused: the scheme forbids the answer."""
        return claims

    def tells(self, names: frozenset[str]) -> frozenset[str]:
        """The claims that a login may come with, of those whose *names* the config speaks of."""
        return names

    def refused(self, status: Status) -> Stopped | UpstreamRefused | None:
        """What a status of the scheme's own means."""
        return None

    def role(self, role: metadata.ServiceRole) -> metadata.ServiceRole:
        """What our metadata says of us as its service provider."""
        return role

    @property
    def entity_attributes(self) -> Mapping[str, tuple[str, ...]]:
        """Entity attributes of our metadata."""
        return {}


class OwnKey(Strict):
    """A key of ours that the provider knows by ``certificate``, a PEM file; ``key``: PEM private key."""

    key: SecretRef
    certificate: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class SamlConnect(ClaimRules):
    """
    The ``connect`` block of an upstream of kind ``saml``, with the rules of `ClaimRules`: claims are the names of attributes,
    ``acr`` is the AuthnContextClassRef.

    ``entity_id``: of the provider. ``metadata``: file of its metadata, or the name of a source that has it.
    ``own_entity_id``: ours there; the address of our metadata unless given. ``keys``: ours; the first signs, all are published
    and decrypt. ``binding``: how requests go; by Redirect where the provider takes that, unless it is said here. ``subject``:
    what a person is known by: ``NameID``, or the name of an attribute. ``name_id_format``: asked for, and the only one by which a
    ``NameID`` counts. ``comparison``: how levels are asked for: ``exact`` names all that suffice, ``minimum`` the least of them.
    ``encrypted``, ``signs_response``, ``signs_assertion``: what an answer has to be. ``skew``: how
    far its clock may be off. ``vouches_for``: contacts that count as verified. ``cancel_statuses``: status codes that mean the
    customer cancelled, besides the usual. ``providers``: entityIDs that a proxy may pass the customer on to. ``authorities``: who
    has to have authenticated her behind a proxy, one of them. ``reauthenticates``: it does what ForceAuthn says. ``logout``:
    whoever logs out here is sent there to be logged out too, and the provider may end our sessions.
    """

    claims: Mapping[str, Attribute] = Field(default_factory=_usual_claims)
    level_claim: Literal["acr"] = "acr"
    entity_id: EntityId
    metadata: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    own_entity_id: EntityId | None = None
    keys: Annotated[tuple[OwnKey, ...], Field(min_length=1, max_length=4)]
    binding: WayToSend | None = None
    subject: Annotated[str, StringConstraints(min_length=1, max_length=256)] = _NAME_ID
    name_id_format: EntityId | None = PERSISTENT
    comparison: Literal["exact", "minimum"] = "exact"
    encrypted: bool = True
    signs_response: bool = False
    signs_assertion: bool = False
    skew: Annotated[Duration, Field(le=timedelta(minutes=5))] = timedelta(minutes=3)
    vouches_for: tuple[Literal["email", "phone_number"], ...] = ()
    cancel_statuses: tuple[EntityId, ...] = ()
    providers: tuple[EntityId, ...] = ()
    authorities: tuple[EntityId, ...] = ()
    reauthenticates: bool = True
    logout: bool = False

    @model_validator(mode="after")
    def _one_person(self) -> Self:
        if self.subject == _NAME_ID and self.name_id_format in (None, TRANSIENT):
            raise ValueError("subject must be an attribute: only a NameID of a lasting format is somebody's")
        return self

    @property
    def scheme(self) -> Scheme:
        """What is the provider's scheme's own."""
        return Scheme()


class OwnKeys(Discreet, frozen=True):
    """Ours, the first one signs."""

    UNSPOKEN = frozenset({"decrypting"})

    signing: Sequence[SigningKey]
    decrypting: Sequence[DecryptingKey]

    @classmethod
    def of(cls, connect: SamlConnect, references: References) -> "OwnKeys":
        """What *connect* refers to. Raises: XmlRefused: a key that is not used. OSError: a file that cannot be read."""
        given = [(references.secret(each.key).encode(), references.path(each.certificate)) for each in connect.keys]
        signing = tuple(signing_key(key, certificate.read_bytes()) for key, certificate in given)
        if any(is_short(each.private.public_key(), connect.scheme.least_rsa_bits) for each in signing):
            raise XmlRefused("key_weak", f"RSA of fewer than {connect.scheme.least_rsa_bits} bits")
        return cls(signing, tuple(decrypting_key(key) for key, _ in given))

    @property
    def published(self) -> tuple[PeerKey, ...]:
        """As our metadata has them: each once for either use, since eIDAS nodes want it said, and what it decrypts."""
        found: list[PeerKey] = []
        for key in self.signing:
            methods = _AGREED if isinstance(key.private, ec.EllipticCurvePrivateKey) else _TRANSPORTED
            encrypts = PeerKey(key.certificate, "encryption", tuple(map(str, methods)))
            found += [PeerKey(key.certificate, "signing"), encrypts]
        return tuple(found)


class _State(msgspec.Struct, frozen=True, array_like=True):
    """
    What an answer is held against. ``issuer``: who was asked. ``contexts``: the levels asked for by name. ``since``: when a new
    login was demanded, in seconds since the epoch.
    """

    id: str
    issuer: str
    own: str
    acs: str
    minimum: str
    contexts: tuple[str, ...]
    since: int | None


class SamlConnector:
    """
    An identity provider that speaks SAML.

    Args:
        id: the upstream's id in the YAML.
        peers: where the provider's metadata is known.
        assertions: remember which ones were used.
        names: the broker's by language, for our metadata.
        new_id: makes IDs of requests: 128 random bits or more, an XML name.
    """

    takes_forms: Literal[True] = True
    state_member = "RelayState"
    largest_form = LARGEST_FORM

    def __init__(
        self,
        id: str,
        connect: SamlConnect,
        *,
        keys: OwnKeys,
        peers: ProvidersKnown,
        assertions: Assertions,
        names: Mapping[str, str],
        new_id: Callable[[], str] = lambda: f"_{secrets.token_hex(20)}",
    ) -> None:
        self.id = id
        self.reaches = reaches(connect)
        self._connect = connect
        self._keys = keys
        self._peers = peers
        self._assertions = assertions
        self._names = names
        self._scheme = connect.scheme
        self._new_id = new_id
        self.logout: SingleLogout | None = SamlLogout(self._terms()) if connect.logout else None
        self._made: tuple[tuple[str, datetime], Published] | None = None

    async def begin(self, ask: UpstreamAsk) -> Begun:
        """
        Send the browser to the provider with a signed request.

        Raises:
            UpstreamDown: its metadata cannot be had, or says nowhere to go.
            UpstreamRefused: a new login is demanded of a provider that has none to give, or a level it is not certified for.
        """
        connect, fresh = self._connect, ask.fresh or ask.max_age_s is not None
        if fresh and not connect.reauthenticates:
            raise UpstreamRefused(
                "the provider cannot be made to authenticate anew", code="upstream.cannot_reauthenticate"
            )
        provider = await self._provider()
        where = endpoint_for(provider.sso, connect.binding)
        if where is None:
            raise UpstreamDown("the provider takes no requests by Redirect or POST", code="saml.binding")
        own = self._own_entity_id(ask.callback_url.removesuffix("/callback"))
        contexts = tuple(self._scheme.contexts(provider, sufficient_acrs(connect, ask.minimum)))
        if connect.acr_levels and not contexts:
            raise _too_weak("nothing that suffices can be asked of the provider")
        plain = ToAsk(
            id=self._new_id(),
            issuer=own,
            destination=where.location,
            issued_at=ask.now,
            acs=ask.callback_url,
            forces_login=fresh,
            name_id_format=connect.name_id_format,
            contexts=contexts[:1] if connect.comparison == "minimum" else contexts,
            comparison=Comparison(connect.comparison),
            providers=connect.providers,
        )
        request = self._scheme.asks(plain, ask, provider)
        key = self._keys.signing[0]
        algorithm = self._scheme.algorithm(key)
        prompt = sent(build_request(request), "SAMLRequest", where, ask.state, key=key, algorithm=algorithm)
        named = request.contexts if request.comparison is Comparison.EXACT else ()
        since = int(ask.now.timestamp()) if request.forces_login else None
        state = _State(request.id, provider.entity_id, own, ask.callback_url, ask.minimum.value, named, since)
        return Begun(prompt, msgspec.msgpack.encode(state))

    async def resume(self, state: bytes, reply: Reply) -> Done | Pending:
        """
        Take the form that the provider's page posted.

        Raises: as `broker.upstream.port.Connector.resume`; StoreDown, since what cannot be remembered as used is not used.
        """
        if reply.kind is not ReplyKind.POSTED or "SAMLResponse" not in reply.data:
            raise UpstreamRefused("the answer came another way than by a form", code="callback.kind")
        asked = msgspec.msgpack.decode(state, type=_State)
        provider = await self._provider()
        try:
            # Hostile or not, it may be a quarter of a megabyte, and decrypting takes milliseconds.
            read = await asyncio.to_thread(self._read, reply.data["SAMLResponse"], asked, provider, reply.now)
        except XmlRefused as refused:
            raise UpstreamRefused(f"the response is refused: {refused.detail}", code=refused.code) from None
        if isinstance(read, Refusal):
            raise self._said_no(read)
        await self._use(read, reply.now)
        self._check_asked(read, asked)
        claims = self._scheme.claims(read, self._claims(read, reply.now))
        evidence = evidence_from(
            claims,
            self._connect,
            upstream=self.id,
            issuer=asked.issuer,
            minimum=Assurance(asked.minimum),
            now=reply.now,
        )
        evidence = replace(evidence, authorities=authorities_of(read))
        if self._connect.logout and (left := kept(read, provider, asked.own)) is not None:
            evidence = replace(evidence, session=left[0], leave=left[1])
        return Done(evidence)

    def published(self, document: str, *, address: str, now: datetime) -> Published | None:
        """Our metadata as its service provider, at ``metadata`` below *address*; signed once an hour."""
        if document != "metadata":
            return None
        # By the hour, so that every process says the same for a while.
        hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        if self._made is None or self._made[0] != (address, hour):
            self._made = ((address, hour), self._described(address, hour + _VALIDITY))
        return self._made[1]

    async def close(self) -> None:
        """Nothing of its own to release."""

    def _described(self, address: str, until: datetime) -> Published:
        connect = self._connect
        about = metadata.Described(
            entity_id=self._own_entity_id(address),
            keys=self._keys.published,
            valid_until=until,
            cache_duration=_CACHE,
            names=self._names,
            name_id_formats=(connect.name_id_format,) if connect.name_id_format else (),
            entity_attributes=self._scheme.entity_attributes,
            signing_methods=tuple(sorted(self._scheme.signatures)),
            slo=endpoints_of(address) if connect.logout else (),
        )
        named = [name for name in {**connect.claims, connect.subject: ""} if name != _NAME_ID]
        wanted = [RequestedAttribute(each, URI_NAMES, is_required=each in connect.required_claims) for each in named]
        acs = Endpoint(POST, f"{address}/callback", index=0, is_default=True)
        role = metadata.ServiceRole((acs,), tuple(wanted), wants_assertions_signed=connect.signs_assertion)
        key = self._keys.signing[0]
        content = metadata.write(about, self._scheme.role(role), key, algorithm=self._scheme.algorithm(key))
        return Published(content, metadata.MEDIA_TYPE)

    def _terms(self) -> Terms:
        connect, scheme, key = self._connect, self._scheme, self._keys.signing[0]
        return Terms(
            entity_id=connect.entity_id,
            find=self._provider,
            own=self._own_entity_id,
            key=key,
            algorithm=scheme.algorithm(key),
            decrypting=self._keys.decrypting,
            signatures=scheme.signatures,
            encryption=scheme.encryption,
            least_rsa_bits=scheme.least_rsa_bits,
            skew=connect.skew,
            binding=connect.binding,
            new_id=self._new_id,
        )

    async def _provider(self) -> SamlProvider:
        found = await self._peers.provider(self._connect.metadata, self._connect.entity_id)
        if found is None:
            raise UpstreamDown("the provider is not in its metadata, or no longer", code="saml.metadata")
        return found

    def _own_entity_id(self, address: str) -> str:
        return self._connect.own_entity_id or f"{address}/metadata"

    def _read(self, form: str, asked: _State, provider: SamlProvider, now: datetime) -> ReadResponse | Refusal:
        connect = self._connect
        expected = Expected(
            # security: of the one provider the customer was sent to, whatever the config says by now (mix-up, RFC 9700 4.4).
            issuer=asked.issuer,
            audience=asked.own,
            acs=asked.acs,
            in_response_to=asked.id,
            keys=signing_keys(provider, self._scheme.least_rsa_bits),
            decrypting=tuple(self._keys.decrypting),
            signs_response=connect.signs_response,
            signs_assertion=connect.signs_assertion,
            encrypted=connect.encrypted,
            signatures=self._scheme.signatures,
            encryption=self._scheme.encryption,
            skew=connect.skew,
        )
        return read_response(posted.decode(form), expected=expected, now=now)

    def _said_no(self, refusal: Refusal) -> Stopped | UpstreamRefused:
        codes = set(refusal.status.codes[1:])
        if (own := self._scheme.refused(refusal.status)) is not None:
            return own
        if codes & (_CANCELLED | set(self._connect.cancel_statuses)):
            return Stopped("cancelled at the provider", code="saml.cancelled")
        if codes & _LACKING:
            return _too_weak("the provider cannot give what is needed")
        return UpstreamRefused("the provider says no", code="saml.status", status=last_word(refusal.status))

    async def _use(self, read: ReadResponse, now: datetime) -> None:
        """security: an assertion is used once (saml-profiles-2.0-os, section 4.1.4.5). Raises: UpstreamRefused, StoreDown."""
        skew = self._connect.skew
        # It is too old by its IssueInstant then, whatever else it says, which may be that it never ends.
        until = min(read.not_on_or_after, now + MAX_AGE + skew) + skew
        if not await self._assertions.use(read.issuer, read.assertion_id, until=until, now=now):
            raise UpstreamRefused("the assertion was used before", code="saml.replayed")

    def _check_asked(self, read: ReadResponse, asked: _State) -> None:
        """It is what was asked for: by one of the levels named, anew where that was said, at one of the authorities."""
        if asked.contexts and read.authn_context not in asked.contexts:
            raise UpstreamRefused("a level that was not asked for", code="upstream.acr")
        if (
            asked.since is not None
            and read.authn_instant < datetime.fromtimestamp(asked.since, UTC) - self._connect.skew
        ):
            raise UpstreamRefused("the customer was not authenticated anew", code="saml.not_fresh")
        allowed = self._connect.authorities
        if allowed and not set(allowed) & set(read.authenticating_authorities):
            raise UpstreamRefused("authenticated by somebody who is not accepted", code="saml.authority")

    def _claims(self, read: ReadResponse, now: datetime) -> Mapping[str, Any]:
        """What the response says, under the names of its attributes."""
        connect = self._connect
        told: dict[str, Any] = {name: values[0].text for name, values in read.attributes.items() if values}
        told = {name: value for name, value in told.items() if value and name not in _OURS}
        for path, mapped in connect.claims.items():
            if mapped in connect.vouches_for and path in told:
                told[f"{path}_verified"] = True
        if connect.roles_claim is not None and connect.roles_claim in read.attributes:
            told[connect.roles_claim] = [each.text for each in read.attributes[connect.roles_claim]]
        at = int(read.authn_instant.timestamp())
        told |= {"sub": self._subject(read, now), "auth_time": at, "iat": at}
        if read.authn_context is not None:
            told["acr"] = read.authn_context
        return told

    def _subject(self, read: ReadResponse, now: datetime) -> str:
        """Whom the response speaks of; a personal number in its normal form."""
        if (own := self._scheme.subject(read)) is not None:
            return own
        connect, nobody = (
            self._connect,
            UpstreamRefused("names nobody by what persons are known by", code="saml.subject"),
        )
        if connect.subject == _NAME_ID:
            # security: a name that is another one at every login, or that may be given to somebody else, is nobody's; and one
            # that another party made may be somebody else's here, who then would be named by whomever the provider passes on.
            is_hers = read.name_id_format == connect.name_id_format and not read.is_anothers
            value = (read.name_id or "") if is_hers else ""
        else:
            found = read.attributes.get(connect.subject, ())
            value = found[0].text if len(found) == 1 else ""
        if not 1 <= len(value) <= 256 or not value.isprintable():
            raise nobody
        if connect.claims.get(connect.subject) != "personal_number":
            return value
        try:
            return parse_national_number(connect.personal_number_country, value, today=now.date())
        except ValueError:
            raise nobody from None


_EVERY_LOGIN: Final = frozenset({"sub", "acr", "auth_time", "iat"})
_OURS: Final = _EVERY_LOGIN | {"amr", "sid"}
"""What an attribute may be called, and may not say: that is what the assertion itself says."""


def spoken_of(connect: SamlConnect) -> frozenset[str]:
    """The claims that *connect* has a use for, or none, apart from requiring them; and what every assertion says."""
    flags = (f"{path}_verified" for path, mapped in connect.claims.items() if mapped in connect.vouches_for)
    named = {*connect.claims, *flags, *connect.ignored_claims, *connect.required_values, connect.subject}
    return frozenset(named | _EVERY_LOGIN | ({connect.roles_claim} if connect.roles_claim else set())) - {_NAME_ID}


def authorities_of(read: ReadResponse) -> tuple[str, ...]:
    """
    Who took part in the login besides the provider, for the audit: the first five that are names of such parties.

    security: they are kept and read by others, and the provider may have been told anything to write there: nothing that has
    room for a person, such as a query or an address.
    """
    named = [each for each in read.authenticating_authorities if _ENTITY.fullmatch(each) and each != read.issuer]
    return tuple(dict.fromkeys(named))[:_MOST_AUTHORITIES]


def _too_weak(detail: str) -> UpstreamRefused:
    return UpstreamRefused(detail, code="saml.no_context", message_key="notice.too_weak")


def last_word(status: Status) -> str:
    """Of the innermost status code, for the log."""
    word = status.codes[-1].rpartition(":")[2].rpartition("/")[2] if status.codes else ""
    return word[:40] if word.isalnum() else ""
