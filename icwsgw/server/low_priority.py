"""The queue of sockets that are served last: those of unauthenticated connections.

A turn of the reactor (:mod:`icwsgw.reactor.epoll_turn`) serves what is ready of clients, canisters and timers first,
and then unauthenticated connections for :data:`QUANTUM` at most. What is left waits for the next turn, and addresses
take turns by the time that they take (:mod:`icwsgw.core.round_robin`). So a client waits for a quantum, however many
connections come, and an unauthenticated connection for one turn of each other address.

A connection is unauthenticated until its canister has spoken. All that it costs is done here: TLS and HTTP handshakes,
ws_open with its signatures, its end. The sudden end of a client's connection waits here too: nobody waits for it, and
many may end together.

At most one event of a connection waits, so ``--max-connections`` bounds the queue. While it waits, the kernel keeps
what the peer sends, and epoll does not report it again. See decision 0040.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from icwsgw.core.round_robin import RoundRobin

#: Seconds that unauthenticated connections are served for in a turn of the reactor.
QUANTUM = 0.002
#: Seconds that one address is served for before the next one has its turn: a ws_open or two.
TURN = 0.0005


class Connection(Protocol):
    """A connection, as the queue sees it (:class:`icwsgw.server.admission.Admission`)."""

    @property
    def unauthenticated(self) -> bool:
        """Whether its canister has not spoken yet."""

    @property
    def crowd(self) -> str:
        """Whose address it has."""


class WaitingEvent(NamedTuple):
    """An event that waits."""

    selectable: Any
    descriptor: int
    event: int


class LowPriorityQueue:
    """The sockets that wait.

    :ivar connections: all of them, by descriptor
    :ivar quantum: seconds
    :ivar waiting: how many events wait
    :ivar disarmed: sockets that are not reported again while they wait
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
        """A connection was made."""
        self.connections[descriptor] = connection

    def leave(self, descriptor: int) -> None:
        """It has ended; what waits of it is passed over when its turn comes."""
        self.connections.pop(descriptor, None)

    # the reactor's side, see icwsgw.reactor.epoll_turn.ServedLast

    def add(self, connection: Connection, selectable: Any, descriptor: int, event: int) -> bool:
        """Let an event wait; whether none of its connection does yet."""
        if selectable in self._known:
            return False
        self._known.add(selectable)
        self.waiting += 1
        self._rounds.add(connection.crowd, WaitingEvent(selectable, descriptor, event))
        return True

    def holds(self, selectable: Any) -> bool:
        """Whether an event of a connection waits."""
        return selectable in self._known

    def next(self) -> WaitingEvent:
        """Whose turn it is; :meth:`took` follows.

        :raises KeyError: nobody waits
        """
        self._party, waiting = self._rounds.next()
        self._known.discard(waiting.selectable)
        self.waiting -= 1
        return waiting

    def took(self, seconds: float) -> None:
        """How long that has taken."""
        self._rounds.took(self._party, seconds)
