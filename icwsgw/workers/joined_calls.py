"""Joins requests that one call can serve, because a call costs each worker milliseconds.

At most one call is in flight, and one begins at most every ``pause`` seconds. Requests that come meanwhile wait for the
next call and share its answer: it shows what has happened before each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from icwsgw.reactor.clock import Clock

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")


class JoinedCalls(Generic[Ask, Answer]):
    """The requests that wait for an answer.

    :param call: begins a call that serves all given requests
    :param pause: seconds between the beginnings of two calls, at least
    :param idle: called when no request waits, no call is in flight, and the pause is over
    """

    def __init__(
        self,
        clock: Clock,
        call: Callable[[list[Ask]], Deferred[Answer]],
        pause: float,
        idle: Callable[[], object] = lambda: None,
    ) -> None:
        self._clock = clock
        self._call = call
        self._pause = pause
        self._idle = idle
        # a call is in flight, or the pause after it is not over
        self._busy = False
        # the requests that wait for the call in flight, and those for the next one
        self._waiting: dict[Deferred[Answer], Ask] = {}
        self._next: dict[Deferred[Answer], Ask] = {}

    def __len__(self) -> int:
        """How many requests wait."""
        return len(self._waiting) + len(self._next)

    def request(self, ask: Ask) -> Deferred[Answer]:
        """Begin a call, or share the next one.

        :return: fires with an answer that several callers may have: they must not change it. It may be cancelled.
        """
        done: Deferred[Answer] = Deferred(self._forget)
        self._next[done] = ask
        if not self._busy:
            self._begin()
        return done

    def _forget(self, request: Deferred[Answer]) -> None:
        self._waiting.pop(request, None)
        self._next.pop(request, None)

    def _begin(self) -> None:
        self._busy = True
        self._waiting, self._next = self._next, {}
        next_at = self._clock.seconds() + self._pause
        self._call(list(self._waiting.values())).addBoth(self._answered, next_at)

    def _answered(self, answer: Answer | Failure, next_at: float) -> None:
        self._clock.callLater(max(0.0, next_at - self._clock.seconds()), self._pause_over)
        waiting, self._waiting = self._waiting, {}
        for request in waiting:
            if not request.called:  # not cancelled by the one before
                request.callback(answer)

    def _pause_over(self) -> None:
        if self._next:
            self._begin()
            return
        self._busy = False
        self._idle()
