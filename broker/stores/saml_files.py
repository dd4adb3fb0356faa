"""
SAML metadata in files: what operators pinned, and the last good copies of what was fetched.

Nothing here is believed for being on the disk: a copy is verified again whenever it is read.
"""

import contextlib
import json
import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import Final

from broker.core.saml_copies import Copy

_MAX_HEAD: Final = 4096


class PinnedFile:
    """A file that an operator put there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes:
        """Its octets. Raises: OSError."""
        return self._path.read_bytes()

    def mark(self) -> object:
        """Something that is another when the file is another; cheap."""
        try:
            found = self._path.stat()
        except OSError as error:
            return error.errno
        return (found.st_mtime_ns, found.st_ino, found.st_size)


class CopyFolder:
    """
    Copies in *folder*, each a file: a line of JSON about it, then the document as it came.

    Writers replace whole files, so that readers, also in other processes, see the old copy or the new one. ``limit``: how
    many there may be; the oldest go.
    """

    def __init__(self, folder: Path, *, limit: int = 2000) -> None:
        self._folder = folder
        self._limit = limit

    def load(self, name: str) -> Copy | None:
        """The copy called *name*; None when there is none, or none that can be read."""
        try:
            with self._file(name).open("rb") as file:
                head = json.loads(file.readline(_MAX_HEAD))
                return Copy(
                    file.read(), datetime.fromisoformat(head["fetched_at"]), head["etag"], head["last_modified"]
                )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, name: str, copy: Copy) -> None:
        """Keep *copy* as *name*. Raises: OSError."""
        head = {"fetched_at": copy.fetched_at.isoformat(), "etag": copy.etag, "last_modified": copy.last_modified}
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self._file(name)
        fresh = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with fresh.open("wb") as file:
                file.write(json.dumps(head).encode() + b"\n")
                file.write(copy.octets)
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
        self._thin_out()

    def drop(self, name: str) -> None:
        """Forget the copy called *name*."""
        with contextlib.suppress(OSError):
            self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.copy"

    def _thin_out(self) -> None:
        with contextlib.suppress(OSError):
            files = sorted(self._folder.glob("*.copy"), key=lambda each: each.stat().st_mtime)
            for old in files[: -self._limit]:
                old.unlink(missing_ok=True)
