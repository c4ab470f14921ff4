"""URLs that are parsed once, so that a request costs no parsing.

``Url.parse`` parses the network's URL from the configuration. ``join`` makes the URL of one endpoint below it, and
remembers the request head, which is the same for every request to it.
"""

from __future__ import annotations

import re

from icwsgw._version import __version__
from icwsgw.observe.peers import bracketed
from icwsgw.url_parts import DEFAULT_PORTS, checked_path, split_url

_UNSAFE_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_MAX_HEADS = 8

USER_AGENT = b"icwsgw/" + __version__.encode("ascii")


class Url:
    """Scheme, host, port and path of an HTTP resource.

    :ivar scheme: "http" or "https"
    :ivar host: name or address, without brackets
    :ivar port: TCP port
    :ivar path: path and query, percent-encoded; at least "/"
    :ivar origin: (scheme, host, port), the key of the connection pool
    """

    __slots__ = ("_heads", "_netloc", "host", "origin", "path", "port", "scheme")

    def __init__(self, scheme: str, host: str, port: int, path: bytes) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.origin = (scheme, host, port)
        shown = bracketed(host)
        self._netloc = (shown if port == DEFAULT_PORTS[scheme] else f"{shown}:{port}").encode("ascii")
        self._heads: dict[tuple[bytes, bytes], bytes] = {}

    @classmethod
    def parse(cls, text: str) -> Url:
        """Parse an absolute http or https URL; its fragment is dropped.

        :raises ValueError: it is not such a URL, has a user name or password, or a host that TLS cannot check
        """
        return cls(*split_url(text))

    def join(self, path: bytes) -> Url:
        """The URL of ``path`` (starting with "/") below the path of this one.

        :raises ValueError: it is not a path
        """
        return Url(self.scheme, self.host, self.port, checked_path(self.path.rstrip(b"/") + path))

    @property
    def netloc(self) -> bytes:
        """The Host header: the host, and the port unless it is the scheme's default."""
        return self._netloc

    def head(self, method: bytes, content_type: bytes) -> bytes:
        """The request head up to ``Content-Length: ``, without the number.

        :param content_type: value of Content-Type; empty for none
        :raises ValueError: the method or content type cannot be part of a head
        """
        key = (method, content_type)
        head = self._heads.get(key)
        if head is None:
            head = self.head_with(method, content_type, [])
            if len(self._heads) < _MAX_HEADS:
                self._heads[key] = head
        return head

    def head_with(self, method: bytes, content_type: bytes, lines: list[bytes]) -> bytes:
        """The head with further header lines; see :meth:`head`.

        :param lines: each of the form "Name: value"; a User-Agent among them replaces the gateway's
        :raises ValueError: a line cannot be part of a head
        """
        values = [content_type, *lines]
        if not method.isalpha() or any(_UNSAFE_VALUE.search(value) for value in values):
            raise ValueError(f"not fit for a request head: {method!r} {values!r}")
        head = [b"%b %b HTTP/1.1" % (method, self.path), b"Host: " + self._netloc, *lines]
        if not any(line.startswith(b"User-Agent:") for line in lines):
            head.append(b"User-Agent: " + USER_AGENT)
        if content_type:
            head.append(b"Content-Type: " + content_type)
        return b"\r\n".join(head) + b"\r\nContent-Length: "

    def __str__(self) -> str:
        return f"{self.scheme}://{self._netloc.decode('ascii')}{self.path.decode('ascii')}"

    def __repr__(self) -> str:
        return f"<Url {self}>"
