"""
Single sign-on (saml-profiles-2.0-os, section 4.1): a request by HTTP-Redirect or HTTP-POST.

First the sender, its signature and its assertion consumer are proven; until then nothing is ever answered anywhere but on a
page of ours. Everything after that is answered there, as a status.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from broker.core.journey import Ask
from broker.core.policy import Policy
from broker.downstream.replies import note_refusal
from broker.downstream.saml import checks
from broker.downstream.saml.answers import Address, SamlAnswers
from broker.downstream.saml.checks import Proven
from broker.downstream.saml.forms import not_taken, once
from broker.downstream.saml.services import Services
from broker.downstream.saml.statuses import status_of_error
from broker.errors import BadAsk, Denied, NeedsCustomer, StafettError, StoreDown
from broker.flows.context import Clock
from broker.flows.handoff import Handoffs
from broker.flows.login import Logins
from broker.flows.saml_logins import SamlLogins
from broker.flows.values import Visitor
from broker.web import params as web_params
from broker.web.hub import Hub
from broker.web.visitor import visitor_of
from broker.wire.saml import posted, redirect
from broker.wire.saml.asked import read_authn_request
from broker.wire.saml.redirect import Redirected
from broker.wire.saml.refused import XmlRefused

SSO_PATH = "/saml/sso"


class Sso:
    """``/saml/sso``, and where a posted request goes on."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        services: Services,
        logins: Logins,
        requests: SamlLogins,
        handoffs: Handoffs,
        answers: SamlAnswers,
        hub: Hub,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._services = services
        self._logins = logins
        self._requests = requests
        self._handoffs = handoffs
        self._answers = answers
        self._hub = hub
        self._clock = clock

    async def get(self, request: Request) -> Response:
        """The request in the query (saml-bindings-2.0-os, section 3.4)."""
        policy = self._policy()
        try:
            query = request.scope["query_string"].decode("latin-1")
            message = redirect.decode(query, max_relay_state=checks.MAX_RELAY_STATE)
            proven = await self._proven(message.field, message.octets, message.relay_state, message, policy)
        except XmlRefused as error:
            raise not_taken(error) from error
        visitor = visitor_of(request, policy.broker)
        try:
            ask = self._ask(proven)
            await self._requests.admit(ask, visitor.address, comes_back=False)
            return await self._begin(request, visitor, ask, policy)
        except StoreDown as error:
            if not proven.request.is_passive:
                raise
            # Nobody looks at a passive request's page: the partner must hear that it should try again.
            return self._refuse(error, request, visitor, _address(proven))
        except (BadAsk, NeedsCustomer, Denied) as error:
            return self._refuse(error, request, visitor, _address(proven))

    async def post(self, request: Request) -> Response:
        """
        The request in a form (saml-bindings-2.0-os, section 3.5).

        A cross-site POST comes without our SameSite=Lax cookies; a GET to ourselves brings them back.
        """
        policy = self._policy()
        form = once(await web_params.form_pairs(request))
        relay_state = form.get("RelayState") or None
        try:
            checks.check_relay_state(relay_state)
            field = "SAMLResponse" if "SAMLResponse" in form else "SAMLRequest"
            proven = await self._proven(field, posted.decode(form.get(field, "")), relay_state, None, policy)
        except XmlRefused as error:
            raise not_taken(error) from error
        visitor = visitor_of(request, policy.broker)
        try:
            reference = await self._requests.admit(self._ask(proven), visitor.address, comes_back=True)
        except StoreDown as error:
            if not proven.request.is_passive:
                raise
            return self._refuse(error, request, visitor, _address(proven))
        except (BadAsk, Denied) as error:
            return self._refuse(error, request, visitor, _address(proven))
        return RedirectResponse(f"{SSO_PATH}/{reference}", status_code=303)

    async def resume(self, request: Request) -> Response:
        """A posted request goes on, with the browser's cookies."""
        policy = self._policy()
        ask = await self._requests.kept(request.path_params["reference"])
        visitor = visitor_of(request, policy.broker)
        try:
            return await self._begin(request, visitor, ask, policy)
        except (BadAsk, NeedsCustomer, Denied) as error:
            return self._refuse(error, request, visitor, await self._answers.address_of(ask))

    def routes(self) -> list[Route]:
        """Both bindings."""
        return [
            Route(SSO_PATH, self.get, methods=["GET"]),
            Route(SSO_PATH, self.post, methods=["POST"]),
            Route(f"{SSO_PATH}/{{reference}}", self.resume, methods=["GET"]),
        ]

    async def _proven(
        self, field: str, octets: bytes, relay_state: str | None, by_query: Redirected | None, policy: Policy
    ) -> Proven:
        """Raises BadAsk and XmlRefused, which are shown here and never sent anywhere."""
        if field != "SAMLRequest":
            raise BadAsk("not a request", code="saml.query")
        root = checks.parsed(octets)
        sender = await checks.known_sender(root, policy, self._services)
        root, is_signed = checks.checked_signature(root, by_query, sender, needed=sender.must_sign)
        request = read_authn_request(root)
        if request.head.issuer != sender.terms.entity_id:
            raise BadAsk("signed by another than it is from", code="saml.issuer")
        checks.check_destination(request.head, f"{policy.issuer}{SSO_PATH}", is_signed=is_signed)
        checks.check_time(request.head, self._clock())
        return Proven(sender, checks.consumer(request, sender.service), relay_state, request)

    def _ask(self, proven: Proven) -> Ask:
        """The checked request. Raises BadAsk, Denied, from the first check that fails."""
        checks.check_supported(proven.request)
        checks.checked_recipient(proven.sender.terms, proven.sender.service)
        return checks.ask_of(proven, self._handoffs.referred_short(proven.relay_state, proven.sender.partner_id))

    async def _begin(self, request: Request, visitor: Visitor, ask: Ask, policy: Policy) -> Response:
        try:
            turn = await self._logins.begin(ask, visitor)
            return await self._hub.go(request, visitor, turn, policy)
        except StoreDown as error:
            if "none" not in ask.prompt:
                raise
            # Nobody looks at a passive request's page: the partner must hear that it should try again.
            return self._refuse(error, request, visitor, await self._answers.address_of(ask))

    def _refuse(self, error: StafettError, request: Request, visitor: Visitor, address: Address) -> Response:
        """The error as an answer at the proven address."""
        note_refusal(error, 303)
        return self._hub.leave_for(request, visitor, self._answers.failed(address, status_of_error(error)))


def _address(proven: Proven) -> Address:
    sender, request = proven.sender, proven.request
    return Address(sender.terms, sender.service, proven.acs, proven.relay_state, request.head.id)
