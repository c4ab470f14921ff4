"""Wrong clocks: of this machine, of a node, of clients, and in the Date headers of answers.

Wrong clocks must not affect anybody, so these steps do not count as faults: in a world without other faults, the
gateway may close no session. A client's clock may be wrong by a minute, which the network allows. A node with a wrong
clock answers only queries, because it would refuse the calls of all clients.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from icwsgw.core.network_time import CERTIFIED_LAG_NS, WITNESSES, replica_time
from icwsgw.ic.network_limits import MAX_INGRESS_TTL_NS
from tests.simulation.plan import Plan
from tests.simulation.script import Chance
from tests.simulation.subject import Subject

if TYPE_CHECKING:
    from tests.simulation.process import SimProcess
    from tests.simulation.world import SimWorld

#: How far clocks are off, in seconds. Up to a minute the network takes what is signed by them.
WRONG = (-3600.0, -600.0, -100.0, -20.0, 3.0, 20.0, 100.0, 600.0, 3600.0)
#: How far a node's clock is off: never as far as another one, since nothing could show then that both are wrong.
WRONG_NODE = (-3000.0, -500.0, 500.0, 3000.0)
#: Seconds that a reckoning may be behind and ahead, since nothing contradicts it: what is signed for four minutes,
#: rounded down to a whole one, is taken as long as it has not expired, and lies at most five and a half ahead.
BEHIND, AHEAD = 240.0, 150.0
#: The same where Dates are right and the certified time may be read: what a Date is rounded by, and what is taken for
#: a right clock.
CLOSE = 6.0
#: Seconds of polls after which the reckoning is right again.
FINDS_OUT = 20.0
#: Seconds by which two answers may differ that have the same time; a wrong time differs by more from the true one.
SAME = 5.0


class ReportedTimes:
    """The times that replicas report to one process as they refuse requests.

    Nodes whose clocks are wrong, each by another amount, have no effect: a process takes over a wrong time
    only if it has received that one several times in a row, and nothing was accepted in between that contradicts.
    """

    def __init__(self, world: SimWorld, process: SimProcess) -> None:
        self._world = world
        self._process = process
        #: the wrong time that was received last, seconds ahead, and how often in a row
        self._last, self._count = 0.0, 0
        #: all wrong times that were received, and those that may be taken over
        self._wrong: set[float] = set()
        self._possible: set[float] = set()
        observer: Any = process.agent.time_observer
        refusal, note = observer.note_refusal, observer.note

        def refused(words: str) -> None:
            time_ns = replica_time(words)
            if time_ns is not None:
                self._refused((time_ns - world.now_ns()) / 1e9)
            refusal(words)
            self.look()

        def noted(answer: Any, canister: Any, expiry_ns: int | None = None) -> None:
            if answer.status == 200 and expiry_ns is not None:
                self._accepted((expiry_ns - world.now_ns()) / 1e9)
            note(answer, canister, expiry_ns)
            self.look()

        observer.note_refusal, observer.note = refused, noted

    def continue_from(self, before: ReportedTimes) -> None:
        """It is another process, to which everything was handed over."""
        self._last, self._count = before._last, before._count
        self._wrong, self._possible = before._wrong, before._possible

    def _refused(self, ahead: float) -> None:
        self._count = self._count + 1 if self._count and abs(ahead - self._last) <= SAME else 1
        self._last = ahead
        if abs(ahead) > SAME:
            self._wrong.add(ahead)
            if self._count >= WITNESSES:
                self._possible.add(ahead)
                self._world.oracle.troubles["persuaded"] += 1

    def _accepted(self, expiry: float) -> None:
        earliest = expiry - MAX_INGRESS_TTL_NS / 1e9
        # it says something for what is reckoned with, if that is among the times that it leaves open
        agrees = earliest + SAME <= self._wrong_by() <= expiry - SAME
        if agrees and not earliest - SAME <= self._last <= expiry + SAME:
            self._count = 0

    def _wrong_by(self) -> float:
        """Seconds that the time that is reckoned with is ahead."""
        return (self._process.context.network_ns() - self._world.now_ns()) / 1e9

    def look(self) -> None:
        """Check what the process reckons with."""
        wrong = self._wrong_by()
        if any(abs(wrong - other) <= SAME for other in self._possible):
            return
        if abs(wrong - self._process.wall_offset) > SAME and any(abs(wrong - other) <= SAME for other in self._wrong):
            self._world.oracle.fail(
                f"a time that is {wrong:+.0f} s off was taken over, which no node has reported in a row"
            )


class Clocks(Subject):
    """Sets clocks, forward and back."""

    name = "clock"
    steps = {
        "set_machine": 2.0,
        "right_machine": 0.7,
        "set_node": 0.7,
        "dates": 1.5,
        "dates_stop": 0.5,
    }

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        self._right = False

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        return plan.clocks

    def set_machine(self, chance: Chance) -> str:
        process = chance.choice(self.world.processes)
        process.machine.wall_offset, process.machine.clock_set_at = chance.choice(WRONG), self.world.clock.seconds()
        return f"the clock of process {process.number} is set, {process.wall_offset:+} s"

    def right_machine(self, chance: Chance) -> str:
        for process in self.world.processes:
            process.machine.wall_offset, process.machine.clock_set_at = 0.0, self.world.clock.seconds()
        return "the machines' clocks are right"

    def set_node(self, chance: Chance) -> str:
        number, wrong_by = chance.randrange(4), chance.choice(WRONG_NODE)
        self.world.replica.wrong_nodes = {number: wrong_by}
        return f"the clock of node {number} is {wrong_by:+} s off"

    @classmethod
    def rare(cls, plan: Plan) -> dict[str, float]:
        # else too few answers come meanwhile
        return {"disagree": 3.0} if plan.polling_interval <= 0.3 else {}

    def disagree(self, chance: Chance) -> str:
        """When a machine's clock is set, most nodes' clocks are wrong for a moment, each by another amount."""
        world = self.world
        numbers, wrong = chance.sample(range(4), 3), chance.sample(WRONG_NODE, 3)
        done = self.set_machine(chance)
        world.replica.wrong_nodes = dict(zip(numbers, wrong, strict=True))
        world.run(2.0)
        world.replica.wrong_nodes = {}
        return f"{done}; the clocks of three nodes were wrong: {wrong}"

    def dates(self, chance: Chance) -> str:
        """All answers have Dates from now on, of one proxy: right ones or wrong ones."""
        ahead, kept = chance.choice((*[0.0] * 6, *WRONG)), chance.random() < 0.3
        self._right = not ahead and not kept
        self.world.dates_were_wrong |= abs(ahead) > 60 or kept
        now_ns = self.world.now_ns
        if kept:
            date = formatdate(now_ns() / 1e9 + ahead, usegmt=True)
            self.world.headers = lambda: {"Date": date, "Age": "60", "Via": "1.1 cache"}
        else:
            self.world.headers = lambda: {"Date": formatdate(now_ns() / 1e9 + ahead, usegmt=True)}
        return f"answers have Dates, {ahead:+} s off{', of a cache' if kept else ''}"

    def dates_stop(self, chance: Chance) -> str:
        self.world.headers, self._right = dict, False
        return "answers have no Dates"

    def heal(self) -> None:
        """A node is repaired; this machine's clock stays as it is, and so do the Dates of a proxy."""
        self.world.replica.wrong_nodes.clear()

    def check_when_quiet(self) -> None:
        """Whatever the clocks say: who is polled for has found out what time the network has."""
        world = self.world
        if not any(client.usable and client.opened for client in world.clients):
            return
        world.run(FINDS_OUT)
        for process in world.processes:
            if process.gateway.registry.pollers:
                wrong = (process.context.network_ns() - world.now_ns()) / 1e9
                if not -BEHIND <= wrong <= AHEAD:
                    self.oracle.fail(f"process {process.number} reckons with a time that is {wrong:+.0f} s off")
        if self._right and not world.plan.trusting and not world.plan.liars:
            world.run(2 * FINDS_OUT, lambda: not any(self._apart()))
            for wrong in self._apart():
                self.oracle.fail(f"a time is reckoned with that is {wrong:+.0f} s off what right Dates say")

    def _apart(self) -> list[float]:
        """Seconds by which processes that poll are off, where it is more than they may be."""
        times = [p.context.network_ns() for p in self.world.processes if p.gateway.registry.pollers]
        wrong = [(time - self.world.now_ns()) / 1e9 for time in times]
        # a certificate may be some seconds old, which is all that a clock ahead looks like
        return [each for each in wrong if not -CLOSE <= each <= CLOSE + CERTIFIED_LAG_NS / 1e9]
