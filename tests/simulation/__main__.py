"""Run one scenario again, or many until one fails: ``python -m tests.simulation --seed N --steps M [--runs R]``.

With ``--shrink`` the first that fails is reduced to the fewest steps, and printed as a program.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.simulation.handovers import Handovers
from tests.simulation.oracle import Violation
from tests.simulation.plan import Plan
from tests.simulation.scenario import Scenario, draw, run_scenario, run_script
from tests.simulation.script import Script
from tests.simulation.shrink import Shrinker, failure_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--runs", type=int, default=1, help="so many seeds, from this one on")
    parser.add_argument("--having", metavar="FIELD", help="only worlds of whose plan this field is set: handovers")
    parser.add_argument("--keep-going", action="store_true", help="list all seeds that fail")
    parser.add_argument("--shrink", action="store_true", help="reduce a scenario that fails, and print it as a program")
    parser.add_argument("--shrink-seconds", type=float, default=300.0, help="of processor time for that, at most")
    options = parser.parse_args()
    started, failed, taken, handovers = time.process_time(), 0, 0, 0
    for seed in range(options.seed, options.seed + options.runs):
        if options.having and not getattr(Plan.draw(seed), options.having):
            continue
        taken += 1
        try:
            scenario = run_scenario(seed, options.steps, leaks=seed % 20 == 0)
        except Violation as error:
            failed += 1
            if options.keep_going:
                print(error, flush=True)
                continue
            if options.shrink:
                return shrink(draw(seed, options.steps), options.shrink_seconds)
            show(error.scenario)
            print(error)
            return 1
        except Exception as error:
            failed += 1
            if options.keep_going:
                print(f"seed {seed} broke the simulation: {error!r}", flush=True)
                continue
            traceback.print_exc()
            print(f"seed {seed} broke the simulation")
            return shrink(draw(seed, options.steps), options.shrink_seconds) if options.shrink else 2
        if "handover" in scenario.subjects:
            subject = scenario.subjects["handover"]
            assert isinstance(subject, Handovers)
            handovers += subject.done
        if options.runs == 1:
            show(scenario)
    print(f"{taken} scenarios, {handovers} handovers, {failed} failed, {time.process_time() - started:.1f} s of CPU")
    return int(failed > 0)


def replay(script: Script) -> int:
    """Run one scenario and show it; the exit status."""
    try:
        show(run_script(script))
    except Violation as error:
        show(error.scenario)
        print(error)
        return 1
    return 0


def shrink(script: Script, seconds: float) -> int:
    """Shrink a scenario that fails and print it; the exit status."""
    failure = failure_of(script)
    if failure is None:
        print(f"seed {script.seed} fails only where it is looked for leaks")
        return 1
    print(Shrinker(script, failure, seconds).shrink().as_python())
    return 1


def show(scenario: Scenario | None) -> None:
    if scenario is not None:
        print(scenario.world.plan)
        for at, text in scenario.world.oracle.trace:
            print(f"{at:9.3f}  {text}")


if __name__ == "__main__":
    sys.exit(main())
