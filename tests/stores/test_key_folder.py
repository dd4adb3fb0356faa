"""The file of signing keys: sealed, whole, shared by processes, and clear about what is wrong with it."""

import base64
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.core.keys import KeyBook, KeyRecord, KeyTimes, begun
from broker.errors import ConfigError, Denied
from broker.stores.key_folder import FILE, GivenKeys, KeyFolder
from broker.wire.signing_keys import ALGS, new_key

NOW = datetime(2027, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TIMES = KeyTimes(cached=DAY, longest=DAY, session=DAY, spread=DAY)
SECRET, OTHER = b"s" * 32, b"o" * 32


@pytest.fixture(scope="module")
def book() -> KeyBook:
    return begun(KeyBook(), ALGS, new_key, TIMES, NOW)


@pytest.fixture
def folder(tmp_path: Path, book: KeyBook) -> Path:
    """With a book in it."""
    KeyFolder(tmp_path / "keys", [SECRET]).change(lambda _: book)
    return tmp_path / "keys"


def one(number: int) -> KeyRecord:
    return KeyRecord(kid=f"key-{number}", alg="ES256", public={}, private=None)


def test_what_was_written_is_read(folder: Path, book: KeyBook) -> None:
    """By any process with the secret."""
    assert KeyFolder(folder, [SECRET]).read() == book


def test_nothing_yet(tmp_path: Path) -> None:
    """Is no mistake, and reading makes nothing."""
    assert KeyFolder(tmp_path / "keys", [SECRET]).read() is None
    assert not (tmp_path / "keys").exists()


def test_no_key_is_readable_on_the_disk(folder: Path, book: KeyBook) -> None:
    """Neither PEM nor its base64 nor a public number; every file is this user's alone."""
    content = b"".join(file.read_bytes() for file in folder.iterdir())
    plain = base64.b64decode((folder / FILE).read_bytes().splitlines()[1])
    for key in book.keys:
        assert key.private is not None
        body = key.private.splitlines()[1]
        assert body.encode() not in content + plain
        assert key.kid.encode() not in content + plain
    assert b"PRIVATE" not in content + plain
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_secret_can_change(folder: Path, book: KeyBook) -> None:
    """A previous one opens; the next change seals with the current one."""
    both = KeyFolder(folder, [OTHER, SECRET])
    assert both.read() == book
    both.change(lambda before: before.put(one(1)))
    assert KeyFolder(folder, [OTHER]).read() is not None
    with pytest.raises(ConfigError):
        KeyFolder(folder, [SECRET]).read()


def test_another_secret_is_told(folder: Path) -> None:
    """With file and key of the config, and what to do."""
    with pytest.raises(ConfigError) as refused:
        KeyFolder(folder, [OTHER]).read()
    assert refused.value.detail == (
        f"broker.keys.folder: {folder / FILE} is sealed with another secret; give that one as broker.keys.secret or in"
        " previous_secrets"
    )


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda content: b"", "is no file of signing keys"),
        (lambda content: b"\n", "is no file of signing keys"),
        (lambda content: b"-----BEGIN PRIVATE KEY-----\n", "is no file of signing keys"),
        (lambda content: content[:30], "is no file of signing keys"),
        (lambda content: content + b"x" * 1024 * 1024, "is no file of signing keys"),
        (lambda content: content[: len(content) // 2], "is cut short or was changed"),
        (lambda content: content[:-1], "is cut short or was changed"),
        (lambda content: content[:-20] + b"AAAA" + content[-16:], "is cut short or was changed"),
        (lambda content: content.replace(b"\n", b"\n!", 1), "is cut short or was changed"),
        (lambda content: content.splitlines()[0] + b"\n\n", "is sealed with another secret"),
        (lambda content: content + b"another line\n", "is cut short or was changed"),
    ],
    ids=["empty", "newline", "pem", "head", "huge", "half", "newline-lost", "bits", "no-base64", "no-body", "more"],
)
def test_a_damaged_file_is_told(folder: Path, spoil: object, sentence: str) -> None:
    """Which file and what to do; never an exception of some library, never a new key in its place."""
    file = folder / FILE
    file.write_bytes(spoil(file.read_bytes()))  # type: ignore[operator]
    before = file.read_bytes()
    for act in (
        KeyFolder(folder, [SECRET]).read,
        lambda: KeyFolder(folder, [SECRET]).change(lambda book: book.put(one(1))),
    ):
        with pytest.raises(ConfigError) as refused:
            act()
        assert f"{file} {sentence}" in refused.value.detail
    assert file.read_bytes() == before


def test_every_single_bit_counts(folder: Path) -> None:
    """The seal authenticates the whole book, times included."""
    file = folder / FILE
    head, body = file.read_bytes().splitlines()
    sealed = base64.b64decode(body)
    for place in range(0, len(sealed), 97):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        file.write_bytes(head + b"\n" + base64.b64encode(changed) + b"\n")
        with pytest.raises(ConfigError):
            KeyFolder(folder, [SECRET]).read()


def test_a_file_of_a_later_version_is_told(folder: Path) -> None:
    """Rather than read in part and written back without the rest."""
    store = KeyFolder(folder, [SECRET])
    sealed = store._sealer.seal(b'{"version": 2, "keys": []}', "book")
    head = (folder / FILE).read_bytes().splitlines()[0]
    (folder / FILE).write_bytes(head + b"\n" + base64.b64encode(sealed) + b"\n")
    with pytest.raises(ConfigError, match="written by a later version"):
        store.read()


def test_a_change_that_fails_changes_nothing(folder: Path, book: KeyBook) -> None:
    """Neither the file nor its folder."""
    store = KeyFolder(folder, [SECRET])
    before, names = store.mark(), sorted(os.listdir(folder))

    def refuse(_: KeyBook) -> KeyBook:
        raise Denied("no")

    with pytest.raises(Denied):
        store.change(refuse)
    assert (store.mark(), sorted(os.listdir(folder)), store.read()) == (before, names, book)


def test_a_change_to_the_same_writes_nothing(folder: Path) -> None:
    """So that many processes that look after the same file do not wake each other."""
    store = KeyFolder(folder, [SECRET])
    before = store.mark()
    store.change(lambda book: book)
    assert store.mark() == before


def test_a_change_is_noticed(folder: Path) -> None:
    """Another file is another mark, and so is none."""
    store = KeyFolder(folder, [SECRET])
    before = store.mark()
    KeyFolder(folder, [SECRET]).change(lambda book: book.put(one(1)))
    assert store.mark() != before
    (folder / FILE).unlink()
    assert store.mark() != before


def test_what_a_dying_process_left_disturbs_nobody(folder: Path, book: KeyBook) -> None:
    """Half a file under another name is never read."""
    (folder / f".{FILE}.123.abcd").write_bytes(b"half")
    assert KeyFolder(folder, [SECRET]).read() == book
    KeyFolder(folder, [SECRET]).change(lambda before: before.put(one(1)))


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    """A file in its place."""
    (tmp_path / "keys").write_text("in the way")
    with pytest.raises(ConfigError, match=r"broker\.keys\.folder: .* cannot be written"):
        KeyFolder(tmp_path / "keys", [SECRET]).change(lambda book: book.put(one(1)))


def test_no_change_is_lost_among_many(folder: Path) -> None:
    """One at a time, in threads."""
    stores = [KeyFolder(folder, [SECRET]) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: pair[1].change(lambda book: book.put(one(pair[0]))), enumerate(stores)))
    found = KeyFolder(folder, [SECRET]).read()
    assert found is not None
    assert {f"key-{number}" for number in range(8)} <= {key.kid for key in found.keys}


_PROCESS = """
import sys
from pathlib import Path
from broker.core.keys import KeyRecord
from broker.stores.key_folder import KeyFolder
store = KeyFolder(Path(sys.argv[1]), [b"s" * 32])
for number in range(10):
    key = KeyRecord(kid=f"{sys.argv[2]}-{number}", alg="ES256", public={}, private=None)
    store.change(lambda book: book.put(key))
    assert store.read() is not None
"""


def test_no_change_is_lost_between_processes(folder: Path) -> None:
    """The lock is the file system's, and a reader never meets half a file."""
    running = [subprocess.Popen([sys.executable, "-c", _PROCESS, str(folder), name]) for name in ("a", "b", "c")]
    try:
        assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    finally:
        for process in running:
            process.kill()
    found = KeyFolder(folder, [SECRET]).read()
    assert found is not None
    assert len(found.keys) == 32


def test_given_keys_are_changed_in_the_config(book: KeyBook) -> None:
    """Not by a command."""
    given = GivenKeys(book)
    assert (given.read(), given.mark(), given.is_writable) == (book, given.mark(), False)
    with pytest.raises(Denied, match=r"named under broker\.keys\.signing and next"):
        given.change(lambda before: before)
