"""The subset of HTTP/1.1 between a gateway's agent and the mock replica: keep-alive, Content-Length, no pipelining.

The agent sends the same head for each request of one kind and length, so parsed heads are cached.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from bench.loop import Loop, Stream

MAX_HEAD = 16 << 10
_HEADS = 4096
_NUMBERS = count()


class Head(NamedTuple):
    """A request's head."""

    method: str
    path: str
    length: int
    close: bool


class BadRequest(Exception):
    """A request outside the supported subset of HTTP."""


def parse_head(head: bytes) -> Head:
    """Parse a request's head.

    :raises BadRequest: not HTTP/1.1, or a chunked body
    """
    try:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, version = first.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
    except ValueError as error:
        raise BadRequest(str(error)) from None
    if "transfer-encoding" in headers or length < 0:
        raise BadRequest("a body in chunks")
    close = headers.get("connection", "").lower() == "close" or version == "HTTP/1.0"
    return Head(method, path.partition("?")[0], length, close)


def response(body: bytes, status: bytes = b"200 OK", kind: bytes = b"application/cbor") -> bytes:
    """Encode an HTTP response."""
    return b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, kind, len(body), body)


class Connection(Stream):
    """One connection to the server. The handler answers each request by :meth:`answer`, at once or later."""

    __slots__ = ("_busy", "_close", "_data", "_handle", "_heads")

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        handle: Callable[[Connection, Head, bytes], None],
        heads: dict[bytes, Head],
    ) -> None:
        super().__init__(loop, sock)
        self._data = b""
        self._handle = handle
        self._heads = heads
        self._busy = False
        self._close = False

    def on_readable(self) -> None:
        """Read the socket and handle a complete request."""
        try:
            data = self.sock.recv(1 << 18)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._data = self._data + data if self._data else data
        self._next()

    def _next(self) -> None:
        while self._data and not self._busy and not self.closed:
            data = self._data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > MAX_HEAD:
                    self.close()
                return
            raw = data[:end]
            head = self._heads.get(raw)
            if head is None:
                try:
                    head = parse_head(raw)
                except BadRequest:
                    self.close()
                    return
                if len(self._heads) >= _HEADS:
                    self._heads.clear()
                self._heads[raw] = head
            stop = end + 4 + head.length
            if len(data) < stop:
                return
            self._data = data[stop:]
            self._busy = True
            self._close = head.close
            self._handle(self, head, data[end + 4 : stop])

    def answer(self, data: bytes) -> None:
        """Answer the current request. One header has a new value each time, as with public HTTP gateways."""
        first, rest = data.split(b"\r\n", 1)
        self.send(b"%b\r\nx-request-id: %032x\r\n%b" % (first, next(_NUMBERS), rest))
        if self._close:
            self.close()
            return
        self._busy = False
        if self._data:
            self.loop.call_soon(self._next)


class Server:
    """Listens and creates connections."""

    def __init__(self, loop: Loop, address: tuple[str, int], handle: Callable[[Connection, Head, bytes], None]) -> None:
        self._loop = loop
        self._handle = handle
        self._heads: dict[bytes, Head] = {}
        self._sock = socket.create_server(address, backlog=1024)
        self._sock.setblocking(False)
        self.port: int = self._sock.getsockname()[1]
        loop.add(self._sock.fileno(), self)

    def on_readable(self) -> None:
        """Accept connections."""
        for _ in range(64):
            try:
                sock, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._loop.add(sock.fileno(), Connection(self._loop, sock, self._handle, self._heads))

    def on_writable(self) -> None:
        """Never called."""
