"""Checks the gateway's counters against the objects that they count, at every step, and for leftovers at the end.

An account compares a number that a part of the gateway keeps with the objects that it counts. A difference shows that
something was released never or twice, long before a limit is reached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from random import Random
from typing import TYPE_CHECKING, Any

from icwsgw.agent.network_monitor import MAX_SILENCE
from icwsgw.core.call_slots import CallSlots
from icwsgw.core.request_kind import WAITING, RequestKind
from icwsgw.core.session_machine import State
from icwsgw.server.admission import OPENED, REFUSED
from tests.simulation.expectations import overdue
from tests.simulation.links import WireLink
from tests.simulation.requests import awaited_tunnel, lacking
from tests.simulation.subject import Subject
from tests.simulation.upstream import WireTransport

if TYPE_CHECKING:
    from tests.simulation.process import SimProcess
    from tests.simulation.scenario import Scenario
    from tests.simulation.world import SimWorld

#: Seconds after a step until it is looked between two steps, on average; the next look is twice as late, and so on.
FIRST_LOOK = 0.2
#: Whose timers may run while nobody is connected: the parts that look after things for as long as the gateway runs.
STANDING = (
    "LoopingCall",
    "NetworkMonitor.",
    "Trust.",
    "RootSubnet.",
    "NetworkTimeObserver.",
    "DelegationReplacer.",
    "NodeKey",
    "Transport._sweep",
    "Deadlines.",
    # what the world itself has planned
    "tests.",
    "Replica.",
    "WebSocketCdk.",
    "Consensus",
    "devnet.",
)


def differences(process: SimProcess) -> Iterator[str]:
    """The accounts that do not agree with what they stand for."""
    accounts = (_sessions, _pollers, _stores, _calls, _connections, _upstream)
    for what, counted, there in chain.from_iterable(account(process) for account in accounts):
        if counted != there:
            yield f"{what}: {counted} counted, {there} there"


def _sessions(process: SimProcess) -> Iterator[tuple[str, Any, Any]]:
    gateway = process.gateway
    registry, context = gateway.registry, gateway.context
    living = [
        session
        for session in process.world.oracle.sessions
        if session.owner.process is process and session.state is not State.CLOSED
    ]
    states = Counter(session.state for session in living)
    ending = registry.ending
    loads = Counter(session.identity_index for session in (*registry.sessions, *ending))
    yield "living sessions", len(registry.sessions), len(living)
    yield (
        "clients of identities",
        gateway.identity_assignment.loads,
        [loads[index] for index in range(len(gateway.identity_assignment.loads))],
    )
    yield (
        "sessions in metrics",
        {name: count for name, count in process.metrics.sessions.values.items() if count},
        {
            name: count
            for name, count in (
                ("init", states[State.INIT]),
                ("setup", states[State.SETUP] + states[State.UNCERTAIN]),
                ("open", states[State.OPEN] + states[State.DISMISSED]),
                ("closed", len(ending)),
            )
            if count
        },
    )
    queues = [session.relay.relay_queue for session in (*registry.sessions, *ending) if session.relay is not None]
    streams = [session.stream for session in (*registry.sessions, *ending) if session.stream is not None]
    yield (
        "bytes that wait to be relayed",
        [context.waiting.octets, *(queue.octets for queue in queues)],
        [
            sum(len(envelope.body) for queue in queues for envelope in queue.queue or ())
            + sum(len(envelope.body) for each in streams for envelope, _ in each._sequence_buffer.held.values()),
            *(sum(len(envelope.body) for envelope in queue.queue or ()) for queue in queues),
        ],
    )
    for session in living:
        if session.relay is not None and session.relay.relay_queue.full and session.state is not State.DISMISSED:
            yield f"messages for which client {session.id} is not read", session.relay.queued > 0, True
    for session in living:
        if session.relay is not None:
            full = session.relay.relay_queue.full
            yield f"whether the client of {session.id} is not read", session.owner.link.held, full
    principals = gateway.principals
    if principals.most:
        accepted = Counter(
            session.client_key[0] for session in living if session.state >= State.OPEN and session.client_key
        )
        counted = {key: len(sessions) for key, sessions in principals._sessions.items()}
        yield "sessions of principals", counted, dict(accepted)
    undecided = [
        session for replacements in gateway.replacements.machine.undecided.values() for session in replacements
    ]
    yield "rivals that are over", [s.id for s in undecided if s not in living and s not in ending], []
    for session in living:
        if session.state is State.OPEN:
            yield f"timers of the open session {session.id}", session.wait is not None, False


def _pollers(process: SimProcess) -> Iterator[tuple[str, Any, Any]]:
    registry, context = process.gateway.registry, process.gateway.context
    budget, pollers = context.budget, list(registry.pollers.values())
    registered = [session for poller in pollers for session in poller.sessions.values()]
    yield (
        "registered sessions",
        len(registered),
        sum(State.INIT < session.state < State.CLOSED for session in registry.sessions),
    )
    newcomers = sum(poller.poll_budget.newcomer for poller in pollers)
    yield "pollers of the budget", budget.pollers, len(pollers)
    yield "newcomers", (budget.newcomers.pollers, context.newcomers.busy), (newcomers, newcomers)
    polls = [poll for poller in pollers for poll in poller._in_flight]
    yield "queries in flight", context.queries.busy + context.newcomers_queries.busy, len(polls)
    in_flight = process.agent.in_flight["query"] + context.answers.waiting
    yield "queries at the network", len(polls), in_flight
    spoken = {
        poller.canister.raw
        for poller in pollers
        if any(session.state is State.OPEN for session in poller.sessions.values())
    }
    new = [p.identity_index for p in pollers if p.poll_budget.newcomer and p.canister.raw in spoken]
    yield "identities under which a canister that has spoken is new", new, []
    for poller in pollers:
        who = f"of {poller.canister.text[:5]}/{poller.identity_index}"
        setup = {key for key, session in poller.sessions.items() if session.state < State.OPEN}
        yield f"waiting clients {who}", set(poller.waiting), setup
        yield f"clients without a session {who}", [s.id for s in poller.senders.values() if s.poller is not poller], []
        latest: dict[bytes, tuple[bytes, int]] = poller.latest  # type: ignore[attr-defined]
        living = {principal: key for principal, key in latest.items() if key in poller.sessions}
        known = {principal: session.client_key for principal, session in poller.senders.items() if principal in living}
        yield f"last connections of principals {who}", known, living
        for side in (poller.suspects, poller.undecided):
            yield f"sessions that are over {who}", [s.id for s in side if s.client_key not in poller.sessions], []


def _stores(process: SimProcess) -> Iterator[tuple[str, Any, Any]]:
    """What is held for a while, and the bytes that are counted for it."""
    gateway, context = process.gateway, process.gateway.context
    for poller in gateway.registry.pollers.values():
        ahead = poller._reorder_buffer
        there = [
            len(batch.cert) + len(batch.tree) + sum(len(message[3]) for message in batch.messages)
            for batch, _, _ in ahead.kept.values()
        ]
        yield "bytes of answers before their turn", ahead.size, sum(there)
        began = poller.restarted_at  # type: ignore[attr-defined]
        old = [first for first, (_, asked, _) in ahead.kept.items() if asked < began]
        yield "answers of a canister's life before", old, []
    for session in (*gateway.registry.sessions, *gateway.registry.ending):
        if session.stream is not None:
            buffer = session.stream._sequence_buffer
            held = [len(envelope.body) for envelope, _ in buffer.held.values()]
            yield "bytes of messages out of turn", buffer.octets, sum(held)
            yield "a timer for messages out of turn", session.stream._holding is not None, bool(held)
    undecided = gateway.replacements.machine.undecided
    yield "rivals of nobody", [key for key, replacements in undecided.items() if not replacements], []
    suspects = context.suspects
    lines = sum(len(suspect.line) for suspect in suspects._groups.values())
    yield "connections at the turnstile", suspects.waiting, lines
    handshake_queue = process.factory.handshake_queue
    if lines:
        yield "a look at the turnstile is planned", _active(handshake_queue._timer), True
    call_scheduler = context.call_scheduler
    for places in (
        context.calls,
        gateway.close_notices.call_slots,
        call_scheduler.opens,
        call_scheduler._by_address,
        call_scheduler._by_newcomer,
        context.newcomers,
    ):
        # a lane may have one more as long as it has fewer than are left
        able = [
            slot_queue
            for slot_queue in places.line
            if slot_queue.busy < places.least or slot_queue.busy < places.limit - places.busy
        ]
        yield "lanes in line for which there is room", len(able), 0
    answers = context.answers
    if answers.waiting:
        planned = any(getattr(call.func, "__self__", None) is answers for call in process.world.clock.getDelayedCalls())
        yield "a round of answers is planned", planned, True


def _active(timer: Any) -> bool:
    return timer is not None and bool(timer.active())


def _calls(process: SimProcess) -> Iterator[tuple[str, Any, Any]]:
    gateway = process.gateway
    context = gateway.context
    call_scheduler, budget, in_flight = context.call_scheduler, context.budget, process.agent.in_flight
    # a call has its place while it waits for its token
    for kind, name, places in (
        (RequestKind.CALL, "ws_message", context.calls),
        (RequestKind.CLOSE, "ws_close", gateway.close_notices.call_slots),
    ):
        # messages of clients that have just sent one have a line of their own
        eager = budget.waiting(RequestKind.EAGER) if kind is RequestKind.CALL else 0
        yield f"places of {name}", places.busy, in_flight[name] + budget.waiting(kind) + eager
    slot_queues = call_scheduler.opens, call_scheduler._by_address
    held = in_flight["ws_open"] + budget.waiting(RequestKind.OPEN)
    # one that waits for the second of its two places has the first
    first = sum(
        slot_queue._waiting is not None and len(slot_queue._waiting) for slot_queue in call_scheduler._by_address.line
    )
    yield "places of ws_open", sum(places.busy for places in slot_queues), held
    yield "first places of newcomers", call_scheduler._by_newcomer.busy, call_scheduler._by_address.busy + first
    for places in (
        context.calls,
        gateway.close_notices.call_slots,
        *slot_queues,
        call_scheduler._by_newcomer,
        context.newcomers,
    ):
        yield "places by lane", places.busy, sum(slot_queue.busy for slot_queue in places._slot_queues.values())
        yield (
            "lanes in line",
            sorted(map(id, places.line)),
            sorted(id(one) for one in places._slot_queues.values() if one.waits),
        )
    # the last attempt may have had its turn when it had expired
    spared = sum(count for label, count in process.metrics.relays.values.items() if label == "expired")
    spared += sum(count for label, count in process.metrics.relays.values.items() if label == "unknown")
    given_up = sum(count for label, count in process.metrics.ws_closes.values.items() if label == "abandoned")
    for name, kinds, unused in (
        ("ws_message", (RequestKind.CALL, RequestKind.EAGER), spared),
        ("ws_close", (RequestKind.CLOSE,), given_up),
        ("ws_open", (RequestKind.OPEN,), spared),
    ):
        tokens, left = sum(budget.sent[kind] for kind in kinds), process.agent.sent[name]
        yield f"tokens of {name} that nobody used", max(0, tokens - left - unused), 0
        yield f"{name} that left without a token", max(0, left - tokens), 0
    for kind in WAITING:
        line = budget._buckets[kind].line
        yield f"line of {kind.name}", line.size, sum(map(len, (*line._new.values(), *line._served.values())))
    beyond = max(0, budget.waiting(RequestKind.OPEN) - budget._most_opens)
    process.admitted_at_once &= beyond > 0 or bool(call_scheduler.opens.line)
    yield "ws_open in line beyond their bound", 0 if process.admitted_at_once else beyond, 0
    if any(budget.waiting(kind) for kind in WAITING):
        yield "a look at the lines is planned", call_scheduler._timer is not None, True


def _connections(process: SimProcess) -> Iterator[tuple[str, Any, Any]]:
    factory = process.factory
    connections: list[Any] = list(factory.connections)
    limits, unfinished = factory.limits, factory.unfinished
    admissions = [connection._admission for connection in connections]
    counted = [admission for admission in admissions if admission.standing is not REFUSED]
    groups = Counter(admission._group for admission in counted if admission._group is not None)
    yield "connections", limits.total, len(counted)
    yield "connections that may be inside", limits.total, len(process.door.inside)
    yield "unauthenticated connections that may be inside", len(limits.waiting), len(process.door.unauthenticated)
    yield "refused connections", limits.refused, len(connections) - len(counted)
    yield "connections by address", limits._by_group, dict(groups)
    waiting = [admission for admission in counted if admission.standing < OPENED]
    yield "connections without a session", len(limits.waiting), len(waiting)
    boxes = [connection._outbox for connection in connections if connection._outbox is not None]
    yield (
        "bytes in outboxes",
        [factory.backlog_bytes, *(box.size for box in boxes)],
        [sum(box.size for box in boxes), *(sum(len(data) for _, data in box._queue or ()) for box in boxes)],
    )
    yield "outboxes with bytes", {id(box) for box in factory.backlog}, {id(box) for box in boxes if box._queue}
    held = {id(connection): connection._held for connection in connections if connection._held}
    yield "bytes of unfinished messages", unfinished.octets, sum(held.values())
    yield "unfinished messages", {id(holder): octets for holder, octets in unfinished._held.items()}, held
    unwatched = [
        connection.peer
        for connection in connections
        if connection.wheel_slot < 0 and connection.state == connection.STATE_OPEN and not connection.transport.aborted
    ]
    yield "connections that nobody looks after", unwatched, []
    if not process.world.plan.handovers:
        links = [client.link for client in process.world.clients if client.process is process]
        wires = [link for link in links if isinstance(link, WireLink) and not link.over]
        paused = [link.owner.number for link in wires if link.server_paused]
        yield "clients that are not read", paused, [link.owner.number for link in wires if link.reasons_not_to_read]


def _upstream(process: SimProcess) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(process.transport, WireTransport):
        yield from lacking(process.transport)


def remains(process: SimProcess) -> Iterator[str]:
    """What is left when everybody has gone."""
    gateway, context, factory = process.gateway, process.gateway.context, process.factory
    call_scheduler, budget = context.call_scheduler, context.budget
    places: dict[str, CallSlots] = {
        "calls": context.calls,
        "ws_close": gateway.close_notices.call_slots,
        "ws_open": call_scheduler.opens,
        "ws_open by address": call_scheduler._by_address,
        "ws_open by newcomer": call_scheduler._by_newcomer,
        "queries": context.queries,
        "queries about newcomers": context.newcomers_queries,
        "newcomers": context.newcomers,
    }
    left: dict[str, Any] = {f"places of {name}": call_slots.busy for name, call_slots in places.items()}
    left |= {f"lanes of {name}": len(call_slots.line) for name, call_slots in places.items()}
    left |= {f"calls that wait, {kind.name}": budget.waiting(kind) for kind in WAITING}
    left |= {
        "clients of identities": sum(gateway.identity_assignment.loads),
        "pollers of the budget": budget.pollers,
        "principals": len(gateway.principals),
        "counted connections": factory.limits.total,
        "refused connections": factory.limits.refused,
        "addresses": len(factory.limits._by_group),
        "connections without a session": len(factory.limits.waiting),
        "unfinished messages": len(factory.unfinished),
        "bytes of unfinished messages": factory.unfinished.octets,
        "bytes in outboxes": factory.backlog_bytes,
        "bytes that wait to be relayed": context.waiting.octets,
        "answers that wait": context.answers.waiting,
        "connections at the turnstile": context.suspects.waiting,
        "requests at the network": sum(process.agent.in_flight.values()),
    }
    for what, number in left.items():
        if number:
            yield f"{what} remain: {number}"


def timers(world: SimWorld) -> list[str]:
    """The timers that run although nobody is connected, and that are nobody's who runs for good.

    A tunnel's is counted with the connections that are being made.
    """
    found = []
    for call in world.clock.getDelayedCalls():
        function = call.func
        owner = getattr(function, "__self__", None)
        module = getattr(function, "__module__", None) or type(owner).__module__
        name = f"{module}.{getattr(function, '__qualname__', type(function).__qualname__)}"
        # an attempt to connect may outlast the request that it was made for
        if awaited_tunnel(call) is None and not any(standing in name for standing in STANDING):
            found.append(name)
    return found


class Accounts(Subject):
    """Checks them: after each step, and between steps less and less often."""

    name = "accounts"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._random = Random(f"{self.world.seed} accounts")
        self._pause = FIRST_LOOK
        self._call = self.world.clock.callLater(self._pause, self._look)

    def _look(self) -> None:
        self._check()
        self._pause *= 2
        self._plan()

    def _plan(self) -> None:
        # not in step with what the gateway does
        self._call = self.world.clock.callLater(self._pause * (0.5 + self._random.random()), self._look)

    def _check(self) -> None:
        for process in self.world.processes:
            for difference in differences(process):
                self.oracle.fail(difference)

    def after_step(self) -> None:
        self._check()
        self._call.cancel()
        self._pause = FIRST_LOOK
        self._plan()

    check_when_quiet = _check

    def check_at_end(self) -> None:
        self._call.cancel()
        world = self.world
        self._await_requests()
        if self.oracle.troubles["network"] and not world.plan.clocks:
            self._look_at_monitors()
            self._await_requests()
        for process in self.world.processes:
            for left in remains(process):
                self.oracle.fail(left)
            if process.transport.in_flight:
                self.oracle.fail(f"requests remain: {process.transport.in_flight}")
        self._check()
        for timer in timers(self.world):
            self.oracle.fail(f"a timer remains: {timer}")

    def _await_requests(self) -> None:
        """The agent's own requests have their time."""
        world = self.world
        world.run(15.0, lambda: not any(process.transport.in_flight for process in world.processes))

    def _look_at_monitors(self) -> None:
        """Nobody asks for anything: the gateway finds out by itself that the network answers, and goes on to."""
        world = self.world
        for _ in range(2):
            world.run(2 * MAX_SILENCE)
            for process in world.processes:
                why = process.monitor.network()
                if why is not None:
                    self.oracle.fail(f"the network answers, process {process.number} says: {why}")


class Deadlines(Subject):
    """Looks once a second whether everything has ended that should have."""

    name = "deadlines"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._call = self.world.clock.callLater(1.0, self._look)

    def _look(self) -> None:
        self._call = self.world.clock.callLater(1.0, self._look)
        for late in overdue(self.world):
            self.oracle.fail(late)
        for process in self.world.processes:
            for late in process.agent.overdue(self.world.clock.seconds()):
                self.oracle.fail(late)
            if isinstance(process.transport, WireTransport):
                for late in process.transport.server.overdue(self.world.clock.seconds()):
                    self.oracle.fail(late)
                for what, counted, there in lacking(process.transport):
                    if counted != there:
                        self.oracle.fail(f"{what}: {counted} counted, {there} there")

    def check_at_end(self) -> None:
        self._call.cancel()
