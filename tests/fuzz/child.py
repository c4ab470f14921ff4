"""Fuzzes one target with atheris, in a process of its own, since libFuzzer ends its process.

    python -m tests.fuzz.child NAME SECONDS [libFuzzer's options and folders]

``python -m tests.fuzz`` starts it. It ends after so many seconds of CPU time, those of its start not counted.
Instrumented are the gateway and those second implementations that are written in Python: an input that leads one of the
two elsewhere is as interesting as one that leads the other.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

INSTRUMENTED = ["icwsgw", "h11", "wsproto", "proxyprotocol", "hyperlink"]


def main() -> None:
    """Run the command."""
    import atheris

    fuzzer: Any = atheris
    with fuzzer.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.targets import one

        name, seconds, *options = sys.argv[1:]
        target = one(name)
    fuzzer.Setup([sys.argv[0], "-handle_usr1=1", *options], target.run)
    # libFuzzer has its own limit of time, but that is of the clock on the wall
    signal.signal(signal.SIGPROF, lambda number, frame: os.kill(os.getpid(), signal.SIGUSR1))
    signal.setitimer(signal.ITIMER_PROF, float(seconds))
    fuzzer.Fuzz()


if __name__ == "__main__":
    main()
