"""
Secrets and files by reference: ``env:NAME`` and ``file:PATH``, the path relative to the config file.

Nothing here puts a secret into a problem, a log or a repr.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 64 * 1024


class Unresolved(Exception):
    """A reference that leads nowhere; the text says what to do."""


@dataclass(frozen=True, slots=True)
class References:
    """
    Where references lead.

    ``folder``: the config file's folder. ``environment``: usually `os.environ`.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def path(self, name: str) -> Path:
        """The file *name* stands for."""
        return (self.folder / name).absolute()

    def secret(self, reference: str) -> str:
        """
        What *reference* points at, without the newline at the end of a file.

        Raises:
            Unresolved: unset, missing, unreadable, empty, too large or not text.
        """
        scheme, _, name = reference.partition(":")
        value = self._variable(name) if scheme == "env" else self.text(name).rstrip("\r\n")
        if not value.strip():
            raise Unresolved(f"{reference} is empty; put the secret there")
        return value

    def text(self, name: str) -> str:
        """
        The text of the file *name*.

        Raises:
            Unresolved: missing, unreadable, too large or not UTF-8.
        """
        try:
            return self.bytes(name).decode("utf-8")
        except UnicodeDecodeError:
            raise Unresolved(f"{name} is not UTF-8 text") from None

    def bytes(self, name: str) -> bytes:
        """The bytes of the file *name*. Raises: `Unresolved`, as `text`."""
        try:
            with self.path(name).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise Unresolved(f"the file {self.path(name)} does not exist; create it or correct the path") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a file name"
            raise Unresolved(f"the file {self.path(name)} cannot be read ({reason})") from None
        if len(data) > MAX_BYTES:
            raise Unresolved(f"the file {self.path(name)} is larger than {MAX_BYTES // 1024} KiB; is it the right one?")
        return data

    def is_open_to_all(self, reference: str) -> bool:
        """Whether every user of the machine may read the file behind *reference*."""
        scheme, _, name = reference.partition(":")
        if scheme != "file":
            return False
        try:
            return bool(self.path(name).stat().st_mode & stat.S_IROTH)
        except (OSError, ValueError):
            return False

    def _variable(self, name: str) -> str:
        if name not in self.environment:
            raise Unresolved(f"the environment variable {name} is not set; set it where the broker is started")
        return self.environment[name]
