"""Faults of the network and of canisters: the steps of a world with faults."""

from __future__ import annotations

from typing import Any

from icwsgw.devnet.faults import InjectedFault
from icwsgw.ic.principal import Principal
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
        "throttled": 0.3,
        "time_passes": 0.5,
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

    def _any(self, chance: Chance) -> Principal | None:
        """A canister, or all of them unless somebody looks on."""
        everywhere = () if self.world.plan.neighbour else (None,)
        return chance.choice((*everywhere, *CANISTERS))

    def _one(self, chance: Chance, options: dict[str, Any]) -> Principal:
        """A canister; what two of them say of the host is the host's word, so with an onlooker only one says it."""
        canister = chance.choice(CANISTERS)
        return CANISTERS[0] if self.world.plan.neighbour and options["kind"] == "http" else canister

    def throttled(self, chance: Chance) -> str | None:
        """The network refuses a canister's queries for longer than the canister's own grace."""
        world = self.world
        if world.plan.network_grace < 2 * world.plan.canister_grace:
            return None
        status = chance.choice((429, 429, 503, 502))
        fault = InjectedFault(kind="http", status=status, on="query", canister=CANISTERS[0])
        self.truth.troubles["query http"] += 1
        world.replica.faults.add(fault)
        world.at_end.append(
            world.clock.callLater(world.plan.canister_grace + 4.0, lambda: world.replica.faults.remove(fault))
        )
        return f"queries of {CANISTERS[0].text[:5]} are answered with {status} for a while"

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
        if chance.random() < 0.5 or self.world.plan.neighbour:
            options["canister"] = self._one(chance, options)
        self.truth.troubles[f"{on} {kind}"] += 1
        self.world.replica.faults.add(InjectedFault(on=on, **options))
        return f"fault on {on}: {options}"

    def lost_and_refused(self, chance: Chance) -> str:
        """Answers to calls that were executed are lost, and then something happens to the repetitions."""
        method = chance.choice(("ws_open", "ws_message", None))
        canister = self._any(chance)
        lost, again = chance.choice(LOST), chance.choice(AGAIN)
        for options, count in ((lost, chance.choice((1, 2))), (again, chance.choice((1, 3)))):
            self.world.replica.faults.add(
                InjectedFault(on="call", method=method, canister=canister, count=count, **options)
            )
            self.truth.troubles[f"call {options['kind']}"] += 1
        return f"answers to {method or 'calls'} are lost, then {again}"

    def asked_to_wait(self, chance: Chance) -> str:
        canister = CANISTERS[0] if self.world.plan.neighbour else self._any(chance)
        seconds, status = chance.choice((1, 3, 20)), chance.choice((429, 429, 503))
        on, count = chance.choice(("query", "query", "call")), chance.choice((1, 2, 10))
        self.world.replica.faults.add(
            InjectedFault(kind="http", status=status, retry_after=seconds, on=on, canister=canister, count=count)
        )
        self.truth.troubles[f"{on} http"] += 1
        return f"{on} of {canister} answered with {status}, Retry-After {seconds}"

    def time_passes(self, chance: Chance) -> str | None:
        """A while in which nothing new happens, where it costs little."""
        if self.world.plan.polling_interval < 1.0 or self.world.plan.clocks:
            return None
        seconds = chance.choice((5.0, 20.0, 60.0, 200.0))
        self.world.run(seconds)
        return f"{seconds:.0f} s have passed"

    def calls_hang(self, chance: Chance) -> str:
        canister = chance.choice(CANISTERS)
        self.truth.troubles["call hang"] += 1
        self.world.replica.faults.add(InjectedFault(kind="hang", on="call", canister=canister))
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

    def network_goes(self, chance: Chance) -> str | None:
        if self.world.plan.neighbour:
            return None
        self.world.network = chance.choice(("refused", "lost"))
        self.truth.troubles["network"] += 1
        return f"the network is {self.world.network}"

    def network_comes(self, chance: Chance) -> str | None:
        if self.world.network == "up":
            return None
        self.world.network = "up"
        return "the network is up"

    def restart(self, chance: Chance) -> str | None:
        if self.world.plan.neighbour:
            return None
        self.truth.troubles["restart"] += 1
        self.world.restart_replica()
        return "the replica restarts"


class Asides(Subject):
    """What is asked for beside calls and polls fails: status, keys, delegations; and queues that cannot be read."""

    name = "aside"
    steps = {"aside": 2.0, "hole": 1.5, "large": 1.5, "outage": 0.4, "slow": 1.0, "forget": 0.7}

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        self._missed = False

    @classmethod
    def wanted(cls, plan: Plan) -> bool:
        return plan.asides and not plan.calm

    def aside(self, chance: Chance) -> str:
        options: dict[str, Any] = dict(
            chance.choice(
                (
                    {"kind": "http", "status": 503},
                    {"kind": "http", "status": 500},
                    {"kind": "hang"},
                    {"kind": "garbage"},
                    {"kind": "half_body"},
                    {"kind": "reset"},
                    {"kind": "delay", "delay": 2.0},
                )
            )
        )
        on, options["count"] = chance.choice(("read_state", "read_state", "status")), chance.choice((1, 2, 5))
        self.truth.troubles[f"{on} {options['kind']}"] += 1
        self.world.replica.faults.add(InjectedFault(on=on, **options))
        return f"fault on {on}: {options}"

    def hole(self, chance: Chance) -> str:
        """A canister has deleted a message: all answers begin behind it."""
        world = self.world
        canister, seconds = chance.choice(CANISTERS[: world.plan.canisters]), chance.choice((0.5, 2.0, 4.0))
        self._missed = True
        self.truth.troubles["hole"] += 1
        faults, fault = world.replica.faults, InjectedFault(kind="gap", on="query", canister=canister)
        faults.add(fault)

        def end() -> None:
            if fault in faults:
                faults.remove(fault)

        world.at_end.append(world.clock.callLater(seconds, end))
        self._say(canister)
        return f"answers of {canister.text[:5]} begin with a hole for {seconds} s"

    def large(self, chance: Chance) -> str:
        """A page that is longer than the IC gives."""
        canister, count = chance.choice(CANISTERS[: self.world.plan.canisters]), chance.choice((2, 4, 6, 9))
        self._missed = True
        self.truth.troubles["large"] += 1
        words = "the reply is larger than 3145728 bytes"
        fault = InjectedFault(
            kind="reject", on="query", canister=canister, code=5, message=words, error_code="IC0504", count=count
        )
        self.world.replica.faults.add(fault)
        self._say(canister)
        return f"{count} pages of {canister.text[:5]} are too large"

    def outage(self, chance: Chance) -> str:
        """The network goes and comes back with other keys, or with the same."""
        seconds = chance.choice((0.5, 5.0, 30.0))
        self.world.network = chance.choice(("refused", "lost"))
        self.truth.troubles["network"] += 1
        self.world.run(seconds)
        self.world.network = "up"
        return f"the network was away for {seconds} s"

    def slow(self, chance: Chance) -> str:
        """Calls take longer than a replica waits for one."""
        world = self.world
        ingress, usual, seconds = world.replica.ingress, world.plan.call_latency, chance.choice((1.0, 5.0))
        self.truth.troubles["slow"] += 1
        ingress.latency = chance.choice((11.0, 14.0, 25.0))

        def end() -> None:
            ingress.latency = usual

        world.at_end.append(world.clock.callLater(seconds, end))
        return f"calls take {ingress.latency} s, for {seconds} s"

    def forget(self, chance: Chance) -> str | None:
        """Answers to calls are lost, and their replies are forgotten before anybody asks again."""
        world, count = self.world, chance.choice((1, 2))
        if world.plan.blocks.interval:
            return None
        self.truth.troubles["forgotten"] += 1
        world.replica.forgets += count
        lost = dict(chance.choice(LOST))
        world.replica.faults.add(
            InjectedFault(on="call", method=chance.choice(("ws_message", None)), count=count, **lost)
        )
        return f"{count} answers to calls are lost, and forgotten"

    def _say(self, canister: Principal) -> None:
        """Have a canister send something to each of its clients."""
        world = self.world
        for client in world.clients:
            if client.usable and client.opened and client.canister == canister and world.replica.host(canister).running:
                for number in range(3):
                    words = b"h%d" % number
                    self.truth.push(canister, world.replica.host(canister).ws, client.identity.principal, words)

    def heal(self) -> None:
        """Who has missed a message finds out by the next one."""
        if self._missed:
            self.world.run(4.0)
            for canister in CANISTERS[: self.world.plan.canisters]:
                self._say(canister)
