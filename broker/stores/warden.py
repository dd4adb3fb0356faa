"""
Runs a command for as long as standard input stays open: ``python -I -S warden.py COMMAND...``

The broker holds the other end of that pipe. However it ends, even by ``kill -9``, the pipe closes and the
command is ended. A pipe works on every Unix and from every thread, where Linux's parent-death signal does
neither; and as the warden is the command's parent, it can never hit another process that got the same
number.

Uses the standard library only, so that it starts in a few milliseconds and weighs little.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

PATIENCE_S = 10.0
"""How long the command may take to write its data and leave before it is killed."""


def main(command: Sequence[str]) -> int:
    """Returns the command's exit code."""
    # Inheritable descriptors are passed on: the lock on the data folder is to live as long as the server
    # does.
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)  # noqa: S603
    signal.signal(signal.SIGTERM, lambda _number, _frame: server.terminate())
    threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
    return server.wait()


def _end_with_input(server: subprocess.Popen[bytes]) -> None:
    # Nothing is ever written to this pipe. Not sys.stdin: leaving while a thread waits in it aborts Python.
    os.read(0, 1)
    server.terminate()
    try:
        server.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        server.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
