"""What is done to the network and to the canisters: the steps of a world that is not calm."""

from __future__ import annotations

from typing import Any

from icwsgw.devnet.faults import Fault
from tests.simulation.plan import Plan
from tests.simulation.script import Chance
from tests.simulation.subject import Subject
from tests.simulation.world import CANISTERS
from tests.support.faults import QUERY_FAULTS

CALL_FAULTS: list[dict[str, Any]] = [
    {"kind": "http", "status": 500},
    {"kind": "http", "status": 503},
    {"kind": "http", "status": 429, "retry_after": 1},
    {"kind": "http", "status": 400},
    *({"kind": "reject", "code": code} for code in (2, 2, 4, 5)),
    {"kind": "reject", "code": 4, "certified": True},
    {"kind": "trap"},
    {"kind": "garbage"},
    {"kind": "garbage_candid"},
    {"kind": "cdk_err"},
    {"kind": "hang"},
    {"kind": "half_body"},
    {"kind": "half_body"},
    {"kind": "reset"},
    {"kind": "reset", "after": True},
    {"kind": "reset", "after": True},
    {"kind": "delay", "delay": 0.7},
    {"kind": "delay", "delay": 4.0},
]
#: A call that is executed and whose answer is lost; and what becomes of it when it is sent again.
LOST: list[dict[str, Any]] = [
    {"kind": "reset", "after": True},
    {"kind": "half_body"},
]
AGAIN: list[dict[str, Any]] = [
    {"kind": "http", "status": 400},
    {"kind": "http", "status": 503, "retry_after": 2},
    {"kind": "http", "status": 502},
    {"kind": "reject", "code": 5},
    {"kind": "reset", "after": True},
    {"kind": "hang"},
]


class Harm(Subject):
    """Faults of the network and of canisters, alone and together."""

    name = "network"
    steps = {
        "fault": 6,
        "lost_and_refused": 1.5,
        "asked_to_wait": 0.7,
        "calls_hang": 0.5,
        "repair": 4,
        "reset": 0.5,
        "stop_canister": 0.5,
        "network_goes": 0.5,
        "network_comes": 1.0,
        "restart": 0.2,
    }

    @classmethod
    def wanted(cls, plan: Plan) -> bool:
        return not plan.calm

    def heal(self) -> None:
        world = self.world
        world.network = "up"
        world.replica.faults.clear()
        world.replica.release()
        for host in world.replica.hosts:
            if not host.running:
                world.replica.start(host.id)

    def fault(self, chance: Chance) -> str:
        on = chance.choice(("query", "call", "call"))
        options = dict(chance.choice(QUERY_FAULTS if on == "query" else CALL_FAULTS))
        kind = options["kind"]
        if kind == "gap":
            options["count"] = chance.randint(1, 2)
        elif kind == "lagging" and "hide" not in options:
            # a queue that seems gone for three seconds is one: that is how resets are told
            options["rate"] = 0.25
            self.truth.troubles["lagging"] += 1
        elif chance.random() < 0.5:
            options["count"] = chance.choice((1, 2, 8))
        else:
            options["rate"] = chance.choice((0.1, 0.5, 1.0))
        if chance.random() < 0.5:
            options["canister"] = chance.choice(CANISTERS)
        self.truth.troubles[f"{on} {kind}"] += 1
        self.world.replica.faults.add(Fault(on=on, **options))
        return f"fault on {on}: {options}"

    def lost_and_refused(self, chance: Chance) -> str:
        """Answers to calls that were executed are lost, and then something happens to the repetitions."""
        method = chance.choice(("ws_open", "ws_message", None))
        canister = chance.choice((None, *CANISTERS))
        lost, again = chance.choice(LOST), chance.choice(AGAIN)
        for options, count in ((lost, chance.choice((1, 2))), (again, chance.choice((1, 3)))):
            self.world.replica.faults.add(Fault(on="call", method=method, canister=canister, count=count, **options))
            self.truth.troubles[f"call {options['kind']}"] += 1
        return f"answers to {method or 'calls'} are lost, then {again}"

    def asked_to_wait(self, chance: Chance) -> str:
        canister = chance.choice((None, *CANISTERS))
        seconds, status = chance.choice((1, 3, 20)), chance.choice((429, 429, 503))
        on, count = chance.choice(("query", "query", "call")), chance.choice((1, 2, 10))
        self.world.replica.faults.add(
            Fault(kind="http", status=status, retry_after=seconds, on=on, canister=canister, count=count)
        )
        self.truth.troubles[f"{on} http"] += 1
        return f"{on} of {canister} answered with {status}, Retry-After {seconds}"

    def calls_hang(self, chance: Chance) -> str:
        canister = chance.choice(CANISTERS)
        self.truth.troubles["call hang"] += 1
        self.world.replica.faults.add(Fault(kind="hang", on="call", canister=canister))
        return f"all calls of {canister.text[:5]} hang"

    def repair(self, chance: Chance) -> str | None:
        faults = list(self.world.replica.faults)
        if not faults:
            return None
        gone = chance.choice(faults)
        self.world.replica.faults.remove(gone)
        self.world.replica.release()
        return f"repaired: {gone.on} {gone.kind}"

    def reset(self, chance: Chance) -> str:
        canister = chance.choice(CANISTERS[: self.world.plan.canisters])
        self.truth.troubles["reset"] += 1
        self.truth.new_life(canister)
        self.world.replica.reset(canister)
        return f"{canister.text[:5]} is reset"

    def stop_canister(self, chance: Chance) -> str:
        canister = chance.choice(CANISTERS[: self.world.plan.canisters])
        self.truth.troubles["stopped"] += 1
        if not self.world.replica.host(canister).running:
            self.world.replica.start(canister)
            return f"{canister.text[:5]} starts"
        self.world.replica.stop(canister)
        return f"{canister.text[:5]} stops"

    def network_goes(self, chance: Chance) -> str:
        self.world.network = chance.choice(("refused", "lost"))
        self.truth.troubles["network"] += 1
        return f"the network is {self.world.network}"

    def network_comes(self, chance: Chance) -> str | None:
        if self.world.network == "up":
            return None
        self.world.network = "up"
        return "the network is up"

    def restart(self, chance: Chance) -> str | None:
        if not self.world.plan.trusting:
            # other keys: what it says cannot be verified by the keys of before
            return None
        self.truth.troubles["restart"] += 1
        self.world.restart_replica()
        return "the replica restarts"
