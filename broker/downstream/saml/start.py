"""
Where a login begins that no service provider asked for (saml-profiles-2.0-os, section 4.1.5): a link to a partner, for those
with whom that is agreed (``unsolicited``).

From there on it is a login as any other: the same ways in, the same question, the same release. What the link says is two
names of the config, and nothing of it reaches the partner.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.core.policy import Policy
from broker.downstream.saml import checks
from broker.downstream.saml.checks import Sender
from broker.downstream.saml.services import Services
from broker.downstream.saml.statuses import untold
from broker.errors import BadAsk, Denied, NeedsCustomer
from broker.flows.login import Logins
from broker.flows.saml_logins import SamlLogins
from broker.web import params as web_params
from broker.web.hub import SAML_START_PATH, Hub
from broker.web.visitor import visitor_of


class Start:
    """``/saml/start``."""

    def __init__(
        self, policy: Callable[[], Policy], services: Services, logins: Logins, requests: SamlLogins, hub: Hub
    ) -> None:
        self._policy = policy
        self._services = services
        self._logins = logins
        self._requests = requests
        self._hub = hub

    async def get(self, request: Request) -> Response:
        """``partner``, an id of the config, and perhaps ``target``, a name among its ``targets``."""
        policy, asked = self._policy(), web_params.query(request)
        sender = await self._agreed(asked.get("partner", ""), policy)
        ask = checks.unsolicited_ask(sender, asked.get("target"))
        visitor = visitor_of(request, policy.broker)
        try:
            turn = await self._logins.begin(ask, visitor)
        except NeedsCustomer as error:
            raise untold(error.oauth_error, error.detail, ask.partner) from error
        return await self._hub.go(request, visitor, turn, policy)

    def routes(self) -> list[Route]:
        """One address for all partners."""
        return [Route(SAML_START_PATH, self.get, methods=["GET"])]

    async def _agreed(self, partner_id: str, policy: Policy) -> Sender:
        """Raises: BadAsk: no service provider. Denied: not agreed with it, or there is no metadata of it now."""
        partner = policy.partner(partner_id)
        if partner is None or partner.saml is None:
            raise BadAsk("no service provider of that name", code="saml.partner")
        if not partner.saml.unsolicited:
            await self._requests.note_refused_start(partner_id)
            raise Denied("no agreement on unsolicited responses", code="saml.unsolicited", partner=partner_id)
        service = await self._services.of(partner_id)
        if service is None:
            raise Denied("no metadata of the partner that may be used", code="saml.no_metadata", partner=partner_id)
        return Sender(partner_id, partner, partner.saml, service)
