"""Splits what a worker writes to its standard streams into the lines of the gateway's log."""

from __future__ import annotations

from collections.abc import Callable

#: The longest line, bytes; a longer one is split.
MOST_BYTES = 1 << 20


class OutputLines:
    """The lines of one process. Each stream has its own: what one leaves unfinished is not mixed with the other.

    :param take: called with each line, without its end
    """

    def __init__(self, take: Callable[[str], object]) -> None:
        self._take = take
        self._unfinished: dict[int, bytearray] = {}

    def feed(self, stream: int, data: bytes) -> None:
        """Take what was written to a stream.

        :param stream: its file descriptor in the process
        """
        *ends, rest = data.split(b"\n")
        unfinished = self._unfinished.setdefault(stream, bytearray())
        for end in ends:
            unfinished += end
            self._take_unfinished(unfinished)
        unfinished += rest
        if len(unfinished) >= MOST_BYTES:
            self._take_unfinished(unfinished)

    def end(self) -> None:
        """The process has ended: its last lines may be unfinished, such as the last words of a crash."""
        for unfinished in self._unfinished.values():
            if unfinished:
                self._take_unfinished(unfinished)

    def _take_unfinished(self, line: bytearray) -> None:
        self._take(line.decode(errors="replace"))
        line.clear()
