"""
What each page needs: one frozen value per page, filled by the hub and the routes, shown by `render.Pages`.

Views carry facts, never markup and never finished sentences: the words are in ``locale/``. Names, titles, purposes and
field labels come from the operator's config, already in the customer's language; they and all values are untrusted
text and are escaped when shown.
"""

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum

from msgspec import Struct

from broker.core.passkey import OwnPasskey, Unfit


class Party(Struct, frozen=True):
    """A partner as the customer knows it. ``logo_src``: what `logo.Logos.src` gave, None draws the first letter."""

    name: str
    logo_src: str | None = None


class Form(Struct, frozen=True):
    """Where a page's form posts to (a path of ours) and the journey's or session's CSRF token."""

    action: str
    csrf: str


class Action(StrEnum):
    """What a link or button offers; the words are the catalogue's ``action.<value>``."""

    RETRY = "retry"
    START_AGAIN = "start_again"
    """A fresh start at the partner called ``name``."""
    BACK_TO = "back_to"
    GO_TO = "go_to"
    CONTINUE = "continue"
    SHARED = "shared"
    HOME = "home"
    """The broker's own first page."""


class Way(Struct, frozen=True):
    """
    A way on from a page, shown as a link.

    ``id``: the element id, for automation. ``name``: the partner's name where the words name one (`Action.START_AGAIN`,
    `Action.BACK_TO`, `Action.GO_TO`).
    """

    id: str
    url: str
    action: Action
    name: str = ""


class Reason(StrEnum):
    """Why the customer is asked to show who he or she is; the words are ``choose.why.<value>``."""

    CONTINUE = "continue"
    HANDOFF = "handoff"
    """So that what ``source`` passes on reaches the right person."""
    SHARED = "shared"
    """To see the page "What I share"."""
    STRONGER = "stronger"
    """The partner needs more assurance than the session has."""
    MISSING = "missing"
    """The partner requires what the login she came by does not tell."""
    AGAIN = "again"
    """The partner wants a fresh login (``prompt=login`` or ``max_age``)."""
    RENEWAL = "renewal"
    """She is about to change how she logs in."""
    ADDING = "adding"
    """She adds a way to log in."""
    JOINING = "joining"
    """Once more, so that two ways become one person's."""
    AGED = "aged"
    """She proved enough once, and that is too long ago."""
    CONTACT = "contact"
    """The partner needs a proven address, of whichever kind."""
    CONTACT_EMAIL = "contact_email"
    CONTACT_PHONE = "contact_phone"


class Method(Struct, frozen=True):
    """
    One way to log in. ``icon``: a name of ``templates/icons.html``; unknown names get the generic one. ``is_last_used``: in
    this browser.
    """

    id: str
    title: str
    hint: str = ""
    icon: str = "generic"
    is_last_used: bool = False


VISIBLE = 5
"""So many ways are seen at once; the others behind one press more."""


class Identify(Struct, frozen=True):
    """
    The field a customer types an address or number into: ``takes`` is ``email``, ``phone`` or ``either``.

    Posts ``answer=identify`` (`#identify`) and ``identifier``. ``takes_number``: a member number of the partner's will do too.
    ``typed``: what is in it; ``complaint_key``: why that was not taken, shown beside it.
    """

    takes: str
    takes_number: bool = False
    typed: str = ""
    complaint_key: str | None = None


class AskAtOnce(Struct, frozen=True):
    """
    What the page's script asks the browser without being told to; an answer is posted as ``method``, ``mark``, ``credential``.

    ``options``: PublicKeyCredentialRequestOptions as JSON.
    """

    method: str
    options: str
    mark: str


class ChoosePage(Struct, frozen=True):
    """
    How would you like to show who you are?

    Posts ``method=<id>`` (`#method-<id>`) or ``answer=cancel`` (`#cancel`). ``notice_key``: catalogue key of what went
    wrong with the way chosen before, such as ``notice.upstream_down`` or ``bankid.RFA6``. ``source``: with
    `Reason.HANDOFF`, who passes something on. ``identify``: the field above the ways, None without.
    ``at_once``: its list offers passkeys too (conditional mediation).
    ``newsletter_of``: whose newsletter was read in this browser, where a code may go to the address that got it
    (``answer=newsletter``, `#newsletter`).
    ``methods`` are in the order to offer; ``more`` follow, out of sight at first;
    ``ill`` (`#ill-<id>`) would do and do not work right now. ``is_remembered``: the browser is, and can be forgotten by
    ``answer=forget_device`` (`#forget-device`). ``retry``: where no way is left, and after how many seconds.
    ``missing``: with `Reason.MISSING`, what the partner requires and her login did not tell.
    """

    form: Form
    partner: Party | None
    methods: tuple[Method, ...]
    reason: Reason = Reason.CONTINUE
    source: Party | None = None
    notice_key: str | None = None
    identify: Identify | None = None
    at_once: AskAtOnce | None = None
    newsletter_of: Party | None = None
    more: tuple[Method, ...] = ()
    ill: tuple[Method, ...] = ()
    is_remembered: bool = False
    retry: tuple[Way, int] | None = None
    missing: tuple[str, ...] = ()


class WelcomePage(Struct, frozen=True):
    """
    The customer followed a handoff link; nothing has happened yet.

    Posts ``answer`` = ``continue``, ``guest``, ``back`` or ``not_me``. ``title``: what is passed on, in the operator's
    words ("Tyres for fitting"). ``customer``: masked name of the session's customer (`mask_name`), None without one.
    """

    form: Form
    source: Party
    recipient: Party
    title: str = ""
    customer: str | None = None
    may_continue_as_guest: bool = True


class WrongCustomerPage(Struct, frozen=True):
    """
    The handoff belongs to another customer than the one logged in; its content is not shown.

    Posts ``answer`` = ``switch``, ``guest`` or ``back``. ``customer``: masked name of who is logged in.
    """

    form: Form
    source: Party
    recipient: Party
    customer: str | None = None
    may_continue_as_guest: bool = True


class ArrivePage(Struct, frozen=True):
    """
    Which account the customer arrives with, at a recipient that has no login of ours; she has consented before.

    Posts ``challenge`` and ``answer`` = ``continue``, ``not_me`` or ``back``. ``customer``: masked (`mask_name`).
    """

    form: Form
    challenge: str
    source: Party
    recipient: Party
    customer: str | None = None


class JoinKind(StrEnum):
    """What is asked about a login that was just proven, or told (``join.<value>``)."""

    OFFER = "offer"
    """Is it hers as well? Both were proven just now."""
    RENEW = "renew"
    """The same, but one is to be proven once more before."""
    SEEN = "seen"
    """She seems to have been here before, by another way."""
    ANOTHER = "another"
    """It belongs to another account."""
    NUMBER = "number"
    """Whose it is has another member number at ``partner``."""
    REFUSED = "refused"
    """It cannot be added; ``reason_key`` says why."""


class JoinPage(Struct, frozen=True):
    """
    Is the login that was just proven hers as well?

    Posts ``answer`` = ``join`` (with ``method`` where she is to log in once more), ``apart``, ``stay`` or ``cancel``.

    ``customer``: masked name of who is logged in, by ``here``; None without. ``method``, ``contact`` (masked): of the login that
    was just proven. ``methods``: where she may log in once more. ``others``: by what else one gets into the account it would
    join. ``may_part``: going on by that login alone is an answer.
    """

    form: Form
    kind: JoinKind
    method: str
    customer: str | None = None
    here: str = ""
    contact: str | None = None
    partner: Party | None = None
    methods: tuple[Method, ...] = ()
    others: tuple[str, ...] = ()
    may_part: bool = True
    reason_key: str = ""


class Phase(StrEnum):
    """The pictures of the waiting page, as `core.waiting.Poll.phase` names them."""

    CHOOSE_DEVICE = "choose_device"
    QR = "qr"
    LAUNCH = "launch"
    WORKING = "working"
    FAILED = "failed"


class WaitPage(Struct, frozen=True):
    """
    Waiting for the customer's app.

    Posts ``do`` = ``same``, ``other``, ``retry`` or ``cancel``; shows the buttons named in ``actions``.

    Args:
        method: the title of the way to log in ("BankID").
        poll_url: answers `Pages.poll_answer` to GET.
        qr_src: path of the drawn code, different for each drawing (a counter in its query) so that it is fetched anew.
        launch_url: opens the app here; https or the app's own scheme.
    """

    form: Form
    partner: Party | None
    method: str
    phase: Phase
    message_key: str
    poll_url: str
    qr_src: str | None = None
    launch_url: str | None = None
    actions: tuple[str, ...] = ("cancel",)
    again_after_s: float = 1.0


class CodePage(Struct, frozen=True):
    """
    Type in the code that was sent.

    Posts ``do`` = ``code`` (with ``code``), ``again`` or ``cancel``; shows the buttons named in ``actions``.

    Args:
        kind: ``email`` or ``phone``.
        to: where it was sent, as she typed it herself; empty for another ``addressee`` than ``typed``.
        is_well: the message is no complaint.
        again_in_s: when another one may be asked for; 0 now, None never.
        poll_url: answers `Pages.poll_answer` to GET.
    """

    form: Form
    partner: Party | None
    kind: str
    to: str
    message_key: str
    is_well: bool
    has_link: bool
    poll_url: str
    actions: tuple[str, ...]
    again_in_s: int | None = None
    addressee: str = "typed"


class LinkStatus(StrEnum):
    """What a link out of a mail leads to (``link.<value>``)."""

    OPEN = "open"
    """The browser that began: one button finishes the login."""
    ELSEWHERE = "elsewhere"
    """Another one: the code belongs on the page where it began."""
    OVER = "over"
    """The browser that began, but the link was used, replaced, stopped, or is too old."""
    DISOWN = "disown"
    """"That was not me": one button stops the login."""
    DISOWNED = "disowned"


class LinkPage(Struct, frozen=True):
    """
    A link out of a mail was followed; nothing has happened yet (but for `LinkStatus.DISOWNED`).

    `LinkStatus.OPEN` posts ``do=link`` and ``secret``; the token of the form of `LinkStatus.DISOWN` is the secret. ``bare``:
    the address that takes the place of the one with the secret, as soon as the page is there.
    """

    status: LinkStatus
    bare: str
    form: Form | None = None
    secret: str = ""
    partner: Party | None = None
    ways: tuple[Way, ...] = ()


class PasskeyPage(Struct, frozen=True):
    """
    Log in by a passkey; the script asks the browser for it, and again by the button.

    Posts ``do`` = ``passkey`` (with ``credential``) or ``cancel``. ``options``: PublicKeyCredentialRequestOptions as JSON.
    """

    form: Form
    partner: Party | None
    options: str
    message_key: str
    actions: tuple[str, ...] = ("passkey", "cancel")


class Table(Struct, frozen=True):
    """A list of like things inside one field: ``columns`` are labels, each row has one cell per column."""

    columns: tuple[str, ...]
    rows: tuple[tuple["Cell", ...], ...]


Cell = str | int | float | bool | date | datetime | None
Value = Cell | Table


class ConsentField(Struct, frozen=True):
    """
    One field as it would be shared.

    ``name``: dotted path, sent back as ``field=<name>`` when the customer ticks it. ``is_ticked``: only for optional
    fields that this customer ticked for the same recipient and purpose before; the first time nothing is ticked.
    """

    name: str
    label: str
    value: Value
    is_required: bool
    is_ticked: bool = False


class ConsentPage(Struct, frozen=True):
    """
    May the recipient have these details?

    Posts ``csrf``, ``digest``, ``answer`` = ``share``, ``guest`` or ``cancel``, one ``field`` per ticked field, and
    ``remember=yes`` when ticked. Required fields are not posted: the server knows them by ``digest``.

    Optional fields start unticked: a box ticked beforehand is no consent (GDPR article 4(11) and recital 32, CJEU
    C-673/17 Planet49) and the default must be the least data (article 25(2)). "Tick all" keeps it usable.

    ``source``: who passes the details on; None when the recipient itself asks for them at a plain login. ``until``: end
    of the consent, aware UTC; None when it is for this once only. ``may_be_remembered``: offer "do not ask again", which
    then holds until ``remembered_until``. ``missing``: labels of what the recipient says it needs and does not get.
    """

    form: Form
    digest: str
    recipient: Party
    fields: tuple[ConsentField, ...]
    source: Party | None = None
    purpose: str = ""
    until: datetime | None = None
    may_be_remembered: bool = True
    remembered_until: datetime | None = None
    may_continue_as_guest: bool = True
    customer: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[ConsentField, ...]:
        """The fields without which there is no handoff."""
        return tuple(field for field in self.fields if field.is_required)

    @property
    def optional(self) -> tuple[ConsentField, ...]:
        """The fields the customer may leave out."""
        return tuple(field for field in self.fields if not field.is_required)


class LiveConsent(Struct, frozen=True):
    """A consent in force. ``fields``: labels. ``until``: None, until withdrawn. ``is_remembered``: not asked again."""

    id: str
    recipient: Party
    purpose: str
    fields: tuple[str, ...]
    since: datetime
    until: datetime | None = None
    source: Party | None = None
    is_remembered: bool = False


class TransferState(StrEnum):
    """How a transfer ended or stands, in the customer's words (``transfer.<value>``)."""

    WAITING = "waiting"
    AGREED = "agreed"
    FETCHED = "fetched"
    CONFIRMED = "confirmed"
    GUEST = "guest"
    DECLINED = "declined"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Transfer(Struct, frozen=True):
    """One transfer in the history."""

    recipient: Party
    purpose: str
    state: TransferState
    at: datetime
    source: Party | None = None


class OwnLogin(Struct, frozen=True):
    """
    One of the customer's sessions.

    ``name``: what the form that ends it sends; it opens nothing. ``browser``, ``system``: names of products, empty where
    they cannot be told. ``method``: title of the way to log in. ``partners``: where she is logged in by it. ``is_here``: in
    this very browser.
    """

    name: str
    browser: str
    system: str
    method: str
    since: datetime
    seen: datetime
    partners: tuple[str, ...] = ()
    is_here: bool = False


class PasskeyList(Struct, frozen=True):
    """
    The customer's passkeys on her own page.

    ``rename``: its form posts ``passkey=<id>`` and ``name``. ``remove_url``: asks whether to remove the one added to it.
    ``said``: what happened a moment ago (``passkeys.said.<said>``). ``hint``: tell her what passkeys are good for; its form
    takes that away.
    """

    passkeys: tuple[OwnPasskey, ...]
    add_url: str
    remove_url: str
    rename: Form
    said: str | None = None
    hint: Form | None = None
    may_add: bool = True


class AddPasskeyPage(Struct, frozen=True):
    """
    Add a passkey: the script asks the browser to make one.

    Posts ``ticket`` and ``credential``. ``options``: PublicKeyCredentialCreationOptions as JSON. ``unfit``: why not now
    (``passkeys.unfit.<unfit>``); then ``renew_url`` leads to a login after which it works, if there is a way for that.
    """

    form: Form
    back_url: str
    options: str = ""
    ticket: str = ""
    unfit: Unfit | None = None
    renew_url: str | None = None


class RemovePasskeyPage(Struct, frozen=True):
    """
    Remove it? Posts ``passkey`` and ``answer=remove``.

    ``renew_url``: she is to log in there first, and comes back here; None where she may remove it now.
    """

    form: Form
    back_url: str
    passkey: OwnPasskey
    renew_url: str | None = None


class ShownWay(Struct, frozen=True):
    """
    One of her ways to log in. ``name``: what forms call it by; it opens nothing. ``method``: its title.

    ``contacts``: masked. ``is_here``: she is logged in by it in this browser. ``removed``: when she took it out.
    """

    name: str
    method: str
    icon: str
    since: datetime
    used: datetime
    contacts: tuple[str, ...] = ()
    is_here: bool = False
    may_remove: bool = False
    removed: datetime | None = None


class ShownNumber(Struct, frozen=True):
    """A member number she has linked: at ``partner``, whose name is ``title``; ``number`` is masked."""

    partner: str
    title: str
    number: str


class WaysIn(Struct, frozen=True):
    """
    Her ways to log in, on her own page, and the member numbers she has linked.

    ``remove_url``: asks whether to take out the one added to it. ``restore``: its form posts ``way=<name>``. ``add_url``: None
    where none can be added; ``refusal_key`` says why, of ``method``, by which she is logged in. ``said``: what happened a
    moment ago (``ways.said.<said>``). ``unlink``: its form posts ``partner=<id>`` of one of ``numbers``; None without.
    """

    ways: tuple[ShownWay, ...]
    remove_url: str
    restore: Form
    removed: tuple[ShownWay, ...] = ()
    add_url: str | None = None
    refusal_key: str | None = None
    method: str = ""
    said: str | None = None
    numbers: tuple[ShownNumber, ...] = ()
    unlink: Form | None = None


class RemoveWayPage(Struct, frozen=True):
    """
    Take out this way to log in? Posts ``way`` and ``answer=remove``. ``undo_days``: how long it can be brought back.

    ``renew_url``: as in `RemovePasskeyPage`.
    """

    form: Form
    back_url: str
    way: ShownWay
    undo_days: int
    renew_url: str | None = None


class SharedPage(Struct, frozen=True):
    """
    "What I share" of one customer, and where she is logged in.

    ``withdraw``: its form posts ``consent=<id>``. ``log_out``: form of the log-out button. ``withdrawn_from``: name
    of the recipient whose consent was withdrawn a moment ago. ``sign_out``: its form posts ``session=<name>``, or
    ``others``. ``signed_out``: a session elsewhere was ended a moment ago. ``ways_in``: how she can log in.
    ``forget_device``: form of the button by which the
    browser is remembered no more; None where it is not.
    """

    customer: str
    withdraw: Form
    log_out: Form
    consents: tuple[LiveConsent, ...] = ()
    history: tuple[Transfer, ...] = ()
    withdrawn_from: str | None = None
    logins: tuple[OwnLogin, ...] = ()
    sign_out: Form | None = None
    signed_out: bool = False
    passkeys: PasskeyList | None = None
    ways_in: WaysIn | None = None
    forget_device: Form | None = None


class SharedLoginPage(Struct, frozen=True):
    """ "What I share" before it is known whose. ``log_in_url``: starts a login that comes back to the page."""

    log_in_url: str


class HandoffStatus(StrEnum):
    """Why a handoff link leads nowhere new (``handoff.<value>``)."""

    ALREADY = "already"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    UNAVAILABLE = "unavailable"
    """The operator has closed this edge, or no way to log in is left for it."""


class HandoffStatusPage(Struct, frozen=True):
    """What became of a handoff, and the ways on. The first way is the main one."""

    status: HandoffStatus
    source: Party
    recipient: Party
    ways: tuple[Way, ...] = ()


class Problem(StrEnum):
    """What can go wrong, in the customer's words (``problem.<value>.title``, ``.what``, ``.next``)."""

    COOKIES_DROPPED = "cookies_dropped"
    WRONG_BROWSER = "wrong_browser"
    RETURN_ELSEWHERE = "return_elsewhere"
    """An app sent the customer back into another window than the one that waits."""
    EXPIRED = "expired"
    SPENT = "spent"
    UNKNOWN_LINK = "unknown_link"
    NOT_FOUND = "not_found"
    OLD_FORM = "old_form"
    """A form came without its token, or from a page that is no longer current."""
    UPSTREAM_DOWN = "upstream_down"
    UPSTREAM_REFUSED = "upstream_refused"
    TOO_WEAK = "too_weak"
    DENIED = "denied"
    STOPPED = "stopped"
    GONE = "gone"
    TOO_MANY = "too_many"
    STORE_DOWN = "store_down"
    OUR_FAULT = "our_fault"
    NO_PARTNER = "no_partner"
    """The login was begun by nobody we know, or its beginning is lost: offer the partners' own pages."""


class ProblemPage(Struct, frozen=True):
    """
    What happened and what to do next.

    ``ways``: at least one, so that no page is a dead end; the first is the main one. ``message_key``: a more exact text
    than the problem's own, such as ``bankid.RFA16``. ``retry_after_s``: when trying again makes sense (sent as
    ``Retry-After`` too).
    """

    problem: Problem
    ways: tuple[Way, ...]
    partner: Party | None = None
    message_key: str | None = None
    retry_after_s: int | None = None

    def __post_init__(self) -> None:
        if not self.ways:
            raise ValueError("a problem page needs at least one way on")


class ContinuePage(Struct, frozen=True):
    """
    Goes on to ``url`` by itself, at once, and shows a link besides.

    The answer to a POST that leaves for another site, where a redirect would be held to the form's ``form-action`` over
    all its hops (docs/security.md C5).
    """

    url: str
    partner: Party | None = None


class PostPage(Struct, frozen=True):
    """
    Posts ``members`` to ``url``, a partner's or a provider's, by itself, at once, and shows a button besides.

    An answer by form (OAuth 2.0 Form Post Response Mode section 2), or a SAML message: nothing of it is in an address.
    ``back``: the page of ours that stands in the browser's history in place of this one.
    """

    url: str
    members: Mapping[str, str]
    back: str | None = None


class LogoutConfirmPage(Struct, frozen=True):
    """
    Log out? Posts ``answer`` = ``log_out`` or ``stay``, and ``wish``, which says where to go on to afterwards.

    ``partner``: who asked, if known.
    """

    form: Form
    partner: Party | None = None
    customer: str | None = None
    wish: str = ""


class StillIn(Struct, frozen=True):
    """
    A partner the customer may still be logged in at, or the provider she had logged in by. ``why``: ``telling``, ``untold``,
    ``offered``, ``reachable``, ``unreachable`` or ``partly``, worded as ``logged_out.<why>``. ``way``: there.
    """

    name: str
    why: str
    way: Way


class LoggedOutPage(Struct, frozen=True):
    """
    Logged out here. ``ways``: where to go; when empty, to the first page.

    ``told``: names of partners that know it too. ``still``: those that may not. ``frames``: addresses of partners to be
    loaded out of sight, so that they can end their sessions in this browser. ``onward``: where she was heading;
    ``goes_on``: and is sent by the page itself, after the frames had a moment.
    """

    ways: tuple[Way, ...] = ()
    told: tuple[str, ...] = ()
    still: tuple[StillIn, ...] = ()
    frames: tuple[str, ...] = ()
    onward: Way | None = None
    goes_on: bool = False


class IndexPage(Struct, frozen=True):
    """What this place is. ``partners``: ways to the partners' own pages, shown by ``name``."""

    partners: tuple[Way, ...] = ()


class DeskCase(Struct, frozen=True):
    """
    A case of customer service as its agent sees it. ``standing``: worded as ``desk.standing.<standing>``.

    ``is_customer``: whether the confirmed caller is known here; None for a case that confirmed nobody.
    """

    id: str
    reference: str
    method: str
    standing: str
    at: datetime
    is_customer: bool | None = None


class DeskPage(Struct, frozen=True):
    """
    Customer service: ask a caller who she is, and the agent's cases of today.

    Posts ``method``, ``identifier``, ``reference``, ``language`` (the caller's) and ``initiator`` (``caller`` or ``us``).
    ``problem_key``: what was wrong with what was sent, which stands in the form again: ``method`` (the id of the one that is
    chosen) and all below it.
    """

    form: Form
    log_out_url: str
    agent: str
    methods: tuple[Method, ...]
    cases: tuple[DeskCase, ...]
    case_url: str
    problem_key: str | None = None
    method: str = ""
    identifier: str = ""
    reference: str = ""
    is_incoming: bool = True
    languages: tuple[str, ...] = ()
    language: str = ""


class DeskCasePage(Struct, frozen=True):
    """
    One case. ``poll_url``: answers how it goes as JSON. Its form, while it waits, gives up; with ``takes_code`` another one posts
    ``do=code`` (`#send-code`) with ``code``, as the caller read it out.
    """

    form: Form
    case: DeskCase
    message_key: str
    is_over: bool
    poll_url: str
    back_url: str
    takes_code: bool = False


Page = (
    ChoosePage
    | WelcomePage
    | WrongCustomerPage
    | ArrivePage
    | WaitPage
    | CodePage
    | LinkPage
    | ConsentPage
    | PasskeyPage
    | AddPasskeyPage
    | RemovePasskeyPage
    | SharedPage
    | JoinPage
    | RemoveWayPage
    | SharedLoginPage
    | HandoffStatusPage
    | ProblemPage
    | ContinuePage
    | PostPage
    | LogoutConfirmPage
    | LoggedOutPage
    | IndexPage
    | DeskPage
    | DeskCasePage
)


def mask_name(name: str) -> str:
    """
    *name* so that its owner knows it and a stranger learns little: ``Maja Lind`` -> ``M••• L•••``; empty stays empty.

    For pages that appear before the customer has confirmed who is sitting there. The dots do not count the letters, and
    the two words stay on one line.
    """
    words = name.split()
    ends = words[:1] + words[1:][-1:]
    return "\u00a0".join(f"{word[0]}•••" for word in ends)
