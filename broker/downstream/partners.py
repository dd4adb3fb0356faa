"""
Where the browser goes when a journey leaves the broker: answers, handoff starts, guests, cancellations.
"""

from collections.abc import Callable
from typing import Protocol

from broker.core.consent import Consent
from broker.core.handoff import UNDECIDED, belongs_to
from broker.core.journey import Answer, Ask, Deliver, Refuse
from broker.core.policy import PartnerOidc, PartnerSaml, PartnerService, Policy, SamlStart
from broker.errors import Denied, Spent
from broker.flows.artifact import Artifacts
from broker.flows.consent import Consents
from broker.flows.handoff import Handoffs
from broker.flows.login import Turn
from broker.web.hub import SAML_START_PATH, Exit
from broker.web.params import with_query


class Answering(Protocol):
    """How a request of one protocol is answered."""

    async def answer(self, ask: Ask, turn: Turn, consent: Consent | None) -> Exit:
        """The answer for the turn's customer. Raises: Spent, Denied."""
        ...

    async def refuse(self, ask: Ask, error: str, reason: str) -> Exit:
        """
        The answer that says why not.

        Args:
            error: as OpenID Connect calls it (Core section 3.1.2.6). reason: for the developer.
        Raises: Denied.
        """
        ...


class PartnerExits:
    """`broker.web.hub.Partners`. Every address comes from the trust config."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        oidc: Answering,
        saml: Answering,
        consents: Consents,
        handoffs: Handoffs,
        artifacts: Artifacts,
    ) -> None:
        self._policy = policy
        self._oidc = oidc
        self._saml = saml
        self._consents = consents
        self._handoffs = handoffs
        self._artifacts = artifacts

    async def answer(self, turn: Turn) -> Exit:
        """The answer to the partner's request, in the protocol it came by."""
        ask, step = turn.journey.ask, turn.step
        if ask is None or not isinstance(step, Answer):
            raise Spent("no request to answer", code="journey.went_on")
        return await self._answering(ask).answer(ask, turn, step.consent)

    async def refuse(self, turn: Turn) -> Exit:
        """The answer that says why not."""
        ask, step = turn.journey.ask, turn.step
        if ask is None or not isinstance(step, Refuse):
            raise Spent("no request to refuse", code="journey.went_on")
        return await self._answering(ask).refuse(ask, step.error, step.reason)

    async def deliver(self, turn: Turn) -> str:
        """
        To the recipient: third-party-initiated login (OpenID Connect Core section 4), the start of its service provider's login,
        or its ``arrive_uri`` with only a handle.
        """
        if not isinstance(turn.step, Deliver):
            raise Spent("nothing to deliver", code="journey.went_on")
        handoff = await self._consents.deliver(turn)
        partner = self._policy().partner(handoff.recipient)
        match (partner.oidc or partner.saml or partner.service) if partner else None:
            case PartnerService(arrive_uri=arrive_uri):
                return with_query(arrive_uri, {"handoff": self._artifacts.handle(turn, handoff)})
            case PartnerOidc(initiate_login_uri=str(login_start), target_link_uri=target):
                query = {"iss": self._policy().issuer, "login_hint": self._handoffs.reference(handoff)}
                return with_query(login_start, query | ({"target_link_uri": target} if target else {}))
            case PartnerSaml(start=SamlStart(uri=uri, parameter=parameter)):
                return with_query(uri, {parameter: self._handoffs.short_reference(handoff)})
            case _:
                raise Denied("recipient has no address where its login begins", code="partner.no_start")

    def comes_back(self, turn: Turn) -> bool:
        """Whether the recipient is a service, which asks for its artifact by the journey."""
        partner = self._policy().partner(turn.journey.partner)
        return partner is not None and partner.service is not None

    async def arrived(self, turn: Turn) -> str:
        """The recipient's ``arrive_uri`` with a one-time artifact."""
        partner = self._policy().partner(turn.journey.partner)
        if partner is None or partner.service is None:
            raise Denied("recipient is no service", code="partner.no_start")
        return with_query(partner.service.arrive_uri, {"artifact": await self._artifacts.issue(turn)})

    async def guest(self, turn: Turn) -> str:
        """
        The recipient's guest page with a one-time reference; nothing about the customer goes along.

        security: only the right customer's choice is remembered as her refusal; anybody else who holds the link takes
        the product data along and changes nothing for her.
        """
        if turn.handoff is None:
            raise Spent("no handoff on this journey", code="journey.went_on")
        handoff = turn.handoff.value
        partner = self._policy().partner(handoff.recipient)
        if partner is None or partner.guest_uri is None:
            raise Denied("recipient has no guest_uri", code="partner.no_guest")
        is_hers = turn.session is not None and belongs_to(handoff, turn.session.value)
        if is_hers and handoff.state in UNDECIDED:
            handoff = await self._handoffs.decline(handoff.id)
        return with_query(partner.guest_uri, {"ref": self._handoffs.guest_reference(handoff)})

    async def leave(self, turn: Turn) -> Exit:
        """
        Back to the shop for a handoff, back to the asking partner with ``access_denied`` for a login, to its front page where it
        did not ask.
        """
        ask = turn.journey.ask
        if ask is not None and ask.saml is not None and ask.saml.is_unsolicited:
            partner = self._policy().partner(ask.partner)
            return partner.home_uri if partner is not None else "/"
        if ask is not None:
            return await self._answering(ask).refuse(ask, "access_denied", "the customer cancelled")
        if turn.handoff is not None:
            return with_query(turn.handoff.value.return_uri, {"handoff": "cancelled"})
        return self.start_again(turn.journey.partner) or "/"

    def _answering(self, ask: Ask) -> Answering:
        return self._oidc if ask.saml is None else self._saml

    def start_again(self, partner: str) -> str | None:
        """The partner's own login start if it has one, so that the customer arrives logged in; else its front page."""
        known = self._policy().partner(partner)
        if known is None:
            return None
        if known.login is not None and known.login_start is not None:
            return known.login_start if known.saml else with_query(known.login_start, {"iss": self._policy().issuer})
        if known.saml is not None and known.saml.unsolicited:
            return with_query(SAML_START_PATH, {"partner": partner})
        return known.home_uri
