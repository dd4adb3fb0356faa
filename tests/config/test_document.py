"""The strict reader: what YAML reads one way and people another is refused, with line, key and what to do."""

import pytest

from broker.config.document import MAX_BYTES, MAX_DEPTH, read

QUOTE = "quote it if it is text, or write a plain decimal number: "


def sentences(text: str | bytes) -> list[str]:
    return [str(problem) for problem in read(text.encode() if isinstance(text, str) else text, "a.yaml").problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: true", True),
        ("a: false", False),
        ("a: 0", 0),
        ("a: -12", -12),
        ("a: 2.5", 2.5),
        ("a: 'NO'", "NO"),
        ('a: "012"', "012"),
        ("a: |\n  yes\n", "yes\n"),
        ("a: 60s", "60s"),
        ("a: 127.0.0.0/8", "127.0.0.0/8"),
        ("a: ::1/128", "::1/128"),
        ("a: tyre-fitting/v1", "tyre-fitting/v1"),
        ("a: 1.2.3", "1.2.3"),
        ("a: Norway", "Norway"),
        ("a: http://localhost:8700", "http://localhost:8700"),
        ("a: [x, {b: 1}]", ["x", {"b": 1}]),
        ("---\na: x\n", "x"),
    ],
)
def test_plain_values_mean_what_the_core_schema_says(text: str, value: object) -> None:
    """YAML 1.2 core schema, and nothing more."""
    document = read(text.encode(), "a.yaml")
    assert (document.value, document.problems) == ({"a": value}, ())


@pytest.mark.parametrize("word", ["NO", "no", "yes", "Yes", "on", "OFF", "y", "N", "True", "FALSE"])
def test_words_like_truth_values_are_refused(word: str) -> None:
    """Norway is not false: only true and false are truth values, everything like them is asked about."""
    assert sentences(f"a: 1\nb: {word}") == [f'a.yaml:2 b: write true or false, or quote it if it is text: "{word}"']


@pytest.mark.parametrize(
    ("scalar", "why"),
    [
        ("012", "a leading zero means octal to YAML 1.1"),
        ("-07", "a leading zero means octal to YAML 1.1"),
        ("0x1F", "it is a number in another base"),
        ("0o17", "it is a number in another base"),
        ("0b11", "it is a number in another base"),
        ("1_000", "YAML 1.1 reads it as a number with its underscores removed"),
        ("12:30", "YAML 1.1 reads it as a number in base 60"),
        ("1:02:03", "YAML 1.1 reads it as a number in base 60"),
        ("1.10", "it can be read as a number and would change its looks"),
        ("1e3", "it can be read as a number and would change its looks"),
        ("+46701234567", "it can be read as a number and would change its looks"),
        (".5", "it can be read as a number and would change its looks"),
        ("5.", "it can be read as a number and would change its looks"),
        ("12345678901234567890", "it can be read as a number and would change its looks"),
        (".inf", "it is a number that is none"),
        ("-.INF", "it is a number that is none"),
        (".NaN", "it is a number that is none"),
        ("2026-11-21", "YAML 1.1 reads it as a date"),
        ("2026-11-21T10:00:00Z", "YAML 1.1 reads it as a date"),
        ("=", "it has a meaning of its own in YAML 1.1"),
    ],
)
def test_numbers_in_disguise_are_refused(scalar: str, why: str) -> None:
    """No implicit typing that loses or changes what was written; the value, maybe a secret, is not repeated."""
    assert sentences(f"# head\na:\n  - x\n  - {scalar}\n") == [f"a.yaml:4 a[1]: {QUOTE}{why}"]


@pytest.mark.parametrize("nothing", ["", "~", "null", "Null", "NULL"])
def test_empty_values_are_refused(nothing: str) -> None:
    """A key without a value is a mistake, not a default."""
    advice = 'has no value; give one, or leave the key out ("" for an empty text)'
    assert sentences(f"a:\n  b: {nothing}\n") == [f"a.yaml:2 a.b: {advice}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", ["a.yaml:3 a: is given twice (first on line 1); keep one"]),
        ("x:\n  a: {b: 1, b: 2}", ["a.yaml:2 x.a.b: is given twice (first on line 2); keep one"]),
        ("a: &x 1", ["a.yaml:1 a: anchors (&name) are not allowed; write the value out where it is used"]),
        ("a: *x", ["a.yaml:1 a: aliases (*name) are not allowed; write the value out"]),
        ("a: !!str 1", ["a.yaml:1 a: tags (!name) are not allowed; remove it, and quote the value if it is text"]),
        (
            "a: !!python/object/apply:os.system [id]",
            ["a.yaml:1 a: tags (!name) are not allowed; remove it, and quote the value if it is text"],
        ),
        ("a: ! x", ["a.yaml:1 a: tags (!name) are not allowed; remove it, and quote the value if it is text"]),
        ("a:\n  <<: {b: 1}", ["a.yaml:2 a.<<: merge keys (<<) are not allowed; write the keys out"]),
        ("no: x", ['a.yaml:1 no: is not read as text by every program; quote the key: "no"']),
        ("8700: x", ['a.yaml:1 8700: is not read as text by every program; quote the key: "8700"']),
        ("&k a: x", ["a.yaml:1 a: anchors (&name) and tags (!name) are not allowed on keys"]),
        ("? [a, b]\n: x", ["a.yaml:1: a key must be a word; aliases, lists and mappings cannot be keys"]),
        ("%YAML 1.1\n---\na: x", ["a.yaml:1: directives (%YAML, %TAG) are not used here; remove the line"]),
        ("a: x\n---\nb: y", ["a.yaml:2: a second document starts here; one file holds one (remove ---)"]),
        ("", ["a.yaml: is empty; start from config/stafett.example.yaml"]),
        ("# only a comment\n", ["a.yaml: is empty; start from config/stafett.example.yaml"]),
        (b"a: x\nb: \xe5", ["a.yaml:2: is not UTF-8; save the file as UTF-8"]),
        ("a: x".encode("utf-16"), ["a.yaml:1: is not UTF-8; save the file as UTF-8"]),
        (
            "a:\n\tb: x",
            ["a.yaml:2: has a tab; use spaces (and \\t inside double quotes for a tab in a text)"],
        ),
        ("a: x\nb: a\u202eb", ["a.yaml:2: has an invisible control character; remove it"]),
        ('a: x\nb: "a\\u202eb"', ["a.yaml:2 b: has an invisible control character; remove it"]),
        ('a: "x\\0"', ["a.yaml:1 a: has an invisible control character; remove it"]),
        ("a: x\x00", ["a.yaml:1: has an invisible control character; remove it"]),
        ('a: "x\\uffff"', ["a.yaml:1 a: has an invisible control character; remove it"]),
        ("a: x\nb: \ufffe", ["a.yaml:2: has an invisible control character; remove it"]),
        ('a:\n  "b\\x07c": x', ["a.yaml:2 a: one of its keys has an invisible control character; remove it"]),
        (
            "a: x: y",
            [
                "a.yaml:1: not valid YAML (mapping values are not allowed in this context); quote a value that has a"
                " colon and a space in it, or check the indentation"
            ],
        ),
        (
            "a: @x",
            [
                "a.yaml:1: not valid YAML (found character that cannot start any token); quote a value that starts with"
                " @, `, % or another special character"
            ],
        ),
        (
            'a: "x\nb: y\n',
            [
                "a.yaml:3: not valid YAML (found unexpected end of stream); a quote or bracket is not closed",
            ],
        ),
        (
            "a:\n  b: 1\n c: 2",
            [
                "a.yaml:3: not valid YAML (did not find expected key); check the indentation: keys of one block start"
                " in the same column"
            ],
        ),
    ],
)
def test_what_the_notation_does_not_allow(text: str | bytes, expected: list[str]) -> None:
    """One document of plain YAML: nothing said twice, nothing by reference, nothing invisible."""
    assert sentences(text) == expected


def test_all_mistakes_are_told_at_once() -> None:
    """An operator mends a file in one go, not one line per start."""
    assert len(sentences("a: NO\nb: 012\nc: &x 1\na: ~\n")) == 5


def test_an_alias_bomb_is_refused_without_being_built() -> None:
    """docs/security.md E8: 306 bytes that would expand to 387 million leaves."""
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10))
    found = sentences(f"l0: &l0 x\n{levels}\n")
    assert "a.yaml:2 l1[0]: aliases (*name) are not allowed; write the value out" in found


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_depth_is_bounded(opening: str) -> None:
    """Nesting that would exhaust the stack ends as a sentence."""
    found = sentences("a: " * (opening != "- ") + opening * 5000)
    assert len(found) == 1
    assert f"is nested deeper than {MAX_DEPTH} levels" in found[0] or "not valid YAML" in found[0]


def test_size_is_bounded() -> None:
    """A file nobody wrote by hand is not read to its end."""
    assert sentences(b"a: x\n" + b"#" * MAX_BYTES) == [
        "a.yaml: is larger than 8 MiB; split it or remove what is not config"
    ]


def test_places_are_line_and_column_of_keys_and_items() -> None:
    """Every key path leads back to where it was written."""
    document = read(b"a:\n  b:\n    - x\n    - y\n", "a.yaml")
    assert document.places[("a", "b")] == (2, 3)
    assert document.places[("a", "b", 1)] == (4, 7)
    assert str(document.problem(("a", "b", 1, "c"), "no")) == "a.yaml:4 a.b[1].c: no"
