"""Several processes as one gateway: the supervisor between them, slow pipes, and a worker that dies.

The supervisor forwards announcements as :class:`icwsgw.workers.worker_pool.WorkerPool` does, and workers handle them as
:class:`icwsgw.workers.worker.OrderHandler` does; only the pipes are simulated. If a worker dies, the content of its
pipes is lost and its clients lose their connections. A new worker with the same identities replaces it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from icwsgw.workers.worker import OrderHandler
from icwsgw.workers.worker_pool import WorkerPool
from tests.simulation.plan import Plan
from tests.simulation.process import SimProcess
from tests.simulation.script import Chance
from tests.simulation.subject import Subject

if TYPE_CHECKING:
    from tests.simulation.world import SimWorld

#: Seconds that a line may take.
SLOW = (0.0, 0.0, 0.001, 0.02, 0.5)


class Worker:
    """A worker as the supervisor sees it, and the pipes to it and from it."""

    def __init__(self, pool: Pool, process: SimProcess) -> None:
        self._pool = pool
        self.process = process
        self._free = [0.0, 0.0]
        service = SimpleNamespace(gateway=process.gateway, factory=process.factory)
        self._order_handler = OrderHandler(service, lambda: None, self._say)

    def send(self, order: Mapping[str, Any]) -> None:
        """The supervisor sends a line."""
        self._pass(0, self._order_handler.handle, order)

    def _say(self, answer: Mapping[str, Any]) -> None:
        if answer.get("type") == "room":
            # limits are wide where there are several workers
            return
        self._pass(1, lambda line: WorkerPool.accepted(self._pool, self, line), answer)  # type: ignore[arg-type]

    def _pass(self, way: int, take: Any, line: Mapping[str, Any]) -> None:
        world, text = self._pool.world, json.dumps(line)
        at = self._free[way] = self._pool.later(self._free[way])
        process = self.process

        def arrives() -> None:
            if way == 0 and not process.dead:
                # a worker that takes over reads its pipe afterwards
                process.clock.later(lambda: take(json.loads(text)))
            elif way == 1 and (process.retired or not process.dead):
                # what it wrote before it ended in order is read
                take(json.loads(text))

        world.at_end.append(world.clock.callLater(at - world.clock.seconds(), arrives))


class Pool:
    """The workers of one supervisor.

    :ivar handover: the way to the other supervisor, while there is one
    """

    def __init__(self, world: SimWorld, random: Random, processes: Iterable[SimProcess]) -> None:
        self.world = world
        self.handover: SupervisorLink | None = None
        self._random = random
        self.workers = {process.number: Worker(self, process) for process in processes}

    def later(self, free: float) -> float:
        """When a line arrives that is sent now, behind those that are on their way until a time."""
        return max(free, self.world.clock.seconds() + self._random.choice(SLOW))


class SupervisorLink:
    """The messages of a supervisor to the other one while they hand over."""

    def __init__(self, here: Pool, there: Pool) -> None:
        self._here = here
        self._there = there
        self._free = 0.0

    def accepted(self, order: Mapping[str, Any]) -> None:
        world = self._here.world
        at = self._free = self._here.later(self._free)

        def arrives() -> None:
            if self._here.handover is self:
                for worker in self._there.workers.values():
                    worker.send({**order, "own": False})

        world.at_end.append(world.clock.callLater(at - world.clock.seconds(), arrives))


class Fleet(Subject):
    """The supervisor, and what may happen to its workers."""

    name = "fleet"
    steps = {"meet": 2.0, "die": 0.4}

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        self._random = Random(f"{self.world.seed} pipes")
        self._pool = Pool(self.world, self._random, self.world.processes)
        self._next: Pool | None = None

    # a handover to another supervisor

    def begin_handover(self, processes: Iterable[SimProcess]) -> None:
        """Another supervisor has started these workers."""
        now, following = self._pool, Pool(self.world, self._random, processes)
        now.handover, following.handover = SupervisorLink(now, following), SupervisorLink(following, now)
        self._next = following

    def handed_over(self, number: int) -> None:
        """A worker of the former supervisor has handed over, and ends."""
        del self._pool.workers[number]

    def end_handover(self, done: bool) -> None:
        """There is one supervisor again.

        :param done: the new one
        """
        assert self._next is not None
        if done:
            self._pool = self._next
        self._next = self._pool.handover = None
        for process in self.world.processes:
            # one that was started again by the former supervisor
            worker = self._pool.workers.get(process.number)
            if worker is None or worker.process is not process:
                self._pool.workers[process.number] = Worker(self._pool, process)

    def started_again(self, process: SimProcess, newer: SimProcess) -> None:
        """A worker has died, and was started again."""
        for pool in (self._pool, self._next):
            if pool is not None:
                for number, worker in pool.workers.items():
                    if worker.process is process:
                        pool.workers[number] = Worker(pool, newer)

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        return plan.processes > 1

    def meet(self, chance: Chance) -> str | None:
        """A principal opens two connections at a time, at any workers."""
        conduct: Any = self.scenario.subjects["client"]
        done = conduct.connect(chance)
        if done is None:
            return None
        first = self.world.clients[-1]
        self.world.run(chance.choice((0.0, 0.0, 0.05, 1.0)))
        number, chance.number = chance.number, chance.number + 500_000
        again = conduct._connect(chance, first.canister, first.identity)
        chance.number = number
        return f"{done}, and again: {again}"

    def die(self, chance: Chance) -> str | None:
        if self.world.plan.calm or self._next is not None:
            # a handover has deaths of its own
            return None
        process = chance.choice(self.world.processes)
        self.oracle.troubles["worker"] += 1
        self.world.kill(process)
        newer = self.world.processes[process.number]
        self.started_again(process, newer)
        operator: Any = self.scenario.subjects.get("operator")
        if operator is not None:
            operator.restarted(newer)
        return f"worker {process.number} dies, and is started again"

    def check_when_quiet(self) -> None:
        """Of a principal's connections to a canister at most one lives, in whatever process, unless undecided."""
        open_now: dict[Any, list[Any]] = {}
        for client in self.world.clients:
            if client.usable and client.opened and not self.oracle.may_be_undecided(client.key):
                open_now.setdefault((client.canister, client.identity.principal), []).append(client)
        for clients in open_now.values():
            if len(clients) > 1 and len({client.process for client in clients}) > 1:
                self.oracle.fail(f"{len(clients)} connections of one principal live at several workers")
