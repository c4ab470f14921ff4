"""One HTTP request that blocks, with one time limit for all of it: for programs that have no reactor.

The standard library limits the time of each step: of each address that it tries, of each read. A server that sends a
byte now and then holds such a request for hours. Here all steps together have one limit, except for the name server's
answer. Redirects are not followed: they would turn a POST into a GET without its body.
"""

from __future__ import annotations

import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from io import BufferedReader, RawIOBase
from typing import Any, Final, NamedTuple, cast

from icwsgw.errors import AnswerMalformed, AnswerTooLarge, ConnectFailed, ConnectionLost, RequestTimeout, TransportError

#: Bytes that are sent within one step.
_STEP: Final = 16 << 10


class HttpAnswer(NamedTuple):
    """The answer to a blocking request.

    :ivar status: the HTTP status
    :ivar body: its body
    :ivar location: the header Location; empty: there is none
    """

    status: int
    body: bytes
    location: str = ""


class _Limit:
    """The time limit of one request.

    :ivar sending: whether there was a connection, so that the request may have arrived
    """

    def __init__(self, timeout: float, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._end = seconds() + timeout
        self.sending = False

    def left(self) -> float:
        """Return the seconds that are left.

        :raises TimeoutError: none are left
        """
        left = self._end - self._seconds()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class _SocketUntil(RawIOBase):
    """Reads from a socket within a limit. In place of the socket for HTTPResponse."""

    def __init__(self, sock: socket.socket, limit: _Limit) -> None:
        self._socket = sock
        # keeps the socket open when the connection closes it, as that of HTTPResponse does
        self._file = sock.makefile("rb", buffering=0)
        self._limit = limit

    def makefile(self, _mode: str) -> BufferedReader:
        return BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._limit.left())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Connection(http.client.HTTPConnection):
    _limit: _Limit
    _unix_path: str | None

    def keep(self, limit: _Limit, unix_path: str | None) -> None:
        """Keep a limit, and connect to a Unix socket if there is one."""
        self._limit = limit
        self._unix_path = unix_path
        self._create_connection = self._opened
        within: Any = lambda sock, **how: http.client.HTTPResponse(cast(Any, _SocketUntil(sock, limit)), **how)  # noqa: E731
        self.response_class = within

    def connect(self) -> None:
        if self._unix_path is None:
            super().connect()
        else:
            # the base class would set an option of TCP
            self.sock = self._connected(socket.socket(socket.AF_UNIX), self._unix_path)

    def _opened(self, address: tuple[str, int], _timeout: float, _source: object) -> socket.socket:
        """Connect to the first address that answers, as ``socket.create_connection`` does."""
        failure = OSError("the host has no address")
        for family, kind, protocol, _, found in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            try:
                return self._connected(socket.socket(family, kind, protocol), found)
            except OSError as error:
                failure = error
        raise failure

    def _connected(self, sock: socket.socket, address: Any) -> socket.socket:
        try:
            sock.settimeout(self._limit.left())
            sock.connect(address)
            # for the TLS handshake
            sock.settimeout(self._limit.left())
        except (OSError, ValueError):
            sock.close()
            raise
        return sock

    def send(self, data: Any) -> None:
        if self.sock is None:
            # a proxy may have to open a tunnel, which is sent by this method too
            self.connect()
            self._limit.sending = True
        view = memoryview(data)
        for start in range(0, len(view), _STEP):
            self.sock.settimeout(self._limit.left())
            self.sock.sendall(view[start : start + _STEP])


class _TlsConnection(http.client.HTTPSConnection, _Connection):
    """The order of its base classes makes TLS use what :class:`_Connection` has opened."""


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    def __init__(self, limit: _Limit, unix_path: str | None) -> None:
        super().__init__()
        self._limit = limit
        self._unix_path = unix_path

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(_Connection, req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(_TlsConnection, req)

    def _open(self, kind: type[_Connection], req: urllib.request.Request) -> http.client.HTTPResponse:
        def connection(host: str, /, **options: Any) -> _Connection:
            made = kind(host, **options)
            made.keep(self._limit, self._unix_path)
            return made

        return self.do_open(connection, req)


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    """Returns answers of every status as they are."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        return response

    def https_response(self, request: urllib.request.Request, response: Any) -> Any:
        return response


def request(
    url: str,
    body: bytes | None = None,
    *,
    timeout: float,
    max_bytes: int,
    content_type: str = "application/cbor",
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    unix_path: str | None = None,
    direct: bool = False,
    seconds: Callable[[], float] = time.monotonic,
) -> HttpAnswer:
    """Return the answer to a request: by default to a GET, or to a POST of a body.

    :param url: http:// or https://
    :param timeout: seconds for all of it
    :param max_bytes: the longest body of an answer
    :param content_type: of the body
    :param method: the method, if it is another one
    :param headers: more headers
    :param unix_path: the path of a Unix socket to connect to, instead of the URL's host; never through a proxy
    :param direct: without the proxies of the environment
    :param seconds: the time, in seconds of a monotonic clock
    :raises ConnectFailed: there is no connection, also in time; nothing was sent
    :raises RequestTimeout: no complete answer in time; the request may have arrived
    :raises ConnectionLost: the connection ended before the answer did; the request may have arrived
    :raises AnswerMalformed: what answers is not HTTP
    :raises AnswerTooLarge: the body is longer than ``max_bytes``
    """
    limit = _Limit(timeout, seconds)
    # not build_opener: it adds what reads files
    opener = urllib.request.OpenerDirector()
    proxies = urllib.request.ProxyHandler({} if direct or unix_path is not None else None)
    for handler in (proxies, _Handler(limit, unix_path), _AnyStatus(), urllib.request.UnknownHandler()):
        opener.add_handler(handler)
    try:
        typed = {} if body is None else {"Content-Type": content_type}
        asked = urllib.request.Request(url, body, {**(headers or {}), **typed}, method=method)
        with opener.open(asked, timeout=timeout) as answer:
            received = answer.read(max_bytes + 1)
            if len(received) > max_bytes:
                raise AnswerTooLarge(f"an answer of more than {max_bytes} bytes")
            if answer.length:
                raise ConnectionLost("the connection ended within the answer")
            return HttpAnswer(answer.status, received, answer.headers.get("Location", ""))
    # a ValueError or an OverflowError is one about the URL, a path, a header, or the URL of a proxy
    except (OSError, ValueError, OverflowError, http.client.HTTPException) as error:
        raise _failure(error, limit.sending) from error


def _failure(error: BaseException, sending: bool) -> TransportError:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    # the text of an OSError begins with its number
    text = (isinstance(reason, OSError) and reason.strerror) or str(reason) or type(reason).__name__
    if not sending:
        return ConnectFailed(text)
    if isinstance(reason, TimeoutError):
        return RequestTimeout(text)
    if isinstance(reason, (OSError, http.client.IncompleteRead)):
        return ConnectionLost(text)
    return AnswerMalformed(text)
