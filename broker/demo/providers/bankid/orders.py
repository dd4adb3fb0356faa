"""
Orders as BankID's server keeps them, seen from both sides: the relying party's API and the customer's app.

Life of an order: created (``outstandingTransaction``) -> opened in the app by autostart token or QR code
(``started``) -> person chosen (``userSign``) -> approved or declined. An order nobody opens within 30 s fails
with ``startFailed``; one opened but not approved within 3 minutes with ``expiredTransaction``. A final result
is handed out once, and kept 3 minutes (complete), 5 minutes (failed) or until 3 min 10 s after creation
(never opened).
"""

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from broker.demo.providers.bankid.control import Control, Fault, Script
from broker.demo.providers.bankid.people import PEOPLE, Person
from broker.demo.providers.bankid.requests import AuthRequest, PhoneAuthRequest
from broker.demo.providers.bankid.signature import Signer

START_WINDOW = timedelta(seconds=30)
SIGNING_WINDOW = timedelta(minutes=3)
KEEP_COMPLETE = timedelta(minutes=3)
KEEP_FAILED = timedelta(minutes=5)
KEEP_UNOPENED = timedelta(minutes=3, seconds=10)


class Status(StrEnum):
    """What ``collect`` calls the order."""

    PENDING = "pending"
    FAILED = "failed"
    COMPLETE = "complete"


class Start(StrEnum):
    """How the app got hold of the order."""

    AUTOSTART = "autostart"
    QR = "qr"
    CALL = "call"
    """It was there when the app was opened: somebody at the other end of a call asked for it."""


class ApiRefusal(Exception):
    """The RP API says no: HTTP ``status`` and the members of the error body."""

    def __init__(self, status: int, error_code: str, details: str) -> None:
        super().__init__(f"{status} {error_code}: {details}")
        self.status = status
        self.error_code = error_code
        self.details = details


class AppRefusal(Exception):
    """The app cannot go on; ``words`` are shown to its user."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class ScriptedRefusal(Exception):
    """A scripted answer takes the place of an order."""

    def __init__(self, fault: Fault) -> None:
        super().__init__("scripted")
        self.fault = fault


@dataclass(slots=True)
class Order:
    """One order. ``handle`` names it in the app's addresses once opened; ``redirect`` is the launch URL's."""

    purpose: str
    request: AuthRequest | PhoneAuthRequest
    created_at: datetime
    order_ref: str = field(default_factory=lambda: str(uuid.uuid4()))
    auto_start_token: str = field(default_factory=lambda: str(uuid.uuid4()))
    qr_start_token: str = field(default_factory=lambda: str(uuid.uuid4()))
    qr_start_secret: str = field(default_factory=lambda: str(uuid.uuid4()))
    handle: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: Status = Status.PENDING
    hint: str = "outstandingTransaction"
    started_by: Start | None = None
    redirect: str | None = None
    app_ip: str | None = None
    person: Person | None = None
    script: Script = field(default_factory=Script)
    settling: int = 0
    finished_at: datetime | None = None
    completion: dict[str, Any] | None = None

    def tokens(self) -> dict[str, str]:
        """The answer to ``auth`` and ``sign``."""
        return {
            "orderRef": self.order_ref,
            "autoStartToken": self.auto_start_token,
            "qrStartToken": self.qr_start_token,
            "qrStartSecret": self.qr_start_secret,
        }

    def fail(self, hint: str, now: datetime) -> None:
        """End in failure; a later end does not replace an earlier one."""
        if self.status is Status.PENDING:
            self.status, self.hint, self.finished_at = Status.FAILED, hint, now

    @property
    def by_call(self) -> bool:
        """Whether it was opened for somebody on the phone."""
        return isinstance(self.request, PhoneAuthRequest)

    def wanted_by_customer(self) -> bool:
        """True while the app may still act on it."""
        return self.status is Status.PENDING and self.settling == 0


class OrderBook:
    """
    All orders of one simulator.

    Args:
        clock: aware UTC.
        qr_max_age_s: oldest QR code the app accepts, in seconds; the real app wants a few.
    """

    def __init__(
        self,
        signer: Signer,
        control: Control,
        clock: Callable[[], datetime],
        *,
        rp_name: str,
        qr_max_age_s: int = 5,
    ) -> None:
        self._signer = signer
        self._control = control
        self._clock = clock
        self._rp_name = rp_name
        self._qr_max_age_s = qr_max_age_s
        self._orders: dict[str, Order] = {}

    # --- the relying party's side ---

    def create(self, purpose: str, request: AuthRequest | PhoneAuthRequest) -> Order:
        """
        Open an order; *purpose* is ``Identification`` or ``Signing``.

        Raises:
            ApiRefusal: ``alreadyInProgress`` when bound to a person who has an order running, which is
                aborted too.
        """
        now = self._tidy()
        if number := request.bound_to():
            self._refuse_second_order(number, now)
            if (error := self._control.script_for(number).error) is not None:
                raise ScriptedRefusal(error)
        order = Order(purpose, request, now)
        self._orders[order.order_ref] = order
        return order

    def collect(self, order_ref: str) -> dict[str, Any]:
        """
        The answer to ``collect``; a final one is given once. Raises ApiRefusal when there is no such order.
        """
        self._tidy()
        order = self._find(order_ref)
        if order.settling:
            self._settle(order)
            return {"orderRef": order_ref, "status": "pending", "hintCode": "processing"}
        if order.status is Status.PENDING:
            return {"orderRef": order_ref, "status": "pending", "hintCode": order.hint}
        del self._orders[order_ref]
        if order.status is Status.FAILED:
            return {"orderRef": order_ref, "status": "failed", "hintCode": order.hint}
        return {"orderRef": order_ref, "status": "complete", "completionData": order.completion}

    def cancel(self, order_ref: str) -> None:
        """The relying party withdraws a running order. Raises ApiRefusal when it is not running."""
        now = self._tidy()
        order = self._find(order_ref)
        if order.status is not Status.PENDING:
            raise ApiRefusal(400, "invalidParameters", "No such order")
        order.fail("cancelled", now)

    # --- the app's side ---

    def open_by_autostart(self, token: str, *, redirect: str | None = None, app_ip: str | None = None) -> Order:
        """The app was launched with *token*. Opening again shows the same order. Raises AppRefusal."""
        return self._open(
            self._by(lambda order: secrets.compare_digest(order.auto_start_token.encode(), token.encode())),
            Start.AUTOSTART,
            redirect,
            app_ip,
        )

    def open_by_qr(self, text: str, *, app_ip: str | None = None) -> Order:
        """The app read a QR code. Raises AppRefusal for a foreign, wrong or old code."""
        self._tidy()
        parts = text.strip().split(".")
        if len(parts) != 4 or parts[0] != "bankid" or not parts[2].isascii() or not parts[2].isdigit():
            raise AppRefusal("This is not a BankID code.")
        _, token, seconds, code = parts
        order = self._by(lambda order: order.qr_start_token == token)
        if order is None:
            raise AppRefusal("This code belongs to no login that is waiting. Get a new one on the website.")
        expected = hmac.new(order.qr_start_secret.encode(), seconds.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), code.encode()):
            raise AppRefusal("This code is not genuine.")
        age_s = (self._clock() - order.created_at).total_seconds()
        if not age_s - self._qr_max_age_s <= int(seconds) <= age_s + 1:
            raise AppRefusal("This code is too old. Codes change every second: take a fresh one.")
        return self._open(order, Start.QR, None, app_ip)

    def calls(self) -> list[tuple[Person, Order]]:
        """Orders that come by a call and wait to be opened, and on whose phone they show."""
        self._tidy()
        waiting = [order for order in self._orders.values() if order.by_call and order.wanted_by_customer()]
        return [(person, order) for order in waiting if (person := _holder(order)) is not None]

    def open_by_call(self, order_ref: str) -> Order:
        """
        The app shows an order of a call to whom it is bound to, and asks first whether such a call is going on.

        Raises: AppRefusal.
        """
        order = self._open(self._by(lambda each: each.order_ref == order_ref and each.by_call), Start.CALL, None, None)
        order.hint = "userCallConfirm"
        return order

    def confirm_call(self, handle: str) -> Order:
        """Yes, I am talking to them. Raises AppRefusal."""
        order = self._running(handle)
        if order.hint != "userCallConfirm":
            raise AppRefusal("This login is not about a call.")
        if (person := _holder(order)) is None:
            raise AppRefusal("There is no such test person.")
        order.person = person
        order.script = self._control.script_for(person.personal_number)
        order.hint = order.script.waiting
        return order

    def decline_call(self, handle: str) -> Order:
        """No, I am not: somebody else tries to pass for them. Raises AppRefusal."""
        now = self._tidy()
        order = self._running(handle)
        order.fail("userDeclinedCall", now)
        return order

    def by_handle(self, handle: str) -> Order:
        """An order the app has opened. Raises AppRefusal when it is gone."""
        self._tidy()
        order = self._by(lambda order: order.handle == handle and order.started_by is not None)
        if order is None:
            raise AppRefusal("This login is over.")
        return order

    def choose(self, handle: str, person_key: str, script: Script | None = None) -> Order:
        """The app's user is *person_key*; *script* replaces what the control says. Raises AppRefusal."""
        now = self._tidy()
        order = self._running(handle)
        if order.by_call:
            raise AppRefusal("Say first whether you are on the phone with them.")
        person = PEOPLE.get(person_key)
        if person is None:
            raise AppRefusal("There is no such test person.")
        self._replace_older(order, person, now)
        order.person = person
        order.script = script or self._control.script_for(person.personal_number)
        order.hint = order.script.waiting
        if order.request.bound_to() not in (None, person.personal_number):
            order.fail("certificateErr", now)
            raise AppRefusal("This login was started for another person.")
        return order

    def approve(self, handle: str) -> Order:
        """The user confirms with the security code; the order ends as scripted. Raises AppRefusal."""
        now = self._tidy()
        order = self._running(handle)
        if order.person is None:
            raise AppRefusal("Choose a person first.")
        if order.script.failure is not None:
            order.fail(order.script.failure, now)
            return order
        order.completion = self._completion(order, order.person, now)
        order.settling = order.script.settling
        if not order.settling:
            self._complete(order)
        return order

    def decline(self, handle: str) -> Order:
        """The user presses cancel. Raises AppRefusal."""
        now = self._tidy()
        order = self._running(handle)
        order.fail("userCancel", now)
        return order

    # --- inside ---

    def _open(self, order: Order | None, start: Start, redirect: str | None, app_ip: str | None) -> Order:
        self._tidy()
        if order is None or order.status is not Status.PENDING or order.started_by not in (None, start):
            raise AppRefusal("This login is over or was never there. Start again on the website.")
        if order.started_by is None:
            order.started_by, order.redirect, order.app_ip = start, redirect, app_ip
            order.hint = "started"
        return order

    def _refuse_second_order(self, personal_number: str, now: datetime) -> None:
        running = [order for order in self._orders.values() if self._belongs(order, personal_number)]
        for order in running:
            order.fail("cancelled", now)
        if running:
            raise ApiRefusal(400, "alreadyInProgress", "An order for this person is already running")

    def _replace_older(self, order: Order, person: Person, now: datetime) -> None:
        for other in self._orders.values():
            if other is not order and self._belongs(other, person.personal_number):
                other.fail("cancelled", now)

    @staticmethod
    def _belongs(order: Order, personal_number: str) -> bool:
        chosen = order.person.personal_number if order.person else None
        return order.wanted_by_customer() and personal_number in (chosen, order.request.bound_to())

    def _running(self, handle: str) -> Order:
        order = self.by_handle(handle)
        if not order.wanted_by_customer():
            raise AppRefusal("This login is over.")
        return order

    def _find(self, order_ref: str) -> Order:
        if (order := self._orders.get(order_ref)) is None:
            raise ApiRefusal(400, "invalidParameters", "No such order")
        return order

    def _by(self, matches: Callable[[Order], bool]) -> Order | None:
        return next((order for order in self._orders.values() if matches(order)), None)

    def _settle(self, order: Order) -> None:
        order.settling -= 1
        if not order.settling:
            self._complete(order)

    def _complete(self, order: Order) -> None:
        order.status, order.finished_at = Status.COMPLETE, self._clock()

    def _completion(self, order: Order, person: Person, now: datetime) -> dict[str, Any]:
        signature = self._signer.sign(
            person,
            visible=order.request.user_visible_data or "",
            non_visible=order.request.user_non_visible_data or "",
            rp_name=self._rp_name,
            nonce=order.order_ref,
            purpose=order.purpose,
            now=now,
        )
        address = self._phone_address(order)
        data: dict[str, Any] = {
            "user": {
                "personalNumber": person.personal_number,
                "name": person.name,
                "givenName": person.given_name,
                "surname": person.surname,
            },
            "device": ({"ipAddress": address} if address else {}) | {"uhi": _hardware_id(person)},
            "bankIdIssueDate": "2025-03-17Z",
            "stepUp": None,
            "signature": signature,
            "ocspResponse": self._signer.ocsp_response(person, signature=signature, now=now),
        }
        if order.request.return_risk and order.script.risk is not None:
            data["risk"] = order.script.risk
        return _changed(data, order.script)

    @staticmethod
    def _phone_address(order: Order) -> str:
        return order.script.device_ip or order.app_ip or order.request.end_user_ip

    def _tidy(self) -> datetime:
        now = self._clock()
        for order in list(self._orders.values()):
            _age(order, now)
            if _is_forgotten(order, now):
                del self._orders[order.order_ref]
        return now


def _age(order: Order, now: datetime) -> None:
    if order.started_by is None and now - order.created_at >= START_WINDOW:
        order.fail("startFailed", order.created_at + START_WINDOW)
    elif order.settling == 0 and now - order.created_at >= SIGNING_WINDOW:
        order.fail("expiredTransaction", order.created_at + SIGNING_WINDOW)


def _is_forgotten(order: Order, now: datetime) -> bool:
    if order.started_by is None:
        return now - order.created_at >= KEEP_UNOPENED
    if order.finished_at is None:
        return False
    keep = KEEP_COMPLETE if order.status is Status.COMPLETE else KEEP_FAILED
    return now - order.finished_at >= keep


def _changed(data: dict[str, Any], script: Script) -> dict[str, Any]:
    merged = data | dict(script.changes)
    return {name: value for name, value in merged.items() if value is not None or name not in script.changes}


def _holder(order: Order) -> Person | None:
    """On whose phone an order shows by itself."""
    return next((person for person in PEOPLE.values() if person.personal_number == order.request.bound_to()), None)


def _hardware_id(person: Person) -> str:
    return hashlib.sha256(b"phone of " + person.key.encode()).hexdigest()[:32]
