"""
The hub: after every part of a journey it looks at the step that is due and sends the browser there.

It is a function, not a stop: the edge that just did its part answers with the next step's own redirect. ``/j/{id}`` is for
what needs a page, and for reload, back and resumption. Edges know each other only by the two protocols here.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from broker.core.changing import replace
from broker.core.identity import ContactKind
from broker.core.journey import Answer, Deliver, Login, OwnPage, Refuse
from broker.core.passkey import OwnPasskey, Unfit
from broker.core.policy import Policy
from broker.core.session import Session
from broker.core.waiting import Addressee, Waiting
from broker.errors import ConsentWithdrawn, Denied, Gone, Spent, StoreDown, TooWeak
from broker.flows.login import Turn
from broker.flows.logout import Parted
from broker.flows.values import Visitor
from broker.web import cookies
from broker.web.answers import redirect
from broker.web.params import with_query

#: Pages of ours that more than one edge sends the browser to.
SHARED_PATH = "/shared"
STAFF_PATH = "/staff"
ADD_PASSKEY_PATH = "/shared/passkeys/add"
LOGOUT_CONFIRM_PATH = "/logout/confirm"
LOGGED_OUT_PATH = "/logged-out"
SAML_LEAVE_PATH = "/saml/leave"
SAML_START_PATH = "/saml/start"


_ASKED_FOR_MORE = frozenset({"too_weak", "aged", "too_old", "login_asked", "session_too_old", "lacks_required"})
"""Why a session is not enough (`broker.core.session.shortfall`) where the page that offers the ways in says so."""


class FormPost(Struct, frozen=True):
    """
    What the browser is to post to ``url``: an answer (OAuth 2.0 Form Post Response Mode), or a SAML message. ``back``: the page
    of ours that going back from there leads to, where there is one. ``at``: the page of ours that posts it, where it has one to
    itself.
    """

    url: str
    members: Mapping[str, str]
    back: str | None = None
    at: str | None = None


#: How a browser leaves for another site: to an address, or with a form.
Exit = str | FormPost


class Misread(Struct, frozen=True):
    """What she typed is no address or number that can be written to; ``key``: why. ``turn``: she chooses, as before."""

    turn: Turn
    key: str


class Offered(Struct, frozen=True):
    """
    What the page that offers the ways in may ask of the browser at once, for the way in ``upstream``.

    ``options``: PublicKeyCredentialRequestOptions as JSON (WebAuthn section 5.5). ``mark``: comes back with the answer.
    """

    upstream: str
    options: str
    mark: str


class Upstreams(Protocol):
    """What the upstream edge does for the others."""

    async def open(self, turn: Turn, visitor: Visitor, upstream: str) -> Turn | Exit:
        """Open a login; the turn when the customer stays here, where to send the browser otherwise."""
        ...

    async def identify(self, turn: Turn, visitor: Visitor, typed: str) -> Turn | Exit | Misread:
        """Open a login by what she typed, an e-mail address, a phone number or a member number; as `open`."""
        ...

    def takes_number(self, turn: Turn) -> bool:
        """Whether she may type the asking partner's member number too."""
        ...

    async def write_to(self, turn: Turn, visitor: Visitor, address: str, addressee: Addressee) -> Turn | Exit:
        """Open a login by a code to an e-mail *address* that she did not type, and that no page shows; as `open`."""
        ...

    def writes(self, turn: Turn) -> str | None:
        """The first way in of those she may choose from that writes to an e-mail address."""
        ...

    def linked(self, turn: Turn, secret: str) -> bool:
        """Whether a link with *secret*, out of a message, may finish the login that waits."""
        ...

    async def disown(self, journey: str, secret: str) -> None:
        """Whoever got the message with *secret* did not begin that login: it is over."""
        ...

    def takes(self, upstream: str) -> ContactKind | None:
        """What a login there begins with that the customer types."""
        ...

    def sends_away(self, upstream: str) -> bool:
        """Whether a login there begins by a redirect (and costs nothing until the customer acts)."""
        ...

    def offered(self, turn: Turn) -> Offered | None:
        """What the page that offers the ways in may ask of the browser at once; None for nothing."""
        ...

    async def take_up(self, turn: Turn, visitor: Visitor, upstream: str, data: Mapping[str, str]) -> Turn:
        """The browser answered what was offered, with the fields ``mark`` and ``credential``."""
        ...

    async def act(self, turn: Turn, visitor: Visitor, data: Mapping[str, str]) -> Turn:
        """The customer pressed a button on the waiting page."""
        ...

    async def poll(self, turn: Turn, visitor: Visitor) -> Turn:
        """Ask the provider if it is time to."""
        ...

    def waiting(self, turn: Turn) -> Waiting | None:
        """What the waiting page shows now; None when nobody waits."""
        ...


class Journeys(Protocol):
    """What keeps journeys for those who come back to them, and knows what is due."""

    async def keep(self, turn: Turn, visitor: Visitor) -> Turn:
        """Store a journey that just began; one that is stored stays as it is."""
        ...

    async def reconsider(self, turn: Turn, visitor: Visitor) -> Turn:
        """What is due in place of the *turn*'s step, whose consent turned out to be withdrawn."""
        ...


class Partners(Protocol):
    """What the downstream edge does for the others: addresses to send the browser to."""

    async def answer(self, turn: Turn) -> Exit:
        """Answer the partner's request (step `Answer`). Raises: ConsentWithdrawn, before anything happened."""
        ...

    async def refuse(self, turn: Turn) -> Exit:
        """Answer the partner's request with an error (step `Refuse`)."""
        ...

    async def deliver(self, turn: Turn) -> str:
        """Start the handoff at the recipient (step `Deliver`). Raises: as `answer`."""
        ...

    def comes_back(self, turn: Turn) -> bool:
        """Whether the recipient sends the browser back to this journey (step `Deliver`)."""
        ...

    async def arrived(self, turn: Turn) -> str:
        """The customer confirmed the account she arrives at the recipient with (step `Arrive`)."""
        ...

    async def guest(self, turn: Turn) -> str:
        """The customer goes on without sharing: the recipient's guest page."""
        ...

    async def leave(self, turn: Turn) -> Exit:
        """The customer cancelled: back to where the journey came from."""
        ...

    def start_again(self, partner: str) -> str | None:
        """Where a fresh login at *partner* begins; None when the partner is unknown."""
        ...


class Addition(Struct, frozen=True):
    """
    What her browser is asked to make a passkey by. ``options``: PublicKeyCredentialCreationOptions as JSON (WebAuthn section
    5.4). ``ticket``: comes back with the answer.
    """

    options: str
    ticket: str


class PasskeyDesk(Protocol):
    """What the upstream edge does for the customer's own page: her passkeys."""

    @property
    def is_open(self) -> bool:
        """Whether there are passkeys at this broker."""
        ...

    async def of(self, session: Session) -> Sequence[OwnPasskey]:
        """Hers, the oldest first."""
        ...

    async def wants_hint(self, session: Session) -> bool:
        """Whether she is to be told that she could have one."""
        ...

    async def dismiss_hint(self, session: Session) -> None:
        """She does not want to be told."""
        ...

    def unfit(self, session: Session) -> Unfit | None:
        """Why she cannot add one in this session."""
        ...

    async def offer(self, visitor: Visitor, session: Session) -> Addition:
        """Begin to add one. Raises: BadAsk: in this session she cannot."""
        ...

    async def add(self, visitor: Visitor, session: Session, ticket: str, unverified: str) -> bool:
        """
        Her browser answered. Returns: False when she has as many as she may, or this one already.

        Raises: Spent: not a ticket of this session, or used. UpstreamRefused: the answer fails a check. BadAsk: as `offer`.
        """
        ...

    async def rename(self, session: Session, passkey: str, name: str) -> None:
        """Raises: BadAsk: not hers, or no name."""
        ...

    def may_remove(self, session: Session) -> bool:
        """Whether she proved lately enough who she is to take one away."""
        ...

    async def remove(self, visitor: Visitor, session: Session, passkey: str) -> bool:
        """
        Take it away, with every session it opened. Returns: whether this one was among them.

        Raises: BadAsk: not hers, or she proved too long ago who she is.
        """
        ...


class Continue(Protocol):
    """A page that sends the browser on by itself, and shows a link or button besides."""

    def __call__(self, where: Exit, visitor: Visitor) -> Response: ...


class Hub:
    """One per process."""

    def __init__(self, journeys: Journeys, partners: Partners, upstreams: Upstreams, continue_page: Continue) -> None:
        self._journeys = journeys
        self._partners = partners
        self._upstreams = upstreams
        self._continue = continue_page

    async def go(self, request: Request, visitor: Visitor, turn: Turn, policy: Policy) -> Response:
        """Send the browser to the turn's step, with the cookies the turn made."""
        here = f"/j/{turn.journey.id}"
        try:
            turn, response = await self._carried_out(request, visitor, turn)
        except (Spent, Gone):
            # Another tab, or a double click, was faster: its page knows what is due now, unless we just came from there.
            if turn.held is None or request.url.path == here:
                raise
            response = RedirectResponse(here, status_code=303)
        except (StoreDown, Denied, TooWeak):
            # The login is proven and its session stored: she keeps it, and goes on from there, or reads there why she cannot.
            if turn.token is None:
                raise
            response = RedirectResponse(here, status_code=303)
        return with_cookies(response, turn, policy)

    async def _carried_out(self, request: Request, visitor: Visitor, turn: Turn) -> tuple[Turn, Response]:
        """The turn as it is by then, and where it leads."""
        if isinstance(turn.step, Deliver) and self._partners.comes_back(turn):
            turn = await self._journeys.keep(turn, visitor)
        try:
            return turn, await self._step(request, visitor, turn)
        except ConsentWithdrawn:
            # Nothing happened yet: she is asked, unless another consent covers it.
            return await self._carried_out(request, visitor, await self._journeys.reconsider(turn, visitor))

    async def _step(self, request: Request, visitor: Visitor, turn: Turn) -> Response:
        match turn.step:
            case Answer():
                return self.leave_for(request, visitor, await self._partners.answer(turn))
            case Refuse():
                return self.leave_for(request, visitor, await self._partners.refuse(turn))
            case Deliver():
                return self.leave_for(request, visitor, await self._partners.deliver(turn))
            case Login() if self._only_way(turn, turn.step) is not None:
                return await self._straight_on(request, visitor, turn, turn.step)
            case OwnPage():
                return RedirectResponse(turn.journey.back or SHARED_PATH, status_code=303)
            case _:
                await self._journeys.keep(turn, visitor)
                return RedirectResponse(f"/j/{turn.journey.id}", status_code=303)

    def _only_way(self, turn: Turn, step: Login) -> str | None:
        """
        The one provider a journey that just began can go to, where a page with one button would only cost a press. Not where
        another one is ill: it may be hers, and she must see why she is not sent there. Nor where she is logged in and asked for
        more: she reads why first.
        """
        if turn.session is not None and step.reason in _ASKED_FOR_MORE:
            return None
        if turn.held is not None or turn.browser is None or len(step.choices.may) != 1 or step.choices.ill:
            return None
        only = step.choices.may[0].upstream
        return only if self._upstreams.sends_away(only) else None

    async def _straight_on(self, request: Request, visitor: Visitor, turn: Turn, step: Login) -> Response:
        known = replace(visitor, browser=turn.browser)
        gone = await self._upstreams.open(turn, known, step.choices.may[0].upstream)
        if not isinstance(gone, Turn):
            return self.leave_for(request, visitor, gone)
        return RedirectResponse(f"/j/{turn.journey.id}", status_code=303)

    def leave_for(self, request: Request, visitor: Visitor, where: Exit) -> Response:
        """
        Send the browser to another site.

        Chromium applies a form's ``form-action`` to every redirect after its POST, over hops nobody can list beforehand, and
        blocks after we have acted: a POST is answered by a page of ours that goes on by itself, everything else by 303.
        """
        if isinstance(where, FormPost) and where.at is not None and request.method == "POST":
            # Going back to the answer to a POST would ask her whether to send that again.
            return RedirectResponse(where.at, status_code=303)
        if isinstance(where, FormPost) or request.method == "POST":
            return self._continue(where, visitor)
        return redirect(where)


def leave_path(upstream: str) -> str:
    """Where a browser is sent on to a provider, to be logged out there."""
    return f"/up/{upstream}/leave"


def way_out(parted: Parted) -> str:
    """
    Where a browser goes that was just logged out: to the provider she had logged in by, where she is to be logged out too; on to
    the partner's address; or to our page that tells how it went.
    """
    if parted.next_provider is not None and parted.token is not None:
        return with_query(leave_path(parted.next_provider), {"of": parted.token})
    if parted.goes_on and parted.target is not None:
        return parted.target
    return LOGGED_OUT_PATH if parted.token is None else with_query(LOGGED_OUT_PATH, {"of": parted.token})


def with_cookies(response: Response, turn: Turn, policy: Policy) -> Response:
    """*response* setting the cookies that *turn* made."""
    if turn.browser is not None:
        cookies.set_browser(response, turn.browser)
    if turn.token is not None:
        cookies.set_session(response, turn.token, policy.broker.lifetimes.session)
    if turn.device is not None:
        cookies.set_device(response, turn.device, policy.broker.device_memory.lifetime)
    return response
