"""Serves ``--prometheus-endpoint``: metrics, health for probes, and the status page.

    /metrics        Prometheus text, or OpenMetrics on request
    /health/live    200 while the event loop runs and, with several workers, at least one answers; else 503 and reason
    /health/ready   200, or 503 with one reason per line
    /health         the same as /health/live, as in the exporter of the Rust gateway
    /               the status page for browsers (icwsgw.admin.page); the metrics for other clients
    /status.json    the status document behind the page (icwsgw.admin.status)

The exporter of the Rust gateway serves its metrics on every path. So that scrapers configured for it keep working, any
other path returns the metrics too, unless the client asks for HTML.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import implementer

from icwsgw.admin.bodies import BoundedBody
from icwsgw.admin.page import POLICY, page
from icwsgw.config.addresses import is_loopback, is_page_of, is_this_machine
from icwsgw.observe.health import Health
from icwsgw.observe.logs import get_logger
from icwsgw.observe.peers import address_group

#: Largest number of connections, and bytes of a request body that are read and discarded.
MAX_CONNECTIONS = 256
MAX_IGNORED = 64 << 10
#: Health probes that are answered in one turn of the event loop, besides one other request. More than there are new
#: connections in a turn, so that no number of connections keeps probes waiting.
PROBES_PER_TURN = 8

_log = get_logger("admin")

_LIVE = ("/health", "/health/live")
_TEXT = b"text/plain; charset=utf-8"
_HTML = b"text/html; charset=utf-8"
_JSON = b"application/json"

_HEADERS = {
    b"cache-control": b"no-store",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": POLICY.encode("ascii"),
}


class Admin:
    """Makes the answers, without HTTP: from path and Accept header to status, content type and body.

    :param document: returns the status document; called only for requests that need it
    :param stuck: returns why the gateway needs a restart, or None; any answer proves that the event loop runs
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Health,
        document: Callable[[], Mapping[str, Any]],
        stuck: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._stuck = stuck
        self._registry = registry
        self._health = health
        self._document = document

    def answer(self, path: str, accept: str) -> tuple[int, bytes, bytes]:
        path = path.rstrip("/")
        if path in _LIVE:
            reason = self._stuck()
            return (200, _TEXT, b"OK\n") if reason is None else (503, _TEXT, f"{reason}\n".encode())
        if path == "/health/ready":
            return self._ready()
        if path == "/status.json":
            return 200, _JSON, json.dumps(self._document(), separators=(",", ":")).encode()
        if path == "/metrics" or "text/html" not in accept:
            try:
                encode, content_type = choose_encoder(accept)
            except (TypeError, ValueError):
                # The library fails on a version that is not a number.
                encode, content_type = choose_encoder("")
            return 200, content_type.encode("ascii"), encode(self._registry)
        if path:
            return 404, _TEXT, b"Available: /metrics, /status.json, /health/live, /health/ready and /.\n"
        return 200, _HTML, page(self._document()).encode()

    @staticmethod
    def is_probe(path: str) -> bool:
        """Return whether a request is a health probe; its answer needs no status document."""
        return path.rstrip("/") in (*_LIVE, "/health/ready")

    @staticmethod
    def shows_status(path: str, accept: str) -> bool:
        """Return whether the answer to a GET request needs the status document."""
        path = path.rstrip("/")
        return path == "/status.json" or (not path and "text/html" in accept)

    def _ready(self) -> tuple[int, bytes, bytes]:
        reasons = [f"{name}: {reason}" for name, reason in self._health.findings() if reason is not None]
        if reasons:
            return 503, _TEXT, ("\n".join(reasons) + "\n").encode()
        return 200, _TEXT, b"ready\n"


@implementer(IResource)
class AdminResource:
    """Serves :class:`Admin` over HTTP, with one leaf resource for all paths."""

    isLeaf = True  # noqa: N815
    server = None

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    def getChildWithDefault(self, name: bytes, request: Any) -> AdminResource:  # noqa: N802
        """Return this resource, because it is a leaf."""
        return self

    def putChild(self, path: bytes, child: Any) -> None:  # noqa: N802
        """Raise ValueError, because a leaf has no children."""
        raise ValueError("the admin resource is a leaf")

    def shows_status(self, request: Any) -> bool:
        """Return whether the answer to a request needs the status document."""
        return self._admin.shows_status(*_asked(request))

    def is_probe(self, request: Any) -> bool:
        """Return whether a request is a health probe."""
        return self._admin.is_probe(_asked(request)[0])

    def prepare(self, request: Any) -> Deferred[None] | None:
        """Return what the answer to a request has to wait for; None: nothing. The Deferred may be cancelled."""
        return None

    def refuses(self, request: Any) -> bool:
        """Refuse a request that may come from a web page (DNS rebinding); return whether it was refused.

        A request over loopback must name this machine in its Host header, and an Origin header must match the Host
        header. Probes are exempt. Requests from other machines may use any name for this one.
        """
        if self.is_probe(request):
            return False
        host, origin = request.getHeader(b"host"), request.getHeader(b"origin")
        name = (host or b"").decode("latin-1")
        local = is_loopback(getattr(request.getHost(), "host", ""))
        if (local and host is not None and not is_this_machine(name)) or (
            origin is not None and not is_page_of(origin.decode("latin-1"), name)
        ):
            request.setResponseCode(403)
            request.setHeader(b"content-type", _TEXT)
            return True
        return False

    def render(self, request: Any) -> bytes:
        if self.refuses(request):
            return b"requests from other web pages are not allowed; use 127.0.0.1, [::1] or localhost\n"
        if request.method not in (b"GET", b"HEAD"):
            request.setResponseCode(405)
            request.setHeader(b"allow", b"GET, HEAD")
            return b""
        status, content_type, body = self._admin.answer(*_asked(request))
        request.setResponseCode(status)
        request.setHeader(b"content-type", content_type)
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        return b"" if request.method == b"HEAD" else body


def _asked(request: Any) -> tuple[str, str]:
    """Return the path and the Accept header."""
    accept = request.getHeader(b"accept") or b""
    return request.path.decode("ascii", "replace"), accept.decode("ascii", "replace")


class AdminRequest(BoundedBody, Request):
    """One request. Its body is not kept, because no request here needs one."""

    most_read = MAX_IGNORED

    _prepared: Deferred[None] | None = None

    def process(self) -> None:
        """Schedule the answer, when what it needs has come."""
        prepared = self._prepared = self.channel.site.prepare(self)
        if prepared is None:
            self.channel.site.take_turn(self)
        else:
            prepared.addCallbacks(self._is_prepared, self._failed)

    def answer(self) -> None:
        """Answer now, if the connection is still open."""
        if self.channel is not None:
            super().process()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        """Wait for nothing any more."""
        self.channel.site.forget(self)
        if self._prepared is not None:
            self._prepared.cancel()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _is_prepared(self, result: None) -> None:
        self._prepared = None
        self.channel.site.take_turn(self)

    def _failed(self, failure: Failure) -> None:
        self._prepared = None
        if failure.check(CancelledError):
            return
        _log.failure("a request for metrics or health failed", failure=failure)
        self.site = self.channel.site
        self.processingFailed(failure)  # type: ignore[no-untyped-call]


class AdminChannel(HTTPChannel):
    """One connection to the endpoint."""

    site: Any

    def connectionMade(self) -> None:  # noqa: N802
        super().connectionMade()  # type: ignore[no-untyped-call]
        self.site.came(self)

    def requestDone(self, request: Any) -> None:  # noqa: N802
        """Mark the connection as recently used."""
        self.site.used(self)
        super().requestDone(request)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = connectionDone) -> None:  # noqa: N802
        self.site.connections.pop(self, None)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class AdminSite(Site):
    """An HTTP server for :class:`AdminResource` without an access log.

    An answer takes milliseconds to compute, and a connection may send a thousand requests at once. The server therefore
    answers one request per turn of the event loop, and the gateway serves clients in between. Health probes do not wait
    for other requests: :data:`PROBES_PER_TURN` of them are answered in the same turn. If too many connections are open,
    the address with the most of them loses its least recently used one, so that neither slow connections nor a flood
    from one address (or /64 of IPv6) keep probes and scrapes of others out. A connection has one request that waits,
    and takes it along when it ends. Of requests that had to wait, those of clients that have left are dropped.

    :ivar connections: the open connections, the least recently used one first, with the groups of their addresses
    """

    protocol = AdminChannel  # type: ignore[assignment]
    requestFactory = AdminRequest  # noqa: N815

    def __init__(self, admin: Admin, reactor: Any = None) -> None:
        super().__init__(AdminResource(admin), reactor=reactor, timeout=30)  # type: ignore[no-untyped-call]
        self.displayTracebacks = False
        self.connections: dict[AdminChannel, str | None] = {}
        self._turn_taken = False
        # in the order in which they came
        self._probes: dict[AdminRequest, None] = {}
        self._waiting: dict[AdminRequest, None] = {}

    def log(self, request: Any) -> None:
        """Log nothing: probes come every few seconds."""

    def came(self, channel: AdminChannel) -> None:
        peer: Any = channel.transport
        self.connections[channel] = address_group(getattr(peer.getPeer(), "host", ""))
        if len(self.connections) > MAX_CONNECTIONS:
            self._drop_one()

    def _drop_one(self) -> None:
        counts = Counter(self.connections.values())
        most = max(counts.values())
        dropped: Any = next(channel for channel, group in self.connections.items() if counts[group] == most)
        del self.connections[dropped]
        dropped.transport.abortConnection()

    def used(self, channel: AdminChannel) -> None:
        """Mark a connection as the most recently used one."""
        if channel in self.connections:
            self.connections[channel] = self.connections.pop(channel)

    def prepare(self, request: AdminRequest) -> Deferred[None] | None:
        """Return what the answer to a request has to wait for; None: nothing."""
        prepared: Deferred[None] | None = self.resource.prepare(request)
        return prepared

    def comes_first(self, request: AdminRequest) -> bool:
        """Return whether a request is answered before others, because its answer is cheap and urgent."""
        return bool(self.resource.is_probe(request))

    def take_turn(self, request: AdminRequest) -> None:
        """Queue a request; answer it at once if no other was answered in this turn of the event loop."""
        (self._probes if self.comes_first(request) else self._waiting)[request] = None
        if not self._turn_taken:
            self._answer_some(drop=False)

    def forget(self, request: AdminRequest) -> None:
        """Remove a request whose connection has ended."""
        self._probes.pop(request, None)
        self._waiting.pop(request, None)

    def _answer_some(self, drop: bool = True) -> None:
        self._turn_taken = bool(self._probes or self._waiting)
        if not self._turn_taken:
            return
        clock: Any = self.reactor
        clock.callLater(0, self._answer_some)
        for request in list(islice(self._probes, PROBES_PER_TURN)):
            self.forget(request)
            request.answer()
        while drop and self._waiting and _has_left(request := next(iter(self._waiting))):
            self.forget(request)
            request.channel.transport.abortConnection()
        for request in list(islice(self._waiting, 1)):
            self.forget(request)
            request.answer()


def _has_left(request: AdminRequest) -> bool:
    """Return whether a client has closed its connection, which the event loop may not have read yet."""
    handle = getattr(request.channel.transport, "getHandle", lambda: None)()
    if handle is None:
        return False
    try:
        return not handle.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
