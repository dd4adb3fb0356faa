"""
What became of the tokens that were given out: introspection (RFC 7662) and revocation (RFC 7009).

A grant is one authorization: its code, its access tokens and its family of refresh tokens. Whoever ends one of them
ends the grant and all of them: a client that throws an access token away does not mean to keep the refresh token.
"""

from msgspec import Struct

from broker.core import refresh as refreshing
from broker.errors import Gone, Spent
from broker.flows.context import Context
from broker.flows.tokens import TokenFlow
from broker.flows.values import Grant, TokenKind
from broker.observe.telemetry import about

Kinds = tuple[TokenKind, ...]
"""What a presented token may be; it opens as one of them at most."""


class Standing(Struct, frozen=True):
    """
    A live token of *kind*: what it stands for, and until when, in seconds since the epoch.

    ``subject``: the customer as whoever asks knows her.
    """

    kind: TokenKind
    grant: Grant
    subject: str
    expires_at: int


class IssuedTokens:
    """The flow; one per process."""

    def __init__(self, context: Context, tokens: TokenFlow) -> None:
        self._c = context
        self._tokens = tokens

    async def of_client(self, token: str, kinds: Kinds, *, partner: str) -> Standing | None:
        """How *token* stands; None unless it is live and was given to *partner*."""
        standing = await self._standing(token, kinds)
        return standing if standing is not None and standing.grant.partner == partner else None

    async def for_resource(self, token: str, kinds: Kinds, *, resource: str) -> Standing | None:
        """
        How *token* stands; None unless it is a live access token for *resource*.

        security: a resource server learns nothing of tokens that are for somebody else, nor of refresh tokens (RFC 7662
        section 4), and knows the customer by the subject of its own sector only.
        """
        standing = await self._standing(token, kinds)
        target = standing.grant.target if standing is not None else None
        if standing is None or standing.kind is TokenKind.REFRESH or target is None or target.resource != resource:
            return None
        return Standing(standing.kind, standing.grant, target.subject, standing.expires_at)

    async def revoke(self, token: str, kinds: Kinds, *, partner: str) -> None:
        """
        End the grant of *token*; nothing happens if it is unknown, has ended, or is not *partner*'s.

        A refresh token that was replaced counts as well: its owner wants the family to end.
        """
        for kind in kinds:
            try:
                grant_id, *_ = self._c.tokens.open(kind, token, now=self._c.now())
            except Spent:
                continue
            await self._end(grant_id, partner)

    async def _end(self, grant_id: str, partner: str) -> None:
        about("grant", grant_id)
        grants = self._c.shelves.grants
        (raw,) = await self._c.state.run(grants.get(grant_id))
        held = grants.read(grant_id, raw)
        if held is None or held.value.partner != partner:
            return
        (dropped,) = await self._c.state.run(grants.drop(grant_id))
        if dropped:
            self._c.audit.note("token.revoked", customer=held.value.customer, partner=partner, grant=grant_id)

    async def _standing(self, token: str, kinds: Kinds) -> Standing | None:
        for kind in kinds:
            try:
                standing = await self._opened(kind, token)
            except (Spent, Gone):
                continue
            # A partner that is no longer in the config has nothing that is worth anything.
            return standing if self._c.policy().partner(standing.grant.partner) is not None else None
        return None

    async def _opened(self, kind: TokenKind, token: str) -> Standing:
        """Raises: Spent, Gone for a token that opens nothing any more."""
        if kind is not TokenKind.REFRESH:
            grant, until = await self._tokens.opened(token, kind)
            return Standing(kind, grant, grant.subject, until)
        held, family, number = await self._tokens.stored(token)
        refreshing.use(family, presented=number, now=self._c.now())
        return Standing(kind, held.value, held.value.subject, int(refreshing.expires_at(family).timestamp()))
