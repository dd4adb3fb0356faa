"""The life of signing keys: what each may do follows from its times (docs/keys.md)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from broker.core.changing import replace
from broker.core.keys import (
    BEGINNING,
    KeyBook,
    KeyRecord,
    KeyState,
    KeyTimes,
    begun,
    due,
    retired,
    rotated,
    signer,
    standings,
    successor,
    tidied,
    withdrawn,
)
from broker.core.policy import BrokerSettings
from broker.errors import Denied

START = datetime(2027, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TIMES = KeyTimes(cached=15 * MINUTE, longest=10 * MINUTE, session=DAY, spread=5 * MINUTE)
ALGS = ("RS256", "ES256")
STAGES = (KeyState.PUBLISHED, KeyState.SIGNING, KeyState.RETIRED, KeyState.GONE)


def maker() -> Callable[[str], KeyRecord]:
    """Numbered keys; no cryptography is needed to reason about times."""
    made = iter(range(10**6))

    def make(alg: str) -> KeyRecord:
        kid = f"{alg}-key-number-{next(made):04}"
        return KeyRecord(kid=kid, alg=alg, public={"kid": kid}, private="private")

    return make


def fresh() -> KeyBook:
    return begun(KeyBook(), ALGS, maker(), TIMES, START)


def first(book: KeyBook, alg: str = "ES256") -> KeyRecord:
    return next(key for key in book.keys if key.alg == alg)


def state(book: KeyBook, kid: str, now: datetime) -> KeyState:
    return next(each.state for each in standings(book, TIMES, now) if each.key.kid == kid)


class TestTheLifeOfAKey:
    def test_first_keys_sign_at_once(self) -> None:
        """Nobody has a key set yet that they could be missing from; beginning again changes nothing."""
        book = fresh()
        assert {each.state for each in standings(book, TIMES, START)} == {KeyState.SIGNING}
        assert begun(book, ALGS, maker(), TIMES, START + DAY) == book

    def test_each_stage_has_its_time(self) -> None:
        """Published for the partners' cache, retired for the longest token, each with the allowance for clocks."""
        book, new = rotated(fresh(), "ES256", maker_from(10), TIMES, START + DAY)
        old, begins = first(book).kid, START + DAY + 20 * MINUTE
        instant = timedelta(microseconds=1)
        assert new.signs_from == begins
        assert [state(book, old, begins - instant), state(book, new.kid, begins - instant)] == ["signing", "published"]
        assert [state(book, old, begins), state(book, new.kid, begins)] == ["retired", "signing"]
        assert state(book, old, begins + 20 * MINUTE - instant) == "retired"
        assert state(book, old, begins + 20 * MINUTE) == "gone"

    def test_other_algorithms_are_not_concerned(self) -> None:
        """One key of each signs at any time."""
        book, _ = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        for hour in range(4):
            now = START + hour * HOUR
            assert {alg for alg in ALGS if signer(book, alg, now)} == set(ALGS)
            assert state(book, first(book, "RS256").kid, now) == KeyState.SIGNING

    def test_what_is_to_come_is_told(self) -> None:
        """Every standing names the next change that is certain."""
        book, new = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        told = {each.key.kid: (each.state, each.next_state, each.next_at) for each in standings(book, TIMES, START)}
        assert told[new.kid] == (KeyState.PUBLISHED, KeyState.SIGNING, new.signs_from)
        assert told[first(book).kid] == (KeyState.SIGNING, KeyState.RETIRED, new.signs_from)
        assert told[first(book, "RS256").kid] == (KeyState.SIGNING, None, None)

    def test_the_times_come_from_the_config(self) -> None:
        """The longest token decides, whichever it is."""
        lifetimes = {"id_token": "2m", "access_token": "1h", "session": "12h"}
        broker = BrokerSettings.model_validate(
            {
                "issuer": "https://login.example.com",
                "lifetimes": lifetimes,
                "keys": {"jwks_max_age": "1h", "spread": "2m"},
            }
        )
        times = KeyTimes.of(broker)
        assert (times.lead, times.kept, times.session) == (62 * MINUTE, 64 * MINUTE, 12 * HOUR)


def maker_from(number: int) -> Callable[[str], KeyRecord]:
    make = maker()
    for _ in range(number):
        make("")
    return make


class TestRotation:
    def test_one_at_a_time(self) -> None:
        """A second key on its way would never be published long enough for the one between; the refusal says until when."""
        book, new = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        with pytest.raises(Denied, match=r"published already and signs ES256 from 2027-01-01T00:20:00Z"):
            rotated(book, "ES256", maker_from(20), TIMES, START + 19 * MINUTE)
        assert new.signs_from
        rotated(book, "ES256", maker_from(20), TIMES, new.signs_from)

    def test_a_clock_that_is_behind_makes_no_key(self) -> None:
        """It would sign before anybody has it."""
        with pytest.raises(Denied, match="set this machine's clock"):
            rotated(fresh(), "ES256", maker_from(10), TIMES, START - 6 * MINUTE)

    def test_at_once_brings_forward_the_one_that_waits(self) -> None:
        """It has been published for a while, a new one for no time at all."""
        book, new = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        book, same = rotated(book, "ES256", maker_from(20), TIMES, START + MINUTE, at_once=True)
        assert (same.kid, same.signs_from) == (new.kid, START + MINUTE)
        assert len(book.keys) == 3

    def test_at_once_without_one_that_waits(self) -> None:
        """A new one signs; the old one stays for what it signed."""
        book, new = rotated(fresh(), "ES256", maker_from(10), TIMES, START + HOUR, at_once=True)
        assert signer(book, "ES256", START + HOUR) == new
        assert state(book, first(book).kid, START + HOUR) == KeyState.RETIRED

    @pytest.mark.parametrize(("age", "expected"), [(89 * DAY, ()), (90 * DAY, ALGS)])
    def test_renewal_is_due_by_age(self, age: timedelta, expected: tuple[str, ...]) -> None:
        """Of the newest key, so that one on its way is not followed by another."""
        assert due(fresh(), ALGS, 90 * DAY, START + age) == expected
        book, _ = rotated(fresh(), "ES256", maker_from(10), TIMES, START + age)
        assert "ES256" not in due(book, ALGS, 90 * DAY, START + age)


class TestRetiring:
    def test_a_key_that_signs_gets_a_successor(self) -> None:
        """And a second order changes nothing."""
        book = retired(fresh(), first(fresh()).kid, maker_from(10), TIMES, START)
        assert (new := successor(book, "ES256", START)) is not None
        assert new.signs_from == START + TIMES.lead
        assert retired(book, first(book).kid, maker_from(20), TIMES, START + MINUTE) == book

    def test_a_key_that_waits_is_dropped(self) -> None:
        """Nothing was signed with it; the one before goes on."""
        book, new = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        assert retired(book, new.kid, maker_from(20), TIMES, START + 14 * MINUTE) == fresh()

    def test_a_key_that_may_already_sign_elsewhere_stays(self) -> None:
        """Clocks differ: within the allowance another process may have begun."""
        book, new = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        with pytest.raises(Denied, match="another process may be there already"):
            retired(book, new.kid, maker_from(20), TIMES, START + 15 * MINUTE)

    def test_a_key_whose_tokens_are_good_stays(self) -> None:
        """With the time at which it goes by itself."""
        book, _ = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        with pytest.raises(Denied, match="good until 2027-01-01T00:40:00Z"):
            retired(book, first(book).kid, maker_from(20), TIMES, START + 20 * MINUTE)

    def test_a_key_that_is_gone_is_told(self) -> None:
        """Rather than done again."""
        book, _ = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        with pytest.raises(Denied, match="gone already"):
            retired(book, first(book).kid, maker_from(20), TIMES, START + HOUR)

    @pytest.mark.parametrize("kid", ["", "ES256", "ES256-key-number", "nobody's-key-at-all", "ES256-key-number-0001x"])
    def test_a_name_must_be_one(self, kid: str) -> None:
        """Neither too short nor shared nor unknown."""
        for act in (
            lambda: retired(fresh(), kid, maker(), TIMES, START),
            lambda: withdrawn(fresh(), kid, maker(), TIMES, START),
        ):
            if kid == "ES256-key-number":
                continue  # with one key of the algorithm, the beginning of its name is enough
            with pytest.raises(Denied, match="no key of that name"):
                act()

    def test_a_beginning_that_two_share_is_no_name(self) -> None:
        """Nothing is withdrawn by guessing."""
        book, _ = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        with pytest.raises(Denied, match="no key of that name"):
            withdrawn(book, "ES256-key-number", maker(), TIMES, START)


class TestCompromise:
    def test_a_withdrawn_signer_is_replaced_at_once(self) -> None:
        """Nothing of it counts any more, not even as a hint; its private half is erased."""
        book = withdrawn(fresh(), first(fresh()).kid, maker_from(10), TIMES, START + HOUR)
        stolen = next(each for each in standings(book, TIMES, START + HOUR) if each.key.withdrawn_at)
        assert (stolen.state, stolen.vouches_for_hints, stolen.key.private) == (KeyState.GONE, False, None)
        heir = signer(book, "ES256", START + HOUR)
        assert heir is not None
        assert heir.created_at == START + HOUR

    def test_a_clock_that_is_behind_is_no_excuse(self) -> None:
        """A process in whose time the theft is still to come neither publishes nor uses the key any more."""
        for behind in (timedelta(0), 2 * MINUTE):
            stolen = first(fresh()).kid
            book = withdrawn(fresh(), stolen, maker_from(10), TIMES, START + HOUR)
            assert state(book, stolen, START + HOUR - behind) == KeyState.GONE
            assert (heir := signer(book, "ES256", START + HOUR - behind)) is not None
            assert heir.private

    def test_the_one_that_waits_takes_over(self) -> None:
        """Partners may have it already."""
        book, new = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        book = withdrawn(book, first(book).kid, maker_from(20), TIMES, START + MINUTE)
        assert (now_signs := signer(book, "ES256", START + MINUTE)) is not None
        assert now_signs.kid == new.kid

    def test_the_one_before_does_not_come_back(self) -> None:
        """A retired key stays retired when its successor is withdrawn: its private half may be erased."""
        book, new = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        assert new.signs_from
        book = withdrawn(book, new.kid, maker_from(20), TIMES, new.signs_from + MINUTE)
        assert state(book, first(book).kid, new.signs_from + MINUTE) == KeyState.RETIRED
        heir = signer(book, "ES256", new.signs_from + MINUTE)
        assert heir is not None
        assert heir.kid not in {new.kid, first(book).kid}

    def test_one_that_waits_is_withdrawn_without_an_heir(self) -> None:
        """The signer goes on."""
        book, new = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        book = withdrawn(book, new.kid, maker_from(20), TIMES, START + MINUTE)
        assert len(book.keys) == 3
        assert state(book, new.kid, START + DAY) == KeyState.GONE
        assert state(book, first(book).kid, START + DAY) == KeyState.SIGNING


class TestErasing:
    def test_private_halves_go_when_the_slowest_clock_is_past_them(self) -> None:
        """And the rest when no hint can need it."""
        book, new = rotated(fresh(), "ES256", maker_from(10), TIMES, START)
        old, ended = first(book).kid, new.signs_from
        assert ended
        just_before = tidied(book, TIMES, ended + 5 * MINUTE - timedelta(microseconds=1))
        assert just_before == book
        spent = tidied(book, TIMES, ended + 5 * MINUTE)
        assert [key.kid for key in spent.keys if key.private is None] == [old]
        assert state(spent, old, ended + 6 * MINUTE) == KeyState.RETIRED
        assert old in {key.kid for key in tidied(spent, TIMES, ended + DAY).keys}
        assert old not in {key.kid for key in tidied(spent, TIMES, ended + 20 * MINUTE + DAY).keys}

    def test_private_halves_do_not_show(self) -> None:
        """Objects end up in logs and debuggers, and so do refusals."""
        assert "private='private'" not in f"{fresh()!r} {fresh()}"
        with pytest.raises(ValidationError) as refused:
            KeyBook.model_validate(
                {"keys": [{"kid": "k", "alg": "ES256", "public": 7, "private": "-----BEGIN secret"}]}
            )
        assert "BEGIN secret" not in str(refused.value)

    def test_a_key_is_there_once(self) -> None:
        """Partners tell keys apart by their kid."""
        key = first(fresh())
        with pytest.raises(ValidationError, match="twice"):
            KeyBook(keys=(key, key))


class TestKeysGivenByHand:
    def test_a_key_without_an_hour_waits_for_ever(self) -> None:
        """Only the first of each kind signs; nobody knows since when."""
        make = maker()
        book = KeyBook(keys=(make("ES256").model_copy(update={"signs_from": BEGINNING}), make("ES256")))
        signing, waiting = standings(book, TIMES, START)
        assert (signing.state, signing.since, signing.next_at) == (KeyState.SIGNING, None, None)
        assert (waiting.state, waiting.next_at) == (KeyState.PUBLISHED, None)


# Whatever operators order, whatever clocks say

SPREAD_S = int(TIMES.spread.total_seconds())
orders = st.lists(
    st.tuples(st.integers(0, 90 * 60), st.sampled_from(["rotate", "retire", "tidy"]), st.integers(0, 5)), max_size=12
)


@given(orders)
@settings(max_examples=100, deadline=None)
def test_there_is_always_one_that_signs_and_it_never_goes_back(steps: list[tuple[int, str, int]]) -> None:
    """Whatever is ordered and whenever: one signer of each algorithm with its private half, and stages in their order."""
    make, book, now = maker_from(10), fresh(), START
    seen: dict[str, int] = {}
    for wait_s, order, which in steps:
        now += timedelta(seconds=wait_s)
        book = obey(book, order, which, make, now)
        for alg in ALGS:
            signing = [each for each in standings(book, TIMES, now) if each.state == "signing" and each.key.alg == alg]
            assert len(signing) == 1
            assert signing[0].key.private
        for each in standings(book, TIMES, now):
            stage = STAGES.index(each.state)
            assert stage >= seen.get(each.key.kid, 0)
            seen[each.key.kid] = stage


def obey(
    book: KeyBook, order: str, which: int, make: Callable[[str], KeyRecord], now: datetime, times: KeyTimes = TIMES
) -> KeyBook:
    try:
        match order:
            case "rotate":
                return rotated(book, ALGS[which % 2], make, times, now)[0]
            case "retire":
                return retired(book, book.keys[which % len(book.keys)].kid, make, times, now)
            case _:
                return tidied(book, times, now)
    except Denied:
        return book


def partner_has_it(
    books: list[tuple[datetime, KeyBook]],
    signed: datetime,
    *,
    ours: tuple[int, int],
    theirs: tuple[int, int],
    cached_s: int,
    used_s: int,
) -> bool:
    """
    Whether a token signed by one process verifies with a key set another one published.

    ``ours``, ``theirs``: how far the clock of each is off, and how late it notices, in seconds. ``used_s``: how long after
    the signature the token is verified. ``cached_s``: how old the partner's key set is then.
    """
    key = signer(seen_at(books, signed - timedelta(seconds=ours[1])), "ES256", signed + timedelta(seconds=ours[0]))
    if key is None:
        return signed < START  # before the first keys were made
    fetched = signed + timedelta(seconds=used_s) - timedelta(seconds=cached_s)
    there = fetched + timedelta(seconds=theirs[0])
    published = standings(seen_at(books, fetched - timedelta(seconds=theirs[1])), TIMES, there)
    return key.kid in {each.key.kid for each in published if each.is_published}


CLOCK_S, LATE_S, CACHED_S, USED_S = SPREAD_S // 2, SPREAD_S // 4, 15 * 60, 10 * 60 + SPREAD_S // 2
"""The worst that is allowed for; a token is used until it has expired by the partner's clock."""


def test_no_process_signs_with_a_key_a_partner_cannot_have() -> None:
    """Around one rotation, at every edge: clocks ahead and behind, notices late, caches old, tokens used to the last."""
    books = history([(0, "rotate", 1)])
    processes = list(product((-CLOCK_S, 0, CLOCK_S), (0, LATE_S)))
    moments = [START + TIMES.lead + timedelta(seconds=off_s) for off_s in (-CLOCK_S, -1, 0, 1, CLOCK_S - 1, CLOCK_S)]
    for signed, ours, theirs, cached_s, used_s in product(
        moments, processes, processes, (0, CACHED_S // 2, CACHED_S), (0, USED_S // 2, USED_S)
    ):
        assert partner_has_it(books, signed, ours=ours, theirs=theirs, cached_s=cached_s, used_s=used_s), (
            signed,
            ours,
            theirs,
            cached_s,
            used_s,
        )


def test_with_less_time_it_would() -> None:
    """Shorter than the partners' cache or the longest token is too short: the test above can fail."""
    hasty = history([(0, "rotate", 1)], replace(TIMES, cached=12 * MINUTE))
    begins = START + 17 * MINUTE - timedelta(seconds=CLOCK_S)
    worst = {"ours": (CLOCK_S, 0), "theirs": (0, LATE_S)}
    assert not partner_has_it(hasty, begins, **worst, cached_s=CACHED_S, used_s=0)
    books, ended = history([(0, "rotate", 1)]), START + TIMES.lead - timedelta(seconds=1)
    assert partner_has_it(books, ended, ours=(0, 0), theirs=(0, 0), cached_s=0, used_s=20 * 60)
    assert not partner_has_it(books, ended, ours=(0, 0), theirs=(0, 0), cached_s=0, used_s=20 * 60 + 1)


@given(
    steps=orders,
    at_s=st.integers(0, 8 * 3600),
    ours=st.tuples(st.integers(-CLOCK_S, CLOCK_S), st.integers(0, LATE_S)),
    theirs=st.tuples(st.integers(-CLOCK_S, CLOCK_S), st.integers(0, LATE_S)),
    cached_s=st.integers(0, CACHED_S),
    used_s=st.integers(0, USED_S),
)
@settings(max_examples=150, deadline=None)
def test_nor_after_any_orders(
    steps: list[tuple[int, str, int]],
    at_s: int,
    ours: tuple[int, int],
    theirs: tuple[int, int],
    cached_s: int,
    used_s: int,
) -> None:
    """Whatever operators order, at any time."""
    signed = START + timedelta(seconds=at_s)
    assert partner_has_it(history(steps), signed, ours=ours, theirs=theirs, cached_s=cached_s, used_s=used_s)


def history(steps: list[tuple[int, str, int]], times: KeyTimes = TIMES) -> list[tuple[datetime, KeyBook]]:
    make, book, now = maker_from(10), fresh(), START
    books = [(now - DAY, book)]
    for wait_s, order, which in steps:
        now += timedelta(seconds=wait_s)
        book = obey(book, order, which, make, now, times)
        books.append((now, book))
    return books


def seen_at(books: list[tuple[datetime, KeyBook]], at: datetime) -> KeyBook:
    return [books[0][1], *(book for since, book in books if since <= at)][-1]
