"""
What an authorization request must be: one check per rule, in the order `Authorize` reads them.

Each takes the parameters as sent (every one at most once, none empty: `broker.web.params`) and returns the checked value,
or raises BadAsk with the registered error code.
"""

from collections.abc import Mapping

from msgspec import Struct

from broker.core.challenge import is_challenge
from broker.core.claims_request import NOTHING, ClaimsRequest, parse_claims
from broker.core.policy import PartnerOidc, Policy
from broker.core.release import SCOPE_OF_CLAIM
from broker.errors import BadAsk
from broker.wire.jose import BadToken, Keyring

FORM_POST = "form_post"
RESPONSE_MODES = ("query", FORM_POST)

_PROMPTS = frozenset({"none", "login", "consent", "select_account"})
_MAX_STATE = 4096
_MAX_NONCE = 1024


class Proven(Struct, frozen=True):
    """Client and redirect URI fit together: answers, errors included, may be sent there, by ``response_mode``."""

    partner_id: str
    oidc: PartnerOidc
    redirect_uri: str
    state: str | None
    response_mode: str


def prove(asked: Mapping[str, str], policy: Policy) -> Proven:
    """
    Client and redirect URI, compared exactly (RFC 9700 section 4.1.3). Raises BadAsk, which is shown here and never redirected.
    """
    client_id = asked.get("client_id")
    partner_id = policy.partner_of_client(client_id) if client_id else None
    partner = policy.partner(partner_id) if partner_id else None
    if partner_id is None or partner is None or partner.oidc is None:
        raise BadAsk("client_id is missing or unknown", code="authorize.client")
    redirect_uri = asked.get("redirect_uri")
    if redirect_uri is None or not partner.oidc.may_answer_at(redirect_uri):
        raise BadAsk("redirect_uri is not registered", code="authorize.redirect_uri", partner=partner_id)
    state = asked.get("state")
    if state is not None and len(state) > _MAX_STATE:
        raise BadAsk("state is too long", code="authorize.state", partner=partner_id)
    by_form = asked.get("response_mode") == FORM_POST and _takes_forms(redirect_uri)
    return Proven(partner_id, partner.oidc, redirect_uri, state, FORM_POST if by_form else "query")


def _takes_forms(redirect_uri: str) -> bool:
    """An app's own scheme opens the app with an address; there is nobody to read a body."""
    return redirect_uri.startswith(("http://", "https://"))


def check_pushed(oidc: PartnerOidc, pushed: str | None) -> None:
    """Where the client's rules demand it, only pushed requests (RFC 9126 section 5)."""
    if oidc.rules.require_par and pushed is None:
        raise BadAsk("this client must push its authorization requests (RFC 9126)", code="authorize.par")


def check_response_type(asked: Mapping[str, str]) -> None:
    """Only the code flow (RFC 9700 section 2.1.2)."""
    if "response_type" not in asked:
        raise BadAsk("response_type is missing", code="authorize.response_type")
    if asked["response_type"] != "code":
        raise BadAsk("only response_type=code", oauth_error="unsupported_response_type", code="authorize.response_type")


def checked_response_mode(asked: Mapping[str, str], proven: Proven) -> str:
    """In the query, or in the body of a POST by the browser (OAuth 2.0 Form Post Response Mode section 2)."""
    if asked.get("response_mode", "query") != proven.response_mode:
        raise BadAsk("only response_mode=query, and form_post for a web address", code="authorize.response_mode")
    return proven.response_mode


def check_unsupported(asked: Mapping[str, str]) -> None:
    """Request objects are not read here; ignoring one would ignore what the client signed (Core section 3.1.2.6)."""
    if "request" in asked:
        raise BadAsk("request objects are not supported", oauth_error="request_not_supported")
    if "request_uri" in asked:
        raise BadAsk("request_uri is not supported", oauth_error="request_uri_not_supported")
    if "registration" in asked:
        raise BadAsk("registration is not supported", oauth_error="registration_not_supported")


def checked_nonce(asked: Mapping[str, str]) -> str | None:
    """The nonce, returned unchanged in the ID token."""
    nonce = asked.get("nonce")
    if nonce is not None and len(nonce) > _MAX_NONCE:
        raise BadAsk("nonce is too long", code="authorize.nonce")
    return nonce


def checked_scopes(asked: Mapping[str, str]) -> tuple[str, ...]:
    """The scopes, ``openid`` among them; unknown ones are kept and have no effect (Core section 3.1.2.1)."""
    scopes = tuple(dict.fromkeys(asked.get("scope", "").split()[:50]))
    if "openid" not in scopes:
        raise BadAsk("scope must contain openid", oauth_error="invalid_scope", code="authorize.scope")
    return scopes


def checked_challenge(asked: Mapping[str, str], oidc: PartnerOidc) -> str | None:
    """PKCE with S256 (RFC 7636); without it only where the client's rules say so."""
    challenge = asked.get("code_challenge")
    if challenge is None:
        if oidc.rules.require_pkce or "code_challenge_method" in asked:
            raise BadAsk("code_challenge is missing", code="authorize.pkce")
        return None
    if asked.get("code_challenge_method") != "S256":
        raise BadAsk("code_challenge_method must be S256", code="authorize.pkce")
    if not is_challenge(challenge):
        raise BadAsk("code_challenge is malformed", code="authorize.pkce")
    return challenge


def checked_prompt(asked: Mapping[str, str]) -> tuple[str, ...]:
    """``none`` stands alone (Core section 3.1.2.1); values we do not know are ignored."""
    values = tuple(dict.fromkeys(asked.get("prompt", "").split()))
    if "none" in values and len(values) > 1:
        raise BadAsk("prompt=none must stand alone", code="authorize.prompt")
    return tuple(value for value in values if value in _PROMPTS)


def checked_max_age(asked: Mapping[str, str]) -> int | None:
    """Seconds, a whole number from 0."""
    value = asked.get("max_age")
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise BadAsk("max_age must be a whole number of seconds", code="authorize.max_age")
    return int(value)


def checked_claims(asked: Mapping[str, str]) -> ClaimsRequest:
    """Claims asked for by name (Core section 5.5)."""
    text = asked.get("claims")
    return NOTHING if text is None else parse_claims(text, known=SCOPE_OF_CLAIM)


def checked_acr_values(asked: Mapping[str, str], claims: ClaimsRequest) -> tuple[str, ...]:
    """
    Voluntary ``acr`` values. Both ways of asking at once is unspecified (Core section 5.5.1.1): the claim wins.
    """
    return claims.acr_values or tuple(asked.get("acr_values", "").split()[:20])


def checked_subject(
    asked: Mapping[str, str], claims: ClaimsRequest, proven: Proven, keyring: Keyring, issuer: str
) -> str | None:
    """Who must be logged in: by an ID token given back as a hint, or by name (Core sections 3.1.2.1 and 5.5.1)."""
    hinted = _hinted(asked.get("id_token_hint"), proven, keyring, issuer)
    if hinted is not None and claims.subject not in {None, hinted}:
        raise BadAsk("id_token_hint and claims name different customers", code="authorize.id_token_hint")
    return hinted or claims.subject


def _hinted(hint: str | None, proven: Proven, keyring: Keyring, issuer: str) -> str | None:
    if hint is None:
        return None
    try:
        claims = keyring.id_token_hint(hint, issuer=issuer)
    except BadToken as error:
        raise BadAsk(f"id_token_hint: {error}", code="authorize.id_token_hint") from error
    if claims.get("aud") != proven.oidc.client_id:
        raise BadAsk("id_token_hint was issued to another client", code="authorize.id_token_hint")
    return str(claims["sub"])
