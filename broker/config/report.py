"""
What ``stafett check-config`` says about a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.config.load import AcceptedRisk, Loaded, load
from broker.errors import ConfigError
from broker.upstream.registry import KINDS, Kind


@dataclass(frozen=True, slots=True)
class Report:
    """
    The verdict on one file, and its rendering.

    ``loaded`` is None when there are ``problems``. ``exit_code``: 0 when the broker would start with it, else 1.
    """

    path: Path
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    accepted_risks: tuple[AcceptedRisk, ...] = ()
    loaded: Loaded | None = None

    @property
    def exit_code(self) -> int:
        return 1 if self.problems else 0

    def text(self) -> str:
        """Plain lines for a terminal or a CI log: problems, warnings, accepted risks, then one line of verdict."""
        return "\n".join(
            [
                *self.problems,
                *(f"warning: {warning}" for warning in self.warnings),
                *(str(risk) for risk in self.accepted_risks),
                self._verdict(),
            ]
        )

    def _verdict(self) -> str:
        if self.loaded is None:
            return f"{self.path}: {_count(len(self.problems), 'problem')}; the broker will not start with this file"
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
    except ConfigError as error:
        return Report(Path(path), problems=error.problems)
    return Report(Path(path), warnings=loaded.warnings, accepted_risks=loaded.accepted_risks, loaded=loaded)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
