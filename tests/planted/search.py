"""The simulation's part of a hunt, in a process of its own: ``python -m tests.planted.search FIRST SECONDS``.

It runs scenarios in the tree that it stands in, seed after seed, until one fails or its CPU time is used up, and writes
one line of JSON: how many it has run, the CPU seconds they took and, where one failed, its seed, steps and words.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from tests.simulation.scenario import run_scenario

#: CPU seconds after which a scenario counts as one that never ends; the longest of clean code takes a few.
ENDLESS = 45.0


def steps_of(seed: int) -> int:
    """How long a seed's scenario is."""
    return 40 if seed % 2 else 25


def run(seed: int) -> None:
    """Run a seed's scenario."""
    run_scenario(seed, steps_of(seed), leaks=seed % 3 == 0)


def tell(**found: Any) -> None:
    """Write the result, past whatever a scenario has put in the place of the standard output."""
    os.write(1, (json.dumps(found) + "\n").encode())


def main(first: int, seconds: float) -> None:
    seed = first
    # without what the imports took
    began = time.process_time()

    def endless(*_: Any) -> None:
        # not an exception, which the code under test would catch
        words = f"a scenario has not ended after {ENDLESS:.0f} s"
        tell(ran=seed - first + 1, cpu=time.process_time() - began, seed=seed, steps=steps_of(seed), words=words)
        os._exit(0)

    signal.signal(signal.SIGPROF, endless)
    while time.process_time() - began < seconds:
        signal.setitimer(signal.ITIMER_PROF, ENDLESS)
        try:
            run(seed)
        except Exception as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            words = f"{type(error).__name__}: {error}"
            tell(ran=seed - first + 1, cpu=time.process_time() - began, seed=seed, steps=steps_of(seed), words=words)
            return
        seed += 1
    tell(ran=seed - first, cpu=time.process_time() - began)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
