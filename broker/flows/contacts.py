"""
Whose a contact is: customers by the addresses and numbers they have proven.

What a caller or somebody without a session tells is no proof of anything; it is only where a code may go to.
"""

from broker.core.identity import ContactKind, Identity
from broker.core.linking import may_bootstrap
from broker.flows.context import Context
from broker.stores.sealing import Digester


def contact_issuer(issuer: str, kind: ContactKind) -> str:
    """Under which issuer the broker itself keeps those who proved a contact of *kind* to it."""
    return f"{issuer}/{kind.value}"


def contact_digest(lookup: Digester, kind: ContactKind, value: str) -> str:
    """What a proven contact is found by: upper and lower case of an address are one (`core.identity.same_mailbox`)."""
    return lookup.digest("contact", kind.value, value.lower())


class ContactsOnFile:
    """One per process, or per way of sending codes."""

    def __init__(self, context: Context) -> None:
        self._c = context

    async def owner(self, kind: ContactKind, address: str) -> str | None:
        """
        The customer who has proven a contact, by a code of ours or at a provider that may vouch for it.

        Args:
            address: canonical: an e-mail address in lower case, a number in E.164.
        Returns: None when nobody has, several have, or it was too long ago: addresses and numbers change hands.
        """
        found = await self._c.records.find_contacts([contact_digest(self._c.lookup, kind, address)])
        policy = self._c.policy()
        oldest = self._c.now() - policy.broker.linking.contact_age
        recent = {each.customer for each in found if each.verified_at > oldest and may_bootstrap(each.upstream, policy)}
        everybody = {each.customer for each in found}
        lookup = self._c.lookup.digest(contact_issuer(policy.issuer, kind), address)
        if (customer := await self._c.records.customer_of(lookup)) is not None:
            everybody.add(customer)
            ways = await self._c.records.identities_of(customer)
            recent |= {way.customer for way in ways if way.lookup == lookup and way.last_used_at > oldest}
        return recent.pop() if len(everybody) == 1 and recent else None

    async def owner_of(self, identity: Identity) -> str | None:
        """As `owner`, of somebody who just proved nothing but a contact to us; None for any other login."""
        issuer = self._c.policy().issuer
        for kind in ContactKind:
            if identity.issuer == contact_issuer(issuer, kind):
                return await self.owner(kind, identity.subject)
        return None
