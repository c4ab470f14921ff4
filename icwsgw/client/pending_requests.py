"""Matches replies with requests: the first message that a request's condition accepts is its reply.

Canisters answer with messages, and the application decides which belongs to which request. Requests are checked in the
order in which they were made. A reply is not given to the application as a message as well. What comes before a
request's message has left is not its reply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from icwsgw.client.client_errors import QueueFull

#: The most requests of one client that wait for a reply.
MAX_REQUESTS: Final = 10_000


class PendingRequest:
    """A request that waits for a reply.

    :param matches: whether a message is its reply
    :param resolve: is called with the reply
    :param fail: is called with the error that ends the request
    :ivar handle: of its message; None: it is being queued
    """

    __slots__ = ("fail", "handle", "matches", "resolve")

    def __init__(
        self, matches: Callable[[Any], bool], resolve: Callable[[Any], object], fail: Callable[[Exception], object]
    ) -> None:
        self.matches = matches
        self.resolve = resolve
        self.fail = fail
        self.handle: int | None = None


class PendingRequests:
    """The requests of one client that wait for a reply.

    :param waits: whether the message with a handle waits to be sent
    """

    def __init__(self, waits: Callable[[int], bool] = lambda handle: False) -> None:
        self._waits = waits
        # in the order in which they were made
        self._waiting: dict[PendingRequest, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self, matches: Callable[[Any], bool], resolve: Callable[[Any], object], fail: Callable[[Exception], object]
    ) -> PendingRequest:
        """Add a request; see :class:`PendingRequest`.

        :raises QueueFull: too many wait
        """
        if len(self._waiting) >= MAX_REQUESTS:
            raise QueueFull(f"{MAX_REQUESTS} requests wait for a reply", "Give requests a time limit.")
        request = PendingRequest(matches, resolve, fail)
        self._waiting[request] = None
        return request

    def remove(self, request: PendingRequest) -> None:
        """Forget a request; does nothing if it is not here."""
        self._waiting.pop(request, None)

    def take(self, message: Any) -> bool:
        """Give a message to the request that it answers, and return whether there is one.

        A request whose condition raises an exception fails with it.
        """
        for request in list(self._waiting):
            # what ends one request may have ended others
            if request not in self._waiting or self._is_queued(request):
                continue
            try:
                answered = bool(request.matches(message))
            except Exception as error:
                self.remove(request)
                request.fail(_of_condition(error))
                continue
            if answered:
                self.remove(request)
                request.resolve(message)
                return True
        return False

    def fail(self, error: Exception, *, queued: bool = False) -> None:
        """End the requests whose session has ended.

        :param queued: also those whose message waits to be sent, and goes out in the next session otherwise
        """
        ended = [request for request in self._waiting if queued or not self._is_queued(request)]
        for request in ended:
            self.remove(request)
        for request in ended:
            request.fail(error)

    def _is_queued(self, request: PendingRequest) -> bool:
        return request.handle is not None and self._waits(request.handle)


def _of_condition(error: Exception) -> Exception:
    """Return the error of a condition as one that a future and a coroutine can raise (PEP 479)."""
    if not isinstance(error, StopIteration):
        return error
    raised = RuntimeError("the condition of a request raised StopIteration")
    raised.__cause__ = error
    return raised
