"""Send bytes on a Twisted TCP transport in this reactor turn where that is safe.

``transport.write`` only queues: the bytes leave in the next turn, after the reactor has asked the kernel
whether the socket takes them. When nothing is queued the socket nearly always does, so asking it at once
saves that turn and two epoll calls, half of the CPU of sparse traffic.

Order is kept because the socket is used only while Twisted's own buffers are empty, and whatever the kernel
does not take goes through ``transport.write``. Errors go that way too, so that Twisted finds the loss itself
and tells the protocol in its own time; :func:`send_now` calls nobody back.

It reads private attributes of :class:`twisted.internet.abstract.FileDescriptor` (Twisted 22 to 26); a
transport of an exact type not listed here gets a plain ``write``.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp, unix

_DIRECT: frozenset[type] = frozenset({tcp.Server, tcp.Client, unix.Server, unix.Client})


def send_now(transport: Any, data: bytes) -> None:
    """Write ``data``, at once if the transport is a plain socket with nothing queued.

    :param transport: any Twisted stream transport; TLS, closing, buffered or unknown ones get ``write``
    :param data: bytes to send
    """
    if (
        type(transport) in _DIRECT
        and not transport._tempDataLen
        and not transport.dataBuffer
        and transport.connected
        and not transport.disconnecting
        and not transport.TLS
        and not transport._aborting
        and not transport._writeDisconnecting
        and not getattr(transport, "_sendmsgQueue", None)
    ):
        try:
            sent = transport.socket.send(data)
        except OSError:
            # Full, or lost: the reactor's own doWrite tells which, and reports a loss.
            sent = 0
        if sent == len(data):
            return
        if sent:
            data = data[sent:]
    transport.write(data)
