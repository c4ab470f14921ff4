"""HTTP requests with a limited body, regardless of the announced length."""

from __future__ import annotations

from typing import Any

from twisted.web import http


class BoundedBody(http.Request):
    """An HTTP request that keeps a limited part of its body in memory.

    The rest is discarded up to ``most_read``, so that the sender can read the answer; beyond it, the
    connection is aborted. A body is never read as a form: nothing here takes one, and Twisted's reader fails for some
    values of Content-Type.

    :cvar most_kept: bytes of the body that are kept
    :cvar most_read: bytes of the body that are read
    :ivar carried: bytes of the body that have arrived
    """

    channel: Any
    most_kept = 0
    most_read = 0
    carried = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "parsePOSTFormSubmission": False})

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        """Prevent a temporary file for the body, regardless of its announced length."""
        super().gotLength(0)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Keep or discard a piece of the body, or abort the connection, depending on how much has arrived."""
        self.carried += len(data)
        if self.carried > self.most_read:
            self.channel.transport.abortConnection()
        elif self.carried <= self.most_kept:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]
