"""Requests from the supervisor to its workers, each with one answer or none.

A worker may hang, die, or still be starting. A request therefore ends after at most :data:`ANSWER_TIMEOUT` seconds,
with the answers received and the numbers of the workers that have not answered. A worker that is still starting also
receives the request and executes it once it is ready, but the request does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred

from icwsgw.admin.api import Replies
from icwsgw.reactor.clock import Clock, Timer

#: Time limit for the workers' answers, in seconds.
ANSWER_TIMEOUT: Final = 2.0

#: Sends an order to a worker's process.
Send = Callable[[Mapping[str, Any]], None]


class _Pending:
    __slots__ = ("done", "given", "late", "waiting", "whole")

    def __init__(self, whole: set[int], waiting: set[int]) -> None:
        self.whole = whole
        self.waiting = waiting
        self.given: dict[int, dict[str, Any]] = {}
        self.done: Deferred[Replies] = Deferred()
        self.late: Timer | None = None


class Requests:
    """The requests that still wait for answers of workers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pending: dict[int, _Pending] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._pending)

    def send(
        self, what: Mapping[str, Any], count: int, senders: Mapping[int, Send], ready: set[int]
    ) -> Deferred[Replies]:
        """Send a request to the workers.

        :param what: the request
        :param count: the configured number of workers
        :param senders: by worker number, the function that sends an order to its process
        :param ready: the numbers of the workers to wait for
        :return: fires with the answers, and with the numbers of the workers that gave none
        """
        self._number += 1
        number = self._number
        pending = self._pending[number] = _Pending(set(range(count)), set(ready))
        pending.late = self._clock.callLater(ANSWER_TIMEOUT, self._end, number)
        for send in senders.values():
            send({"do": "ask", "number": number, "what": what})
        self._check(number)
        return pending.done

    def answered(self, worker: int, number: int, answer: dict[str, Any] | None) -> None:
        """Take a worker's answer, None if the worker failed; a late answer is ignored."""
        pending = self._pending.get(number)
        if pending is None or worker not in pending.waiting:
            return
        pending.waiting.discard(worker)
        if answer is not None:
            pending.given[worker] = answer
        self._check(number)

    def lost(self, worker: int) -> None:
        """Stop waiting for a worker that does not answer or whose process has ended."""
        for number, pending in list(self._pending.items()):
            pending.waiting.discard(worker)
            self._check(number)

    def _check(self, number: int) -> None:
        if not self._pending[number].waiting:
            self._end(number)

    def _end(self, number: int) -> None:
        pending = self._pending.pop(number)
        if pending.late is not None and pending.late.active():
            pending.late.cancel()
        pending.done.callback(Replies(pending.given, sorted(pending.whole - set(pending.given))))
