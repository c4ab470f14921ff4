"""Calls that wait: for slots, for tokens, for their answers, and for earlier calls.

Independent steps seldom make more calls than there are slots, and hardly ever while another canister's calls wait, or
until one of them expires. The module ``waiting`` checks the order in which they are served.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from icwsgw.core.sequence_buffer import HOLD_SECONDS
from icwsgw.devnet.faults import InjectedFault
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.simulation.clients import SimClient
from tests.simulation.combined_steps import APART, WithNewClients
from tests.simulation.plan import Plan
from tests.simulation.script import Chance
from tests.simulation.world import CANISTERS

#: Seconds in which those who come have opened their sessions, where nothing keeps them from it.
OPENING = 8.0


class _WithGroups(WithNewClients):
    """Several clients of one canister come, and do the same."""

    def _group(self, canister: Principal, count: int, chance: Chance) -> list[SimClient]:
        clients = [self._come(canister, Ed25519Identity(chance.randbytes(32)), chance) for _ in range(count)]
        for client in clients:
            client.dawdles = 0.0
        return clients

    def _until_open(self, *groups: Sequence[SimClient]) -> None:
        self.world.run(OPENING, lambda: all(client.opened for group in groups for client in group))

    def _say(self, clients: Sequence[SimClient], count: int, chance: Chance, ttl: float = 240.0) -> None:
        for client in clients:
            if client.usable and client.opened:
                client.talk(count, "n", chance, ttl)


class Contention(_WithGroups):
    """No fault is needed for it."""

    name = "contention"
    first = APART + 100_000

    @classmethod
    def single(cls, plan: Plan) -> dict[str, float]:
        scarce = plan.query_budget is not None and plan.query_budget <= 40
        # so that calls wait for tokens alone
        swift = plan.calls > 20 and plan.slowest_call < 0.8
        return {"talk_over": 0.9 * (scarce and swift and plan.canisters > 1 and not plan.crowd)}

    def talk_over(self, chance: Chance) -> str:
        """Many clients of one canister say more than may leave, and two of another one have something to say, too."""
        loud, quiet = chance.sample(CANISTERS[: self.world.plan.canisters], 2)
        many, few = self._group(loud, 14, chance), self._group(quiet, 2, chance)
        self._until_open(many, few)
        self._until_open(many, few)
        self._say(many, 10, chance)
        self._say(few, 6, chance)
        self.world.run(12.0)
        return f"{[client.number for client in many]} of {loud.text[:5]} say much, two of {quiet.text[:5]} a little"


class ContentionWithFaults(_WithGroups):
    """Calls hang, take long or lack what comes before them."""

    name = "hard_contention"
    first = APART + 150_000

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        self._usual = self.world.plan.call_latency

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        return not plan.calm

    @classmethod
    def single(cls, plan: Plan) -> dict[str, float]:
        few = plan.calls <= 20 and not plan.crowd
        swift = plan.client_message_rate >= 100 and plan.client_byte_rate >= 1 << 20 and not plan.crowded
        return {
            "one_is_done": 0.5 * (plan.calls == 4 and plan.canisters > 2 and not plan.crowd and not plan.neighbour),
            "expires_in_line": 0.3 * (few and not plan.clocks),
            "leaves_meanwhile": 0.12 * (not plan.neighbour),
            "skips": 0.15 * swift,
        }

    def heal(self) -> None:
        self.world.replica.ingress.latency = self._usual

    def _hang(self, canister: Principal) -> InjectedFault:
        self.oracle.troubles["call hang"] += 1
        return self.world.replica.faults.add(
            InjectedFault(kind="hang", on="call", canister=canister, method="ws_message")
        )

    def _end(self, *faults: InjectedFault) -> None:
        for fault in faults:
            if fault in self.world.replica.faults:
                self.world.replica.faults.remove(fault)
        self.world.replica.release()

    def one_is_done(self, chance: Chance) -> str:
        """All slots are taken; the calls of one canister end, and those of the two others hang."""
        world = self.world
        done, *others = chance.sample(CANISTERS, 3)
        groups = [
            self._group(canister, count, chance) for canister, count in zip((done, *others), (2, 3, 1), strict=True)
        ]
        self._until_open(*groups)
        self.oracle.troubles["call delay"] += 1
        late = InjectedFault(kind="delay", on="call", canister=done, method="ws_message", delay=2.0)
        faults = [world.replica.faults.add(late), *map(self._hang, others)]
        for group in groups:
            self._say(group, 1, chance)
            world.run(0.4)
        world.run(2.5 + world.plan.slowest_call)
        self._end(*faults)
        return f"calls of {done.text[:5]} took two seconds, those of {[each.text[:5] for each in others]} hung"

    def expires_in_line(self, chance: Chance) -> str:
        """Calls that hang take all slots of a canister; one that waits for a slot expires before it has one.

        With several processes, a slot of its process may be free: then it hangs until it has expired, and its outcome
        is unknown.
        """
        world = self.world
        canister, ttl = chance.choice(CANISTERS[: world.plan.canisters]), chance.choice((2.0, 6.0))
        many, last = self._group(canister, world.plan.calls // 2 + 1, chance), self._group(canister, 1, chance)
        self._until_open(many, last)
        hang = self._hang(canister)
        self._say(many, 1, chance)
        world.run(0.3)
        self._say(last, 1, chance, ttl)
        world.run(14.0)
        self._end(hang)
        return f"all calls of {canister.text[:5]} hung, one of client {last[0].number} was good for {ttl:.0f} s"

    def leaves_meanwhile(self, chance: Chance) -> str | None:
        """A client leaves while its call takes longer than the network waits for one, and is asked for again."""
        world = self.world
        if world.replica.ingress.latency != self._usual:
            return None
        (client,) = self._group(chance.choice(CANISTERS[: world.plan.canisters]), 1, chance)
        self._until_open([client])
        self.oracle.troubles["slow"] += 1
        world.replica.ingress.latency = 25.0
        if client.usable and client.opened:
            client.talk(2, "e", chance)
        world.run(0.5 + 2 * world.plan.network_jitter)
        world.replica.ingress.latency = self._usual
        world.run(chance.uniform(9.0, 14.0))
        client.leave()
        world.run(2.0)
        return f"client {client.number} leaves while its call is under way for long"

    def skips(self, chance: Chance) -> str | None:
        """A message does not come; those behind it wait for it, as long as they may."""
        client = self.pick(chance)
        if client is None:
            return None
        self.oracle.spoil(client.key, "left one out")
        client.talk_out_of_turn(chance, HOLD_SECONDS + chance.choice((0.2, 3.0)))
        self.world.run(HOLD_SECONDS + 0.1)
        return f"client {client.number} leaves out a message"
