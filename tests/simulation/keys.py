"""Checks how often keys are fetched, and how old the delegations become that are kept.

A node that lies, or a client, must not make the gateway read keys again and again: after a fetch that has brought them
the next one comes seconds later (:mod:`icwsgw.agent.trust`, :mod:`icwsgw.agent.subnet_cache`). A kept delegation is
replaced when it is an hour old and a newer one comes (:mod:`icwsgw.agent.delegation_replacer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icwsgw.agent.delegation_replacer import RENEW
from icwsgw.agent.routes import Route
from icwsgw.agent.subnet_cache import REFRESH_INTERVAL
from icwsgw.agent.trust import DOUBT_INTERVAL
from icwsgw.devnet.topology import BY_VERSION, DELEGATION_PERIOD_NS
from tests.simulation.meter import Meter
from tests.simulation.plan import Plan
from tests.simulation.subject import Subject

if TYPE_CHECKING:
    from tests.simulation.process import SimProcess
    from tests.simulation.scenario import Scenario

#: Seconds for which a node of the network keeps its delegation.
KEPT_BY_NODES = DELEGATION_PERIOD_NS / 1e9


class Keys(Subject):
    """Looks at them once a second."""

    name = "keys"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._call = self.world.clock.callLater(1.0, self._look)
        self._watched: dict[Any, list[_Fetches]] = {}

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        return not plan.trusting

    def _look(self) -> None:
        now = self.world.clock.seconds()
        self._call = self.world.clock.callLater(1.0, self._look)
        for process in self.world.processes:
            agent = process.agent
            if agent not in self._watched:
                # each canister has its first ones, and the network may be made anew
                canisters = self.world.plan.canisters + 1
                self._watched[agent] = [
                    _Fetches("the root key", agent.root_key_fetches, DOUBT_INTERVAL, 4),
                    _Fetches(
                        "node keys",
                        agent.node_key_fetches,
                        REFRESH_INTERVAL / canisters,
                        3 * canisters,
                    ),
                ]
            for fetches in self._watched[agent]:
                if fetches.too_many(now):
                    self.oracle.fail(f"process {process.number} has fetched {fetches.what} too often")

    def check_when_quiet(self) -> None:
        """Whoever has had a message since a delegation is too old has had a newer one."""
        plan = self.world.plan
        if plan.delegation in (BY_VERSION, "legacy") and not plan.v2_gone and not plan.liars and not plan.clocks:
            for process in self.world.processes:
                self._look_at_delegations(process)

    def _look_at_delegations(self, process: SimProcess) -> None:
        agent, oracle = process.agent, self.oracle
        root_key = agent.root_key
        # that the network has another one shows only where something is verified
        if (
            root_key != self.world.replica.root_key_der
            or agent.api_versions[Route.QUERY.label] != Route.QUERY.versions[0]
        ):
            return
        opened = [
            oracle.opened_at[client.key]
            for client in self.world.clients
            if client.process is process and client.opened and client.key in oracle.opened_at
        ]
        epoch = self.world.now_ns() / 1e9 - self.world.clock.seconds()
        for (of, _), kept in agent.readable.flat.kept.items():
            made = kept.trusted.time_ns / 1e9 - epoch
            late = max(opened, default=0.0) - made - RENEW - 2 * KEPT_BY_NODES
            if of == root_key and late > 0:
                oracle.fail(f"a delegation is kept {late:.0f} s after a newer one should have replaced it")

    def check_at_end(self) -> None:
        self._call.cancel()


class _Fetches:
    """What was fetched, and how often that may be.

    :param counts: how often it was, by outcome
    :param apart: seconds between two fetches, in the long run
    """

    def __init__(self, what: str, counts: Mapping[str, int], apart: float, burst: float) -> None:
        self.what = what
        self._counts = counts
        self._before = 0
        self._meter = Meter(1 / apart, burst)

    def too_many(self, now: float) -> bool:
        """Whether more were fetched than may be."""
        count = self._counts["ok"]
        within = [self._meter.count(now) for _ in range(count - self._before)]
        self._before = count
        return not all(within)
