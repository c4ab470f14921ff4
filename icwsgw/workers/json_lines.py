"""Sends and receives JSON objects, one per line, over two pipes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO

from icwsgw.observe.logs import get_logger

_log = get_logger("workers")


class LineSplitter:
    """Joins chunks of bytes into lines, and parses each line as JSON.

    :param take: called with the object of each line
    """

    __slots__ = ("_parts", "_take")

    def __init__(self, take: Callable[[dict[str, Any]], None]) -> None:
        self._take = take
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> None:
        *ends, rest = data.split(b"\n")
        for end in ends:
            line = b"".join([*self._parts, end])
            self._parts.clear()
            if not line:
                continue
            try:
                value = json.loads(line)
            except ValueError:
                _log.error("invalid line between supervisor and worker", line=line)
                continue
            self._take(value)
        if rest:
            self._parts.append(rest)


def line_of(value: Mapping[str, Any]) -> bytes:
    """Write an object as a line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


class Lines(Protocol):
    """The worker's end: reads lines from one descriptor and writes them to another, in the reactor.

    :param take: called with the object of each line received
    :param ended: called once when the incoming pipe ends, unless :meth:`close` was called before
    """

    def __init__(self, take: Callable[[dict[str, Any]], None], ended: Callable[[], None]) -> None:
        self._splitter = LineSplitter(take)
        self._ended: Callable[[], None] | None = ended
        self._closed: Deferred[None] | None = None
        self._pipes: Any = None
        self._descriptors: tuple[int, ...] = ()

    def open(self, reactor: Any, incoming: int, outgoing: int) -> None:
        """Start to read from ``incoming`` and to write to ``outgoing``; both are file descriptors."""
        self._descriptors = (incoming, outgoing)
        self._pipes = cast(Any, StandardIO)(self, stdin=incoming, stdout=outgoing, reactor=reactor)

    def send(self, value: Mapping[str, Any]) -> None:
        """Send an object; it is lost if the pipe is closed."""
        if self._pipes is not None:
            self._pipes.write(line_of(value))

    def close(self) -> Deferred[None]:
        """Close both pipes; the Deferred fires when all data has been written."""
        self._ended = None
        closed: Deferred[None] = Deferred()
        if self._pipes is not None:
            self._closed = closed
            self._pipes.loseConnection()
        else:
            closed.callback(None)
        return closed

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._splitter.feed(data)

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        """Handle the end of a pipe."""
        self._pipes = None
        # StandardIO is made for the standard streams, which it does not close
        descriptors, self._descriptors = self._descriptors, ()
        for descriptor in descriptors:
            os.close(descriptor)
        ended, self._ended = self._ended, None
        closed, self._closed = self._closed, None
        if ended is not None:
            ended()
        if closed is not None:
            closed.callback(None)
