"""One scenario: steps drawn from the seed, then the time to settle, then the end, with the invariants all along."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from random import Random
from typing import Any

from icwsgw.devnet.faults import Fault
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.simulation.clients import SimClient
from tests.simulation.truth import Violation, _show
from tests.simulation.world import CANISTERS, Plan, SimWorld, simulated
from tests.support.faults import QUERY_FAULTS

#: Virtual seconds within which everything has an end once the world is sound again: time limits of opening, of calls
#: that hang, of slow readers; retries that had their longest pause. Calls that wait for one another come on top.
SETTLE_SECONDS = 90.0
#: ws_close is tried for two minutes.
FAREWELL_SECONDS = 140.0
DRAIN_WINDOW = 2.0
MAX_CLIENTS = 14

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


class Scenario:
    """Draws steps and takes them.

    :param seed: of everything
    :param steps: how many
    """

    def __init__(self, seed: int, steps: int, plan: Plan | None = None) -> None:
        self.world = SimWorld(seed, plan)
        self.random: Random = self.world.random
        self.steps = steps
        self.principals = [Ed25519Identity(bytes((9, number)) * 16) for number in range(6)]
        self._stopped: set[Principal] = set()
        calm: list[tuple[float, Callable[[], str | None]]] = [
            (4, self.connect),
            (10, self.talk),
            (3, self.push),
            (2, self.leave),
            (1.5, self.cut),
            (1, self.reconnect),
            (0.7, self.stop_reading),
            (0.7, self.misbehave),
            (0.4, self.kick),
            (1.0, self.read_again),
        ]
        harm: list[tuple[float, Callable[[], str | None]]] = [
            (6, self.fault),
            (1.5, self.lost_and_refused),
            (0.7, self.asked_to_wait),
            (0.5, self.calls_hang),
            (4, self.repair),
            (0.5, self.reset),
            (0.5, self.stop_canister),
            (0.5, self.network_goes),
            (1.0, self.network_comes),
            (0.2, self.restart),
        ]
        self.actions = calm if self.world.plan.calm else calm + harm

    def run(self) -> None:
        """:raises Violation: a promise was broken."""
        world = self.world
        world.run(0.1)
        weights = [weight for weight, _ in self.actions]
        for _ in range(self.steps):
            (action,) = self.random.choices([action for _, action in self.actions], weights)
            said = action()
            if said:
                world.truth.note(said)
            world.run(self.random.expovariate(1 / 0.15))
            world.truth.check()
            if world.gateway.draining:
                break
        self.heal()
        self.settle("after the faults")
        world.truth.patient = False
        for client in world.clients:
            if client.connected and client.opened and not client.provoked:
                client.talk(1, "e")
        self.settle("with one message each")
        self.end()

    # steps

    def connect(self) -> str | None:
        if sum(client.connected for client in self.world.clients) >= MAX_CLIENTS:
            return None
        identity = self.random.choice(self.principals) if self.random.random() < 0.3 else self._stranger()
        return self._connect(self.random.choice(CANISTERS[: self.world.plan.canisters]), identity)

    def _stranger(self) -> Ed25519Identity:
        return Ed25519Identity(self.random.randbytes(32))

    def _connect(self, canister: Principal, identity: Ed25519Identity) -> str:
        world = self.world
        number = len(world.clients)
        client = SimClient(world, number, canister, identity, opens=self.random.random() < 0.95)
        world.clients.append(client)
        return f"client {number} {_show(client.key)} connects to {canister.text[:5]}"

    def _pick(self, *, is_open: bool = True) -> SimClient | None:
        found = [c for c in self.world.clients if c.connected and not c.provoked and (c.opened or not is_open)]
        return self.random.choice(found) if found else None

    def talk(self) -> str | None:
        # before the session is open as well: what comes then has to wait
        client = self._pick(is_open=self.random.random() < 0.9)
        if client is None or client.gateway is None:
            return None
        count, order = self.random.choice((1, 1, 2, 5, 20)), self.random.choice("eeeenb")
        client.talk(count, order)
        return f"client {client.number} sends {count} {order}"

    def push(self) -> str | None:
        client = self._pick()
        if client is None or client.canister in self._stopped:
            return None
        host, count = self.world.replica.host(client.canister), self.random.choice((1, 10, 120))
        for number in range(count):
            self.world.truth.push(client.canister, host.ws, client.identity.principal, b"p%d" % number + b"." * 300)
        return f"{client.canister.text[:5]} sends {count} to client {client.number}"

    def kick(self) -> str | None:
        client = self._pick()
        if client is None:
            return None
        client.talk(1, "k")
        return f"client {client.number} asks to be closed"

    def leave(self) -> str | None:
        client = self._pick(is_open=self.random.random() < 0.7)
        if client is None:
            return None
        client.leave()
        return f"client {client.number} leaves"

    def cut(self) -> str | None:
        client = self._pick(is_open=self.random.random() < 0.7)
        if client is None:
            return None
        client.cut(silent=self.random.random() < 0.5)
        return f"client {client.number} is cut"

    def reconnect(self) -> str | None:
        client = self._pick(is_open=False)
        if client is None:
            return None
        if self.random.random() < 0.5:
            client.cut(silent=self.random.random() < 0.5)
        return self._connect(client.canister, client.identity)

    def stop_reading(self) -> str | None:
        client = self._pick()
        if client is None:
            return None
        client.stop_reading()
        return f"client {client.number} stops reading"

    def read_again(self) -> str | None:
        for client in self.world.clients:
            client.link.set_reading(True)
        return None

    def misbehave(self) -> str | None:
        client = self._pick(is_open=False)
        if client is None:
            return None
        return f"client {client.number} misbehaves: {client.misbehave()}"

    def fault(self) -> str:
        on = self.random.choice(("query", "call", "call"))
        options = dict(self.random.choice(QUERY_FAULTS if on == "query" else CALL_FAULTS))
        kind = options["kind"]
        if kind == "gap":
            options["count"] = self.random.randint(1, 2)
        elif kind == "lagging" and "hide" not in options:
            # a queue that seems gone for three seconds is one: that is how resets are told
            options["rate"] = 0.25
            self.world.truth.troubles["lagging"] += 1
        elif self.random.random() < 0.5:
            options["count"] = self.random.choice((1, 2, 8))
        else:
            options["rate"] = self.random.choice((0.1, 0.5, 1.0))
        if self.random.random() < 0.5:
            options["canister"] = self.random.choice(CANISTERS)
        self.world.truth.troubles[f"{on} {kind}"] += 1
        self.world.replica.faults.add(Fault(on=on, **options))
        return f"fault on {on}: {options}"

    def lost_and_refused(self) -> str:
        """Answers to calls that were executed are lost, and then something happens to the repetitions."""
        method = self.random.choice(("ws_open", "ws_message", None))
        canister = self.random.choice((None, *CANISTERS))
        lost, again = self.random.choice(LOST), self.random.choice(AGAIN)
        for options, count in ((lost, self.random.choice((1, 2))), (again, self.random.choice((1, 3)))):
            self.world.replica.faults.add(Fault(on="call", method=method, canister=canister, count=count, **options))
            self.world.truth.troubles[f"call {options['kind']}"] += 1
        return f"answers to {method or 'calls'} are lost, then {again}"

    def asked_to_wait(self) -> str:
        canister = self.random.choice((None, *CANISTERS))
        seconds, status = self.random.choice((1, 3, 20)), self.random.choice((429, 429, 503))
        on, count = self.random.choice(("query", "query", "call")), self.random.choice((1, 2, 10))
        self.world.replica.faults.add(
            Fault(kind="http", status=status, retry_after=seconds, on=on, canister=canister, count=count)
        )
        self.world.truth.troubles[f"{on} http"] += 1
        return f"{on} of {canister} answered with {status}, Retry-After {seconds}"

    def calls_hang(self) -> str:
        canister = self.random.choice(CANISTERS)
        self.world.truth.troubles["call hang"] += 1
        self.world.replica.faults.add(Fault(kind="hang", on="call", canister=canister))
        return f"all calls of {canister.text[:5]} hang"

    def repair(self) -> str | None:
        faults = list(self.world.replica.faults)
        if not faults:
            return None
        gone = self.random.choice(faults)
        self.world.replica.faults.remove(gone)
        self.world.replica.release()
        return f"repaired: {gone.on} {gone.kind}"

    def reset(self) -> str:
        canister = self.random.choice(CANISTERS[: self.world.plan.canisters])
        self.world.truth.troubles["reset"] += 1
        self.world.truth.new_life(canister)
        self.world.replica.reset(canister)
        return f"{canister.text[:5]} is reset"

    def stop_canister(self) -> str:
        canister = self.random.choice(CANISTERS[: self.world.plan.canisters])
        self.world.truth.troubles["stopped"] += 1
        if canister in self._stopped:
            self._stopped.discard(canister)
            self.world.replica.start(canister)
            return f"{canister.text[:5]} starts"
        self._stopped.add(canister)
        self.world.replica.stop(canister)
        return f"{canister.text[:5]} stops"

    def network_goes(self) -> str:
        self.world.network = self.random.choice(("refused", "lost"))
        self.world.truth.troubles["network"] += 1
        return f"the network is {self.world.network}"

    def network_comes(self) -> str | None:
        if self.world.network == "up":
            return None
        self.world.network = "up"
        return "the network is up"

    def restart(self) -> str | None:
        if not self.world.plan.trusting:
            # other keys: what it says cannot be verified by the keys of before
            return None
        self.world.truth.troubles["restart"] += 1
        self._stopped.clear()
        self.world.restart_replica()
        return "the replica restarts"

    # the end

    def heal(self) -> None:
        """End all faults."""
        world = self.world
        world.truth.note("all faults end")
        world.network = "up"
        world.replica.faults.clear()
        world.replica.release()
        for canister in list(self._stopped):
            world.replica.start(canister)
        self._stopped.clear()
        self.read_again()

    def settle(self, when: str) -> None:
        world = self.world
        if not world.run(
            SETTLE_SECONDS + self._seconds_of_calls(), lambda: all(client.settled for client in world.clients)
        ):
            for client in world.clients:
                if not client.settled:
                    world.truth.fail(
                        f"client {client.number} {_show(client.key)} is stuck {when}: {self._state(client)}"
                    )
        self._check_all(final=False)

    def _seconds_of_calls(self) -> float:
        """How long the calls that wait may take: a client's one after another, all of them in so many places."""
        plan, truth = self.world.plan, self.world.truth
        # one more is its ws_open, or an acknowledgement
        waiting = [client.count - len(truth.done[client.key]) + 1 for client in self.world.clients if client.connected]
        # a canister may have half of the places
        places = max(1, plan.calls // 2)
        return plan.slowest_call * (max(waiting, default=0) + sum(waiting) / places)

    def _state(self, client: SimClient) -> str:
        truth, key, session = self.world.truth, client.key, client.session
        return (
            f"{session.state.name if session else 'no session'}, opened {client.opened}, sent {client.count}, "
            f"taken {len(session.accepted) if session else 0}, executed {len(truth.done[key])}, "
            f"queued {len(truth.queued[key])}, received {len(client.received)}, "
            f"gone {truth.gone.get(key)}, spoilt {truth.spoilt.get(key)}, life {truth.opened.get(key)}"
        )

    def _check_all(self, final: bool) -> None:
        truth = self.world.truth
        for client in self.world.clients:
            client.check_received()
        for session in truth.sessions:
            truth.check_session(session, final)
        truth.check()

    def end(self) -> None:
        """All leave, or are made to; nothing may remain."""
        world, truth = self.world, self.world.truth
        if self.random.random() < 0.5:
            truth.note("drain")
            started = world.clock.seconds()
            drained: list[None] = []
            world.gateway.drain(DRAIN_WINDOW).addCallback(drained.append)
            world.run(DRAIN_WINDOW + 6.0, lambda: bool(drained))
            if not drained:
                truth.fail("the drain has no end")
            if world.clock.seconds() - started >= DRAIN_WINDOW + 4.99:
                truth.troubles["gave up"] += 1
        else:
            truth.note("all leave")
            for client in world.clients:
                client.leave()
        registry = world.gateway.registry
        # it asks for the root key until there is one
        world.run(30.0, lambda: world.agent.ready)
        world.run(
            FAREWELL_SECONDS,
            lambda: not registry.sessions and not registry.ending and not world.factory.connections,
        )
        world.run(1.0)
        self._check_all(final=True)
        self._check_remains()
        truth.check()

    def _check_remains(self) -> None:
        world, truth, metrics = self.world, self.world.truth, self.world.metrics
        gateway, registry, factory = world.gateway, world.gateway.registry, world.factory
        remains = {
            "sessions": len(registry.sessions),
            "ending sessions": len(registry.ending),
            "pollers": len(registry.pollers),
            "farewells": len(gateway.farewells),
            "watched connections": len(gateway.wheel),
            "undecided rivals": len(gateway.rivals),
            "connections": len(factory.connections),
            "outboxes": len(factory.backlog),
            "requests": world.transport.under_way,
            "places of calls": world.context.calls.busy + gateway.farewells.shares.busy,
            "waiting for places": len(world.context.calls.line) + len(gateway.farewells.shares.line),
            "transports": sum(client.link.wire for client in world.clients) - world.lost_transports,
            "sessions without an end": sum(session.ended_with is None for session in truth.sessions),
            "pollers in metrics": metrics.pollers.value,
            "queries in metrics": metrics.queries_in_flight.value,
            "outbox bytes in metrics": metrics.outbox_bytes.value,
            "bytes that wait to be relayed": world.context.waiting.octets,
            "sessions in metrics": sum(metrics.sessions.values.values()),
        }
        for what, number in remains.items():
            if number:
                truth.fail(f"{what} remain: {number}")
        counts = {
            "closes": (sum(metrics.closes.values.values()), len(truth.sessions)),
            "client messages": (metrics.client_messages.value, truth.messages_in),
            "canister messages": (metrics.canister_messages.value, truth.frames_down),
        }
        for what, (counted, true) in counts.items():
            if counted != true:
                truth.fail(f"metrics say {counted} {what}, there were {true}")
        self._check_canisters()
        world.close()
        late = world.clock.getDelayedCalls()
        if late:
            truth.fail(f"timers remain: {late[:3]}")

    def _check_canisters(self) -> None:
        """The canisters have been told of everybody."""
        truth = self.world.truth
        untold = sum(count for label, count in self.world.metrics.ws_closes.values.items() if label != "done")
        if untold or truth.troubles["gave up"] or truth.lives or truth.troubles["call cdk_err"]:
            return
        for host in self.world.replica.hosts:
            for key in host.ws.clients:
                truth.fail(f"{host.id.text[:5]} was not told that {_show((key.principal, key.nonce))} left")


def run_scenario(seed: int, steps: int, *, leaks: bool = False) -> Scenario:
    """Run one scenario.

    :param leaks: look for sessions that outlive it, which takes some ten milliseconds
    :raises Violation: a promise was broken
    """
    with simulated():
        scenario = Scenario(seed, steps)
        try:
            scenario.run()
        except Violation as error:
            error.args = (f"seed {seed}, {steps} steps: {error}",)
            error.scenario = scenario  # type: ignore[attr-defined]
            raise
        if leaks:
            _check_leaks(scenario)
    return scenario


def _check_leaks(scenario: Scenario) -> None:
    truth = scenario.world.truth
    sessions = [weakref.ref(session) for session in truth.sessions]
    truth.sessions.clear()
    for client in scenario.world.clients:
        client.session = None
        client.link = None  # type: ignore[assignment]
    gc.collect()
    alive = [session() for session in sessions if session() is not None]
    if alive:
        raise Violation(
            f"seed {scenario.world.seed}: {len(alive)} sessions live on, held by {gc.get_referrers(alive[0])[:3]}"
        )
