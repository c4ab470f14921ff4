"""A load client: one WebSocket session on a plain socket that behaves as the JavaScript SDK does.

To save CPU time, it parses only what it needs of a frame: key, sequence number and timestamp at their fixed places; it
skips all other fields by their length. It can verify every n-th message in full (certificate, certified data, witness,
content).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from enum import IntEnum
from hashlib import sha256
from typing import TYPE_CHECKING

from bench.envelopes import Envelopes, close_frame, frame
from bench.loop import Stream
from bench.stats import STAMP
from icwsgw.errors import IcwsError
from icwsgw.ic import cbor, hashtree, ws
from icwsgw.ic.certificate import certified_data, verify_certificate
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal

if TYPE_CHECKING:
    from bench.crowd import Crowd

_REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_KEY = b"\x63key"
_CONTENT = b"\x67content"
_SEQUENCE = b"\x6csequence_num"
_SERVICE = b"\x72is_service_message"

#: Linux (linux/in.h); the socket module has it from 3.12 on.
_IP_BIND_ADDRESS_NO_PORT = 24


class State(IntEnum):
    """The state of a session."""

    CONNECTING = 0
    UPGRADING = 1
    GREETING = 2
    OPENING = 3
    OPEN = 4
    CLOSING = 5
    ENDED = 6


class WrongMessage(Exception):
    """A message that violates the protocol."""


def cbor_blob(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return the start and end of the content of the CBOR byte or text string at ``at``."""
    kind = data[at] & 0x1F
    if kind < 24:
        return at + 1, at + 1 + kind
    size = 1 << (kind - 24)
    start = at + 1 + size
    return start, start + int.from_bytes(data[at + 1 : start], "big")


def cbor_number(data: bytes | bytearray, at: int) -> int:
    """Decode the CBOR unsigned integer at ``at``."""
    kind = data[at] & 0x1F
    return kind if kind < 24 else int.from_bytes(data[at + 1 : at + 1 + (1 << (kind - 24))], "big")


class LoadClient(Stream):
    """One session.

    :ivar state: its state
    :ivar started: its scheduled start, ns of time.monotonic_ns()
    :ivar close_code: code of the gateway's close frame; 1006 if the connection ended without one
    :ivar received: number of application messages
    """

    __slots__ = (
        "_crowd",
        "_data",
        "_last_nonce",
        "_sequence",
        "_tls",
        "close_code",
        "close_reason",
        "envelopes",
        "index",
        "received",
        "started",
        "state",
    )

    def __init__(self, crowd: Crowd, index: int, identity: Ed25519Identity, canister: Principal, started: int) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        super().__init__(crowd.loop, sock)
        self._crowd = crowd
        self._data = b""
        self._sequence = 0
        self._last_nonce = -1
        self._tls = False
        self.index = index
        self.envelopes = Envelopes(identity, canister)
        self.state = State.CONNECTING
        self.started = started
        self.close_code: int | None = None
        self.close_reason = ""
        self.received = 0

    def connect(self, receive_buffer: int = 0) -> None:
        """Start connecting."""
        sock, target = self.sock, self._crowd.target
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if target.loopback:
            # A source address has only 28,000 ports, of which some are in TIME_WAIT after the last run. With this
            # option, the kernel chooses the port at connect(). It can then reuse ports that were used with another
            # destination port, such as that of the last run's gateway.
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((f"127.0.0.{2 + self.index // 20_000 % 250}", 0))
        with contextlib.suppress(BlockingIOError):
            sock.connect(target.address)
        self.loop.add(sock.fileno(), self, writable=True)

    def on_writable(self) -> None:
        """Handle the end of connect(), or write pending data."""
        if self.state is not State.CONNECTING:
            super().on_writable()
            return
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.lost()
            return
        target = self._crowd.target
        if target.context is not None:
            if not self._tls:
                self._wrap(target.context, target.address[0])
            if not self._shake_hands():
                return
        self.state = State.UPGRADING
        self.loop.change(self.sock.fileno())
        self.send(_REQUEST.format(path=target.path, host=target.host).encode())

    def _wrap(self, context: ssl.SSLContext, host: str) -> None:
        fd = self.sock.fileno()
        self.loop.remove(fd)
        self.sock = context.wrap_socket(self.sock, server_hostname=host, do_handshake_on_connect=False)
        self.sock.setblocking(False)
        self.loop.add(self.sock.fileno(), self, writable=True)
        self._tls = True

    def _shake_hands(self) -> bool:
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            self.loop.change(self.sock.fileno())
        except ssl.SSLWantWriteError:
            self.loop.change(self.sock.fileno(), writable=True)
        except OSError:
            self.lost()
        else:
            return True
        return False

    def send(self, data: bytes) -> None:
        """Write data, over TLS if the target uses it; TLS signals a full socket by its own exceptions."""
        try:
            super().send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._out = data
            self.loop.change(self.sock.fileno(), readable=self.reading, writable=True)

    def on_readable(self) -> None:
        """Read the socket and process complete frames."""
        if self.state is State.CONNECTING:
            self.on_writable()
            return
        buffer = self.loop.buffer
        while not self.closed:
            try:
                size = self.sock.recv_into(buffer)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
                return
            except OSError:
                size = 0
            if not size:
                self.lost()
                return
            if self._data:
                data = self._data + buffer[:size]
                self._take(data, len(data))
            else:
                self._take(buffer, size)
            if not self._tls:
                return

    def _take(self, data: bytes | bytearray, size: int) -> None:
        """Process complete frames; ``data`` may be the loop's buffer, of which only ``size`` bytes are valid."""
        at = 0
        if self.state is State.UPGRADING:
            end = data.find(b"\r\n\r\n", 0, size)
            if end < 0:
                self._data = bytes(data[:size])
                return
            if not data.startswith(b"HTTP/1.1 101"):
                self.close_reason = data[: data.find(b"\r\n")].decode("latin-1")
                self.lost()
                return
            self.state = State.GREETING
            at = end + 4
        while size - at >= 2:
            first, length = data[at], data[at + 1]
            start = at + 2
            if length == 126:
                start += 2
                length = int.from_bytes(data[at + 2 : start], "big")
            elif length == 127:
                start += 8
                length = int.from_bytes(data[at + 2 : start], "big")
            at_end = start + length
            if at_end > size or start > size:
                break
            if first == 0x82:
                try:
                    self._message(data, start, at_end)
                except (WrongMessage, IcwsError, ValueError, IndexError) as error:
                    self._crowd.wrong(self, str(error))
            else:
                self._other(first, bytes(data[start:at_end]))
            if self.closed:
                return
            at = at_end
        self._data = bytes(data[at:size]) if at < size else b""

    def _other(self, first: int, payload: bytes) -> None:
        if first == 0x89:
            self.send(frame(10, payload))
        elif first == 0x88:
            if self.close_code is None:
                self.close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                self.close_reason = payload[2:].decode("utf-8", "replace")
            if self.state is not State.CLOSING:
                self.send(close_frame(self.close_code if 1000 <= self.close_code < 5000 and len(payload) else 1000))
        elif first != 0x8A:
            self._crowd.wrong(self, f"unexpected frame {first:#x}")

    def _message(self, data: bytes | bytearray, at: int, end: int) -> None:
        crowd = self._crowd
        if self.state is State.GREETING:
            gateway = cbor.loads(bytes(data[at:end]))["gateway_principal"]
            self.state = State.OPENING
            crowd.gateways[gateway] = crowd.gateways.get(gateway, 0) + 1
            self.send(self.envelopes.open(gateway))
            return
        content = data.find(_CONTENT, at, end)
        key = data.find(_KEY, at, end)
        if content < 0 or key < 0:
            raise WrongMessage("not a message of the canister")
        _, key_end = cbor_blob(data, key + 4)
        nonce = int(data[key_end - 20 : key_end])
        start, stop = cbor_blob(data, content + 8)
        place = data.find(_SEQUENCE, start, stop) + len(_SEQUENCE)
        number = cbor_number(data, place)
        self._sequence += 1
        if number != self._sequence or nonce <= self._last_nonce:
            crowd.wrong(self, f"sequence number {number} where {self._sequence} was expected, nonce {nonce}")
            self._sequence = number
        self._last_nonce = nonce
        flag = data.find(_SERVICE, place, stop) + len(_SERVICE)
        inner, inner_end = cbor_blob(data, flag + 9)
        if crowd.verify_every and number % crowd.verify_every == 0:
            self._verify(bytes(data[at:end]))
        if data[flag] == 0xF4:
            self.received += 1
            crowd.application(self, int.from_bytes(data[inner : inner + STAMP], "big"), end - at)
            return
        service = ws.decode_service_message(bytes(data[inner:inner_end]))
        if isinstance(service, ws.OpenMessage) and self.state is State.OPENING:
            self.state = State.OPEN
            crowd.opened(self)
        elif isinstance(service, ws.AckMessage):
            crowd.acknowledged(self)
            self.send(self.envelopes.keep_alive(number))
        elif isinstance(service, ws.CloseMessage):
            crowd.closed_by_canister(self, service.reason)

    def _verify(self, payload: bytes) -> None:
        message = cbor.loads(payload)
        root_key = self._crowd.root_key
        assert root_key is not None
        canister = self.envelopes.canister
        certificate = verify_certificate(
            message["cert"], root_key_der=root_key, canister_id=canister, now_ns=time.time_ns()
        )
        tree = hashtree.decode(message["tree"])
        if hashtree.reconstruct(tree) != certified_data(certificate, canister):
            raise WrongMessage("the tree is not the one certified")
        found = hashtree.lookup(tree, [b"websocket", message["key"].encode()])
        if not isinstance(found, hashtree.Found) or found.value != sha256(message["content"]).digest():
            raise WrongMessage("the content is not the one certified")
        self._crowd.verified += 1

    def send_message(self, stamp_ns: int, size: int) -> None:
        """Send an application message."""
        self.send(self.envelopes.message(stamp_ns, size))

    def hang_up(self, code: int = 1000) -> None:
        """Close as the SDK does: send a close frame, then wait for the gateway's and for the end of the connection."""
        if self.state is State.ENDED:
            return
        if self.state < State.GREETING:
            self.lost()
            return
        self.state = State.CLOSING
        self.send(close_frame(code))

    def lost(self) -> None:
        """Handle the end of the connection."""
        if self.state is State.ENDED:
            return
        was, self.state = self.state, State.ENDED
        self.close()
        if self.close_code is None:
            self.close_code = 1006
        self._crowd.ended(self, was)
