"""Takes the socket away from a transport, so that another process can continue with the connection (decision 0069).

Twisted has no such operation: every way to end a transport ends its connection. This module reads private attributes
of :class:`twisted.internet.abstract.FileDescriptor`.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import ISSLTransport

_PLAIN: frozenset[type] = frozenset({tcp.Server, unix.Server})


def plain_transport(transport: Any) -> Any:
    """The transport of the socket itself, behind a wrapper of the PROXY protocol.

    :return: None: there is TLS in between, whose state cannot be moved, or the transport is of an unknown type
    """
    while transport is not None and type(transport) not in _PLAIN:
        if ISSLTransport.providedBy(transport):
            return None
        transport = getattr(transport, "transport", None)
    if transport is None or transport.TLS or not transport.connected or transport.disconnecting:
        return None
    return None if transport._aborting or transport._writeDisconnecting else transport


def unsent_bytes(transport: Any) -> bytes:
    """The bytes that a plain transport has not given to the kernel yet."""
    return b"".join((memoryview(transport.dataBuffer)[transport.offset :], *transport._tempDataBuffer))


def has_unsent_bytes(transport: Any) -> bool:
    """Whether there are such bytes."""
    return len(transport.dataBuffer) > transport.offset or bool(transport._tempDataBuffer)


def detach(transport: Any) -> None:
    """Close the socket of a plain transport here, without notifying its protocol or the other end.

    The connection lives on if another process has the socket too.
    """
    transport.stopReading()
    transport.stopWriting()
    transport.connected = 0
    transport.dataBuffer, transport.offset = b"", 0
    transport._tempDataBuffer, transport._tempDataLen = [], 0
    transport.producer = None
    transport.socket.close()
