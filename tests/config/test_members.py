"""Registers of customers are asked only about those their partner is told of anyway."""

import pytest

from .conftest import Bench

PLACE = "      consent: implied\n"
CLAIMS = "claims: [name, email]\n"


def with_register(bench: Bench, register: str, claims: str = "claims: [name, email, member_number]\n") -> None:
    bench.edit((CLAIMS, claims), (PLACE, f"{PLACE}    members: {register}\n"))


def test_a_register_that_holds_together(bench: Bench) -> None:
    """Sensible without more said."""
    with_register(bench, "{uri: https://register.example/stafett}")
    loaded = bench.load()
    partner = loaded.policy.partner("tyre-shop")
    assert partner is not None
    assert partner.members is not None
    assert (partner.members.contacts, partner.members.timeout.total_seconds()) == (("email",), 1.0)
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("register", "words"),
    [
        ("{uri: https://register.example/x, contacts: [phone_number]}", "the partner itself may not have phone_number"),
        ("{uri: http://register.example/x}", "http is only for this machine"),
        ("{uri: https://register.example/x, timeout: 4s}", "members.timeout"),
        ("{uri: https://register.example/x, remember: 2d}", "members.remember"),
        ("{uri: https://register.example/x, contacts: []}", "members.contacts"),
        ("{uri: https://register.example/x, contacts: [name]}", "members.contacts"),
        ("{contacts: [email]}", "members.uri"),
    ],
)
def test_what_does_not(bench: Bench, register: str, words: str) -> None:
    """Refused with the key."""
    with_register(bench, register)
    assert any(words in problem for problem in bench.problems())


def test_a_register_that_is_asked_in_vain(bench: Bench) -> None:
    """Nobody would hear the answer."""
    with_register(bench, "{uri: https://register.example/x}", CLAIMS)
    assert any("asked in vain" in warning for warning in bench.load().warnings)
