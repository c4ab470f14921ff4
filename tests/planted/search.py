"""The part of a hunt that runs the simulation: ``python -m tests.planted.search FIRST SECONDS [SEEDS]``.

It runs scenarios in its tree, seed after seed from the first one on, or those that a file lists as JSON, until one
fails or its CPU time is used up, and writes one line of JSON: the number of scenarios, their CPU seconds, the last seed
and, if one failed, its seed, steps and error message.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

from tests.simulation.scenario import run_scenario

#: CPU seconds after which a scenario counts as endless; the longest of correct code takes a few.
ENDLESS = 45.0


def steps_of(seed: int) -> int:
    """The number of steps of a seed's scenario."""
    return 40 if seed % 2 else 25


def run(seed: int) -> None:
    """Run a seed's scenario."""
    run_scenario(seed, steps_of(seed), leaks=seed % 3 == 0)


def print_fields(**found: Any) -> None:
    """Write the result to the original standard output, which a scenario may have replaced."""
    os.write(1, (json.dumps(found) + "\n").encode())


def main(seeds: Iterable[int], seconds: float) -> None:
    """Run scenarios of these seeds."""
    seed = ran = 0
    # without what the imports took
    began = time.process_time()

    def report_end(words: str | None = None) -> None:
        found = {} if words is None else {"seed": seed, "steps": steps_of(seed), "words": words}
        print_fields(ran=ran, cpu=time.process_time() - began, last=seed, **found)

    def endless(*_: Any) -> None:
        # not an exception, which the code under test would catch
        report_end(f"a scenario has not ended after {ENDLESS:.0f} s")
        os._exit(0)

    signal.signal(signal.SIGPROF, endless)
    for seed in seeds:
        ran += 1
        signal.setitimer(signal.ITIMER_PROF, ENDLESS)
        try:
            run(seed)
        except Exception as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            report_end(f"{type(error).__name__}: {error}")
            return
        if time.process_time() - began >= seconds:
            break
    report_end()


if __name__ == "__main__":
    first, spend, *listed = sys.argv[1:]
    main(json.loads(Path(listed[0]).read_text(encoding="utf-8")) if listed else count(int(first)), float(spend))
