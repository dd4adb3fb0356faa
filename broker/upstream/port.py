"""
What every connector is: `begin` opens a login at the provider, `resume` takes what came back.

A connector keeps nothing between calls. What it must remember travels as opaque ``state`` bytes inside the
server-side journey, so any worker can go on. It sees `UpstreamAsk` and `Reply`, never a web request.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from broker.core.assurance import Assurance
from broker.core.discreet import Discreet
from broker.core.identity import ContactKind, Evidence
from broker.core.logout import Change
from broker.core.waiting import Addressee, AskPasskey, EnterCode, Poll, Waiting


class Device(StrEnum):
    """Where the customer's authenticator is, as the customer chose it or as the browser suggests."""

    SAME = "same"
    OTHER = "other"


class UpstreamAsk(Discreet, frozen=True):
    """
    One login to be opened at a provider.

    ``callback_url``: `{issuer}/up/{upstream_id}/callback`, unique per upstream (mix-up defence, RFC 9700 section 4.4).
    ``return_url``: `{issuer}/j/{journey}/return`, where an app sends the customer back; connectors that use it add
    their own one-time nonce as query parameter ``n``.
    ``state``: 256-bit random made by the flow; the callback finds the journey by it. Redirect connectors must send it.
    ``fresh``: the customer must authenticate anew (``prompt=login`` or a ``max_age`` that ran out); ``max_age_s`` if given.
    ``language``: BCP 47, one of the broker's. ``partner_name``: shown to the customer, already in that language.
    ``end_user_ip``, ``user_agent``: as the trusted edge saw them. ``device_id``: stable hash per browser, or None.
    ``mobile``: the browser looks like a phone or tablet. ``minimum``: what the partner needs.
    ``identifier``: what the customer typed into our field, as she typed it, for connectors that take it; with another
    ``addressee`` it is ours, and nothing she sees may show it; for `Addressee.MEMBER` it is a member number at ``partner``.
    ``journey``: its id, for links back to it. ``partner``: where she is heading, empty for our own pages.
    ``personal_number``: hers, where she is logged in, we know it, and she is asked for more or once more; for no address.
    """

    UNSPOKEN = frozenset({"identifier", "personal_number"})

    callback_url: str
    return_url: str
    state: str
    language: str
    partner_name: str
    broker_name: str
    minimum: Assurance
    end_user_ip: str
    user_agent: str
    mobile: bool
    now: datetime
    fresh: bool = False
    max_age_s: int | None = None
    login_hint: str | None = None
    device_id: str | None = None
    identifier: str | None = None
    journey: str = ""
    partner: str = ""
    addressee: Addressee = Addressee.TYPED
    personal_number: str | None = None


class ReplyKind(StrEnum):
    """How the customer's side came back."""

    CALLBACK = "callback"
    """The provider redirected the browser to ``callback_url``; ``data`` holds its parameters, each exactly once."""
    POSTED = "posted"
    """The provider's page posted a form to ``callback_url``; ``data`` holds its members, each exactly once."""
    RETURN = "return"
    """An app opened ``return_url``; ``data`` holds its query parameters (the nonce as ``n``)."""
    POLL = "poll"
    """The waiting page asks how it goes; ``data`` is empty."""
    ACT = "act"
    """The customer pressed a button on our page: ``data["do"]`` is the action, other members its fields."""


class Reply(Struct, frozen=True):
    """
    What came back, as plain data, from the browser that began the journey (the hub has checked that).

    ``end_user_ip`` as for `UpstreamAsk`.
    """

    kind: ReplyKind
    data: Mapping[str, str]
    now: datetime
    end_user_ip: str = ""


class Redirect(Struct, frozen=True):
    """Send the browser to ``url`` (303)."""

    url: str


class PostForm(Discreet, frozen=True):
    """Have the browser post ``members`` to ``url``: nothing of them is in an address."""

    UNSPOKEN = frozenset({"members"})

    url: str
    members: Mapping[str, str]


Prompt = Redirect | PostForm | Waiting

__all__ = [
    "AskPasskey",
    "Begun",
    "Call",
    "CallConnector",
    "Channel",
    "CodeCallConnector",
    "Connector",
    "Device",
    "Done",
    "EnterCode",
    "FormConnector",
    "Heard",
    "IdentifierConnector",
    "KeyPublisher",
    "LeaveAnswered",
    "LeaveAsked",
    "LeaveSent",
    "LinkConnector",
    "Listener",
    "LogoutConnector",
    "Offer",
    "OfferingConnector",
    "Pending",
    "Poll",
    "PostForm",
    "Prompt",
    "Published",
    "Redirect",
    "Reply",
    "ReplyKind",
    "Ringing",
    "SingleLogout",
    "UpstreamAsk",
    "Waiting",
    "WaitingConnector",
]


class Begun(Struct, frozen=True):
    """A login was opened: show ``prompt``, remember ``state``."""

    prompt: Prompt
    state: bytes


class Pending(Struct, frozen=True):
    """Not there yet: show ``prompt``, remember ``state`` in place of the old one."""

    prompt: Prompt
    state: bytes


class Done(Struct, frozen=True):
    """The provider proved who came."""

    evidence: Evidence


class Connector(Protocol):
    """
    A provider of identity.

    ``reaches``: the strongest assurance this connector can prove before the operator's ceiling.
    """

    id: str
    reaches: Assurance

    async def begin(self, ask: UpstreamAsk) -> Begun:
        """
        Open a login.

        Raises:
            UpstreamDown: the provider is unreachable, slow or ill.
            UpstreamRefused: it said no.
        """
        ...

    async def resume(self, state: bytes, reply: Reply) -> Done | Pending:
        """
        Take what came back. *state* is what `begin` or the last `Pending` gave.

        Never called twice at once for one journey, and never again after `Done` (the flow sees to both).

        Raises:
            Stopped: the customer cancelled at the provider.
            UpstreamRefused: the answer is a refusal or fails a check. UpstreamDown: as for `begin`.
        """
        ...

    async def close(self) -> None:
        """Release connections; called once at shutdown."""
        ...


class Channel(StrEnum):
    """By which of our addresses a provider's server tells us something: the part behind ``/up/{upstream}/``."""

    LOGOUT = "backchannel-logout"
    """A logout token (OpenID Connect Back-Channel Logout 1.0)."""
    REMOVAL = "deauthorize"
    """Meta's signed request: a person removed the app."""
    EVENTS = "events"
    """A security event token (RFC 8935)."""


class Heard(Struct, frozen=True):
    """
    What a provider says became of its session ``sid``, else of all of its ``subject``. Times are aware UTC.

    ``jti``: to be taken once, until ``expires_at``. ``what``: the kind of event in a word of ours, for the log, and ``about``
    more of it. ``covers_until``: sessions begun until then are over too, though it was said before.
    """

    issuer: str
    subject: str | None
    sid: str | None
    jti: str
    issued_at: datetime
    expires_at: datetime
    change: Change = Change.OVER
    what: str | None = None
    about: str | None = None
    covers_until: datetime | None = None


@runtime_checkable
class Listener(Connector, Protocol):
    """A connector whose provider's server tells us things by itself. ``hears``: by these channels."""

    @property
    def hears(self) -> frozenset[Channel]: ...

    async def heard(self, channel: Channel, unverified: str, now: datetime) -> Sequence[Heard]:
        """
        What *unverified*, which came by one of ``hears``, says once it is believed.

        Raises: UpstreamRefused: it is not for us, or fails a check. UpstreamDown: the provider's keys cannot be had.
        """
        ...


class Published(Struct, frozen=True):
    """Something of ours that a provider fetches: its bytes, and their media type."""

    content: bytes
    media_type: str


@runtime_checkable
class KeyPublisher(Connector, Protocol):
    """A connector whose provider needs our public keys: to verify what we sign, to encrypt what we read."""

    def published(self, document: str, *, address: str, now: datetime) -> Published | None:
        """
        The document of that name below *address*, `{issuer}/up/{upstream_id}`; None when there is no such one.

        ``jwks.json``: our JWK Set. ``jwks.jwt``: the same under a signature. ``.well-known/openid-federation``: our entity
        statement, signed. ``metadata``: our SAML metadata as the provider's service provider, signed.
        """
        ...


class LeaveSent(Struct, frozen=True):
    """How her browser is sent to be logged out at the provider. ``request_id``: that the answer will name."""

    request_id: str
    prompt: Redirect | PostForm


class LeaveAsked(Struct, frozen=True):
    """
    A provider's checked request to end what rests on its session: ``session`` as of `Evidence.session`, and of its parts
    ``indexes`` only, if it names some. ``relay_state``: comes back with the answer.
    """

    request_id: str
    session: str
    indexes: tuple[str, ...]
    issued_at: datetime
    relay_state: str | None


class LeaveAnswered(Struct, frozen=True):
    """A provider's checked answer to ``request_id``. ``is_partial``: as of `broker.core.logout.Fate.PARTLY`."""

    request_id: str
    is_done: bool
    is_partial: bool


class SingleLogout(Protocol):
    """
    Logging out in both directions, through her browser. ``address``: `{issuer}/up/{upstream_id}`; messages come to ``/slo`` below
    it.
    """

    async def leave(self, left: bytes, *, now: datetime) -> LeaveSent:
        """Ask to end the session that ``Evidence.leave`` is of. Raises: UpstreamDown: there is no address for that now."""
        ...

    async def taken(
        self, message: str | Mapping[str, str], *, address: str, now: datetime
    ) -> LeaveAsked | LeaveAnswered:
        """
        What an unverified *message* says, which came in a query (as it was) or as the members of a form.

        Raises: BadAsk: it is not believed. UpstreamDown: the provider's keys cannot be had.
        """
        ...

    def is_meant(self, left: bytes | None, asked: LeaveAsked) -> bool:
        """Whether *asked* is about the session that ``Evidence.leave`` is of."""
        ...

    async def answer(self, asked: LeaveAsked, *, address: str, now: datetime) -> Redirect | PostForm:
        """Say that it was done. Raises: UpstreamDown: there is no address for answers now."""
        ...


@runtime_checkable
class LogoutConnector(Connector, Protocol):
    """A connector whose provider may be told of logouts, and tells of them. ``logout``: None where config does not want that."""

    logout: SingleLogout | None


class Call(Discreet, frozen=True):
    """
    Somebody on the phone is to be asked who she is.

    ``identifier``: what she told the agent: a personal number (12 digits), an address, a number. ``party``: who talks to her,
    as she knows it. ``incoming``: she called, not we. ``binding``: ties the proof to the agent's case, and says nothing.
    ``network``: the agent's network address.
    """

    UNSPOKEN = frozenset({"identifier"})

    identifier: str
    party: str
    language: str
    incoming: bool
    binding: str
    now: datetime
    network: str = ""


class Ringing(Struct, frozen=True):
    """She has not answered. ``state``: to be given next time; ``message_key``: how it goes, for the agent."""

    state: bytes
    message_key: str


@runtime_checkable
class CallConnector(Connector, Protocol):
    """
    A connector that can ask somebody who is on the phone with customer service.

    What she proves is the agent's case and no login: no browser of hers is part of it.
    """

    async def begin_call(self, call: Call) -> bytes:
        """Ask her. Returns: the state. Raises: as `Connector.begin`; BadAsk for an identifier that cannot be one."""
        ...

    async def look_at_call(self, state: bytes, now: datetime) -> Done | Ringing:
        """How it goes; asked again and again, once at a time. Raises: Stopped, UpstreamRefused, UpstreamDown."""
        ...

    async def hang_up(self, state: bytes) -> None:
        """Withdraw it; never raises for what is already over."""
        ...


@runtime_checkable
class CodeCallConnector(CallConnector, Protocol):
    """A connector whose callers read a code out to the agent. ``code_life``: how long they have."""

    @property
    def code_life(self) -> timedelta: ...

    async def try_code(self, state: bytes, typed: str, network: str, now: datetime) -> Done | Ringing:
        """The agent *typed* what she read out; once at a time. Raises: UpstreamRefused."""
        ...


@runtime_checkable
class FormConnector(Connector, Protocol):
    """
    A connector whose provider answers by a form from its own site (``response_mode=form_post``, HTTP-POST): `ReplyKind.POSTED`.

    ``state_member``: the member that brings `UpstreamAsk.state` back. ``largest_form``: octets of all members together.
    """

    takes_forms: Literal[True]
    state_member: str
    largest_form: int


@runtime_checkable
class IdentifierConnector(Connector, Protocol):
    """A connector that begins with something the customer types: an e-mail address, or a phone number."""

    takes: ContactKind

    def complaint(self, typed: str) -> str | None:
        """Why what she *typed* cannot be used, as a key of the catalogue; None when it can. Looks at the text only."""
        ...

    def covers(self, state: bytes, typed: str, addressee: Addressee, now: datetime) -> bool:
        """Whether the login in *state* has just begun with the same: then the button was pressed twice, and once is meant."""
        ...


class Offer(Struct, frozen=True):
    """
    What the page that offers the ways in may ask of the browser at once. ``options``: as of `AskPasskey`. ``mark``: comes back
    with the answer.
    """

    options: str
    mark: str


@runtime_checkable
class WaitingConnector(Connector, Protocol):
    """A connector whose customers stay on our page."""

    def view(self, state: bytes, now: datetime) -> Waiting:
        """What the page shows at *now*, without asking the provider: pure, cheap (called every second per waiting page)."""
        ...

    def is_due(self, state: bytes, now: datetime) -> bool:
        """Whether a poll at *now* should ask the provider (``resume`` with `ReplyKind.POLL`) or be answered by `view`."""
        ...

    async def cancel(self, state: bytes) -> None:
        """Withdraw the running order at the provider; never raises for an order that is already over."""
        ...


@runtime_checkable
class OfferingConnector(WaitingConnector, Protocol):
    """A connector that the browser may answer where the ways in are offered, before the customer chooses one."""

    def offer(self, secret: str, now: datetime) -> Offer:
        """What to ask. Nothing is stored: *secret*, the journey's own, and the mark bring it back. Pure, cheap."""
        ...

    def taken_up(self, secret: str, mark: str, now: datetime) -> bytes:
        """
        The state that `begin` would have given for this offer, for its answer to be resumed with.

        Raises: UpstreamRefused: no offer was marked so.
        """
        ...


@runtime_checkable
class LinkConnector(WaitingConnector, Protocol):
    """A connector that sends a link with a secret of its own: followed by the action ``link`` with the field ``secret``."""

    def opens(self, state: bytes, secret: str, now: datetime) -> bool:
        """Whether the link may finish the login at *now*. Looks only."""
        ...

    def knows(self, state: bytes, secret: str) -> bool:
        """Whether the link belongs to the login, be it over or not. Looks only."""
        ...
