"""Selects the scenarios that can show an error, by their plans and steps, without running them.

A survey (:mod:`tests.planted.survey`) runs the scenarios of ten minutes, which takes ten minutes. The steps and options
of a scenario are known without running it. ``needs.toml`` says what an error needs: a step, a small limit. A hunt
that runs only those scenarios finds nothing that a hunt through all of them would not find; it may miss an error that
shows elsewhere.
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import cache
from pathlib import Path
from types import CodeType

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from tests.planted.survey import Survey

NEEDS = Path(__file__).with_name("needs.toml")
#: CPU seconds of a scenario on average, from surveys.
SECONDS = 0.43


class Aimed(Survey):
    """The first scenarios of a hunt.

    :param first: the first seed
    :param count: how many there are
    """

    def __init__(self, first: int, count: int) -> None:
        self._first = first
        self._count = count
        self._needs: dict[str, str] = tomllib.loads(NEEDS.read_text(encoding="utf-8"))["needs"]
        self.scenarios = []

    @property
    def seconds(self) -> float:
        return self._count * SECONDS

    def seeds(self, name: str, seconds: float) -> list[int]:
        needs = compile(self._needs.get(name, "True"), name, "eval")
        last = self._first + min(self._count, int(seconds / SECONDS))
        return [seed for seed in range(self._first, last) if _has(seed, needs)]

    def seconds_until(self, seed: int) -> float:
        return (seed - self._first + 1) * SECONDS


@cache
def _drawn(seed: int) -> dict[str, object]:
    # which loads the gateway
    from tests.planted.search import steps_of
    from tests.simulation.scenario import draw

    script = draw(seed, steps_of(seed))
    return {"plan": script.plan, "steps": Counter(step.kind.partition(".")[2] for step in script.steps)}


def _has(seed: int, needs: CodeType) -> bool:
    return bool(eval(needs, {}, _drawn(seed)))
