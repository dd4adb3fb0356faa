"""Sealed values open only where, for what and by whom they were sealed; digests tell nothing and find everything."""

import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.stores.sealing import Broken, Digester, Sealer

SECRET = bytes(range(32))
OLDER = bytes(range(1, 33))
SEALER = Sealer([SECRET], "state")
PLAIN = b"what Maja agreed to"
PLACE = "handoff:1"


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.binary(max_size=300), st.text(max_size=40))
def test_what_was_sealed_opens_again(plain: bytes, place: str) -> None:
    """Any bytes, any place."""
    assert SEALER.open(SEALER.seal(plain, place), place) == plain


def test_a_sealed_value_shows_nothing() -> None:
    """Neither its content nor its place, and the same value never looks the same twice."""
    sealed = {SEALER.seal(PLAIN, PLACE) for _ in range(100)}
    assert len(sealed) == 100
    assert not any(b"Maja" in each or b"handoff" in each for each in sealed)


SEALED = SEALER.seal(PLAIN, PLACE)


@pytest.mark.parametrize("place", ["handoff:2", "handoff:1 ", "Handoff:1", "", "session:1", "handoff:1\0"])
def test_a_moved_value_does_not_open(place: str) -> None:
    """Whoever can write to the store cannot put one customer's value in another's place."""
    with pytest.raises(Broken):
        SEALER.open(SEALED, place)


def test_a_changed_value_does_not_open() -> None:
    """Not one bit of key id, nonce, content or tag."""
    for at in range(len(SEALED)):
        changed = bytearray(SEALED)
        changed[at] ^= 1
        with pytest.raises(Broken):
            SEALER.open(bytes(changed), PLACE)


def test_a_cut_value_does_not_open() -> None:
    """However much of it is left."""
    for length in range(len(SEALED)):
        with pytest.raises(Broken):
            SEALER.open(SEALED[:length], PLACE)


@pytest.mark.parametrize(
    "given_bytes",
    [b"", b"\0", PLAIN, SEALED + b"\0", b"\0" + SEALED, SEALED * 2, SEALED[:4], SEALED[:16], b"\xff" * 100],
    ids=lambda given: f"{len(given)}-bytes",
)
def test_what_was_never_sealed_does_not_open(given_bytes: bytes) -> None:
    """Prolonged, doubled, invented or plain: Broken, nothing else."""
    with pytest.raises(Broken):
        SEALER.open(given_bytes, PLACE)


def test_parts_of_two_values_do_not_mix() -> None:
    """The nonce of one with the content of another."""
    other = SEALER.seal(PLAIN, PLACE)
    with pytest.raises(Broken):
        SEALER.open(SEALED[:16] + other[16:], PLACE)


@pytest.mark.parametrize("use", ["records", "tokens", "State", ""])
def test_uses_have_keys_of_their_own(use: str) -> None:
    """A value sealed for one use opens for no other, whatever its place is called (E11)."""
    with pytest.raises(Broken):
        Sealer([SECRET], use).open(SEALED, PLACE)


def test_another_secret_does_not_open() -> None:
    """Nor one that is nearly the same."""
    for secret in (OLDER, SECRET[:-1] + b"\0", SECRET + b"\0"):
        with pytest.raises(Broken):
            Sealer([secret], "state").open(SEALED, PLACE)


def test_secrets_are_rotated_without_losing_anything() -> None:
    """The first secret seals, all open; when the old one is dropped, what it sealed is gone."""
    both = Sealer([SECRET, OLDER], "state")
    old = Sealer([OLDER], "state").seal(PLAIN, PLACE)
    assert both.open(old, PLACE) == PLAIN
    fresh = both.seal(PLAIN, PLACE)
    assert SEALER.open(fresh, PLACE) == PLAIN
    with pytest.raises(Broken):
        Sealer([OLDER], "state").open(fresh, PLACE)
    with pytest.raises(Broken):
        SEALER.open(old, PLACE)


@pytest.mark.parametrize("secrets", [[], [b""], [b"x" * 31], [SECRET, b"short"]])
def test_a_weak_secret_is_refused_at_start(secrets: list[bytes]) -> None:
    """All of them count: an old weak one would open as well."""
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(secrets, "state")


def test_errors_do_not_quote() -> None:
    """What is told about a broken value is neither the value nor its place."""
    with pytest.raises(Broken) as broken:
        SEALER.open(SEALED, "session:of-maja")
    assert "maja" not in str(broken.value).lower()


class TestDigester:
    def test_the_same_parts_are_found_again(self) -> None:
        """Over restarts, by whoever has the secret."""
        first = Digester(SECRET, "lookup").digest("https://id.example", "subject-1")
        assert first == Digester(SECRET, "lookup").digest("https://id.example", "subject-1")
        assert len(first) == 64
        assert set(first) <= set("0123456789abcdef")

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("ab", "c"), ("a", "bc")),
            (("ab",), ("a", "b")),
            (("a", ""), ("a",)),
            (("", "a"), ("a", "")),
            (("a\0b",), ("a", "b")),
            ((), ("",)),
            (("199005272394",), ("199005272395",)),
        ],
    )
    def test_parts_are_kept_apart(self, one: tuple[str, ...], other: tuple[str, ...]) -> None:
        """No two different lists share a digest, wherever one part ends and the next begins."""
        digester = Digester(SECRET, "lookup")
        assert digester.digest(*one) != digester.digest(*other)

    def test_without_the_secret_nothing_can_be_tried_out(self) -> None:
        """There are few personal numbers: a plain hash of one is the number itself. Uses have keys of their own."""
        number = "199005272394"
        mine = Digester(SECRET, "lookup").digest(number)
        assert mine != Digester(SECRET, "other").digest(number)
        assert mine != Digester(OLDER, "lookup").digest(number)
        assert mine != hashlib.sha256(number.encode()).hexdigest()
        assert mine != hmac.new(SECRET, number.encode(), hashlib.sha256).hexdigest()
        assert number not in mine
