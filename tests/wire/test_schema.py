"""JSON bodies strictly read, and payloads against their schema."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.config.render import example_folder
from broker.errors import BadAsk
from broker.wire.schema import PayloadSchema, read_object
from tests.stage import PAYLOAD


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"{}", {}),
        (b' {"a": [1, 2.5, -3e2, true, null, "\\u00e5\\ud83d\\ude00"]} \n', {"a": [1, 2.5, -300.0, True, None, "å😀"]}),
        ('{"å": "\\\\u0000 is only written about"}'.encode(), {"å": "\\u0000 is only written about"}),
        (b'{"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}]}', {"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}]}),
        (b'{"pad": "' + b"x" * (32 * 1024 - 11) + b'"}', {"pad": "x" * (32 * 1024 - 11)}),
    ],
)
def test_one_json_object_is_read(body: bytes, value: dict[str, Any]) -> None:
    """RFC 8259, every key once, up to 32 KiB."""
    assert read_object(body) == value


BAD_BODIES = {
    "empty": b"",
    "blank": b" ",
    "cut": b'{"a": ',
    "two": b"{}{}",
    "list": b"[]",
    "text": b'"text"',
    "number": b"1",
    "null": b"null",
    "form": b"a=1&b=2",
    "single quotes": b"{'a': 1}",
    "comment": b'{"a": 1} // more',
    "comma too many": b'{"a": 1,}',
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "number beyond bounds": b'{"a": 1e999}',
    "whole number of 65 bits": b'{"a": 18446744073709551616}',
    "number of 5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "key twice": b'{"a": 1, "a": 1}',
    "key twice by escape": b'{"a": 1, "\\u0061": 2}',
    "key twice inside": b'{"a": {"b": 1, "b": 2}}',
    "key twice in a list": b'{"a": [{"b": 1, "b": 2}]}',
    "too deep": b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "half a surrogate pair": b'{"a": "\\ud800"}',
    "half a surrogate pair as key": b'{"\\udfff": 1}',
    "U+0000": b'{"a": "x\\u0000y"}',
    "U+0000 after a backslash": b'{"a": "\\\\\\u0000"}',
    "U+0000 as key": b'{"\\u0000": 1}',
    "raw control character": b'{"a": "\n"}',
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32-le"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "too large": b'{"pad": "' + b"x" * (32 * 1024 - 10) + b'"}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_anything_else_is_a_bad_ask(body: bytes) -> None:
    """One kind of error, and what was sent is not in it."""
    with pytest.raises(BadAsk) as refused:
        read_object(body)
    assert refused.value.code in {"json.syntax", "json.size"}
    assert "pad" not in refused.value.detail


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text('{}[]":,\\ud80ntrueax019.eE+-', max_size=40).map(str.encode),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_no_bytes_do_more_than_that(body: bytes) -> None:
    """An object that can be stored and sent on, or BadAsk; never anything else."""
    try:
        value = read_object(body)
    except BadAsk:
        return
    assert json.loads(json.dumps(value, allow_nan=False).encode()) == value
    assert "\x00" not in repr(value).encode().decode()


TYRES = PayloadSchema(json.loads((example_folder() / "schemas/tyre-fitting-v1.json").read_bytes()))


def changed(path: str, value: Any) -> dict[str, Any]:
    """The shop's payload with *value* at the dotted *path*; ``...`` takes it away."""
    payload: dict[str, Any] = json.loads(json.dumps(PAYLOAD))
    *parents, leaf = path.split(".")
    here: Any = payload
    for parent in parents:
        here = here[int(parent)] if isinstance(here, list) else here.setdefault(parent, {})
    if value is ...:
        del here[leaf]
    else:
        here[leaf] = value
    return payload


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("customer", ...),
        ("vehicle.registration_number", "ABC123"),
        ("items.0.quantity", 100),
        ("order.placed_at", "2026-11-21T11:00:00+01:00"),
        ("order.placed_at", "2026-11-21t11:00:00.123456z"),
        ("order.paid", False),
        ("booking.note", ""),
    ],
)
def test_a_payload_that_fits_passes(path: str, value: Any) -> None:
    """Optional members may be missing."""
    TYRES.check(changed(path, value))


BAD_PAYLOADS: list[tuple[str, Any, str]] = [
    ("vehicle.tyre_size_front", ..., "$.vehicle breaks the rule 'required'"),
    ("order", ..., "$ breaks the rule 'required'"),
    ("colour", "red", "$ breaks the rule 'additionalProperties'"),
    ("vehicle.owner", "Maja", "$.vehicle breaks the rule 'additionalProperties'"),
    ("items.0.price", 1, "$.items[0] breaks the rule 'additionalProperties'"),
    ("items", [], "$.items breaks the rule 'minItems'"),
    ("items", PAYLOAD["items"] * 21, "$.items breaks the rule 'maxItems'"),
    ("items.0.quantity", 0, "$.items[0].quantity breaks the rule 'minimum'"),
    ("items.0.quantity", 1e9, "$.items[0].quantity breaks the rule 'maximum'"),
    ("items.0.quantity", "4", "$.items[0].quantity breaks the rule 'type'"),
    ("items.0.quantity", True, "$.items[0].quantity breaks the rule 'type'"),
    ("items.0.season", "spring", "$.items[0].season breaks the rule 'enum'"),
    ("order.paid", 1, "$.order.paid breaks the rule 'type'"),
    ("order.placed_at", "yesterday", "$.order.placed_at breaks the rule 'format'"),
    ("order.placed_at", "2026-11-21", "$.order.placed_at breaks the rule 'format'"),
    ("order.placed_at", "2026-11-21 11:00:00Z", "$.order.placed_at breaks the rule 'format'"),
    ("order.placed_at", "2026-11-21T11:00:00", "$.order.placed_at breaks the rule 'format'"),
    ("order.placed_at", "2026-13-21T11:00:00Z", "$.order.placed_at breaks the rule 'format'"),
    ("order.placed_at", "2026-11-21T25:00:00Z", "$.order.placed_at breaks the rule 'format'"),
    ("order.placed_at", "٢٠٢٦-11-21T11:00:00Z", "$.order.placed_at breaks the rule 'format'"),
    ("order.placed_at", 1795262400, "$.order.placed_at breaks the rule 'type'"),
    ("vehicle", None, "$.vehicle breaks the rule 'type'"),
    ("vehicle.make", "", "$.vehicle.make breaks the rule 'minLength'"),
    ("vehicle.make", "x" * 41, "$.vehicle.make breaks the rule 'maxLength'"),
    ("customer.phone", "070-123 45 67", "$.customer.phone breaks the rule 'pattern'"),
    ("customer.phone", "+46701234567\n", "$.customer.phone breaks the rule 'pattern'"),
    ("customer.phone", "+4670123456٧", "$.customer.phone breaks the rule 'pattern'"),
    ("customer.email", "nobody", "$.customer.email breaks the rule 'format'"),
    ("customer.preferred_language", "de", "$.customer.preferred_language breaks the rule 'enum'"),
]


@pytest.mark.parametrize(
    ("path", "value", "sentence"), BAD_PAYLOADS, ids=[f"{row[0]} {row[2]}" for row in BAD_PAYLOADS]
)
def test_a_payload_that_does_not_fit_is_told_where(path: str, value: Any, sentence: str) -> None:
    """Place and rule, and nothing of the value: the text goes to the partner and into the log."""
    with pytest.raises(BadAsk) as refused:
        TYRES.check(changed(path, value))
    assert refused.value.code == "handoff.payload"
    assert sentence in refused.value.detail
    if isinstance(value, str) and len(value) > 3:
        assert value not in refused.value.detail


@pytest.mark.parametrize("payload", [None, [], "text", 1, True])
def test_a_payload_is_an_object(payload: Any) -> None:
    """Whatever else a partner sends."""
    with pytest.raises(BadAsk):
        TYRES.check(payload)


def test_many_misfits_make_a_short_answer() -> None:
    """The first few are told, in a fixed order."""
    payload = {"vehicle": {str(number): 1 for number in range(50)}, "items": [{}] * 30, "order": {}}
    with pytest.raises(BadAsk) as refused:
        TYRES.check(payload)
    assert refused.value.detail.count("breaks the rule") == 5
    assert len(refused.value.detail) < 400


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^[A-Z]{3}$", "ABC", "ABC\n"),
        ("b", "abc", "ac"),
        (r"^\$[0-9]+$", "$1", "1"),
        ("^[$a]+$", "a$", "a$\n"),
        (r"^(a$|b)", "a", "a\n"),
        (r"^\d\w$", "1a", "1å"),
        (r"^[\]$]$", "$", "$\n"),
    ],
)
def test_patterns_mean_what_schema_authors_mean(pattern: str, good: str, bad: str) -> None:
    """As ECMA-262 reads them: the end is the end, and a digit is one of ten."""
    schema = PayloadSchema({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}})
    schema.check({"a": good})
    with pytest.raises(BadAsk, match="pattern"):
        schema.check({"a": bad})
