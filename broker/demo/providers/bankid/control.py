"""
What can be scripted: how a test person's order goes, and what an endpoint answers instead of the truth.

A `Script` follows one person's order; a `Fault` replaces the next answer of one endpoint.
"""

import json
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.demo.providers.bankid.people import PEOPLE


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One answer that is not the truth.

    ``body``: sent as it is; ``silent``: never answer, wait until the caller hangs up.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False


def fault(status: int, error_code: str, details: str = "Scripted.", **headers: str) -> Fault:
    """A `Fault` with the RP API's error body; header names with ``_`` for ``-``."""
    body = json.dumps({"errorCode": error_code, "details": details}).encode()
    return Fault(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def answer(body: Mapping[str, Any]) -> Fault:
    """A successful answer of the caller's choosing, for lies."""
    return Fault(200, json.dumps(body).encode())


def too_many_requests(*, limit: int = 10, reset_s: int = 5) -> Fault:
    """429 with the rate limit headers; ``reset_s`` seconds until it is worth trying again."""
    return fault(
        429,
        "tooManyRequests",
        RateLimit_Limit=str(limit),
        RateLimit_Remaining="0",
        RateLimit_Reset=str(reset_s),
    )


@dataclass(frozen=True, slots=True)
class Script:
    """
    How one person's order goes.

    ``waiting``: hint while the app waits for the security code. ``failure``: hint the approval ends with,
    None = success. ``settling``: how many collects see ``processing`` after the approval. ``risk``: value
    when asked for, None = left out. ``device_ip``: address of the phone; None = the one the order came from.
    ``error``: answer to a new order that is bound to this person. ``changes``: members of ``completionData``
    replaced before it is sent (None removes one).
    """

    waiting: str = "userSign"
    failure: str | None = None
    settling: int = 0
    risk: str | None = "low"
    device_ip: str | None = None
    error: Fault | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


#: What the page's test controls offer; the first is what happens when nobody chooses.
SCRIPTS: Mapping[str, tuple[str, Script]] = {
    "normal": ("Everything works", Script()),
    "slow": ("Signature takes a while (processing)", Script(settling=2)),
    "document": ("Asks for passport or ID card (userMrtd)", Script(waiting="userMrtd")),
    "blocked": ("BankID blocked or too old (certificateErr)", Script(failure="certificateErr")),
    "expired": ("No contact in time (expiredTransaction)", Script(failure="expiredTransaction")),
    "old-app": ("App too old (notSupportedByUserApp)", Script(failure="notSupportedByUserApp")),
    "risk-blocked": (
        "Risk too high for BankID (transactionRiskBlocked)",
        Script(failure="transactionRiskBlocked"),
    ),
    "risk-moderate": ("Approved with moderate risk", Script(risk="moderate")),
    "risk-high": ("Approved with high risk", Script(risk="high")),
    "other-address": ("Approved from another address", Script(device_ip="203.0.113.77")),
    "unknown-hint": ("A failure nobody has heard of", Script(failure="somethingNew")),
}


class Control:
    """Scripts in force; empty after `reset`."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)

    def script(self, person_key: str, script: Script) -> None:
        """From now on this person's orders go as *script* says. Raises KeyError for an unknown person."""
        self._scripts[PEOPLE[person_key].personal_number] = script

    def script_for(self, personal_number: str) -> Script:
        """What is in force for a person; the plain success when nothing was scripted."""
        return self._scripts.get(personal_number, Script())

    def fail_next(self, endpoint: str, *faults: Fault) -> None:
        """The next answers of *endpoint* (``auth``, ``sign``, ``collect``, ``cancel``), one call each."""
        self._faults[endpoint].extend(faults)

    def next_fault(self, endpoint: str) -> Fault | None:
        """Take the fault that is due for *endpoint*, if any."""
        waiting = self._faults[endpoint]
        return waiting.popleft() if waiting else None

    def reset(self) -> None:
        """Forget every script and fault."""
        self._scripts.clear()
        self._faults.clear()
