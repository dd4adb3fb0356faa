"""
Swedish BankID over the relying party API v6.

A login begins with a question (is the app here or on another device?), since the two ways must never share an
order:

* **same device**: the order carries a one-time nonce in ``returnUrl``; the login is complete only when the starting
  browser comes back with that nonce. Polling alone never completes it, because whoever starts an order chooses which
  platform to claim, and could relay the launch link to somebody else (session fixation, CWE-384).
* **other device**: an animated QR code, made on the server from a secret that never leaves it; completes by polling.

    choosing -> running -> (completed, waits for the browser's return) -> Done
       |          |  ^ an order nobody opened is renewed silently, 3 minutes in total
       |          v
       +------> ended: failed in a way that a new try may mend

A final answer is given once, so what `resume` returns at first sight of it holds everything. Refusals and
`Stopped` carry a message key; `Message` lists all of them.
"""

import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from ssl import SSLError
from typing import Annotated, Any, Final, Literal, assert_never
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct
from pydantic import AfterValidator, Field

from broker.core.assurance import Assurance
from broker.core.identity import Evidence
from broker.core.policy import Duration, SecretRef, Strict, Uri
from broker.errors import ConfigError, Stopped, UpstreamDown, UpstreamRefused
from broker.observe.telemetry import Watch, unwatched
from broker.upstream.bankid_phone import CallState, open_call
from broker.upstream.personal_number import parse_personal_number
from broker.upstream.port import Begun, Call, Device, Done, Pending, Poll, Reply, ReplyKind, Ringing, UpstreamAsk
from broker.wire.bankid_api import BankIdApi, Completion, RpError, RpErrorCode, client_tls

_log = logging.getLogger(__name__)

ISSUER: Final = "https://www.bankid.com"
"""With the personal number the stable key of a person, whatever the API's address."""

COLLECT_EVERY: Final = timedelta(seconds=2)
RENEW_FOR: Final = timedelta(seconds=150)
"""The last silent order begins at most this long after the first, and lives 30 s: three minutes in total."""

_QUEUE_TRIES: Final = 3
_COLLECT_TRIES: Final = 3
_UNOPENED: Final = frozenset({"outstandingTransaction", "noClient"})


class Message(StrEnum):
    """
    Every customer text this connector may ask for.

    ``RFAn`` are BankID's numbers for recommended texts; a trailing A means a computer or the launch link, B a
    phone or the QR code.
    """

    OPEN_APP = "bankid.RFA1"
    INTERRUPTED = "bankid.RFA3"
    ALREADY_RUNNING = "bankid.RFA4"
    TECHNICAL = "bankid.RFA5"
    YOU_CANCELLED = "bankid.RFA6"
    NO_CONTACT = "bankid.RFA8"
    CONFIRM = "bankid.RFA9"
    OPENING_APP = "bankid.RFA13"
    SEARCHING_COMPUTER = "bankid.RFA14A"
    SEARCHING_PHONE = "bankid.RFA14B"
    SEARCHING_OTHER = "bankid.RFA15B"
    BLOCKED = "bankid.RFA16"
    APP_NOT_FOUND = "bankid.RFA17A"
    CODE_NOT_READ = "bankid.RFA17B"
    WHERE_COMPUTER = "bankid.RFA19"
    WHERE_PHONE = "bankid.RFA20"
    WORKING = "bankid.RFA21"
    UNEXPECTED = "bankid.RFA22"
    READ_DOCUMENT = "bankid.RFA23"
    CONFIRM_CALL = "bankid.call_confirm"
    CALL_DECLINED = "bankid.call_declined"
    APP_TOO_OLD = "bankid.app_too_old"
    RISK = "bankid.risk"
    QUEUE = "bankid.queue"
    COME_BACK = "bankid.come_back"
    WRONG_RETURN = "bankid.wrong_return"
    WRONG_NUMBER = "bankid.wrong_number"


#: Hints of a running order that somebody opened; every other word means that it goes on.
_PENDING_TEXT: Final[Mapping[str, Message]] = {
    "userSign": Message.CONFIRM,
    "userMrtd": Message.READ_DOCUMENT,
    "userCallConfirm": Message.CONFIRM_CALL,
    "processing": Message.WORKING,
}

#: Failures after which a new try may succeed; every other word is `Message.UNEXPECTED`, also with a new try.
_FAILED_TEXT: Final[Mapping[str, Message]] = {
    "expiredTransaction": Message.NO_CONTACT,
    "cancelled": Message.INTERRUPTED,
    "notSupportedByUserApp": Message.APP_TOO_OLD,
}

#: Failures after which another try makes no sense: hint -> code and text.
_REFUSED: Final[Mapping[str, tuple[str, Message]]] = {
    "certificateErr": ("bankid.certificate_err", Message.BLOCKED),
    "transactionRiskBlocked": ("bankid.risk_blocked", Message.RISK),
    "userDeclinedCall": ("bankid.user_declined_call", Message.CALL_DECLINED),
}

#: What the customer reads in the app: intent, party, and the question an attacker hopes nobody asks (XDEV
# section 6.1).
_INTENT: Final[Mapping[str, str]] = {
    "sv": "Logga in på {partner} via {broker}.\n\nFortsätt bara om det är du som har startat inloggningen.",
    "fi": "Kirjaudu palveluun {partner} palvelun {broker} kautta.\n\nJatka vain, jos aloitit kirjautumisen itse.",
    "pl": "Logowanie do {partner} przez {broker}.\n\nKontynuuj tylko wtedy, gdy to Ty rozpoczynasz logowanie.",
    "en": "Log in to {partner} via {broker}.\n\nGo on only if you started this login yourself.",
}


def _api_address(value: str) -> str:
    if urlsplit(value).scheme != "https" or not value.endswith("/"):
        raise ValueError("must be an https address ending with a slash, such as https://appapi2.bankid.com/rp/v6.0/")
    return value


def _launch_address(value: str) -> str:
    if not value.startswith(("https://", "http://", "bankid:///")) or "?" in value or "#" in value:
        raise ValueError("must be a web address or bankid:///, without a query")
    return value


def _file_reference(value: str) -> str:
    if not value.startswith("file:") or len(value) == len("file:") or "\x00" in value:
        raise ValueError("must be file:PATH, the path relative to this config file")
    return value


FileRef = Annotated[str, AfterValidator(_file_reference)]


class BankIdConnect(Strict):
    """
    The ``connect`` block of an upstream of kind ``bankid``.

    ``client_certificate``, ``client_key``: the relying party certificate from the bank, PEM. ``ca``: BankID's
    own root for this environment, PEM; no other is trusted. ``launch_url`` opens the app on phones and
    tablets, ``desktop_launch_url`` on computers. ``moderate_risk``: whether a login that BankID calls
    moderately risky may pass; high risk never does. ``timeout``: for one call.
    """

    api_url: Annotated[Uri, AfterValidator(_api_address)] = "https://appapi2.bankid.com/rp/v6.0/"
    launch_url: Annotated[str, AfterValidator(_launch_address)] = "https://app.bankid.com/"
    desktop_launch_url: Annotated[str, AfterValidator(_launch_address)] = "bankid:///"
    client_certificate: FileRef
    client_key: FileRef
    client_key_passphrase: SecretRef | None = None
    ca: FileRef
    moderate_risk: Literal["allow", "refuse"] = "allow"
    timeout: Annotated[Duration, Field(le=timedelta(seconds=6))] = timedelta(seconds=5)


class _Login(msgspec.Struct, frozen=True):
    """
    What every order of this login needs. ``binding``: ties the signed proof to the login without revealing
    it.
    """

    return_url: str
    text: str
    binding: str
    end_user_ip: str
    user_agent: str
    mobile: bool
    device_id: str | None = None


class _Choosing(msgspec.Struct, frozen=True, tag="choosing"):
    """The customer is asked where the app is."""


class _Queued(msgspec.Struct, frozen=True, tag="queued"):
    """BankID asked us to wait before opening an order."""

    device: Device
    until: datetime
    tries: int


class _Running(msgspec.Struct, frozen=True, tag="running"):
    """
    An order. Of the tokens only those of its own way are kept, so that no page can show both.

    ``received_at``: when the order's answer arrived. ``ask_at``: the next collect is not before. ``ip``: what
    the order was opened with. ``completion`` is set while only the browser's return is missing.
    """

    device: Device
    order_ref: str
    received_at: datetime
    renew_until: datetime
    ask_at: datetime
    ip: str
    auto_start_token: str = ""
    qr_start_token: str = ""
    qr_start_secret: str = ""
    nonce: str = ""
    hint: str = "outstandingTransaction"
    failures: int = 0
    returned: bool = False
    completion: Completion | None = None
    completed_at: datetime | None = None


class _Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The last order failed; the customer may try once more."""

    device: Device
    message: Message


_Step = _Choosing | _Queued | _Running | _Ended


class _State(msgspec.Struct, frozen=True):
    login: _Login
    step: _Step

    def at(self, step: _Step) -> "_State":
        return msgspec.structs.replace(self, step=step)


class BankIdConnector:
    """
    The connector; one per process and upstream.

    Args:
        id: of the upstream in the YAML.
        nonce: 256 random bits as URL-safe text, anew at each call.
        monotonic: seconds, for measuring how long an order took to arrive.
    """

    reaches = Assurance.SUBSTANTIAL

    def __init__(
        self,
        id: str,
        connect: BankIdConnect,
        api: BankIdApi,
        *,
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(32),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = id
        self._connect = connect
        self._api = api
        self._nonce = nonce
        self._monotonic = monotonic

    async def begin(self, ask: UpstreamAsk) -> Begun:
        """Ask where the app is. No order is opened yet: each one costs, and lives for 30 seconds only."""
        state = _State(
            login=_Login(
                return_url=ask.return_url,
                text=visible_text(ask.language, partner=ask.partner_name, broker=ask.broker_name),
                binding=hashlib.sha256(b"stafett bankid " + ask.state.encode()).hexdigest(),
                end_user_ip=ask.end_user_ip,
                user_agent=ask.user_agent,
                mobile=ask.mobile,
                device_id=ask.device_id,
            ),
            step=_Choosing(),
        )
        pending = self._pending(state, ask.now)
        return Begun(pending.prompt, pending.state)

    async def resume(self, state: bytes, reply: Reply) -> Done | Pending:
        """
        Carry on: buttons (``same``, ``other``, ``retry``, ``cancel``), polls, and the return from the app.
        """
        held = _decoded(state)
        match reply.kind:
            case ReplyKind.ACT:
                return await self._act(held, reply)
            case ReplyKind.RETURN:
                return await self._return(held, reply)
            case ReplyKind.POLL:
                return await self._poll(held, reply)
            case ReplyKind.CALLBACK | ReplyKind.POSTED:
                raise UpstreamRefused("BankID sends no browser to the callback", code="bankid.callback")
        assert_never(reply.kind)

    def view(self, state: bytes, now: datetime) -> Poll:
        """What the waiting page shows; the QR text changes every second."""
        return self._poll_page(_decoded(state), now)

    def is_due(self, state: bytes, now: datetime) -> bool:
        """True at most every two seconds, and never for an order whose final answer is known."""
        return _is_due(_decoded(state).step, now)

    async def cancel(self, state: bytes) -> None:
        """Withdraw the running order, if any. Never raises: an order left alone ends by itself."""
        await self._withdraw(_decoded(state).step)

    async def close(self) -> None:
        """Close the connections to BankID."""
        await self._api.close()

    # --- somebody on the phone ---

    async def begin_call(self, call: Call) -> bytes:
        """Ask her in her app, which names us and asks whether she is talking to us."""
        try:
            return msgspec.json.encode(await open_call(self._api, call))
        except RpError as error:
            if error.code is RpErrorCode.ALREADY_IN_PROGRESS:
                # Perhaps somebody else has her start a login right now: never tried again by itself.
                raise UpstreamRefused(
                    "an order for this person is running",
                    code="bankid.already_in_progress",
                    message_key=Message.ALREADY_RUNNING,
                ) from error
            raise _refusal(error) from error

    async def look_at_call(self, state: bytes, now: datetime) -> Done | Ringing:
        """At most every two seconds BankID is asked; a final answer is given once."""
        held = msgspec.json.decode(state, type=CallState)
        if now < held.ask_at:
            return Ringing(state, _call_text(held.hint))
        try:
            collected = await self._api.collect(held.order_ref)
        except (RpError, UpstreamDown) as error:
            down = _refusal(error) if isinstance(error, RpError) else error
            if isinstance(down, UpstreamRefused) or held.failures + 1 >= _COLLECT_TRIES:
                raise down from error
            again = msgspec.structs.replace(held, failures=held.failures + 1, ask_at=now + COLLECT_EVERY)
            return Ringing(msgspec.json.encode(again), _call_text(held.hint))
        if collected.complete is not None:
            return Done(
                evidence_from(
                    collected.complete,
                    upstream=self.id,
                    completed_at=now,
                    shown=held.shown,
                    signals=("bankid.phone",),
                    moderate_risk=self._connect.moderate_risk,
                )
            )
        if collected.failed is not None:
            raise _call_failed(collected.failed)
        on = msgspec.structs.replace(held, hint=collected.pending or "", failures=0, ask_at=now + COLLECT_EVERY)
        return Ringing(msgspec.json.encode(on), _call_text(on.hint))

    async def hang_up(self, state: bytes) -> None:
        """Withdraw the order; never raises: one left alone ends by itself."""
        try:
            await self._api.cancel(msgspec.json.decode(state, type=CallState).order_ref)
        except (RpError, UpstreamDown) as error:
            _log.info("bankid.cancel_failed", extra={"reason": type(error).__name__})

    # --- what came back ---

    async def _act(self, held: _State, reply: Reply) -> Pending:
        match held.step, reply.data.get("do"):
            case step, ("same" | "other") as word:
                device = Device(word)
                if isinstance(step, _Queued | _Running) and step.device is device:
                    return self._pending(held, reply.now)  # pressed twice
                await self._withdraw(step)
                return await self._start(held, device, reply)
            case _Ended(device=device), "retry":
                return await self._start(held, device, reply)
            case step, "cancel":
                await self._withdraw(step)
                raise _stopped("customer cancelled on our page", "bankid.cancelled_here")
        return self._pending(held, reply.now)

    async def _return(self, held: _State, reply: Reply) -> Done | Pending:
        step = held.step
        if not isinstance(step, _Running):
            return self._pending(held, reply.now)
        # security: the nonce went to BankID only and comes back only through the app that took up this very
        # order. Each order has its own, so an attacker cannot learn it with an order he opens for himself.
        if step.device is Device.OTHER or not _same(step.nonce, reply.data.get("n", "")):
            raise UpstreamRefused(
                "return without the order's nonce", code="bankid.return_nonce", message_key=Message.WRONG_RETURN
            )
        back = msgspec.structs.replace(step, returned=True)
        if back.completion is not None and back.completed_at is not None:
            return self._done(held, back, back.completion, back.completed_at, reply)
        return await self._poll(held.at(back), reply)

    async def _poll(self, held: _State, reply: Reply) -> Done | Pending:
        step = held.step
        if not _is_due(step, reply.now):
            return self._pending(held, reply.now)
        match step:
            case _Queued():
                return await self._start(held, step.device, reply, tries=step.tries)
            case _Running():
                return await self._collect(held, step, reply)
        return self._pending(held, reply.now)

    # --- orders ---

    async def _start(
        self,
        held: _State,
        device: Device,
        reply: Reply,
        *,
        tries: int = 0,
        renew_until: datetime | None = None,
    ) -> Pending:
        login = held.login
        ip = reply.end_user_ip or login.end_user_ip
        nonce = self._nonce() if device is Device.SAME else ""
        return_url = app_return_url(login.return_url, nonce, login.user_agent) if nonce else None
        asked = self._monotonic()
        try:
            tokens = await self._api.auth(order_request(login, ip=ip, return_url=return_url))
        except RpError as error:
            return self._pending(held.at(_not_started(error, device, reply.now, tries)), reply.now)
        received_at = reply.now + timedelta(seconds=self._monotonic() - asked)
        running = _Running(
            device=device,
            order_ref=tokens.order_ref,
            received_at=received_at,
            renew_until=renew_until or received_at + RENEW_FOR,
            ask_at=received_at + COLLECT_EVERY,
            ip=ip,
            auto_start_token=tokens.auto_start_token if nonce else "",
            qr_start_token="" if nonce else tokens.qr_start_token,
            qr_start_secret="" if nonce else tokens.qr_start_secret,
            nonce=nonce,
        )
        return self._pending(held.at(running), max(reply.now, received_at))

    async def _collect(self, held: _State, step: _Running, reply: Reply) -> Done | Pending:
        try:
            collected = await self._api.collect(step.order_ref)
        except RpError as error:
            return self._pending(held.at(_collect_refused(error, step, reply.now)), reply.now)
        except UpstreamDown as down:
            return self._pending(held.at(_once_more(down, step, reply.now)), reply.now)
        step = msgspec.structs.replace(step, ask_at=reply.now + COLLECT_EVERY, failures=0)
        if collected.complete is not None:
            return self._completed(held, step, collected.complete, reply)
        if collected.failed is not None:
            return await self._failed(held, step, collected.failed, reply)
        running = msgspec.structs.replace(step, hint=collected.pending or "")
        return self._pending(held.at(running), reply.now)

    def _completed(self, held: _State, step: _Running, completion: Completion, reply: Reply) -> Done | Pending:
        done = self._done(held, step, completion, reply.now, reply)
        if step.device is Device.OTHER or step.returned:
            return done
        # The answer will not be given again: it waits here until the browser is back.
        kept = msgspec.structs.replace(step, completion=completion, completed_at=reply.now)
        return self._pending(held.at(kept), reply.now)

    def _done(self, held: _State, step: _Running, completion: Completion, completed_at: datetime, reply: Reply) -> Done:
        return Done(
            evidence_from(
                completion,
                upstream=self.id,
                completed_at=completed_at,
                shown=held.login.text,
                signals=_ip_signals(completion, step, reply.end_user_ip),
                moderate_risk=self._connect.moderate_risk,
            )
        )

    async def _failed(self, held: _State, step: _Running, hint: str, reply: Reply) -> Pending:
        if hint == "startFailed" and reply.now < step.renew_until:
            return await self._start(held, step.device, reply, renew_until=step.renew_until)
        _log.info("bankid.order_failed", extra={"hint": hint[:40] if hint.isalnum() else "unprintable"})
        if hint == "userCancel":
            raise _stopped("customer cancelled in the app", "bankid.user_cancel")
        if hint in _REFUSED:
            code, message = _REFUSED[hint]
            raise UpstreamRefused(f"order failed: {hint}", code=code, message_key=message)
        if hint == "startFailed":
            message = Message.APP_NOT_FOUND if step.device is Device.SAME else Message.CODE_NOT_READ
        else:
            message = _FAILED_TEXT.get(hint, Message.UNEXPECTED)
        return self._pending(held.at(_Ended(step.device, message)), reply.now)

    async def _withdraw(self, step: _Step) -> None:
        if not isinstance(step, _Running) or step.completion is not None:
            return
        try:
            await self._api.cancel(step.order_ref)
        except (RpError, UpstreamDown) as error:
            _log.info("bankid.cancel_failed", extra={"reason": type(error).__name__})

    # --- the page ---

    def _pending(self, held: _State, now: datetime) -> Pending:
        return Pending(self._poll_page(held, now), msgspec.json.encode(held))

    def _poll_page(self, held: _State, now: datetime) -> Poll:
        step = held.step
        match step:
            case _Choosing():
                if held.login.mobile:
                    return Poll("choose_device", Message.WHERE_PHONE, actions=("same", "other", "cancel"))
                return Poll("choose_device", Message.WHERE_COMPUTER, actions=("other", "same", "cancel"))
            case _Queued():
                wait_s = max(1.0, (step.until - now).total_seconds())
                return Poll("working", Message.QUEUE, again_after_s=wait_s)
            case _Ended():
                elsewhere = "other" if step.device is Device.SAME else "same"
                return Poll("failed", step.message, actions=("retry", elsewhere, "cancel"))
            case _Running():
                return self._running_page(held.login, step, now)
        assert_never(step)

    def _running_page(self, login: _Login, step: _Running, now: datetime) -> Poll:
        if step.completion is not None:
            return Poll("working", Message.COME_BACK)
        if step.hint not in _UNOPENED:
            return Poll("working", _running_text(step, mobile=login.mobile))
        if step.device is Device.OTHER:
            seconds = max(0, int((now - step.received_at).total_seconds()))
            text = qr_text(step.qr_start_token, step.qr_start_secret, seconds)
            return Poll("qr", Message.OPEN_APP, qr_text=text, actions=("same", "cancel"))
        base = self._connect.launch_url if login.mobile else self._connect.desktop_launch_url
        return_url = app_return_url(login.return_url, step.nonce, login.user_agent)
        launch = launch_url(base, step.auto_start_token, return_url, login.user_agent)
        return Poll("launch", Message.OPENING_APP, launch_url=launch, actions=("other", "cancel"))


def bankid_connector(
    id: str,
    connect: BankIdConnect,
    *,
    path: Callable[[str], Path],
    secret: Callable[[str], str],
    watch: Watch = unwatched,
) -> BankIdConnector:
    """
    Build the connector from its config block.

    Args:
        path: the file a name relative to the config file stands for. secret: what an ``env:`` or ``file:``
            points at. watch: goes around every call.
    Raises:
        ConfigError: certificate, key or CA cannot be loaded.
    """
    certificate, key, ca = (
        path(reference.removeprefix("file:"))
        for reference in (connect.client_certificate, connect.client_key, connect.ca)
    )
    passphrase = secret(connect.client_key_passphrase) if connect.client_key_passphrase else None
    try:
        tls = client_tls(certificate=certificate, key=key, ca=ca, passphrase=passphrase)
    except (OSError, SSLError, ValueError) as error:
        problem = (
            f"upstreams.{id}.connect: the certificate, key or ca cannot be loaded ({type(error).__name__});"
            " give PEM files whose key and certificate belong together, and the passphrase if the key has one"
        )
        raise ConfigError((problem,)) from error
    api = BankIdApi(connect.api_url, tls, timeout_s=connect.timeout.total_seconds(), watch=watch)
    return BankIdConnector(id, connect, api)


def qr_text(qr_start_token: str, qr_start_secret: str, seconds: int) -> str:
    """
    What the animated code says *seconds* after the order arrived: HMAC-SHA256 over the decimal number, hex.
    """
    code = hmac.new(qr_start_secret.encode(), str(seconds).encode(), hashlib.sha256).hexdigest()
    return f"bankid.{qr_start_token}.{seconds}.{code}"


def visible_text(language: str, *, partner: str, broker: str) -> str:
    """
    What the customer reads in the app: who asks, and why. English when *language* is not ours.

    Plain text, so that a name cannot format anything; names are cut, since 1,500 characters of base64 are the
    limit.
    """
    template = _INTENT.get(language, _INTENT["en"])
    return template.format(partner=_one_line(partner), broker=_one_line(broker))


def order_request(login: _Login, *, ip: str, return_url: str | None) -> dict[str, Any]:
    """
    The members of ``auth``. ``requirement`` is left out: naming a risk there hides what `returnRisk` tells.
    """
    web = {"referringDomain": urlsplit(login.return_url).hostname or ""}
    if login.user_agent:
        web["userAgent"] = login.user_agent[:256]
    if login.device_id:
        web["deviceIdentifier"] = _short_id(login.device_id)
    request: dict[str, Any] = {
        "endUserIp": ip,
        "userVisibleData": _base64(login.text),
        "userNonVisibleData": _base64(login.binding),
        "returnRisk": True,
        "web": web,
    }
    if return_url is not None:
        request["returnUrl"] = return_url
    return request


def app_return_url(return_url: str, nonce: str, user_agent: str) -> str:
    """
    Where the app sends the customer: our address with the nonce, in a form that opens the browser she came
    from.

    On iOS a plain https address opens the default browser, which lacks our cookie when she used another one.
    """
    address = f"{return_url}{'&' if '?' in return_url else '?'}n={nonce}"
    if not _is_ios(user_agent):
        return address
    scheme, _, rest = address.partition("://")
    if "CriOS/" in user_agent:
        return f"googlechrome{'s' if scheme == 'https' else ''}://{rest}"
    if "FxiOS/" in user_agent:
        return f"firefox://open-url?url={quote(address, safe='')}"
    if "OPT/" in user_agent:
        return f"touch-{scheme}://{rest}"
    return address


def launch_url(base: str, auto_start_token: str, return_url: str, user_agent: str) -> str:
    """
    The link that opens the app here. ``redirect`` is for apps too old for ``returnUrl``, which wins over it.
    """
    redirect = quote(return_url, safe="") if _is_ios(user_agent) else "null"
    return f"{base}?autostarttoken={quote(auto_start_token, safe='')}&redirect={redirect}"


def evidence_from(
    completion: Completion,
    *,
    upstream: str,
    completed_at: datetime,
    shown: str,
    signals: tuple[str, ...],
    moderate_risk: Literal["allow", "refuse"],
) -> Evidence:
    """
    What a completed order proves.

    Args:
        shown: the text the customer approved, kept with the proof.
        signals: observed before; risk is added to them.
    Raises:
        UpstreamRefused: the risk is too high, or the number is not a Swedish personal number.
    """
    signals += _risk_signals(completion.risk, moderate_risk)
    try:
        number = parse_personal_number(completion.personal_number, today=completed_at.date())
    except ValueError as error:
        raise UpstreamRefused(
            f"personal number: {error}", code="bankid.personal_number", message_key=Message.WRONG_NUMBER
        ) from None
    return Evidence(
        upstream=upstream,
        issuer=ISSUER,
        subject=number.digits,
        assurance=Assurance.SUBSTANTIAL,
        amr=("bankid", "mfa"),
        authenticated_at=completed_at,
        name=completion.name,
        given_name=completion.given_name,
        family_name=completion.surname,
        birthdate=number.birthdate,
        personal_number=number.digits,
        proof=_proof(completion, shown),
        signals=signals + (("bankid.coordination_number",) if number.is_coordination else ()),
    )


class _Proof(Struct, frozen=True):
    """What is kept, encrypted, as evidence of a login."""

    format: str
    shown: str
    signature: str
    ocsp_response: str


def _proof(completion: Completion, shown: str) -> bytes:
    kept = _Proof("bankid-rp-v6", shown, completion.signature, completion.ocsp_response)
    return msgspec.json.encode(kept)


def _risk_signals(risk: str | None, moderate_risk: Literal["allow", "refuse"]) -> tuple[str, ...]:
    if risk == "low":
        return ()
    if risk is None:
        return ("bankid.risk_missing",)
    # A word we do not know is somewhere above low.
    if risk == "high" or moderate_risk == "refuse":
        code = "bankid.risk_high" if risk == "high" else "bankid.risk_moderate"
        raise UpstreamRefused("risk above what is allowed", code=code, message_key=Message.RISK)
    return ("bankid.risk_moderate",)


def _ip_signals(completion: Completion, step: _Running, browser_ip_now: str) -> tuple[str, ...]:
    """
    With the nonce-checked return a mismatch is only a signal: mobile networks and relays differ legitimately.
    """
    signals: list[str] = []
    if completion.device_ip is None:
        signals.append("bankid.device_ip_missing")
    elif not _same_address(completion.device_ip, step.ip):
        signals.append("bankid.ip_mismatch" if step.device is Device.SAME else "bankid.ip_differs")
    if browser_ip_now and not _same_address(browser_ip_now, step.ip):
        signals.append("bankid.browser_ip_changed")
    return tuple(signals)


def _not_started(error: RpError, device: Device, now: datetime, tries: int) -> _Step:
    match error.code:
        case RpErrorCode.ALREADY_IN_PROGRESS:
            return _Ended(device, Message.ALREADY_RUNNING)
        case RpErrorCode.CANCELLED:
            return _Ended(device, Message.INTERRUPTED)
        case RpErrorCode.REQUEST_TIMEOUT:
            return _Ended(device, Message.TECHNICAL)
        case RpErrorCode.TOO_MANY_REQUESTS if tries < _QUEUE_TRIES:
            return _Queued(device, now + timedelta(seconds=error.retry_after_s), tries + 1)
    raise _refusal(error) from error


def _collect_refused(error: RpError, step: _Running, now: datetime) -> _Step:
    match error.code:
        case RpErrorCode.TOO_MANY_REQUESTS:
            return msgspec.structs.replace(step, ask_at=now + timedelta(seconds=error.retry_after_s))
        case RpErrorCode.REQUEST_TIMEOUT | RpErrorCode.INTERNAL_ERROR | RpErrorCode.MAINTENANCE:
            return _once_more(_refusal(error), step, now)
        case RpErrorCode.INVALID_PARAMETERS:
            _log.warning("bankid.order_gone")
            return _Ended(step.device, Message.UNEXPECTED)
        case RpErrorCode.CANCELLED:
            return _Ended(step.device, Message.INTERRUPTED)
    raise _refusal(error) from error


def _once_more(error: UpstreamDown | UpstreamRefused, step: _Running, now: datetime) -> _Running:
    """A collect that failed on the way may be repeated, the order goes on meanwhile; not for ever."""
    if step.failures + 1 >= _COLLECT_TRIES:
        raise error
    return msgspec.structs.replace(step, failures=step.failures + 1, ask_at=now + COLLECT_EVERY)


def _refusal(error: RpError) -> UpstreamDown | UpstreamRefused:
    code = f"bankid.{error.code.name.lower()}"
    match error.code:
        case RpErrorCode.UNAUTHORIZED:
            # Nobody can log in until the operator replaces the certificate.
            _log.error("bankid.unauthorized", extra={"status": error.status})
            return UpstreamDown(str(error), code=code, message_key=Message.TECHNICAL)
        case (
            RpErrorCode.REQUEST_TIMEOUT
            | RpErrorCode.TOO_MANY_REQUESTS
            | RpErrorCode.INTERNAL_ERROR
            | RpErrorCode.MAINTENANCE
        ):
            return UpstreamDown(str(error), code=code, message_key=Message.TECHNICAL)
    return UpstreamRefused(str(error), code=code, message_key=Message.UNEXPECTED)


def _stopped(detail: str, code: str) -> Stopped:
    return Stopped(detail, code=code, message_key=Message.YOU_CANCELLED)


def _call_text(hint: str) -> Message:
    """How a call's order goes, for the agent."""
    return Message.OPEN_APP if hint in _UNOPENED else _PENDING_TEXT.get(hint, Message.WORKING)


def _call_failed(hint: str) -> Stopped | UpstreamRefused:
    if hint == "userCancel":
        return _stopped("she cancelled in the app", "bankid.user_cancel")
    code, message = _REFUSED.get(hint, ("bankid.order_failed", _FAILED_TEXT.get(hint, Message.UNEXPECTED)))
    if hint == "startFailed":
        message = Message.NO_CONTACT
    return UpstreamRefused(f"order failed: {hint if hint.isalnum() else 'unprintable'}", code=code, message_key=message)


def _running_text(step: _Running, *, mobile: bool) -> Message:
    if step.hint == "started":
        if step.device is Device.OTHER:
            return Message.SEARCHING_OTHER
        return Message.SEARCHING_PHONE if mobile else Message.SEARCHING_COMPUTER
    return _PENDING_TEXT.get(step.hint, Message.WORKING)


def _is_due(step: _Step, now: datetime) -> bool:
    match step:
        case _Queued():
            return now >= step.until
        case _Running():
            return step.completion is None and now >= step.ask_at
        case _Choosing() | _Ended():
            return False
    assert_never(step)


def _decoded(state: bytes) -> _State:
    return msgspec.json.decode(state, type=_State)


def _same(expected: str, unverified: str) -> bool:
    return bool(expected) and hmac.compare_digest(expected.encode(), unverified.encode())


def _same_address(one: str, other: str) -> bool:
    try:
        return ip_address(one) == ip_address(other)
    except ValueError:
        return False


def _is_ios(user_agent: str) -> bool:
    return any(word in user_agent for word in ("iPhone", "iPad", "iPod"))


def _one_line(name: str) -> str:
    return "".join(char for char in " ".join(name.split()) if char.isprintable())[:80]


def _short_id(device_id: str) -> str:
    return device_id if len(device_id) <= 64 else hashlib.sha256(device_id.encode()).hexdigest()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
