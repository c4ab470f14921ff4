"""Finds out which protocol a gateway's port has: one WebSocket handshake by hand, to distinguish each way to fail."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import time
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from icwsgw.escaping import escape_invisible
from icwsgw.http_dates import http_date

_MAX_HEAD: Final = 16 << 10
#: Bytes of a refusal's reason.
MAX_WORDS: Final = 300
_TLS_ALERT: Final = b"\x15\x03"


class ProbeOutcome(Enum):
    """What a port answered, as a clause."""

    UPGRADED = "it opens WebSockets"
    REFUSED = "it answers HTTP"
    UNRESOLVED = "the host's name is not known"
    UNREACHABLE = "no server listens"
    NOT_TLS = "the port has no TLS"
    TLS = "the port has TLS"
    BAD_CERTIFICATE = "the certificate is not valid"
    NOT_HTTP = "it does not answer by HTTP"
    SILENT = "no answer in time"


class Probe(NamedTuple):
    """What a gateway's port answered.

    :ivar outcome: in short
    :ivar reason: what the system, the certificate check or the server says
    :ivar status: the HTTP status; 0: there was none
    :ivar clock_offset: how far the server's header Date is ahead of this machine's clock, in seconds; None: it has none
    """

    outcome: ProbeOutcome
    reason: str = ""
    status: int = 0
    clock_offset: float | None = None


def probe(url: str, origin: str | None = None, timeout: float = 10.0) -> Probe:
    """Open a WebSocket and close it at once.

    An answer that opens a WebSocket may have no header Date (RFC 9110, section 6.6.1). Then a plain request follows,
    whose refusal has one.

    :param url: ws:// or wss://
    :param origin: the header Origin
    :param timeout: seconds for each step
    """
    answer = _request(url, origin, timeout, "Upgrade")
    if answer.outcome is ProbeOutcome.UPGRADED and answer.clock_offset is None:
        return answer._replace(clock_offset=_request(url, origin, timeout, "close").clock_offset)
    return answer


def _request(url: str, origin: str | None, timeout: float, connection: str) -> Probe:
    """Make one request.

    :param connection: the header Connection, which decides whether it asks for a WebSocket
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "wss"
    port = parts.port or (443 if secure else 80)
    try:
        plain = socket.create_connection((host, port), timeout=timeout)
    except socket.gaierror as error:
        return Probe(ProbeOutcome.UNRESOLVED, error.strerror or str(error))
    except UnicodeError as error:
        # no name of a host: one of its parts is empty or too long
        return Probe(ProbeOutcome.UNRESOLVED, str(error))
    except OSError as error:
        return Probe(ProbeOutcome.UNREACHABLE, error.strerror or str(error) or "timed out")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with plain:
        link = plain
        if secure:
            try:
                # it takes the socket over
                link = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            except ssl.SSLCertVerificationError as error:
                return Probe(ProbeOutcome.BAD_CERTIFICATE, error.verify_message)
            except ssl.SSLError as error:
                return Probe(ProbeOutcome.NOT_TLS, error.reason or str(error))
            except TimeoutError:
                return Probe(ProbeOutcome.NOT_TLS, f"no answer in {timeout:g} s")
            except OSError as error:
                return Probe(ProbeOutcome.NOT_TLS, error.strerror or str(error))
        with link:
            try:
                return _exchange(link, host, port, target, origin, connection, timeout)
            except TimeoutError:
                return Probe(ProbeOutcome.SILENT, f"no answer in {timeout:g} s")
            except OSError as error:
                return Probe(ProbeOutcome.NOT_HTTP, error.strerror or str(error))


def _exchange(
    link: socket.socket, host: str, port: int, target: str, origin: str | None, connection: str, timeout: float
) -> Probe:
    """Send a request, and read the head of its answer.

    :raises OSError: no head arrives in time, or the connection ends
    """
    end = time.monotonic() + timeout
    name = f"[{host}]" if ":" in host else host
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {name}:{port}",
        "Upgrade: websocket",
        f"Connection: {connection}",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    if origin is not None:
        lines.append(f"Origin: {origin}")
    link.sendall("\r\n".join([*lines, "", ""]).encode())
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _MAX_HEAD:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        link.settimeout(left)
        part = link.recv(4096)
        if not part:
            break
        data += part
    return read_head(data, time.time())


def read_head(data: bytes, now: float) -> Probe:
    """Return what the beginning of a server's answer says.

    :param now: the time now, in seconds since 1970
    """
    if data.startswith(_TLS_ALERT):
        return Probe(ProbeOutcome.TLS)
    first, *lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if not first.startswith("HTTP/1.") or len(parts) < 2 or not parts[1].isdecimal():
        return Probe(ProbeOutcome.NOT_HTTP, "it ended the connection" if not data else "it speaks no HTTP")
    status, reason = int(parts[1]), parts[2] if len(parts) > 2 else ""
    if status == 400 and b"HTTPS" in data:
        # what web servers say to a plain request at a port for TLS
        return Probe(ProbeOutcome.TLS, reason, status)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    outcome = ProbeOutcome.UPGRADED if status == 101 else ProbeOutcome.REFUSED
    if status >= 400 and headers.get("content-type", "").startswith("text/plain"):
        reason = _first_line(data) or reason
    return Probe(outcome, reason, status, _offset(headers.get("date", ""), now))


def _first_line(data: bytes) -> str:
    """Return the beginning of an answer's body, as far as it has come with the head."""
    line = data.partition(b"\r\n\r\n")[2].partition(b"\n")[0][:MAX_WORDS]
    return escape_invisible(line.decode("utf-8", "replace")).strip()


def _offset(date: str, now: float) -> float | None:
    seconds = http_date(date)
    # the header has whole seconds
    return None if seconds is None else seconds + 0.5 - now
