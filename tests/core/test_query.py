"""Names and values in addresses: the standard library is the measure."""

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.query import decoded, encoded

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20) | st.text("ab0-_.~%+&=; /:?#\x00\u00e5", max_size=20)


@given(st.dictionaries(TEXTS, TEXTS, max_size=5))
def test_writing_is_what_the_standard_library_writes(members: dict[str, str]) -> None:
    """Whatever is in it: partners compare addresses and digest forms."""
    assert encoded(members) == urlencode(members)


@given(st.text("ab%+&=;2C0xE\u00e5", max_size=40) | st.text(max_size=40))
def test_reading_is_what_the_standard_library_reads(text: str) -> None:
    """Also what nobody should send; two readings of one address would be two addresses."""
    assert decoded(text) == parse_qsl(text, keep_blank_values=True)


@given(st.dictionaries(TEXTS, TEXTS, max_size=5))
def test_what_was_written_is_read(members: dict[str, str]) -> None:
    """Nothing is lost on the way."""
    assert dict(decoded(encoded(members))) == members


@pytest.mark.parametrize("text", ["a=%ff", "%C3=b", "a=b&c=%C3%28"])
def test_bytes_that_are_no_text_are_refused_where_that_is_asked(text: str) -> None:
    """A form must be UTF-8; a guess at what was meant could be wrong."""
    with pytest.raises(UnicodeDecodeError):
        decoded(text, errors="strict")
