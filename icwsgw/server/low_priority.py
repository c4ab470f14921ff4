"""The queue of sockets that the reactor serves last: those of unauthenticated connections.

A turn of the reactor (:mod:`icwsgw.reactor.epoll_turn`) first serves the ready sockets of clients and canisters, and
timers. Then it serves unauthenticated connections for at most :data:`QUANTUM` seconds; what is left waits for the next
turn. Addresses are served round-robin, by the time that they take (:mod:`icwsgw.core.round_robin`). So a client waits
for one quantum at most, however many connections come, and an unauthenticated connection for one turn of each other
address.

A connection is unauthenticated until its canister has sent it a message. All of its work is done here: TLS and HTTP
handshakes, ws_open with its signatures, its end. The sudden end of a client's connection is also served here, because
nothing waits for it, and many may end together.

Only one event of a connection is in the queue, so ``--max-connections`` bounds the queue. While it waits, the kernel
keeps what the other end sends, and epoll does not report the socket again (decision 0040).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from icwsgw.core.round_robin import RoundRobin

#: Seconds for which a turn of the reactor serves unauthenticated connections.
QUANTUM = 0.002
#: Seconds for which one address is served before the next one: one or two ws_open.
TURN = 0.0005


class Connection(Protocol):
    """A connection, as the queue sees it (:class:`icwsgw.server.admission.Admission`)."""

    @property
    def unauthenticated(self) -> bool:
        """Whether its canister has not sent it a message yet."""

    @property
    def crowd(self) -> str:
        """Its group of addresses."""


class WaitingEvent(NamedTuple):
    """An event in the queue."""

    selectable: Any
    descriptor: int
    event: int


class LowPriorityQueue:
    """The queue.

    :ivar connections: all connections, by file descriptor
    :ivar quantum: seconds for which a turn of the reactor serves the queue
    :ivar waiting: how many events are in the queue
    :ivar disarmed: sockets that epoll does not report while they wait
    """

    def __init__(self) -> None:
        self.connections: dict[int, Connection] = {}
        self.quantum = QUANTUM
        self.waiting = 0
        self.disarmed: set[Any] = set()
        self._rounds: RoundRobin[str, WaitingEvent] = RoundRobin(TURN)
        self._known: set[Any] = set()
        self._party = ""

    def enter(self, descriptor: int, connection: Connection) -> None:
        """A connection was made.

        :param descriptor: the number of its socket
        """
        self.connections[descriptor] = connection

    def leave(self, descriptor: int) -> None:
        """A connection has ended. The reactor skips its event when its turn comes."""
        self.connections.pop(descriptor, None)

    # the reactor's side, see icwsgw.reactor.epoll_turn.ServedLast

    def add(self, connection: Connection, selectable: Any, descriptor: int, event: int) -> bool:
        """Put an event in the queue, unless an event of its socket is there already.

        :return: whether it was put there
        """
        if selectable in self._known:
            return False
        self._known.add(selectable)
        self.waiting += 1
        self._rounds.add(connection.crowd, WaitingEvent(selectable, descriptor, event))
        return True

    def holds(self, selectable: Any) -> bool:
        """Whether an event of a socket is in the queue."""
        return selectable in self._known

    def next(self) -> WaitingEvent:
        """Take the next event. Call :meth:`took` when it was served.

        :raises KeyError: the queue is empty
        """
        self._party, waiting = self._rounds.next()
        self._known.discard(waiting.selectable)
        self.waiting -= 1
        return waiting

    def took(self, seconds: float) -> None:
        """Charge the last event's address with the seconds that it took."""
        self._rounds.took(self._party, seconds)
