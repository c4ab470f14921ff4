"""The base class of subjects: a subject has some kinds of steps, cleans up after them, and checks invariants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from tests.simulation.plan import Plan
from tests.simulation.script import Chance

if TYPE_CHECKING:
    from tests.simulation.clients import SimClient
    from tests.simulation.scenario import Scenario


class Subject:
    """One subject in one scenario.

    A kind of step is a method that takes a :class:`Chance` and returns a description for the trace, or None if it did
    nothing.

    :ivar name: of it, in the kinds of steps; seeds are drawn from it, so a new name changes all scenarios
    :ivar steps: the weight of each of its methods, relative to those of other subjects
    """

    name: ClassVar[str]
    steps: ClassVar[Mapping[str, float]] = {}

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world = scenario.world
        self.oracle = scenario.world.oracle

    @classmethod
    def rare(cls, plan: Plan) -> Mapping[str, float]:
        """Further methods with their weights; a scenario may have one or two of them in addition to its drawn steps."""
        return {}

    @classmethod
    def single(cls, plan: Plan) -> Mapping[str, float]:
        """Further methods, each drawn separately, and the share of these worlds that have it once.

        A new one does not change the steps of worlds that do not have it.
        """
        return {}

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        """Whether it takes part in worlds with this plan."""
        return True

    def after_step(self) -> None:
        """Check what must hold at any time, after each step and its pause."""

    def heal(self) -> None:
        """Undo whatever it has done to the world."""

    def recovery_seconds(self) -> float:
        """Seconds that clients may need after :meth:`heal` until its effects are over."""
        return 0.0

    def quiet(self) -> bool:
        """Whether everything that it watches is quiet."""
        return True

    def check_when_quiet(self) -> None:
        """Check what must hold when the world is quiet."""

    def check_at_end(self) -> None:
        """Check that nothing is left when all clients have left."""

    def abort(self) -> None:
        """Stop whatever it runs: the scenario is over, perhaps in the middle of something."""

    # for steps

    def pick(self, chance: Chance, *, is_open: bool = True) -> SimClient | None:
        """A connected client that has not violated the protocol."""
        return chance.pick(numbered(c for c in self.world.clients if c.usable and (c.opened or not is_open)))


def numbered(clients: Iterable[SimClient]) -> Iterable[tuple[int, SimClient]]:
    """Clients with their numbers, as :meth:`Chance.pick` takes them."""
    return ((client.number, client) for client in clients)
