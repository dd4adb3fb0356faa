"""
The authorization response (RFC 6749 section 4.1.2, RFC 9207): a code, or why there is none, at the proven address.
"""

from collections.abc import Callable, Mapping

from broker.core.consent import Consent
from broker.core.journey import Ask
from broker.core.policy import Policy
from broker.errors import Denied
from broker.flows.login import Turn
from broker.flows.tokens import TokenFlow
from broker.web.hub import Exit, FormPost
from broker.web.params import with_query


class OidcAnswers:
    """`broker.downstream.partners.Answering` for OpenID Connect clients."""

    def __init__(self, policy: Callable[[], Policy], tokens: TokenFlow) -> None:
        self._policy = policy
        self._tokens = tokens

    async def answer(self, ask: Ask, turn: Turn, consent: Consent | None) -> Exit:
        """The response with its code."""
        self._check_registered(ask)
        return self._response(ask, {"code": await self._tokens.issue(ask, turn, consent)})

    async def refuse(self, ask: Ask, error: str, reason: str) -> Exit:
        """The response that says why not (RFC 6749 section 4.1.2.1)."""
        self._check_registered(ask)
        return self._response(ask, {"error": error, "error_description": reason})

    def _response(self, ask: Ask, answer: Mapping[str, str]) -> Exit:
        return authorization_response(ask.redirect_uri, answer, ask.state, self._policy().issuer, ask.response_mode)

    def _check_registered(self, ask: Ask) -> None:
        """Raises Denied when the address was taken off the partner's list since it asked: it may have leaked."""
        partner = self._policy().partner(ask.partner)
        if partner is None or partner.oidc is None or not partner.oidc.may_answer_at(ask.redirect_uri):
            raise Denied("redirect_uri is not registered any more", code="authorize.redirect_uri", partner=ask.partner)


def authorization_response(
    redirect_uri: str, answer: Mapping[str, str], state: str | None, issuer: str, response_mode: str
) -> Exit:
    """
    The answer's members, the unchanged ``state`` and ``iss``: added to *redirect_uri*, whose own query is kept, or to be
    posted there.
    """
    members = {**answer, **({"state": state} if state is not None else {}), "iss": issuer}
    return FormPost(redirect_uri, members) if response_mode == "form_post" else with_query(redirect_uri, members)
