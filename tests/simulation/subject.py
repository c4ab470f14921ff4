"""The subjects of the simulation. A subject has some kinds of steps, their end, and checks of their effects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from tests.simulation.plan import Plan
from tests.simulation.script import Chance

if TYPE_CHECKING:
    from tests.simulation.clients import SimClient
    from tests.simulation.scenario import Scenario


class Subject:
    """One subject, in one scenario.

    A kind of step is a method that takes a :class:`Chance` and gives the words for the trace, or None where there was
    nothing to do.

    :ivar name: of it, in the kinds of steps; seeds are drawn from it, so a new name changes all scenarios
    :ivar steps: how often each of its methods is called, beside those of other subjects
    """

    name: ClassVar[str]
    steps: ClassVar[Mapping[str, float]] = {}

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world = scenario.world
        self.oracle = scenario.world.oracle

    @classmethod
    def rare(cls, plan: Plan) -> Mapping[str, float]:
        """Further methods of which a scenario may have one or two, beside the steps that are drawn, and how often."""
        return {}

    @classmethod
    def single(cls, plan: Plan) -> Mapping[str, float]:
        """Further methods, each drawn for itself, and the share of such worlds that have it once.

        A new one leaves the steps of worlds that do not have it as they are.
        """
        return {}

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        """Whether it is part of such a world."""
        return True

    def after_step(self) -> None:
        """A step has been taken and its pause has passed: check what holds at any time."""

    def heal(self) -> None:
        """End whatever it has done to the world."""

    def recovery_seconds(self) -> float:
        """Seconds that clients may wait for what it did, after it has been healed."""
        return 0.0

    def quiet(self) -> bool:
        """Whether all that it watches has come to rest."""
        return True

    def check_when_quiet(self) -> None:
        """All is at rest: check what holds then."""

    def check_at_end(self) -> None:
        """Everybody has left: check that nothing has remained."""

    def abort(self) -> None:
        """The scenario is over, perhaps in the middle of something: leave nothing running."""

    # for steps

    def pick(self, chance: Chance, *, is_open: bool = True) -> SimClient | None:
        """A client that is connected and has done nothing wrong."""
        return chance.pick(numbered(c for c in self.world.clients if c.usable and (c.opened or not is_open)))


def numbered(clients: Iterable[SimClient]) -> Iterable[tuple[int, SimClient]]:
    """Clients as :meth:`Chance.pick` takes them."""
    return ((client.number, client) for client in clients)
