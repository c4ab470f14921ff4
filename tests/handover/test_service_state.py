"""The state of a service as documents: one process writes it, another one continues from it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from icwsgw.admin.control import Overrides
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.session_machine import State
from icwsgw.errors import FormatError
from icwsgw.gateway.batches import BATCH, in_batches
from icwsgw.gateway.gateway_handover import client_document, complete, take_over_session
from icwsgw.gateway.session_handover import mark, session_document, update
from icwsgw.handover import early_rounds, service_state
from icwsgw.handover.channel import MOST_SOCKETS
from icwsgw.handover.early_rounds import GOOD_SECONDS, PAUSE_SECONDS
from icwsgw.handover.service_state import VERSION, Handed, Taken
from icwsgw.ic import cbor
from tests.gateway.test_gateway_handover import successor
from tests.memory.world import MemoryClient, World


class Connection:
    """A connection of a client in memory, with a real socket."""

    def __init__(self, gateway: Any, client: MemoryClient | None = None) -> None:
        self.gateway = gateway
        self.client = client
        self.session: Any = None if client is None else client.session
        self.socket, self.far = socket.socketpair()
        self.handed_over: Any = None
        self.sent = self.read = self.updated = 0
        self.aborted = False
        self.transport = SimpleNamespace(abortConnection=self.abort)

    def abort(self) -> None:
        self.aborted = True

    @property
    def descriptor(self) -> int:
        return self.socket.fileno()

    def written(self) -> dict[str, Any] | None:
        if self.client is None:
            return None
        return {**client_document(self.client), "session": session_document(self.session)}

    def detach(self) -> Any:
        self.socket.close()
        session, self.session = self.session, None
        return session

    def begin(self, client: MemoryClient) -> None:
        self.client = client
        self.session = take_over_session(self.gateway, client, self.handed_over["session"])

    def mark(self) -> Any:
        return None if self.session is None else mark(self.session)

    def update(self, document: dict[str, Any]) -> bool:
        done = update(self.session, self.handed_over["session"], document["session"])
        if done:
            self.handed_over = document
            self.updated += 1
        return done

    def send_unsent(self) -> None:
        assert not self.read
        self.sent += 1

    def read_unread(self) -> None:
        assert self.client is not None
        assert self.sent
        self.client.session = self.session
        self.read += 1


class Part:
    """A part of a service with its own state."""

    taken: Any = None

    def written(self, now: float = 0.0) -> dict[str, Any]:
        return {"at": now}

    def read(self, document: Any) -> None:
        self.taken = document

    continue_from = read


class FrozenCall:
    """A call of a :class:`FrozenClock`; it waits until the clock runs."""

    def __init__(self, delay: float, function: Callable[..., Any], args: tuple[Any, ...], names: Any) -> None:
        self.delay, self.function, self.args, self.names = delay, function, args, names
        self.waits = True
        self.call: Any = None

    def active(self) -> bool:
        return bool(self.call.active()) if self.call is not None else self.waits

    def cancel(self) -> None:
        self.waits = False
        if self.call is not None:
            self.call.cancel()

    def reset(self, delay: float) -> None:
        self.delay = delay
        if self.call is not None:
            self.call.reset(delay)


class FrozenClock:
    """A clock that stands still, as in a process that only receives a state."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.frozen: list[FrozenCall] | None = []

    def seconds(self) -> float:
        return float(self.clock.seconds())

    def callLater(self, delay: float, function: Callable[..., Any], *args: Any, **names: Any) -> Any:
        if self.frozen is None:
            return self.clock.callLater(delay, function, *args, **names)
        self.frozen.append(FrozenCall(delay, function, args, names))
        return self.frozen[-1]

    def go_on(self) -> None:
        frozen, self.frozen = self.frozen, None
        for each in frozen or ():
            if each.waits:
                each.call = self.clock.callLater(each.delay, each.function, *each.args, **each.names)


class Listener:
    detached = 0
    fails = False

    def detach(self) -> None:
        self.detached += 1
        if self.fails:
            raise OSError("a fault")


def service_of(world: World, gateway: Any, adopt: Callable[..., Any] | None = None) -> Any:
    """A service around a gateway; ``adopt`` takes a socket as Twisted's reactor does."""
    made: list[Connection] = []

    def build(address: object) -> Connection:
        made.append(Connection(gateway))
        return made[-1]

    overridden: list[Overrides] = []
    return SimpleNamespace(
        gateway=gateway,
        metrics=gateway.context.metrics,
        overrides=Overrides(denied=("aaaaa-aa",)),
        configured=gateway.context.config,
        override=overridden.append,
        overridden=overridden,
        factory=SimpleNamespace(connections=set(), buildProtocol=build, limits=Part()),
        status=Part(),
        listening_services=[Listener(), Listener()],
        reactor=SimpleNamespace(adoptStreamConnection=adopt),
        made=made,
    )


def move(documents: Iterable[tuple[dict[str, Any], list[int]]], taken: Taken) -> bool:
    """Move documents and sockets as they come out of the channel; returns whether the last one was among them."""
    over = False
    for document, sockets in documents:
        assert not over
        over = taken.add(cbor.loads(cbor.dumps(document)), [os.dup(number) for number in sockets])
    return over


def adopting(clients: list[MemoryClient], fails: Callable[[str], bool] = lambda session: False) -> Callable[..., None]:
    """How a reactor adopts the sockets of clients.

    :param fails: whether the session with this id raises an error
    """
    by_key = {client.session.client_key: client for client in clients if client.session is not None}

    def adopt(descriptor: int, family: int, maker: Any) -> None:
        assert family == socket.AF_UNIX
        assert not os.get_blocking(descriptor), "a read would hold all clients up"
        connection = maker.buildProtocol(None)
        document = connection.handed_over["session"]
        if fails(document["id"]):
            raise FormatError("a fault")
        connection.begin(by_key[tuple(document["key"])])

    return adopt


@pytest.mark.parametrize("count", [0, 1, MOST_SOCKETS + 3])
def test_all_clients_go_on_in_the_other_process(count: int) -> None:
    world = World()
    clients = world.open(count) if count else []
    old = service_of(world, world.gateway)
    connections = [Connection(world.gateway, client) for client in clients]
    old.factory.connections = {*connections, Connection(world.gateway)}
    gateway = successor(world)
    new = service_of(world, gateway, adopting(clients))
    handed, taken = Handed(old), Taken(new)
    assert move(handed.documents(), taken)
    assert (len(handed.connections), len(taken)) == (count, count)
    assert len(world.gateway.registry.sessions) == count, "nothing has changed so far"
    world.metrics.client_messages.inc(3)
    handed.detach()
    world.gateway.stop()
    assert not world.gateway.registry.sessions
    assert [listener.detached for listener in old.listening_services] == [1, 1]

    taken.begin()
    assert new.overridden == [Overrides(denied=("aaaaa-aa",))]
    assert (new.factory.limits.taken, new.status.taken) == ({"at": world.clock.seconds()}, {"at": 0.0})
    assert [(connection.sent, connection.read) for connection in new.made] == [(1, 1)] * count
    assert not any(connection.aborted for connection in new.made)
    assert gateway.context.metrics.opens.values["opened"] == count, "counters go on"
    for client in clients[:3]:
        client.echoes(b"after")


def test_all_clients_go_on_before_the_event_loop_runs_again() -> None:
    """The process has their sockets: it would read from one that has not continued yet, which would be too early."""
    count = 10_050
    handed = [SimpleNamespace(send_unsent=lambda: None, session=None) for _ in range(count)]
    read: list[int] = []
    for number, each in enumerate(handed):
        each.read_unread = partial(read.append, number)
    world = World()
    new = service_of(world, successor(world, FrozenClock(world.clock)))
    taken = Taken(new)
    for each in handed:
        row = service_state._Row({})
        row.connection = cast(Any, each)
        taken._rows.append(row)
    taken.begin()
    assert read == list(range(count))


def test_a_client_that_has_left_meanwhile_gets_ws_close() -> None:
    world = World()
    clients = world.open(2)
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in clients}
    gateway = successor(world)

    def adopt(descriptor: int, family: int, maker: Any) -> None:
        raise OSError("not connected")

    handed, taken = Handed(old), Taken(service_of(world, gateway, adopt))
    assert move(handed.documents(), taken)
    handed.detach()
    world.gateway.stop()
    taken.begin()
    world.gateway, world.context = gateway, gateway.context
    world.run(5)
    world.check_idle()


def test_a_connection_that_cannot_be_made_affects_no_other() -> None:
    world = World()
    clients = world.open(3)
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in clients}
    unlucky = clients[1].session
    assert unlucky is not None
    gateway = successor(world)
    new = service_of(world, gateway, adopting(clients, lambda session: session == unlucky.id))
    handed, taken = Handed(old), Taken(new)
    assert move(handed.documents(), taken)
    handed.detach()
    world.gateway.stop()
    taken.begin()
    assert sorted(connection.aborted for connection in new.made) == [False, False, True]
    assert len(gateway.registry.sessions) == 2


def test_a_failed_connection_sends_ws_close_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise two ws_close would be sent: by the connection's session, and by that of a client that has left."""
    world = World()
    clients = world.open(2)
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in clients}
    adopt = adopting(clients)
    unlucky = clients[1].session
    assert unlucky is not None

    def adopt_one(descriptor: int, family: int, maker: Any) -> None:
        adopt(descriptor, family, maker)
        if maker.made.session.id == unlucky.id:
            raise FormatError("a fault")

    completed: list[Any] = []
    monkeypatch.setattr(service_state, "complete", lambda to, document, sessions: completed.extend(sessions))
    handed, taken = Handed(old), Taken(service_of(world, successor(world), adopt_one))
    assert move(handed.documents(), taken)
    handed.detach()
    world.gateway.stop()
    taken.begin()
    assert [session.id for session in completed if session.id == unlucky.id] == []
    assert len(completed) == 1


@pytest.mark.parametrize("act", ["send_unsent", "read_unread"])
def test_a_connection_that_cannot_go_on_ends_alone(monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    world = World()
    clients = world.open(3)
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in clients}
    gateway = successor(world)
    new = service_of(world, gateway, adopting(clients))
    handed, taken = Handed(old), Taken(new)
    assert move(handed.documents(), taken)
    handed.detach()
    world.gateway.stop()
    unlucky, right = new.made[1], getattr(Connection, act)

    def broken(connection: Connection) -> None:
        if connection is unlucky:
            raise FormatError("a fault")
        right(connection)

    monkeypatch.setattr(Connection, act, broken)
    taken.begin()
    assert [connection.aborted for connection in new.made] == [False, True, False]
    assert [connection.read for connection in (new.made[0], new.made[2])] == [1, 1]


def test_a_fault_before_a_connection_is_made_is_logged_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    clients = world.open(1)
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in clients}

    def adopt(descriptor: int, family: int, maker: Any) -> None:
        raise ZeroDivisionError

    faults: list[Any] = []
    log = SimpleNamespace(failure=lambda words: faults.append((words, sys.exc_info()[0])))
    monkeypatch.setattr(service_state, "_log", log)
    move(Handed(old).documents(), Taken(service_of(world, successor(world), adopt)))
    assert faults == [("a connection is not taken over", ZeroDivisionError)]


def test_a_state_that_cannot_be_read_costs_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def broken(gateway: object, document: object) -> None:
        raise FormatError("a fault")

    monkeypatch.setattr(service_state, "take_over_gateway", broken)
    new = service_of(world, successor(world))
    taken = Taken(new)
    taken.add({"version": VERSION}, [])
    taken.begin()
    assert new.overridden == []


def test_a_part_that_cannot_be_read_affects_no_other() -> None:
    world = World()
    documents = [document for document, _ in Handed(service_of(world, world.gateway)).documents()]
    documents[0]["counters"], documents[0]["limits"] = 5, {"at": 1.0}
    new = service_of(world, successor(world))
    taken = Taken(new)
    for document in documents:
        taken.add(document, [])
    taken.begin()
    assert (new.overridden, new.factory.limits.taken) == ([Overrides(denied=("aaaaa-aa",))], {"at": 1.0})


def test_what_was_decided_about_many_sessions_is_done_before_they_are_written() -> None:
    world = World()
    clients = world.open(BATCH + 3)
    sessions = [client.session for client in clients if client.session is not None]
    in_batches(world.clock, sessions, lambda session: session.end(CloseCode.POLICY, "all of them"))
    assert len(world.gateway.registry.sessions) == 3
    list(Handed(service_of(world, world.gateway)).documents())
    assert len(world.gateway.registry.sessions) == 0
    world.run(1)
    assert {client.close_code for client in clients} == {CloseCode.POLICY}


# connections that are sent while the first process still serves


def test_clients_continue_from_their_latest_state() -> None:
    world = World()
    clients = world.open(6)
    active, chatty, gone, late = clients[0], clients[1], clients[2], clients[3]
    old = service_of(world, world.gateway)
    connections = [Connection(world.gateway, client) for client in clients]
    old.factory.connections = {*connections[:3], *connections[4:]}
    clock = FrozenClock(world.clock)
    gateway = successor(world, clock)
    new = service_of(world, gateway, adopting(clients))
    handed, taken = Handed(old), Taken(new)
    early = handed.early()
    assert not move([next(early), next(early)], taken)
    assert len(taken) == 5
    assert len(gateway.registry.sessions) == 5
    active.echoes(b"meanwhile")
    chatty.send(b"on its way")
    connections[2].session = None
    gone.leave()
    world.run(2)
    old.factory.connections = {*connections[:2], *connections[3:]}
    assert not move(early, taken)
    active.echoes(b"and again")
    assert move(handed.documents(), taken)
    assert len(taken) == 5
    handed.detach()
    world.gateway.stop()
    before = {client.session.id: client.session for client in clients if client.session is not None}
    taken.begin()
    clock.go_on()
    world.gateway, world.context = gateway, gateway.context
    assert sum(connection.updated for connection in new.made) >= 2, "most are only brought up to date"
    for client in (active, chatty, late):
        assert client.session is not None
        assert client.session is not before[client.session.id]
        assert client.session.messages_up == before[client.session.id].messages_up
        client.echoes(b"after")
        client.leave()
    for client in clients[4:]:
        client.leave()
    world.run(5)
    world.check_idle()


def test_clients_that_came_or_left_meanwhile_are_in_the_last_part() -> None:
    world = World()
    gone, late = clients = world.open(2)
    old = service_of(world, world.gateway)
    connections = {client: Connection(world.gateway, client) for client in clients}
    old.factory.connections = {connections[gone]}
    gateway = successor(world, FrozenClock(world.clock))
    new = service_of(world, gateway, adopting(clients))
    handed, taken = Handed(old), Taken(new)
    assert not move(handed.early(), taken)
    old.factory.connections = {connections[late]}
    assert move(handed.documents(), taken)
    assert late.session is not None
    assert {session.id for session in gateway.registry.sessions} == {late.session.id}
    assert (len(taken), len(new.made)) == (1, 2)
    taken.discard()
    gateway.stop()


def test_sessions_that_come_early_find_the_positions_of_their_queues() -> None:
    """Otherwise each would begin to read its queue at the beginning."""
    world = World()
    clients = world.open(2)
    for client in clients:
        client.echoes(b"before")
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in clients}
    gateway = successor(world, FrozenClock(world.clock))
    taken = Taken(service_of(world, gateway, adopting(clients)))
    assert not move(Handed(old).early(), taken)
    positions = [
        {place: poller.cursor.next for place, poller in each.registry.pollers.items()}
        for each in (world.gateway, gateway)
    ]
    assert positions[0]
    assert positions[0] == positions[1]
    taken.discard()
    gateway.stop()


def test_a_connection_that_can_no_longer_be_handed_over_stays() -> None:
    world = World()
    clients = world.open(2)
    old = service_of(world, world.gateway)
    staying, going = connections = [Connection(world.gateway, client) for client in clients]
    old.factory.connections = set(connections)
    gateway = successor(world, FrozenClock(world.clock))
    handed, taken = Handed(old), Taken(service_of(world, gateway, adopting(clients)))
    assert not move(handed.early(), taken)
    assert len(taken) == 2
    # as a connection that has begun to flood
    staying.client = staying.session = None
    assert move(handed.documents(), taken)
    assert (len(taken), handed.connections, len(gateway.registry.sessions)) == (1, [going], 1)
    handed.detach()
    assert staying.socket.fileno() >= 0, "it is served here"
    assert going.socket.fileno() < 0
    taken.discard()
    gateway.stop()


def test_a_connection_that_cannot_be_detached_affects_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    clients = world.open(3)
    old = service_of(world, world.gateway)
    connections = [Connection(world.gateway, client) for client in clients]
    old.factory.connections = set(connections)
    handed = Handed(old)
    list(handed.documents())

    def broken() -> None:
        raise OSError("a fault")

    monkeypatch.setattr(connections[0], "detach", broken)
    old.listening_services[0].fails = True
    sessions = [connection.session for connection in connections]
    handed.detach()
    assert [connection.session for connection in connections[1:]] == [None, None]
    assert [listener.detached for listener in old.listening_services] == [1, 1]
    assert not world.gateway.registry.sessions, "the other process has its session too"
    assert {session.state for session in sessions} == {State.CLOSED}


@pytest.mark.parametrize("fault", [False, True], ids=["it is another by now", "a fault"])
def test_a_session_that_cannot_be_updated_is_made_again(monkeypatch: pytest.MonkeyPatch, fault: bool) -> None:
    world = World()
    clients = world.open(2)
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in clients}
    clock = FrozenClock(world.clock)
    gateway = successor(world, clock)
    new = service_of(world, gateway, adopting(clients))
    handed, taken = Handed(old), Taken(new)
    assert not move(handed.early(), taken)
    first = list(new.made)

    def update(self: Connection, document: dict[str, Any]) -> bool:
        if fault:
            raise FormatError("a fault")
        return False

    monkeypatch.setattr(Connection, "update", update)
    clients[0].echoes(b"meanwhile")
    assert move(handed.documents(), taken)
    assert len(new.made) == 3, "only the one that has changed"
    assert sorted(connection.socket.fileno() < 0 for connection in first) == [False, True]
    assert len(gateway.registry.sessions) == 2, "the session of the one before is gone with it"
    handed.detach()
    world.gateway.stop()
    taken.begin()
    clock.go_on()
    world.gateway, world.context = gateway, gateway.context
    assert sorted(connection.read for connection in new.made) == [0, 1, 1]
    for client in clients:
        client.echoes(b"after")
        client.leave()
    world.run(5)
    world.check_idle()


def test_a_connection_that_could_not_be_made_ends_in_its_last_state(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    (client,) = world.open(1)
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client)}
    clock = FrozenClock(world.clock)
    gateway = successor(world, clock)

    def adopt(descriptor: int, family: int, maker: Any) -> None:
        raise OSError("not connected")

    completed: list[Any] = []

    def completing(to: Any, document: Any, sessions: Any) -> None:
        completed.extend((each.id, each.messages_up) for each in sessions)
        complete(to, document, sessions)

    monkeypatch.setattr(service_state, "complete", completing)
    handed, taken = Handed(old), Taken(service_of(world, gateway, adopt))
    assert not move(handed.early(), taken)
    client.echoes(b"meanwhile")
    assert client.session is not None
    sent = client.session.messages_up
    assert sent > 0
    assert move(handed.documents(), taken)
    handed.detach()
    world.gateway.stop()
    taken.begin()
    assert completed == [(client.session.id, sent)]
    clock.go_on()
    world.gateway, world.context = gateway, gateway.context
    world.run(5)
    world.check_idle()


def test_identities_of_the_other_process_are_those_here(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[Any] = []

    def with_identities(document: Any, identities: Any) -> Any:
        orders.append(identities)
        return {**document, "version": VERSION}

    monkeypatch.setattr(service_state, "with_identities", with_identities)
    world = World()
    taken = Taken(service_of(world, world.gateway), [1, 0])
    # of the other process's identity, if it were not translated
    assert not taken.add({"version": VERSION + 1}, [])
    assert orders == [[1, 0]]


def test_a_handover_that_fails_after_the_early_part_changes_nothing() -> None:
    world = World()
    clients = world.open(3)
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in clients}
    gateway = successor(world, FrozenClock(world.clock))
    handed, taken = Handed(old), Taken(service_of(world, gateway, adopting(clients)))
    assert not move(handed.early(), taken)
    taken.discard()
    assert (len(taken), gateway.registry.sessions, gateway.registry.pollers) == (0, set(), {})
    gateway.stop()
    for client in clients:
        client.echoes(b"as before")
        client.leave()
    world.run(5)
    world.check_idle()


def test_another_round_follows_only_while_there_is_less_and_less_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    clients = world.open(4)
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in clients}
    monkeypatch.setattr(early_rounds, "FEW_CHANGES", 0)
    active = iter([0, 3, 3, 2, 2, 2, 0, 0])
    sizes = []
    for document, _ in Handed(old).early():
        sizes.append(len(document.get("connections", ())) + len(document.get("changed", ())))
        for client in clients[: next(active)]:
            client.echoes(b"meanwhile")
    assert sizes == [0, 4, 3, 3, 2, 2, 2, 0], (
        "the head, all, and rounds until two in a row are hardly shorter; the last"
    )


def test_rounds_at_a_bad_moment_pause_and_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_rounds, "FEW_CHANGES", 1)
    world = World()
    clients = world.open(3)
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in clients}
    handed, found = Handed(old), []
    series = [*3 * [(3, 0.0)], (0, PAUSE_SECONDS)]
    for document, _ in handed.early():
        found.append((len(document.get("changed", ())), handed.pause))
        if sum(pause > 0 for _, pause in found) < 2:
            # the other process needs long for each part
            world.run(GOOD_SECONDS + 0.1)
        for client in clients:
            client.echoes(b"meanwhile")
    assert found == [(0, 0.0), (0, 0.0), *(2 * series), *series[:3], (0, 0.0)]


def test_a_part_ends_after_a_number_of_sessions_even_if_none_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_state, "MOST_LOOKS", 2)
    world = World()
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in world.open(5)}
    sizes = [len(document.get("connections", ())) for document, _ in Handed(old).early() if "version" not in document]
    assert sizes == [2, 2, 1, 0, 0, 0, 0], (
        "this process serves after each of them; the last one says that it is the last"
    )


def test_a_session_with_a_call_in_flight_is_sent_later() -> None:
    """A session that is made in the middle of a call would have to be made again afterwards."""
    world = World()
    resting, busy = world.open(2)
    old = service_of(world, world.gateway)
    connections = {client: Connection(world.gateway, client) for client in (resting, busy)}
    old.factory.connections = set(connections.values())
    clock = FrozenClock(world.clock)
    gateway = successor(world, clock)
    new = service_of(world, gateway, adopting([resting, busy]))
    handed, taken = Handed(old), Taken(new)
    early = handed.early()
    busy.send(b"on its way")
    assert not move([next(early), next(early)], taken)
    assert len(taken) == 1, "the one at rest"
    resting.send(b"on its way too")
    assert not move([next(early)], taken)
    assert (len(taken), handed.connections) == (2, [connections[resting], connections[busy]])
    assert not new.made[0].updated, "its change is sent when it has its answer, or at the end"
    assert not move(early, taken)
    assert move(handed.documents(), taken)
    assert (len(new.made), new.made[0].updated) == (2, 1), "none was made anew"
    handed.detach()
    world.gateway.stop()
    taken.begin()
    clock.go_on()
    world.gateway, world.context = gateway, gateway.context
    for client in (resting, busy):
        world.run(2)
        client.echoes(b"after")
        client.leave()
    world.run(5)
    world.check_idle()


def test_a_connection_that_was_not_sent_cannot_change() -> None:
    world = World()
    taken = Taken(service_of(world, world.gateway))
    for document in ({"changed": [[0, {}]]}, {"gone": [0]}, {"gone": ["0"]}):
        with pytest.raises(FormatError, match="no connection"):
            taken.add(document, [])


# documents are checked before they are used


@pytest.fixture
def taken() -> Taken:
    world = World()

    def adopt(descriptor: int, family: int, maker: Any) -> None:
        raise OSError("not connected")

    return Taken(service_of(world, successor(world), adopt))


def test_the_last_document_is_known(taken: Taken) -> None:
    assert not taken.add({"version": VERSION, "gateway": {}}, [])
    ours, theirs = socket.socketpair()
    assert not taken.add({"connections": [{"stage": 0}, {}]}, [ours.detach(), theirs.detach()])
    assert taken.add({"end": True}, [])
    assert len(taken) == 2


def test_another_version_is_refused_with_both_numbers(taken: Taken) -> None:
    with pytest.raises(FormatError, match=f"version {VERSION + 1}, this program reads {VERSION}"):
        taken.add({"version": VERSION + 1}, [])


def test_an_end_without_a_beginning_is_refused(taken: Taken) -> None:
    with pytest.raises(FormatError, match="state is missing"):
        taken.add({"end": True}, [])


def test_each_connection_has_its_socket(taken: Taken) -> None:
    with pytest.raises(FormatError, match="2 connections came with 1 sockets"):
        taken.add({"connections": [{}, {}]}, [5])
