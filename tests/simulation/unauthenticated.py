"""Connections that are not clients: partial requests, partial messages, floods, forged signatures, unknown canisters.

The gateway must end each as the protocol's documentation says, within the time limit given there, and without effect
on others.
"""

from __future__ import annotations

from random import Random

from icwsgw.core.close_reasons import CloseCode
from icwsgw.ic import cbor
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.simulation.clients import SimClient
from tests.simulation.plan import Plan
from tests.simulation.script import Chance
from tests.simulation.subject import Subject
from tests.simulation.world import CANISTERS
from tests.support.ws_wire import handshake, masked

#: The maximum number of such connections at a time.
MOST = 20
#: Canisters that do not exist.
NOWHERE = [Principal(bytes((0, 0, 0, 0, 0, 0x5E, 1, number, 1, 1))) for number in range(8)]


class Forger(SimClient):
    """Sends a ``ws_open`` with an invalid signature."""

    def open_payload(self, now_ns: int, **changes: object) -> bytes:
        payload = super().open_payload(now_ns)
        document = cbor.loads(payload)
        signature = document["envelope"]["sender_sig"]
        forged = payload.replace(signature, bytes((signature[0] ^ 1,)) + signature[1:])
        plan = self.world.plan
        # a fault that is found before the signature is checked
        others = plan.max_connections_per_canister or plan.operations or plan.clocks or plan.opens_per_second
        if not others:
            self.world.oracle.wrong[forged] = "forged"
        return forged


class Replayer(SimClient):
    """Sends another client's recorded ws_open again."""

    def open_payload(self, now_ns: int, **changes: object) -> bytes:
        super().open_payload(now_ns)
        return self.overheard


class UnauthenticatedConnections(Subject):
    """Opens such connections."""

    name = "stranger"
    steps = {
        "half_request": 0.4,
        "wrong_request": 0.5,
        "half_message": 0.6,
        "flood": 0.3,
        "forge": 0.8,
        "name_nowhere": 0.6,
        "come_and_go": 0.4,
        "replay": 0.5,
        "replay_later": 0.3,
        "queue": 0.15,
    }

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        return plan.strangers

    def __init__(self, scenario: object) -> None:
        super().__init__(scenario)  # type: ignore[arg-type]
        self._count = 0

    def _number(self, chance: Chance) -> int:
        """The number of one such connection; a step may have several."""
        self._count += 1
        return 10_000 + 100 * chance.number + self._count % 100

    def _room(self) -> bool:
        return sum(client.connected for client in self.world.clients) < MOST

    def _come(self, chance: Chance, kind: type[SimClient] = SimClient, **options: object) -> SimClient:
        canister = options.pop("canister", CANISTERS[0])
        identity = Ed25519Identity(chance.randbytes(32))
        client = kind(self.world, self._number(chance), canister, identity, **options)  # type: ignore[arg-type]
        self.world.clients.append(client)
        return client

    def half_request(self, chance: Chance) -> str | None:
        if not self.world.plan.wire or not self._room():
            return None
        client = self._come(chance, opens=False, request=chance.random())
        # it is refused at once, or at the end of its time limit
        client.provoked |= {400, 408, 1006}
        return f"stranger {client.number} sends half a request"

    def wrong_request(self, chance: Chance) -> str | None:
        """An invalid request: with a byte that no request head may contain, or without an end."""
        if not self.world.plan.wire or not self._room():
            return None
        request = bytearray(handshake("User-Agent: someone", "Cookie: a=b"))
        if chance.random() < 0.3:
            request[-2:] = b"X-Long: " + b"a" * chance.choice((33_000, 60_000))
        else:
            # after the name of a header
            lines = [at for at in range(len(request)) if request[at : at + 2] == b": "]
            at = chance.choice(lines) + chance.choice((2, 3, 5))
            request[at:at] = bytes((chance.choice((*range(9), *range(10, 32), 127, *[13] * 10)),))
        client = self._come(chance, opens=False, request=bytes(request))
        client.provoked |= {400, 408, 431, 1006}
        return f"stranger {client.number} sends a wrong request"

    def half_message(self, chance: Chance) -> str | None:
        client = self.pick(chance)
        if client is None or not client.link.wire or self.world.plan.message_timeout > 10:
            return None
        whole = masked(2, chance.randbytes(chance.choice((10, 300, 5000))))
        client.link.garbage(whole[: chance.randint(2, len(whole) - 1)])
        # the gateway reads everything that follows as the rest of the message
        client.provoked |= {CloseCode.TOO_SLOW, 1002, 1006, 1007, 1009}
        client.link.half_since = self.world.clock.seconds()
        timeout = self.world.plan.message_timeout + 30.0
        self.world.at_end.append(self.world.clock.callLater(timeout, client.cut, False))
        return f"client {client.number} sends half a message"

    def flood(self, chance: Chance) -> str | None:
        client = self.pick(chance)
        if client is None or not client.link.wire:
            return None
        count = chance.choice((300, 900, 3000))
        client.link.frames_up += count
        client.link.garbage(masked(9, b"") * count)
        client.provoked |= {CloseCode.RATE_LIMIT, CloseCode.TOO_SLOW, 1006}
        self.world.at_end.append(self.world.clock.callLater(8.0, client.cut, False))
        return f"client {client.number} floods with {count} pings"

    def forge(self, chance: Chance) -> str | None:
        if not self._room():
            return None
        count = chance.choice((1, 8, 8))
        canister = chance.choice(CANISTERS[: self.world.plan.canisters])
        for _ in range(count):
            client = self._come(chance, Forger, canister=canister)
            client.doomed |= {CloseCode.OPEN_REFUSED, CloseCode.CANISTER_NOT_ALLOWED, CloseCode.OVERLOADED, 429}
            client.doomed |= {CloseCode.EXPIRED}
        if count == 8 and chance.random() < 0.9:
            # more connections from the same address: at once, while it is suspect, or after the suspicion has ended
            self.world.run(chance.choice((1.0, 1.0, 13.0)))
            for _ in range(8):
                client = self._come(chance, canister=canister)
                client.doomed |= {CloseCode.NOT_OPENED, CloseCode.OVERLOADED, CloseCode.CANISTER_NOT_ALLOWED}
                self.world.at_end.append(self.world.clock.callLater(6.0, client.leave))
        return f"{count} strangers forge their ws_open"

    def name_nowhere(self, chance: Chance) -> str | None:
        if not self._room():
            return None
        # ws_close does not arrive there either
        self.oracle.troubles["nowhere"] += 1
        count = chance.choice((1, 2, 6))
        for _ in range(count):
            client = self._come(chance, canister=chance.choice(NOWHERE))
            client.doomed |= {CloseCode.OPEN_REFUSED, CloseCode.NOT_OPENED, CloseCode.CANISTER_SILENT}
            client.doomed |= {CloseCode.OVERLOADED, CloseCode.CANISTER_NOT_ALLOWED}
        return f"{count} strangers name canisters that are none"

    def replay(self, chance: Chance) -> str | None:
        """Replay a ws_open that belongs to another client."""
        victims = [c for c in self.world.clients if c.opened and c.open_sent and c.canister not in self.world.unserved]
        if not victims or not self._room():
            return None
        victim = chance.choice(victims)
        client = self._come(chance, Replayer, canister=victim.canister, process=victim.process)
        assert isinstance(client, Replayer)
        client.overheard = victim.open_sent
        client.doomed |= {CloseCode.OPEN_REFUSED, CloseCode.CANISTER_NOT_ALLOWED, CloseCode.OVERLOADED}
        client.doomed |= {CloseCode.EXPIRED, CloseCode.WRONG_GATEWAY}
        return f"stranger {client.number} repeats the ws_open of client {victim.number}"

    def replay_later(self, chance: Chance) -> str | None:
        """The same, immediately before the envelope expires."""
        if self.world.plan.polling_interval < 0.3 or not any(client.usable for client in self.world.clients):
            return None
        done, number = [], chance.number
        for more in range(chance.choice((1, 3))):
            # each connection has its own number
            chance.number = number + 350_000 * more
            self.world.run(chance.choice((60.0, 120.0, 170.0)))
            done.append(self.scenario.subjects["client"].connect(chance))  # type: ignore[attr-defined]
            self.world.run(chance.choice((20.0, 60.0, 170.0)))
            done.append(self.replay(chance))
        return f"{done}"

    def queue(self, chance: Chance) -> str | None:
        """More ws_open at once than the queue of an address may hold, from several addresses."""
        plan = self.world.plan
        if not plan.opens_per_second or plan.opens_per_second > 10 or not self._room():
            return None
        canister = chance.choice(CANISTERS[: plan.canisters])
        # more than can be relayed in half a minute
        return self._stand_in_line(
            chance, canister, 45 if chance.random() < 0.7 or plan.wire else int(plan.opens_per_second * 30) + 20
        )

    def _stand_in_line(self, chance: Chance, canister: Principal, count: int) -> str:
        for number in range(count):
            # each step has a hundred numbers
            chance.number += 50_000 * (number > 0 and number % 100 == 0)
            client = self._come(chance, canister=canister)
            client.doomed |= {CloseCode.NOT_OPENED, CloseCode.OVERLOADED, CloseCode.CANISTER_NOT_ALLOWED}
            self.world.at_end.append(self.world.clock.callLater(chance.choice((2.0, 8.0)), client.leave))
        return f"{count} clients come to {canister.text[:5]} at once"

    def come_and_go(self, chance: Chance) -> str | None:
        """Clients that disconnect before their session is open."""
        if not self._room():
            return None
        count = chance.choice((1, 4))
        canister = chance.choice(CANISTERS[: self.world.plan.canisters])
        for _ in range(count):
            client = self._come(chance, canister=canister)
            when = chance.choice((0.0, 0.02, 0.1, 0.5, 2.0))
            self.world.at_end.append(self.world.clock.callLater(when, _go, client, chance.random() < 0.5, chance))
        return f"{count} clients come and go"


def _go(client: SimClient, politely: bool, random: Random) -> None:
    if politely:
        client.leave()
    else:
        client.cut(random.random() < 0.3)
