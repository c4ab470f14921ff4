"""An HTTP server on loopback, in threads, whose answers a test writes byte by byte."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class HttpExchange:
    """One request, with what answers it.

    :ivar line: its first line without the version, for example ``GET /a``
    :ivar head: its first line and headers
    :ivar body: its body
    :ivar over: is set at the end of the test, for answers that never end
    """

    def __init__(self, link: socket.socket, over: threading.Event) -> None:
        self.link = link
        self.over = over
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        self.head, _, self.body = data.partition(b"\r\n\r\n")
        self.line = self.head.split(b"\r\n")[0].decode().rpartition(" ")[0]
        length = 0
        for line in self.head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(self.body) < length:
            self.body += self._more()

    def _more(self) -> bytes:
        data = self.link.recv(65536)
        if not data:
            raise ConnectionError("the client left")
        return data

    def answer(self, body: bytes = b"", status: int = 200, headers: str = "") -> None:
        """Send a whole answer."""
        head = f"HTTP/1.1 {status} Reason\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.link.sendall(head.encode() + body)

    def drip(self, data: bytes) -> None:
        """Send a byte now and then until the client leaves, for about 10 seconds at most."""
        for _ in range(200):
            if self.over.wait(0.05):
                return
            self.link.sendall(data[:1])
            data = data[1:] or data


@contextmanager
def scripted_http(
    handle: Callable[[HttpExchange], object], tls: ssl.SSLContext | None = None, unix_path: Path | None = None
) -> Iterator[str]:
    """Call a function for each request, in a thread; yield the server's URL, or the path of its Unix socket."""
    over = threading.Event()
    threads: list[threading.Thread] = []
    if unix_path is None:
        listener = socket.create_server(("127.0.0.1", 0))
        address = f"{'http' if tls is None else 'https'}://127.0.0.1:{listener.getsockname()[1]}"
    else:
        listener = socket.create_server(str(unix_path), family=socket.AF_UNIX)
        address = str(unix_path)

    def serve(link: socket.socket) -> None:
        try:
            with link if tls is None else tls.wrap_socket(link, server_side=True) as stream:
                handle(HttpExchange(stream, over))
        except OSError:
            # the client left
            link.close()

    def accept() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(link,))
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield address
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join()
