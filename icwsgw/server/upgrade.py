"""A client's WebSocket handshake: its HTTP request, and the answer.

:mod:`icwsgw.server.request_head` parses the head. Nearly all requests are plain: a GET with the headers of a handshake,
each once and in its usual form. They are checked and answered here. Autobahn gets any other request, because it knows
all that RFC 6455, section 4.2, allows, and how to refuse the rest.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from hashlib import sha1
from typing import TYPE_CHECKING, Any, Protocol

from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from icwsgw.escaping import escape_invisible
from icwsgw.server.admission import PROXIED
from icwsgw.server.landing_page import accepts_page
from icwsgw.server.request_head import HeadRefused, RequestHead, cut_head, for_autobahn, read_head

if TYPE_CHECKING:
    from icwsgw.config.origins import Origins
    from icwsgw.server.admission import Admission
    from icwsgw.server.proxies import TrustedProxies

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_NO_HEADERS: Mapping[str, str] = {}

#: Characters of an Origin header that the log shows, and how many different ones share their text.
MAX_ORIGIN = 200
REMEMBERED_ORIGINS = 256

_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_HOST = re.compile(rb"[A-Za-z0-9._-]+(?::[0-9]{1,5})?")
_TARGET = re.compile(rb"/(?:[A-Za-z0-9._~%?&=-][A-Za-z0-9._~%?&=/-]*)?")
#: The headers that decide whether a request is plain.
_DECISIVE = frozenset(
    (
        *(b"host", b"upgrade", b"connection", b"origin", b"sec-websocket-key", b"sec-websocket-version"),
        b"sec-websocket-protocol",
    )
)


def plain_key(head: RequestHead, any_origin: bool) -> bytes | None:
    """The key of a plain WebSocket handshake.

    :param any_origin: every origin is allowed, so that its form does not matter
    :return: None: it is not plain, but may be a valid handshake
    """
    if head.method != b"GET" or head.version != b"HTTP/1.1" or _TARGET.fullmatch(head.target) is None:
        return None
    found: dict[bytes, bytes] = {}
    for name, value in head.headers:
        if name in _DECISIVE:
            if name in found:
                return None
            found[name] = value
    if b"sec-websocket-protocol" in found or (not any_origin and b"origin" in found):
        return None
    key = found.get(b"sec-websocket-key", b"")
    if (
        found.get(b"upgrade", b"").lower() != b"websocket"
        or found.get(b"sec-websocket-version") != b"13"
        or b"upgrade" not in [each.strip(b" \t") for each in found.get(b"connection", b"").lower().split(b",")]
        or _HOST.fullmatch(found.get(b"host", b"")) is None
        or _KEY.fullmatch(key) is None
    ):
        return None
    return key


def accepted(key: bytes, server: bytes) -> bytes:
    """The answer that accepts a handshake.

    :param key: the client's Sec-WebSocket-Key
    :param server: the value of the ``Server`` header
    """
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nServer: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % (server, b64encode(sha1(key + _MAGIC).digest()))
    )


class UpgradingFactory(Protocol):
    """The server's factory, as handshakes know it.

    :ivar origins: the web origins that are welcome
    :ivar server_name: what answers call us
    """

    origins: Origins
    proxies: TrustedProxies
    server_name: bytes

    def refusal(self, headers: Mapping[str, str]) -> str | None:
        """Why a valid request is refused, a label of the metric; None: it is not refused."""

    def answer(self, refusal: str) -> tuple[int, str]:
        """The HTTP status and words of a refusal."""

    def page(self) -> bytes:
        """The page for a browser that asks for one."""


@lru_cache(REMEMBERED_ORIGINS)
def origin_text(value: bytes) -> str:
    """Return an Origin header as text. Clients of one page share the object, because they are many."""
    return value.decode("iso-8859-1")


class Upgrading:
    """The part of :class:`icwsgw.server.protocol.GatewayProtocol` that acts until the WebSocket is open."""

    factory: UpgradingFactory
    transport: Any
    peer: str
    data: bytes
    state: int
    STATE_OPEN: int
    STATE_CONNECTING: int
    _admission: Admission
    _waits_at_turnstile: Callable[[], bool]
    _pass_turnstile: Callable[[], Deferred[None] | None]
    _onOpen: Callable[[], None]
    consumeData: Callable[[], None]
    sendData: Callable[[bytes], None]

    # attributes that Autobahn sets when it has accepted a handshake, and parses frames with
    websocket_version = 13
    inside_message = False
    current_frame: Any = None

    # where the page of a browser came from; programs have none
    origin = ""

    # the answer to the handshake, from when it is made until it leaves with the handshake message
    _answer: bytes | None = None
    # whether the request is a browser's that shows a page
    _accepts_page = False
    # the headers of the request, from when it is parsed until the client is admitted, if admission depends on them
    _headers = _NO_HEADERS

    def processHandshake(self) -> None:
        """Bytes of the HTTP request have come."""
        if self._waits_at_turnstile():
            return
        admission, factory = self._admission, self.factory
        if admission.standing is PROXIED:
            admission.arrived(self.transport)
            self.peer = admission.peer
        try:
            cut = cut_head(self.data)
            request = None if cut is None else read_head(cut.head)
        except HeadRefused as refused:
            admission.refusal = refused.label
            self.failHandshake(str(refused), refused.status)
            return
        if cut is None or request is None:
            return
        for name, value in request.headers:
            if name == b"origin":
                self.origin = origin_text(value[:MAX_ORIGIN])
        any_origin = not factory.origins
        if not any_origin or factory.proxies:
            self._headers = request.joined()
        key = plain_key(request, any_origin)
        if key is None and request.version != b"HTTP/1.1":
            version = request.version.decode("ascii")
            self.failHandshake(f"a WebSocket needs HTTP/1.1, and this request is {version}", 505)
            return
        if key is None:
            self._accepts_page = accepts_page(request)
            self.data = for_autobahn(request, any_origin) + cut.rest
            super().processHandshake()  # type: ignore[misc]
            return
        self.data = cut.rest
        try:
            turn = self._admit()
        except ConnectionDeny as denied:
            self.failHandshake(denied.reason, denied.code)
            return
        if turn is None:
            self._accept(key)
        else:
            turn.addCallbacks(lambda _: self._accept(key), self._denied)

    def _accept(self, key: bytes) -> None:
        """Accept the handshake as Autobahn's succeedHandshake does."""
        self._answer = accepted(key, self.factory.server_name)
        self.state = self.STATE_OPEN
        self._onOpen()
        if self.data:
            self.consumeData()

    def _denied(self, failure: Failure) -> None:
        denied = failure.value
        if not isinstance(denied, ConnectionDeny):
            failure.raiseException()
        assert isinstance(denied, ConnectionDeny)
        self.failHandshake(denied.reason, denied.code)

    def onConnect(self, request: ConnectionRequest) -> Deferred[None] | None:
        """Autobahn has found the HTTP handshake valid: admit the client or refuse it."""
        return self._admit()

    def _admit(self) -> Deferred[None] | None:
        """Admit the client.

        :return: None: it is admitted at once; else fires when it is
        :raises ConnectionDeny: it is refused
        """
        admission, factory = self._admission, self.factory
        headers, self._headers = self._headers, _NO_HEADERS
        admission.requested(headers)
        self.peer = admission.peer
        refusal = admission.refusal = admission.refusal or factory.refusal(headers)
        if refusal is not None:
            status, text = factory.answer(refusal)
            if refusal == "origin":
                text = factory.origins.refusal(self.origin)
            raise ConnectionDeny(status, text)
        return self._pass_turnstile()

    def succeedHandshake(self, res: Any) -> None:
        """Autobahn accepts the client. The answer leaves together with the handshake message that follows it."""
        self._answer = b""
        super().succeedHandshake(res)  # type: ignore[misc]

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """Refuse the HTTP request."""
        self._answer = None
        self._admission.note(self._admission.refusal or "bad_request", reason, code)
        super().failHandshake(reason, code, responseHeaders)  # type: ignore[misc]

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        """Answer the HTTP request with an error and a body."""
        kind, body = "plain", f"{escape_invisible(reason)}\n".encode()
        if code == 426 and self._accepts_page:
            kind, body = "html", self.factory.page()
        head = [
            f"HTTP/1.1 {code} {_REASONS.get(code, 'Error')}",
            # RFC 9110, section 6.6.1: each answer but an interim one has it
            f"Date: {formatdate(usegmt=True)}",
            f"Content-Type: text/{kind}; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in responseHeaders or ()),
        ]
        if code == 426:
            head.append("Upgrade: websocket")
        if code in (429, 503):
            head.append("Retry-After: 5")
        self.sendData("\r\n".join(head).encode() + b"\r\n\r\n" + body)
