"""Requests with limited bodies, whatever length they announce."""

from __future__ import annotations

from typing import Any

from twisted.web import http


class BoundedBody(http.Request):
    """An HTTP request that keeps a short body in memory, reads past a longer one, and ends one that does not stop.

    :cvar most_kept: bytes of a body that is kept, and of a longer one that stay of it
    :cvar most_read: bytes that are read, and forgotten beyond ``most_kept``, to let the sender see the answer
    :ivar carried: bytes of the body that have come
    """

    channel: Any
    most_kept = 0
    most_read = 0
    carried = 0

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        """Make no temporary file for a body, however long it is said to be."""
        super().gotLength(0)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Take a piece of the body, while there is not too much of it."""
        self.carried += len(data)
        if self.carried > self.most_read:
            self.channel.transport.abortConnection()
        elif self.carried <= self.most_kept:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]
