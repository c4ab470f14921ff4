"""The normal behaviour of clients and canisters: the steps of a world without faults."""

from __future__ import annotations

from random import Random

from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.simulation.clients import SimClient
from tests.simulation.oracle import SWAPPED, _show
from tests.simulation.plan import Plan
from tests.simulation.script import Chance
from tests.simulation.subject import Subject
from tests.simulation.world import CANISTERS

MAX_CLIENTS = 14
#: Numbers of the clients that come in a crowd.
CROWD = 2_000_000
#: Numbers of the many clients that come at the end.
MANY = 4_000_000
#: Identities of the clients that connect again and again.
REGULARS = [Ed25519Identity(bytes((9, number)) * 16) for number in range(6)]


class ClientSteps(Subject):
    """Steps in which clients connect, send messages, disconnect, lose their connections, and violate the protocol."""

    name = "client"
    steps = {
        "connect": 4,
        "talk": 10,
        "push": 3,
        "leave": 2,
        "cut": 1.5,
        "reconnect": 1,
        "stop_reading": 0.7,
        "misbehave": 0.7,
        "kick": 0.4,
        "hasty": 0.5,
        "out_of_turn": 0.7,
        "read_again": 1.0,
        "wait": 0.25,
        "stream": 0.3,
        "rush": 0.5,
        "babble": 0.4,
        "crowd": 1.0,
    }

    @classmethod
    def rare(cls, plan: Plan) -> dict[str, float]:
        return {"succeed": 1.0, **({"chatter": 3.0} if plan.client_message_rate < 100 else {})}

    @classmethod
    def single(cls, plan: Plan) -> dict[str, float]:
        return {"chatter": 0.7 * (plan.wire and plan.client_message_rate < 100 and not plan.blocks.interval)}

    def heal(self) -> None:
        """Let all clients read again."""
        for client in self.world.clients:
            client.link.set_reading(True)

    def connect(self, chance: Chance) -> str | None:
        identity = chance.choice(REGULARS) if chance.random() < 0.3 else _stranger(chance)
        return self._connect(chance, chance.choice(CANISTERS[: self.world.plan.canisters]), identity)

    def _connect(self, chance: Chance, canister: Principal, identity: Ed25519Identity) -> str | None:
        world = self.world
        if sum(client.connected and client.number < CROWD for client in world.clients) >= MAX_CLIENTS:
            return None
        process = chance.choice(world.processes)
        client = SimClient(world, chance.number, canister, identity, chance.random() < 0.95, process)
        world.clients.append(client)
        return f"client {client.number} {_show(client.key)} connects to {canister.text[:5]}"

    def talk(self, chance: Chance) -> str | None:
        # also before the session is open: such messages have to wait
        client = self.pick(chance, is_open=chance.random() < 0.9)
        if client is None or client.gateway is None:
            return None
        count, order = chance.choice((1, 1, 2, 5, 20)), chance.choice("eeeenb")
        client.talk(count, order, chance)
        return f"client {client.number} sends {count} {order}"

    def hasty(self, chance: Chance) -> str | None:
        """A message whose envelope expires soon."""
        client = self.pick(chance)
        if client is None or client.clock_offset:
            return None
        ttl = chance.choice((2.0, 6.0, 20.0))
        client.talk(1, "e", chance, ttl)
        return f"client {client.number} sends one that expires in {ttl:.0f} s"

    def out_of_turn(self, chance: Chance) -> str | None:
        """Two messages in the wrong order."""
        plan = self.world.plan
        client = self.pick(chance)
        if client is None or plan.client_message_rate < 100 or plan.client_byte_rate < 1 << 20 or plan.crowded:
            return None
        pairs = chance.choice((1, 1, 2, 3))
        for pair in range(pairs):
            later = chance.choice((0.0, 0.0, 0.3, 0.7))
            if pair:
                self.world.run(chance.choice((0.5, 0.8)))
            if client.usable and client.opened:
                client.talk_out_of_turn(chance, later)
        if later and chance.random() < 0.3:
            # before the first of the two has arrived
            self.oracle.spoil(client.key, SWAPPED)
            self.world.run(later / 2)
            client.leave()
        return f"client {client.number} sends {pairs} pairs in the wrong order"

    def succeed(self, chance: Chance) -> str | None:
        """A canister sends to a client that leaves, and to the next connection of its principal, in the same page."""
        world = self.world
        client = self.pick(chance)
        if client is None or not world.replica.host(client.canister).running:
            return None
        ws, count = world.replica.host(client.canister).ws, chance.choice((1, 3))

        def part() -> None:
            if client.usable:
                for number in range(count):
                    self.oracle.push(client.canister, ws, client.identity.principal, b"s%d" % number)
                client.leave()

        if chance.random() < 0.5:
            part()
        else:
            # immediately before the canister handles the next ws_open
            self.oracle.at_open[client.canister, client.identity.principal.raw] = part
        return self._connect(chance, client.canister, client.identity)

    def stream(self, chance: Chance) -> str | None:
        """A client sends one message after another for a while, perhaps faster than the canister executes them."""
        world = self.world
        client = self.pick(chance)
        if client is None or world.plan.polling_interval < 0.3:
            return None
        pause, count = chance.choice((0.3, 0.7, 1.5)), chance.choice((10, 40, 90))
        for _ in range(count):
            if client.usable and client.opened:
                client.talk(1, "n", chance)
            world.run(pause)
        return f"client {client.number} has sent {count}, one each {pause} s"

    def babble(self, chance: Chance) -> str | None:
        """All clients send much at once, some of one canister more than the others."""
        world = self.world
        loud = self.pick(chance)
        if loud is None or (world.plan.query_budget is None and world.plan.calls > 20):
            return None
        for client in world.clients:
            if client.usable and client.opened:
                client.talk(20 if client.canister == loud.canister else 3, "n", chance)
        world.run(chance.choice((2.0, 8.0)))
        return f"all clients of {loud.canister.text[:5]} send 20, the others 3"

    def chatter(self, chance: Chance) -> str | None:
        """A client sends far more messages at once than its rate limit allows, and all are executed at once."""
        world, rate = self.world, self.world.plan.client_message_rate
        client, ingress = self.pick(chance), self.world.replica.ingress
        if client is None or rate > 100 or (world.plan.blocks.interval and world.plan.slowest_call > 1.0):
            return None
        usual = ingress.latency, ingress.jitter
        if usual[0] != world.plan.call_latency:
            return None
        if not world.plan.blocks.interval:
            # so that only its rate limit delays it
            ingress.latency = ingress.jitter = 0.0
        count, pieces = chance.choice((6, 8)) * max(rate, 5), chance.choice((1, 6))
        for _ in range(pieces):
            if client.usable and client.opened:
                client.talk(count // pieces, "n", chance)
            world.run(0.02)
        world.run(1.0)
        ingress.latency, ingress.jitter = usual
        return f"client {client.number} sends {count} at once, {rate} a second may be"

    def rush(self, chance: Chance) -> str | None:
        """Several clients connect at once after a quiet time."""
        world = self.world
        if not world.plan.refuses:
            return None
        world.run(chance.choice((0.5, 3.0, 10.0)))
        canister = chance.choice(CANISTERS[: world.plan.canisters])
        count = chance.choice((4, 8))
        for _ in range(count):
            chance.number += 600_000
            world.clients.append(SimClient(world, chance.number, canister, _stranger(chance)))
        chance.number -= count * 600_000
        return f"{count} clients come at once"

    def reset_while_away(self, chance: Chance) -> None:
        """A canister is reset while none of its clients is connected."""
        world = self.world
        canister = chance.choice(CANISTERS[: world.plan.canisters])
        self.oracle.troubles["reset"] += 1
        self.oracle.new_life(canister)
        world.replica.reset(canister)
        self.oracle.note(f"{canister.text[:5]} is reset while nobody is there")

    def push(self, chance: Chance) -> str | None:
        client = self.pick(chance)
        if client is None or not self.world.replica.host(client.canister).running:
            return None
        host, count = self.world.replica.host(client.canister), chance.choice((1, 10, 120))
        for number in range(count):
            self.oracle.push(client.canister, host.ws, client.identity.principal, b"p%d" % number + b"." * 300)
        return f"{client.canister.text[:5]} sends {count} to client {client.number}"

    def kick(self, chance: Chance) -> str | None:
        client = self.pick(chance)
        if client is None:
            return None
        client.talk(1, "k", chance)
        return f"client {client.number} asks to be closed"

    def leave(self, chance: Chance) -> str | None:
        client = self.pick(chance, is_open=chance.random() < 0.7)
        if client is None:
            return None
        client.leave()
        return f"client {client.number} leaves"

    def cut(self, chance: Chance) -> str | None:
        client = self.pick(chance, is_open=chance.random() < 0.7)
        if client is None:
            return None
        client.cut(silent=chance.random() < 0.5)
        return f"client {client.number} is cut"

    def reconnect(self, chance: Chance) -> str | None:
        client = self.pick(chance, is_open=False)
        if client is None:
            return None
        if chance.random() < 0.5:
            client.cut(silent=chance.random() < 0.5)
        return self._connect(chance, client.canister, client.identity)

    def stop_reading(self, chance: Chance) -> str | None:
        client = self.pick(chance)
        if client is None:
            return None
        client.stop_reading()
        return f"client {client.number} stops reading"

    def read_again(self, chance: Chance) -> str | None:
        self.heal()
        return None

    def wait(self, chance: Chance) -> str | None:
        """Let more time pass than a signature is valid for, in worlds in which idle time is cheap."""
        seconds = chance.choice((60.0, 300.0, 400.0))
        if self.world.plan.polling_interval < 0.3:
            return None
        self.world.run(seconds)
        return f"nothing has happened for {seconds:.0f} s"

    def crowd(self, chance: Chance) -> str | None:
        """More clients than the gateway handles in one batch connect at once."""
        world = self.world
        if not world.plan.crowd or any(client.number >= CROWD for client in world.clients):
            return None
        canister, process = chance.choice(CANISTERS[: world.plan.canisters]), chance.choice(world.processes)
        for number in range(chance.choice((101, 130, 230))):
            world.clients.append(SimClient(world, CROWD + number, canister, _stranger(chance), process=process))
        return f"a crowd connects to {canister.text[:5]}"

    def many(self, chance: Chance, count: int) -> None:
        """Connect this many clients to one canister."""
        for number in range(count):
            client = SimClient(self.world, MANY + number, CANISTERS[0], _stranger(chance))
            client.dawdles = 0.0
            self.world.clients.append(client)

    def misbehave(self, chance: Chance) -> str | None:
        client = self.pick(chance, is_open=False)
        if client is None:
            return None
        return f"client {client.number} misbehaves: {client.misbehave(chance)}"


def _stranger(random: Random) -> Ed25519Identity:
    return Ed25519Identity(random.randbytes(32))
