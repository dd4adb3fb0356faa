"""
The token endpoint (OpenID Connect Core section 3.1.3, RFC 6749 section 4.1.3).
"""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.core.policy import PartnerOidc, Policy
from broker.downstream.clients import Client, Clients
from broker.downstream.oidc.access_tokens import AccessTokens, check_resource
from broker.downstream.replies import json_reply, partner_endpoint
from broker.errors import BadAsk
from broker.flows.context import Clock
from broker.flows.tokens import Redeemed, TokenFlow
from broker.flows.values import Grant
from broker.web import params
from broker.wire.jose import Keyring, at_hash

GRANT_TYPES = ("authorization_code", "refresh_token")


class Token:
    """``/token``."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        clients: Clients,
        tokens: TokenFlow,
        access_tokens: AccessTokens,
        keyring: Keyring,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._clients = clients
        self._tokens = tokens
        self._access_tokens = access_tokens
        self._keyring = keyring
        self._clock = clock

    @partner_endpoint
    async def post(self, request: Request) -> Response:
        """Exchange a code or a refresh token. What is checked, in this order; `TokenFlow` checks the rest."""
        form = await params.form(request)
        client = await self._clients.identify(request, form)
        oidc = client.oidc
        grant_type = checked_grant_type(form)
        check_resource(form, client.id, self._policy())
        if grant_type == "refresh_token":
            return json_reply(self._answer(await self._refresh(form, client), oidc, is_refresh=True))
        return json_reply(self._answer(await self._code(form, client), oidc))

    def routes(self) -> list[Route]:
        """POST only."""
        return [Route("/token", self.post, methods=["POST"])]

    async def _code(self, form: Mapping[str, str], client: Client) -> Redeemed:
        """RFC 6749 section 4.1.3."""
        return await self._tokens.redeem(
            checked(form, "code"),
            partner=client.id,
            redirect_uri=form.get("redirect_uri"),
            code_verifier=form.get("code_verifier"),
        )

    async def _refresh(self, form: Mapping[str, str], client: Client) -> Redeemed:
        """RFC 6749 section 6."""
        scopes = [scope for scope in form.get("scope", "").split(" ") if scope]
        return await self._tokens.refresh(checked(form, "refresh_token"), partner=client.id, scopes=scopes)

    def _answer(self, redeemed: Redeemed, oidc: PartnerOidc, *, is_refresh: bool = False) -> dict[str, Any]:
        """RFC 6749 section 5.1, OpenID Connect Core sections 3.1.3.3 and 12.2."""
        policy, grant = self._policy(), redeemed.grant
        access_token = self._access_tokens.given(redeemed, oidc.client_id)
        answer: dict[str, Any] = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": redeemed.expires_in,
            "scope": " ".join(grant.scopes),
        }
        if "openid" in grant.scopes:
            claims = id_token_claims(grant, policy, client_id=oidc.client_id, now_s=int(self._clock().timestamp()))
            claims["at_hash"] = at_hash(access_token)
            if is_refresh:
                claims.pop("nonce", None)  # Core section 12.2: a refreshed ID token should not have one
            answer["id_token"] = self._keyring.sign(claims, alg=oidc.rules.id_token_alg.value)
        if redeemed.refresh_token is not None:
            answer["refresh_token"] = redeemed.refresh_token
        if grant.handoff is not None:
            kind = f"{policy.issuer}/handoff/{grant.handoff_claim['type']}"
            answer["authorization_details"] = [{"type": kind, "handoff": grant.handoff}]
        return answer


def checked_grant_type(form: Mapping[str, str]) -> str:
    """One of the two there are (RFC 6749 section 5.2)."""
    grant_type = form.get("grant_type", "")
    if grant_type not in GRANT_TYPES:
        raise BadAsk("grant_type must be authorization_code or refresh_token", oauth_error="unsupported_grant_type")
    return grant_type


def checked(form: Mapping[str, str], name: str) -> str:
    """A parameter that must be there."""
    if name not in form:
        raise BadAsk(f"{name} is missing", code=f"token.{name}")
    return form[name]


def id_token_claims(grant: Grant, policy: Policy, *, client_id: str, now_s: int) -> dict[str, Any]:
    """Claims of the ID token (Core section 2): who and how, and for a handoff its reference; never the data."""
    claims: dict[str, Any] = {
        **grant.id_token_claims,
        "iss": policy.issuer,
        "sub": grant.subject,
        "aud": client_id,
        "iat": now_s,
        "exp": now_s + int(policy.broker.lifetimes.id_token.total_seconds()),
        "acr": grant.acr,
        "sid": grant.sid,
    }
    if grant.auth_time is not None:
        claims["auth_time"] = grant.auth_time
    if grant.amr:
        claims["amr"] = list(grant.amr)
    if grant.nonce is not None:
        claims["nonce"] = grant.nonce
    if grant.handoff_claim:
        claims["handoff"] = dict(grant.handoff_claim)
    return claims
