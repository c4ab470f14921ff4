"""A client's HTTP request before Autobahn reads it: what it would refuse though nothing is wrong with it.

Autobahn takes one ``Sec-WebSocket-Extensions`` line at most, where RFC 6455 (9.1) lets clients split it, and an
``Origin`` only where it is a URL with a host. Browsers send such URLs or ``null``; programs send what they like (a bare
host, nothing at all), and a gateway that serves every origin has no reason to look at it.
"""

from __future__ import annotations

import re

_ORIGINS = re.compile(rb"\r\norigin[ \t]*:[^\r\n]*", re.IGNORECASE)
_EXTENSIONS = re.compile(rb"\r\nsec-websocket-extensions[ \t]*:([^\r\n]*)", re.IGNORECASE)


def readable(data: bytes, end: int, any_origin: bool) -> bytes:
    """Change the head of a request so that Autobahn reads it; what follows the head stays.

    :param data: what has come, a whole head first
    :param end: where the empty line behind the head begins
    :param any_origin: nobody will ask for its origin, so it may be left out
    """
    head = data[:end]
    if any_origin:
        head = _ORIGINS.sub(b"", head)
    extensions = _EXTENSIONS.findall(head)
    if len(extensions) > 1:
        head = _EXTENSIONS.sub(b"", head) + b"\r\nSec-WebSocket-Extensions:" + b",".join(extensions)
    return head + data[end:]
