"""A cheaper turn of Twisted's epoll reactor, which serves some sockets after all others.

``EPollReactor.doPoll`` enters a logging context for each ready socket, so that log lines carry the name of the
connection. This takes a dozen Python calls. The gateway does not log that way, and its turn is mostly one small read.
On loopback, an echo takes 24 us of CPU with the context and 13 us without; a bare epoll loop in Python takes 12 us.

A turn serves unauthenticated connections last, and for a limited time. A :class:`ServedLast` knows them. Connections
that the client has broken off are served last, too. Events that are left wait for the next turn. While a socket
waits, epoll does not report it.

:func:`install` replaces the loop of one reactor if the reactor is Twisted's own ``EPollReactor`` (24.10 to 26.10, the
default on Linux). Any other reactor stays unchanged, and serves sockets in the order of their events. Errors in a
read or write are handled as Twisted does: they are logged, and the connection is lost.
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
        """Whether the turn serves it last."""


class ServedLast(Protocol):
    """Decides which sockets are served last (:class:`icwsgw.server.low_priority.LowPriorityQueue`).

    :ivar quantum: seconds in each turn for the events that wait
    :ivar waiting: number of events that wait
    :ivar disarmed: waiting sockets, which epoll does not report
    """

    quantum: float
    waiting: int
    disarmed: set[Any]

    @property
    def connections(self) -> Mapping[int, Any]:
        """The connections whose events may wait, by file descriptor."""

    def add(self, connection: Any, selectable: Any, descriptor: int, event: int) -> bool:
        """Queue an event; returns False if an event of the same socket waits already."""

    def holds(self, selectable: Any) -> bool:
        """Return whether an event of a socket waits."""

    def next(self) -> tuple[Any, int, int]:
        """Return the next event to serve: selectable, descriptor, event. Call :meth:`took` afterwards."""

    def took(self, seconds: float) -> None:
        """Note how long the last event took, in seconds."""


def install(reactor: Any, queue: ServedLast | None = None) -> bool:
    """Replace the turn of a reactor.

    :param queue: decides which sockets are served last; None: no sockets
    :return: False if the reactor is not an ``EPollReactor`` of a known form; it stays unchanged
    """
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:
        return False
    if type(reactor) is not EPollReactor or not all(hasattr(reactor, name) for name in _NEEDED):
        return False
    # Any: type checkers do not allow assignments to methods
    patched: Any = reactor
    patched.doPoll = patched.doIteration = _run_once(reactor, queue)
    return True


# epoll_ctl(2); :mod:`select` has them only where there is epoll
EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLONESHOT = 0x1, 0x4, 0x8, 0x10, 1 << 30
_NEEDED = ("_poller", "_selectables", "_reads", "_writes", "_doReadOrWrite", "_disconnectSelectable")
_NO_CONNECTIONS: Mapping[int, ServedConnection] = {}
#: The most events that one turn queues; epoll reports the others again. Thousands may be ready at once.
MOST_ADDED = 64


def _serve(reactor: Any, selectable: Any, descriptor: int, event: int) -> None:
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


def _serve_queue(reactor: Any, queue: ServedLast) -> None:
    """Serve queued events for one quantum."""
    now = reactor.seconds()
    end = now + queue.quantum
    while queue.waiting and now < end:
        began = now
        selectable, descriptor, event = queue.next()
        was_disarmed = selectable in queue.disarmed
        queue.disarmed.discard(selectable)
        # the socket may have closed, and another socket may have its descriptor
        if reactor._selectables.get(descriptor) is selectable:
            reads, writes = descriptor in reactor._reads, descriptor in reactor._writes
            if was_disarmed:
                reactor._poller.modify(descriptor, (EPOLLIN if reads else 0) | (EPOLLOUT if writes else 0))
            if reads or event != EPOLLIN:
                _serve(reactor, selectable, descriptor, event)
        now = reactor.seconds()
        queue.took(now - began)


def _disarm(reactor: Any, queue: ServedLast, added: list[tuple[int, Any]]) -> None:
    """Stop epoll from reporting the sockets that wait for the next turn."""
    for descriptor, selectable in added:
        if queue.holds(selectable) and reactor._selectables.get(descriptor) is selectable:
            reactor._poller.modify(descriptor, EPOLLONESHOT)
            queue.disarmed.add(selectable)


def _run_once(reactor: Any, queue: ServedLast | None) -> Any:
    broken_off = EPOLLHUP | EPOLLERR
    connections = _NO_CONNECTIONS if queue is None else queue.connections
    selectables, poller = reactor._selectables, reactor._poller

    def run_once(timeout: float | None) -> None:
        """Wait for sockets, and read or write the ready ones."""
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
            # an earlier event of this turn may have closed this socket
            selectable = selectables.get(descriptor)
            if selectable is None:
                continue
            connection = connections.get(descriptor)
            if connection is not None and (connection.unauthenticated or event & broken_off):
                assert queue is not None
                if len(added) < MOST_ADDED and queue.add(connection, selectable, descriptor, event):
                    added.append((descriptor, selectable))
                continue
            # as _serve() does, without a call: every event of a client takes this path
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
            _serve_queue(reactor, queue)
            if queue.waiting:
                _disarm(reactor, queue, added)

    return run_once
