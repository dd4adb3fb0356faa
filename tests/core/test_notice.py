"""When partners are told again, and when telling them is given up."""

from datetime import UTC, datetime, timedelta

import pytest

from broker.core.notice import FIRST_WAIT, LEASE, LONGEST_WAIT, Outcome, State, after, outcome_of, wait

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
FAR = NOW + timedelta(days=1)


@pytest.mark.parametrize(
    "status", [201, 202, 206, 301, 302, 303, 307, 401, 403, 404, 405, 410, 413, 429, 500, 502, 503, 504]
)
def test_only_two_answers_mean_told_and_one_means_never(status: int) -> None:
    """Whatever else comes back may be a partner under repair: it is told again."""
    assert outcome_of(status) is Outcome.FAILED


def test_what_the_specification_names_is_final() -> None:
    """Back-Channel Logout section 2.8: 200, and 204 of frameworks that cannot do otherwise; 400 for a token not accepted."""
    assert outcome_of(200) is outcome_of(204) is Outcome.DELIVERED
    assert outcome_of(400) is Outcome.REFUSED


@pytest.mark.parametrize(("outcome", "state"), [(Outcome.DELIVERED, State.DELIVERED), (Outcome.REFUSED, State.REFUSED)])
def test_a_final_answer_ends_it_at_once(outcome: Outcome, state: State) -> None:
    """However often it was tried before."""
    for attempts in (1, 50):
        standing = after(outcome, attempts=attempts, give_up_at=FAR, now=NOW, chance=0.5)
        assert (standing.state, standing.ended_at) == (state, NOW)


def test_waiting_doubles_up_to_a_bound() -> None:
    """A partner that is away for a night is not called every few seconds."""
    waits = [wait(attempts, 1.0) for attempts in range(1, 40)]
    assert waits[0] == FIRST_WAIT
    assert waits[1] == 2 * FIRST_WAIT
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT


@pytest.mark.parametrize("attempts", [1, 5, 60])
def test_chance_spreads_the_second_half(attempts: int) -> None:
    """What failed together does not come back together."""
    full = wait(attempts, 1.0)
    assert wait(attempts, 0.0) == full / 2
    assert full / 2 < wait(attempts, 0.3) < full


def test_what_would_come_too_late_is_given_up_now() -> None:
    """The last attempt is known to be the last; nothing waits for a moment at which nobody would try."""
    late = after(Outcome.FAILED, attempts=1, give_up_at=NOW + FIRST_WAIT / 4, now=NOW, chance=0.0)
    assert (late.state, late.ended_at) == (State.GIVEN_UP, NOW)
    again = after(Outcome.FAILED, attempts=1, give_up_at=NOW + FIRST_WAIT, now=NOW, chance=1.0)
    assert (again.state, again.due_at, again.ended_at) == (State.PENDING, NOW + FIRST_WAIT, None)


def test_a_day_of_silence_is_a_bounded_number_of_calls() -> None:
    """At the shortest waits chance can give."""
    now, attempts = NOW, 0
    while True:
        attempts += 1
        standing = after(Outcome.FAILED, attempts=attempts, give_up_at=FAR, now=now, chance=0.0)
        if standing.state is not State.PENDING:
            break
        now = standing.due_at
    assert 20 < attempts < 70
    assert timedelta(seconds=10) < LEASE
