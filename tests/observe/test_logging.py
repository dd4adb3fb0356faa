"""One JSON line per event, with the reference that customer and partner were shown."""

import asyncio
import io
import json
import logging
from datetime import datetime
from typing import Any

import pytest

from broker.observe.logging import configure, current_reference, log, new_reference, put_back, set_reference


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_reference(stream: io.StringIO) -> None:
    """Event, level, time in UTC, reference and facts; nothing else is needed to find it again."""
    configure(stream=stream)
    set_reference("K7PQ2MXA")
    log("handoff.started", partner="garage", fields=3)
    log("refused", "warning", code="handoff.foreign")
    first, second = lines(stream)
    assert (first["event"], first["level"], first["reference"]) == ("handoff.started", "info", "K7PQ2MXA")
    assert (first["partner"], first["fields"]) == ("garage", 3)
    at = datetime.fromisoformat(first["timestamp"])
    assert at.tzinfo is not None
    assert (second["event"], second["level"], second["reference"]) == ("refused", "warning", "K7PQ2MXA")


def test_afterwards_logs_go_where_they_went(stream: io.StringIO) -> None:
    """Level and place, of our lines and of the libraries', even when the block ends by an error."""
    configure("warning", stream=stream)
    inside = io.StringIO()

    def elsewhere() -> None:
        with put_back():
            configure("debug", stream=inside)
            log("sweep", "debug")
            logging.getLogger("somebody.elses").warning("inside")
            raise OSError

    with pytest.raises(OSError):
        elsewhere()
    log("sweep")
    log("refused", "warning", code="a")
    logging.getLogger("somebody.elses").warning("outside")
    assert [line.partition('"')[0] for line in inside.getvalue().splitlines()] == [
        "{",
        "WARNING somebody.elses: inside",
    ]
    event, theirs = stream.getvalue().splitlines()
    assert json.loads(event)["event"] == "refused"
    assert theirs == "WARNING somebody.elses: outside"


def test_outside_a_request_there_is_no_reference(stream: io.StringIO) -> None:
    """A dash, so that the member is always there."""
    configure(stream=stream)
    log("serving")
    assert lines(stream)[0]["reference"] == "-"


async def test_requests_at_once_keep_their_own_reference(stream: io.StringIO) -> None:
    """Many requests in one process: each line carries the reference of its own."""
    configure(stream=stream)

    async def request(number: int) -> None:
        reference = f"REF{number:05}"
        set_reference(reference)
        for _ in range(3):
            await asyncio.sleep(0)
            assert current_reference() == reference
            log("step", number=number)

    await asyncio.gather(*(asyncio.create_task(request(number)) for number in range(20)))
    written = lines(stream)
    assert len(written) == 60
    assert all(line["reference"] == f"REF{line['number']:05}" for line in written)


@pytest.mark.parametrize(
    "value", ["two\nlines", '"}\n{"event":"forged"', "\u2028", "\x1b[31mred", "\x00", "\u202e", "\ud800"]
)
def test_nobody_forges_a_line(stream: io.StringIO, value: str) -> None:
    """Whatever a request brings, an event stays one line of ASCII."""
    configure(stream=stream)
    log("refused", detail=value)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.strip().isascii()
    assert text.strip().isprintable()
    assert lines(stream)[0]["event"] == "refused"


def test_personal_data_does_not_pass(stream: io.StringIO) -> None:
    """Whatever fact it hides in, and in the event itself."""
    configure(stream=stream)
    log("mail to maja@example.com", who="maja@example.com", error=ValueError("199005272394"), all={"+46701234567"})
    text = stream.getvalue()
    assert "maja" not in text
    assert "199005272394" not in text
    assert "46701234567" not in text


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("ERROR", ["error"]),
    ],
)
def test_the_level_is_the_operators(stream: io.StringIO, level: str, seen: list[str]) -> None:
    """What is below it is not written."""
    configure(level, stream=stream)
    for each in ("debug", "info", "warning", "error"):
        log("event", each)
    assert [line["level"] for line in lines(stream)] == seen


def test_libraries_speak_from_warning_up_and_under_the_net(stream: io.StringIO) -> None:
    """Their info lines name what they work on, such as addresses asked for."""
    configure("debug", stream=stream)
    logging.getLogger("somebody.elses").info("talkative")
    logging.getLogger("somebody.elses").warning("worth a line")
    assert "talkative" not in stream.getvalue()
    logging.getLogger("somebody.elses").error("could not serve %s", "maja@example.com")
    assert "worth a line" in stream.getvalue()
    assert "could not serve [redacted]" in stream.getvalue()


def test_people_may_read_it_too(stream: io.StringIO) -> None:
    """The text format has the same facts and the same net."""
    configure(json_lines=False, stream=stream)
    set_reference("K7PQ2MXA")
    log("handoff.started", partner="garage", who="maja@example.com")
    text = stream.getvalue()
    assert "handoff.started" in text
    assert "K7PQ2MXA" in text
    assert "garage" in text
    assert "maja" not in text


def test_a_reference_can_be_read_out_on_the_phone() -> None:
    """Eight capitals and digits without look-alikes, and hardly ever the same twice."""
    references = {new_reference() for _ in range(2000)}
    assert len(references) == 2000
    for reference in references:
        assert len(reference) == 8
        assert not set(reference) & set("01IO")
        assert set(reference) <= set("23456789ABCDEFGHJKLMNPQRSTUVWXYZ")
