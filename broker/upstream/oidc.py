"""
Any OpenID provider, by config: authorization code with PKCE, nonce and state. Google is one of them.

Calls per login: the token endpoint, and userinfo only when the config says so; discovery and keys come from
`Provider`'s cache. The checks of an answer are made in `broker.wire.oauth` (callback, token answer) and
`broker.wire.id_token` (OpenID Connect Core section 3.1.3.7); what the claims prove, in `broker.upstream.claims`.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Protocol, Self

import msgspec
from msgspec import Struct, field
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from broker.core.assurance import Assurance
from broker.core.client_rules import ClientAuth
from broker.core.identity import Evidence
from broker.core.octets import base64url
from broker.core.policy import SecretRef, ServerAuth, Uri
from broker.errors import UpstreamDown, UpstreamRefused
from broker.upstream.claims import ClaimRules, evidence_from, merged, reaches, sufficient_acrs
from broker.upstream.port import Begun, Channel, Done, Heard, Pending, Redirect, Reply, ReplyKind, UpstreamAsk
from broker.upstream.risc import RiscReceiver
from broker.wire.http import Fetcher
from broker.wire.id_token import Expected, UnknownKey, verify_id_token
from broker.wire.logout_token import verify_logout_token
from broker.wire.oauth import (
    Authentication,
    ProviderMetadata,
    TokenAnswer,
    authenticate_with_key,
    authenticate_with_secret,
    authorization_url,
    parse_client_key,
    pkce_challenge,
    read_callback,
    read_token_answer,
)
from broker.wire.provider import Provider

#: A login that takes longer than this at the provider starts again.
_ATTEMPT_LIFETIME: Final = timedelta(minutes=30)

#: Parameters that belong to the protocol: config must not set them from the side.
_RESERVED: Final = frozenset({
    "response_type", "response_mode", "client_id", "client_secret", "redirect_uri", "scope", "state", "nonce",
    "code_challenge", "code_challenge_method", "prompt", "max_age", "login_hint", "acr_values", "ui_locales", "request",
    "request_uri", "id_token_hint",
})  # fmt: skip


def new_token() -> str:
    """A 256-bit random text."""
    return base64url(secrets.token_bytes(32))


def checked_issuer(value: str) -> str:
    """*value*, an issuer from the config. Raises ValueError."""
    if "?" in value:
        raise ValueError("must have no query (OpenID Connect Discovery section 3)")
    return value


class ProviderConfig(ClaimRules):
    """
    What every OpenID provider's ``connect`` block says, with the rules of `ClaimRules`.

    ``accepted_issuers``: other spellings of the issuer in ID tokens. ``trusted_audiences``: others that may stand
    beside us in ``aud``. ``reauthenticates``: the provider obeys ``prompt=login`` and ``max_age`` and proves it by
    ``auth_time``; if not (Google), fresh logins are refused rather than claimed. ``prompt``: sent with ordinary logins.
    ``extra_authorize_params``: anything else the provider wants.
    """

    issuer: Annotated[Uri, AfterValidator(checked_issuer)]
    accepted_issuers: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...] = ()
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]
    client_auth: ServerAuth = ClientAuth.SECRET_BASIC
    client_secret: SecretRef | None = None
    scopes: tuple[Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")], ...] = ("openid",)
    id_token_algs: Annotated[
        tuple[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"], ...],
        Field(min_length=1),
    ] = ("RS256",)
    trusted_audiences: tuple[str, ...] = ()
    userinfo: bool = False
    reauthenticates: bool = True
    sends_login_hint: bool = True
    prompt: Literal["select_account", "consent"] | None = None
    extra_authorize_params: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if "openid" not in self.scopes:
            raise ValueError("scopes must hold openid")
        if reserved := _RESERVED & set(self.extra_authorize_params):
            raise ValueError(f"extra_authorize_params must not hold {', '.join(sorted(reserved))}")
        return self


class OidcConfig(ProviderConfig):
    """
    The ``connect`` block of an upstream of kind ``oidc``, with the rules of `ProviderConfig`.

    ``hosted_domain``: only accounts of these organisations (claim ``hd``, as Google has it). ``risc_configuration``: where the
    provider says who sends security events about its accounts.
    """

    client_key: SecretRef | None = None
    hosted_domain: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")], ...] = ()
    risc_configuration: Uri | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        by_key = self.client_auth is ClientAuth.PRIVATE_KEY_JWT
        needed, unused = ("client_key", "client_secret") if by_key else ("client_secret", "client_key")
        if getattr(self, needed) is None or getattr(self, unused) is not None:
            raise ValueError(f"client_auth {self.client_auth.value} needs {needed} and not {unused}")
        if self.hosted_domain and ("hd" in self.required_values or "hd" in self.extra_authorize_params):
            raise ValueError("hosted_domain stands in place of hd in required_values and extra_authorize_params")
        return self

    def with_hosted_domain(self) -> Self:
        """The same with ``hosted_domain`` as what it comes to: a hint in the request, and a claim that is checked."""
        if not self.hosted_domain:
            return self
        only = self.hosted_domain[0] if len(self.hosted_domain) == 1 else "*"
        return self.model_copy(
            update={
                "extra_authorize_params": {**self.extra_authorize_params, "hd": only},
                # security: the parameter is a wish that anybody can strike out of the address; the claim is signed.
                "required_values": {**self.required_values, "hd": self.hosted_domain},
            }
        )

    @property
    def credential(self) -> str:
        """Reference to the secret or private key that ``client_auth`` needs."""
        return self.client_secret or self.client_key or ""


class Ways(Protocol):
    """
    How one provider wants to be spoken to, where OpenID Connect leaves a choice.

    ``headers``: sent along with every call of a login.
    """

    @property
    def headers(self) -> Mapping[str, str]: ...

    def parameters(self, ask: UpstreamAsk) -> Mapping[str, str]:
        """Of the authorization request, over the usual ones."""
        ...

    async def address(self, metadata: ProviderMetadata, parameters: Mapping[str, str], now: datetime) -> str:
        """Where the browser goes with *parameters*. Raises: UpstreamDown, UpstreamRefused."""
        ...

    def authenticate(self, metadata: ProviderMetadata, now: datetime) -> Authentication:
        """How the client proves itself."""
        ...

    def opened(self, unverified_id_token: str) -> str:
        """The signed ID token in what the token endpoint gave. Raises: UpstreamRefused."""
        ...

    async def userinfo(
        self, metadata: ProviderMetadata, access_token: str, expected: Expected, now: datetime
    ) -> Mapping[str, Any]:
        """What the userinfo endpoint says; whom it speaks of is not looked at yet. Raises: as `address`."""
        ...


class PlainWays(Struct, frozen=True):
    """
    As most do it: parameters in the address, an ID token that is signed only, userinfo as JSON.

    ``prove``: how the client proves itself. ``also``: parameters of the request, over the usual ones.
    """

    fetcher: Fetcher
    prove: Callable[[datetime], Authentication]
    also: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def parameters(self, ask: UpstreamAsk) -> Mapping[str, str]:
        """The same for every login."""
        return self.also

    async def address(self, metadata: ProviderMetadata, parameters: Mapping[str, str], now: datetime) -> str:
        """All of them in the query (RFC 6749 section 4.1.1)."""
        return authorization_url(metadata.authorization_endpoint, parameters)

    def authenticate(self, metadata: ProviderMetadata, now: datetime) -> Authentication:
        """As ``prove`` says."""
        return self.prove(now)

    def opened(self, unverified_id_token: str) -> str:
        """It is that already."""
        return unverified_id_token

    async def userinfo(
        self, metadata: ProviderMetadata, access_token: str, expected: Expected, now: datetime
    ) -> Mapping[str, Any]:
        """JSON, believed because of where it was fetched (OpenID Connect Core section 5.3.2)."""
        return await fetched_userinfo(self.fetcher, metadata, access_token, self.headers)


async def fetched_userinfo(
    fetcher: Fetcher, metadata: ProviderMetadata, access_token: str, headers: Mapping[str, str]
) -> Mapping[str, Any]:
    """The userinfo endpoint's JSON. Raises: UpstreamDown, UpstreamRefused."""
    url, sent = userinfo_call(metadata, access_token, headers)
    fetched = await fetcher.get_json(url, headers=sent, operation="userinfo")
    check_userinfo_status(fetched.status)
    return fetched.json


def userinfo_call(
    metadata: ProviderMetadata, access_token: str, headers: Mapping[str, str]
) -> tuple[str, Mapping[str, str]]:
    """Address and headers (RFC 6750 section 2.1). Raises: UpstreamDown: there is no such endpoint."""
    if metadata.userinfo_endpoint is None:
        raise UpstreamDown("the provider has no userinfo endpoint", code="userinfo.missing")
    return metadata.userinfo_endpoint, {**headers, "Authorization": f"Bearer {access_token}"}


def check_userinfo_status(status: int) -> None:
    """Raises: UpstreamRefused for anything but 200."""
    if status != 200:
        raise UpstreamRefused(f"userinfo answers {status}", code="userinfo.status")


class _Attempt(msgspec.Struct, frozen=True):
    """What must be remembered between begin and resume; ``wants_age_s``: how old the login may be, 0 = made anew."""

    state: str
    nonce: str
    verifier: str
    callback_url: str
    minimum: Assurance
    opened_at: datetime
    wants_age_s: int | None


class OidcConnector:
    """
    A provider of identity that speaks OpenID Connect.

    Args:
        id: the upstream's id in the YAML.
        config: its ``connect`` block.
        fetcher: the way out.
        ways: how the provider wants to be spoken to.
        provider: its metadata and keys, where they are not simply those of the issuer.
        events: believes what its server tells of accounts; None where it tells nothing.
        token: makes 256-bit random texts.
    """

    def __init__(
        self,
        id: str,
        config: ProviderConfig,
        *,
        fetcher: Fetcher,
        ways: Ways,
        provider: Provider | None = None,
        events: RiscReceiver | None = None,
        token: Callable[[], str] = new_token,
    ) -> None:
        self.id = id
        self.reaches = reaches(config)
        self._config = config
        self._fetcher = fetcher
        self._provider = provider or Provider(config.issuer, fetcher)
        self._token = token
        self._ways = ways
        self._events = events

    @classmethod
    def of(
        cls, id: str, config: OidcConfig, *, credential: str, fetcher: Fetcher, token: Callable[[], str] = new_token
    ) -> Self:
        """
        The connector of an upstream of kind ``oidc``.

        Args:
            credential: what ``config.credential`` refers to: client secret, or private key as PEM.
        Raises:
            ValueError: the private key is unusable.
        """
        ways = PlainWays(fetcher, _authenticator(config, credential, token))
        events = _receiver(config, fetcher) if config.risc_configuration is not None else None
        return cls(id, config.with_hosted_domain(), fetcher=fetcher, ways=ways, events=events, token=token)

    async def begin(self, ask: UpstreamAsk) -> Begun:
        """
        Send the browser to the provider.

        Raises:
            UpstreamDown: no usable metadata. UpstreamRefused: a fresh login was asked and the provider makes none.
        """
        config = self._config
        wants_age_s = 0 if ask.fresh else ask.max_age_s
        if wants_age_s is not None and not config.reauthenticates:
            raise UpstreamRefused("the provider cannot prove a fresh login", code="upstream.cannot_reauthenticate")
        metadata = await self._provider.metadata(ask.now)
        if not metadata.id_token_algs & set(config.id_token_algs):
            raise UpstreamDown("the provider signs with none of the allowed algorithms", code="provider.algs")
        attempt = _Attempt(
            state=ask.state,
            nonce=self._token(),
            verifier=self._token(),
            callback_url=ask.callback_url,
            minimum=ask.minimum,
            opened_at=ask.now,
            wants_age_s=wants_age_s,
        )
        url = await self._ways.address(metadata, self._parameters(ask, attempt), ask.now)
        return Begun(Redirect(url), msgspec.json.encode(attempt))

    async def resume(self, state: bytes, reply: Reply) -> Done | Pending:
        """
        Take the provider's redirect and turn its code into evidence.

        Raises: as `broker.upstream.port.Connector.resume`.
        """
        if reply.kind is not ReplyKind.CALLBACK:
            raise UpstreamRefused("the answer came another way than by the callback", code="callback.kind")
        return Done(await self.proven(state, reply))

    async def proven(
        self,
        state: bytes,
        reply: Reply,
        *,
        read: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda verified: verified,
    ) -> Evidence:
        """
        What the provider's answer proves, however it came.

        Args:
            read: what the verified claims mean, before the rules of the config are applied.
        Raises: as `resume`.
        """
        attempt = _read_attempt(state)
        if reply.now >= attempt.opened_at + _ATTEMPT_LIFETIME:
            raise UpstreamRefused("the login was opened too long ago", code="callback.late")
        metadata = await self._provider.metadata(reply.now)
        code = read_callback(
            reply.data,
            expected_state=attempt.state,
            expected_issuer=self._config.issuer,
            sends_issuer=metadata.sends_issuer,
        )
        answer = await self._redeem(metadata, attempt, code, reply.now)
        expected = self._expected(answer, attempt)
        claims = await self._verified_claims(answer, expected, reply.now)
        if self._config.userinfo:
            told = await self._ways.userinfo(metadata, answer.access_token, expected, reply.now)
            if told.get("sub") != claims["sub"]:
                # security: token substitution (Core section 16.11).
                raise UpstreamRefused("userinfo speaks of somebody else", code="userinfo.sub")
            claims = merged(claims, told, self._config.level_claim)
        return evidence_from(
            read(claims),
            self._config,
            upstream=self.id,
            issuer=self._config.issuer,
            minimum=attempt.minimum,
            now=reply.now,
        )

    @property
    def hears(self) -> frozenset[Channel]:
        """Logouts, and events where the config says who sends them."""
        return frozenset({Channel.LOGOUT} if self._events is None else {Channel.LOGOUT, Channel.EVENTS})

    async def heard(self, channel: Channel, unverified: str, now: datetime) -> Sequence[Heard]:
        """Raises: as `broker.upstream.port.Listener.heard`."""
        if channel is Channel.EVENTS and self._events is not None:
            return await self._events.heard(unverified, now)
        return [await self._logged_out(unverified, now)]

    async def _logged_out(self, unverified_token: str, now: datetime) -> Heard:
        """What the provider's logout token says (OpenID Connect Back-Channel Logout 1.0 section 2.6)."""
        config = self._config
        expected = Expected(
            issuers=frozenset({config.issuer, *config.accepted_issuers}),
            client_id=config.client_id,
            nonce="",
            algs=frozenset(config.id_token_algs),
            access_token="",
        )
        keys = await self._provider.keys(now)
        try:
            over = verify_logout_token(unverified_token, keys=keys, expected=expected, now=now)
        except UnknownKey:
            keys = await self._provider.keys_after_rotation(now, unknown_in=keys)
            over = verify_logout_token(unverified_token, keys=keys, expected=expected, now=now)
        return Heard(config.issuer, over.subject, over.sid, over.jti, over.issued_at, over.expires_at)

    async def close(self) -> None:
        """Nothing of its own to release: the fetcher is shared."""

    def _parameters(self, ask: UpstreamAsk, attempt: _Attempt) -> dict[str, str]:
        """The authorization request (OpenID Connect Core section 3.1.2.1, RFC 7636 section 4.3)."""
        config = self._config
        optional = {
            "prompt": "login" if attempt.wants_age_s == 0 else config.prompt,
            "max_age": None if attempt.wants_age_s is None else str(attempt.wants_age_s),
            "login_hint": ask.login_hint if config.sends_login_hint else None,
            "acr_values": " ".join(sufficient_acrs(config, ask.minimum)) or None,
        }
        return {
            **config.extra_authorize_params,
            "response_type": "code",
            "client_id": config.client_id,
            "redirect_uri": ask.callback_url,
            "scope": " ".join(config.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": pkce_challenge(attempt.verifier),
            "code_challenge_method": "S256",
            "ui_locales": ask.language,
            **{name: value for name, value in optional.items() if value is not None},
            **self._ways.parameters(ask),
        }

    async def _redeem(self, metadata: ProviderMetadata, attempt: _Attempt, code: str, now: datetime) -> TokenAnswer:
        proof = self._ways.authenticate(metadata, now)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.callback_url,
            "code_verifier": attempt.verifier,
            **proof.form,
        }
        fetched = await self._fetcher.post_form(
            metadata.token_endpoint, form, basic=proof.basic, headers=self._ways.headers, operation="token"
        )
        return read_token_answer(fetched.status, fetched.json)

    def _expected(self, answer: TokenAnswer, attempt: _Attempt) -> Expected:
        config = self._config
        return Expected(
            issuers=frozenset({config.issuer, *config.accepted_issuers}),
            client_id=config.client_id,
            nonce=attempt.nonce,
            algs=frozenset(config.id_token_algs),
            access_token=answer.access_token,
            audiences=frozenset(config.trusted_audiences),
            max_age_s=attempt.wants_age_s,
            fresh_since=attempt.opened_at if attempt.wants_age_s == 0 else None,
        )

    async def _verified_claims(self, answer: TokenAnswer, expected: Expected, now: datetime) -> Mapping[str, Any]:
        id_token = self._ways.opened(answer.unverified_id_token)
        keys = await self._provider.keys(now)
        try:
            return verify_id_token(id_token, keys=keys, expected=expected, now=now)
        except UnknownKey:
            keys = await self._provider.keys_after_rotation(now, unknown_in=keys)
            return verify_id_token(id_token, keys=keys, expected=expected, now=now)


def _receiver(config: OidcConfig, fetcher: Fetcher) -> RiscReceiver:
    return RiscReceiver(
        config.risc_configuration or "",
        client_id=config.client_id,
        issuer=config.issuer,
        spellings=frozenset({config.issuer, *config.accepted_issuers}),
        algs=frozenset(config.id_token_algs),
        fetcher=fetcher,
    )


def _authenticator(
    config: OidcConfig, credential: str, token: Callable[[], str]
) -> Callable[[datetime], Authentication]:
    """How this client proves itself at the token endpoint, with its key parsed once."""
    if config.client_auth is not ClientAuth.PRIVATE_KEY_JWT:
        proof = authenticate_with_secret(config.client_auth, config.client_id, credential)
        return lambda now: proof
    key = parse_client_key(credential)
    return lambda now: authenticate_with_key(
        key, client_id=config.client_id, audience=config.issuer, jti=token(), now=now
    )


def _read_attempt(state: bytes) -> _Attempt:
    try:
        return msgspec.json.decode(state, type=_Attempt)
    except msgspec.MsgspecError as error:
        raise UpstreamRefused("the journey remembers no login of this kind", code="callback.state") from error
