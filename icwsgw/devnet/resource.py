"""The replica over HTTP: the API with CORS, the demo page, and the control interface for this machine only.

Any web page may use the API, as with a real replica. The control interface changes the replica, so it answers loopback
addresses only. It accepts a body only with the content type ``application/json``: before a browser sends that to
another origin, it makes a preflight request, which this server does not permit. The Host header detects pages whose
name resolves to 127.0.0.1 (DNS rebinding); the Origin header detects other pages.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from icwsgw.config.addresses import is_page_of, is_this_machine
from icwsgw.devnet.faults import Answer, Dropped
from icwsgw.devnet.replica import Replica

HERE = Path(__file__).parent
STATIC = HERE / "static"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".did": "text/plain; charset=utf-8",
}
# The demo page may connect to any gateway, and contains no secret that a style sheet could read.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src *; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    # pages of other origins may import the client
    "Access-Control-Allow-Origin": "*",
}
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After, Date, x-request-id, x-ic-error-cause",
}
_PREFLIGHT = {
    **_CORS,
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "600",
}

_log = Logger()


class ReplicaResource(Resource):
    """Serves all paths of the devnet's port."""

    isLeaf = True  # noqa: N815

    def __init__(self, replica: Replica) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._replica = replica

    def render(self, request: Request) -> int:
        """Answer a request, at once or asynchronously."""
        path = request.path.decode("ascii", "replace")
        method = request.method.decode("ascii", "replace")
        if "websocket" in (request.getHeader("upgrade") or "").lower():
            where = _where(self._replica.gateway_urls)
            _log.info(
                "a WebSocket client came to the replica's port: clients connect to the gateway{where}", where=where
            )
            _write(request, _text(400, f"this is the local replica: WebSocket clients connect to the gateway{where}"))
        elif path.startswith("/api/"):
            if method == "OPTIONS":
                _write(request, (204, dict(_PREFLIGHT), b""))
            else:
                self._answer(request, method, path, _CORS)
        elif path.startswith("/_/"):
            refusal = _control_refusal(request, method)
            if refusal is not None:
                _write(request, refusal)
            else:
                self._answer(request, method, path, _CORS if path == "/_/info" else {})
        else:
            _write(request, self._interface(method, path) or _file(method, path))
        return NOT_DONE_YET

    def _interface(self, method: str, path: str) -> Answer | None:
        """Return the Candid interface of a canister of ``--devnet-canister``, if the path names one."""
        name = path[1:]
        canister_id = self._replica.names.get(name.removesuffix(".did")) if name.endswith(".did") else None
        host = None if canister_id is None else self._replica.canisters.get(canister_id)
        if host is None or method not in ("GET", "HEAD"):
            return None
        if host.candid is None:
            own = name.removesuffix(".did")
            return _text(404, f"the canister {own} has no Candid interface: give it one by {own}=FILE:FILE.did")
        return 200, {"Content-Type": _TYPES[".did"], **_PAGE_HEADERS}, host.candid.encode()

    def _answer(self, request: Request, method: str, path: str, headers: dict[str, str]) -> None:
        content = request.content
        body = content.read() if content is not None else b""
        answer: Deferred[Answer] = maybeDeferred(
            self._replica.handle, method, path, body, request.getHeader("content-type") or ""
        )
        left = False

        def leave(_: Failure) -> None:
            nonlocal left
            left = True
            answer.cancel()

        request.notifyFinish().addErrback(leave)

        def write(result: Answer) -> None:
            if left:
                return
            status, own, text = result
            _write(request, (status, {**own, **headers}, text))

        def fail(failure: Failure) -> None:
            if left or failure.check(CancelledError) is not None:
                return
            if isinstance(failure.value, Dropped):
                _drop(request, failure.value)
                return
            _log.failure("the devnet failed to answer {path}", failure, path=path)
            _write(request, (500, {"Content-Type": "text/plain"}, b"internal error"))

        answer.addCallbacks(write, fail)
        answer.addErrback(lambda failure: _log.failure("the devnet failed to write an answer", failure))


def _write(request: HttpRequest, answer: Answer) -> None:
    status, headers, body = answer
    request.setResponseCode(status)
    for name, value in headers.items():
        request.setHeader(name, value)
    if status != 204:
        request.setHeader("Content-Length", str(len(body)))
    if request.method != b"HEAD" and body:
        request.write(body)
    request.finish()


def _drop(request: Request, dropped: Dropped) -> None:
    """Close the connection, before or during an answer."""
    transport: Any = request.channel.transport
    if dropped.status is None:
        transport.abortConnection()
        return
    request.setResponseCode(dropped.status)
    for name, value in dropped.headers.items():
        request.setHeader(name, value)
    request.setHeader("Content-Length", str(max(len(dropped.body), 1)))
    request.write(dropped.body[: len(dropped.body) // 2])
    transport.loseConnection()


def _is_local(address: IAddress) -> bool:
    if isinstance(address, UNIXAddress):
        return True
    if not isinstance(address, (IPv4Address, IPv6Address)):
        return False
    ip = ipaddress.ip_address(address.host.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    return bool((mapped or ip).is_loopback)


def _control_refusal(request: Request, method: str) -> Answer | None:
    if not _is_local(request.getClientAddress()):
        return _text(403, "the control interface is for this machine only")
    host, origin = request.getHeader("host") or "", request.getHeader("origin")
    if not is_this_machine(host):
        return _text(403, "the request's Host is not this machine: use 127.0.0.1, [::1] or localhost")
    # any page may read /_/info, which holds no secret; only the demo page and programs may change the replica
    if origin is not None and request.path != b"/_/info" and not is_page_of(origin, host):
        return _text(403, "requests from other web pages are not allowed")
    if method == "POST":
        kind = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return _text(415, "send application/json")
    return None


def _text(status: int, text: str) -> Answer:
    return status, {"Content-Type": "text/plain; charset=utf-8"}, f"{text}\n".encode()


def _where(gateway_urls: list[str]) -> str:
    """Where a WebSocket client should have gone."""
    return f" at {' or '.join(gateway_urls)}" if gateway_urls else ""


def _file(method: str, path: str) -> Answer:
    if method not in ("GET", "HEAD"):
        return _text(405, "GET only")
    name = path[1:] or "demo.html"
    kind = _TYPES.get(Path(name).suffix)
    file = (HERE if name.endswith(".did") else STATIC) / name
    # Files of one directory only: names with a slash are refused.
    if kind is None or "/" in name or "\\" in name or name.startswith(".") or not file.is_file():
        return _text(404, "not found")
    return 200, {"Content-Type": kind, **_PAGE_HEADERS}, file.read_bytes()


class ReplicaSite(Site):
    """The site of a replica; writes no access log."""

    def __init__(self, replica: Replica) -> None:
        super().__init__(ReplicaResource(replica), parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]
        self.displayTracebacks = False

    def log(self, request: HttpRequest) -> None:
        """Write nothing: the gateway may send hundreds of polls per second."""
