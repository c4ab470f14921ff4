"""The gateway is replaced by a new process at any moment, by the documents that a real handover sends (decision 0071).

A new process starts and reaches the network while the other one serves. Then everything is written down, read and taken
over, in no time. The new process gets nothing else: sessions, pollers and connections are made from the documents. What
the simulation knows of the gateway (what it took, what may be asked of it) stays as it was.

Sometimes the new process does not reach the network in time, or refuses the state. Then nothing has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

from icwsgw.core.written_state import Document
from icwsgw.gateway.gateway_handover import (
    check_identities,
    complete,
    detach_sessions,
    gateway_document,
    take_over_gateway,
    take_over_session,
)
from icwsgw.gateway.session_handover import session_document
from icwsgw.ic import cbor
from icwsgw.observe.meters import counters_of, go_on_from
from icwsgw.reactor import detached_socket
from tests.simulation.links import DirectLink, WireLink
from tests.simulation.plan import Plan
from tests.simulation.process import SimProcess
from tests.simulation.script import Chance
from tests.simulation.subject import Subject
from tests.simulation.waiting import Ledger

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession
    from tests.simulation.world import SimWorld

#: Seconds in which the new process has to reach the network, and those that the old one has for what it keeps.
REACHED, LEFT_BEHIND = 10.0, 60.0
#: Seconds after which the old process aborts the connections that it has kept.
ABORTED = 5.0
#: Bytes that the kernel takes; the rest waits in the process, and is handed over.
KERNEL = 4096


class Handovers(Subject):
    """Replaces the gateway's process.

    :ivar done: how many were done
    """

    name = "handover"
    steps = {"upgrade": 1.5, "twice": 0.3, "refuse": 0.3}

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        self.done = 0

    @classmethod
    def wanted(cls, plan: Plan) -> bool:
        return plan.handovers

    def upgrade(self, chance: Chance) -> str:
        world = self.world
        old = world.processes[0]
        new = SimProcess(world, 0, generation=old.generation + 1)
        new.wall_offset, new.clock_set_at = old.wall_offset, old.clock_set_at
        new.start()
        reached = world.run(REACHED, lambda: new.monitor.network() is None and new.agent.ready)
        world.run(chance.choice((0.0, 0.0, 0.01, 0.1)) * chance.random())
        if not reached or old.gateway.draining:
            new.retire()
            return "a new process does not reach the network, the old one goes on"
        operator: Any = self.scenario.subjects.get("operator")
        if operator is not None:
            operator.restarted(new)
        hand_over(world, old, new)
        if old.agent.turns is not None:
            new.agent.turns = Ledger(world, new)
        self.done += 1
        return f"a new process has taken over {len(new.gateway.registry.sessions)} sessions"

    def twice(self, chance: Chance) -> str:
        return f"{self.upgrade(chance)}, and at once {self.upgrade(chance)}"

    def refuse(self, chance: Chance) -> str:
        """The state is written down for nothing."""
        process = self.world.processes[0]
        before, after = (cbor.dumps([gateway_document(process.gateway), *map(_row, _held(process))]) for _ in range(2))
        if before != after:
            self.truth.fail("the state that is written down twice at one moment is not the same")
        return "a state is written down for nothing"


def _held(process: SimProcess) -> list[DirectLink | WireLink]:
    """The connections of a process."""
    wires = [_link(connection) for connection in process.factory.connections]
    return [*wires, *(s.client for s in process.gateway.registry.sessions if isinstance(s.client, DirectLink))]


def _link(connection: Any) -> Any:
    transport = connection.transport
    while not isinstance(transport, WireLink):
        transport = transport.transport
    return transport


def _row(link: Any) -> Document | None:
    """A connection as a document; None: it stays where it is."""
    if isinstance(link, DirectLink):
        return {"session": session_document(link.session)}
    link.give_to_kernel(KERNEL)
    with mock.patch.object(detached_socket, "_PLAIN", frozenset({WireLink})):
        row: Document | None = link._protocol.written()
    return row


def hand_over(world: SimWorld, old: SimProcess, new: SimProcess) -> None:
    """Let a process take over from another one."""
    links: list[Any] = []
    rows: list[Document] = []
    left: set[Any] = set()
    for link in _held(old):
        row = _row(link)
        if row is None:
            # the new process does not count it
            left.add(link.owner)
            old.door.left(link)
        else:
            links.append(link)
            rows.append(row)
    state = {"gateway": gateway_document(old.gateway), "counters": counters_of(old.metrics.declared)}
    state["limits"] = old.factory.limits.written(world.clock.seconds())
    # what the other process gets
    sent, sent_rows = cbor.loads(cbor.dumps([state, rows]))
    gateway = sent["gateway"]
    check_identities(new.gateway, gateway)
    truth = world.truth
    truth.handed.update({session.id: session for session in truth.sessions if session.owner.process is old})
    pollers = dict(old.gateway.registry.pollers)
    _let_go(old, links)
    _go_on_with(old, new)
    world.processes[new.number] = new
    world.retired.append(old)
    for known in truth.handed.values():
        if known.owner not in left:
            known.owner.process = new
    take_over_gateway(new.gateway, gateway)
    go_on_from(new.metrics.declared, sent["counters"])
    new.factory.limits.read(sent["limits"])
    sessions: list[ClientSession] = []
    for link, row in zip(links, sent_rows, strict=True):
        # strangers have no session
        link.owner.process = new
        session = _adopt(link, new, row)
        if session is not None:
            sessions.append(session)
    complete(new.gateway, gateway, sessions)
    for place, poller in new.gateway.registry.pollers.items():
        before: Any = pollers.get(place)
        if before is not None:
            # it goes on where the other one was
            poller.go_on_from(before)  # type: ignore[attr-defined]
            key = place[0], new.context.identities[place[1]].principal.raw
            if old.agent._pollers.get(key) is before:
                new.agent._pollers[key] = poller
    for link in links:
        if isinstance(link, WireLink):
            link._protocol.send_unsent()
            link._protocol.read_unread()
        else:
            link._push()
    truth.handed.clear()


def _let_go(old: SimProcess, links: list[Any]) -> None:
    wires = [link for link in links if isinstance(link, WireLink)]
    with mock.patch.object(detached_socket, "_PLAIN", frozenset({WireLink})):
        found = [link._protocol.detach() for link in wires]
    for link in links:
        if isinstance(link, DirectLink):
            old.gateway.wheel.forget(link)
            found.append(link.session)
    detach_sessions(old.gateway, [session for session in found if session is not None])
    # what it has kept ends there
    clock = old.world.clock
    old.gateway.drain(0.1)
    old.world.at_end.append(clock.callLater(ABORTED, lambda: old.factory.abort_all()))

    def end(left: float) -> None:
        if left > 0 and not old.empty:
            old.world.at_end.append(clock.callLater(1.0, end, left - 1.0))
        else:
            old.retire()

    end(LEFT_BEHIND)


def _go_on_with(old: SimProcess, new: SimProcess) -> None:
    """What the simulation knows of a process holds for the one that goes on."""
    new.door = old.door
    if new.time_witnesses is not None and old.time_witnesses is not None:
        new.time_witnesses.go_on_from(old.time_witnesses)
    mine, theirs = new.agent, old.agent
    names = "_calls", "_close_notices", "bad", "refusals", "_canisters", "_bad_since", "_good", "_asked"
    for name in names:
        setattr(mine, name, getattr(theirs, name))
        setattr(theirs, name, type(getattr(theirs, name))(getattr(theirs, name)))
    mine._unasked, mine._rested = theirs._unasked.copy(), theirs._rested.copy()
    mine._polls, mine._all, mine._opens = theirs._polls, theirs._all, theirs._opens
    for call in mine._calls.values():
        # nobody hears of an attempt that was in flight
        call.under_way = False


def _adopt(link: Any, new: SimProcess, row: Document) -> ClientSession | None:
    if isinstance(link, WireLink):
        session: ClientSession | None = link.adopted(row)
        return session
    return link.adopted(take_over_session(new.gateway, link, row["session"]))
