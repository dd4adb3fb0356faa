"""
What ``stafett check-config`` says about a file.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.config.document import Problem
from broker.config.load import AcceptedRisk, Loaded, Refused, load
from broker.upstream.registry import KINDS, Kind


@dataclass(frozen=True, slots=True)
class Report:
    """
    The verdict on one file, and its rendering.

    ``found``: the problems; without any, ``loaded`` is there. ``exit_code``: 0 when the broker would start with it, else 1.
    """

    path: Path
    found: tuple[Problem, ...] = ()
    loaded: Loaded | None = None
    kinds: Mapping[str, Kind] = field(default_factory=lambda: KINDS)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, as sentences."""
        return tuple(str(problem) for problem in self.found)

    @property
    def exit_code(self) -> int:
        return 1 if self.found else 0

    def text(self) -> str:
        """Plain lines for a terminal or a CI log: problems, warnings, accepted risks, what presets came to, then the verdict."""
        warnings = self.loaded.warnings if self.loaded else ()
        risks = self.loaded.accepted_risks if self.loaded else ()
        return "\n".join(
            [
                *self.problems,
                *(f"warning: {warning}" for warning in warnings),
                *(str(risk) for risk in risks),
                *(f"{key}: {_shown(value)} ({source})" for key, value, source in self._presets()),
                self._verdict(),
            ]
        )

    def json(self) -> str:
        """
        One JSON object for machines (docs/configuration.md).

        Members: ``file``; ``good``, whether the broker would start with it; ``mode`` and ``version`` of a good file, else
        null; ``problems`` and ``warnings``, each with ``file``, ``line`` (from 1; null: the whole file), ``key``,
        ``message``; ``presets``, each key that a preset speaks of with ``key``, ``value`` and ``from`` (``preset`` or
        ``file``); ``accepted_risks``, each with ``risk``, ``key``, ``message``.
        """
        loaded = self.loaded
        content: dict[str, Any] = {
            "file": str(self.path),
            "good": loaded is not None,
            "mode": loaded.policy.config.mode.value if loaded else None,
            "version": loaded.policy.version if loaded else None,
            "problems": [_told(problem) for problem in self.found],
            "warnings": [_told(warning) for warning in loaded.warned] if loaded else [],
            "presets": [
                {"key": key, "value": value, "from": "file" if source == "this file" else "preset"}
                for key, value, source in self._presets()
            ],
            "accepted_risks": [_lifted(risk) for risk in loaded.accepted_risks] if loaded else [],
        }
        return json.dumps(content, indent=2, ensure_ascii=False)

    def _presets(self) -> Iterator[tuple[str, Any, str]]:
        """Every key that a preset speaks of, what it came to, and who says so."""
        if self.loaded is None:
            return
        upstreams = self.loaded.policy.config.upstreams
        for name, connect in self.loaded.connectors.items():
            for each in self.kinds[upstreams[name].kind].settled(connect):
                yield f"upstreams.{name}.connect.{each.key}", each.value, each.source

    def _verdict(self) -> str:
        if self.loaded is None:
            return f"{self.path}: {_count(len(self.found), 'problem')}; the broker will not start with this file"
        config, policy = self.loaded.policy.config, self.loaded.policy
        content = ", ".join(
            _count(len(things), word)
            for things, word in (
                (config.upstreams, "upstream"),
                (config.partners, "partner"),
                (config.payload_types, "payload type"),
                (config.agreements, "agreement"),
            )
        )
        return f"{self.path}: good ({config.mode}, version {policy.version}; {content})"


def check_file(
    path: Path | str, *, environment: Mapping[str, str] | None = None, kinds: Mapping[str, Kind] = KINDS
) -> Report:
    """Read and check the config at *path* as `load` does, secrets included, and report instead of raising."""
    try:
        loaded = load(path, environment=environment, kinds=kinds)
    except Refused as error:
        return Report(Path(path), error.found)
    return Report(Path(path), loaded=loaded, kinds=kinds)


def _told(problem: Problem) -> dict[str, str | int | None]:
    return {"file": problem.file, "line": problem.line, "key": problem.key, "message": problem.advice}


def _lifted(risk: AcceptedRisk) -> dict[str, str]:
    return {"risk": risk.risk.value, "key": risk.key, "message": risk.advice}


def _shown(value: Any) -> str:
    """As it may stand in the YAML: text plainly, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
