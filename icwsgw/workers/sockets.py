"""Listening sockets of several processes: the supervisor binds them, its workers accept from them.

The kernel gives a connection to the worker that accepts first. If a worker dies, the connections that it has not yet
accepted survive; with SO_REUSEPORT they would be lost. The port also stays bound while all workers restart.

Unix sockets need separate handling because of their file: Twisted's port class would set the file's mode again, and
would remove the file when one of several workers stops. This module therefore accepts the connections and passes each
to the reactor.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReadDescriptor, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from icwsgw.observe.logs import get_logger
from icwsgw.server.endpoints import ListeningService, make_endpoint, socket_endpoint
from icwsgw.server.tls import Tls

#: Maximum number of connections accepted in one turn of the reactor, to leave some for the other workers.
ACCEPTS = 16
#: Pause before the next accept when the process has no free file descriptor, in seconds.
PAUSE = 1.0

_log = get_logger("workers")


class HeldSocket(ListeningService):
    """Binds an address and keeps its listening socket without accepting from it.

    :param below: an endpoint of a socket that another process has bound; None: the address is bound
    :raises ConfigError: at once if the address or its certificate is invalid, later if the address is in use
    """

    def __init__(
        self, address: str, reactor: Any, tls: Tls | None = None, passphrase: Path | None = None, below: Any = None
    ) -> None:
        # only a check: each worker reads the certificate itself
        made = make_endpoint(reactor, address, tls, passphrase=passphrase)
        endpoint = socket_endpoint(reactor, address) if below is None else below
        plain = made._replace(endpoint=endpoint, tls=None)
        super().__init__(address, plain, _NoConnections(), reactor, option="--gateway-address")

    @property
    def family(self) -> int:
        """The address family of the socket."""
        with socket.socket(fileno=os.dup(self.port.fileno())) as twin:
            return int(twin.family)

    def _listening(self) -> None:
        self.port.stopReading()
        _log.debug("holding the socket", address=self.address)


class _NoConnections(Factory):
    """Accepts no connections: the supervisor only keeps the socket open."""

    noisy = False

    def buildProtocol(self, addr: Any) -> Protocol | None:  # noqa: N802
        return None


@implementer(IStreamServerEndpoint)
class GivenEndpoint:
    """Listens on a socket that another process has bound.

    :param descriptor: the socket's file descriptor; this object owns it
    """

    def __init__(self, reactor: Any, descriptor: int, family: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._family = family

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Start accepting connections."""
        os.set_blocking(self._descriptor, False)
        port: Any
        if self._family == socket.AF_UNIX:
            port = UnixPort(self._reactor, socket.socket(fileno=self._descriptor), factory)
            port.startListening()
        else:
            # duplicates the descriptor
            port = self._reactor.adoptStreamPort(self._descriptor, self._family, factory)
            os.close(self._descriptor)
        return succeed(port)


@implementer(IListeningPort, IReadDescriptor)
class UnixPort:
    """Accepts from a unix socket, and does not change its file."""

    def __init__(self, reactor: Any, listening: socket.socket, factory: Any) -> None:
        self._reactor = reactor
        self._socket = listening
        self._factory = factory
        self._resume: Any = None
        self._reading = True

    def startListening(self) -> None:  # noqa: N802
        """Start accepting connections."""
        self._factory.doStart()
        self._reactor.addReader(self)

    def stopListening(self) -> Deferred[None]:  # noqa: N802
        """Stop accepting connections."""
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            if self._resume is not None:
                self._resume.cancel()
                self._resume = None
            self._socket.close()
            self._factory.doStop()
        return succeed(None)

    def stopReading(self) -> None:  # noqa: N802
        """Accept no connections until :meth:`startReading`."""
        self._reading = False
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)

    def startReading(self) -> None:  # noqa: N802
        """Accept connections again, unless accepting is paused."""
        self._reading = True
        if self._socket.fileno() >= 0 and self._resume is None:
            self._reactor.addReader(self)

    def getHost(self) -> UNIXAddress:  # noqa: N802
        return UNIXAddress(self._socket.getsockname())

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; its file stays."""
        self._socket.close()

    def logPrefix(self) -> str:  # noqa: N802
        """Return the name for Twisted's log."""
        return "UnixPort"

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        """Stop, because the socket has failed or the reactor ends."""
        self.stopListening()

    def doRead(self) -> None:  # noqa: N802
        """Accept a limited number of waiting connections."""
        for _ in range(ACCEPTS):
            if not self._reading:
                return
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            with connection:
                connection.setblocking(False)
                try:
                    # duplicates the descriptor, which fails if accept has used the last free one
                    self._reactor.adoptStreamConnection(connection.fileno(), socket.AF_UNIX, self._factory)
                except OSError as error:
                    self._pause(error)
                    return

    def _pause(self, error: OSError) -> None:
        _log.error("accepting paused", reason=errno.errorcode.get(error.errno or 0, str(error)))
        self._reactor.removeReader(self)
        again: Callable[[], None] = self._accept_again
        self._resume = self._reactor.callLater(PAUSE, again)

    def _accept_again(self) -> None:
        self._resume = None
        if self._reading:
            self._reactor.addReader(self)
