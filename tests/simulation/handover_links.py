"""Connections that two processes have at the same time, while one hands them over to the other (decision 0070).

The old process serves a connection until the point of no return, through the link or a :class:`NewTransport`. The new
process has a :class:`NewTransport` of it, or a :class:`DirectConnection` if no bytes pass; neither passes anything
on before the new process serves the connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from icwsgw.core.session_machine import State
from icwsgw.core.written_state import Document
from icwsgw.gateway.gateway_handover import client_document, take_over_session
from icwsgw.gateway.session_handover import mark, session_document, update
from icwsgw.handover import early_rounds, receiving, service_state, transfer
from icwsgw.reactor import detached_socket
from icwsgw.server.connection_handover import ConnectionHandover
from tests.simulation.links import DirectLink, WireLink

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession
    from tests.simulation.process import SimProcess

#: Connections in one part, connections examined for a part, and the number of changes below which no further round
#: follows: so small that there are several parts, turns and rounds.
PIECE, LOOKS, FEW = 3, 5, 1


class NewTransport:
    """The transport of a connection in the process that takes it over."""

    def __init__(self, link: WireLink) -> None:
        self.link = link
        self._serves = self._detached = False
        self._paused = False
        self._producer: Any = None

    def __getattr__(self, name: str) -> Any:
        # addresses, the owner, and what a handover needs of a socket
        return getattr(self.link, name)

    def serve(self, protocol: Any) -> None:
        """Let this process serve the connection from now on."""
        self._serves = True
        self.link.continue_with(protocol, self._paused, self._producer)

    def _may_act(self, what: str) -> bool:
        if not self._serves:
            self.link.owner.world.oracle.fail(f"a process that does not serve a connection has called {what}")
        return self._serves

    # the interface of Twisted's transports

    def write(self, data: bytes) -> None:
        if self._may_act("write"):
            self.link.write(data)

    def writeSequence(self, data: list[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self._may_act("loseConnection"):
            self.link.loseConnection()

    def abortConnection(self) -> None:
        if self._may_act("abortConnection"):
            self.link.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer
        if self._serves:
            self.link.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._producer = None
        if self._serves:
            self.link.unregisterProducer()

    def pauseProducing(self) -> None:
        self._paused = True
        if self._serves:
            self.link.pauseProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        if self._serves:
            self.link.resumeProducing()

    # what a handover uses

    @property
    def disconnecting(self) -> bool:
        return self._serves and self.link.disconnecting

    @property
    def _aborting(self) -> bool:
        return self._serves and self.link.aborted

    @property
    def connected(self) -> bool:
        return not self._detached and (not self._serves or self.link.connected)

    @connected.setter
    def connected(self, value: int) -> None:
        self._detached, self._serves = True, False

    def stopReading(self) -> None:
        if self._serves:
            self.link.stopReading()

    def stopWriting(self) -> None:
        if self._serves:
            self.link.stopWriting()


class DirectConnection:
    """A client without bytes, with the interface that a handover expects of connections."""

    def __init__(self, link: DirectLink, session: ClientSession, handed_over: Mapping[str, Any] | None = None) -> None:
        self.link = link
        self.session: ClientSession | None = session
        self._handed_over = handed_over

    # used by the process that hands over

    def written(self) -> Document | None:
        if self.session is None or self.session.state is State.CLOSED:
            # the client has left meanwhile
            return None
        return {**client_document(self.link), "session": session_document(self.session)}

    def mark(self) -> tuple[object, ...] | None:
        return None if self.session is None else mark(self.session)

    @property
    def descriptor(self) -> int:
        return number_of(self.link)

    def detach(self) -> ClientSession | None:
        session, self.session = self.session, None
        if session is not None and self.link.session is session:
            self.link.owner.process.gateway.wheel.forget(self.link)
        return session

    # used by the process that takes over

    def update(self, document: Mapping[str, Any]) -> bool:
        before, session = self._handed_over, self.session
        assert before is not None
        assert session is not None
        if not update(session, before["session"], document["session"]):
            return False
        self._handed_over = document
        return True

    def serve(self) -> None:
        """Let this process serve the client from now on."""
        assert self.session is not None
        self.link.continue_with(self.session)

    def send_unsent(self) -> None:
        """Do nothing: there are no bytes."""

    def read_unread(self) -> None:
        self.link._push()


def link_of(connection: Any) -> Any:
    """The link of a connection, in either process."""
    if isinstance(connection, DirectConnection):
        return connection.link
    transport = connection.transport
    while not isinstance(transport, WireLink):
        transport = transport.link if isinstance(transport, NewTransport) else transport.transport
    return transport


def number_of(link: Any) -> int:
    """The number that stands for a link's socket."""
    sockets = link.owner.world.sockets
    return int(sockets.setdefault(link, len(sockets)))


def connections_of(process: SimProcess, direct: dict[DirectLink, DirectConnection]) -> list[Any]:
    """The connections of a process.

    :param direct: the connections without bytes that earlier calls have made
    """
    found: list[Any] = list(process.factory.connections)
    for session in process.gateway.registry.sessions:
        link = session.client
        if isinstance(link, DirectLink):
            if link not in direct or direct[link].session is not session:
                direct[link] = DirectConnection(link, session)
            found.append(direct[link])
    return found


def _adopt(service: Any, document: Mapping[str, Any], descriptor: int) -> Any:
    """As :func:`icwsgw.handover.service_state._adopt`."""
    process: SimProcess = service.process
    link = list(process.world.sockets)[descriptor]
    if isinstance(link, DirectLink):
        return DirectConnection(link, take_over_session(process.gateway, link, document["session"]), document)
    if link.over:
        # its client has left
        return None
    made: Any = process.factory.buildProtocol(link.getPeer())
    made.handed_over = document
    made.makeConnection(NewTransport(link))
    return made


@contextmanager
def handed_in_memory() -> Iterator[None]:
    """Make the handover accept links as sockets, and send them in small parts."""
    sockets = SimpleNamespace(dup=lambda descriptor: descriptor, close=lambda descriptor: None)
    with ExitStack() as stack:
        for place, name, value in (
            (service_state, "_adopt", _adopt),
            (service_state, "os", sockets),
            (service_state, "MOST_SOCKETS", PIECE),
            (service_state, "MOST_LOOKS", LOOKS),
            (receiving, "gc", SimpleNamespace(freeze=lambda: None)),
            (early_rounds, "FEW_CHANGES", FEW),
            (transfer, "give_way", lambda: None),
            (detached_socket, "_PLAIN", frozenset({WireLink, NewTransport})),
            (ConnectionHandover, "descriptor", property(lambda connection: number_of(link_of(connection)))),
        ):
            stack.enter_context(mock.patch.object(place, name, value))
        yield
