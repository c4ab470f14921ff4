"""Connections that a middlebox has forgotten: what is sent on them arrives nowhere, and nothing says so.

The kernel knows first: a living peer acknowledges what it is sent within a round trip, however long it takes to answer.
So it is told to end a connection on which nothing is acknowledged for :data:`SILENCE` seconds, instead of some 15
minutes (RFC 5482). Where it cannot be told, or a proxy on the way acknowledges for a peer that is gone, only requests
that get no answer tell; see :meth:`icwsgw.agent.http.host_pool.HostPool.timed_out`.
"""

from __future__ import annotations

import socket
from typing import Any, Final

SILENCE: Final = 3.0
"""Seconds without an acknowledgement. A segment that is lost is sent again four times within them."""

_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


def limit_unacknowledged_time(transport: Any, seconds: float) -> bool:
    """Have the kernel end a connection on which nothing is acknowledged.

    :param transport: of TCP, or what is laid over it, such as TLS
    :param seconds: how long it is waited for
    :returns: whether the kernel does that: on Linux, for TCP
    """
    while _USER_TIMEOUT is not None and transport is not None:
        sock = getattr(transport, "socket", None)
        if sock is not None:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(seconds * 1000))
            except OSError:
                return False
            return True
        transport = getattr(transport, "transport", None)
    return False
