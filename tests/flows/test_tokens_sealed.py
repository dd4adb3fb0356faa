"""Random ids, and sealed tokens: opaque, of one kind, for a time."""

import base64
import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import Spent
from broker.flows.context import Tokens, canonical, digest_of
from broker.stores.sealing import Sealer

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
SECRET, OLDER = bytes(32), bytes(31) + b"x"
TOKENS = Tokens(Sealer([SECRET], "tokens"))
BASE64URL = set(string.ascii_letters + string.digits + "-_")
CODE = TOKENS.seal("code", "grant-1", "", "handoff-1", expires_at=LATER)

KINDS = ["code", "access", "handle", "reference", "guest"]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=40), max_size=4))
def test_the_parts_come_back_in_order(parts: list[str]) -> None:
    """Any texts, empty ones too; the token is safe in a URL and no longer than it must be."""
    token = TOKENS.seal("code", *parts, expires_at=LATER)
    assert TOKENS.open("code", token, now=NOW) == tuple(parts)
    assert set(token) <= BASE64URL
    assert len(token) < 2 * sum(len(part.encode()) + 5 for part in parts) + 100


def test_a_token_tells_nothing() -> None:
    """Neither kind nor parts nor time can be read from it, and no two are alike."""
    tokens = {TOKENS.seal("code", "grant-1", expires_at=LATER) for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        assert b"grant" not in raw
        assert b"code" not in raw


@pytest.mark.parametrize("made", KINDS)
@pytest.mark.parametrize("opened", KINDS)
def test_a_token_opens_as_its_own_kind_only(made: str, opened: str) -> None:
    """A code is no access token, a link no reference: only the diagonal passes (A9)."""
    token = TOKENS.seal(made, "1", expires_at=LATER)
    if made == opened:
        assert TOKENS.open(opened, token, now=NOW) == ("1",)
    else:
        with pytest.raises(Spent):
            TOKENS.open(opened, token, now=NOW)


@pytest.mark.parametrize(
    ("now", "alive"),
    [
        (NOW, True),
        (LATER - timedelta(microseconds=1), True),
        (LATER, False),
        (LATER + timedelta(days=1000), False),
        (NOW - timedelta(days=1000), True),
    ],
)
def test_a_token_ends_at_its_second(now: datetime, alive: bool) -> None:
    """At the moment of expiry it is over, with a code of its own for the operator."""
    if alive:
        assert TOKENS.open("code", CODE, now=now)
        return
    with pytest.raises(Spent) as refused:
        TOKENS.open("code", CODE, now=now)
    assert refused.value.code == "expired_token"


def test_a_lifetime_is_cut_to_the_second_never_prolonged() -> None:
    """Fractions go in the holder's disfavour."""
    token = TOKENS.seal("code", expires_at=LATER + timedelta(milliseconds=999))
    with pytest.raises(Spent):
        TOKENS.open("code", token, now=LATER)


def test_a_token_has_one_spelling() -> None:
    """Neither the other alphabet of base64 nor unused bits at the end make a second token of it."""
    for number in range(40):
        token = TOKENS.seal("code", "x" * (number % 3), expires_at=LATER)
        spellings = {token.replace("-", "+"), token.replace("_", "/"), token + "="}
        spellings |= {token[:-1] + last for last in BASE64URL}
        for spelling in spellings - {token}:
            with pytest.raises(Spent):
                TOKENS.open("code", spelling, now=NOW)


def test_a_changed_token_is_nobodys() -> None:
    """Wherever it is changed."""
    for at, was in enumerate(CODE):
        with pytest.raises(Spent):
            TOKENS.open("code", CODE[:at] + ("A" if was != "A" else "B") + CODE[at + 1 :], now=NOW)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "A",
        "AAAA",
        CODE[:-4],
        CODE + "AAAA",
        CODE + "=",
        CODE + "==",
        " " + CODE,
        CODE + "\n",
        CODE[:8] + "\n" + CODE[8:],
        CODE[:8] + "." + CODE[8:],
        CODE + "å",
        CODE + "\0",
        CODE + "\ud800",
        CODE.upper(),
        CODE * 2,
        "A" * 2048,
        "A" * 2049,
        "A" * 1_000_000,
        "../../etc/passwd",
        "' OR 1=1 --",
        "ho_" + CODE,
    ],
    ids=lambda token: f"{len(token)}-characters",
)
def test_anything_else_is_spent(token: str) -> None:
    """Whatever somebody puts in a URL: one error, so guessing teaches nothing, and it is not repeated in it."""
    with pytest.raises(Spent) as refused:
        TOKENS.open("code", token, now=NOW)
    assert len(token) < 3 or token not in refused.value.detail


def test_a_token_from_before_a_rotation_opens() -> None:
    """Links in mails live for a day: the previous secret still opens what it sealed, a foreign one never."""
    old = Tokens(Sealer([OLDER], "tokens")).seal("handle", "1", expires_at=LATER)
    assert Tokens(Sealer([SECRET, OLDER], "tokens")).open("handle", old, now=NOW) == ("1",)
    with pytest.raises(Spent):
        TOKENS.open("handle", old, now=NOW)


def test_what_was_sealed_for_the_store_is_no_token() -> None:
    """A value read from the store cannot be presented as a token: uses have keys of their own."""
    raw = Sealer([SECRET], "state").seal(b"x", "code")
    with pytest.raises(Spent):
        TOKENS.open("code", base64.urlsafe_b64encode(raw).rstrip(b"=").decode(), now=NOW)


def test_ids_cannot_be_guessed() -> None:
    """128 bits for ids, 256 for secrets, each new and safe in URLs and store keys."""
    ids = [TOKENS.id() for _ in range(1000)]
    secrets = [TOKENS.random() for _ in range(1000)]
    assert len({*ids, *secrets}) == 2000
    assert {len(each) for each in ids} == {22}
    assert {len(each) for each in secrets} == {43}
    assert set("".join(ids + secrets)) <= BASE64URL


def test_equal_content_has_one_digest() -> None:
    """However it was written down; and letters are themselves, not escapes."""
    assert canonical({"b": 1, "a": ["å", None, True]}) == '{"a":["å",null,true],"b":1}'.encode()
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": "1"})
    assert digest_of({"a": True}) != digest_of({"a": 1})
