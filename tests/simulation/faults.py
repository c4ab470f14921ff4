"""Faults of the network and of canisters: the steps of a world with faults."""

from __future__ import annotations

from typing import Any

from icwsgw.agent.versions import LOOK_AGAIN, SPAN
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
    {"kind": "reject", "code": 5, "message": "d\u00e9j\u00e0 vu " * 40},
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
#: Faults that the polls of one canister meet for a while.
POLL_FAULTS: list[dict[str, Any]] = [
    {"kind": "trap"},
    {"kind": "reject", "code": 3},
    {"kind": "garbage_candid"},
    {"kind": "http", "status": 429},
    {"kind": "http", "status": 503},
    {"kind": "http", "status": 502},
    {"kind": "http", "status": 429, "retry_after": 20},
]
#: Calls that are executed although the answer is lost; and the faults that their resubmissions meet.
EXECUTED_BUT_LOST: list[dict[str, Any]] = [
    {"kind": "reset", "after": True},
    {"kind": "half_body"},
]
RESUBMISSION_FAULTS: list[dict[str, Any]] = [
    {"kind": "http", "status": 400},
    {"kind": "http", "status": 503, "retry_after": 2},
    {"kind": "http", "status": 502},
    {"kind": "reject", "code": 5},
    {"kind": "reset", "after": True},
    {"kind": "hang"},
]


class NetworkFaults(Subject):
    """Faults of the network and of canisters, alone and combined."""

    name = "network"
    steps = {
        "fault": 6,
        "lost_and_refused": 1.5,
        "asked_to_wait": 0.7,
        "calls_hang": 0.5,
        "throttled": 0.3,
        "spell": 0.6,
        "blink": 0.3,
        "twice_asked": 0.4,
        "time_passes": 0.5,
        "repair": 4,
        "reset": 0.5,
        "stop_canister": 0.5,
        "network_goes": 0.5,
        "network_comes": 1.0,
        "restart": 0.2,
    }

    @classmethod
    def rare(cls, plan: Plan) -> dict[str, float]:
        return {"reset_out_of_turn": 1.0, "refused_when_gone": 1.0}

    @classmethod
    def single(cls, plan: Plan) -> dict[str, float]:
        return {"refused_by_policy": 0.15 * (plan.network_grace >= 2 * plan.canister_grace)}

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
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
        """A canister, or None for all of them, unless the world has a bystander."""
        everywhere = () if self.world.plan.neighbour else (None,)
        return chance.choice((*everywhere, *CANISTERS[: self.world.plan.canisters]))

    def _one(self, chance: Chance, options: dict[str, Any]) -> Principal:
        """A canister; beside a bystander always the same, since faults of two canisters can count as the host's."""
        canister = chance.choice(CANISTERS[: self.world.plan.canisters])
        return CANISTERS[0] if self.world.plan.neighbour and options["kind"] == "http" else canister

    def throttled(self, chance: Chance) -> str | None:
        """The network refuses a canister's queries for longer than the canister's grace period."""
        world = self.world
        if world.plan.network_grace < 2 * world.plan.canister_grace:
            return None
        status = chance.choice((429, 429, 503, 502))
        fault = InjectedFault(kind="http", status=status, on="query", canister=CANISTERS[0])
        self.oracle.troubles["query http"] += 1
        world.replica.faults.add(fault)
        world.at_end.append(
            world.clock.callLater(world.plan.canister_grace + 4.0, lambda: world.replica.faults.remove(fault))
        )
        return f"queries of {CANISTERS[0].text[:5]} are answered with {status} for a while"

    def refused_by_policy(self, chance: Chance) -> str | None:
        """The network refuses all polls of a client's canister for longer than the canister's grace period."""
        world = self.world
        client = self.pick(chance)
        if client is None or (world.plan.neighbour and client.canister != CANISTERS[0]):
            return None
        status = chance.choice((429, 429, 403, 408, 503))
        self.oracle.troubles["query http"] += 1
        fault = InjectedFault(kind="http", status=status, on="query", canister=client.canister)
        # ahead of all other faults
        others = [*world.replica.faults]
        world.replica.faults.clear()
        for each in (fault, *others):
            world.replica.faults.add(each)
        grace, most = world.plan.canister_grace, world.plan.network_grace - 5.0
        # a canister is not silent while the network asks to wait, so short periods show little
        seconds = min(most, 10 * grace if world.plan.polling_interval >= 0.3 else grace + 10.0)
        # canisters delete messages that are older than their acknowledgement interval
        self.oracle.troubles["hole"] += seconds > world.plan.ack_interval / 2
        world.run(seconds)
        if fault in world.replica.faults:
            world.replica.faults.remove(fault)
        return f"polls of {client.canister.text[:5]}, which has client {client.number}, were answered with {status}"

    def spell(self, chance: Chance) -> str:
        """Polls of a canister fail, for shorter or longer than a grace period, once or several times."""
        world, plan = self.world, self.world.plan
        canister = CANISTERS[0] if plan.neighbour else chance.choice(CANISTERS[: plan.canisters])
        words: dict[str, Any] = dict(chance.choice(POLL_FAULTS))
        grace = plan.canister_grace
        seconds, times = chance.choice(((0.4 * grace, 4), (0.7 * grace, 2), (grace + 3.0, 1), (grace + 14.0, 1)))
        if "retry_after" in words:
            # nobody polls while the network asks to wait
            seconds, times = 1.0, 1
        self.oracle.troubles[f"query {words['kind']}"] += 1
        both = words["kind"] == "http" and not plan.neighbour and plan.canisters > 1 and chance.random() < 0.5
        named = CANISTERS[: plan.canisters] if both else [canister]
        for _ in range(times):
            faults = [world.replica.faults.add(InjectedFault(on="query", canister=each, **words)) for each in named]
            world.run(seconds)
            for fault in faults:
                if fault in world.replica.faults:
                    world.replica.faults.remove(fault)
            # the next answer is valid
            world.run(2.0 + 10 * plan.polling_interval if times > 1 else 0.0)
        return f"polls of {[each.text[:5] for each in named]} had {words}, {times} times for {seconds:.0f} s"

    def blink(self, chance: Chance) -> str:
        """For a moment, several times, answers come from a node that lags behind."""
        world, plan = self.world, self.world.plan
        canister = CANISTERS[0] if plan.neighbour else chance.choice(CANISTERS[: plan.canisters])
        hide, times = chance.choice((None, 1, 3)), chance.choice((1, 3, 4))
        self.oracle.troubles["query blink"] += 1
        for client in world.clients:
            if client.usable and client.opened and client.canister == canister and world.replica.host(canister).running:
                for number in range(3):
                    ws = world.replica.host(canister).ws
                    self.oracle.push(canister, ws, client.identity.principal, b"l%d" % number)
        world.run(2.0 + plan.slowest_call)
        for _ in range(times):
            fault = world.replica.faults.add(InjectedFault(kind="lagging", on="query", canister=canister, hide=hide))
            world.run(1.0)
            if fault in world.replica.faults:
                world.replica.faults.remove(fault)
            # longer than between two probes
            world.run(3.5)
        return f"a node of {canister.text[:5]} lagged behind, {times} times for a second"

    def twice_asked(self, chance: Chance) -> str:
        """Of two answers that arrive together, one asks to wait long and the next one shortly."""
        world = self.world
        canister = CANISTERS[0] if world.plan.neighbour else chance.choice(CANISTERS[: world.plan.canisters])
        self.oracle.troubles["query http"] += 1
        for seconds in (chance.choice((5, 20)), 1, 1):
            words: dict[str, Any] = {"kind": "http", "status": 429, "retry_after": seconds}
            world.replica.faults.add(InjectedFault(on="query", canister=canister, count=1, **words))
        return f"polls of {canister.text[:5]} are asked to wait for different times"

    def fault(self, chance: Chance) -> str:
        on = chance.choice(("query", "call", "call"))
        options = dict(chance.choice(QUERY_FAULTS if on == "query" else CALL_FAULTS))
        kind = options["kind"]
        if kind == "gap":
            options["count"] = chance.randint(1, 2)
        elif kind == "lagging" and "hide" not in options:
            # a queue that is missing for three seconds is treated as reset
            options["rate"] = 0.25
            self.oracle.troubles["lagging"] += 1
        elif chance.random() < 0.5:
            options["count"] = chance.choice((1, 2, 8))
        else:
            options["rate"] = chance.choice((0.1, 0.5, 1.0))
        if chance.random() < 0.5 or self.world.plan.neighbour:
            options["canister"] = self._one(chance, options)
        self.oracle.troubles[f"{on} {kind}"] += 1
        self.world.replica.faults.add(InjectedFault(on=on, **options))
        client = self.pick(chance)
        if on == "call" and client is not None and chance.random() < 0.4:
            client.talk(chance.choice((1, 3)), "e", chance)
        return f"fault on {on}: {options}"

    def lost_and_refused(self, chance: Chance) -> str:
        """Answers to executed calls are lost, and then their resubmissions meet another fault."""
        method = chance.choice(("ws_open", "ws_message", None))
        canister = self._any(chance)
        lost, again = chance.choice(EXECUTED_BUT_LOST), chance.choice(RESUBMISSION_FAULTS)
        for options, count in ((lost, chance.choice((1, 2))), (again, chance.choice((1, 3)))):
            self.world.replica.faults.add(
                InjectedFault(on="call", method=method, canister=canister, count=count, **options)
            )
            self.oracle.troubles[f"call {options['kind']}"] += 1
        client = self.pick(chance)
        if client is not None and chance.random() < 0.5:
            client.talk(2, "e", chance)
        return f"answers to {method or 'calls'} are lost, then {again}"

    def asked_to_wait(self, chance: Chance) -> str:
        canister = CANISTERS[0] if self.world.plan.neighbour else self._any(chance)
        seconds, status = chance.choice((1, 3, 20)), chance.choice((429, 429, 503))
        on, count = chance.choice(("query", "query", "call")), chance.choice((1, 2, 10))
        self.world.replica.faults.add(
            InjectedFault(kind="http", status=status, retry_after=seconds, on=on, canister=canister, count=count)
        )
        self.oracle.troubles[f"{on} http"] += 1
        return f"{on} of {canister} answered with {status}, Retry-After {seconds}"

    def time_passes(self, chance: Chance) -> str | None:
        """Let time pass in which nothing new happens, in worlds in which idle time is cheap."""
        if self.world.plan.polling_interval < 1.0 or self.world.plan.clocks:
            return None
        seconds = chance.choice((5.0, 20.0, 60.0, 200.0))
        self.world.run(seconds)
        return f"{seconds:.0f} s have passed"

    def calls_hang(self, chance: Chance) -> str:
        canister = chance.choice(CANISTERS[: self.world.plan.canisters])
        self.oracle.troubles["call hang"] += 1
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
        self.oracle.troubles["reset"] += 1
        self.oracle.new_life(canister)
        self.world.replica.reset(canister)
        return f"{canister.text[:5]} is reset"

    def reset_out_of_turn(self, chance: Chance) -> str | None:
        """A canister is reset, and the reset is found while clients' messages wait in the reorder buffer."""
        world, plan = self.world, self.world.plan
        client = self.pick(chance)
        if client is None or plan.client_message_rate < 100 or plan.client_byte_rate < 1 << 20 or plan.crowded:
            return None
        self.oracle.troubles["reset"] += 1
        self.oracle.new_life(client.canister)
        world.replica.reset(client.canister)
        world.run(chance.choice((0.0, 1.0, 2.0)))
        for _ in range(4):
            if client.usable and client.opened:
                client.talk_out_of_turn(chance, 0.9)
            world.run(1.0)
        return f"{client.canister.text[:5]} is reset, client {client.number} sends in the wrong order"

    def refused_when_gone(self, chance: Chance) -> str | None:
        """A client leaves while its ws_open is in flight, which is then refused."""
        world, conduct = self.world, self.scenario.subjects["client"]
        canister = CANISTERS[0]
        words = chance.choice(({"kind": "reject", "code": 4}, {"kind": "http", "status": 400}, {"kind": "cdk_err"}))
        if world.replica.host(canister).running:
            fault = InjectedFault(on="call", method="ws_open", canister=canister, count=1, **words)
            self.oracle.troubles[f"call {words['kind']}"] += 1
            world.replica.faults.add(fault)
        done: str | None = conduct.connect(chance)  # type: ignore[attr-defined]
        client = world.clients[-1]
        if done is None:
            return None
        world.run(2.0, lambda: client.registered)
        client.leave()
        return f"{done} and leaves, its ws_open meets {words}"

    def stop_canister(self, chance: Chance) -> str:
        canister = chance.choice(CANISTERS[: self.world.plan.canisters])
        self.oracle.troubles["stopped"] += 1
        if not self.world.replica.host(canister).running:
            self.world.replica.start(canister)
            return f"{canister.text[:5]} starts"
        self.world.replica.stop(canister)
        return f"{canister.text[:5]} stops"

    def network_goes(self, chance: Chance) -> str | None:
        if self.world.plan.neighbour:
            return None
        self.world.network = chance.choice(("refused", "lost"))
        self.oracle.troubles["network"] += 1
        return f"the network is {self.world.network}"

    def network_comes(self, chance: Chance) -> str | None:
        if self.world.network == "up":
            return None
        self.world.network = "up"
        return "the network is up"

    def restart(self, chance: Chance) -> str | None:
        if self.world.plan.neighbour:
            return None
        self.oracle.troubles["restart"] += 1
        self.world.restart_replica()
        return "the replica restarts"


#: Versions of endpoints; of each method, the one that is tried first comes first.
ENDPOINTS = (("2", "query"), ("2", "query"), ("3", "query"), ("3", "call"), ("3", "call"), ("4", "call"))
#: Seconds from the end of one gap until the next one; an answer without the gap arrives meanwhile.
BETWEEN_HOLES = 3.0


class OtherFaults(Subject):
    """Faults of requests that are neither calls nor polls (status, keys, delegations), and unreadable queues."""

    name = "aside"
    steps = {
        "aside": 2.0,
        "hole": 1.5,
        "brief_holes": 0.7,
        "large": 1.0,
        "oversize": 0.7,
        "outage": 0.4,
        "slow": 1.0,
        "forget": 0.7,
        "unfound": 0.7,
        "contradict": 0.4,
    }

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        self._missed = False
        self._holes_until: dict[Principal, float] = {}

    @classmethod
    def rare(cls, plan: Plan) -> dict[str, float]:
        return {} if plan.trusting or plan.processes > 1 else {"anew": 3.0}

    @classmethod
    def single(cls, plan: Plan) -> dict[str, float]:
        # keys that are read only once are read again if the network has new keys
        once = plan.delegation == "none" or plan.signed_queries
        return {"version_gone": 0.2, "anew": (0.6 if once else 0.1) * (not plan.trusting and plan.processes == 1)}

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
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
        on, options["count"] = chance.choice(("read_state", "read_state", "status")), chance.choice((1, 2, 5, 40))
        self.oracle.troubles[f"{on} {options['kind']}"] += 1
        self.world.replica.faults.add(InjectedFault(on=on, **options))
        return f"fault on {on}: {options}"

    def hole(self, chance: Chance) -> str:
        """A canister has deleted a message: all answers begin after it."""
        return self._hole(chance, self._talked_to(chance), chance.choice((0.3, 0.8, 1.3, 2.0, 4.0)))

    def brief_holes(self, chance: Chance) -> str | None:
        """Several short gaps by lagging nodes: what was counted for one must not count for the next."""
        if self.world.plan.crowd:
            # a round of hundreds of acknowledgements may come meanwhile, and takes minutes
            return None
        canister = self._talked_to(chance)
        done = []
        for _ in range(3):
            # long enough after the previous gap
            self.world.run(BETWEEN_HOLES)
            done.append(self._hole(chance, canister, chance.choice((0.3, 0.8))))
        return ", ".join(done)

    def _hole(self, chance: Chance, canister: Principal, seconds: float) -> str:
        world = self.world
        self._missed = True
        # a gap that ends within a second is not accepted as one
        brief = seconds < 1.0 and world.clock.seconds() > self._holes_until.get(canister, 0.0) + BETWEEN_HOLES
        self._holes_until[canister] = world.clock.seconds() + seconds
        self.oracle.troubles["brief hole" if brief else "hole"] += 1
        faults, fault = world.replica.faults, InjectedFault(kind="gap", on="query", canister=canister)
        if world.plan.verify_batches or world.plan.signed_queries:
            faults.add(fault)
        else:
            # one message that is missing in all answers, wherever the page begins
            last = max((poller.cursor.next for poller in self.world.pollers(canister)), default=0)
            world.deleted[canister.raw] = {last + chance.choice((0, 0, 1))}

        def end() -> None:
            world.deleted.pop(canister.raw, None)
            if fault in faults:
                faults.remove(fault)

        world.at_end.append(world.clock.callLater(seconds, end))
        self._say(canister)
        # the next gap is a different one
        world.run(seconds + (BETWEEN_HOLES if brief else 0.5))
        return f"answers of {canister.text[:5]} begin with a hole for {seconds} s"

    def large(self, chance: Chance) -> str:
        """A page that is longer than the IC returns."""
        canister, count = self._talked_to(chance), chance.choice((2, 4, 6, 9))
        self._missed = True
        self.oracle.troubles["large"] += 1
        words = "the reply is larger than 3145728 bytes"
        fault = InjectedFault(
            kind="reject", on="query", canister=canister, code=5, message=words, error_code="IC0504", count=count
        )
        self.world.replica.faults.add(fault)
        self._say(canister)
        return f"{count} pages of {canister.text[:5]} are too large"

    def oversize(self, chance: Chance) -> str | None:
        """A message so long that no page with it can be returned."""
        world = self.world
        canister = self._talked_to(chance)
        host = world.replica.host(canister)
        if world.plan.signed_queries or world.oversize or not host.running:
            return None
        self._missed = True
        self.oracle.troubles["large"] += 1
        self._say(canister)
        last = max((poller.cursor.next for poller in self.world.pollers(canister)), default=0)
        number = last + chance.choice((0, 1, 2, 5))
        world.oversize[canister.raw] = {number}
        self._say(canister)
        world.run(chance.choice((2.0, 5.0)))
        world.oversize.clear()
        return f"message {number} of {canister.text[:5]} was too large"

    def anew(self, chance: Chance) -> str | None:
        """The network is recreated, and its keys cannot be read at first."""
        world = self.world
        if world.plan.trusting or world.plan.processes > 1:
            return None
        self.oracle.troubles["restart"] += 1
        world.restart_replica()
        words: dict[str, Any] = chance.choice(({"kind": "http", "status": 503}, {"kind": "reset"}, {"kind": "garbage"}))
        faults = [
            world.replica.faults.add(InjectedFault(on=on, **words))
            for on in chance.choice((("status",), ("read_state",), ("read_state",), ("status", "read_state")))
        ]
        self.scenario.subjects["client"].connect(chance)  # type: ignore[attr-defined]
        # for less time than a canister may be silent
        world.run(chance.choice((1.0, 3.0, 5.0)))
        for fault in faults:
            if fault in world.replica.faults:
                world.replica.faults.remove(fault)
        return f"the network is made anew, {[fault.on for fault in faults]} had {words}"

    def unfound(self, chance: Chance) -> str:
        """A proxy answers 404 for a moment."""
        world, on = self.world, chance.choice(("query", "call"))
        self.oracle.troubles[f"{on} http"] += 1
        fault = world.replica.faults.add(InjectedFault(kind="http", status=404, on=on))
        world.run(chance.choice((0.2, 0.6)))
        if fault in world.replica.faults:
            world.replica.faults.remove(fault)
        return f"{on} was answered 404 for a moment"

    def version_gone(self, chance: Chance) -> str:
        """One version of an endpoint answers 404: for a moment, or for so long that it counts as missing."""
        world = self.world
        version, what = chance.choice(ENDPOINTS)
        # in worlds with rare polls, for longer than until it is tried again
        long = (LOOK_AGAIN + 50.0,) if world.plan.polling_interval >= 0.3 else (SPAN + 2.0,)
        seconds = chance.choice((0.3, 1.5, 4.0, *long))
        self.oracle.troubles[f"{what} http"] += 1
        world.unfound.add((version, what))
        if world.plan.neighbour:
            # the gateway may have to work without both
            seconds = min(seconds, 1.5)
        world.run(seconds)
        world.unfound.clear()
        return f"{what} v{version} was not found for {seconds} s"

    def outage(self, chance: Chance) -> str:
        """The network fails and returns with other keys, or with the same."""
        seconds = chance.choice((0.5, 5.0, 30.0))
        self.world.network = chance.choice(("refused", "lost"))
        self.oracle.troubles["network"] += 1
        self.world.run(seconds)
        self.world.network = "up"
        return f"the network was away for {seconds} s"

    def slow(self, chance: Chance) -> str:
        """Calls take longer than a replica waits for one."""
        world = self.world
        ingress, usual, seconds = world.replica.ingress, world.plan.call_latency, chance.choice((1.0, 5.0))
        self.oracle.troubles["slow"] += 1
        ingress.latency = chance.choice((11.0, 14.0, 25.0))

        def end() -> None:
            ingress.latency = usual

        world.at_end.append(world.clock.callLater(seconds, end))
        return f"calls take {ingress.latency} s, for {seconds} s"

    def forget(self, chance: Chance) -> str | None:
        """Answers to calls are lost, and their replies are forgotten before the gateway asks for them."""
        world, count = self.world, chance.choice((1, 2))
        if world.plan.blocks.interval:
            return None
        self.oracle.troubles["forgotten"] += 1
        world.replica.forgets += count
        lost = dict(chance.choice(EXECUTED_BUT_LOST))
        world.replica.faults.add(
            InjectedFault(on="call", method=chance.choice(("ws_message", None)), count=count, **lost)
        )
        client = self.pick(chance)
        if client is not None:
            client.talk(2, "e", chance)
        return f"{count} answers to calls are lost, and forgotten"

    def contradict(self, chance: Chance) -> str | None:
        """A call takes long, and some of the nodes asked for its outcome refuse it."""
        world = self.world
        client = self.pick(chance)
        if client is None or world.plan.blocks.interval:
            return None
        ingress, usual = world.replica.ingress, world.plan.call_latency
        self.oracle.troubles["slow"] += 1
        ingress.latency = 25.0
        client.talk(2, "e", chance)
        world.run(1.0)
        ingress.latency = usual
        fault = InjectedFault(kind="reject", code=5, on="call", method="ws_message", rate=0.4, canister=client.canister)
        world.replica.faults.add(fault)
        world.run(18.0)
        if fault in world.replica.faults:
            world.replica.faults.remove(fault)
        return f"a call of client {client.number} took 25 s, and was refused in between"

    def _talked_to(self, chance: Chance) -> Principal:
        """A canister with a client, if there is one."""
        client = self.pick(chance)
        return chance.choice(CANISTERS[: self.world.plan.canisters]) if client is None else client.canister

    def _say(self, canister: Principal) -> None:
        """Let a canister send a message to each of its clients."""
        world = self.world
        for client in world.clients:
            if client.usable and client.opened and client.canister == canister and world.replica.host(canister).running:
                for number in range(3):
                    words = b"h%d" % number
                    self.oracle.push(canister, world.replica.host(canister).ws, client.identity.principal, words)

    def heal(self) -> None:
        """Let each client that missed a message notice it by the next one."""
        if self._missed:
            self.world.run(4.0)
            for canister in CANISTERS[: self.world.plan.canisters]:
                self._say(canister)
