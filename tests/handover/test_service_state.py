"""The state of a service as documents: what one process writes, another one goes on with."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from icwsgw.admin.control import Overrides
from icwsgw.core.close_reasons import CloseCode
from icwsgw.errors import FormatError
from icwsgw.gateway.batches import BATCH, in_batches
from icwsgw.gateway.gateway_handover import client_document, take_over_session
from icwsgw.gateway.session_handover import session_document
from icwsgw.handover import service_state
from icwsgw.handover.channel import MOST_SOCKETS
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
        self.read = 0
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
        self.session = client.session = take_over_session(self.gateway, client, self.handed_over["session"])

    def read_unread(self) -> None:
        self.read += 1


class Part:
    """A part of a service with a state of its own."""

    taken: Any = None

    def written(self, now: float = 0.0) -> dict[str, Any]:
        return {"at": now}

    def read(self, document: Any) -> None:
        self.taken = document

    go_on_from = read


class Listener:
    detached = 0

    def detach(self) -> None:
        self.detached += 1


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
        override=overridden.append,
        overridden=overridden,
        factory=SimpleNamespace(connections=set(), buildProtocol=build, limits=Part()),
        status=Part(),
        listening_services=[Listener(), Listener()],
        reactor=SimpleNamespace(adoptStreamConnection=adopt),
        made=made,
    )


def moved(handed: Handed) -> Taken:
    """The documents and sockets as they come out of the channel."""
    taken = Taken()
    over = False
    for document, sockets in handed.documents():
        assert not over
        over = taken.add(cbor.loads(cbor.dumps(document)), [os.dup(number) for number in sockets])
    assert over
    return taken


@pytest.mark.parametrize("count", [0, 1, MOST_SOCKETS + 3])
def test_all_clients_go_on_in_the_other_process(count: int) -> None:
    world = World()
    clients = world.open(count) if count else []
    old = service_of(world, world.gateway)
    connections = [Connection(world.gateway, client) for client in clients]
    old.factory.connections = {*connections, Connection(world.gateway)}
    handed = Handed(old)
    taken = moved(handed)
    assert (len(handed.connections), len(taken)) == (count, count)
    assert len(world.gateway.registry.sessions) == count, "nothing has changed so far"
    world.metrics.client_messages.inc(3)
    handed.detach()
    world.gateway.stop()
    assert not world.gateway.registry.sessions
    assert [listener.detached for listener in old.listening_services] == [1, 1]

    gateway = successor(world)
    by_key = {client.session.client_key: client for client in clients if client.session is not None}

    def adopt(descriptor: int, family: int, maker: Any) -> None:
        assert family == socket.AF_UNIX
        connection = maker.buildProtocol(None)
        connection.begin(by_key[tuple(connection.handed_over["session"]["key"])])

    new = service_of(world, gateway, adopt)
    taken.begin(new)
    assert new.overridden == [Overrides(denied=("aaaaa-aa",))]
    assert (new.factory.limits.taken, new.status.taken) == ({"at": world.clock.seconds()}, {"at": 0.0})
    assert [connection.read for connection in new.made] == [1] * count
    assert gateway.context.metrics.opens.values["opened"] == count, "counters go on"
    for client in clients[:3]:
        client.echoes(b"after")


def test_a_client_that_has_left_meanwhile_is_told_to_its_canister() -> None:
    world = World()
    clients = world.open(2)
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in clients}
    handed = Handed(old)
    taken = moved(handed)
    handed.detach()
    world.gateway.stop()
    gateway = successor(world)

    def adopt(descriptor: int, family: int, maker: Any) -> None:
        raise OSError("not connected")

    taken.begin(service_of(world, gateway, adopt))
    world.gateway, world.context = gateway, gateway.context
    world.run(5)
    world.quiet()


def test_a_connection_that_cannot_be_made_costs_itself_alone() -> None:
    world = World()
    clients = world.open(3)
    old = service_of(world, world.gateway)
    old.factory.connections = {Connection(world.gateway, client) for client in clients}
    handed = Handed(old)
    taken = moved(handed)
    handed.detach()
    world.gateway.stop()
    gateway = successor(world)
    by_key = {client.session.client_key: client for client in clients if client.session is not None}
    unlucky = clients[1].session
    assert unlucky is not None

    def adopt(descriptor: int, family: int, maker: Any) -> None:
        connection = maker.buildProtocol(None)
        if connection.handed_over["session"]["id"] == unlucky.id:
            raise FormatError("a fault")
        connection.begin(by_key[tuple(connection.handed_over["session"]["key"])])

    new = service_of(world, gateway, adopt)

    taken.begin(new)
    assert sorted(connection.aborted for connection in new.made) == [False, False, True]
    assert len(gateway.registry.sessions) == 2


def test_a_state_that_cannot_be_read_costs_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def broken(gateway: object, document: object) -> None:
        raise FormatError("a fault")

    monkeypatch.setattr(service_state, "take_over_gateway", broken)
    taken = Taken()
    taken.add({"version": VERSION}, [])
    new = service_of(world, successor(world))
    taken.begin(new)
    assert new.overridden == []


def test_a_part_that_cannot_be_read_costs_itself_alone() -> None:
    world = World()
    documents = [document for document, _ in Handed(service_of(world, world.gateway)).documents()]
    documents[0]["counters"], documents[0]["limits"] = 5, {"at": 1.0}
    taken = Taken()
    for document in documents:
        taken.add(document, [])
    new = service_of(world, successor(world))
    taken.begin(new)
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


# what comes, before anything is done with it


def test_the_last_document_is_known() -> None:
    taken = Taken()
    assert not taken.add({"version": VERSION, "gateway": {}}, [])
    assert not taken.add({"connections": [{"stage": 0}, {}]}, [5, 6])
    assert taken.add({"end": True}, [])
    assert len(taken) == 2


def test_another_version_is_refused_with_both_numbers() -> None:
    with pytest.raises(FormatError, match=f"version {VERSION + 1}, this program reads {VERSION}"):
        Taken().add({"version": VERSION + 1}, [])


def test_an_end_without_a_beginning_is_refused() -> None:
    with pytest.raises(FormatError, match="state is missing"):
        Taken().add({"end": True}, [])


def test_each_connection_has_its_socket() -> None:
    with pytest.raises(FormatError, match="2 connections came with 1 sockets"):
        Taken().add({"connections": [{}, {}]}, [5])
