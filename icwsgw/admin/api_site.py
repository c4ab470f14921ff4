"""The HTTP server of the admin API: one request per connection, few connections, small bodies, short timeouts.

:mod:`icwsgw.admin.access` checks the headers of a request before its body is parsed as JSON. Answers are JSON; a
refusal is ``{"error": "plain words"}``.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from icwsgw.admin.access import Access, Caller, Refused
from icwsgw.admin.api import Api, Done, NotAllowed
from icwsgw.admin.api import Request as ApiRequest
from icwsgw.admin.bodies import BoundedBody
from icwsgw.escaping import escape_invisible
from icwsgw.observe.log_rate_limit import LogRateLimiter
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Timer

MAX_BODY = 16 << 10
#: Bytes of an oversized body that are read and discarded, so that its sender can read the answer.
MAX_IGNORED = 1 << 20
MAX_CONNECTIONS = 16
#: Seconds that a caller may take to send its request, and again to read the answer.
REQUEST_TIMEOUT = 30.0
#: Seconds that an answer may take: that of an upgrade comes when it has ended.
ANSWER_TIMEOUT = 300.0

_log = get_logger("admin")
_audit = get_logger("admin.audit")


class ApiHttpRequest(BoundedBody):
    """One request of the admin API."""

    most_kept = MAX_BODY
    most_read = MAX_IGNORED
    # set when the caller has shown to have access
    _request: ApiRequest | None = None

    def process(self) -> None:
        """Answer the request, which has arrived completely."""
        site: ApiSite = self.channel.factory
        done = Deferred.fromCoroutine(self._answer(site))
        done.addCallbacks(self._succeeded, self._failed)
        done.addErrback(lambda failure: _log.failure("answering an admin request failed", failure))

    async def _answer(self, site: ApiSite) -> Done:
        method, by = self.method.decode("latin-1"), peer_of(self.channel.transport)
        headers = {
            name.decode("latin-1").lower(): ", ".join(value.decode("latin-1") for value in values)
            for name, values in self.requestHeaders.getAllRawHeaders()
        }
        try:
            site.access.check(Caller(method, headers))
        except Refused as refusal:
            site.refused(by, refusal)
            raise
        path, _, query = self.uri.decode("latin-1").partition("?")
        self._request = ApiRequest(method, path, query, b"", by)
        if self.carried > MAX_BODY:
            raise Refused(413, f"a body has at most {MAX_BODY} bytes")
        body: Any = self.content
        self._request = self._request._replace(body=body.read())
        self.channel.allow(ANSWER_TIMEOUT)
        return await site.api.answer(self._request)

    def _record(self, status: int, refusal: str | None = None) -> None:
        """Write one line about a request of a caller who has access; others have a line of their own."""
        request = self._request
        if request is not None:
            _audit.info(
                "admin request",
                by=request.by,
                method=request.method,
                path=request.path,
                **({"query": request.query} if request.query else {}),
                **({"body": request.body.decode("utf-8", "replace")} if request.body else {}),
                status=status,
                **({"reason": refusal} if refusal is not None else {}),
            )

    def _succeeded(self, done: Done) -> None:
        self._record(done.status)
        if done.then is not None and self._disconnected:
            done.then()
        elif done.then is not None:
            self.channel.afterwards.append(done.then)
        self._say(done.status, done.document)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, Refused):
            _log.failure("an admin request failed", failure, method=self.method, path=self.path)
            self._record(500)
            self._say(500, {"error": "a fault of the gateway, its log has more"})
            return
        self._record(error.status, error.text)
        request: Any = self
        if isinstance(error, NotAllowed):
            request.setHeader(b"allow", error.allow.encode())
        elif error.status == 401:
            request.setHeader(b"www-authenticate", b"Bearer")
        self._say(error.status, {"error": error.text})

    def _say(self, status: int, document: dict[str, Any]) -> None:
        if self._disconnected:
            return
        self.channel.allow(REQUEST_TIMEOUT)
        request: Any = self
        body = escape_invisible(json.dumps(document, ensure_ascii=False)).encode() + b"\n"
        request.setResponseCode(status)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-content-type-options", b"nosniff")
        request.setHeader(b"content-length", b"%d" % len(body))
        if self.method != b"HEAD":
            request.write(body)
        request.finish()


class ApiChannel(http.HTTPChannel):
    """One connection, which closes after one request.

    :ivar afterwards: functions that are called after the connection has closed
    """

    factory: Any

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.requestFactory = ApiHttpRequest
        self.afterwards: list[Callable[[], None]] = []
        self._late: Timer | None = None

    def connectionMade(self) -> None:  # noqa: N802
        """Start the timeout of the connection."""
        super().connectionMade()  # type: ignore[no-untyped-call]
        site: ApiSite = self.factory
        site.connections.add(self)
        self.allow(REQUEST_TIMEOUT)

    def allow(self, seconds: float) -> None:
        """Abort the connection if it still exists after so many seconds."""
        site: ApiSite = self.factory
        if self._late is not None and self._late.active():
            self._late.cancel()
        self._late = site.clock.callLater(seconds, self._abort)

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def checkPersistence(self, request: Any, version: bytes) -> bool:  # noqa: N802
        """Return False: a connection serves one request, since connections are limited in number and time."""
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False

    def connectionLost(self, reason: Any = connectionDone) -> None:  # noqa: N802
        """Call the functions in ``afterwards``."""
        site: ApiSite = self.factory
        site.connections.discard(self)
        if self._late is not None and self._late.active():
            self._late.cancel()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        afterwards, self.afterwards = self.afterwards, []
        for then in afterwards:
            then()


class ApiSite(http.HTTPFactory):
    """The HTTP server of the admin API.

    :ivar connections: the open connections
    """

    protocol = ApiChannel  # type: ignore[assignment]
    noisy = False

    def __init__(self, api: Api, access: Access, clock: Any) -> None:
        super().__init__(timeout=REQUEST_TIMEOUT, reactor=clock)
        self.api = api
        self.access = access
        self.clock = clock
        self.connections: set[ApiChannel] = set()
        self._log_limiter = LogRateLimiter()

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802
        """Accept a connection, unless too many are open."""
        if len(self.connections) >= MAX_CONNECTIONS:
            return None
        protocol: IProtocol | None = super().buildProtocol(addr)
        return protocol

    def log(self, request: Any) -> None:
        """Log nothing here: changes and refusals are logged elsewhere."""

    def refused(self, by: str, refusal: Refused) -> None:
        """Log a refused caller, within the log rate limit."""
        now = self.clock.seconds()
        self._log_limiter.ended(now)
        if self._log_limiter.allows(refusal.text, by.rpartition(":")[0], now):
            _log.warn("request refused", by=by, status=refusal.status, reason=refusal.text)


def peer_of(transport: Any) -> str:
    """Return the peer: the process behind a unix socket, or an address."""
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    if isinstance(handle, socket.socket) and handle.family == socket.AF_UNIX and hasattr(socket, "SO_PEERCRED"):
        pid, uid, _ = struct.unpack(
            "3i", handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        )
        return f"uid {uid}, process {pid}"
    peer = transport.getPeer()
    host, port = getattr(peer, "host", None), getattr(peer, "port", None)
    return f"{host}:{port}" if host is not None else "unknown"
