"""Run one scenario again, or many until one fails: ``python -m tests.simulation --seed N --steps M [--runs R]``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.simulation.scenario import Scenario, run_scenario
from tests.simulation.truth import Violation


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--runs", type=int, default=1, help="so many seeds, from this one on")
    parser.add_argument("--keep-going", action="store_true", help="list all seeds that fail")
    options = parser.parse_args()
    started, failed = time.process_time(), 0
    for seed in range(options.seed, options.seed + options.runs):
        try:
            scenario = run_scenario(seed, options.steps, leaks=seed % 20 == 0)
        except Violation as error:
            failed += 1
            if options.keep_going:
                print(error, flush=True)
                continue
            show(error.scenario if hasattr(error, "scenario") else None)
            print(error)
            return 1
        except Exception:
            traceback.print_exc()
            print(f"seed {seed} broke the simulation")
            return 2
        if options.runs == 1:
            show(scenario)
    print(f"{options.runs} scenarios, {failed} failed, {time.process_time() - started:.1f} s of CPU")
    return int(failed > 0)


def show(scenario: Scenario | None) -> None:
    if scenario is not None:
        print(scenario.world.plan)
        for at, text in scenario.world.truth.trace:
            print(f"{at:9.3f}  {text}")


if __name__ == "__main__":
    sys.exit(main())
