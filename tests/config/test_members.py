"""Registers of customers are asked only about those their partner is told of anyway."""

import pytest

from .conftest import WAYS_IN, Bench

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


BY_NUMBER = "{uri: https://register.example/x, by_number: {formats: [%s], contact: %s}}"


def test_members_by_number(bench: Bench) -> None:
    """A letter tells a member number from a phone number."""
    with_register(bench, BY_NUMBER % ("M-####", "email"))
    loaded = bench.load()
    partner = loaded.policy.partner("tyre-shop")
    assert partner is not None
    assert partner.members is not None
    assert partner.members.by_number is not None
    assert (partner.members.by_number.formats, loaded.warnings) == (("M-####",), ())


@pytest.mark.parametrize(
    "format",
    ["'#########'", "'0## ### ## ##'", "'46#########'", "'##########'", "'0046#########'", "'07########'"],
)
def test_numbers_that_may_be_phones(bench: Bench, format: str) -> None:
    """With the country code, without, with a zero: whoever means a phone must know that it needs a plus sign."""
    with_register(bench, BY_NUMBER % (format, "email"))
    (warning,) = bench.load().warnings
    assert "by_number.formats[0]" in warning
    assert "also fits mobile numbers" in warning


@pytest.mark.parametrize("format", ["'####'", "'9###'", "'####################'", "'## ?? ## ## ##'", "'1#########'"])
def test_numbers_that_are_no_phones(bench: Bench, format: str) -> None:
    """Too short, too long, with a letter, or with a first digit that is none of a phone's where it is written so long."""
    with_register(bench, BY_NUMBER % (format, "email"))
    assert bench.load().warnings == ()


@pytest.mark.parametrize(
    ("by_number", "words"),
    [
        ("{formats: ['M-####']}", "by_number.contact"),
        ("{formats: ['M-####'], contact: name}", "by_number.contact"),
        ("{formats: [], contact: email}", "by_number.formats"),
        ("{contact: email}", "by_number.formats"),
        ("{formats: ['####@####'], contact: email}", "by_number.formats"),
        ("{formats: ['+46####'], contact: email}", "by_number.formats"),
        ("{formats: ['m-####'], contact: email}", "by_number.formats"),
        ("{formats: ['-####'], contact: email}", "by_number.formats"),
        ("{formats: ['##'], contact: email}", "by_number.formats"),
        ("{formats: ['[0-9]+'], contact: email}", "by_number.formats"),
    ],
)
def test_what_is_no_way_to_log_in(bench: Bench, by_number: str, words: str) -> None:
    """Refused with the key: nothing that an address or a number abroad could be."""
    with_register(bench, f"{{uri: https://register.example/x, by_number: {by_number}}}")
    assert any(words in problem for problem in bench.problems())


def test_a_partner_without_a_client(bench: Bench) -> None:
    """The register could not tell in whose name it is asked."""
    number = "    members: {uri: https://register.example/x, by_number: {formats: [M-####], contact: email}}\n"
    bench.edit(("  tyre-hotel:\n", f"  tyre-hotel:\n{number}"))
    assert any("by_number: is for partners with oidc" in problem for problem in bench.problems())


@pytest.mark.parametrize(("contact", "kind"), [("email", "email"), ("phone_number", "sms")])
def test_a_contact_nobody_can_write_to(bench: Bench, contact: str, kind: str) -> None:
    """Codes of that kind must be among the partner's own ways in."""
    bench.edit((WAYS_IN, "upstreams: [bankid, google]"))
    with_register(bench, BY_NUMBER % ("M-####", contact))
    assert any(f"name an upstream of kind {kind} in login.upstreams" in problem for problem in bench.problems())
