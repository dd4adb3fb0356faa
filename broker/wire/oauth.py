"""
The client's side of OAuth 2.0 and OpenID Connect: what goes into a request, and what may be believed of an answer.

Nothing here fetches; `broker.wire.provider` does. authlib supplies the rules it has (PKCE challenge, metadata
members, registered error codes); the checks it leaves to its callers are made here.
"""

import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit

from authlib.oauth2.rfc6749 import errors as oauth_errors  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]
from authlib.oauth2.rfc9207 import (  # type: ignore[import-untyped]
    AuthorizationServerMetadata as IssuerParameterMetadata,
)
from authlib.oidc.core import errors as oidc_errors  # type: ignore[import-untyped]
from authlib.oidc.discovery import (  # type: ignore[import-untyped]
    OpenIDProviderMetadata,
    get_well_known_url,
)
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from msgspec import Struct

from broker.core.client_rules import ClientAuth
from broker.core.query import encoded
from broker.errors import Stopped, UpstreamDown, UpstreamRefused

_ASSERTION_LIFETIME_S: Final = 60
_MAX_CODE_CHARS: Final = 4096
_MAX_REQUEST_URI_CHARS: Final = 500
_REQUEST_LIFETIME_S: Final = 300
_MAX_ACCESS_TOKEN_CHARS: Final = 16 * 1024
_CODE_WORD: Final = re.compile(r"[a-z][a-z_]{0,59}")

_ILL: Final = frozenset({"server_error", "temporarily_unavailable"})
#: Refusals that only the operator can mend: our registration or our request is wrong.
_OUR_FAULT: Final = frozenset(
    error.error
    for error in (
        oauth_errors.InvalidRequestError,
        oauth_errors.InvalidClientError,
        oauth_errors.UnauthorizedClientError,
        oauth_errors.UnsupportedResponseTypeError,
        oauth_errors.UnsupportedGrantTypeError,
        oauth_errors.InvalidScopeError,
        oidc_errors.InvalidRequestObjectError,
        oidc_errors.RequestNotSupportedError,
    )
)


class ProviderMetadata(Struct, frozen=True):
    """
    What we use of a provider's discovery document (OpenID Connect Discovery section 3).

    ``sends_issuer``: it announces the ``iss`` response parameter (RFC 9207 section 3). ``par_endpoint``: where requests are
    pushed (RFC 9126 section 5).
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    id_token_algs: frozenset[str]
    sends_issuer: bool
    par_endpoint: str | None = None


class TokenAnswer(Struct, frozen=True):
    """A token endpoint's success (RFC 6749 section 5.1) with an ID token, none of it verified yet."""

    access_token: str
    unverified_id_token: str


class Authentication(Struct, frozen=True):
    """What client authentication adds to a token request: form members, and a name and password for Basic."""

    form: Mapping[str, str]
    basic: tuple[str, str] | None = None


class ClientKey(Struct, frozen=True):
    """Our private key for ``private_key_jwt`` and request objects, parsed once."""

    key: RSAKey | ECKey
    alg: str
    kid: str

    def public(self) -> dict[str, Any]:
        """The JWK to publish: no private part, ``use`` is ``sig``."""
        members = {name: value for name, value in self.key.as_dict(private=False).items() if name != "kid"}
        return {**members, "kid": self.kid, "use": "sig", "alg": self.alg}


def discovery_url(issuer: str) -> str:
    """Where *issuer* publishes its metadata (OpenID Connect Discovery section 4)."""
    return str(get_well_known_url(issuer, external=True))


def parse_metadata(document: Mapping[str, Any], *, expected_issuer: str) -> ProviderMetadata:
    """
    Check a discovery document.

    Raises:
        UpstreamDown: another issuer than the one asked (Discovery section 4.3), a member missing or of the wrong
            type, a browser address that is not https although the issuer is, or no code flow with S256.
    """
    if document.get("issuer") != expected_issuer:
        raise UpstreamDown("discovery names another issuer", code="provider.issuer")
    _check_members(document)
    authorization, token, keys = (
        _endpoint(document, name, expected_issuer) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
    )
    if "code" not in document["response_types_supported"]:
        raise UpstreamDown("the provider does not offer the code flow", code="provider.metadata")
    if "S256" not in document.get("code_challenge_methods_supported", ["S256"]):
        raise UpstreamDown("the provider does not offer PKCE with S256", code="provider.metadata")
    return ProviderMetadata(
        issuer=expected_issuer,
        authorization_endpoint=authorization,
        token_endpoint=token,
        jwks_uri=keys,
        userinfo_endpoint=_optional_endpoint(document, "userinfo_endpoint", expected_issuer),
        par_endpoint=_optional_endpoint(document, "pushed_authorization_request_endpoint", expected_issuer),
        id_token_algs=frozenset(document["id_token_signing_alg_values_supported"]),
        sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
    )


def pkce_challenge(verifier: str) -> str:
    """The S256 challenge of *verifier* (RFC 7636 section 4.2)."""
    return str(create_s256_code_challenge(verifier))


def authorization_url(endpoint: str, parameters: Mapping[str, str]) -> str:
    """*endpoint* with *parameters* added; a query it already has is kept (RFC 6749 section 3.1)."""
    joint = "&" if "?" in endpoint and urlsplit(endpoint).query else "?"
    return f"{endpoint}{joint}{encoded(parameters)}"


def read_callback(
    parameters: Mapping[str, str], *, expected_state: str, expected_issuer: str, sends_issuer: bool
) -> str:
    """
    Check an authorization response in the order that trusts least: state, issuer, error, code.

    Args:
        parameters: each exactly once.
        sends_issuer: the provider announced ``iss``, so a response without it is not its own.
    Returns: the code.
    Raises:
        Stopped: the customer cancelled. UpstreamDown: the provider is ill, or refuses us as a client.
        UpstreamRefused: foreign state or issuer, no code, or another refusal.
    Spec: RFC 6749 section 4.1.2, RFC 9207 section 2.4, OpenID Connect Core section 3.1.2.6.
    """
    if not hmac.compare_digest(parameters.get("state", "").encode("utf-8", "replace"), expected_state.encode()):
        raise UpstreamRefused("callback carries another state", code="callback.state")
    issuer = parameters.get("iss")
    # Checked whenever present: Google sends it without announcing it (openiddict/openiddict-core#2428).
    if issuer != expected_issuer and (issuer is not None or sends_issuer):
        raise UpstreamRefused("callback comes from another provider", code="callback.iss")
    if "error" in parameters:
        raise error_from(parameters["error"], where="callback")
    code = parameters.get("code", "")
    if not 1 <= len(code) <= _MAX_CODE_CHARS:
        raise UpstreamRefused("callback carries no usable code", code="callback.code")
    return code


def read_pushed_answer(status: int, answer: Mapping[str, Any]) -> str:
    """
    The ``request_uri`` for a pushed request (RFC 9126 section 2.2).

    Raises:
        UpstreamDown: the provider refuses our client or our request; UpstreamRefused: the answer lacks what it must have.
    """
    if status not in {200, 201}:
        raise error_from(answer.get("error"), where="pushed")
    reference = answer.get("request_uri")
    if not isinstance(reference, str) or not 1 <= len(reference) <= _MAX_REQUEST_URI_CHARS:
        raise UpstreamRefused("the pushed request got no usable request_uri", code="pushed.request_uri")
    if not reference.isascii() or not reference.isprintable():
        raise UpstreamRefused("request_uri has characters it may not have", code="pushed.request_uri")
    return reference


def read_token_answer(status: int, answer: Mapping[str, Any]) -> TokenAnswer:
    """
    Read the token endpoint's JSON.

    Raises:
        UpstreamRefused: the code was not accepted, or the answer lacks what OpenID Connect requires.
        UpstreamDown: the provider refuses us as a client.
    Spec: RFC 6749 sections 5.1 and 5.2, OpenID Connect Core section 3.1.3.3.
    """
    if status != 200:
        raise error_from(answer.get("error"), where="token")
    kind, access_token, id_token = (answer.get(name) for name in ("token_type", "access_token", "id_token"))
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise UpstreamRefused("token answer is not of type Bearer", code="token.type")
    if not isinstance(access_token, str) or not 1 <= len(access_token) <= _MAX_ACCESS_TOKEN_CHARS:
        raise UpstreamRefused("token answer has no usable access token", code="token.access_token")
    if not access_token.isascii() or not access_token.isprintable():
        raise UpstreamRefused("access token has characters it may not have", code="token.access_token")
    if not isinstance(id_token, str):
        raise UpstreamRefused("token answer has no ID token", code="token.id_token")
    return TokenAnswer(access_token, id_token)


def error_from(unverified_error: Any, *, where: str) -> Stopped | UpstreamRefused | UpstreamDown:
    """
    The broker's error for an OAuth error code; *where* it came up is ``callback``, ``token`` or ``pushed``.

    The code is named only when it is a plain word: it came from outside and ends in logs.
    """
    text = unverified_error if isinstance(unverified_error, str) else ""
    word = text if _CODE_WORD.fullmatch(text) else "unreadable"
    if where == "callback" and word == oauth_errors.AccessDeniedError.error:
        return Stopped("the customer cancelled at the provider", code="upstream.cancelled")
    if word in _ILL:
        return UpstreamDown(f"{where}: the provider says {word}", code=f"{where}.{word}")
    if word in _OUR_FAULT:
        return UpstreamDown(f"{where}: the provider refuses our client: {word}", code=f"{where}.{word}")
    return UpstreamRefused(f"{where}: the provider says {word}", code=f"{where}.{word}")


def authenticate_with_secret(method: ClientAuth, client_id: str, secret: str) -> Authentication:
    """Client authentication with a shared secret (RFC 6749 section 2.3.1: form-encoded inside Basic)."""
    if method is ClientAuth.SECRET_BASIC:
        return Authentication({}, (quote_plus(client_id), quote_plus(secret)))
    return Authentication({"client_id": client_id, "client_secret": secret})


def parse_client_key(pem: str) -> ClientKey:
    """
    A private key for ``private_key_jwt``: RSA of at least 2048 bits (RS256) or EC P-256 (ES256).

    Raises:
        ValueError: unreadable, or another kind of key. The text never quotes it.
    """
    problem = "not a PEM private key of RSA (2048 bits or more) or EC P-256"
    try:
        private = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(problem) from error
    key: RSAKey | ECKey
    match private:
        case rsa.RSAPrivateKey() if private.key_size >= 2048:
            key, alg = RSAKey.import_key(private), "RS256"
        case ec.EllipticCurvePrivateKey() if isinstance(private.curve, ec.SECP256R1):
            key, alg = ECKey.import_key(private), "ES256"
        case _:
            raise ValueError(problem)
    return ClientKey(key, alg, key.thumbprint())


def authenticate_with_key(key: ClientKey, *, client_id: str, audience: str, jti: str, now: datetime) -> Authentication:
    """
    Client authentication with a signed assertion that works once and for a minute.

    Args:
        audience: the provider's issuer (draft-ietf-oauth-rfc7523bis: one value, never a list), or what else it wants.
        jti: random and new.
    Spec: RFC 7523 sections 2.2 and 3, OpenID Connect Core section 9.
    """
    issued = int(now.timestamp())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": jti,
        "iat": issued,
        "exp": issued + _ASSERTION_LIFETIME_S,
    }
    assertion = jwt.encode({"alg": key.alg, "kid": key.kid}, claims, key.key, algorithms=[key.alg])
    return Authentication(
        {
            "client_id": client_id,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
        }
    )


def signed_request(
    key: ClientKey, parameters: Mapping[str, Any], *, client_id: str, audience: str, typ: str, jti: str, now: datetime
) -> str:
    """
    A request object: the *parameters* of an authorization request under our signature, good once and for minutes.

    Args:
        audience: the provider's issuer.
        typ: ``oauth-authz-req+jwt`` (RFC 9101 section 10.8), or ``JWT`` for providers that knew OpenID Connect first.
    Spec: RFC 9101 sections 4 and 10.8, OpenID Connect Core section 6.1.
    """
    issued = int(now.timestamp())
    claims = {
        **parameters,
        "iss": client_id,
        "aud": audience,
        "jti": jti,
        "iat": issued,
        "nbf": issued,
        "exp": issued + _REQUEST_LIFETIME_S,
    }
    return jwt.encode({"alg": key.alg, "kid": key.kid, "typ": typ}, claims, key.key, algorithms=[key.alg])


def signed_document(key: ClientKey, claims: Mapping[str, Any], *, typ: str) -> str:
    """*claims* under our signature, for whoever knows *key*: a signed key set, an entity statement."""
    return jwt.encode({"alg": key.alg, "kid": key.kid, "typ": typ}, dict(claims), key.key, algorithms=[key.alg])


def _check_members(document: Mapping[str, Any]) -> None:
    """authlib's rules for the members we use; its https rule is left to `Fetcher`, which knows listed networks."""
    metadata = OpenIDProviderMetadata(document)
    issuer_parameter = IssuerParameterMetadata(document)
    try:
        metadata.validate_response_types_supported()
        metadata.validate_token_endpoint_auth_methods_supported()
        issuer_parameter.validate_authorization_response_iss_parameter_supported()
        for name in ("id_token_signing_alg_values_supported", "code_challenge_methods_supported"):
            values = document.get(name, [])
            if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
                raise ValueError(f"{name} is not a list of texts")
        if not document.get("id_token_signing_alg_values_supported"):
            raise ValueError("id_token_signing_alg_values_supported is missing")
    except (ValueError, TypeError) as error:
        raise UpstreamDown(f"discovery: {error}", code="provider.metadata") from error


def _optional_endpoint(document: Mapping[str, Any], name: str, issuer: str) -> str | None:
    return _endpoint(document, name, issuer) if name in document else None


def _endpoint(document: Mapping[str, Any], name: str, issuer: str) -> str:
    """An address from discovery; plain http only where the issuer itself is plain http."""
    value = document.get(name)
    parts = urlsplit(value) if isinstance(value, str) else None
    allowed = {"https", urlsplit(issuer).scheme}
    if not isinstance(value, str) or parts is None or parts.scheme not in allowed or not parts.hostname:
        raise UpstreamDown(f"discovery: {name} is missing or not https", code="provider.metadata")
    if parts.fragment or parts.username is not None or not value.isascii() or not value.isprintable():
        raise UpstreamDown(f"discovery: {name} is not a plain address", code="provider.metadata")
    return value
