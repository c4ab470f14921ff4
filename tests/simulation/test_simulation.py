"""Thousands of short scenarios, each from its seed; a failure names the seed to run again by hand.

``ICWS_SIM_RUNS`` says how many, ``ICWS_SIM_SEED`` with which seed to begin, ``ICWS_SIM_STEPS`` how long each is. Each
version of Python has its own seeds, so that a run of the tests on all of them covers four times as many.
"""

from __future__ import annotations

import os
import sys

import pytest

from tests.simulation.scenario import run_scenario
from tests.simulation.truth import Violation

RUNS = int(os.environ.get("ICWS_SIM_RUNS", "1000"))
FIRST = int(os.environ.get("ICWS_SIM_SEED", str(sys.version_info.minor * 10_000)))
STEPS = int(os.environ.get("ICWS_SIM_STEPS", "25"))
BLOCK = 25


@pytest.mark.parametrize("first", range(FIRST, FIRST + RUNS, BLOCK))
def test_scenarios(first: int) -> None:
    for seed in range(first, min(first + BLOCK, FIRST + RUNS)):
        try:
            run_scenario(seed, STEPS, leaks=seed % 25 == 0)
        except Exception as error:
            words = f"{error if isinstance(error, Violation) else repr(error)}"
            pytest.fail(f"{words}\nrun again: python -m tests.simulation --seed {seed} --steps {STEPS}", pytrace=False)


#: (seed, steps) of scenarios that have found something; what it was has its own tests in tests/memory.
FOUND = [(58, 40), (94, 40), (122, 40), (178, 40), (266, 40), (275, 40), (452, 25), (523, 25), (1352, 40), (1433, 40)]
FOUND += [(201631, 25), (130406, 25), (501401, 25)]


@pytest.mark.parametrize(("seed", "steps"), FOUND)
def test_found_before(seed: int, steps: int) -> None:
    run_scenario(seed, steps)


def test_a_seed_gives_the_same_run_each_time() -> None:
    def trace(seed: int) -> list[tuple[float, str]]:
        truth = run_scenario(seed, 40).world.truth
        # session ids begin with some random digits
        return [(at, text.partition("-")[2] or text) for at, text in truth.trace]

    for seed in (3, 4, 5, 6):
        assert trace(seed) == trace(seed)
