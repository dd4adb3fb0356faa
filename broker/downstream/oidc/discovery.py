"""
What client libraries configure themselves by (OpenID Connect Discovery 1.0 section 3, RFC 8414).
"""

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.core.assurance import acr_values
from broker.core.client_rules import ASSERTION_ALGS, ClientAuth, SigningAlg
from broker.core.policy import Policy, SubjectType
from broker.core.release import OFFLINE, SCOPE_OF_CLAIM
from broker.downstream.oidc.checks import RESPONSE_MODES
from broker.downstream.oidc.token import GRANT_TYPES
from broker.wire.jose import Keyring

_MAX_AGE_S = 900
_PROVEN = [method.value for method in ClientAuth if method is not ClientAuth.NONE]


CALLED_BY_SCRIPTS = {"/token": "POST", "/userinfo": "GET, POST", "/revoke": "POST"}
"""What a page without a server of its own needs, for the origins of such partners only."""
READ_BY_ALL = dict.fromkeys(
    ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks"), "GET"
)
"""What is the same for everybody."""


def document(policy: Policy) -> dict[str, Any]:
    """The metadata document."""
    issuer = policy.issuer
    handed = sorted({name for agreement in policy.config.agreements for name in agreement.types if agreement.enabled})
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "jwks_uri": f"{issuer}/jwks",
        "end_session_endpoint": f"{issuer}/logout",
        "introspection_endpoint": f"{issuer}/introspect",
        "introspection_endpoint_auth_methods_supported": _PROVEN,
        "introspection_endpoint_auth_signing_alg_values_supported": list(ASSERTION_ALGS),
        "revocation_endpoint": f"{issuer}/revoke",
        "revocation_endpoint_auth_methods_supported": [method.value for method in ClientAuth],
        "revocation_endpoint_auth_signing_alg_values_supported": list(ASSERTION_ALGS),
        "pushed_authorization_request_endpoint": f"{issuer}/par",
        "require_pushed_authorization_requests": False,
        "response_types_supported": ["code"],
        "response_modes_supported": list(RESPONSE_MODES),
        "grant_types_supported": list(GRANT_TYPES),
        "subject_types_supported": [kind.value for kind in SubjectType],
        "id_token_signing_alg_values_supported": [alg.value for alg in SigningAlg],
        "userinfo_signing_alg_values_supported": [alg.value for alg in SigningAlg],
        "token_endpoint_auth_methods_supported": [method.value for method in ClientAuth],
        "token_endpoint_auth_signing_alg_values_supported": list(ASSERTION_ALGS),
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", *dict.fromkeys(SCOPE_OF_CLAIM.values()), OFFLINE, "handoff:read"],
        "claims_supported": [
            "sub",
            "iss",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "nonce",
            "acr",
            "amr",
            "sid",
            *SCOPE_OF_CLAIM,
            "email_verified",
            "phone_number_verified",
        ],
        "acr_values_supported": list(acr_values()),
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "ui_locales_supported": list(policy.broker.languages),
        "authorization_response_iss_parameter_supported": True,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "frontchannel_logout_supported": True,
        "frontchannel_logout_session_supported": True,
        "authorization_details_types_supported": [f"{issuer}/handoff/{name}" for name in handed],
        "claims_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }


class Discovery:
    """The two public documents; each is rendered once per config version."""

    def __init__(self, policy: Callable[[], Policy], keyring: Keyring) -> None:
        self._policy = policy
        self._keyring = keyring
        self._rendered: tuple[str, bytes] = ("", b"")

    async def configuration(self, request: Request) -> Response:
        """``/.well-known/openid-configuration``."""
        policy = self._policy()
        if self._rendered[0] != policy.version:
            self._rendered = (policy.version, json.dumps(document(policy), separators=(",", ":")).encode())
        return _public(self._rendered[1], "application/json")

    async def jwks(self, request: Request) -> Response:
        """The public keys (RFC 7517 section 5)."""
        max_age_s = int(self._policy().broker.keys.jwks_max_age.total_seconds())
        return _public(self._keyring.jwks(), "application/jwk-set+json", max_age_s)

    def routes(self) -> list[Route]:
        """Both documents, and the OAuth name of the first (RFC 8414 section 3)."""
        return [
            Route("/.well-known/openid-configuration", self.configuration),
            Route("/.well-known/oauth-authorization-server", self.configuration),
            Route("/jwks", self.jwks),
        ]


def _public(body: bytes, media_type: str, max_age_s: int = _MAX_AGE_S) -> Response:
    headers = {"Cache-Control": f"public, max-age={max_age_s}", "Access-Control-Allow-Origin": "*"}
    return Response(body, media_type=media_type, headers=headers)
