"""Clients that read slowly, or not at all, while their canisters send more than their buffers hold.

A client that reads steadily keeps its session, however many bytes wait for it. A client for which more than the limit
waits is closed with 4104, and receives that close frame as long as it reads. No client affects another one.
"""

from __future__ import annotations

from tests.simulation.clients import SimClient
from tests.simulation.links import TRANSPORT_BUFFER, WireLink
from tests.simulation.plan import Plan
from tests.simulation.script import Chance
from tests.simulation.subject import Subject

#: Bytes of one message. Pages have room for several.
SIZE = 40_000
#: Bytes a second of a steady reader: it reads the transport's buffer within half of the time limit.
STEADY = 16_000
#: Bytes a second of a reader that receives everything in flight before the connection is ended.
BRISK = 200_000


class SlowReaders(Subject):
    """Steps in which canisters send much at once."""

    name = "reader"

    @classmethod
    def rare(cls, plan: Plan) -> dict[str, float]:
        return {"steady": 1.5, "overflow": 1.5, "hidden": 1.5}

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        return plan.wire and not plan.crowded and plan.processes == 1

    def _reader(self, chance: Chance, *others: SimClient) -> SimClient | None:
        clients = [
            (client.number, client)
            for client in self.world.clients
            if client.usable and client.opened and client not in others and isinstance(client.link, WireLink)
            if client.link.reading and self.world.replica.host(client.canister).running
        ]
        return chance.pick(clients)

    def _gush(self, client: SimClient, octets: int) -> None:
        """Let a canister send this many bytes."""
        ws = self.world.replica.host(client.canister).ws
        for number in range(octets // SIZE + 1):
            self.oracle.push(client.canister, ws, client.identity.principal, b"g%d " % number + b"." * SIZE)

    def steady(self, chance: Chance) -> str | None:
        """More waits for a client than it can read within the time limit, but it reads steadily."""
        client = self._reader(chance)
        if client is None or self.world.plan.outbox_bytes < 1 << 18:
            return None
        octets = min(self.world.plan.outbox_bytes - SIZE, 260_000)
        client.was_slow = True
        client.link.set_speed(STEADY)
        self._gush(client, octets)
        self.world.run(2.0 + octets / STEADY)
        client.link.set_rate(None)
        return f"client {client.number} has read {octets} bytes at {STEADY} a second"

    def overflow(self, chance: Chance) -> str | None:
        """More waits for a client than the limit allows, although it reads all the time."""
        client = self._reader(chance)
        if client is None:
            return None
        client.was_slow = True
        client.link.set_speed(chance.choice((BRISK, BRISK, 2 * BRISK)))
        self._gush(client, self.world.plan.outbox_bytes + 4 * TRANSPORT_BUFFER)
        self.world.run(chance.choice((2.0, 5.0)))
        client.link.set_rate(None)
        return f"client {client.number} gets more than may wait for it"

    def hidden(self, chance: Chance) -> str | None:
        """A client leaves without reading its waiting messages; then more than the limit arrives for another one."""
        first = self._reader(chance)
        second = None if first is None else self._reader(chance, first)
        if first is None or second is None:
            return None
        first.stop_reading()
        self._gush(first, 3 * TRANSPORT_BUFFER)
        self.world.run(1.0 + self.world.plan.query_latency + self.world.plan.polling_interval)
        first.leave()
        second.stop_reading()
        self._gush(second, self.world.plan.outbox_bytes + 2 * TRANSPORT_BUFFER)
        self.world.run(4.0)
        return f"client {first.number} leaves and reads nothing, client {second.number} reads nothing either"
