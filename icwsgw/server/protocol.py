"""The WebSocket connection of one client: thin glue between Autobahn and a session.

Autobahn reads: handshake, frames, fragments, masks, UTF-8, closing handshakes. Writing goes around it, since frames
come ready from :mod:`icwsgw.core.messages` (design 3.6). Nothing here decides; it passes messages to the session and
does what the session asks.

    connectionMade -> [HTTP handshake: onConnect admits] -> onOpen -> onMessage ... -> onClose

Its deadlines (handshake, ping, pong, closing handshake) are looked after by the gateway's wheel, in :meth:`look`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest

from icwsgw.core.closing import CloseCode
from icwsgw.core.messages import payload_of
from icwsgw.core.session import State
from icwsgw.observe.logs import get_logger
from icwsgw.server.frames import read_binary_frame
from icwsgw.server.outbox import Outbox

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession
    from icwsgw.server.factory import GatewayFactory

_log = get_logger("server")

_OPEN = WebSocketServerProtocol.STATE_OPEN
_PING = b"\x89\x00"
_NO_STATUS = 1005
_ABNORMAL = 1006

#: Bounds of the HTTP request that opens a WebSocket; browsers with all their cookies stay below.
MAX_HEADER_BYTES = 8192
MAX_HEADER_LINES = 128

_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class _AutobahnLog:
    """Autobahn logs each step of each connection and builds the arguments first; what matters is logged by us."""

    def __getattr__(self, name: str) -> Any:
        return self._nothing

    @staticmethod
    def _nothing(*args: Any, **kwargs: Any) -> None:
        pass


class GatewayProtocol(WebSocketServerProtocol):  # type: ignore[misc]
    """One client's connection. The factory makes a subclass with the protocol's options as class attributes.

    :ivar session: set while the WebSocket is open
    :ivar wheel_slot: see :class:`icwsgw.gateway.wheel.Watched`
    """

    factory: GatewayFactory
    transport: Any
    peer: str
    log = _AutobahnLog()
    session: ClientSession | None = None
    wheel_slot = -1

    _outbox: Outbox | None = None
    _heard = False
    _pinged = False
    _reading_paused = False
    _refusal: str | None = None
    _host = ""

    # Twisted's side

    def connectionMade(self) -> None:
        """A connection was accepted. (Autobahn's own version gathers details that nobody here asks for.)"""
        transport = self.transport
        peer = transport.getPeer()
        self._host = getattr(peer, "host", "") or "unix"
        port = getattr(peer, "port", None)
        self.peer = self._host if port is None else f"{self._host}:{port}"
        if hasattr(transport, "setTcpNoDelay") and port is not None:
            transport.setTcpNoDelay(True)
        self._connectionMade()
        self.trafficStats = self.factory.traffic
        self._refusal = self.factory.limits.enter(self._host)
        self.factory.connections.add(self)
        self.factory.wheel.watch(self, self.factory.header_timeout(transport))

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        self._heard = True
        # between frames, the plain ones are read without Autobahn
        if self.state == _OPEN and not self.data and self.current_frame is None and not self.inside_message:
            at = 0
            while (read := read_binary_frame(data, at)) is not None and self.state == _OPEN:
                payload, at = read
                if len(payload) > self.maxMessagePayloadSize:
                    break
                self.onMessage(payload, True)
            if at:
                data = data[at:]
                if not data:
                    return
        self._dataReceived(data)

    def connectionLost(self, reason: Any = None) -> None:
        """The connection is gone."""
        factory = self.factory
        factory.wheel.forget(self)
        factory.connections.discard(self)
        factory.limits.leave(self._host)
        if self._outbox is not None:
            self._outbox.stopProducing()
            self._outbox = None
        self._connectionLost(reason)
        factory.connection_ended()

    def _onOpen(self) -> None:
        self.onOpen()

    # Autobahn's side

    def processHandshake(self) -> None:
        """The HTTP request is coming in: bound it before it is read."""
        end = self.data.find(b"\r\n\r\n")
        if (len(self.data) if end < 0 else end) > MAX_HEADER_BYTES:
            self.failHandshake(f"the request's header is longer than {MAX_HEADER_BYTES} bytes", 431)
        elif end >= 0 and self.data.count(b"\r\n", 0, end) > MAX_HEADER_LINES:
            self.failHandshake(f"the request's header has more than {MAX_HEADER_LINES} lines", 431)
        else:
            super().processHandshake()

    def onConnect(self, request: ConnectionRequest) -> None:
        """The HTTP handshake is sound: admit the client or not."""
        refusal = self._refusal or self.factory.refusal(request)
        if refusal is not None:
            status, text = self.factory.answer(refusal)
            raise ConnectionDeny(status, text)

    def onOpen(self) -> None:
        """The WebSocket is open."""
        self._heard = False
        # what the handshake leaves behind would stay for as long as the connection
        self.http_request_data = self.http_response_data = b""
        self.http_headers: dict[str, str] = {}
        self._outbox = Outbox(self.transport, self.factory, self)
        self.session = self.factory.gateway.connect(self)
        if self.state == self.STATE_OPEN:
            self.factory.wheel.watch(self, self._next_look(self.factory.clock.seconds()))

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A whole message came."""
        if self.session is not None:
            try:
                self.session.received(payload, isBinary)
            except Exception:
                _log.failure("a client's message failed", session=self.session.id)
                self.session.end(CloseCode.INTERNAL, "internal error")

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The WebSocket has ended, whoever ended it."""
        session, self.session = self.session, None
        if session is not None:
            session.left((code or _NO_STATUS) if wasClean else _ABNORMAL)

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool | None:
        """The client closes: tell the session now, the connection may take its time to end."""
        if self.state == self.STATE_OPEN:
            if self._outbox is not None:
                self._outbox.flush()
            session, self.session = self.session, None
            if session is not None:
                session.left(code or _NO_STATUS)
            self.factory.wheel.watch(self, self.factory.close_timeout)
        result: bool | None = super().onCloseFrame(code, reasonRaw)
        return result

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """Refuse the HTTP request."""
        self.factory.refused(self.peer, code, reason, self._refusal)
        super().failHandshake(reason, code, responseHeaders)

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        """Answer the HTTP request with an error, completely."""
        body = f"{reason}\n".encode()
        head = [
            f"HTTP/1.1 {code} {_REASONS.get(code, 'Error')}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in responseHeaders or ()),
        ]
        if code == 426:
            head.append("Upgrade: websocket")
        if code in (429, 503):
            head.append("Retry-After: 5")
        self.sendData("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    def _fail_connection(self, code: int = CloseCode.GOING_AWAY, reason: str = "going away") -> None:
        """The client broke the WebSocket protocol, or sent too much: Autobahn closes, the session should know why."""
        if self.session is not None and self.session.cause is None:
            self.session.cause = code
        super()._fail_connection(code, reason)
        self.factory.wheel.watch(self, self.factory.close_timeout)

    # the session's side, see icwsgw.gateway.interfaces.Client

    def deliver(self, frames: list[bytes]) -> None:
        """Send ready frames."""
        if self.state != self.STATE_OPEN or self._outbox is None:
            return
        if self._perMessageCompress is not None:
            for frame in frames:
                self.sendMessage(payload_of(frame), True)
        else:
            self._outbox.send(frames[0] if len(frames) == 1 else b"".join(frames))

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """What Autobahn sends: handshakes, pongs, close frames, compressed messages; in order with our frames."""
        if self._outbox is not None:
            self._outbox.send(data)
        else:
            self.transport.write(data)

    def unregisterProducer(self) -> None:
        """Autobahn is about to drop the connection; before the WebSocket was open there is no producer."""
        if self._outbox is not None:
            self.transport.unregisterProducer()

    def close(self, code: int, reason: str) -> None:
        """End the connection with a close frame, behind what waits for the client unless it is too slow for that."""
        if self.state != self.STATE_OPEN:
            return
        if self._outbox is not None:
            if code == CloseCode.TOO_SLOW:
                self._outbox.clear()
            else:
                self._outbox.flush()
        self.resume()
        self.sendCloseFrame(code=code, reasonUtf8=reason.encode(), isReply=False)
        self.factory.wheel.watch(self, self.factory.close_timeout)

    def pause(self) -> None:
        """Stop reading: the client's messages leave more slowly than they come."""
        if not self._reading_paused:
            self._reading_paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resumeProducing()

    # the wheel's side

    def look(self, now: float) -> float | None:
        """Do what is due; see :class:`icwsgw.gateway.wheel.Watched`."""
        if self.state == self.STATE_CONNECTING:
            self._refusal = "header_timeout"
            self.failHandshake("the request's header did not come in time", 408)
            return self.factory.close_timeout
        if self.state != self.STATE_OPEN or self.session is None:
            # the closing handshake, or the last bytes, did not get through in time
            self.transport.abortConnection()
            return None
        if self.session.overdue(now):
            return None
        if self._heard or self._reading_paused:
            self._heard = self._pinged = False
            return self._next_look(now)
        if self._pinged:
            _log.debug("no pong came", session=self.session.id, peer=self.peer)
            self.transport.abortConnection()
            return None
        if not self.factory.ping_interval:
            return self._next_look(now)
        self._pinged = True
        if self._outbox is not None:
            self._outbox.send(_PING)
        return self.factory.pong_timeout

    def _next_look(self, now: float) -> float:
        delay = self.factory.ping_interval or 60.0
        session = self.session
        if session is not None and session.deadline > now and session.state < State.OPEN:
            delay = min(delay, session.deadline - now)
        return delay
