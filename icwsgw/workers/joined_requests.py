"""Joins equal requests of the admin API that change nothing, because an answer costs each worker milliseconds.

Of equal requests at most one is in flight, and one begins at most every :data:`REQUEST_PAUSE` seconds. Requests that
come meanwhile wait for the next one and share its answers: they show what has happened before each of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from icwsgw.admin.api import Replies
from icwsgw.reactor.clock import Clock

#: Seconds between the beginnings of two equal requests, at least.
REQUEST_PAUSE: Final = 0.1
#: Requests that change nothing, of those of :mod:`icwsgw.admin.control`.
READS: Final = frozenset({"sessions", "canisters", "top", "certificates", "ended", "levels"})


class _Equal:
    """Equal requests.

    :ivar busy: one is in flight, or the pause after it is not over
    :ivar waiting: those that wait for the next one
    """

    __slots__ = ("busy", "waiting")

    def __init__(self) -> None:
        self.busy = False
        self.waiting: list[Deferred[Replies]] = []


class JoinedRequests:
    """The requests that wait for answers of workers; those that change something are sent at once, each alone.

    :param send: sends a request to all workers
    """

    def __init__(self, clock: Clock, send: Callable[[Mapping[str, Any]], Deferred[Replies]]) -> None:
        self._clock = clock
        self._send = send
        self._equal: dict[str, _Equal] = {}

    def __len__(self) -> int:
        """How many different requests are in flight, or were a moment before."""
        return len(self._equal)

    def request(self, what: Mapping[str, Any]) -> Deferred[Replies]:
        """Send a request, or share the answers to the next equal one.

        :return: fires with answers that several callers may have; they must not change them
        """
        if what["what"] not in READS:
            return self._send(what)
        key = json.dumps(what, sort_keys=True)
        equal = self._equal.setdefault(key, _Equal())
        done: Deferred[Replies] = Deferred()
        equal.waiting.append(done)
        if not equal.busy:
            self._begin(key, what)
        return done

    def _begin(self, key: str, what: Mapping[str, Any]) -> None:
        equal = self._equal[key]
        waiting, equal.waiting = equal.waiting, []
        equal.busy = True
        next_at = self._clock.seconds() + REQUEST_PAUSE
        self._send(what).addBoth(self._answered, key, what, waiting, next_at)

    def _answered(
        self,
        replies: Replies | Failure,
        key: str,
        what: Mapping[str, Any],
        waiting: list[Deferred[Replies]],
        next_at: float,
    ) -> None:
        self._clock.callLater(max(0.0, next_at - self._clock.seconds()), self._pause_over, key, what)
        for request in waiting:
            request.callback(replies)

    def _pause_over(self, key: str, what: Mapping[str, Any]) -> None:
        if self._equal[key].waiting:
            self._begin(key, what)
        else:
            del self._equal[key]
