"""
Codes that we send and the customer types in: what e-mail and SMS have in common.

* A code has six digits, lives for minutes, belongs to one login in one browser, and is compared as an HMAC; there is never
  more than one live code for a login. A message may hold a link beside it, with 128 random bits of its own.
* Sending happens beside the request (`broker.notify.courier`). Whether the address exists is known to nobody who asks: the
  page is the same for all addresses, and customers are not looked up before the proof.
* What became of the message is kept in the state store for a few minutes; the waiting page asks a few times, whoever types
  a code learns of it at once.
* A member number stands for the contact that the merchant's register has on file (`Addressee.MEMBER`). The register is asked
  beside the request as well, and for a number that is nobody's there is a code like any other, which goes nowhere and never
  counts. What became of such a message is nobody's to know.

    sent --(wrong, up to 5)--> sent --> Done
      |  \\-> expired, void --(again)--> sent with another code
      \\-> undeliverable: another way in
"""

import hmac
import secrets
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Literal

import msgspec
from msgspec import Struct

from broker.core.assurance import Assurance
from broker.core.identity import Contact, ContactKind, Evidence, Membership
from broker.core.membership import OnFile
from broker.core.naming import name_of
from broker.core.waiting import Addressee, EnterCode
from broker.errors import StoreDown, UpstreamDown, UpstreamRefused
from broker.flows.codes import Codes, Fate, Tried
from broker.flows.contacts import ContactsOnFile, contact_issuer
from broker.flows.context import Context
from broker.flows.limits import RESEND_AFTER, TRIES_PER_CODE, TRY_AFTER, Limits, Message
from broker.notify.courier import Courier
from broker.notify.ports import Accepted, Reason, Rejected, Sent
from broker.observe.logging import log
from broker.upstream.port import Begun, Done, Pending, Reply, ReplyKind, UpstreamAsk
from broker.upstream.supplies import MembersOnFile, NoMembers

DIGITS: Final = 6

_LOOKS: Final = tuple(timedelta(seconds=seconds) for seconds in (2, 6, 15, 40))
"""When after sending the waiting page asks what became of it; in between a poll reads the journey only."""

_MAX_OLDER: Final = 3
_UNDELIVERABLE: Final = frozenset({Reason.RECIPIENT, Reason.OPTED_OUT, Reason.CONTENT})


def draw_code() -> str:
    """A new code: six digits, each as likely as any other."""
    return f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"


def grouped(code: str) -> str:
    """``123456`` as people read it: ``123 456``."""
    return f"{code[:3]} {code[3:]}"


def read_code(typed: str) -> str | None:
    """The digits of a code as people type and paste it (``123 456``, ``１２３-456``); None for anything else."""
    plain = unicodedata.normalize("NFKC", typed)
    digits = "".join(char for char in plain if not char.isspace() and char not in "-.\u2010\u2011\u2013")
    return digits if len(digits) == DIGITS and digits.isascii() and digits.isdigit() else None


class Address(Struct, frozen=True):
    """
    Where a code goes. ``canonical``: who it is, for looking up and counting. ``deliver``: what the message is addressed to.

    ``block``, ``country``: of a phone number.
    """

    canonical: str
    deliver: str
    block: str | None = None
    country: str | None = None


class Letter(Struct, frozen=True):
    """
    What a message is about. ``code``: as it is typed. ``link``, ``disown_link``: empty where there is none.

    ``partner``, ``broker``: names, in ``language``. ``origin``: where the code is typed. ``minutes``: how long it counts.
    ``is_read_out``: to customer service, on the phone; it is typed nowhere by whoever gets it.
    """

    code: str
    link: str
    disown_link: str
    partner: str
    broker: str
    origin: str
    language: str
    minutes: int
    is_read_out: bool = False


class _Code(msgspec.Struct, frozen=True):
    """A live code. ``mac``: keyed digest of it. ``link``: `name_of` the link's secret, empty without a link."""

    id: str
    mac: str
    link: str
    sent_at: datetime
    until: datetime


class _State(msgspec.Struct, frozen=True):
    """
    ``typed``: the address, or member number, as it was given. ``code``: None when there is none that counts. ``older``: digests
    of codes that were replaced. ``looks``: how often it was asked what became of the message, None when that is known, or is
    nobody's to know.
    """

    typed: str
    login: str
    token: str
    partner: str
    partner_name: str
    broker_name: str
    language: str
    message: str
    again_at: datetime | None
    try_at: datetime
    code: _Code | None = None
    older: tuple[str, ...] = ()
    looks: int | None = None
    addressee: Addressee = Addressee.TYPED


_decoder = msgspec.msgpack.Decoder(_State)


class _Owner(Struct, frozen=True):
    """Who proves what by a code: the address it went to. ``membership``: by which number that was found."""

    to: Address
    membership: Membership | None = None


class CodeConnector(ABC):
    """
    A connector that sends codes; one per process and upstream.

    Args:
        id: of the upstream in the YAML.
        validity: of a code.
        has_link: whether the message holds a link too.
        limits: of this way of sending.
        context: of it: the state store, the lookup digest, the issuer.
        members: whom member numbers are of.
        draw: makes a code. secret: makes 128 or more random bits as URL-safe text.
    """

    takes: ContactKind
    kind: str
    amr_code: tuple[str, ...]
    amr_link: tuple[str, ...]
    reaches = Assurance.CONTACT

    def __init__(
        self,
        id: str,
        *,
        validity: timedelta,
        has_link: bool,
        limits: Limits,
        context: Context,
        members: MembersOnFile | None = None,
        draw: Callable[[], str] = draw_code,
        secret: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        self.id = id
        self._validity = validity
        self._has_link = has_link
        self._limits = limits
        self._codes = Codes(context, limits)
        self._contacts = ContactsOnFile(context)
        self._digester = context.lookup
        self._policy = context.policy
        self._draw = draw
        self._secret = secret
        self.courier = Courier()
        self._members = members or NoMembers()
        # security: of its own, so that a slow register holds up no other messages
        self.lookups = Courier()

    # What each way says of itself.

    @abstractmethod
    def read(self, typed: str) -> Address | str:
        """The address *typed* stands for, or the key of why it gets no code."""

    @abstractmethod
    async def send(self, to: Address, letter: Letter, ref: str) -> Sent:
        """Send *letter*; as the ports of `broker.notify`."""

    async def refused(self, to: Address, *, on_file: bool = False) -> str | None:
        """
        The name of a limit of this way's own that refuses a message *to* this address.

        Args:
            on_file: a member number stands for it: what is counted then must show to nobody else.
        """
        return None

    async def was_sent(self, to: Address, code: str, at: datetime, *, on_file: bool = False) -> None:
        """The gateway took the message."""
        return

    async def was_used(self, to: Address, code: str, at: datetime, *, on_file: bool = False) -> None:
        """The code that was sent *at* that time was typed in."""
        return

    # The connector.

    def complaint(self, typed: str) -> str | None:
        """Why no code can go to what she *typed*: a key of the catalogue; None when it may."""
        found = self.read(typed)
        return found if isinstance(found, str) else None

    def covers(self, state: bytes, typed: str, addressee: Addressee, now: datetime) -> bool:
        """Whether a code went there for this login, and another one may not be asked for yet."""
        held = _decoder.decode(state)
        is_same = held.typed == typed.strip() and held.addressee is addressee
        return is_same and held.code is not None and held.again_at is not None and now < held.again_at

    async def begin(self, ask: UpstreamAsk) -> Begun:
        """Send a code to ``ask.identifier``. Raises: UpstreamRefused: that is no address; a limit is reached."""
        typed = (ask.identifier or "").strip()
        state = _State(
            typed=typed,
            login=ask.journey,
            token=ask.state,
            partner=ask.partner,
            partner_name=ask.partner_name,
            broker_name=ask.broker_name,
            language=ask.language,
            message="code.sent" if ask.addressee is not Addressee.MEMBER else "code.member.sent",
            again_at=None,
            try_at=ask.now,
            addressee=ask.addressee,
        )
        to = self._address(state)
        if (limit := await self._limit_of(state, to, ask.end_user_ip)) is not None:
            raise _refused(limit)
        state = self._sent(state, to, ask.now)
        return Begun(self._page(state, ask.now), msgspec.msgpack.encode(state))

    async def resume(self, state: bytes, reply: Reply) -> Done | Pending:
        """Carry on: buttons (``code``, ``link``, ``again``), and polls, which learn what became of the message."""
        held = _decoder.decode(state)
        match reply.kind:
            case ReplyKind.ACT:
                return await self._act(held, reply)
            case ReplyKind.POLL:
                return await self._poll(held, reply)
            case ReplyKind.RETURN:
                return self._pending(held, reply.now)
            case _:
                raise UpstreamRefused("nobody sends a browser to the callback", code="one_time_code.callback")

    def view(self, state: bytes, now: datetime) -> EnterCode:
        """What the waiting page shows."""
        return self._page(_decoder.decode(state), now)

    def is_due(self, state: bytes, now: datetime) -> bool:
        """True a few times after a message was handed over, until it is known what became of it."""
        held = _decoder.decode(state)
        if held.code is None or held.looks is None or held.looks >= len(_LOOKS):
            return False
        return now >= held.code.sent_at + _LOOKS[held.looks]

    def opens(self, state: bytes, secret: str, now: datetime) -> bool:
        """Whether the link with this *secret* may finish the login; it does so only as a button (`resume`)."""
        code = _decoder.decode(state).code
        return code is not None and now < code.until and _same_secret(code.link, secret)

    def knows(self, state: bytes, secret: str) -> bool:
        """Whether *secret* is of the message that was sent last for this login, whether it still counts or not."""
        code = _decoder.decode(state).code
        return code is not None and _same_secret(code.link, secret)

    async def cancel(self, state: bytes) -> None:
        """The code goes with the state it is kept in; there is nobody to be told."""
        return

    async def close(self) -> None:
        """Let the messages under way go out."""
        await self.lookups.close()
        await self.courier.close()

    # What the customer did.

    async def _act(self, held: _State, reply: Reply) -> Done | Pending:
        match reply.data.get("do"):
            case "code":
                return await self._try(held, reply)
            case "link":
                return await self._follow(held, reply)
            case "again":
                return await self._again(held, reply)
        return self._pending(held, reply.now)

    async def _try(self, held: _State, reply: Reply) -> Done | Pending:
        to, code, typed = self._address(held), held.code, read_code(reply.data.get("code", ""))
        if code is None or reply.now >= code.until:
            return self._pending(held, reply.now)
        if typed is None:
            return self._pending(held, reply.now, "code.malformed")
        if reply.now < held.try_at:
            # security: not compared, so it need not be counted
            return self._pending(held, reply.now, "code.slow")
        # security: counted before it is compared
        tried, owner = await self._tried(held, to, code, reply.end_user_ip)
        if tried.is_void:
            return self._void(held, reply.now)
        if tried.is_refused:
            log("one_time_code.refused", "warning", upstream=self.id, code="rate.code_tries")
            return self._pending(held, reply.now, "code.too_many_tries")
        if hmac.compare_digest(code.mac, self._mac(held, typed)) and owner is not None:
            return await self._used(owner, code, "code", reply.now)
        return self._wrong(held, typed, tried, reply.now)

    async def _tried(self, held: _State, to: Address, code: _Code, network: str) -> tuple[Tried, _Owner | None]:
        if held.addressee is not Addressee.MEMBER:
            return await self._codes.tried(code.id, to.canonical, network), _Owner(to)
        tried, on_file = await self._codes.tried_by_number(code.id, to.canonical, network, self._canonical)
        return tried, self._member(held, on_file)

    def _canonical(self, contact: str) -> str:
        """security: one mailbox is one, however registers write it."""
        to = self.read(contact)
        return contact if isinstance(to, str) else to.canonical

    def _member(self, held: _State, on_file: OnFile | None) -> _Owner | None:
        """security: whoever could not be written to proves nothing, not even by guessing the code."""
        to = self.read(on_file.contact) if on_file is not None else ""
        return None if on_file is None or isinstance(to, str) else _Owner(to, Membership(held.partner, on_file.number))

    async def _used(self, owner: _Owner, code: _Code, way: Literal["code", "link"], now: datetime) -> Done:
        log("one_time_code.used", upstream=self.id, way=way, took_s={"sent_to_used": _age_s(code, now)})
        await self.was_used(owner.to, code.id, code.sent_at, on_file=owner.membership is not None)
        return self._done(owner.to, now, self.amr_code if way == "code" else self.amr_link, owner.membership)

    def _wrong(self, held: _State, typed: str, tried: Tried, now: datetime) -> Pending:
        log("one_time_code.wrong", upstream=self.id, tried=tried.count)
        if tried.count >= TRIES_PER_CODE:
            return self._void(held, now)
        changed = msgspec.structs.replace(held, try_at=now + TRY_AFTER[tried.count])
        if tried.fate is Fate.UNDELIVERABLE:
            return self._pending(changed, now, "code.undeliverable")
        return self._pending(changed, now, "code.older" if self._mac(held, typed) in held.older else "code.wrong")

    def _void(self, held: _State, now: datetime) -> Pending:
        log("one_time_code.void", "warning", upstream=self.id)
        return self._pending(msgspec.structs.replace(held, code=None), now, "code.void")

    async def _follow(self, held: _State, reply: Reply) -> Done | Pending:
        code = held.code
        if code is None or reply.now >= code.until or not _same_secret(code.link, reply.data.get("secret", "")):
            return self._pending(held, reply.now, "code.link_over")
        if held.addressee is Addressee.MEMBER:
            owner = self._member(held, await self._codes.filed(code.id))
        else:
            owner = _Owner(self._address(held))
        if owner is None:
            return self._pending(held, reply.now, "code.link_over")
        return await self._used(owner, code, "link", reply.now)

    async def _again(self, held: _State, reply: Reply) -> Pending:
        if held.again_at is None:
            return self._pending(held, reply.now)
        if reply.now < held.again_at:
            return self._pending(held, reply.now, "code.again_soon")
        to = self._address(held)
        if (limit := await self._limit_of(held, to, reply.end_user_ip)) is not None:
            log("one_time_code.refused", "warning", upstream=self.id, code=f"rate.code_{limit}")
            return self._pending(msgspec.structs.replace(held, again_at=None), reply.now, "code.no_more")
        said = "code.sent_again" if held.addressee is not Addressee.MEMBER else "code.member.sent_again"
        return self._pending(self._sent(held, to, reply.now), reply.now, said)

    async def _poll(self, held: _State, reply: Reply) -> Pending:
        code = held.code
        if code is None or held.looks is None:
            return self._pending(held, reply.now)
        match await self._codes.fate(code.id):
            case None:
                return self._pending(msgspec.structs.replace(held, looks=held.looks + 1), reply.now)
            case Fate.SENT:
                return self._pending(msgspec.structs.replace(held, looks=None), reply.now)
            case Fate.UNDELIVERABLE:
                return self._pending(msgspec.structs.replace(held, looks=None), reply.now, "code.undeliverable")
        raise UpstreamDown(
            "the message could not be handed over", code="one_time_code.unsent", message_key="notice.code_unsent"
        )

    # What is sent.

    def _sent(self, held: _State, to: Address, now: datetime) -> _State:
        """*held* with a new code, which is on its way; the one before counts no more."""
        digits, secret, ref = self._draw(), self._secret() if self._has_link else "", secrets.token_urlsafe(12)
        code = _Code(ref, "", name_of(secret) if secret else "", now, now + self._validity)
        older = (*held.older, held.code.mac)[-_MAX_OLDER:] if held.code else held.older
        is_member = held.addressee is Addressee.MEMBER
        changed = msgspec.structs.replace(
            held, code=code, older=older, looks=None if is_member else 0, try_at=now, again_at=now + RESEND_AFTER
        )
        changed = msgspec.structs.replace(changed, code=msgspec.structs.replace(code, mac=self._mac(changed, digits)))
        letter = self._letter(changed, digits, secret)
        log("one_time_code.sent", upstream=self.id, partner=held.partner, ref=ref)
        if is_member:
            self._post_to_member(changed, letter, code)
            return changed

        async def tell(sent: Sent) -> None:
            await self._told(to, ref, now, sent)

        self.courier.post(lambda: self.send(to, letter, ref), tell)
        return changed

    def _post_to_member(self, held: _State, letter: Letter, code: _Code) -> None:
        """Ask the register whom to write to, and write; she is told neither how long it took nor what came of it."""

        async def look_up() -> Sent:
            on_file = await self._members.on_file(held.partner, held.typed)
            owner = self._member(held, on_file)
            if on_file is not None and owner is None:
                log("one_time_code.refused", "warning", upstream=self.id, code="one_time_code.on_file")
            limit = await self._limit_on_file(held, owner.to if owner is not None else self._address(held))
            if limit is not None:
                log("one_time_code.refused", "warning", upstream=self.id, code=f"rate.code_{limit}")
            may = owner is not None and limit is None
            await self._codes.file(code.id, on_file if may else None)
            if owner is not None and may:
                to = owner.to
                self.courier.post(lambda: self.send(to, letter, code.id), partial(self._sent_to_member, to, code))
            return Accepted(code.id)

        async def tell(looked_up: Sent) -> None:
            if not isinstance(looked_up, Accepted):
                log("one_time_code.untold", "warning", upstream=self.id, detail=looked_up.code)

        self.lookups.post(look_up, tell)

    async def _sent_to_member(self, to: Address, code: _Code, sent: Sent) -> None:
        try:
            if isinstance(sent, Accepted):
                await self.was_sent(to, code.id, code.sent_at, on_file=True)
        except StoreDown as error:
            log("one_time_code.untold", "warning", upstream=self.id, detail=error.detail)

    def _letter(self, held: _State, digits: str, secret: str) -> Letter:
        # security: addresses in messages come from the config, never from a request (Host header).
        issuer = self._policy().issuer
        link = f"{issuer}/m/{held.login}.{secret}" if secret else ""
        return Letter(
            code=digits,
            link=link,
            disown_link=f"{link}/no" if link else "",
            partner=held.partner_name,
            broker=held.broker_name,
            origin=issuer,
            language=held.language,
            minutes=int(self._validity.total_seconds() // 60),
        )

    async def _told(self, to: Address, code: str, at: datetime, sent: Sent) -> None:
        """Keep what became of the message where the waiting page, in whichever process, asks for it."""
        try:
            await self._codes.tell(code, _fate_of(sent))
            if isinstance(sent, Accepted):
                await self.was_sent(to, code, at)
        except StoreDown as error:
            log("one_time_code.untold", "warning", upstream=self.id, detail=error.detail)

    async def _limit_reached(self, to: Address, login: str, network: str, partner: str) -> str | None:
        if (own := await self.refused(to)) is not None:
            return own
        return await self._limits.reached(Message(login, to.canonical, network, partner, to.block, to.country))

    async def _limit_of(self, held: _State, to: Address, network: str) -> str | None:
        if held.addressee is not Addressee.MEMBER:
            return await self._limit_reached(to, held.login, network, held.partner)
        return await self._limits.reached_by_number(Message(held.login, to.canonical, network, held.partner))

    async def _limit_on_file(self, held: _State, to: Address) -> str | None:
        """security: for a number that is nobody's, counted alike by that number."""
        if (own := await self.refused(to, on_file=True)) is not None:
            return own
        message = Message(held.login, to.canonical, "", held.partner, to.block, to.country)
        return await self._limits.reached_on_file(message)

    # What it comes to.

    def _address(self, held: _State) -> Address:
        """Where the code goes; for a member number what stands in for that, and is nowhere."""
        if held.addressee is Addressee.MEMBER:
            return Address(f"{held.partner} {held.typed}", "")
        to = self.read(held.typed)
        if isinstance(to, str):
            raise UpstreamRefused("not an address a code can go to", code="one_time_code.address", message_key=to)
        return to

    def _mac(self, held: _State, digits: str) -> str:
        """security: bound to this one login; without the key nobody who reads it can try a million codes."""
        return self._digester.digest("code", self.kind, held.token, digits)

    def _done(self, to: Address, now: datetime, amr: tuple[str, ...], membership: Membership | None = None) -> Done:
        issuer = self._policy().issuer
        return Done(evidence_from(self, to, issuer=issuer, amr=amr, now=now, membership=membership))

    def _pending(self, held: _State, now: datetime, message: str | None = None) -> Pending:
        changed = msgspec.structs.replace(held, message=message) if message is not None else held
        return Pending(self._page(changed, now), msgspec.msgpack.encode(changed))

    def _page(self, held: _State, now: datetime) -> EnterCode:
        code = held.code
        counts = code is not None and now < code.until
        message = held.message
        if code is not None and not counts:
            message = "code.expired"
        actions = ("code",) if counts and message != "code.undeliverable" else ()
        again = ("again",) if held.again_at is not None and message != "code.undeliverable" else ()
        return EnterCode(
            kind=self.takes,
            to=held.typed if held.addressee is Addressee.TYPED else "",
            message_key=message,
            until=code.until if code is not None else now,
            again_at=held.again_at,
            has_link=self._has_link,
            actions=(*actions, *again, "cancel"),
            addressee=held.addressee,
        )


def evidence_from(
    connector: CodeConnector,
    to: Address,
    *,
    issuer: str,
    amr: tuple[str, ...],
    now: datetime,
    membership: Membership | None = None,
) -> Evidence:
    """
    Who controls an address proves nothing else: a verified contact, never more than one factor (RFC 8176, ``mfa``).

    The key of the person is the address itself at this broker, whichever upstream of this kind sent the code.
    """
    return Evidence(
        upstream=connector.id,
        issuer=contact_issuer(issuer, connector.takes),
        subject=to.canonical,
        assurance=Assurance.CONTACT,
        amr=amr,
        authenticated_at=now,
        contacts=(Contact(connector.takes, to.deliver, verified=True),),
        membership=membership,
    )


def _fate_of(sent: Sent) -> Fate:
    if not isinstance(sent, Rejected):
        return Fate.SENT
    return Fate.UNDELIVERABLE if sent.reason in _UNDELIVERABLE else Fate.UNSENT


def _refused(limit: str) -> UpstreamRefused:
    return UpstreamRefused("a limit is reached", code=f"rate.code_{limit}", message_key="notice.code_limit")


def _same_secret(stored: str, secret: str) -> bool:
    """security: of the link's secret only a digest is kept, and it is compared in constant time."""
    return bool(stored) and bool(secret) and hmac.compare_digest(stored, name_of(secret))


def _age_s(code: _Code, now: datetime) -> float:
    return (now - code.sent_at).total_seconds()
