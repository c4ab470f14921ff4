"""``python -m icwsgw.testing.child_program icws-devnet OPTIONS``: a program of twistd that ends with its starter.

It runs in the foreground, as ``twistd -n`` does, until its standard input ends. A test runner that is killed leaves no
process behind.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable


def end_with(descriptor: int, end: Callable[[], object]) -> threading.Thread:
    """Call ``end`` in a thread when what a descriptor reads from ends.

    :returns: the thread
    """

    def watch() -> None:
        # not by sys.stdin, whose lock this thread would hold when the interpreter ends: that aborts the process
        while os.read(descriptor, 4096):
            pass
        end()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def main() -> None:
    """Run twistd with the command line of this process."""
    from twisted.scripts.twistd import run

    end_with(sys.stdin.fileno(), lambda: os.kill(os.getpid(), signal.SIGTERM))
    sys.argv[:] = ["twistd", "--nodaemon", "--pidfile=", *sys.argv[1:]]
    run()


if __name__ == "__main__":
    main()
