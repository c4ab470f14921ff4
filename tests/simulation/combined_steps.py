"""Steps that combine several events, which independent steps hardly ever bring about.

Each event is plain on its own: many clients connect at once, a canister is reset while its queue is read, the whole
host asks to wait. The invariants are the general ones; these steps only create the situations.
"""

from __future__ import annotations

from typing import Any

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.request_budget import OPEN_QUEUE_SECONDS
from icwsgw.devnet.faults import InjectedFault
from icwsgw.devnet.topology import NODES
from icwsgw.ic import cbor
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.simulation.clients import SimClient
from tests.simulation.plan import Plan
from tests.simulation.script import Chance
from tests.simulation.subject import Subject
from tests.simulation.world import CANISTERS

#: Seconds by which some answers come later than others while a canister is reset.
HELD = 4.0
#: The range of numbers of this step's clients, of one principal or of many.
APART = 700_000


class WithNewClients(Subject):
    """A subject whose steps connect new clients."""

    #: the first number of its clients
    first = APART

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        self._comers = 0

    def _come(self, canister: Principal, identity: Ed25519Identity, chance: Chance) -> SimClient:
        self._comers += 1
        number = self.first + 1000 * chance.number + self._comers % 1000
        client = SimClient(self.world, number, canister, identity, process=chance.choice(self.world.processes))
        self.world.clients.append(client)
        return client


class CombinedSteps(WithNewClients):
    """Combined steps without a fault."""

    name = "ordeal"

    @classmethod
    def rare(cls, plan: Plan) -> dict[str, float]:
        many = plan.opens_per_second is not None and plan.opens_per_second <= 3 and not plan.refuses
        return {
            "twins": 1.0 * (plan.identities > 1 and not plan.neighbour),
            "flood_down": 1.0 * (plan.answer_cost > 0 and plan.canisters > 1 and not plan.crowd),
            "line": 6.0 * (many and plan.wire and min(plan.addresses, plan.canisters) > 1),
        }

    def twins(self, chance: Chance) -> str:
        """A principal opens two connections in the same moment."""
        identity = Ed25519Identity(chance.randbytes(32))
        canister = chance.choice(CANISTERS[: self.world.plan.canisters])
        pair = [self._come(canister, identity, chance) for _ in range(2)]
        self.world.run(chance.choice((0.0, 2.0)))
        return f"clients {[client.number for client in pair]} of one principal come at once"

    def flood_down(self, chance: Chance) -> str:
        """All canisters send much at once."""
        world = self.world
        sending: set[Principal] = set()
        for client in world.clients:
            running = client.canister not in sending and client.canister in CANISTERS
            if client.usable and client.opened and running and world.replica.host(client.canister).running:
                sending.add(client.canister)
                ws = world.replica.host(client.canister).ws
                for number in range(120):
                    self.oracle.push(client.canister, ws, client.identity.principal, b"f%d" % number + b"." * 900)
        world.run(0.5)
        return f"{len(sending)} canisters send 120 messages each"

    def line(self, chance: Chance) -> str:
        """More ws_open than may be queued arrive at once from several addresses, for canisters that have answered."""
        canisters = CANISTERS[: self.world.plan.canisters]
        for canister in canisters:
            self._come(canister, Ed25519Identity(chance.randbytes(32)), chance)
        self.world.run(3.0)
        count = int((self.world.plan.opens_per_second or 0.0) * OPEN_QUEUE_SECONDS) + 110
        for number in range(count):
            canister = canisters[number % len(canisters)]
            client = self._come(canister, Ed25519Identity(chance.randbytes(32)), chance)
            client.dawdles = 0.0
            client.doomed |= {CloseCode.NOT_OPENED, CloseCode.OVERLOADED, CloseCode.CANISTER_NOT_ALLOWED}
            self.world.at_end.append(self.world.clock.callLater(8.0, client.leave))
        return f"{count} clients come at once"


class CombinedFaults(WithNewClients):
    """Combined steps with a fault."""

    name = "hard"
    first = APART + 50_000

    @classmethod
    def rare(cls, plan: Plan) -> dict[str, float]:
        # the most messages that ten clients may have waiting
        full = plan.max_waiting_bytes < 12_000 * min(plan.relay_queue, 20)
        return {
            "reset_amid": 1.0 * (plan.poll_window > 1),
            "host_pause": 2.0 * (plan.canisters > 2 and not plan.neighbour),
            "crowd_out": 6.0 * (full and plan.canisters > 1),
            "no_reply": 0.5,
        }

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        return not plan.calm

    @classmethod
    def single(cls, plan: Plan) -> dict[str, float]:
        return {"reset_seen_late": 0.2 * (not plan.crowd)}

    def heal(self) -> None:
        self.world.slow = None

    def reset_amid(self, chance: Chance) -> str | None:
        """A canister is reset while several polls read its queue; the first of them is answered last."""
        world = self.world
        client = self.pick(chance)
        if client is None or client.canister in world.unserved:
            return None
        canister, host = client.canister, world.replica.host(client.canister)
        poller: Any = None if client.session is None else client.session.poller
        if poller is None or not host.running:
            return None

        def slow(body: bytes) -> float:
            content = cbor.loads(body)["content"]
            first = content["canister_id"] == canister.raw and poller._window.deep
            return HELD if first and content["arg"].endswith(poller.cursor.next.to_bytes(8, "little")) else 0.0

        for number in range(150):
            self.oracle.push(canister, host.ws, client.identity.principal, b"r%d" % number + b"." * 300)
        world.slow = slow
        kept = world.run(1.0, lambda: bool(poller._reorder_buffer.kept))
        if kept and not world.plan.neighbour:
            self._reset(canister)
        world.run(HELD)
        world.slow = None
        return f"{canister.text[:5]} {'is reset' if kept else 'is slow'} while client {client.number} receives much"

    def reset_seen_late(self, chance: Chance) -> str | None:
        """A canister is reset; lagging nodes still answer from the old queue while new clients connect."""
        world = self.world
        client = self.pick(chance)
        canister = chance.choice(CANISTERS[: world.plan.canisters]) if client is None else client.canister
        if canister in world.unserved or not world.replica.host(canister).running:
            return None
        if client is None or chance.random() < 0.3:
            if client is not None:
                self._reset(canister)
            client = self._come(canister, Ed25519Identity(chance.randbytes(32)), chance)
            world.run(8.0)
        self._fill(canister, client, chance)
        world.run(chance.choice((0.0, 2.0)))
        oldest, newest = chance.choice(((0, 0), (0, 0), (0, 1), (3, 0), (1000, 0)))
        # a canister deletes no message that is not read
        read = min((poller.cursor.next for poller in world.pollers(canister)), default=0)
        world.replica.keep(canister, min(oldest, read), newest)
        behind = world.replica.behind
        some = [frozenset(chance.sample(range(NODES), count)) for count in (1, 2, 3)]
        everywhere, nowhere = frozenset(range(NODES)), frozenset[int]()
        after, lasts = chance.choice((nowhere, some[1], everywhere)), chance.choice((0.5, 1.5, 4.0))
        self.oracle.at_restart[canister] = lambda: behind.update({canister: after})
        self._reset(canister)
        behind[canister] = chance.choice((nowhere, *some))
        comers = [self._come(canister, Ed25519Identity(chance.randbytes(32)), chance) for _ in range(2)]
        # the new queue may be longer than the old one before the reset is found
        world.run(6.0, lambda: canister not in self.oracle.at_restart or comers[0].key in self.oracle.opened)
        self._fill(canister, comers[0], chance)
        world.run(12.0, lambda: canister not in self.oracle.at_restart)
        self.oracle.at_restart.pop(canister, None)
        world.run(lasts)
        phases = [(everywhere, chance.choice((2.0, 4.0, 8.0)))]
        phases += [
            (chance.choice((nowhere, *some, everywhere)), chance.choice((0.5, 2.0, 4.0)))
            for _ in range(chance.choice((1, 3)))
        ]
        chance.shuffle(phases)
        for nodes, seconds in phases:
            behind[canister] = nodes
            comers.append(self._more_come(canister, comers, chance))
            world.run(seconds)
        behind.pop(canister, None)
        self.oracle.caught_up[canister] = world.clock.seconds()
        return f"{canister.text[:5]} is reset, {len(comers)} clients come while nodes lag behind"

    def _more_come(self, canister: Principal, comers: list[SimClient], chance: Chance) -> SimClient:
        """Clients that have connected get and send messages, and one more connects."""
        self._fill(canister, comers[0], chance)
        another = self._come(canister, Ed25519Identity(chance.randbytes(32)), chance)
        for each in (*comers, another):
            if each.usable and each.opened:
                each.talk(1, "e", chance)
        return another

    def _reset(self, canister: Principal) -> None:
        self.oracle.troubles["reset"] += 1
        self.oracle.new_life(canister)
        self.world.replica.reset(canister)

    def _fill(self, canister: Principal, client: SimClient, chance: Chance) -> None:
        """A canister sends something to a client, if it knows the client."""
        host = self.world.replica.host(canister)
        for number in range(chance.choice((0, 1, 3, 30)) if host.running else 0):
            self.oracle.push(canister, host.ws, client.identity.principal, b"q%d" % number)

    def no_reply(self, chance: Chance) -> str | None:
        """A message is executed, and its call ends without a reply."""
        client = self.pick(chance)
        if client is None:
            return None
        self.oracle.troubles["call reject"] += 1
        words: dict[str, Any] = {"kind": "reject", "code": 5, "error_code": "IC0506", "certified": True}
        fault = InjectedFault(on="call", method="ws_message", canister=client.canister, count=1, **words)
        self.world.replica.faults.add(fault)
        client.talk(2, "e", chance)
        self.world.run(1.0)
        if fault in self.world.replica.faults:
            self.world.replica.faults.remove(fault)
        return f"a message of client {client.number} had no reply"

    def crowd_out(self, chance: Chance) -> str:
        """Messages to one canister, whose calls hang, fill the queue; messages to another one must be sent at once."""
        world, plan = self.world, self.world.plan
        stuck, other = chance.sample(CANISTERS[: plan.canisters], 2)
        loud = [self._come(stuck, Ed25519Identity(chance.randbytes(32)), chance) for _ in range(10)]
        quiet = [self._come(other, Ed25519Identity(chance.randbytes(32)), chance) for _ in range(2)]
        world.run(6.0, lambda: all(client.opened for client in (*loud, *quiet)))
        self.oracle.troubles["call hang"] += 1
        hang = world.replica.faults.add(InjectedFault(kind="hang", on="call", canister=stuck, method="ws_message"))
        for _ in range(10):
            for client in loud:
                if client.usable and client.opened and not client.link.held:
                    client.talk(10, "n", chance)
            world.run(0.1)
        for client in quiet:
            if client.usable and client.opened:
                client.talk(3, "e", chance)
        world.run(3.0 + 3 * plan.slowest_call)
        if hang in world.replica.faults:
            world.replica.faults.remove(hang)
        world.replica.release()
        return f"calls of {stuck.text[:5]} hang, and all room is taken by {[client.number for client in loud]}"

    def host_pause(self, chance: Chance) -> str:
        """Two canisters' polls are asked to wait, which pauses those of a third one that has just failed."""
        world = self.world
        failing, *others = chance.sample(CANISTERS, 3)
        self.oracle.troubles["query http"] += 1
        trap = world.replica.faults.add(InjectedFault(kind="trap", on="query", canister=failing))
        world.run(0.3 + world.plan.polling_interval + world.plan.query_latency)
        for canister in others:
            words: dict[str, Any] = {"kind": "http", "status": 429, "retry_after": 20, "count": 1}
            world.replica.faults.add(InjectedFault(on="query", canister=canister, **words))
        world.run(0.5 + world.plan.polling_interval + world.plan.query_latency)
        if trap in world.replica.faults:
            world.replica.faults.remove(trap)
        world.run(28.0)
        return f"all have to wait for two canisters, while {failing.text[:5]} has just failed"
