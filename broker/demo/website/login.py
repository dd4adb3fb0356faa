"""
Logging in at the broker with Authlib's Starlette client, configured by discovery alone.

Authlib makes `state`, `nonce` and PKCE and verifies the ID Token. Added here is what it leaves to the
application: the issuer of the discovery document (OpenID Connect Discovery section 4.3), the issuer of the
response (RFC 9207), the audience, the one algorithm this client registered, and the subject of the userinfo
response (Core section 5.3.2).
"""

import ssl
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
from authlib.integrations.starlette_client import OAuth, OAuthError  # type: ignore[import-untyped]
from authlib.oauth2.rfc7523 import PrivateKeyJWT, private_key_jwt_sign  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from starlette.requests import Request
from starlette.responses import Response

ALGORITHM = "ES256"
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"


class LoginRefused(Exception):
    """
    The answer of the login service was a refusal, or one we must not believe; `code` says which check failed.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class BrokerUnavailable(Exception):
    """The login service does not answer, or answers with a fault of its own."""


@dataclass(frozen=True)
class SignedIn:
    """Who logged in: checked claims of the ID Token, and the tokens to keep on the server."""

    issuer: str
    subject: str
    claims: Mapping[str, Any]
    id_token: str = field(repr=False)
    token: Mapping[str, Any] = field(repr=False)


class Login:
    """
    One site's relation to the login service.

    Args:
        issuer: the broker's issuer URL; everything else comes from its discovery document.
        redirect_uri: where the answer comes back, as registered.
        client_secret: for client_secret_basic; unused when *private_key* is given.
        private_key: an EC P-256 key of this client; when given, private_key_jwt is used instead of a secret.
        transport: replaces the network, for tests.
    """

    def __init__(
        self,
        *,
        issuer: str,
        redirect_uri: str,
        client_id: str,
        client_secret: str,
        scope: str,
        private_key: ECKey | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.issuer = issuer
        self._redirect_uri = redirect_uri
        self._client_id = client_id
        self._client_secret = client_secret
        self._private_key = private_key
        self._http: dict[str, Any] = {
            "timeout": 5.0,
            "transport": transport,
            # Proxy settings of the machine are not for the site's own partners.
            "trust_env": False,
            # One TLS context per process: making one reads the whole CA bundle.
            "verify": ssl.create_default_context(),
        }
        self._authlib = OAuth(cache=_PendingLogins()).register(
            "broker",
            client_id=client_id,
            client_secret=private_key or client_secret,
            server_metadata_url=f"{issuer}/.well-known/openid-configuration",
            client_auth_methods=[PrivateKeyJWT(alg=ALGORITHM)] if private_key else None,
            client_kwargs={
                **self._http,
                "scope": scope,
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": "private_key_jwt" if private_key else "client_secret_basic",
            },
        )

    async def start(self, request: Request, **parameters: str) -> Response:
        """
        Send the customer to the login page; *parameters* (login_hint, ui_locales, scope) are added to the
        request.

        Raises: BrokerUnavailable, LoginRefused (`issuer_mismatch`).
        """
        await self._metadata()
        redirect: Response = await self._authlib.authorize_redirect(request, self._redirect_uri, **parameters)
        return redirect

    async def finish(self, request: Request) -> SignedIn:
        """
        Check the answer on the redirect URI and exchange its code.

        Raises: BrokerUnavailable; LoginRefused with `wrong_issuer`, `mismatching_state`, an OAuth error code
            such as
            `access_denied`, or `id_token` when a check of the ID Token failed.
        Spec: OpenID Connect Core section 3.1.3.7, RFC 9207 section 2.4.
        """
        if request.query_params.get("iss") != self.issuer:
            raise LoginRefused("wrong_issuer")
        metadata = await self._metadata()
        expected = {
            "iss": {"essential": True, "value": metadata["issuer"]},
            "aud": {"essential": True, "value": self._client_id},
        }
        try:
            token = await self._authlib.authorize_access_token(request, claims_options=expected, leeway=30)
        except OAuthError as error:
            raise LoginRefused(error.error or "refused") from error
        except (JoseError, ValueError) as error:
            raise LoginRefused("id_token") from error
        except httpx2.HTTPError as error:
            raise BrokerUnavailable from error
        claims = token.get("userinfo")
        if not claims:
            raise LoginRefused("id_token")
        return SignedIn(self.issuer, claims["sub"], dict(claims), token["id_token"], dict(token))

    async def userinfo(self, signed_in: SignedIn) -> Mapping[str, Any]:
        """
        What the customer lets this site know about her; empty when it cannot be had just now.

        Spec: OpenID Connect Core section 5.3.2: an answer about another subject must not be used.
        """
        try:
            claims = await self._authlib.userinfo(token=signed_in.token)
        except (httpx2.HTTPError, OAuthError, ValueError):
            return {}
        return dict(claims) if claims.get("sub") == signed_in.subject else {}

    async def logout_url(self, *, id_token: str, return_to: str) -> str:
        """
        Where to send the browser to log out at the login service too (RP-Initiated Logout 1.0 section 2).

        Raises: BrokerUnavailable.
        """
        await self._metadata()
        result = await self._authlib.create_logout_url(return_to, id_token_hint=id_token)
        return str(result["url"])

    async def told_of_logout(self, request: Request) -> str:
        """
        The ``sid`` of the session that the login service says is over; whose visits those are, is the site's business.

        Being told twice is no matter, so nobody remembers ``jti``.

        Raises: BrokerUnavailable; LoginRefused (`logout_token`) for anything but a logout token meant for us.
        Spec: OpenID Connect Back-Channel Logout 1.0 section 2.6.
        """
        token = str((await request.form()).get("logout_token", ""))
        for is_renewed in (False, True):
            try:
                keys = KeySet.import_key_set(await self._authlib.fetch_jwk_set(force=is_renewed))
                decoded = jwt.decode(token, keys, algorithms=[ALGORITHM])
                break
            except httpx2.HTTPError as error:
                raise BrokerUnavailable from error
            except (JoseError, ValueError) as error:
                # The key may be newer than those we know.
                if is_renewed:
                    raise LoginRefused("logout_token") from error
        sid = self._session_of(decoded.header, decoded.claims)
        if sid is None:
            raise LoginRefused("logout_token")
        return sid

    def _session_of(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str | None:
        """The ``sid``, if these are header and claims of a logout token for this site, and fresh."""
        expires_at, sid, events = claims.get("exp"), claims.get("sid"), claims.get("events")
        is_ours = claims.get("iss") == self.issuer and claims.get("aud") == self._client_id
        is_fresh = isinstance(expires_at, int) and time.time() < expires_at + 30
        is_logout = header.get("typ") == "logout+jwt" and isinstance(events, dict) and LOGOUT in events
        if not (is_ours and is_fresh and is_logout) or "nonce" in claims:
            return None
        return sid if isinstance(sid, str) else None

    async def call_as_customer(
        self, method: str, path: str, signed_in: SignedIn, *, body: Mapping[str, Any] | None = None
    ) -> httpx2.Response:
        """
        Call the broker at *path* with the customer's access token.

        Raises: BrokerUnavailable, also when the token has run out by the clock.
        """
        try:
            answer: httpx2.Response = await self._authlib.request(
                method, self.issuer + path, token=signed_in.token, json=body
            )
        except (httpx2.HTTPError, OAuthError) as error:
            raise BrokerUnavailable from error
        return _healthy(answer)

    async def call_as_site(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """Call the broker at *path* with this site's own client authentication. Raises: BrokerUnavailable."""
        sent = dict(headers or {})
        auth: tuple[str, str] | None = (self._client_id, self._client_secret)
        if self._private_key:
            sent["Authorization"] = f"Bearer {self._assertion(self._private_key)}"
            auth = None
        try:
            async with httpx2.AsyncClient(**self._http) as client:
                answer = await client.request(method, self.issuer + path, json=body, headers=sent, auth=auth)
        except httpx2.HTTPError as error:
            raise BrokerUnavailable from error
        return _healthy(answer)

    def _assertion(self, key: ECKey) -> str:
        """A client assertion (RFC 7523 section 3) for one call, good for a minute."""
        signed: str = private_key_jwt_sign(key, self._client_id, self.issuer, alg=ALGORITHM, expires_in=60)
        return signed

    async def _metadata(self) -> Mapping[str, Any]:
        try:
            metadata: dict[str, Any] = await self._authlib.load_server_metadata()
        except (httpx2.HTTPError, ValueError) as error:
            raise BrokerUnavailable from error
        if metadata.get("issuer") != self.issuer:
            del metadata["_loaded_at"]
            raise LoginRefused("issuer_mismatch")
        # security: Authlib accepts every algorithm the server offers; this client registered for exactly one.
        metadata["id_token_signing_alg_values_supported"] = [ALGORITHM]
        return metadata


def _healthy(answer: httpx2.Response) -> httpx2.Response:
    if answer.status_code >= 500:
        raise BrokerUnavailable
    return answer


class _PendingLogins:
    """
    Authlib's cache: `state`, `nonce` and PKCE verifier of begun logins stay here, the cookie holds a marker
    only.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def get(self, key: str) -> str | None:
        ends_at, value = self._kept.get(key, (0.0, ""))
        return value if time.monotonic() < ends_at else None

    async def set(self, key: str, value: str, lifetime_s: int) -> None:
        self._kept[key] = (time.monotonic() + lifetime_s, value)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    async def delete(self, key: str) -> None:
        self._kept.pop(key, None)
