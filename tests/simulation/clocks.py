"""Wrong clocks: of this machine, of a node, of clients, and in the Date headers of answers.

Wrong clocks must not affect anybody, so these steps do not count as faults: in a world without other faults, the
gateway may close no session. A client's clock may be wrong by a minute, which the network allows. A node with a wrong
clock answers only queries, because it would refuse the calls of all clients.
"""

from __future__ import annotations

from email.utils import formatdate

from tests.simulation.plan import Plan
from tests.simulation.script import Chance
from tests.simulation.subject import Subject

#: How far clocks are off, in seconds. Up to a minute the network takes what is signed by them.
WRONG = (-3600.0, -600.0, -100.0, -20.0, 3.0, 20.0, 100.0, 600.0, 3600.0)
#: How far a node's clock is off: never as far as another one, since nothing could tell then that both are wrong.
WRONG_NODE = (-3000.0, -500.0, 500.0, 3000.0)
#: Seconds that a reckoning may be behind and ahead, since nothing contradicts it: what is signed for four minutes,
#: rounded down to a whole one, is taken as long as it has not expired, and lies at most five and a half ahead.
BEHIND, AHEAD = 240.0, 150.0
#: Seconds of polls after which the reckoning is right again.
FINDS_OUT = 20.0


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

    @classmethod
    def wanted(cls, plan: Plan) -> bool:
        return plan.clocks

    def set_machine(self, chance: Chance) -> str:
        process = chance.choice(self.world.processes)
        process.wall_offset, process.clock_set_at = chance.choice(WRONG), self.world.clock.seconds()
        return f"the clock of process {process.number} is set, {process.wall_offset:+} s"

    def right_machine(self, chance: Chance) -> str:
        for process in self.world.processes:
            process.wall_offset, process.clock_set_at = 0.0, self.world.clock.seconds()
        return "the machines' clocks are right"

    def set_node(self, chance: Chance) -> str:
        number, wrong_by = chance.randrange(4), chance.choice(WRONG_NODE)
        self.world.replica.wrong_nodes = {number: wrong_by}
        return f"the clock of node {number} is {wrong_by:+} s off"

    def dates(self, chance: Chance) -> str:
        """All answers have Dates from now on, of one proxy: right ones or wrong ones."""
        ahead, kept = chance.choice((0.0, 0.0, *WRONG)), chance.random() < 0.3
        self.world.dates_were_wrong |= abs(ahead) > 60 or kept
        now_ns = self.world.now_ns
        if kept:
            date = formatdate(now_ns() / 1e9 + ahead, usegmt=True)
            self.world.headers = lambda: {"Date": date, "Age": "60", "Via": "1.1 cache"}
        else:
            self.world.headers = lambda: {"Date": formatdate(now_ns() / 1e9 + ahead, usegmt=True)}
        return f"answers have Dates, {ahead:+} s off{', of a cache' if kept else ''}"

    def dates_stop(self, chance: Chance) -> str:
        self.world.headers = dict
        return "answers have no Dates"

    def heal(self) -> None:
        """A node is repaired; this machine's clock stays as it is, and so do the Dates of a proxy."""
        self.world.replica.wrong_nodes.clear()

    def checked(self) -> None:
        """Whatever the clocks say: who is polled for has found out what time the network has."""
        world = self.world
        if not any(client.usable and client.opened for client in world.clients):
            return
        world.run(FINDS_OUT)
        for process in world.processes:
            if process.gateway.registry.pollers:
                wrong = (process.context.network_ns() - world.now_ns()) / 1e9
                if not -BEHIND <= wrong <= AHEAD:
                    self.truth.fail(f"process {process.number} reckons with a time that is {wrong:+.0f} s off")
