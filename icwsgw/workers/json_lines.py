"""JSON objects, one a line, over a pipe each way."""

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
    """Puts lines together again from pieces, and reads their JSON.

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

    :param take: called with the object of each line that comes
    :param ended: called once when no more will come, unless :meth:`close` was first
    """

    def __init__(self, take: Callable[[dict[str, Any]], None], ended: Callable[[], None]) -> None:
        self._splitter = LineSplitter(take)
        self._ended: Callable[[], None] | None = ended
        self._closed: Deferred[None] | None = None
        self._pipes: Any = None
        self._descriptors: tuple[int, ...] = ()

    def open(self, reactor: Any, incoming: int, outgoing: int) -> None:
        """Begin to read and write."""
        self._descriptors = (incoming, outgoing)
        self._pipes = cast(Any, StandardIO)(self, stdin=incoming, stdout=outgoing, reactor=reactor)

    def tell(self, value: Mapping[str, Any]) -> None:
        """Send an object; what cannot be sent any more is lost."""
        if self._pipes is not None:
            self._pipes.write(line_of(value))

    def close(self) -> Deferred[None]:
        """Let go of both ends; fires when what was told has been written."""
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
        """One of the pipes has ended."""
        self._pipes = None
        # standard streams are what StandardIO was made for, and those it leaves open
        descriptors, self._descriptors = self._descriptors, ()
        for descriptor in descriptors:
            os.close(descriptor)
        ended, self._ended = self._ended, None
        closed, self._closed = self._closed, None
        if ended is not None:
            ended()
        if closed is not None:
            closed.callback(None)
