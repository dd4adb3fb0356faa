"""
The authorization endpoint (OpenID Connect Core section 3.1.2, RFC 6749 section 4.1.1).

First the client and its redirect URI are proven; until then nothing is ever redirected. Everything after that is answered
at the redirect URI, with ``state`` and ``iss`` (RFC 9207).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from broker.core.challenge import is_challenge
from broker.core.journey import Ask
from broker.core.naming import name_of
from broker.core.policy import PartnerOidc, Policy
from broker.downstream.clients import CLIENT_AUTHENTICATION, Clients
from broker.downstream.partners import authorization_response
from broker.downstream.replies import json_reply, note_refusal, oauth_error, partner_endpoint
from broker.errors import BadAsk, Denied, NeedsCustomer, StafettError, StoreDown
from broker.flows.handoff import Handoffs
from broker.flows.login import Logins
from broker.flows.tokens import TokenFlow
from broker.web import params as web_params
from broker.web.hub import Hub
from broker.web.visitor import visitor_of
from broker.wire.jose import BadToken, Keyring

_PROMPTS = frozenset({"none", "login", "consent", "select_account"})
_MAX_STATE = 4096
_MAX_NONCE = 1024


@dataclass(frozen=True, slots=True)
class Proven:
    """Client and redirect URI fit together: errors may be sent there."""

    partner_id: str
    oidc: PartnerOidc
    redirect_uri: str
    state: str | None


REQUEST_URI = "urn:ietf:params:oauth:request_uri:"


class Authorize:
    """``/authorize`` and ``/par``."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        clients: Clients,
        logins: Logins,
        tokens: TokenFlow,
        handoffs: Handoffs,
        keyring: Keyring,
        hub: Hub,
    ) -> None:
        self._policy = policy
        self._clients = clients
        self._logins = logins
        self._tokens = tokens
        self._handoffs = handoffs
        self._keyring = keyring
        self._hub = hub

    async def get(self, request: Request) -> Response:
        """The request as a link or redirect."""
        policy = self._policy()
        asked, pushed = await self._opened(web_params.query(request), policy)
        proven = prove(asked, policy)
        visitor = visitor_of(request, policy.broker)
        try:
            check_pushed(proven.oidc, pushed)
            ask = replace(self._ask(asked, proven, policy), pushed=pushed)
            turn = await self._logins.begin(ask, visitor)
            return await self._hub.go(request, visitor, turn, policy)
        except (BadAsk, NeedsCustomer, Denied) as error:
            return self._refuse(error, proven, policy)
        except StoreDown as error:
            if asked.get("prompt") != "none":
                raise
            # Nobody looks at a silent request's page: the partner must hear that it should try again.
            return self._refuse(error, proven, policy)

    async def post(self, request: Request) -> Response:
        """
        The request as a form.

        A cross-site POST comes without our SameSite=Lax cookies; a GET to ourselves brings them back.
        """
        asked = await web_params.form(request)
        if REQUEST_URI not in asked.get("request_uri", ""):
            prove(asked, self._policy())
        return RedirectResponse(f"/authorize?{urlencode(asked)}", status_code=303)

    @partner_endpoint
    async def push(self, request: Request) -> Response:
        """
        The request by way of the client's server (RFC 9126): checked now, opened later by its ``request_uri``.
        """
        form = dict(await web_params.form(request))
        client = await self._clients.identify(request, form)
        asked = {name: value for name, value in form.items() if name not in CLIENT_AUTHENTICATION}
        asked["client_id"] = client.oidc.client_id
        policy = self._policy()
        self._ask(asked, prove(asked, policy), policy)
        reference, lifetime_s = await self._tokens.push(client.id, asked)
        return json_reply({"request_uri": REQUEST_URI + reference, "expires_in": lifetime_s}, 201)

    def routes(self) -> list[Route]:
        """Both methods (Core section 3.1.2.1), and the pushed one."""
        return [
            Route("/authorize", self.get, methods=["GET"]),
            Route("/authorize", self.post, methods=["POST"]),
            Route("/par", self.push, methods=["POST"]),
        ]

    async def _opened(self, asked: Mapping[str, str], policy: Policy) -> tuple[Mapping[str, str], str | None]:
        """
        The request itself: the pushed one where ``request_uri`` names one, of which nothing in the query is mixed in
        (RFC 9126 section 4), and its name; else the query.
        """
        request_uri = asked.get("request_uri", "")
        if not request_uri.startswith(REQUEST_URI):
            return asked, None
        partner = policy.partner_of_client(asked.get("client_id", ""))
        if partner is None:
            raise BadAsk("client_id is missing or unknown", code="authorize.client")
        reference = request_uri.removeprefix(REQUEST_URI)
        return await self._tokens.pushed(reference, partner), name_of(reference)

    def _ask(self, asked: Mapping[str, str], proven: Proven, policy: Policy) -> Ask:
        """The checked request. Raises BadAsk, from the first check that fails."""
        check_response_type(asked)
        check_unsupported(asked)
        return Ask(
            partner=proven.partner_id,
            redirect_uri=proven.redirect_uri,
            state=proven.state,
            nonce=checked_nonce(asked),
            scopes=checked_scopes(asked),
            code_challenge=checked_challenge(asked, proven.oidc),
            prompt=checked_prompt(asked),
            max_age_s=checked_max_age(asked),
            acr_values=tuple(asked.get("acr_values", "").split()[:20]),
            login_hint=asked.get("login_hint"),
            hinted_subject=self._hinted_subject(asked, proven, policy),
            handoff=self._handoffs.referred(asked.get("login_hint"), proven.partner_id),
        )

    def _hinted_subject(self, asked: Mapping[str, str], proven: Proven, policy: Policy) -> str | None:
        hint = asked.get("id_token_hint")
        if hint is None:
            return None
        try:
            claims = self._keyring.id_token_hint(hint, issuer=policy.issuer)
        except BadToken as error:
            raise BadAsk(f"id_token_hint: {error}", code="authorize.id_token_hint") from error
        if claims.get("aud") != proven.oidc.client_id:
            raise BadAsk("id_token_hint was issued to another client", code="authorize.id_token_hint")
        return str(claims["sub"])

    @staticmethod
    def _refuse(error: StafettError, proven: Proven, policy: Policy) -> Response:
        code, sentence = oauth_error(error)
        note_refusal(error, 303)
        answer = {"error": code, "error_description": sentence}
        url = authorization_response(proven.redirect_uri, answer, proven.state, policy.issuer)
        return RedirectResponse(url, status_code=303)


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
    return Proven(partner_id, partner.oidc, redirect_uri, state)


def check_pushed(oidc: PartnerOidc, pushed: str | None) -> None:
    """Where the partner's config demands it, only pushed requests."""
    if oidc.rules.require_par and pushed is None:
        raise BadAsk("this client must push its authorization requests (RFC 9126)", code="authorize.par")


def check_response_type(asked: Mapping[str, str]) -> None:
    """Only the code flow; answers only in the query."""
    if "response_type" not in asked:
        raise BadAsk("response_type is missing", code="authorize.response_type")
    if asked["response_type"] != "code":
        raise BadAsk("only response_type=code", oauth_error="unsupported_response_type", code="authorize.response_type")
    if asked.get("response_mode", "query") != "query":
        raise BadAsk("only response_mode=query", code="authorize.response_mode")


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
    """PKCE with S256 (RFC 7636); without it only where the partner's config says so."""
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
