"""A bystander: a client of a canister without faults, which must not notice faults of other clients and canisters.

The bystander sends a message from time to time and must receive its echo within the delay of its own canister. Faults,
floods and resets affect only other canisters and clients. There is no bystander in worlds in which the whole network
fails, or in which clients share a limit that others can exhaust, because the gateway guarantees nothing there.
"""

from __future__ import annotations

from typing import Any

from icwsgw.ic.identity import Ed25519Identity
from tests.simulation.clients import SimClient
from tests.simulation.plan import Plan
from tests.simulation.subject import Subject
from tests.simulation.world import QUIET

#: Seconds between two messages.
PERIOD = 1.7
NUMBER = 99_999


class Bystander(Subject):
    """One client and its canister; measures the delay of each echo."""

    name = "bystander"

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        self.client = SimClient(self.world, NUMBER, QUIET, Ed25519Identity(bytes((8, 8)) * 16))
        self.client.was_slow, self.client.looks_on, self.client.link.uplink = False, True, None
        self.client.dawdles = 0.0
        # it reads without delay
        self.client.link.set_rate(None)
        self.world.clients.append(self.client)
        self._said: dict[bytes, float] = {}
        self._call = self.world.clock.callLater(PERIOD, self._speak)
        self._longest = 0.0

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        return plan.neighbour

    @property
    def bound(self) -> float:
        """The longest allowed delay of an echo in seconds: the call, a poll that just missed it, the next poll."""
        plan = self.world.plan
        rounds = 2 * plan.query_latency + 4 * plan.network_jitter
        # a message that a node does not show yet is found by the next regular poll; a budget makes regular polls rarer
        beats = 2 * plan.polling_interval + (3.0 if plan.query_budget else 0.0)
        lag = plan.blocks.interval * (2 + plan.blocks.lag)
        places = 2 * plan.slowest_call if plan.query_budget else 0.0
        return plan.slowest_call + places + rounds + beats + lag + 0.5 + 60 * plan.answer_cost

    def _speak(self) -> None:
        world, client = self.world, self.client
        self._call = world.clock.callLater(PERIOD, self._speak)
        if client.close_code is not None or client.left:
            return
        self._look()
        if client.opened and client.count == len(client.received) and not world.gateway.draining:
            client.talk(1, "e", client.random)
            self._said[b"%d" % client.count] = world.clock.seconds()

    def _look(self) -> None:
        world, client = self.world, self.client
        if world.gateway.draining:
            return
        late = world.clock.seconds() - self._said.get(b"%d" % client.count, world.clock.seconds()) - self.bound
        if len(client.received) < client.count and late > PERIOD:
            self.oracle.fail(f"a bystander has waited for its echo for {late:.1f} s more than {self.bound:.1f} s")
        if not client.opened and world.clock.seconds() > 2 * self.bound + 2 * PERIOD:
            self.oracle.fail("a bystander could not open its session in time")

    def after_step(self) -> None:
        code = self.client.close_code
        if code is not None and not self.client.left and not self.world.gateway.draining:
            self.oracle.fail(f"a bystander was closed with {code}")

    def check_at_end(self) -> None:
        self._call.cancel()
