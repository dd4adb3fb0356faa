"""
Who is calling: client authentication for the token endpoint and the handoff API (OpenID Connect Core section 9).
"""

import base64
import hmac
from collections.abc import Callable, Mapping
from urllib.parse import unquote_plus

from msgspec import Struct
from starlette.requests import Request

from broker.core.client_rules import ClientAuth, ClientRules
from broker.core.policy import Partner, PartnerOidc, PartnerService, Policy
from broker.errors import BadAsk, BadClient
from broker.flows.context import Clock
from broker.flows.tokens import TokenFlow
from broker.wire.jose import BadToken, KeySet, import_jwks, unverified_client, verify_client_assertion

#: Form members that prove the client and are no part of what it asks.
CLIENT_AUTHENTICATION = frozenset({"client_secret", "client_assertion", "client_assertion_type"})

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Client(Struct, frozen=True):
    """An authenticated partner."""

    id: str
    partner: Partner

    @property
    def oidc(self) -> PartnerOidc:
        """What it is registered with for OpenID Connect. Raises: BadAsk for a service, which has none of its endpoints."""
        if self.partner.oidc is None:
            raise BadAsk("not an OpenID Connect client", oauth_error="unauthorized_client", code="client.service")
        return self.partner.oidc

    @property
    def service(self) -> PartnerService:
        """What it is registered with as a service. Raises: BadAsk for an OpenID Connect client."""
        if self.partner.service is None:
            raise BadAsk("not registered as a service", oauth_error="unauthorized_client", code="client.oidc")
        return self.partner.service


class _Credentials(Struct, frozen=True):
    method: ClientAuth
    client_id: str
    secret: str


class Api(Struct, frozen=True):
    """An authenticated resource server."""

    id: str


class Clients:
    """Authenticates partners against the current policy."""

    def __init__(self, policy: Callable[[], Policy], tokens: TokenFlow, clock: Clock) -> None:
        self._policy = policy
        self._tokens = tokens
        self._clock = clock
        self._keys: dict[tuple[str, str], KeySet] = {}

    async def identify(self, request: Request, form: Mapping[str, str]) -> Client:
        """
        As `authenticate`; but a public client, which cannot prove itself, only says who it is (RFC 6749 section 3.2.1).

        security: for endpoints where something else proves that the request is the client's own: PKCE, a refresh token that
        rotates. Not where the client itself is what is trusted.
        """
        if "authorization" in request.headers or CLIENT_AUTHENTICATION & form.keys():
            return await self.authenticate(request, form)
        policy = self._policy()
        partner_id = policy.partner_of_client(form.get("client_id", ""))
        partner = policy.partner(partner_id) if partner_id else None
        if partner_id is None or partner is None or not partner.rules.is_public:
            raise BadClient("no client authentication", code="client.method")
        return Client(partner_id, partner)

    async def authenticate(self, request: Request, form: Mapping[str, str]) -> Client:
        """
        The partner that proves itself by exactly the method it is registered with.

        Raises:
            BadClient: one error for unknown client, wrong method and wrong secret; the detail tells the operator which.
            StoreDown: assertions cannot be checked for replay; nothing was accepted.
        """
        return await self._partner(_credentials(request, form), self._policy())

    async def authenticate_caller(self, request: Request, form: Mapping[str, str]) -> Client | Api:
        """As `authenticate`, for what resource servers may do as well. Raises: as there."""
        given, policy = _credentials(request, form), self._policy()
        name = policy.resource_of_client(given.client_id)
        credentials = policy.config.resources[name].client if name is not None else None
        if name is None or credentials is None:
            return await self._partner(given, policy)
        await self._prove(given, name, credentials.rules, policy)
        return Api(name)

    async def _partner(self, given: _Credentials, policy: Policy) -> Client:
        partner_id = policy.partner_of_client(given.client_id)
        partner = policy.partner(partner_id) if partner_id else None
        if partner_id is None or partner is None:
            raise BadClient("unknown client", code="client.unknown")
        await self._prove(given, partner_id, partner.rules, policy)
        return Client(partner_id, partner)

    async def _prove(self, given: _Credentials, name: str, rules: ClientRules, policy: Policy) -> None:
        """*name* is the id of a partner or resource server."""
        if given.method is not rules.auth:
            raise BadClient(f"{name} is registered for {rules.auth.value}", code="client.method")
        if given.method is ClientAuth.PRIVATE_KEY_JWT:
            await self._check_assertion(given, name, rules, policy)
        elif not self._secret_fits(given, name, policy):
            raise BadClient(f"wrong secret for {name}", code="client.secret")

    @staticmethod
    def _secret_fits(given: _Credentials, partner: str, policy: Policy) -> bool:
        expected = policy.client_secrets.get(partner)
        return expected is not None and hmac.compare_digest(given.secret.encode(), expected.encode())

    async def _check_assertion(self, given: _Credentials, partner: str, rules: ClientRules, policy: Policy) -> None:
        token_endpoint = (f"{policy.issuer}/token",) if rules.assertion_to_token_endpoint else ()
        assertion = verify_client_assertion(
            given.secret,
            keys=self._keys_of(partner, policy),
            client_id=given.client_id,
            audiences=(policy.issuer, *token_endpoint),
            algs=rules.assertion_algs,
            now=self._clock(),
            max_age_s=rules.assertion_max_age_s,
        )
        if not await self._tokens.first_use(f"jti:{given.client_id}:{assertion.jti}", expires_at=assertion.expires_at):
            raise BadClient("client assertion was used before", code="client.replay")

    def _keys_of(self, partner: str, policy: Policy) -> KeySet:
        """The partner's keys, parsed once per config version."""
        key = (policy.version, partner)
        if key not in self._keys:
            jwks = policy.client_jwks.get(partner)
            if jwks is None:
                raise BadClient(f"{partner} has no keys", code="client.keys")
            self._keys[key] = import_jwks(jwks)
        return self._keys[key]


def _credentials(request: Request, form: Mapping[str, str]) -> _Credentials:
    """What the request carries; more than one method at once is refused (RFC 6749 section 2.3)."""
    header = request.headers.get("authorization", "")
    scheme, _, value = header.partition(" ")
    found: list[_Credentials] = []
    if scheme.lower() == "basic":
        found.append(_basic(value.strip()))
    if scheme.lower() == "bearer":
        found.append(_assertion(value.strip(), form))
    if "client_assertion" in form:
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise BadClient("client_assertion_type is missing or unknown", code="client.method")
        found.append(_assertion(form["client_assertion"], form))
    if "client_secret" in form:
        found.append(_Credentials(ClientAuth.SECRET_POST, form.get("client_id", ""), form["client_secret"]))
    if len(found) != 1:
        raise BadClient("no client authentication, or more than one", code="client.method")
    if form.get("client_id", found[0].client_id) != found[0].client_id:
        raise BadClient("client_id differs from the authenticated client", code="client.mismatch")
    return found[0]


def _basic(value: str) -> _Credentials:
    try:
        client_id, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError as error:
        raise BadClient("malformed Basic credentials", code="client.method") from error
    if not colon:
        raise BadClient("malformed Basic credentials", code="client.method")
    return _Credentials(ClientAuth.SECRET_BASIC, unquote_plus(client_id), unquote_plus(secret))


def _assertion(token: str, form: Mapping[str, str]) -> _Credentials:
    try:
        return _Credentials(ClientAuth.PRIVATE_KEY_JWT, unverified_client(token), token)
    except BadToken as error:
        raise BadClient(f"client assertion: {error}", code="client.method") from error
