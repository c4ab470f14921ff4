"""Reduces a failing scenario to the fewest steps, in the simplest world, that still fail in the same way.

The shrinker removes halves of the steps, then quarters, down to single steps (Zeller's ddmin). Then it sets each field
of the plan to its simplest value and removes each pause, if the failure remains. It repeats this until nothing becomes
simpler.
"""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

from tests.simulation.oracle import Violation
from tests.simulation.plan import Plan
from tests.simulation.scenario import Scenario, run_script
from tests.simulation.script import Script, Step
from tests.simulation.world import CANISTERS

#: What differs from one scenario to the next in the words of one kind of violation.
_VARIABLE: Final = (
    (re.compile(r"\b[a-z2-7]{5}/[0-9a-f]+"), "KEY"),
    (re.compile(r"\b[0-9a-f]{6}-[0-9a-f]+"), "SESSION"),
    (re.compile("|".join(canister.text[:5] for canister in CANISTERS)), "CANISTER"),
    (re.compile(r"\(.*?\)|\[.*?\]"), ""),
    (re.compile(r"(?<!with )\b\d+(\.\d+)?\b"), "N"),
)


@dataclass(frozen=True)
class Failure:
    """How a scenario failed.

    :ivar kind: the words without what is particular to the scenario
    :ivar text: the words
    :ivar done: what each step did, by its number
    """

    kind: str
    text: str
    done: dict[int, str]


@dataclass(frozen=True)
class Shrunk:
    """The simplest scenario that was found.

    :ivar runs: how many were tried
    :ivar complete: False: the time was over before nothing could be left out any more
    """

    script: Script
    failure: Failure
    runs: int
    complete: bool

    def as_python(self) -> str:
        """The scenario as a program."""
        return as_python(self.script, self.failure, f"{self.runs} runs" + ("" if self.complete else ", out of time"))


def failure_of(script: Script) -> Failure | None:
    """Run a scenario; how it failed, or None."""
    try:
        run_script(script)
    except Violation as error:
        scenario: Scenario | None = error.scenario
        text = error.words
        return Failure(kind_of(text), text, scenario.done if scenario is not None else {})
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{error!r} in {Path(last.filename).name}:{last.lineno}"
        return Failure(f"{type(error).__name__} in {Path(last.filename).name} {last.name}", text, {})
    return None


def kind_of(text: str) -> str:
    """The kind of a violation by its words."""
    for pattern, words in _VARIABLE:
        text = pattern.sub(words, text)
    return text.partition(":")[0].strip()


class Shrinker:
    """Shrinks one script.

    :param failure: how it fails
    :param seconds: of processor time that this may take
    :param run: says how a scenario fails
    """

    def __init__(
        self,
        script: Script,
        failure: Failure,
        seconds: float,
        run: Callable[[Script], Failure | None] = failure_of,
    ) -> None:
        self.script = script
        self.failure = failure
        self.runs = 0
        self._run = run
        self._until = time.process_time() + seconds

    @property
    def _late(self) -> bool:
        return time.process_time() >= self._until

    def shrink(self) -> Shrunk:
        """Do it."""
        before = None
        while before != self.script and not self._late:
            before = self.script
            self._fewer_steps()
            self._simpler_plan()
            self._shorter_pauses()
        return Shrunk(self.script, self.failure, self.runs, not self._late)

    def _try(self, script: Script) -> bool:
        """Go on with a script if it fails in the same way."""
        if self._late or script == self.script:
            return False
        self.runs += 1
        failure = self._run(script)
        if failure is None or failure.kind != self.failure.kind:
            return False
        self.script, self.failure = script, failure
        return True

    def _fewer_steps(self) -> None:
        size = len(self.script.steps)
        while size:
            at = 0
            while at < len(self.script.steps) and not self._late:
                if not self._leave_out(at, size):
                    at += size
            size //= 2

    def _leave_out(self, at: int, size: int) -> bool:
        steps = self.script.steps
        before, gone, behind = steps[:at], steps[at : at + size], steps[at + size :]
        if self._try(replace(self.script, steps=before + behind)):
            return True
        # perhaps only the time that they take matters
        pause = sum(step.pause for step in gone)
        if not before or not pause:
            return False
        longer = replace(before[-1], pause=round(before[-1].pause + pause, 3))
        return self._try(replace(self.script, steps=(*before[:-1], longer, *behind)))

    def _simpler_plan(self) -> None:
        if self._try(replace(self.script, plan=Plan.simplest())):
            return
        for plan in self._simpler():
            self._try(replace(self.script, plan=plan))

    def _simpler(self) -> Iterator[Plan]:
        for each in fields(Plan):
            for value in each.metadata["simple"]:
                if value == getattr(self.script.plan, each.name):
                    break
                plan = replace(self.script.plan, **{each.name: value})
                if plan.possible:
                    yield plan
                if value == getattr(self.script.plan, each.name):
                    break

    def _shorter_pauses(self) -> None:
        for at, step in enumerate(self.script.steps):
            if step.pause:
                steps = list(self.script.steps)
                steps[at] = replace(step, pause=0.0)
                self._try(replace(self.script, steps=tuple(steps)))


def as_python(script: Script, failure: Failure, about: str) -> str:
    """Write a scenario as a program that runs it."""
    plan = "".join(f"    {name}={value!r},\n" for name, value in script.plan.differences().items())
    lines = [
        *(f"# {line}" for line in failure.text.splitlines()),
        f"# seed {script.seed}, {len(script.steps)} steps, {about}",
        "# run it from the top of the repository: PYTHONPATH=. python <this file>",
        "from dataclasses import replace",
        "",
        "from icwsgw.devnet.consensus import BlockTiming  # noqa: F401",
        "from tests.simulation.__main__ import replay",
        "from tests.simulation.plan import Plan",
        "from tests.simulation.script import Script, Step",
        "",
        f"plan = replace(\n    Plan.simplest(),\n{plan})" if plan else "plan = Plan.simplest()",
        "steps = (",
        *(f"    {_step(step)},{_comment(failure.done.get(step.number))}" for step in script.steps),
        ")",
        f"raise SystemExit(replay(Script({script.seed}, plan, steps)))",
    ]
    return "\n".join(lines) + "\n"


def _step(step: Step) -> str:
    return f"Step({step.number}, {step.kind!r}, {step.seed}, {step.pause})"


def _comment(done: str | None) -> str:
    return f"  # {done}" if done else ""
