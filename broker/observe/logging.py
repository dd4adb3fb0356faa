"""
One JSON line per event, each with the reference id that the customer's page and the partner's error show.

What may be logged is an allow-list: event names, ids, rule names, figures. `redact` is the net below, not the plan.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

import structlog

from broker.observe.redact import redact
from broker.observe.telemetry import tell

_READABLE = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Letters and digits that nobody mixes up."""
_PAIRS = [first + second for first in _READABLE for second in _READABLE]
_reference: ContextVar[str] = ContextVar("reference", default="-")


def new_reference() -> str:
    """A short id that can be read out on the phone: 8 characters, 40 bits, no look-alikes."""
    bits = int.from_bytes(os.urandom(5), "big")
    return _PAIRS[bits >> 30] + _PAIRS[bits >> 20 & 1023] + _PAIRS[bits >> 10 & 1023] + _PAIRS[bits & 1023]


def set_reference(reference: str) -> None:
    """Use *reference* for everything logged in this request."""
    _reference.set(reference)


def current_reference() -> str:
    """The running request's reference, ``-`` outside one."""
    return _reference.get()


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_threshold = logging.INFO
"""Below it nothing is even put together: a line that nobody reads costs every request."""


def configure(level: str = "info", *, json_lines: bool = True, stream: TextIO | None = None) -> None:
    """Send all logs to *stream* (default: standard error), ours and the libraries'; the libraries' only from warning up."""
    global _threshold
    stream = stream or sys.stderr
    _threshold = numeric = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    renderer: Any = structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_reference,
            _redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Redacting("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


@contextmanager
def put_back() -> Iterator[None]:
    """Logging is one per process: whatever is configured inside the block, logs go afterwards where they went before."""
    global _threshold
    root, kept, threshold = logging.getLogger(), structlog.get_config(), _threshold
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        structlog.configure(**kept)
        root.handlers[:] = handlers
        root.setLevel(level)
        _threshold = threshold


def log(event: str, level: str = "info", **facts: Any) -> None:
    """Log *event* (a name of docs/events.md) with *facts*: ids, rule names and figures, never personal data."""
    tell(event, facts)
    if _LEVELS[level] >= _threshold:
        getattr(structlog.get_logger(), level)(event, **facts)


def _add_reference(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    event["reference"] = _reference.get()
    return event


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {key: redact(value) for key, value in event.items()}


class _Redacting(logging.Formatter):
    """For what libraries say: their words, under the same net."""

    def format(self, record: logging.LogRecord) -> str:
        return str(redact(super().format(record)))
