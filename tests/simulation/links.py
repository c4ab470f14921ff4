"""Connections between a simulated client and the gateway.

A :class:`DirectLink` is the gateway's ``Client``. A :class:`WireLink` is a TCP connection in memory: on one side the
gateway's protocol, with Twisted's rules for producers and for lost connections; on the other side a small WebSocket
client. Both may be slow, stop reading, close with a close frame, or be cut with or without notice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.liveness import LivenessState
from icwsgw.core.messages import payload_of
from icwsgw.core.session_machine import State
from icwsgw.server.connection_handover import PONG_SECONDS
from icwsgw.server.proxy_header import ProxyHeaders
from icwsgw.server.read_control import RELAY
from icwsgw.server.request_head import MAX_HEADER_BYTES
from tests.simulation.client_paths import path_of
from tests.simulation.expectations import WHEEL
from tests.simulation.limits import Taken
from tests.support.pausing import Pausing
from tests.support.ws_wire import close_frame, handshake, masked

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession
    from tests.simulation.clients import SimClient
    from tests.simulation.world import SimWorld

TRANSPORT_BUFFER = 65536
#: Seconds for which an address is suspected after it has forged something.
SUSPECTED = 10.5
#: Seconds within which what the transport has reaches a client whose session has ended with a reason.
QUICK = 1.0
#: Seconds between two reads of what comes after a flood.
FLOOD_PAUSE = 0.01
#: Bytes on their way to a client that the kernel takes; the rest waits in the process, and is handed over.
KERNEL = 4096


class DirectLink(Pausing):
    """A client that is connected to its session without any bytes."""

    wire = False
    uplink: int | None = None
    taking = True
    half_since: float | None = None
    waiting = (0, 0.0)
    frames_up = 0

    def __init__(self, world: SimWorld, owner: SimClient, latency: float) -> None:
        self.peer = "direct:1"
        self.origin = ""
        self.waiting_bytes = 0
        self.wheel_slot = -1
        self.reading = True
        self._world = world
        self.owner = owner
        owner.link = self
        self._latency = latency
        self._inbox: deque[bytes] = deque()
        self._outbox: deque[tuple[bytes, bool]] = deque()
        self._over = False
        self._read_call = False
        self.session: ClientSession = owner.process.gateway.connect(self)
        if not self._over:
            owner.process.gateway.wheel.watch(self, 1.0)

    @property
    def held(self) -> bool:
        """Whether its session has paused it."""
        return self.paused

    def session_ended(self) -> None:
        """The gateway has ended the session; nothing is left to be done here."""

    # the client's side

    def send(self, payload: bytes, binary: bool = True) -> None:
        self._outbox.append((payload, binary))
        self._world.clock.callLater(self._latency, self._push)

    def _push(self) -> None:
        while self._outbox and not self.paused and not self._over:
            payload, binary = self._outbox.popleft()
            self.session.received(payload, binary)

    def close(self, code: int, reason: str = "") -> None:
        """The gateway's close frame (Client.close)."""
        if self._over:
            return
        self.owner.close_received(code, reason)
        self._end(code)
        self._world.clock.callLater(self._latency, self.owner.ended, code)

    def leave(self, code: int = 1000) -> None:
        """A closing handshake: what was sent before arrives first."""
        if self._outbox and not self._over:
            self._world.clock.callLater(0.05, self.leave, code)
            return
        self._end(code)

    def cut(self, silent: bool = False) -> None:
        self._outbox.clear()
        self._end(1006)

    def garbage(self, data: bytes) -> None:
        self.send(data)

    def set_reading(self, reading: bool) -> None:
        self.reading = reading
        self._schedule()

    def set_rate(self, rate: int | None) -> None:
        """There are no bytes here."""

    def set_speed(self, octets: int) -> None:
        """Nor here."""

    def _end(self, code: int) -> None:
        if not self._over:
            self._over = True
            self.owner.process.gateway.wheel.forget(self)
            # the gateway may close it while it connects
            self._world.clock.callLater(0, self._left, code)

    def _left(self, code: int) -> None:
        if not self.owner.process.dead:
            self.session.left(code)

    def continue_with(self, session: ClientSession) -> None:
        """Another process serves it from now on."""
        self.session, self.paused = session, False
        if not self._over and session.state < State.OPEN:
            self.owner.process.gateway.wheel.watch(self, 1.0)

    @property
    def over(self) -> bool:
        """Whether it has ended, though the gateway may not have noticed it yet."""
        return self._over

    def die(self) -> None:
        """The process at the other end has died."""
        if not self._over:
            self._over = True
            self._world.clock.callLater(self._latency, self.owner.ended, 1006)

    # the gateway's side

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        if not self._over:
            self._inbox.extend(payload_of(frame) for frame in frames)
            self._schedule()

    def resume(self) -> None:
        super().resume()
        self._world.clock.callLater(0, self._push)

    def look(self, now: float) -> float | None:
        if self._over or self.session.overdue(now):
            return None
        return 1.0 if self.session.state < State.OPEN else None

    def _schedule(self) -> None:
        if self._inbox and self.reading and not self._read_call:
            self._read_call = True
            self._world.clock.callLater(self._latency, self._read)

    def _read(self) -> None:
        self._read_call = False
        while self._inbox and self.reading and not self._over:
            self.owner.arrived(self._inbox.popleft())


class WireLink:
    """A TCP connection in memory; the transport of the gateway's protocol, and a client at its other end.

    :param request: the part of its request that is sent, 1.0 for all; or what it sends in its place
    :param rate: the most bytes that reach the client at a time, None for all there are
    :ivar uplink: the most bytes that reach the gateway at a time, None for all there are
    """

    wire = True
    uplink: int | None = None

    def __init__(
        self, world: SimWorld, owner: SimClient, latency: float, rate: int | None, request: float | bytes = 1.0
    ) -> None:
        self.reading = True
        self.disconnecting = False
        self._world = world
        self.owner = owner
        self._latency = latency
        self._rate = rate
        self._to_client = bytearray()
        self._to_server = bytearray()
        self._read_buffer = bytearray()
        self._shaken = False
        self._producer: Any = None
        self._producer_paused = False
        self._server_paused = False
        self._lost = False
        self._silent = False
        self._fin = False
        self._down_call = False
        self._up_call = False
        self._close_sent = False
        self._over = False
        #: when the client last took something, or nothing waited for it; when its last bytes arrived
        self._read_at = self._arrived_at = world.clock.seconds()
        #: since when it reads, as long as it does; since when more waits for it than may
        self._reads_since, self._full_since = self._read_at, float("inf")
        #: when the interval until its next ping began, unless it has sent anything but a pong since: when its last ping
        #: came, or later if a part of the pong came late
        self._pinged_at: float | None = None
        self._flood_read_at = float("-inf")
        #: when the transport's buffer was last empty: what leaves it before is not seen by the gateway
        self._emptied_at = self._read_at
        self._behind_since = 0.0
        self._ended_at: float | None = None
        self.half_since: float | None = None
        #: when the gateway had read all of that half
        self._half_read: float | None = None
        self.frames_up = 0
        self.aborted = False
        self._came_at = world.clock.seconds()
        self._status: int | None = None
        #: whether the gateway drained when the request was whole
        self._came_late = False
        self._asked_whole_at = self._came_at
        self._asked = False
        config = owner.process.config
        self._taken = Taken(world.plan)
        front = self._front = path_of(
            world.plan.front, owner.address, owner.random, config.tls_handshake_timeout, config.header_timeout
        )
        if front.tls is not None:
            directlyProvides(self, ISSLTransport)
        self._expected = owner.process.door.arrives(self, owner.group, world.clock.seconds())
        factory: Any = owner.process.factory
        if front.proxied:
            factory = ProxyHeaders(factory)
        self._entry: Any = factory.buildProtocol(self.getPeer())
        self._protocol: Any = self._entry.wrappedProtocol if front.proxied else self._entry
        self._entry.makeConnection(self)
        origin = (f"Origin: {owner.origin}",) if world.plan.operations else ()
        whole = handshake(*origin, *front.headers)
        #: the part of a sound request that comes; None: it is none
        self._part = None if isinstance(request, bytes) else request
        self._request = front.head + (request if isinstance(request, bytes) else whole[: int(len(whole) * request)])
        self._early: bytes | None = b""
        self._asked_at = self._came_at
        if front.tls is None:
            self._ask()
        else:
            world.at_end.append(world.clock.callLater(front.tls, self._tls_is_up))

    def _tls_is_up(self) -> None:
        if not self._lost:
            self._came_at = self._world.clock.seconds()
            self._protocol.handshakeCompleted()
            self._world.at_end.append(self._world.clock.callLater(self._front.idle, self._ask))

    def _ask(self) -> None:
        """Send the request, and what was to be sent before."""
        early, self._early = self._early or b"", None
        self._asked_at = self._world.clock.seconds()
        self._send_bytes(self._request + early)

    # what the world looks at

    @property
    def waiting(self) -> tuple[int, float]:
        """Bytes that the gateway holds for the client, and seconds since the transport last asked for more."""
        outbox = self._protocol._outbox
        return 0 if outbox is None else outbox.size, self._world.clock.seconds() - self._emptied_at

    @property
    def taking(self) -> bool:
        """Whether the connection is not about to end."""
        return bool(self._protocol.state == self._protocol.STATE_OPEN)

    @property
    def held(self) -> bool:
        """Whether its session has paused it."""
        return bool(self._protocol._stopped & RELAY)

    @property
    def server_paused(self) -> bool:
        """Whether the gateway does not read it."""
        return self._server_paused

    @property
    def reasons_not_to_read(self) -> int:
        """Why the gateway does not read it; 0: it does."""
        reasons: int = self._protocol._stopped
        return reasons

    def session_ended(self) -> None:
        """The gateway has ended the session."""
        self._pinged_at = None
        self._ended_at = self._world.clock.seconds()

    def overdue(self, now: float) -> Iterator[tuple[str, float]]:
        """What the gateway should have done about this connection: words, and seconds by which it is late."""
        config, protocol = self.owner.process.config, self._protocol
        if self._lost:
            return
        most = config.ping_interval + WHEEL + (PONG_SECONDS if self._world.plan.handovers else 0.0)
        # the next one may be behind what is on its way
        pinged = None if self._to_client else self._pinged_at
        if pinged is not None and self.reading and not self._server_paused and not self._silent and not self._over:
            yield "has answered a ping and not had another one", now - pinged - most
        if self._silent and not self._server_paused and config.ping_interval:
            # a process that takes over does not know when the last bytes came
            intervals = 2 if self._world.plan.handovers else 1
            most = intervals * config.ping_interval + config.pong_timeout + config.close_timeout + 4 * WHEEL
            yield "has been silent", now - self._arrived_at - most
        if (self._part is None or self._part < 1) and not self._shaken:
            most = config.header_timeout + config.close_timeout + 2 * WHEEL
            yield "has sent half a request", now - self._came_at - most
        if (
            self._early is None
            and self._status is None
            and self._part is None
            and len(self._request) > 2 * MAX_HEADER_BYTES
        ):
            yield "has sent a request without an end", now - self._asked_at - 4.5
        if self._ended_at is not None:
            # of what a flood has left is read a little at a time
            flood = 1.0 if CloseCode.RATE_LIMIT in self.owner.provoked else 0.0
            most = config.close_timeout + WHEEL + self._latency + flood
            yield "has outlived its session", now - self._ended_at - most
        outbox = protocol._outbox
        if outbox is None or not outbox.size or self._ended_at is not None:
            self._behind_since = now
        else:
            # looked at each half second there, each second here
            yield "has read nothing", now - max(self._behind_since, self._read_at) - config.outbox_age - 2.1
        if outbox is None or not outbox.full or self._ended_at is not None or protocol.session is None:
            self._full_since = float("inf")
        else:
            # looked at each half second
            self._full_since = min(self._full_since, now)
            yield "has more waiting than may wait", now - self._full_since - 0.9 - 50 * self._world.plan.answer_cost
        if self._half_read is not None and not self._server_paused and protocol.session is not None:
            most = config.message_timeout + 2 * config.ping_interval + 2 * WHEEL
            yield "has had half a message under way", now - self._half_read - most

    # the client's side

    def send(self, payload: bytes, binary: bool = True) -> None:
        if not self._over and not self._close_sent:
            self.frames_up += 1
            self._pinged_at = None
            frame = masked(2 if binary else 1, payload)
            self._taken.frames.append(len(frame))
            self._send_bytes(frame)

    def leave(self, code: int = 1000) -> None:
        if not self._over and not self._close_sent:
            self._close_sent, self._pinged_at = True, None
            self._send_bytes(close_frame(code))

    def cut(self, silent: bool = False) -> None:
        """End without a close frame: with a reset, or so that nothing passes any more and neither end is notified."""
        self._over = True
        if silent:
            self._silent = True
        else:
            self._to_client.clear()
            self._to_server.clear()
            self._world.clock.callLater(self._latency, self._lose, ConnectionLost())

    def garbage(self, data: bytes) -> None:
        self._pinged_at = None
        self._send_bytes(data)

    def set_reading(self, reading: bool) -> None:
        if reading != self.reading:
            self._reads_since = self._world.clock.seconds() if reading else float("inf")
        self.reading = reading
        self._pump_down()

    def set_rate(self, rate: int | None) -> None:
        """How many bytes at a time reach the client; None: all there are."""
        self._rate = rate

    def set_speed(self, octets: int) -> None:
        """How many bytes reach the client a second."""
        self._latency = max(self._latency, 0.05)
        self._rate = int(octets * self._latency)

    @property
    def _reads_all(self) -> bool:
        """Whether the client has read since its session ended, and soon has what the transport had for it then."""
        quick = self._rate is None or self._rate * QUICK > TRANSPORT_BUFFER * self._latency
        return quick and self._reads_since <= (self._ended_at or 0.0)

    def _send_bytes(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
        elif not self._silent and not self._lost:
            self._to_server += data
            self._pump_up()

    def _received(self, data: bytes) -> None:
        buffer = self._read_buffer
        buffer += data
        if not self._shaken:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            status = bytes(buffer[9:12])
            del buffer[: end + 4]
            self._answered(int(status))
            if status != b"101":
                self._finish(int(status))
                return
            self._shaken = True
        while not self._over and len(buffer) >= 2:
            size, at = buffer[1], 2
            if size == 126:
                size, at = int.from_bytes(buffer[2:4], "big"), 4
            elif size == 127:
                size, at = int.from_bytes(buffer[2:10], "big"), 10
            if len(buffer) < max(at, 2) + size:
                return
            opcode, payload = buffer[0] & 15, bytes(buffer[at : at + size])
            assert buffer[0] & 0xF0 == 0x80
            del buffer[: at + size]
            if opcode == 2:
                self.owner.arrived(payload)
            elif opcode == 9:
                # what is still on its way was not sent in answer to it, and arrives later than the pong
                self._pinged_at = None if self._to_server else self._world.clock.seconds()
                self._send_bytes(masked(10, payload))
            elif opcode == 8:
                if payload[:2] and not self._close_sent:
                    self.owner.close_received(int.from_bytes(payload[:2], "big"), payload[2:].decode())
                if not self._close_sent:
                    self._close_sent = True
                    self._send_bytes(close_frame(int.from_bytes(payload[:2], "big") or None))
                self._finish(int.from_bytes(payload[:2], "big") or 1005)

    def _answered(self, status: int) -> None:
        """The request has its answer."""
        process, oracle = self.owner.process, self._world.oracle
        self._status = status
        now = self._world.clock.seconds()
        waited = now - self._asked_whole_at - self._latency
        free = now - self._world.forged.get(self.owner.group, float("-inf")) > SUSPECTED
        if waited > 0.01 and free and not self._rate and not self.owner.provoked and self.reading:
            oracle.fail(f"client {self.owner.number} waited for {waited:.2f} s in line, its address has forged nothing")
        if status == 101:
            if self._part is None:
                oracle.fail(
                    f"client {self.owner.number} was let in, but its request is wrong: {self._request[-200:]!r}"
                )
            if self._came_late:
                oracle.fail(f"client {self.owner.number} was let in, but the gateway drained when it asked")
            known = self._protocol._admission.host
            if not self._lost and known != self.owner.address:
                oracle.fail(f"client {self.owner.number} comes from {self.owner.address}, not from {known}")
        may = {self._expected} | ({503} if self in process.door.crowded_out or process.gateway.draining else set())
        if not self.owner.welcome:
            may.add(403)
        if status not in may and status not in self.owner.provoked | self.owner.doomed:
            oracle.fail(f"client {self.owner.number} was answered {status}, not {self._expected}")

    def _finish(self, code: int) -> None:
        if not self._over:
            self._over = True
            self.owner.ended(code)

    # pipes

    @property
    def over(self) -> bool:
        """Whether nothing passes any more."""
        return self._lost

    def _pump_up(self) -> None:
        if self._to_server and not self._up_call:
            self._up_call = True
            self._world.clock.callLater(self._latency, self._up)

    def _up(self) -> None:
        self._up_call = False
        if self._lost or self._server_paused or self._silent:
            return
        size = len(self._to_server)
        if self.uplink is not None and self._shaken:
            size = min(size, self.uplink)
        elif size and self._front.head and not self._asked and self._world.network_random.random() < 0.3:
            # within what comes before the request
            size = self._world.network_random.randint(1, min(size, len(self._front.head)))
        elif size and self._world.network_random.random() < 0.3:
            size = self._world.network_random.randint(1, size)
        data = bytes(self._to_server[:size])
        del self._to_server[:size]
        if data:
            now = self._arrived_at = self._world.clock.seconds()
            self._read_after_flood(now)
            if not self._asked:
                self._asked_whole_at = now
                self._asked = not self._request[len(data) :]
                self._request = self._request[len(data) :] or self._request
                self._came_late = self.owner.process.gateway.draining
            elif self._protocol.session is not None and self._ended_at is None:
                why = self._taken.read(now, len(data))
                if why and not self.owner.provoked:
                    self._world.oracle.fail(f"client {self.owner.number} was read, but {why}")
            self._take_note_of_late_pong()
            self._entry.dataReceived(data)
            if self.half_since is not None and self._half_read is None and not self._to_server:
                self._half_read = now
        self._pump_up()

    def _take_note_of_late_pong(self) -> None:
        """A part of a pong is read now. If a visit has seen the client alive before, the next one finds this part.

        The gateway cannot know that it is not a new sign of life, and waits for the whole interval from now on, or if
        that is over at the next visit, until the one after it.
        """
        if self._pinged_at is not None and self._protocol._liveness is LivenessState.QUIET:
            self._pinged_at = self._world.clock.seconds() + WHEEL

    def _read_after_flood(self, now: float) -> None:
        """What a client sends after a flood is read with a pause after each read."""
        session = self.owner.session
        if session is not None and session.ended_with == CloseCode.RATE_LIMIT and session.was_flood:
            if now - self._flood_read_at < FLOOD_PAUSE - 1e-6:
                self._world.oracle.fail(f"client {self.owner.number} is read at full speed after its flood")
            self._flood_read_at = now

    def _pump_down(self) -> None:
        if not self._down_call and not self._lost:
            self._down_call = True
            self._world.clock.callLater(self._latency, self._down)

    def _down(self) -> None:
        self._down_call = False
        if self._lost or self._silent or (not self.reading and self._to_client):
            return
        size = len(self._to_client) if self._rate is None else self._rate
        data = bytes(self._to_client[:size])
        del self._to_client[:size]
        self._read_at = self._world.clock.seconds()
        if data and not self._over:
            self._received(data)
        if not self._to_client:
            self._emptied_at = self._read_at
        if self._to_client:
            self._pump_down()
        elif self._producer is not None and self._producer_paused:
            self._producer_paused = False
            self._producer.resumeProducing()
            self._pump_down()
        elif self.disconnecting and self._producer is None:
            self._lose(ConnectionDone())

    # the handover to another process: what it asks of the transport of a plain socket

    TLS = _writeDisconnecting = False
    offset = 0
    _tempDataBuffer: tuple[bytes, ...] = ()
    _tempDataLen = 0

    @property
    def connected(self) -> bool:
        return not self._lost

    @connected.setter
    def connected(self, value: bool) -> None:
        """Its transport does not have it any more."""

    @property
    def _aborting(self) -> bool:
        return self.aborted

    @property
    def dataBuffer(self) -> bytes:
        """What the kernel has not taken of what is on its way to the client."""
        return bytes(self._to_client[KERNEL:])

    @dataBuffer.setter
    def dataBuffer(self, data: bytes) -> None:
        """It is dropped by :meth:`stopWriting`."""

    def stopReading(self) -> None:
        self._server_paused = True

    def stopWriting(self) -> None:
        del self._to_client[KERNEL:]

    @property
    def socket(self) -> Any:
        return self

    @property
    def producer(self) -> Any:
        return self._producer

    @producer.setter
    def producer(self, producer: None) -> None:
        self._producer, self._producer_paused = producer, False

    def close(self) -> None:
        """The transport's socket is closed: another process has it too."""

    def continue_with(self, protocol: Any, paused: bool, producer: Any) -> None:
        """Another process serves it from now on."""
        # what the kernel did not have is sent again
        self.stopWriting()
        self._entry = self._protocol = protocol
        self._server_paused, self.producer = paused, producer

    def die(self) -> None:
        """The process at the other end has died."""
        if not self._lost:
            self._lost = True
            self._world.lost_transports += 1
            self._world.clock.callLater(self._latency, self._finish, 1006)

    def _lose(self, reason: Exception) -> None:
        if not self._lost:
            self._lost = True
            self._world.lost_transports += 1
            self.owner.process.door.left(self)
            self._entry.connectionLost(Failure(reason))
            self._check_close_received()
            self._finish(1006)

    def _check_close_received(self) -> None:
        """The connection has ended: a client that reads has received the reason, and its answer has been read."""
        owner, session = self.owner, self.owner.session
        if session is None and self._status is None and self._part == 1 and self._expected == 101:
            # a valid request has an answer
            doomed = owner.provoked or owner.left or self._over or self._silent or owner.process.dead
            if not doomed and self not in owner.process.door.crowded_out and not owner.process.gateway.draining:
                self._world.oracle.fail(f"client {owner.number} was cut, and its request not answered")
        if owner.provoked or owner.left or self._silent or session is None or owner.process.dead:
            return
        if owner.was_slow and (session.ended_with != CloseCode.TOO_SLOW or not self._reads_all):
            return
        if self in owner.process.door.crowded_out:
            # it had to make room at once
            return
        code = session.ended_with
        if not self._over and code is not None and code >= 4000:
            self._world.oracle.fail(f"client {owner.number} was cut, and did not receive {code}")
        elif self.aborted and self._close_sent and self._server_paused:
            self._world.oracle.fail(f"client {owner.number} was cut, its answer to {code} was not read")

    # the transport, as Twisted's

    def write(self, data: bytes) -> None:
        if self._lost:
            return
        if not self._to_client:
            self._read_at = self._emptied_at = self._world.clock.seconds()
        self._to_client += data
        if self._producer is not None and not self._producer_paused and len(self._to_client) > TRANSPORT_BUFFER:
            self._producer_paused = True
            self._producer.pauseProducing()
        self._pump_down()

    def writeSequence(self, data: list[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._pump_down()

    def abortConnection(self) -> None:
        self.aborted = True
        self._world.clock.callLater(0, self._lose, ConnectionAborted())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self._producer is None
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None
        if self.disconnecting:
            self._pump_down()

    def pauseProducing(self) -> None:
        self._server_paused = True

    def resumeProducing(self) -> None:
        self._server_paused = False
        self._arrived_at = self._world.clock.seconds()
        self._pump_up()

    def getPeer(self) -> IPv4Address | IPv6Address:
        peer = self._front.peer
        return (IPv6Address if ":" in peer else IPv4Address)("TCP", peer, 40000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.2", 80)

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass
