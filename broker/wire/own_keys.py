"""
The secret that development makes for itself, once, so that a restart keeps sessions and subjects. Production gets its
own by reference.
"""

import os
import secrets
from pathlib import Path


def own_secret(folder: Path) -> bytes:
    """
    32 random bytes kept in *folder*, made now if they are not there yet; readable by this user only.

    Several processes may do this at once: the first to finish the file wins, the others read it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "secret"
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another process was first; its file is read below
        finally:
            fresh.unlink()
    return path.read_bytes()
