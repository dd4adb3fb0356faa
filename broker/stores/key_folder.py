"""
Where the broker keeps its signing keys: one file in a folder that all its processes share, or what the config gave.

The file is text: a line that says what it is, and one that is the book, sealed with the broker's secret. Whoever can read it
reads no key, and whoever can write it forges none; what it can do is bring back an older file.
"""

import base64
import binascii
import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from broker.core.keys import KeyBook
from broker.errors import ConfigError, Denied
from broker.stores.sealing import Broken, Sealer, UnknownKey

FILE = "signing-keys"
_FIRST_LINE = b"stafett signing keys, sealed; see docs/keys.md\n"
_PLACE = "book"
_MAX_BYTES = 1024 * 1024


class KeyFolder:
    """
    Signing keys in *folder*, sealed with the first of *secrets_*; any of them opens.

    Errors are `ConfigError`, one sentence that names the file and what to do; files that are away are `OSError` where the
    folder itself cannot be used.
    """

    def __init__(self, folder: Path, secrets_: Sequence[bytes]) -> None:
        self._folder = folder
        self._file = folder / FILE
        self._sealer = Sealer(secrets_, "signing-keys")

    def read(self) -> KeyBook | None:
        """
        What is there now; None when there is nothing yet.

        Raises: ConfigError for a file that is cut, changed, or sealed with another secret.
        """
        try:
            with self._file.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._problem(f"cannot be read ({error.strerror})") from None
        return self._opened(content)

    def mark(self) -> object:
        """Something that is another when the file is another; cheap."""
        try:
            found = self._file.stat()
        except OSError as error:
            return error.errno
        return (found.st_mtime_ns, found.st_ino, found.st_size)

    @property
    def is_writable(self) -> bool:
        """Whether this process may change what is there; a mounted secret is for reading only."""
        return os.access(self._folder, os.W_OK)

    def change(self, edit: Callable[[KeyBook], KeyBook]) -> KeyBook:
        """
        Replace what is there by what *edit* makes of it, one process at a time. Returns: what is there now.

        Readers see the old file or the new one, never a part. What *edit* raises changes nothing.
        """
        try:
            with self._locked():
                before = self.read() or KeyBook()
                after = edit(before)
                if after != before:
                    self._write(after)
                return after
        except OSError as error:
            raise self._problem(f"cannot be written ({error.strerror})") from None

    def _opened(self, content: bytes) -> KeyBook:
        head, _, rest = content.partition(b"\n")
        if head + b"\n" != _FIRST_LINE or len(content) > _MAX_BYTES:
            raise self._problem("is no file of signing keys; move it away, or restore it from a backup")
        try:
            if not rest.endswith(b"\n"):
                raise ValueError("cut")
            plain = self._sealer.open(base64.b64decode(rest.strip(), validate=True), _PLACE)
        except UnknownKey:
            raise self._problem(
                "is sealed with another secret; give that one as broker.keys.secret or in previous_secrets"
            ) from None
        except (Broken, binascii.Error, ValueError):
            raise self._problem("is cut short or was changed; restore it from a backup") from None
        try:
            return KeyBook.model_validate_json(plain)
        except ValidationError:
            raise self._problem("was written by a later version; run that one, or restore a backup") from None

    def _write(self, book: KeyBook) -> None:
        sealed = base64.b64encode(self._sealer.seal(book.model_dump_json().encode(), _PLACE))
        fresh = self._file.with_name(f".{FILE}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_FIRST_LINE + sealed + b"\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._file)
        finally:
            fresh.unlink(missing_ok=True)
        self._settle()

    def _settle(self) -> None:
        """The new name, too, survives a power cut; where folders cannot be synced, nothing more can be done."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / f".{FILE}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _problem(self, advice: str) -> ConfigError:
        return ConfigError((f"broker.keys.folder: {self._file} {advice}",))


class GivenKeys:
    """The keys an operator named in the config: they change when the config does."""

    is_writable = False

    def __init__(self, book: KeyBook) -> None:
        self._book = book

    def read(self) -> KeyBook:
        """Them."""
        return self._book

    def mark(self) -> object:
        """Never another."""
        return None

    def change(self, edit: Callable[[KeyBook], KeyBook]) -> KeyBook:
        """Raises Denied."""
        raise Denied(
            "the keys are those named under broker.keys.signing and next, and changed there; stafett keys looks after a"
            " broker.keys.folder",
            code="keys.given",
        )
