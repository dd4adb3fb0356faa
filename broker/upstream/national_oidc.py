"""
National electronic identities over OpenID Connect: what their providers agree on with their clients, and the plain protocol
leaves open.

Requests that are signed (RFC 9101) or pushed (RFC 9126); ID tokens and userinfo encrypted to us, and keys of ours that are
published for it; levels of assurance asked for and insisted on; subjects that are not in ``sub``. Who wants what is config, with
defaults per provider in `broker.upstream.national_presets`. Everything else is `OidcConnector`'s.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from msgspec import Struct
from pydantic import Field, StringConstraints, TypeAdapter, model_validator

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.client_rules import ClientAuth
from broker.core.policy import SecretRef, Strict, Uri
from broker.errors import UpstreamDown, UpstreamRefused
from broker.upstream.claims import claim, reaches, sufficient_acrs
from broker.upstream.national_number import parse_national_number
from broker.upstream.national_presets import PRESETS, PresetName
from broker.upstream.oidc import (
    OidcConnector,
    ProviderConfig,
    check_userinfo_status,
    fetched_userinfo,
    new_token,
    userinfo_call,
)
from broker.upstream.port import Begun, Channel, Done, Heard, Pending, Published, Reply, ReplyKind, UpstreamAsk
from broker.wire.encrypted import DecryptionKey, opened, parse_decryption_key
from broker.wire.http import Fetcher
from broker.wire.id_token import ALGORITHMS, Expected, KeySet, UnknownKey, parse_key_set, verify_userinfo
from broker.wire.oauth import (
    Authentication,
    ClientKey,
    ProviderMetadata,
    authenticate_with_key,
    authenticate_with_secret,
    authorization_url,
    parse_client_key,
    read_pushed_answer,
    signed_document,
    signed_request,
)
from broker.wire.provider import Provider, SignedKeySet

#: How long what we publish under a signature is good, and after which time it is signed anew.
_DOCUMENT_LIFETIME: Final = timedelta(days=1)
_DOCUMENT_RENEWAL: Final = timedelta(hours=1)
_MAX_KEY_FILE: Final = 64 * 1024

T = TypeVar("T")

_Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]
_HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")]
_HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,198}[\x21-\x7e])?$")]
_Omissible = Literal["prompt", "max_age", "acr_values", "ui_locales", "login_hint"]


class Endpoints(Strict):
    """
    Where the provider is, in place of its discovery document.

    ``authorization``, ``token``, ``userinfo``, ``jwks``: its endpoints. ``pushed_requests``: where requests are pushed.
    ``sends_issuer``: its answers carry ``iss`` (RFC 9207), so one without it is not its own.
    """

    authorization: Uri
    token: Uri
    jwks: Uri
    userinfo: Uri | None = None
    pushed_requests: Uri | None = None
    sends_issuer: bool = False


class SignedJwks(Strict):
    """
    The provider's keys under its own signature. ``url``: where they are. ``trusted_file``: file with the JWK Set whose keys
    sign them, as the provider gave it to you. ``issuers``: who signs (``iss``), where that is not the issuer.
    """

    url: Uri
    trusted_file: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    issuers: tuple[str, ...] = ()


class NationalOidcConnect(ProviderConfig):
    """
    The ``connect`` block of an upstream of kind ``national-oidc``, with the rules of `ProviderConfig`.

    ``preset``: the provider whose wishes fill in what is not given. ``signing_keys``: our private keys; the first signs,
    all are published. ``decryption_keys``: our private keys to read with, newest first; the first is published.
    ``entity_key``: signs what we publish, for providers that trust no plain key set. ``assertion_audience``: what our
    assertions are addressed to. ``request``: how requests travel: in the address, as a signed object, pushed, or both.
    ``request_typ``: the type in a request object's header. ``request_outside``: parameters repeated beside the object.
    ``omitted_params``: what the provider does not take. ``acr_choice``: all levels that suffice are asked for, or the least
    of them. ``level_params``: level -> parameters that ask for it, where ``acr_values`` does not. ``partner_name_param``:
    the parameter for the name of the partner. ``id_token_claims``, ``userinfo_claims``: asked for one by one.
    ``encrypted``: what comes encrypted, around a signature. ``userinfo_signed``: userinfo comes as a signed JWT, not as
    JSON. ``encryption_algs``, ``encryption_encs``: in which ways they may be encrypted. ``subject_claim``: the claim a
    person is known by. ``vouches_for``: contacts that count as verified although the provider sends no flag.
    ``phone_without_plus``: its phone numbers lack the plus. ``cancel_errors``: error codes that mean the customer
    cancelled. ``headers``: sent along with every call. ``endpoints``: in place of discovery. ``signed_jwks``: in place of
    its ``jwks_uri``.
    """

    preset: PresetName | None = None
    signing_keys: tuple[SecretRef, ...] = ()
    decryption_keys: tuple[SecretRef, ...] = ()
    entity_key: SecretRef | None = None
    assertion_audience: Literal["issuer", "token_endpoint"] = "issuer"
    request: Literal["query", "object", "pushed", "pushed_object"] = "query"
    request_typ: Literal["oauth-authz-req+jwt", "JWT"] = "oauth-authz-req+jwt"
    request_outside: tuple[Literal["response_type", "scope"], ...] = ()
    omitted_params: tuple[_Omissible, ...] = ()
    acr_choice: Literal["all", "least"] = "all"
    level_params: Mapping[Assurance, Mapping[str, str]] = Field(default_factory=dict)
    partner_name_param: _Name | None = None
    id_token_claims: tuple[_Name, ...] = ()
    userinfo_claims: tuple[_Name, ...] = ()
    encrypted: tuple[Literal["id_token", "userinfo"], ...] = ()
    userinfo_signed: bool = False
    encryption_algs: Annotated[
        tuple[Literal["RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"], ...],
        Field(min_length=1),
    ] = ("RSA-OAEP-256", "ECDH-ES")
    encryption_encs: Annotated[
        tuple[Literal["A128CBC-HS256", "A256CBC-HS512", "A128GCM", "A256GCM"], ...], Field(min_length=1)
    ] = ("A256GCM", "A128CBC-HS256")
    subject_claim: _Name = "sub"
    vouches_for: tuple[Literal["email", "phone_number"], ...] = ()
    phone_without_plus: bool = False
    cancel_errors: tuple[_Name, ...] = ()
    headers: Mapping[_HeaderName, _HeaderValue] = Field(default_factory=dict)
    endpoints: Endpoints | None = None
    signed_jwks: SignedJwks | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, given: Any) -> Any:
        """Strictness wants tuples once the file is no longer read as JSON, which any validator before it brings about."""
        if not isinstance(given, dict):
            return given
        name = given.get("preset")
        return _with_tuples({**(PRESETS.get(name, {}) if isinstance(name, str) else {}), **given})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        by_key = self.client_auth is ClientAuth.PRIVATE_KEY_JWT
        if by_key == (self.client_secret is not None):
            raise ValueError(
                f"client_auth {self.client_auth.value} goes {'without' if by_key else 'with'} client_secret"
            )
        if (by_key or self._signs_requests) and not self.signing_keys:
            raise ValueError("signing_keys must hold a key: client_auth or request needs one")
        if self.encrypted and not self.decryption_keys:
            raise ValueError("decryption_keys must hold a key: something comes encrypted")
        if self.level_params and not self.acr_levels:
            raise ValueError("level_params needs acr_levels: a level that is asked for must come back")
        if self.endpoints is not None and self.endpoints.userinfo is None and self.userinfo:
            raise ValueError("userinfo needs endpoints.userinfo")
        if self.preset == "itsme" and not any(scope.startswith("service:") for scope in self.scopes):
            raise ValueError("scopes must hold openid and the service code itsme gave you: service:CODE")
        return self

    @property
    def _signs_requests(self) -> bool:
        return self.request in {"object", "pushed_object"}


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_tuples(each) for key, each in value.items()}
    return tuple(_with_tuples(each) for each in value) if isinstance(value, list) else value


class Settled(Struct, frozen=True):
    """What a key that a preset speaks of came to. ``source``: ``preset NAME``, or ``this file``."""

    key: str
    value: Any
    source: str


def settled(connect: NationalOidcConnect) -> Iterator[Settled]:
    """What the preset of *connect* resolved to, in its order; nothing without one."""
    shown = connect.model_dump(mode="json")
    for key, value in PRESETS.get(connect.preset or "", {}).items():
        # Through the key's own type, so that a block given in fewer words is still the same one.
        kind: TypeAdapter[Any] = TypeAdapter(NationalOidcConnect.model_fields[key].rebuild_annotation())
        default = kind.dump_python(kind.validate_python(value), mode="json")
        yield Settled(key, shown[key], f"preset {connect.preset}" if shown[key] == default else "this file")


class OwnKeys(Struct, frozen=True):
    """
    Our own keys towards one provider, parsed once. ``signing``: the first signs. ``decryption``: newest first.

    ``entity``: signs what is published.
    """

    signing: tuple[ClientKey, ...] = ()
    decryption: tuple[DecryptionKey, ...] = ()
    entity: ClientKey | None = None

    @classmethod
    def of(cls, connect: NationalOidcConnect, secret: Callable[[str], str]) -> Self:
        """The keys that *connect* refers to. Raises: UnusableKey."""
        entity = connect.entity_key
        return cls(
            tuple(_parsed("signing_keys", parse_client_key, secret(each)) for each in connect.signing_keys),
            tuple(_parsed("decryption_keys", parse_decryption_key, secret(each)) for each in connect.decryption_keys),
            _parsed("entity_key", parse_client_key, secret(entity)) if entity is not None else None,
        )

    def published(self) -> dict[str, Any]:
        """
        Our public JWK Set: all signing keys, and the newest key to encrypt to.

        Providers keep it for a day or more: a new signing key is appended first and moved to the front later; an old decryption
        key stays behind the new one as long as somebody may still encrypt to it.
        """
        return {"keys": [*(key.public() for key in self.signing), *(key.public() for key in self.decryption[:1])]}


class UnusableKey(ValueError):
    """A key of ours that cannot be used; ``key`` is where the config names it."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


def _parsed(key: str, parse: Callable[[str], T], pem: str) -> T:
    try:
        return parse(pem)
    except ValueError as error:
        raise UnusableKey(key, str(error)) from error


def trusted_keys(path: Path) -> KeySet:
    """
    The keys in a JWK Set file that the provider gave the operator.

    Raises:
        OSError: it cannot be read. ValueError: no JWK Set with a usable signature key.
    """
    with path.open("rb") as file:
        content = json.loads(file.read(_MAX_KEY_FILE))
    if not isinstance(content, dict):
        raise ValueError("not a JWK Set")
    return parse_key_set(content)


class NationalWays:
    """
    How a national provider wants to be spoken to, by config (`broker.upstream.oidc.Ways`).

    Args:
        secret: the client secret, where there is one.
    """

    def __init__(
        self,
        connect: NationalOidcConnect,
        *,
        fetcher: Fetcher,
        provider: Provider,
        keys: OwnKeys,
        secret: str | None,
        token: Callable[[], str],
    ) -> None:
        self.headers = connect.headers
        self._connect = connect
        self._fetcher = fetcher
        self._provider = provider
        self._keys = keys
        self._secret = secret
        self._token = token

    def parameters(self, ask: UpstreamAsk) -> Mapping[str, str]:
        """What asks for a level, for single claims, and tells the partner's name."""
        connect = self._connect
        return {
            **self._level_parameters(ask.minimum),
            **({connect.partner_name_param: ask.partner_name} if connect.partner_name_param else {}),
            **({"claims": json.dumps(wanted)} if (wanted := self._wanted_claims()) else {}),
        }

    async def address(self, metadata: ProviderMetadata, parameters: Mapping[str, str], now: datetime) -> str:
        """The authorization endpoint with *parameters*, or with what stands for them. Raises: as `Ways.address`."""
        kept = {name: value for name, value in parameters.items() if name not in self._connect.omitted_params}
        sent: Mapping[str, str]
        match self._connect.request:
            case "query":
                sent = kept
            case "object":
                sent = {**self._beside(kept), "request": self._request_object(kept, now)}
            case "pushed":
                sent = await self._pushed(metadata, kept, now)
            case "pushed_object":
                pushed = {**self._beside(kept), "request": self._request_object(kept, now)}
                sent = await self._pushed(metadata, pushed, now)
        return authorization_url(metadata.authorization_endpoint, sent)

    def authenticate(self, metadata: ProviderMetadata, now: datetime) -> Authentication:
        """By the secret, or by an assertion that is new each time."""
        connect = self._connect
        if self._secret is not None:
            return authenticate_with_secret(connect.client_auth, connect.client_id, self._secret)
        is_endpoint = connect.assertion_audience == "token_endpoint"
        return authenticate_with_key(
            self._keys.signing[0],
            client_id=connect.client_id,
            audience=metadata.token_endpoint if is_endpoint else connect.issuer,
            jti=self._token(),
            now=now,
        )

    def opened(self, unverified_id_token: str) -> str:
        """The signed ID token, decrypted where that is agreed. Raises: UpstreamRefused."""
        return self._decrypted("id_token", unverified_id_token)

    async def userinfo(
        self, metadata: ProviderMetadata, access_token: str, expected: Expected, now: datetime
    ) -> Mapping[str, Any]:
        """JSON, or a token that is verified, decrypted before where that is agreed. Raises: as `Ways.userinfo`."""
        if not (self._connect.userinfo_signed or "userinfo" in self._connect.encrypted):
            return await fetched_userinfo(self._fetcher, metadata, access_token, self.headers)
        url, sent = userinfo_call(metadata, access_token, self.headers)
        fetched = await self._fetcher.get_jwt(url, headers=sent, operation="userinfo")
        check_userinfo_status(fetched.status)
        signed = self._decrypted("userinfo", fetched.unverified_token)
        keys = await self._provider.keys(now)
        try:
            return verify_userinfo(signed, keys=keys, expected=expected, now=now)
        except UnknownKey:
            keys = await self._provider.keys_after_rotation(now, unknown_in=keys)
            return verify_userinfo(signed, keys=keys, expected=expected, now=now)

    def _level_parameters(self, minimum: Assurance) -> Mapping[str, str]:
        """What asks for no more than is needed, where the usual ``acr_values`` would not do."""
        connect = self._connect
        sufficient = [level for level in connect.level_params if level >= minimum]
        if sufficient:
            return connect.level_params[min(sufficient, key=lambda level: level.rank)]
        acrs = sufficient_acrs(connect, minimum)
        return {"acr_values": acrs[0]} if acrs and connect.acr_choice == "least" else {}

    def _wanted_claims(self) -> dict[str, dict[str, None]]:
        """The ``claims`` parameter (OpenID Connect Core section 5.5): voluntary, by name."""
        lists = {"id_token": self._connect.id_token_claims, "userinfo": self._connect.userinfo_claims}
        return {place: dict.fromkeys(names) for place, names in lists.items() if names}

    def _beside(self, parameters: Mapping[str, str]) -> dict[str, str]:
        """What stands beside a request object: the client (RFC 9101 section 5), and what OpenID Connect repeats."""
        return {name: parameters[name] for name in ("client_id", *self._connect.request_outside)}

    def _request_object(self, parameters: Mapping[str, str], now: datetime) -> str:
        connect = self._connect
        members: dict[str, Any] = dict(parameters)
        # Numbers and objects are themselves in a JWT, not texts (RFC 9101 section 4).
        for name in {"max_age", "claims"} & set(members):
            members[name] = json.loads(members[name])
        return signed_request(
            self._keys.signing[0],
            members,
            client_id=connect.client_id,
            audience=connect.issuer,
            typ=connect.request_typ,
            jti=self._token(),
            now=now,
        )

    async def _pushed(
        self, metadata: ProviderMetadata, parameters: Mapping[str, str], now: datetime
    ) -> Mapping[str, str]:
        """Push *parameters* and give what stands for them (RFC 9126 section 4)."""
        if metadata.par_endpoint is None:
            raise UpstreamDown("the provider takes no pushed requests", code="pushed.missing")
        proof = self.authenticate(metadata, now)
        fetched = await self._fetcher.post_form(
            metadata.par_endpoint,
            {**parameters, **proof.form},
            basic=proof.basic,
            headers=self.headers,
            operation="pushed_request",
        )
        reference = read_pushed_answer(fetched.status, fetched.json)
        return {"client_id": self._connect.client_id, "request_uri": reference}

    def _decrypted(self, what: Literal["id_token", "userinfo"], unverified_token: str) -> str:
        """What is inside, where encryption is agreed; where it is not, nobody tries our keys."""
        if what not in self._connect.encrypted:
            return unverified_token
        return opened(
            unverified_token,
            keys=self._keys.decryption,
            algs=frozenset(self._connect.encryption_algs),
            encs=frozenset(self._connect.encryption_encs),
        )


class NationalOidcConnector:
    """
    A provider of national electronic identity.

    Args:
        id: the upstream's id in the YAML.
        keys: ours. secret: the client secret, where there is one.
        trusted: keys that sign the provider's own, with ``signed_jwks``.
        fetcher: the way out.
        token: makes 256-bit random texts.
    """

    def __init__(
        self,
        id: str,
        connect: NationalOidcConnect,
        *,
        keys: OwnKeys,
        secret: str | None,
        fetcher: Fetcher,
        trusted: KeySet | None = None,
        token: Callable[[], str] = new_token,
    ) -> None:
        self.id = id
        self.reaches = reaches(connect)
        self._connect = connect
        self._keys = keys
        self._made: dict[str, tuple[datetime, bytes]] = {}
        provider = Provider(
            connect.issuer, fetcher, given=_given_metadata(connect), signed_keys=_signed_keys(connect, trusted)
        )
        ways = NationalWays(connect, fetcher=fetcher, provider=provider, keys=keys, secret=secret, token=token)
        self._oidc = OidcConnector(id, connect, fetcher=fetcher, ways=ways, provider=provider, token=token)

    async def begin(self, ask: UpstreamAsk) -> Begun:
        """Send the browser to the provider. Raises: as `OidcConnector.begin`."""
        return await self._oidc.begin(ask)

    async def resume(self, state: bytes, reply: Reply) -> Done | Pending:
        """
        Take the provider's redirect and turn its code into evidence.

        Raises: as `broker.upstream.port.Connector.resume`.
        """
        if reply.kind is not ReplyKind.CALLBACK:
            raise UpstreamRefused("the answer came another way than by the callback", code="callback.kind")
        return Done(
            await self._oidc.proven(state, self._in_standard_words(reply), read=lambda told: self._read(told, reply))
        )

    @property
    def hears(self) -> frozenset[Channel]:
        """As `OidcConnector.hears`."""
        return self._oidc.hears

    async def heard(self, channel: Channel, unverified: str, now: datetime) -> Sequence[Heard]:
        """Raises: as `broker.upstream.port.Listener.heard`."""
        return await self._oidc.heard(channel, unverified, now)

    def published(self, document: str, *, address: str, now: datetime) -> Published | None:
        """Our key set, plain and signed, and our entity statement (OpenID Federation 1.0 sections 3 and 5.2.1)."""
        match document:
            case "jwks.json" if self._keys.signing or self._keys.decryption:
                return Published(json.dumps(self._keys.published()).encode(), "application/jwk-set+json")
            case "jwks.jwt" if self._keys.entity is not None:
                claims = {"iss": address, "sub": address, **self._keys.published()}
                return Published(self._signed(document, claims, "jwk-set+jwt", now), "application/jwk-set+jwt")
            case ".well-known/openid-federation" if self._keys.entity is not None:
                statement = self._entity_statement(address, self._keys.entity)
                content = self._signed(document, statement, "entity-statement+jwt", now)
                return Published(content, "application/entity-statement+jwt")
            case _:
                return None

    async def close(self) -> None:
        """Nothing of its own to release: the fetcher is shared."""

    def _signed(self, document: str, claims: Mapping[str, Any], typ: str, now: datetime) -> bytes:
        """Signed once an hour, however often it is fetched."""
        made_at, content = self._made.get(document, (None, b""))
        if self._keys.entity is not None and (made_at is None or not made_at <= now < made_at + _DOCUMENT_RENEWAL):
            issued = int(now.timestamp())
            times = {"iat": issued, "exp": issued + int(_DOCUMENT_LIFETIME.total_seconds())}
            content = signed_document(self._keys.entity, {**claims, **times}, typ=typ).encode()
            self._made[document] = (now, content)
        return content

    def _entity_statement(self, address: str, entity: ClientKey) -> Mapping[str, Any]:
        connect = self._connect
        client: dict[str, Any] = {
            "client_id": connect.client_id,
            "redirect_uris": [f"{address}/callback"],
            "response_types": ["code"],
            "grant_types": ["authorization_code"],
            "application_type": "web",
            "token_endpoint_auth_method": connect.client_auth.value,
            "id_token_signed_response_alg": connect.id_token_algs[0],
            "signed_jwks_uri": f"{address}/jwks.jwt",
        }
        if self._keys.signing:
            client |= {"request_object_signing_alg": self._keys.signing[0].alg}
        if "id_token" in connect.encrypted:
            client |= {
                "id_token_encrypted_response_alg": connect.encryption_algs[0],
                "id_token_encrypted_response_enc": connect.encryption_encs[0],
            }
        return {
            "iss": address,
            "sub": address,
            "jwks": {"keys": [entity.public()]},
            "metadata": {"openid_relying_party": client},
        }

    def _in_standard_words(self, reply: Reply) -> Reply:
        """*reply* with the registered error code for a customer who cancelled."""
        if reply.data.get("error") not in self._connect.cancel_errors:
            return reply
        return replace(reply, data={**reply.data, "error": "access_denied"})

    def _read(self, verified: Mapping[str, Any], reply: Reply) -> Mapping[str, Any]:
        """*verified* claims in the form of the standard."""
        connect, read = self._connect, dict(verified)
        for path, attribute in connect.claims.items():
            value = claim(verified, path)
            if attribute == "phone_number" and connect.phone_without_plus and _is_digits(value):
                read[path] = f"+{value}"
            if attribute in connect.vouches_for and value is not None and claim(verified, f"{path}_verified") is None:
                read[f"{path}_verified"] = True
        if connect.subject_claim != "sub":
            read["sub"] = self._subject(verified, reply.now)
        return read

    def _subject(self, verified: Mapping[str, Any], now: datetime) -> str:
        """Whom the claims speak of, by another claim than ``sub``; a personal number in its normal form."""
        connect = self._connect
        value = claim(verified, connect.subject_claim)
        if not isinstance(value, str) or not 1 <= len(value) <= 255 or not (value.isascii() and value.isprintable()):
            raise UpstreamRefused("the claim that names the person is missing or unusable", code="claims.subject")
        if connect.claims.get(connect.subject_claim) != "personal_number":
            return value
        try:
            return parse_national_number(connect.personal_number_country, value, today=now.date())
        except ValueError as error:
            raise UpstreamRefused(
                "the claim that names the person is no personal number", code="claims.subject"
            ) from error


def _is_digits(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit()


def _given_metadata(connect: NationalOidcConnect) -> ProviderMetadata | None:
    """What the config says in place of a discovery document."""
    given = connect.endpoints
    if given is None:
        return None
    return ProviderMetadata(
        issuer=connect.issuer,
        authorization_endpoint=given.authorization,
        token_endpoint=given.token,
        jwks_uri=given.jwks,
        userinfo_endpoint=given.userinfo,
        id_token_algs=frozenset(ALGORITHMS),
        sends_issuer=given.sends_issuer,
        par_endpoint=given.pushed_requests,
    )


def _signed_keys(connect: NationalOidcConnect, trusted: KeySet | None) -> SignedKeySet | None:
    signed = connect.signed_jwks
    if signed is None:
        return None
    if trusted is None:
        raise ValueError("signed_jwks needs the keys it is trusted by")
    return SignedKeySet(signed.url, trusted, frozenset(signed.issuers or {connect.issuer}))
