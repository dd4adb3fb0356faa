"""
A YAML file read strictly: values with their lines, or sentences about what is wrong.

Rules: UTF-8, one document, no tabs, no anchors, aliases, merge keys, tags or directives; no key twice; plain scalars
mean what YAML 1.2's core schema says (section 10.3.2) or are refused when YAML 1.1 reads them differently, because
editors and other tools still do; nothing empty. Size and depth are bounded.

The values are built from libyaml's *events*: a composed node no longer knows that it carried an anchor, and composing
recurses before a depth limit could be looked at.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 8 * 1024 * 1024
"""About 10,000 partners."""

MAX_DEPTH = 24

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to be mended: where, and what to do. ``line`` counts from 1; None when the whole file is meant."""

    file: str
    line: int | None
    key: str
    advice: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place} {self.key}: {self.advice}" if self.key else f"{place}: {self.advice}"


@dataclass(frozen=True, slots=True)
class Document:
    """
    The values of one file and where each stands.

    ``value``: dicts, lists, strings, ints, floats, bools; None only where ``problems`` has something about it.
    ``places``: key path -> (line, column) of the key, or of the item in a list; both count from 1.
    """

    file: str
    value: Any
    places: dict[KeyPath, tuple[int, int]] = field(repr=False)
    problems: tuple[Problem, ...] = ()

    def problem(self, path: KeyPath, advice: str) -> Problem:
        """A problem at *path*; the line is that of the nearest key that exists."""
        for end in range(len(path), -1, -1):
            if (place := self.places.get(path[:end])) is not None:
                return Problem(self.file, place[0], dotted(path), advice)
        return Problem(self.file, None, dotted(path), advice)


def dotted(path: Iterable[str | int]) -> str:
    """A key path as operators read it: ``partners.garage.oidc.redirect_uris[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read(data: bytes, file: str) -> Document:
    """
    Read *data*, naming *file* in problems. Never raises for bad input: what is wrong is in ``problems``.

    A mistake in the syntax ends the reading; all others are collected.
    """
    reader = _Reader(file)
    try:
        value = reader.read(data)
    except _Unreadable as unreadable:
        return Document(file, None, {}, (*reader.problems, unreadable.problem))
    return Document(file, value, reader.places, tuple(reader.problems))


class _Unreadable(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


# security: characters that make a line read differently than it works (CVE-2021-42574), other controls, and what no XML can
# hold (XML 1.0 section 2.2): some of the config is said in SAML documents.
_UNSEEN = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
    "\ufeff\ufffe\uffff]"
)
_UNSEEN_ADVICE = "has an invisible control character; remove it"


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.places: dict[KeyPath, tuple[int, int]] = {}

    def read(self, data: bytes) -> Any:
        text = self._text(data)
        loader = yaml.CSafeLoader(text)
        try:
            return self._document(loader)
        except yaml.YAMLError as error:
            raise _Unreadable(self._syntax(error)) from None
        finally:
            loader.dispose()

    def _text(self, data: bytes) -> str:
        if len(data) > MAX_BYTES:
            raise self._unreadable(
                None, f"is larger than {MAX_BYTES // 1024 // 1024} MiB; split it or remove what is not config"
            )
        try:
            text = data.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise self._unreadable(line, "is not UTF-8; save the file as UTF-8") from None
        for char, advice in (
            ("\t", "has a tab; use spaces (and \\t inside double quotes for a tab in a text)"),
            (
                match[0] if (match := _UNSEEN.search(text)) else None,
                _UNSEEN_ADVICE,
            ),
        ):
            if char is not None and (at := text.find(char)) >= 0:
                raise self._unreadable(text.count("\n", 0, at) + 1, advice)
        return text

    def _document(self, loader: Any) -> Any:
        loader.get_event()
        start = loader.get_event()
        if not isinstance(start, yaml.DocumentStartEvent):
            raise self._unreadable(None, "is empty; start from config/stafett.example.yaml")
        if start.version or start.tags:
            self._add(start, (), "directives (%YAML, %TAG) are not used here; remove the line")
        self.places[()] = (1, 1)
        value = self._node(loader, loader.get_event(), (), 0)
        loader.get_event()
        if not isinstance(after := loader.get_event(), yaml.StreamEndEvent):
            raise self._unreadable(
                after.start_mark.line + 1, "a second document starts here; one file holds one (remove ---)"
            )
        return value

    def _node(self, loader: Any, event: Any, path: KeyPath, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self._unreadable(event.start_mark.line + 1, f"is nested deeper than {MAX_DEPTH} levels", path)
        if isinstance(event, yaml.AliasEvent):
            return self._add(event, path, "aliases (*name) are not allowed; write the value out")
        if event.anchor is not None:
            self._add(event, path, "anchors (&name) are not allowed; write the value out where it is used")
        if event.tag is not None:
            self._add(event, path, "tags (!name) are not allowed; remove it, and quote the value if it is text")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(loader, path, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(loader, path, depth)
        return self._scalar(event, path)

    def _mapping(self, loader: Any, path: KeyPath, depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        while not isinstance(event := loader.get_event(), yaml.MappingEndEvent):
            key = self._key(loader, event, path, depth)
            here = (*path, key)
            if key in value:
                first = self.places[here][0]
                self._add(event, here, f"is given twice (first on line {first}); keep one")
                here = (*path, f"{key} (again)")
            self.places[here] = (event.start_mark.line + 1, event.start_mark.column + 1)
            item = self._node(loader, loader.get_event(), here, depth + 1)
            value.setdefault(key, item)
        return value

    def _key(self, loader: Any, event: Any, path: KeyPath, depth: int) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._node(loader, event, path, depth + 1)
            self._add(event, path, "a key must be a word; aliases, lists and mappings cannot be keys")
            return "?"
        text: str = event.value
        if event.style == '"' and _UNSEEN.search(text):
            self._add(event, path, f"one of its keys {_UNSEEN_ADVICE}")
            text = _UNSEEN.sub("?", text)
        if event.anchor is not None or event.tag is not None:
            self._add(event, (*path, text), "anchors (&name) and tags (!name) are not allowed on keys")
        elif not event.style and text == "<<":
            self._add(event, (*path, text), "merge keys (<<) are not allowed; write the keys out")
        elif not event.style and not isinstance(_plain(text), str):
            self._add(event, (*path, text), f'is not read as text by every program; quote the key: "{text}"')
        return text

    def _sequence(self, loader: Any, path: KeyPath, depth: int) -> list[Any]:
        value: list[Any] = []
        while not isinstance(event := loader.get_event(), yaml.SequenceEndEvent):
            here = (*path, len(value))
            self.places[here] = (event.start_mark.line + 1, event.start_mark.column + 1)
            value.append(self._node(loader, event, here, depth + 1))
        return value

    def _scalar(self, event: Any, path: KeyPath) -> Any:
        if event.style:
            # Only double quotes have escapes, and so can hold what the text of the file could not.
            hidden = event.style == '"' and _UNSEEN.search(event.value)
            return self._add(event, path, _UNSEEN_ADVICE) if hidden else event.value
        value = _plain(event.value)
        return self._add(event, path, value.advice) if isinstance(value, _Odd) else value

    def _add(self, event: Any, path: KeyPath, advice: str) -> None:
        self.problems.append(Problem(self.file, event.start_mark.line + 1, dotted(path), advice))

    def _unreadable(self, line: int | None, advice: str, path: KeyPath = ()) -> _Unreadable:
        return _Unreadable(Problem(self.file, line, dotted(path), advice))

    def _syntax(self, error: yaml.YAMLError) -> Problem:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        advice = next(
            (advice for words, advice in _SYNTAX_ADVICE if words in what), "check indentation and quotes here"
        )
        return Problem(self.file, mark.line + 1 if mark else None, "", f"not valid YAML ({what}); {advice}")


# libyaml's words -> what the operator most probably did.
_SYNTAX_ADVICE = (
    (
        "mapping values are not allowed",
        "quote a value that has a colon and a space in it, or check the indentation",
    ),
    ("cannot start any token", "quote a value that starts with @, `, % or another special character"),
    ("did not find expected key", "check the indentation: keys of one block start in the same column"),
    ("could not find expected ':'", "a key needs a colon and a space after it"),
    ("unexpected end of stream", "a quote or bracket is not closed"),
    ("undefined alias", "aliases (*name) are not allowed; quote a value that starts with *"),
)


@dataclass(frozen=True, slots=True)
class _Odd:
    """A plain scalar that is refused."""

    advice: str


_INT = re.compile(r"0|-?[1-9][0-9]{0,17}")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]{0,14})\.[0-9]{1,15}")
_NULLS = {"", "~", "null"}
_LIKE_BOOL = {"true", "false", "yes", "no", "on", "off", "y", "n"}
_ODD = (
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"), "YAML 1.1 reads it as a number in base 60"),
    (re.compile(r"[-+]?0[0-9_]+"), "a leading zero means octal to YAML 1.1"),
    (re.compile(r"[-+]?0[xob][0-9A-Fa-f_]+"), "it is a number in another base"),
    (
        re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?"),
        "YAML 1.1 reads it as a number with its underscores removed",
    ),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"), "YAML 1.1 reads it as a date"),
    (
        re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"),
        "it can be read as a number and would change its looks",
    ),
    (re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE), "it is a number that is none"),
    (re.compile(r"="), "it has a meaning of its own in YAML 1.1"),
)


def _plain(text: str) -> str | int | float | bool | _Odd:
    """The value of a plain scalar under YAML 1.2's core schema, or why it is refused."""
    first = text[:1]
    if not (first.isdigit() or first in "+-.=~" or len(text) <= 5):
        return text
    if text in {"true", "false"}:
        return text == "true"
    if text.lower() in _NULLS:
        return _Odd('has no value; give one, or leave the key out ("" for an empty text)')
    if text.lower() in _LIKE_BOOL:
        return _Odd(f'write true or false, or quote it if it is text: "{text}"')
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and repr(float(text)) == text:
        return float(text)
    for pattern, why in _ODD:
        if pattern.fullmatch(text):
            return _Odd(f"quote it if it is text, or write a plain decimal number: {why}")
    return text
