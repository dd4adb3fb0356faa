"""Refresh token families: one successor per use, a short grace, then the end of the family."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.refresh import GRACE, Family, Reused, begin, expires_at, use
from broker.errors import Spent

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def family(current: int = 3, *, rotates: bool = True) -> Family:
    return Family(current=current, turned_at=NOW, ends_at=NOW + 30 * DAY, idle=14 * DAY, rotates=rotates)


def test_each_use_gives_the_next() -> None:
    """The current token gives its one successor, from now on."""
    later = NOW + timedelta(hours=1)
    assert use(family(3), presented=3, now=later) == Family(4, later, NOW + 30 * DAY, 14 * DAY, True)


@pytest.mark.parametrize("after", [timedelta(0), GRACE - timedelta(microseconds=1)])
def test_a_repeat_within_the_grace_gives_the_same_successor(after: timedelta) -> None:
    """A lost answer is repeated, not punished, and mints nothing new."""
    assert use(family(3), presented=2, now=NOW + after) == family(3)


@pytest.mark.parametrize(
    ("presented", "after"),
    [
        pytest.param(2, GRACE, id="predecessor-after-the-grace"),
        pytest.param(1, timedelta(0), id="older-at-once"),
        pytest.param(4, timedelta(0), id="one-that-was-never-given"),
        pytest.param(0, timedelta(0), id="before-the-first"),
    ],
)
def test_anything_else_ends_the_family(presented: int, after: timedelta) -> None:
    """Reuse means that two hold the token (RFC 9700 section 4.14.2)."""
    with pytest.raises(Reused):
        use(family(3), presented=presented, now=NOW + after)


@pytest.mark.parametrize("after", [14 * DAY, 30 * DAY, 400 * DAY])
def test_time_ends_it_too(after: timedelta) -> None:
    """Idle or absolute lifetime over: no token of the family gives anything, and nobody is accused."""
    with pytest.raises(Spent) as caught:
        use(family(3), presented=3, now=NOW + after)
    assert not isinstance(caught.value, Reused)


def test_use_does_not_prolong_the_absolute_lifetime() -> None:
    """Used every day it still ends on its day."""
    running = begin(now=NOW, lifetime=30 * DAY, idle=14 * DAY, rotates=True)
    for day in range(1, 30):
        running = use(running, presented=running.current, now=NOW + day * DAY)
    assert expires_at(running) == NOW + 30 * DAY
    with pytest.raises(Spent):
        use(running, presented=running.current, now=NOW + 30 * DAY)


def test_without_rotation_the_token_stays() -> None:
    """A client with a key of its own keeps its token; a retry after a minute must work."""
    used = use(family(1, rotates=False), presented=1, now=NOW + DAY)
    assert used.current == 1
    assert use(used, presented=1, now=NOW + DAY + timedelta(minutes=1)).current == 1


def test_without_rotation_many_at_once_change_it_once() -> None:
    """Each worker's clock says another instant: the first use is written down, those around it find nothing to write."""
    used = use(family(1, rotates=False), presented=1, now=NOW + DAY)
    assert used.turned_at == NOW + DAY
    for seconds in (-2, 0, 1, 29):
        assert use(used, presented=1, now=NOW + DAY + timedelta(seconds=seconds)) == used
    assert use(used, presented=1, now=NOW + DAY + GRACE).turned_at == NOW + DAY + GRACE


@given(st.lists(st.integers(min_value=0, max_value=6), max_size=12))
def test_never_two_successors_of_one_token(presented: list[int]) -> None:
    """Whatever is presented in whatever order: number n only ever gives n + 1."""
    running = begin(now=NOW, lifetime=30 * DAY, idle=14 * DAY, rotates=True)
    for number in presented:
        try:
            after = use(running, presented=number, now=NOW)
        except Reused:
            return
        assert after.current == number + 1
        running = after
