"""Several processes as one gateway: the supervisor between them, slow pipes, and a worker that dies.

The supervisor forwards announcements as :class:`icwsgw.workers.worker_pool.WorkerPool` does, and workers handle them as
:class:`icwsgw.workers.worker.OrderHandler` does; only the pipes are simulated. If a worker dies, the content of its
pipes is lost and its clients lose their connections. A new worker with the same identities replaces it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from types import SimpleNamespace
from typing import Any

from icwsgw.workers.worker import OrderHandler
from icwsgw.workers.worker_pool import WorkerPool
from tests.simulation.plan import Plan
from tests.simulation.process import SimProcess
from tests.simulation.script import Chance
from tests.simulation.subject import Subject

#: Seconds that a line may take.
SLOW = (0.0, 0.0, 0.001, 0.02, 0.5)


class Worker:
    """A worker as the supervisor sees it, and the pipes to it and from it."""

    def __init__(self, fleet: Fleet, process: SimProcess) -> None:
        self._fleet = fleet
        self.process = process
        self._free = [0.0, 0.0]
        service = SimpleNamespace(gateway=process.gateway, factory=process.factory)
        self._order_handler = OrderHandler(service, lambda: None, self._say)

    def tell(self, order: Mapping[str, Any]) -> None:
        """The supervisor sends a line."""
        self._pass(0, self._order_handler.handle, order)

    def _say(self, answer: Mapping[str, Any]) -> None:
        if answer.get("said") == "room":
            # limits are wide where there are several workers
            return
        self._pass(1, lambda line: WorkerPool.accepted(self._fleet, self, line), answer)  # type: ignore[arg-type]

    def _pass(self, way: int, take: Any, line: Mapping[str, Any]) -> None:
        world, text = self._fleet.world, json.dumps(line)
        at = max(self._free[way], world.clock.seconds() + self._fleet.random.choice(SLOW))
        self._free[way] = at

        def arrives() -> None:
            if not self.process.dead:
                take(json.loads(text))

        world.at_end.append(world.clock.callLater(at - world.clock.seconds(), arrives))


class Fleet(Subject):
    """The supervisor, and what may happen to its workers."""

    name = "fleet"
    steps = {"meet": 2.0, "die": 0.4}
    #: as the pool has it while its workers are handed over, which a fleet's are not
    handover = None

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        self.random = Random(f"{self.world.seed} pipes")
        self.workers = {process.number: Worker(self, process) for process in self.world.processes}

    @classmethod
    def wanted(cls, plan: Plan) -> bool:
        return plan.processes > 1

    def meet(self, chance: Chance) -> str | None:
        """A principal opens two connections at a time, at any workers."""
        conduct: Any = self.scenario.subjects["client"]
        said = conduct.connect(chance)
        if said is None:
            return None
        first = self.world.clients[-1]
        self.world.run(chance.choice((0.0, 0.0, 0.05, 1.0)))
        number, chance.number = chance.number, chance.number + 500_000
        again = conduct._connect(chance, first.canister, first.identity)
        chance.number = number
        return f"{said}, and again: {again}"

    def die(self, chance: Chance) -> str | None:
        if self.world.plan.calm:
            return None
        process = chance.choice(self.world.processes)
        self.truth.troubles["worker"] += 1
        self.world.kill(process)
        newer = self.world.processes[process.number]
        self.workers[process.number] = Worker(self, newer)
        operator: Any = self.scenario.subjects.get("operator")
        if operator is not None:
            operator.restarted(newer)
        return f"worker {process.number} dies, and is started again"

    def checked(self) -> None:
        """Of a principal's connections to a canister at most one lives, in whatever process, unless undecided."""
        open_now: dict[Any, list[Any]] = {}
        for client in self.world.clients:
            if client.usable and client.opened and not self.truth.may_be_undecided(client.key):
                open_now.setdefault((client.canister, client.identity.principal), []).append(client)
        for clients in open_now.values():
            if len(clients) > 1 and len({client.process for client in clients}) > 1:
                self.truth.fail(f"{len(clients)} connections of one principal live at several workers")
