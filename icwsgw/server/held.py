"""What a connection holds: how it is given back when the connection ends (decision 0033).

Autobahn and Twisted leave cycles around a connection that has ended. The collector hardly ever looks at old objects, so
that a cycle would keep an unfinished message for hours.
"""

from __future__ import annotations

from typing import Any


class _NoLog:
    """Autobahn logs each step of each connection and builds the arguments first; what matters is logged by us."""

    def __getattr__(self, name: str) -> Any:
        return self._nothing

    @staticmethod
    def _nothing(*args: Any, **kwargs: Any) -> None:
        pass


NO_LOG = _NoLog()


class _Gone:
    """The transport of a connection that has ended: does nothing, and holds nothing."""

    def pauseProducing(self) -> None:  # noqa: N802
        """Nothing is read any more."""

    resumeProducing = abortConnection = loseConnection = unregisterProducer = pauseProducing  # noqa: N815

    def write(self, data: bytes) -> None:
        """Nobody reads it."""


GONE = _Gone()


def let_go(connection: Any) -> None:
    """Give back what an ended connection holds, and cut the cycles that it is part of.

    :param connection: a WebSocketServerProtocol whose connectionLost has been dealt with
    """
    connection.data = b""
    # an unfinished message, its frames, and what inflates it
    connection.message_data = connection.frame_data = connection.control_frame_data = None
    connection.current_frame = connection.current_frame_masker = connection._perMessageCompress = None
    connection.inside_message = False
    # a refused request
    connection.http_request_data = connection.http_response_data = b""
    connection.http_headers = {}
    # Autobahn resolves it with the connection itself
    connection.is_closed = None
    connection.transport = GONE
