"""
The authorization endpoint (OpenID Connect Core section 3.1.2, RFC 6749 section 4.1.1), and the one requests are pushed to.

First the client and its redirect URI are proven; until then nothing is ever redirected. Everything after that is answered
at the redirect URI, with ``state`` and ``iss`` (RFC 9207).
"""

from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from broker.core.changing import replace
from broker.core.journey import Ask
from broker.core.policy import Policy
from broker.downstream.clients import CLIENT_AUTHENTICATION, Clients
from broker.downstream.oidc import checks
from broker.downstream.oidc.access_tokens import check_resource
from broker.downstream.oidc.answers import authorization_response
from broker.downstream.oidc.checks import Proven, prove
from broker.downstream.replies import json_reply, note_refusal, oauth_error, partner_endpoint
from broker.errors import BadAsk, Denied, NeedsCustomer, StafettError, StoreDown
from broker.flows.handoff import Handoffs
from broker.flows.login import Logins
from broker.flows.tokens import TokenFlow
from broker.flows.values import Visitor
from broker.web import params as web_params
from broker.web.hub import Hub
from broker.web.visitor import visitor_of
from broker.wire.jose import Keyring

REQUEST_URI = "urn:ietf:params:oauth:request_uri:"

_MAX_LOCATION = 7 * 1024
"""Longer than this, and the server itself refuses the address (`broker.web.middleware`)."""


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
        visitor = visitor_of(request, policy.broker, ui_locales=asked.get("ui_locales"))
        try:
            checks.check_pushed(proven.oidc, pushed)
            ask = replace(self._ask(asked, proven, policy), pushed=pushed)
            turn = await self._logins.begin(ask, visitor)
            return await self._hub.go(request, visitor, turn, policy)
        except (BadAsk, NeedsCustomer, Denied) as error:
            return self._refuse(error, request, visitor, proven, policy)
        except StoreDown as error:
            if asked.get("prompt") != "none":
                raise
            # Nobody looks at a silent request's page: the partner must hear that it should try again.
            return self._refuse(error, request, visitor, proven, policy)

    async def post(self, request: Request) -> Response:
        """
        The request as a form.

        A cross-site POST comes without our SameSite=Lax cookies; a GET to ourselves brings them back.
        """
        asked = await web_params.form(request)
        again = f"/authorize?{urlencode(asked)}"
        if not asked.get("request_uri", "").startswith(REQUEST_URI):
            policy = self._policy()
            proven = prove(asked, policy)
            if len(again) > _MAX_LOCATION:
                error = BadAsk("the request is too long; push it (RFC 9126)", code="authorize.size")
                return self._refuse(error, request, visitor_of(request, policy.broker), proven, policy)
        return RedirectResponse(again, status_code=303)

    @partner_endpoint
    async def push(self, request: Request) -> Response:
        """
        The request by way of the client's server (RFC 9126): checked now, opened later by its ``request_uri``.
        """
        form = await web_params.form(request)
        client = await self._clients.identify(request, form)
        asked = {name: value for name, value in form.items() if name not in CLIENT_AUTHENTICATION}
        asked["client_id"] = client.oidc.client_id
        policy = self._policy()
        self._ask(asked, prove(asked, policy), policy)
        unproven = visitor_of(request, policy.broker).address if client.oidc.rules.is_public else None
        reference, lifetime_s = await self._tokens.push(client.id, asked, unproven=unproven)
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
        return await self._tokens.pushed(request_uri.removeprefix(REQUEST_URI), partner)

    def _ask(self, asked: Mapping[str, str], proven: Proven, policy: Policy) -> Ask:
        """The checked request. Raises BadAsk, from the first check that fails."""
        checks.check_response_type(asked)
        checks.check_unsupported(asked)
        check_resource(asked, proven.partner_id, policy)
        claims = checks.checked_claims(asked)
        return Ask(
            partner=proven.partner_id,
            redirect_uri=proven.redirect_uri,
            state=proven.state,
            response_mode=checks.checked_response_mode(asked, proven),
            nonce=checks.checked_nonce(asked),
            scopes=checks.checked_scopes(asked),
            code_challenge=checks.checked_challenge(asked, proven.oidc),
            prompt=checks.checked_prompt(asked),
            max_age_s=checks.checked_max_age(asked),
            claims=claims,
            acr_values=checks.checked_acr_values(asked, claims),
            login_hint=asked.get("login_hint"),
            hinted_subject=checks.checked_subject(asked, claims, proven, self._keyring, policy.issuer),
            handoff=self._handoffs.referred(asked.get("login_hint"), proven.partner_id),
        )

    def _refuse(
        self, error: StafettError, request: Request, visitor: Visitor, proven: Proven, policy: Policy
    ) -> Response:
        """The error as an answer at the proven address (RFC 6749 section 4.1.2.1)."""
        code, sentence = oauth_error(error)
        note_refusal(error, 303)
        answer = {"error": code, "error_description": sentence}
        return self._hub.leave_for(
            request,
            visitor,
            authorization_response(proven.redirect_uri, answer, proven.state, policy.issuer, proven.response_mode),
        )
