"""
Newsletter links: make them for a campaign, recognise who follows one, take them back.

A link holds all there is to know, encrypted; nothing is stored for a campaign of a million readers. What is stored is only what
was taken back, until the last link of it is over.
"""

import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from broker.core.changing import replace
from broker.core.identity import normal_email
from broker.core.newsletter import SoftRecognition, check_mailing
from broker.errors import BadAsk, Spent
from broker.flows.context import Context
from broker.observe.logging import log
from broker.stores.ports import Get, Op, Put, PutNew

LONGEST: Final = timedelta(days=30)
"""The longest a link may recognise anybody (`broker.core.policy.Newsletter`)."""

SOFT_LIFE: Final = timedelta(hours=24)
"""How long a browser stays softly recognised after a link was followed."""

_REF_LIFE: Final = timedelta(seconds=60)
_LINK_AFTERLIFE: Final = timedelta(days=400)
"""So long an old link still leads to its page, recognising nobody."""


class Newsletters:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._c = context

    def make_links(
        self, partner: str, *, campaign: str, landing_uri: str, language: str | None, addresses: Sequence[str]
    ) -> tuple[str, ...]:
        """
        The secret part of one link per reader, in the order of *addresses*.

        Raises: BadAsk.
        """
        known = self._c.policy().partner(partner)
        terms = known.newsletter if known is not None else None
        if terms is None:
            raise BadAsk(
                "this client sends no newsletters", code="newsletter.not_allowed", oauth_error="unauthorized_client"
            )
        readers = check_mailing(terms, landing_uri=landing_uri, addresses=tuple(addresses))
        until = self._c.now() + terms.lifetime
        made = tuple(
            self._seal(SoftRecognition(partner, campaign, landing_uri, language, until, each)) for each in readers
        )
        log("newsletter.links_made", partner=partner, campaign=campaign, count=len(made))
        return made

    async def follow(self, token: str) -> tuple[SoftRecognition, bool]:
        """
        Somebody, or some scanner, followed a link: nothing changes.

        Returns: what the link says, and whether it counts: not too old, not taken back, and its page still registered.
        Raises: Spent: not a link of ours, or to a page that is not registered any more. StoreDown.
        """
        said = self._open(token)
        marks = await self._c.state.run(*(Get(key) for key in self._revoked_keys(said)))
        return said, self._c.now() < said.until and not any(marks)

    def reference(self, said: SoftRecognition) -> str:
        """What the page that the link leads to redeems at our back, once and within a minute."""
        return self._c.tokens.seal(
            "soft",
            said.partner,
            said.campaign,
            said.language or "",
            self._pseudonym(said),
            self._c.tokens.id(),
            expires_at=self._c.now() + _REF_LIFE,
        )

    async def redeem(self, reference: str, partner: str) -> dict[str, str | None]:
        """
        Whom *partner* is probably looking at: ``recipient``, a number of hers that means something to this partner only.

        Raises: Spent: used, expired, or another partner's.
        """
        sender, campaign, language, recipient, once = self._c.tokens.open("soft", reference, now=self._c.now())
        if sender != partner:
            raise Spent("another partner's newsletter", code="newsletter.foreign")
        (first,) = await self._c.state.run(PutNew(f"used:soft:{once}", b"1", _REF_LIFE.total_seconds()))
        if not first:
            raise Spent("the reference was used before", code="newsletter.reused")
        return {"acr": "soft", "recipient": recipient, "campaign": campaign, "language": language or None}

    async def take_back(self, partner: str, *, campaign: str | None, address: str | None) -> None:
        """
        From now on the links of *campaign*, of the reader at *address*, or of both together recognise nobody.

        Raises: BadAsk: neither is named. StoreDown.
        """
        if campaign is None and address is None:
            raise BadAsk("name a campaign, a recipient, or both", code="newsletter.members")
        key = self._revoked_key(partner, campaign, normal_email(address) if address is not None else None)
        await self._c.state.run(Put(key, b"1", LONGEST.total_seconds()))
        log("newsletter.taken_back", partner=partner, campaign=campaign, one_reader=address is not None)

    def cookie(self, said: SoftRecognition) -> str:
        """What the browser keeps: encrypted, and good for nothing but a hint on our own page."""
        until = min(said.until, self._c.now() + SOFT_LIFE)
        return self._seal(replace(said, until=until))

    async def recognised(self, cookie: str, partners: Collection[str]) -> SoftRecognition | None:
        """Who the browser softly is to one of *partners*; None when it is not, that is over, or it was taken back."""
        try:
            said = self._open(cookie)
        except Spent:
            return None
        if said.partner not in partners or self._c.now() >= said.until:
            return None
        ops: list[Op] = [Get(key) for key in self._revoked_keys(said)]
        return None if any(await self._c.state.run(*ops)) else said

    def _seal(self, said: SoftRecognition) -> str:
        return self._c.tokens.seal(
            "newsletter",
            said.partner,
            said.campaign,
            _page_key(said.landing_uri),
            said.language or "",
            str(int(said.until.timestamp())),
            said.address,
            expires_at=said.until + _LINK_AFTERLIFE,
        )

    def _open(self, token: str) -> SoftRecognition:
        parts = self._c.tokens.open("newsletter", token, now=self._c.now())
        partner, campaign, page, language, until, address = parts
        known = self._c.policy().partner(partner)
        pages = known.newsletter.landing_uris if known is not None and known.newsletter is not None else ()
        landing_uri = next((uri for uri in pages if _page_key(uri) == page), None)
        if landing_uri is None:
            raise Spent("the page of a newsletter link is not registered any more", code="newsletter.landing_uri")
        at = datetime.fromtimestamp(int(until), UTC)
        return SoftRecognition(partner, campaign, landing_uri, language or None, at, address)

    def _revoked_keys(self, said: SoftRecognition) -> tuple[str, ...]:
        return (
            self._revoked_key(said.partner, said.campaign, None),
            self._revoked_key(said.partner, None, said.address),
            self._revoked_key(said.partner, said.campaign, said.address),
        )

    def _revoked_key(self, partner: str, campaign: str | None, address: str | None) -> str:
        digest = self._c.lookup.digest("newsletter-revoked", partner, campaign or "", (address or "").lower())
        return f"revoked:newsletter:{digest[:32]}"

    def _pseudonym(self, said: SoftRecognition) -> str:
        sector = self._c.policy().sector(said.partner)
        return self._c.lookup.digest("newsletter-reader", sector, said.address.lower())[:32]


def _page_key(uri: str) -> str:
    """A registered page in few characters: links stay short enough for every mail program."""
    return hashlib.sha256(uri.encode()).hexdigest()[:12]
