"""Fuzzes one target with atheris, in a separate process, because libFuzzer ends its process.

    python -m tests.fuzz.child NAME SECONDS [libFuzzer's options and folders]

``python -m tests.fuzz`` starts it. It ends after SECONDS of CPU time, not counting its start. The gateway and
the second implementations in Python are instrumented: new coverage in either makes an input interesting.
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
    # libFuzzer's own time limit counts real time
    signal.signal(signal.SIGPROF, lambda number, frame: os.kill(os.getpid(), signal.SIGUSR1))
    signal.setitimer(signal.ITIMER_PROF, float(seconds))
    fuzzer.Fuzz()


if __name__ == "__main__":
    main()
