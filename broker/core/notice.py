"""
Telling partners something until they know: when to try again, and when to stop.

    pending --> delivered                 the partner said it knows
       |------> refused                   it said it never will (its answer is final)
       |------> given_up                  it did not answer until the bound
       `-- failed: later, doubling, with jitter --> pending

Told at least once: a partner whose answer got lost is told again, and must not mind.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(hours=1)
LEASE = timedelta(seconds=30)
"""How long an attempt may take before somebody else makes the next: longer than any call."""


class Kind(StrEnum):
    """What partners are told of."""

    LOGOUT = "logout"


class State(StrEnum):
    """Where a notice stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    REFUSED = "refused"
    GIVEN_UP = "given_up"


class Outcome(StrEnum):
    """How one attempt went."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """A final answer: trying again would change nothing."""
    FAILED = "failed"


class Standing(Struct, frozen=True):
    """Where a notice stands after an attempt. ``due_at``: of the next one, while pending. ``ended_at``: else."""

    state: State
    due_at: datetime
    ended_at: datetime | None


def after(outcome: Outcome, *, attempts: int, give_up_at: datetime, now: datetime, chance: float) -> Standing:
    """
    Decide what follows from an attempt.

    Args:
        attempts: begun so far, this one included.
        chance: 0 to 1, drawn for this decision, so that partners that were away are not met by everybody at once.
    """
    match outcome:
        case Outcome.DELIVERED:
            return Standing(State.DELIVERED, now, now)
        case Outcome.REFUSED:
            return Standing(State.REFUSED, now, now)
        case Outcome.FAILED:
            due_at = now + wait(attempts, chance)
            return Standing(State.GIVEN_UP, now, now) if due_at > give_up_at else Standing(State.PENDING, due_at, None)


def wait(attempts: int, chance: float) -> timedelta:
    """How long to wait after *attempts*: doubling up to `LONGEST_WAIT`, of which half is left to *chance*."""
    full: timedelta = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempts - 1, 20))
    return full * (0.5 + chance / 2)


def outcome_of(status: int) -> Outcome:
    """
    What a partner's HTTP *status* says (OpenID Connect Back-Channel Logout 1.0 section 2.8).

    200 is the answer of that section, 204 what some frameworks make of an empty one; 400 means the token was not accepted,
    and it would not be the next time. Everything else may be a partner that is just being repaired.
    """
    if status in {200, 204}:
        return Outcome.DELIVERED
    return Outcome.REFUSED if status == 400 else Outcome.FAILED
