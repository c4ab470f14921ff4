"""The TLS transport of a client's connection: what it reads at once, and what records without data may cost.

OpenSSL processes whatever it is given before it returns, and answers some records itself. A TLS 1.3 KeyUpdate has 27
bytes and costs 35 us; its answer waits in the socket's buffer. The protocol behind the transport sees neither, nor does
it see that its data comes in records of one byte. So the transport counts records (decision 0080):

* It reads :data:`SMALL_READ` bytes at once until the client is authenticated.
* OpenSSL gets :data:`RECORDS_AT_ONCE` records at a time. Their data is passed on together.
* A connection ends after :data:`MOST_SILENT` records without data. Honest clients send none, or a few in days.
* Records that bring little data, and padding, count towards the client's rate limits.
"""

from __future__ import annotations

from typing import Any, Protocol

from OpenSSL.SSL import Error, WantReadError, ZeroReturnError
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure

from icwsgw.server.client_hello import offers_acme

#: Bytes that are read at once from a client that is not authenticated: a ClientHello, a request's head or a ws_open
#: fits. It has room for 150 of the smallest records.
SMALL_READ = 4096
#: Records that OpenSSL gets at a time.
RECORDS_AT_ONCE = 16
#: Records without data that a connection may send after its handshake.
MOST_SILENT = 32
#: Bytes of data that a record has to bring so that it costs nothing, and bytes of a record that are not data.
FREE_BYTES = 64
#: The longest data of a record is half of it.
_MOST = 1 << 15
_HEADER = 5

_DONE = Failure(ConnectionDone())


class CountsOverhead(Protocol):
    """The protocol behind the transport, if it has rate limits (:class:`icwsgw.server.protocol.GatewayProtocol`)."""

    def tls_overhead(self, records: int, padding: int) -> None:
        """Count records that have brought little data, and bytes of padding."""

    def tls_silence(self) -> None:
        """End the connection, because it has sent too many records without data."""


class RecordCounter:
    """Finds where TLS records end (RFC 8446, section 5.1): a byte of type, two of version, two of length, the content.

    :ivar begun: bytes that have come of a record that is not whole
    """

    __slots__ = ("_head", "_left", "begun")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self.begun = 0

    def take(self, data: bytes, at: int, most: int) -> tuple[int, int]:
        """Step over records.

        :param data: what has come
        :param at: where to begin: 0, or where the last step ended
        :param most: how many records to step over, at least 1
        :return: where the last of them ends, or the end of the data; how many have ended
        """
        size, records = len(data), 0
        while at < size:
            if not self._left:
                missing = _HEADER - len(self._head)
                head = self._head + data[at : at + missing]
                at += len(head) - len(self._head)
                self.begun += len(head) - len(self._head)
                if len(head) < _HEADER:
                    self._head = head
                    break
                self._head = b""
                self._left = int.from_bytes(head[3:], "big")
            step = min(self._left, size - at)
            at += step
            self._left -= step
            self.begun += step
            if self._left:
                break
            self.begun = 0
            records += 1
            if records == most:
                break
        return at, records


class TlsTransport(BufferingTLSTransport):
    """Twisted's TLS transport with bounds, and without reference cycles that would keep an ended connection in memory.

    Its protocol may be a :class:`CountsOverhead`.
    """

    # records without data since the handshake; of what OpenSSL got last: records with data, bytes of data
    _silent = _delivered = _data_bytes = 0

    def makeConnection(self, transport: Any) -> None:  # noqa: N802
        """The connection was accepted."""
        self._records = RecordCounter()
        _socket(transport).bufferSize = SMALL_READ
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def read_more(self) -> None:
        """The client is authenticated: read as much at once as from a plain socket."""
        _socket(self.transport).bufferSize = FileDescriptor.bufferSize

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Bytes have come from the client."""
        counter, at = self._records, 0
        records = whole = received = 0
        while at < len(data) and not (self._lostTLSConnection or self._aborted):
            begin, begun, counted = at, counter.begun, self._handshakeDone
            at, ended = counter.take(data, at, RECORDS_AT_ONCE)
            self._delivered = self._data_bytes = 0
            # bytes are not copied if this is all of them
            super().dataReceived(data[begin:at])  # type: ignore[no-untyped-call]
            if counted:
                records += ended
                whole += at - begin + begun - counter.begun
                received += self._data_bytes
                self._silent += ended - self._delivered
                if self._silent > MOST_SILENT:
                    self._end_silence()
                    return
        many, padding = records - 1 - received // FREE_BYTES, whole - received - records * FREE_BYTES
        if many > 0 or padding > 0:
            self._charge(max(many, 0), max(padding, 0))

    def _charge(self, records: int, padding: int) -> None:
        if records:
            _socket(self.transport).bufferSize = SMALL_READ
        protocol: Any = self.wrappedProtocol
        if protocol is not None and hasattr(protocol, "tls_overhead"):
            protocol.tls_overhead(records, padding)

    def _end_silence(self) -> None:
        if self._lostTLSConnection or self._aborted:
            return
        protocol: Any = self.wrappedProtocol
        if hasattr(protocol, "tls_silence"):
            protocol.tls_silence()
        else:
            self.abortConnection()  # type: ignore[no-untyped-call]

    def _flushReceiveBIO(self) -> None:  # noqa: N802
        # Twisted's passes on the data of each record by itself
        parts: list[bytes] = []
        while not self._lostTLSConnection:
            try:
                parts.append(self._tlsConnection.recv(_MOST))
            except WantReadError:
                break
            except ZeroReturnError:
                self._pass_on(parts)
                self._shutdownTLS()  # type: ignore[no-untyped-call]
                self._tlsShutdownFinished(None)
                return
            except Error:
                failure = Failure()
                self._pass_on(parts)
                self._tlsShutdownFinished(failure)
                return
        self._pass_on(parts)
        self._flushSendBIO()  # type: ignore[no-untyped-call]

    def _pass_on(self, parts: list[bytes]) -> None:
        if parts and not self._aborted:
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            self._delivered += len(parts)
            self._data_bytes += len(data)
            protocol: Any = self.wrappedProtocol
            protocol.dataReceived(data)

    def connectionLost(self, reason: Failure = _DONE) -> None:  # noqa: N802
        """The connection is lost."""
        aggregator = self._aggregator
        super().connectionLost(reason)
        self._producer = None
        # up to Twisted 25 it holds this object's own method
        aggregator._write = _ignore  # type: ignore[union-attr]

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:  # noqa: N802
        # the traceback refers to the frame that refers to the failure
        if reason is not None:
            reason.tb = None
            if reason.value is not None:
                reason.value.__traceback__ = None
        super()._tlsShutdownFinished(reason)  # type: ignore[no-untyped-call]


def _ignore(data: bytes) -> None:
    pass


def _socket(transport: Any) -> Any:
    """The transport of the socket itself, below those of a PROXY header."""
    while (inner := getattr(transport, "transport", None)) is not None:
        transport = inner
    return transport


class _LookingTransport(TlsTransport):
    """Looks at the first bytes of a connection, until they say whether a certificate authority validates a name."""

    _seen = b""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Bytes of the client; when the ClientHello is complete, this object is a plain transport again."""
        self._seen += data
        offers = offers_acme(self._seen)
        if offers is not None:
            del self._seen
            self.__class__ = TlsTransport  # type: ignore[assignment]
            if offers:
                self._tlsConnection.offers_acme = True  # type: ignore[attr-defined]
        # no super(): this may not be its class any more
        TlsTransport.dataReceived(self, data)


class TlsTransports(TLSMemoryBIOFactory):
    """Adds TLS to the connections of a factory."""

    protocol = TlsTransport


class LookingTlsTransports(TLSMemoryBIOFactory):
    """The same where a certificate authority may validate names."""

    protocol = _LookingTransport
