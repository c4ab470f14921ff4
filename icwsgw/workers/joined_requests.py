"""Joins equal requests of the admin API that change nothing; see :mod:`icwsgw.workers.joined_calls`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred

from icwsgw.admin.api import Replies
from icwsgw.reactor.clock import Clock
from icwsgw.workers.joined_calls import JoinedCalls

#: Seconds between the beginnings of two equal requests, at least.
REQUEST_PAUSE: Final = 0.1
#: Requests that change nothing, of those of :mod:`icwsgw.admin.control`.
READS: Final = frozenset({"sessions", "canisters", "top", "certificates", "ended", "levels"})


class JoinedRequests:
    """The requests that wait for answers of workers; those that change something are sent at once, each alone.

    :param send: sends a request to all workers
    """

    def __init__(self, clock: Clock, send: Callable[[Mapping[str, Any]], Deferred[Replies]]) -> None:
        self._clock = clock
        self._send = send
        # for each different request, in flight or a moment before, the equal ones
        self._equal: dict[str, JoinedCalls[Mapping[str, Any], Replies]] = {}

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
        if key not in self._equal:
            self._equal[key] = JoinedCalls(self._clock, self._send_one, REQUEST_PAUSE, partial(self._equal.pop, key))
        return self._equal[key].request(what)

    def _send_one(self, equal: list[Mapping[str, Any]]) -> Deferred[Replies]:
        return self._send(equal[0])
