"""What ``--prometheus-endpoint`` serves: metrics, health for probes, and a page for people.

    /metrics        Prometheus text, or OpenMetrics when asked for
    /health/live    200 as long as the event loop runs
    /health/ready   200, or 503 with a reason a line
    /health         as /health/live (the original's exporter answers it so)
    /               a page for browsers; the metrics for everybody else

The original's exporter shows its metrics on every path, so scrapers set up for it keep working: any other path
gives the metrics as well, unless the client asks for HTML.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import implementer

from icwsgw.observe.health import Health

_TEXT = b"text/plain; charset=utf-8"


class Admin:
    """The answers, apart from HTTP: a path and an Accept header in, status, content type and body out.

    :param facts: asked for each page: (name, value) pairs for people, for example the gateway's principal
    """

    def __init__(
        self, registry: CollectorRegistry, health: Health, facts: Callable[[], Iterable[tuple[str, str]]] = tuple
    ) -> None:
        self._registry = registry
        self._health = health
        self._facts = facts

    def answer(self, path: str, accept: str) -> tuple[int, bytes, bytes]:
        """Answer a GET request."""
        path = path.rstrip("/")
        if path in ("/health", "/health/live"):
            return 200, _TEXT, b"OK\n"
        if path == "/health/ready":
            return self._ready()
        if path == "/metrics" or "text/html" not in accept:
            encode, content_type = choose_encoder(accept)
            return 200, content_type.encode("ascii"), encode(self._registry)
        if path:
            return 404, _TEXT, b"There is /metrics, /health/live, /health/ready and / here.\n"
        return 200, b"text/html; charset=utf-8", self._page().encode()

    def _ready(self) -> tuple[int, bytes, bytes]:
        reasons = [f"{name}: {reason}" for name, reason in self._health.findings() if reason is not None]
        if reasons:
            return 503, _TEXT, ("\n".join(reasons) + "\n").encode()
        return 200, _TEXT, b"ready\n"

    def _page(self) -> str:
        findings = self._health.findings()
        ready = all(reason is None for _, reason in findings)
        rows = [("state", "ready" if ready else "not ready")]
        rows += [(name, reason or "fine") for name, reason in findings]
        rows += self._facts()
        table = "".join(f"<tr><th>{html.escape(name)}<td>{html.escape(value)}\n" for name, value in rows)
        return (
            '<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>IC WebSocket Gateway</title>\n'
            "<style>body{font:16px/1.5 sans-serif;margin:2em}th{text-align:left;padding-right:2em}</style>\n"
            f"<h1>IC WebSocket Gateway</h1>\n<table>\n{table}</table>\n"
            '<p><a href="/metrics">metrics</a> <a href="/health/live">live</a> <a href="/health/ready">ready</a>\n'
        )


@implementer(IResource)
class AdminResource:
    """Serves :class:`Admin` over HTTP, all paths by one leaf."""

    isLeaf = True  # noqa: N815
    server = None

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    def getChildWithDefault(self, name: bytes, request: Any) -> AdminResource:  # noqa: N802
        """Give itself: it is a leaf."""
        return self

    def putChild(self, path: bytes, child: Any) -> None:  # noqa: N802
        """Refuse: a leaf has no children."""
        raise ValueError("the admin resource is a leaf")

    def render(self, request: Any) -> bytes:
        """Answer a request."""
        if request.method not in (b"GET", b"HEAD"):
            request.setResponseCode(405)
            request.setHeader(b"allow", b"GET, HEAD")
            return b""
        accept = request.getHeader(b"accept") or b""
        status, content_type, body = self._admin.answer(
            request.path.decode("ascii", "replace"), accept.decode("ascii", "replace")
        )
        request.setResponseCode(status)
        request.setHeader(b"content-type", content_type)
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-content-type-options", b"nosniff")
        return b"" if request.method == b"HEAD" else body


class AdminSite(Site):
    """An HTTP server for :class:`AdminResource` without an access log."""

    def __init__(self, admin: Admin, reactor: Any = None) -> None:
        super().__init__(AdminResource(admin), reactor=reactor, timeout=30)  # type: ignore[no-untyped-call]
        self.displayTracebacks = False

    def log(self, request: Any) -> None:
        """Log nothing: probes come every few seconds."""
