"""Ends connections that a middlebox has forgotten: their data arrives nowhere, and nothing reports it.

The kernel notices first, because a living peer acknowledges data within a round trip, however long it takes to answer.
The gateway sets TCP_USER_TIMEOUT, so that the kernel ends a connection after :data:`SILENCE` seconds without an
acknowledgement instead of about 15 minutes (RFC 5482). Where that is not possible, or a proxy on the way acknowledges
for a dead peer, only requests without an answer show it; see :meth:`icwsgw.agent.http.host_pool.HostPool.timed_out`.
"""

from __future__ import annotations

import socket
from typing import Any, Final

SILENCE: Final = 3.0
"""Seconds without an acknowledgement. A segment that is lost is sent again four times within them."""

_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


def limit_unacknowledged_time(transport: Any, seconds: float) -> bool:
    """Have the kernel end a connection on which nothing is acknowledged.

    :param transport: of TCP, or of a protocol above it, such as TLS
    :param seconds: without an acknowledgement
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
