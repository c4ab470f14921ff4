"""Calls that the gateway makes with its own identity, through the same agent and connections as everything else.

Each ends within its timeout. While the network fails, the pause between two attempts grows
(:mod:`icwsgw.agent.update`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icwsgw.devnet.faults import InjectedFault
from icwsgw.errors import CertificateInvalid, HttpError, NotReady, Rejected, TransportError
from icwsgw.ic.identity import Ed25519Identity
from tests.simulation.meter import Meter
from tests.simulation.plan import Plan
from tests.simulation.script import Chance
from tests.simulation.subject import Subject
from tests.simulation.world import CANISTERS

if TYPE_CHECKING:
    from tests.simulation.scenario import Scenario

#: A method that no canister has: the call is rejected in the certified state, and has no effect.
METHOD = "no_such_method"
#: The timeout of a call, in seconds.
TIMEOUT = 40.0
#: Attempts of one call while the network fails: per second, and the burst. Pauses begin at a quarter of a second.
ATTEMPTS = 0.4, 8.0


class GatewayCalls(Subject):
    """Makes such calls and checks their ends."""

    name = "owner"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._under_way: dict[int, float] = {}
        self._meters: dict[bytes, Meter] = {}
        agent: Any = self.world.processes[0].agent
        submit = agent.submit

        def watched(canister: Any, body: bytes, **options: Any) -> Any:
            meter = self._meters.setdefault(body, Meter(*ATTEMPTS))
            if not meter.count(self.world.clock.seconds()):
                self.oracle.fail("a call of the gateway's own is sent again too often")
            return submit(canister, body, **options)

        agent.submit = watched

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        # a process that hands over or is killed makes none
        return plan.processes == 1 and not plan.handovers and not plan.trusting

    @classmethod
    def single(cls, plan: Plan) -> dict[str, float]:
        return {"own_call": 0.2}

    def own_call(self, chance: Chance) -> str:
        """Make a call; in worlds with faults, the network refuses it for a while."""
        world, canister = self.world, chance.choice(CANISTERS[: self.world.plan.canisters])
        seconds = 0.0 if world.plan.calm else chance.choice((0.0, 1.0, 6.0))
        words: dict[str, Any] = chance.choice(({"kind": "http", "status": 503}, {"kind": "reset"}))
        fault = InjectedFault(on="call", canister=canister, method=METHOD, **words)
        if seconds:
            self.oracle.troubles["own call"] += 1
            world.replica.faults.add(fault)
        identity = Ed25519Identity(chance.randbytes(32))
        self._under_way[chance.number] = world.clock.seconds() + TIMEOUT
        update = world.processes[0].agent.update(identity, canister, METHOD, b"DIDL\0\0", timeout=TIMEOUT)
        update.addBoth(self._ended, chance.number)
        world.run(seconds)
        if fault in world.replica.faults:
            world.replica.faults.remove(fault)
        return f"a call of the gateway's own, with {words} for {seconds} s"

    def _ended(self, result: Any, number: int) -> None:
        del self._under_way[number]
        error = getattr(result, "value", result)
        if self.world.plan.calm and not isinstance(error, Rejected):
            self.oracle.fail(f"a call of the gateway's own failed in a calm world: {error!r}")
        elif not isinstance(error, (Rejected, TransportError, HttpError, CertificateInvalid, NotReady, bytes)):
            self.oracle.fail(f"a call of the gateway's own ended with {error!r}")

    def after_step(self) -> None:
        now = self.world.clock.seconds()
        late = [now - due for due in self._under_way.values() if now > due + 10.0]
        if late:
            self.oracle.fail(f"a call of the gateway's own has no end {late[0]:.1f} s after its time")

    check_when_quiet = after_step

    def check_at_end(self) -> None:
        self.world.run(TIMEOUT + 10.0, lambda: not self._under_way)
        if self._under_way:
            self.oracle.fail("a call of the gateway's own has no end")
