"""A WebSocket client on a blocking socket, for tests that send invalid data, which libraries cannot send."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.support.sdk_client import SdkClient
from tests.support.ws_wire import handshake, masked

if TYPE_CHECKING:
    from typing_extensions import Self

DEADLINE = 60.0


class RawClient:
    """One connection.

    :param source: the local address, None for any
    :ivar status: the HTTP status of the answer to the handshake; 0 before it
    """

    def __init__(
        self, port: int, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None, source: str | None = None
    ) -> None:
        origin = None if source is None else (source, 0)
        plain = socket.create_connection((host, port), timeout=DEADLINE, source_address=origin)
        self.socket: Any = plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")
        self.status = 0
        self.head = b""
        self._data = b""

    def do_handshake(self, *headers: str, before: bytes = b"") -> RawClient:
        """Send ``before`` and the handshake request, and read the answer."""
        self.socket.sendall(before + handshake(*headers))
        return self.answer()

    def answer(self) -> RawClient:
        """Read the answer to the HTTP request."""
        while b"\r\n\r\n" not in self._data and self._read():
            pass
        self.head, _, self._data = self._data.partition(b"\r\n\r\n")
        self.status = int(self.head.split(b" ", 2)[1]) if self.head else 0
        return self

    def send(self, payload: bytes, opcode: int = 2) -> None:
        self.socket.sendall(masked(opcode, payload))

    def frame(self) -> tuple[int, bytes] | None:
        """The server's next frame; None at the end of the stream."""
        while (found := self._frame()) is None:
            if not self._read():
                return None
        return found

    def close_code(self) -> int | None:
        """Read up to the close frame, and answer it; None if the connection ends without one."""
        while (found := self.frame()) is not None:
            if found[0] == 8:
                return int.from_bytes(found[1][:2], "big")
        return None

    def ends(self) -> bool:
        """Wait for the end of the stream."""
        while self._read():
            pass
        return True

    def close(self) -> None:
        self.socket.close()

    def _read(self) -> bool:
        try:
            data = self.socket.recv(65_536)
        except (ConnectionError, ssl.SSLError):
            return False
        self._data += data
        return bool(data)

    def _frame(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        if len(data) < start + size:
            return None
        self._data = data[start + size :]
        return data[0] & 15, data[start : start + size]


class RawSdkClient(SdkClient):
    """An SDK client on a :class:`RawClient`."""

    def __init__(self, connection: RawClient, canister: Principal, identity: Ed25519Identity | None = None) -> None:
        super().__init__(canister, identity)
        self.connection = connection

    def open(self) -> Self:
        """Shake hands and wait for the canister's first message."""
        if not self.connection.status:
            self.connection.do_handshake()
        assert self.connection.status == 101, self.connection.head
        self.until(lambda: self.opened)
        return self

    def send_message(self, content: bytes) -> None:
        """Send an application message."""
        self.connection.send(self.message_payload(content, time.time_ns()))

    def until(self, condition: Any) -> None:
        """Read until a condition holds."""
        while not condition():
            found = self.connection.frame()
            assert found is not None, "the connection has ended"
            opcode, payload = found
            assert opcode != 8, payload
            if opcode == 9:
                self.connection.send(payload, 10)
            elif opcode == 2:
                for answer in self.handle(payload, time.time_ns()):
                    self.connection.send(answer)
