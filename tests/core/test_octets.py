"""Octets as the protocols write them."""

import base64
import random

import pytest

from broker.core.octets import base64url, from_base64url

RANDOM = random.Random(11)


@pytest.mark.parametrize("length", range(66))
def test_what_is_written_is_read(length: int) -> None:
    """In the alphabet for addresses, without padding, as the standard library would."""
    octets = RANDOM.randbytes(length)
    text = base64url(octets)
    assert text == base64.urlsafe_b64encode(octets).decode().rstrip("=")
    assert from_base64url(text) == octets


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "abcde",
        "ab+d",
        "ab/d",
        "ab==",
        "abc=",
        "=",
        "ab cd",
        "ab\ncd",
        " abcd",
        "abcd\n",
        "abcö",
        "ab\x00d",
        "ab*d",
        "ab.d",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """RFC 7515 section 2: no padding, no white space, no other alphabet; and no length that nothing has."""
    with pytest.raises(ValueError):
        from_base64url(text)
