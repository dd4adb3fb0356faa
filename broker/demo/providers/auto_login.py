"""
An OpenID Connect provider that logs one test person in at once, without a page: for machines that test the broker.

The certification suite drives logins with a browser of its own (docs/conformance.md); what it looks at is the broker, so the
provider behind it must only be there, obey ``prompt=login`` and ``max_age``, and say when it authenticated. Production refuses
it like every provider on this machine.

    python -m broker.demo.providers.auto_login --callback https://localhost:9443/up/test/callback --secret-file FILE
"""

import argparse
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT_ID = "stafett"

#: What the one person there is says of herself.
PERSON: Mapping[str, Any] = {
    "sub": "test-person",
    "name": "Tova Test",
    "given_name": "Tova",
    "family_name": "Test",
    "birthdate": "1990-01-31",
    "email": "tova@conformance.example",
    "email_verified": True,
    "phone_number": "+46701740605",
    "phone_number_verified": True,
}

_LIFETIME_S = 300


@dataclass
class Provider:
    """``callbacks``: addresses codes may be sent to, exactly."""

    issuer: str
    secret: str
    callbacks: frozenset[str]
    clock: Callable[[], datetime]
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "test"}))
    nonces: dict[str, str] = field(default_factory=dict)

    def now_s(self) -> int:
        """Seconds since the epoch."""
        return int(self.clock().timestamp())

    async def discovery(self, request: Request) -> Response:
        """What the broker configures itself by."""
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def jwks(self, request: Request) -> Response:
        """The public key."""
        return JSONResponse({"keys": [{**self.key.as_dict(private=False), "use": "sig", "alg": "RS256"}]})

    async def authorize(self, request: Request) -> Response:
        """Back at once, with a code; only to a registered address."""
        asked = request.query_params
        if asked.get("client_id") != CLIENT_ID or asked.get("redirect_uri") not in self.callbacks:
            return PlainTextResponse("unknown client or redirect_uri", status_code=400)
        code = secrets.token_urlsafe(32)
        self.nonces[code] = asked.get("nonce", "")
        answer = urlencode({"code": code, "state": asked.get("state", "")})
        return RedirectResponse(f"{asked['redirect_uri']}?{answer}", status_code=303)

    async def token(self, request: Request) -> Response:
        """The ID token; every login here is a new one."""
        form = await request.form()
        code = form.get("code")
        is_known = hmac.compare_digest(str(form.get("client_secret", "")).encode(), self.secret.encode())
        if not is_known or not isinstance(code, str) or code not in self.nonces:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        now = self.now_s()
        claims = {
            **PERSON,
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + _LIFETIME_S,
            "auth_time": now,
            "nonce": self.nonces.pop(code),
        }
        signed = jwt.encode({"alg": "RS256", "kid": "test"}, claims, self.key)
        return JSONResponse({"access_token": secrets.token_urlsafe(32), "token_type": "Bearer", "id_token": signed})


def create_app(*, issuer: str, secret: str, callbacks: Sequence[str], clock: Callable[[], datetime]) -> Starlette:
    """
    Build the provider.

    Args:
        issuer: its own origin without a slash at the end. secret: of the client ``stafett`` (client_secret_post).
        callbacks: the broker's callback addresses. clock: aware UTC now.
    """
    provider = Provider(issuer, secret, frozenset(callbacks), clock)
    return Starlette(
        routes=[
            Route("/.well-known/openid-configuration", provider.discovery),
            Route("/jwks", provider.jwks),
            Route("/authorize", provider.authorize),
            Route("/token", provider.token, methods=["POST"]),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve on this machine until told to stop."""
    parser = argparse.ArgumentParser(prog="auto_login", description="Logs one test person in at once.")
    parser.add_argument("--port", type=int, default=9703)
    parser.add_argument("--callback", action="append", required=True, help="{issuer}/up/NAME/callback; may be repeated")
    parser.add_argument("--secret-file", type=Path, required=True)
    given = parser.parse_args(arguments)
    app = create_app(
        issuer=f"http://127.0.0.1:{given.port}",
        secret=given.secret_file.read_text("utf-8").strip(),
        callbacks=given.callback,
        clock=lambda: datetime.now(UTC),
    )
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
