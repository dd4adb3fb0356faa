"""
What each SAML partner is: by its metadata, or by what the operator wrote down in its place.
"""

from collections.abc import Awaitable, Callable

from broker.core.policy import PartnerSaml, Policy
from broker.core.saml import POST, REDIRECT, Endpoint, PeerKey, SamlService

#: The service provider behind what ``metadata`` says, of that entityID; None while there is no metadata that may be used.
Peers = Callable[[str, str], Awaitable[SamlService | None]]


class Services:
    """The partners' service providers; one per process."""

    def __init__(self, policy: Callable[[], Policy], peers: Peers) -> None:
        self._policy = policy
        self._peers = peers
        self._written: dict[tuple[str, str], SamlService] = {}

    async def of(self, partner: str) -> SamlService | None:
        """
        The service provider of *partner*; None where there is none, or no metadata of it that may be used now.

        Raises: UpstreamDown: its metadata is not here and could not be fetched.
        """
        policy = self._policy()
        known = policy.partner(partner)
        terms = known.saml if known is not None else None
        if terms is None:
            return None
        if terms.metadata is not None:
            return await self._peers(terms.metadata, terms.entity_id)
        key = (policy.version, partner)
        if key not in self._written:
            self._written[key] = written(terms, policy.saml_certificates.get(partner, ()))
        return self._written[key]


def written(terms: PartnerSaml, certificates: tuple[bytes, ...]) -> SamlService:
    """A service provider without metadata: the first address is its default one, the keys are for both uses."""
    return SamlService(
        entity_id=terms.entity_id,
        acs=tuple(Endpoint(POST, url, index, index == 0) for index, url in enumerate(terms.acs)),
        slo=(Endpoint(REDIRECT, terms.slo_uri),) if terms.slo_uri is not None else (),
        keys=tuple(PeerKey(each, "both") for each in certificates),
    )
