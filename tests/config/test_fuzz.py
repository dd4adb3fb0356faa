"""Whatever is done to the file: the loader answers with a config or with sentences, never with anything else."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.config.document import read
from broker.config.render import example_text
from broker.config.report import check_file
from broker.config.schemas import read_schema

from .conftest import Bench

LINES = example_text().splitlines()
ODD = [
    "", " ", "NO", "~", "012", "0x1F", "1.10", "12:30", "[]", "{}", "[a, b]", "{a: b}", "&x", "*x", "!!str x", "<<: *x",
    "- ", "---", "...", "%YAML 1.1", "'", '"', "|", ">", "#", ": ", "? ", "\t", "\x00", "\u202e", "true", "-1", "1e999",
    "9" * 30, "å", "\U0001f600", "env:", "file:", "file:../../..", "http://", "https://[", "x" * 600, "0s", "99d", "a.b",
]  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn) -> str:
    """The example with a few lines dropped, doubled, moved, indented otherwise, or given odd values."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        if not lines:
            break
        at = draw(st.integers(0, len(lines) - 1))
        what = draw(st.sampled_from(["drop", "double", "move", "indent", "value", "key", "cut"]))
        line = lines[at]
        head, colon, _ = line.partition(":")
        match what:
            case "drop":
                del lines[at]
            case "double":
                lines.insert(at, line)
            case "move":
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
            case "indent":
                lines[at] = " " * draw(st.integers(0, 8)) + line.lstrip()
            case "value":
                lines[at] = f"{head}{colon} {draw(st.sampled_from(ODD))}"
            case "key":
                indent = len(line) - len(line.lstrip())
                lines[at] = f"{' ' * indent}{draw(st.sampled_from(ODD))}: x"
            case _:
                lines = lines[: at + 1]
    return "\n".join(lines)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=spoiled())
def test_a_spoiled_config_ends_in_sentences(bench: Bench, text: str) -> None:
    """No mutation of the example ends as anything but a config or whole sentences."""
    bench.path.write_text(text, "utf-8")
    report = check_file(bench.path)
    assert (report.loaded is None) == bool(report.problems)
    assert all(problem.startswith(str(bench.folder)) for problem in report.problems)
    assert not any("\n" in problem for problem in report.problems)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """The readers of YAML and of schema files never raise."""
    document = read(data, "a.yaml")
    assert document.problems or document.value is not None
    schema, problems = read_schema(data, "s.json", "en")
    assert problems or schema is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "x-label", "x-product", "enum", "required", "a", "$ref", "maxLength"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(content=st.dictionaries(st.sampled_from(["a", "b", "name"]), JSON, max_size=3))
def test_any_json_under_properties_is_checked(content: object) -> None:
    """A schema of any shape ends in fields or in sentences."""
    data = json.dumps({"type": "object", "additionalProperties": False, "properties": content}).encode()
    schema, problems = read_schema(data, "s.json", "en")
    assert (schema is None) == bool(problems)
