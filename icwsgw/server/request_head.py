"""Parses the head of a client's HTTP request, and makes the head that Autobahn gets.

Autobahn splits heads with ``str.splitlines``, for which eleven characters end a line: inside the value of a header they
would begin a new header. So this parser splits at CRLF only (RFC 9112, sections 2.2 to 5). Autobahn gets a head that is
made from the result, with only what a WebSocket handshake needs.

The parser is stricter than RFC 9112 demands of servers: it refuses a lone CR or LF, control characters except the tab,
and folded lines. Bytes from 0x80 on are valid in values, because they may be UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from icwsgw.errors import FormatError

#: Limits of a head. Browsers with all their cookies stay below them; proxies and Node have the same default in bytes.
MAX_HEADER_BYTES = 16_384
MAX_HEADER_LINES = 128

# a record of TLS 1.0 to 1.3 that begins a handshake (RFC 8446, section 5.1)
_TLS_HANDSHAKE = b"\x16\x03"
# what may precede a request (RFC 9112, section 2.2)
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) (HTTP/[0-9]\.[0-9])")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_ENCODED = tuple(b"%%%02X" % byte for byte in range(256))
_QUESTION_MARKS = bytes(range(128)) + b"?" * 128

# The headers that Autobahn needs. It refuses repetitions of single values, and joins lists. It gets no offers of
# extensions, because the gateway declines them all (RFC 6455, section 9.1), whatever their form.
_HANDSHAKE = frozenset(
    {
        b"host",
        b"upgrade",
        b"connection",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-protocol",
        b"origin",
    }
)


class HeadRefused(FormatError):
    """The head is invalid or too long. The text is for the client.

    :ivar status: of the HTTP answer
    :ivar label: of the metric
    """

    def __init__(self, reason: str, status: int = 400, label: str = "bad_request") -> None:
        super().__init__(reason)
        self.status = status
        self.label = label


class SplitHead(NamedTuple):
    """A whole head, and what follows it.

    :ivar head: from the request line to the last header line, without its CRLF
    :ivar rest: what follows the empty line
    """

    head: bytes
    rest: bytes


class RequestHead(NamedTuple):
    """What the head of a request says.

    :ivar method: as sent
    :ivar target: as sent: visible ASCII, and bytes from 0x80 on
    :ivar version: for example ``HTTP/1.1``
    :ivar headers: names in lower case, values without surrounding blanks, in the order of the request
    """

    method: bytes
    target: bytes
    version: bytes
    headers: Sequence[tuple[bytes, bytes]]

    def joined(self) -> dict[str, str]:
        """The headers as a map. The values of a repeated header are joined by ", ". Bytes are decoded as ISO 8859-1."""
        values: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            values.setdefault(name, []).append(value)
        return {name.decode("ascii"): b", ".join(each).decode("iso-8859-1") for name, each in values.items()}


def cut_head(data: bytes) -> SplitHead | None:
    """Cut off the head from what has come so far.

    :returns: None if it is not whole yet
    :raises HeadRefused: it is too long, it is the beginning of TLS, or it can never be whole because its lines end with
        LF alone
    """
    if data.startswith(_TLS_HANDSHAKE):
        raise HeadRefused("the client speaks TLS, and this port does not: use ws://, not wss://")
    before = _EMPTY_LINES.match(data)
    start = 0 if before is None else before.end()
    end = data.find(b"\r\n\r\n", start)
    if (len(data) if end < 0 else end) > MAX_HEADER_BYTES:
        raise HeadRefused(f"the request's header is longer than {MAX_HEADER_BYTES} bytes", 431, "header_size")
    if end < 0:
        if b"\n\n" in data:
            raise HeadRefused("the request's lines end with LF instead of CRLF")
        return None
    if data.count(b"\r\n", start, end) > MAX_HEADER_LINES:
        raise HeadRefused(f"the request's header has more than {MAX_HEADER_LINES} lines", 431, "header_size")
    return SplitHead(data[start:end], data[end + 4 :])


def read_head(head: bytes) -> RequestHead:
    """Parse a head.

    :param head: from the request line to the last header line, without its CRLF
    :raises HeadRefused: it is invalid
    """
    first, *lines = head.split(b"\r\n")
    parts = _REQUEST_LINE.fullmatch(first)
    if parts is None:
        if _CONTROL.search(first) is not None:
            raise HeadRefused("the request line has a control character in it")
        raise HeadRefused("the request line is not of the form METHOD TARGET HTTP/1.1, with single spaces")
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or _NAME.fullmatch(name) is None:
            raise HeadRefused(_wrong_line(line, name))
        if _CONTROL.search(value) is not None:
            raise HeadRefused(f"the header {name[:64].decode('ascii')} has a control character in its value")
        headers.append((name.lower(), value.strip(b" \t")))
    return RequestHead(parts[1], parts[2], parts[3], headers)


def _wrong_line(line: bytes, name: bytes) -> str:
    if line[:1] in (b" ", b"\t"):
        return "the request has a header line that begins with a blank: folded headers are not taken"
    if _CONTROL.search(line) is not None:
        return "the request has a header line with a control character in its name"
    if name.rstrip(b" \t") != name:
        return "the request has a header line with a blank before its colon"
    return "the request has a header line that is not of the form NAME: VALUE"


def for_autobahn(head: RequestHead, any_origin: bool) -> bytes:
    """Make the head that Autobahn gets, with the empty line that follows it.

    It is ASCII. It leaves out what Autobahn does not need, offers of extensions, a colon without a port behind the
    host, and the origin if no option restricts origins: Autobahn accepts only origins with a host, and programs send
    others.

    :param any_origin: every origin is allowed
    """
    target = head.target
    if not target.isascii():
        target = _BEYOND_ASCII.sub(lambda byte: _ENCODED[byte[0][0]], target)
    lines = [b"%b %b %b" % (head.method, target, head.version)]
    for name, value in head.headers:
        if name not in _HANDSHAKE or (any_origin and name == b"origin"):
            continue
        if not value.isascii():
            value = value.translate(_QUESTION_MARKS)
        if name == b"host" and value.endswith(b":"):
            value = value[:-1]
        lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join(lines) + b"\r\n\r\n"
