"""A leaner turn of Twisted's epoll reactor.

For each socket that is ready, ``EPollReactor.doPoll`` enters a logging context (a dozen calls in Python) so that text
logged in there carries the name of the connection. Nothing here logs that way, and a gateway's turn is mostly one
small read: measured on loopback, an echo costs 24 us of CPU a message with that context and 13 without (a bare epoll
loop in Python: 12).

:func:`install` replaces the loop of one reactor, if it is exactly the kind it was written against (Twisted 24.10 to
26.10, the default on Linux); any other reactor is left as it is. What may go wrong in a read or write is handled as
Twisted does: logged, and the connection is lost with it.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.python import log


def install(reactor: Any) -> bool:
    """Give an epoll reactor the leaner turn; whether it was one."""
    try:
        from twisted.internet.epollreactor import EPOLLIN, EPollReactor
    except ImportError:
        return False
    if type(reactor) is not EPollReactor or not all(
        hasattr(reactor, name) for name in ("_poller", "_selectables", "_doReadOrWrite", "_disconnectSelectable")
    ):
        return False

    # checked above, but for a type checker methods are not to be replaced
    patched: Any = reactor

    def turn(timeout: float | None) -> None:
        """Wait for sockets, and read or write those that are ready."""
        selectables = reactor._selectables
        try:
            ready = reactor._poller.poll(-1 if timeout is None else timeout, len(selectables))
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        for descriptor, event in ready:
            # one that was handled before it may have closed this one
            selectable = selectables.get(descriptor)
            if selectable is None:
                continue
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

    patched.doPoll = patched.doIteration = turn
    return True
