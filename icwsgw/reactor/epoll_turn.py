"""A leaner turn of Twisted's epoll reactor, in which some sockets are served after all others.

For each socket that is ready, ``EPollReactor.doPoll`` enters a logging context (a dozen calls in Python) so that text
logged in there carries the name of the connection. Nothing here logs that way, and a gateway's turn is mostly one
small read: measured on loopback, an echo costs 24 us of CPU a message with that context and 13 without (a bare epoll
loop in Python: 12).

Sockets of unauthenticated connections, which a :class:`ServedLast` knows, are served last and for a bounded time,
and so are connections of clients that have broken off; the rest waits for the next turn. While a socket waits, epoll
does not report it.

:func:`install` replaces the loop of one reactor, if it is exactly the kind it was written against (Twisted 24.10 to
26.10, the default on Linux); any other reactor is left as it is, and serves all sockets in the order of their events.
What may go wrong in a read or write is handled as Twisted does: logged, and the connection is lost with it.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, Protocol

from twisted.python import log


class ServedConnection(Protocol):
    """A connection of a client."""

    @property
    def unauthenticated(self) -> bool:
        """Whether it is served last."""


class ServedLast(Protocol):
    """Decides which sockets are served last (:class:`icwsgw.server.low_priority.LowPriorityQueue`).

    :ivar quantum: seconds that those that wait are served for in a turn
    :ivar waiting: how many events wait
    :ivar disarmed: sockets that epoll does not report while they wait
    """

    quantum: float
    waiting: int
    disarmed: set[Any]

    @property
    def connections(self) -> Mapping[int, Any]:
        """By descriptor, those whose event may wait."""

    def add(self, connection: Any, selectable: Any, descriptor: int, event: int) -> bool:
        """Let an event wait; whether none of its socket does yet."""

    def holds(self, selectable: Any) -> bool:
        """Whether an event of a socket waits."""

    def next(self) -> tuple[Any, int, int]:
        """The next one to serve: selectable, descriptor, event. :meth:`took` follows."""

    def took(self, seconds: float) -> None:
        """How long that has taken."""


def install(reactor: Any, queue: ServedLast | None = None) -> bool:
    """Give an epoll reactor the leaner turn; whether it was one."""
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:
        return False
    if type(reactor) is not EPollReactor or not all(hasattr(reactor, name) for name in _NEEDED):
        return False
    # checked above, but for a type checker methods are not to be replaced
    patched: Any = reactor
    patched.doPoll = patched.doIteration = _run_once(reactor, queue)
    return True


_NEEDED = ("_poller", "_selectables", "_reads", "_writes", "_doReadOrWrite", "_disconnectSelectable")
_NOBODY: Mapping[int, ServedConnection] = {}
#: Events that begin to wait in one turn; epoll reports the others again. Thousands may come at once.
MOST_ADDED = 64


def _run_once(reactor: Any, queue: ServedLast | None) -> Any:
    from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT

    broken_off = EPOLLHUP | EPOLLERR
    connections = _NOBODY if queue is None else queue.connections
    selectables, poller = reactor._selectables, reactor._poller

    def serve(selectable: Any, descriptor: int, event: int) -> None:
        """Read or write."""
        if event != EPOLLIN:
            reactor._doReadOrWrite(selectable, descriptor, event)
            return
        why: Any
        try:
            why = selectable.doRead()
        except BaseException as error:
            why = error
            log.err()
        if why:
            reactor._disconnectSelectable(selectable, why, True)

    def serve_queue(queue: ServedLast) -> None:
        """Serve those that wait, for a quantum."""
        now = reactor.seconds()
        end = now + queue.quantum
        while queue.waiting and now < end:
            began = now
            selectable, descriptor, event = queue.next()
            was_disarmed = selectable in queue.disarmed
            queue.disarmed.discard(selectable)
            # unless it has ended, and somebody else may have its descriptor
            if selectables.get(descriptor) is selectable:
                reads, writes = descriptor in reactor._reads, descriptor in reactor._writes
                if was_disarmed:
                    poller.modify(descriptor, (EPOLLIN if reads else 0) | (EPOLLOUT if writes else 0))
                if reads or event != EPOLLIN:
                    serve(selectable, descriptor, event)
            now = reactor.seconds()
            queue.took(now - began)

    def disarm(queue: ServedLast, added: list[tuple[int, Any]]) -> None:
        """Do not let those be reported again that wait for the next turn."""
        for descriptor, selectable in added:
            if queue.holds(selectable) and selectables.get(descriptor) is selectable:
                poller.modify(descriptor, EPOLLONESHOT)
                queue.disarmed.add(selectable)

    def run_once(timeout: float | None) -> None:
        """Wait for sockets, and read or write those that are ready."""
        if queue is not None and queue.waiting:
            timeout = 0
        try:
            ready = poller.poll(-1 if timeout is None else timeout, len(selectables))
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        added: list[tuple[int, Any]] = []
        for descriptor, event in ready:
            # one that was handled before it may have closed this one
            selectable = selectables.get(descriptor)
            if selectable is None:
                continue
            connection = connections.get(descriptor)
            if connection is not None and (connection.unauthenticated or event & broken_off):
                assert queue is not None
                if len(added) < MOST_ADDED and queue.add(connection, selectable, descriptor, event):
                    added.append((descriptor, selectable))
                continue
            # serve() written out: every event of a client comes here, and a call would cost each of them
            if event != EPOLLIN:
                reactor._doReadOrWrite(selectable, descriptor, event)
                continue
            why: Any
            try:
                why = selectable.doRead()
            except BaseException as error:
                why = error
                log.err()
            if why:
                reactor._disconnectSelectable(selectable, why, True)
        if queue is not None and queue.waiting:
            serve_queue(queue)
            if queue.waiting:
                disarm(queue, added)

    return run_once
