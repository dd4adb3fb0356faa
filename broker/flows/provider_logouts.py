"""
Single logout with a provider of identity: a customer who left here goes there to be logged out, and comes back; or the provider
asks us to end what rests on its session.

Our own session has always ended before: whatever happens there, she is out here.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from msgspec import Struct

from broker.core.changing import replace
from broker.core.logout import AtProvider, Fate, Why
from broker.core.naming import is_id, name_of
from broker.core.session import Session
from broker.errors import Spent, StoreDown, WrongBrowser
from broker.flows.context import Context
from broker.flows.logout import Logouts, Parted
from broker.flows.saml_logins import SEEN_S
from broker.flows.sessions import FAREWELL_S, Sessions
from broker.flows.values import ProviderAnswer, SentToProvider, Visitor
from broker.stores.ports import Drop, PutNew

_KEPT_S = 60.0
_TRIES = 60
_SKEW = timedelta(seconds=60)


class Over(Struct, frozen=True):
    """
    What the provider ``upstream`` asks us to end, by its request ``request_id`` of ``issued_at`` (aware UTC): our sessions that
    rest on ``session``, its own name for hers, if they are meant.
    """

    upstream: str
    request_id: str
    session: str
    issued_at: datetime
    is_meant: Callable[[bytes | None], bool]


class ProviderLogouts:
    """The flow; one per process."""

    def __init__(self, context: Context, logouts: Logouts) -> None:
        self._c = context
        self._logouts = logouts
        self._sessions = Sessions(context)

    async def at(self, token: str, upstream: str) -> AtProvider | None:
        """What is left to be ended at *upstream* of the session whose farewell *token* is; None for nothing."""
        held = await self._logouts.farewell(token)
        provider = held.value.provider if held is not None else None
        return provider if provider is not None and _is_open(provider) and provider.upstream == upstream else None

    async def send_away(self, token: str, upstream: str, request_id: str, visitor: Visitor) -> None:
        """The customer is sent to *upstream* by our request *request_id*. Until it answers, it did not confirm anything."""
        browser = name_of(visitor.browser) if visitor.browser is not None else ""
        sent = SentToProvider(upstream, token, browser)
        await self._c.state.run(self._c.shelves.sent_to_provider.put_new(name_of(request_id), sent, FAREWELL_S))
        await self._mark(token, Fate.UNTOLD)

    async def failed(self, token: str) -> None:
        """She could not be sent there."""
        await self._mark(token, Fate.UNTOLD)

    async def keep(self, answer: ProviderAnswer) -> str:
        """Keep an answer that came without our cookies. Returns: what it is kept by (`kept`)."""
        reference = self._c.tokens.id()
        await self._c.state.run(self._c.shelves.provider_answers.put_new(name_of(reference), answer, _KEPT_S))
        return reference

    async def kept(self, upstream: str, reference: str) -> ProviderAnswer:
        """What `keep` kept, once. Raises: Spent."""
        if not is_id(reference):
            raise Spent("not a reference of ours")
        answer = await self._c.once(self._c.shelves.provider_answers, reference, _KEPT_S)
        if answer is None or answer.upstream != upstream:
            raise Spent("the answer was taken up before, or too late", code="saml.posted")
        return answer

    async def answered(self, answer: ProviderAnswer, visitor: Visitor) -> Parted | None:
        """
        The provider answered a request of ours, once, in the browser that was sent there.

        Returns: how the logout stands now; None when nobody knows any more.
        Raises: Spent: no request of ours to it, or answered before. WrongBrowser.
        """
        sent = await self._c.once(self._c.shelves.sent_to_provider, answer.request_id, FAREWELL_S)
        if sent is None or sent.upstream != answer.upstream:
            raise Spent("an answer to nothing we asked", code="saml.in_response_to", upstream=answer.upstream)
        if sent.browser != (name_of(visitor.browser) if visitor.browser is not None else ""):
            raise WrongBrowser("another browser was sent to the provider", code="browser.returned_elsewhere")
        await self._mark(sent.farewell, answer.fate)
        return await self._logouts.look(sent.farewell)

    async def end(self, over: Over) -> int:
        """
        End our sessions that rest on the provider's; their partners hear of it.

        Returns: how many. Raises: Spent: this was asked before. StoreDown; then it may be asked again.
        """
        seen = f"seen:{name_of(f'saml-request {over.upstream} {over.request_id}')}"
        (is_first,) = await self._c.state.run(PutNew(seen, b"1", SEEN_S))
        if not is_first:
            raise Spent("request ID was used before", code="saml.replayed", upstream=over.upstream)
        try:
            return await self._end_all(over)
        except StoreDown:
            with suppress(StoreDown):
                await self._c.state.run(Drop(seen))
            raise

    async def _end_all(self, over: Over) -> int:
        found = await self._sessions.of_upstream_session(over.upstream, over.session)
        # She may have logged in anew before this reached us.
        meant = [each for each in found if _is_older(each.session, over) and over.is_meant(each.session.leave)]
        for each in meant:
            await self._sessions.end(each.name, each.session, why=Why.UPSTREAM)
        return len(meant)

    async def _mark(self, token: str, fate: Fate) -> None:
        """Note what became of it; what is over stays so."""
        for _ in range(_TRIES):
            held = await self._logouts.farewell(token)
            provider = held.value.provider if held is not None else None
            if held is None or provider is None or not _is_open(provider) or provider.fate is fate:
                return
            changed = replace(held.value, provider=replace(provider, fate=fate))
            op = self._c.shelves.farewells.swap(name_of(token), held, changed, FAREWELL_S)
            (swapped,) = await self._c.state.run(op)
            if swapped:
                return


def _is_open(provider: AtProvider) -> bool:
    return provider.fate is not Fate.TOLD


def _is_older(session: Session, over: Over) -> bool:
    return session.created_at <= over.issued_at + _SKEW
