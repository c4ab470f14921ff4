"""A scenario as data: the properties of the world, and the steps.

Each step has a separate seed and a fixed number, and makes its random decisions from them, so that removing one step
does not change the others. A client has the number of the step that created it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from zlib import crc32

from tests.simulation.plan import Plan

_T = TypeVar("_T")

#: How many clients there are before anything else happens.
FIRST_CLIENTS = 2


@dataclass(frozen=True)
class Step:
    """One step.

    :ivar number: which one it was when the steps were drawn
    :ivar kind: subject and name: ``clients.talk``
    :ivar seed: of what it draws
    :ivar pause: seconds until the next one
    """

    number: int
    kind: str
    seed: int
    pause: float


@dataclass(frozen=True)
class Script:
    """One scenario.

    :ivar seed: of the world's own chance: the network's and the replica's
    """

    seed: int
    plan: Plan
    steps: tuple[Step, ...]


class Chance(random.Random):
    """What one step draws from.

    :ivar number: of the step
    """

    number = 0

    @classmethod
    def of(cls, step: Step) -> Chance:
        """Make a step's."""
        made = cls(step.seed)
        made.number = step.number
        return made

    def pick(self, numbered: Iterable[tuple[int, _T]]) -> _T | None:
        """Any of some things with lasting numbers; while it is there, another one that has gone does not matter."""
        salt = self.getrandbits(32)
        found = max(((crc32(b"%d %d" % (salt, number)), number, thing) for number, thing in numbered), default=None)
        return None if found is None else found[2]


def draw_script(seed: int, count: int, weights: Mapping[str, float], plan: Plan) -> Script:
    """Draw so many steps.

    :param weights: how often each kind of step is taken
    """
    # each world has some kinds more often and others hardly ever: faults that need one another meet sooner so
    often = {kind: random.Random(f"{seed} {kind}").choice((0.3, 1.0, 1.0, 3.0)) for kind in weights}
    kinds: Sequence[str] = list(weights)
    by = [weights[kind] * often[kind] for kind in kinds]
    drawn = random.Random(f"{seed} steps")
    steps = []
    for number in range(count):
        own = random.Random(f"{seed} step {number}")
        (kind,) = drawn.choices(kinds, by)
        if number < FIRST_CLIENTS:
            kind = "client.connect"
        steps.append(Step(number, kind, own.getrandbits(32), round(own.expovariate(1 / 0.15), 3)))
    return Script(seed, plan, tuple(steps))


def with_rare(script: Script, weights: Mapping[str, float]) -> Script:
    """Put up to three further steps into most scripts, which leave the others as they are.

    :param weights: how often each kind of them is taken
    """
    drawn = random.Random(f"{script.seed} rare")
    steps = list(script.steps)
    for more in range(drawn.choice((0, 1, 1, 2, 3)) if weights else 0):
        (kind,) = drawn.choices(list(weights), list(weights.values()))
        step = Step(len(script.steps) + more, kind, drawn.getrandbits(32), round(drawn.expovariate(1 / 0.15), 3))
        steps.insert(drawn.randint(min(FIRST_CLIENTS + 2, len(steps)), len(steps)), step)
    return Script(script.seed, script.plan, tuple(steps))


def with_single(script: Script, shares: Mapping[str, float]) -> Script:
    """Put further kinds of steps into a script, each at most once and whatever others there are.

    :param shares: the share of scripts that have it, by kind
    """
    steps = list(script.steps)
    for kind, share in shares.items():
        drawn = random.Random(f"{script.seed} single {kind}")
        if drawn.random() < share:
            # numbers of clients follow from those of steps
            number = max(step.number for step in steps) + 1 if steps else 0
            step = Step(number, kind, drawn.getrandbits(32), round(drawn.expovariate(1 / 0.15), 3))
            steps.insert(drawn.randint(min(FIRST_CLIENTS + 2, len(steps)), len(steps)), step)
    return Script(script.seed, script.plan, tuple(steps))
