"""Sends bytes on a Twisted TCP transport at once, if that is safe.

``transport.write`` only queues bytes. They leave in the next turn of the reactor, when epoll has reported the socket
as writable. A socket without queued bytes is nearly always writable. Sending at once saves one turn and two epoll
calls: half of the CPU time of sparse traffic.

The order of bytes stays: the socket is used only while Twisted's buffers are empty, and ``transport.write`` gets the
bytes that the kernel does not take. It gets them after an error, too. So Twisted finds a lost connection itself, and
:func:`send_now` makes no callbacks.

This module reads private attributes of :class:`twisted.internet.abstract.FileDescriptor` (Twisted 22 to 26). A
transport of another type gets a plain ``write``.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp, unix

_DIRECT: frozenset[type] = frozenset({tcp.Server, tcp.Client, unix.Server, unix.Client})


def send_now(transport: Any, data: bytes) -> None:
    """Write ``data``; at once if the transport is a plain socket without queued bytes.

    :param transport: a Twisted stream transport; with TLS, queued bytes, while it closes, or of an unknown type it gets
        ``write``
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
            # the socket is full or lost; Twisted's doWrite finds out which, and reports the loss
            sent = 0
        if sent == len(data):
            return
        if sent:
            data = data[sent:]
    transport.write(data)
