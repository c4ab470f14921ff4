"""Sends the queries of one poller, and gives them up.

Each query takes a slot (:mod:`icwsgw.core.call_slots`) and gives it back when it ends. A query that was given up is not
in flight any more: what still comes of it is ignored.
"""

from __future__ import annotations

from typing import Protocol

from twisted.python.failure import Failure

from icwsgw.core.backoff import PollBackoff
from icwsgw.core.cursor import LastMessage
from icwsgw.core.poll_machine import Polling
from icwsgw.gateway.interfaces import Context
from icwsgw.gateway.polling.answer_queue import AnswerHandler
from icwsgw.gateway.polling.poll_budget import MAX_OVERLAP, PollBudget
from icwsgw.gateway.polling.poll_requests import InFlightPoll, PollRequests


class PollOwner(AnswerHandler, Protocol):
    """Whose queries are sent: :class:`icwsgw.gateway.polling.poller.Poller`."""

    identity_index: int
    backoff: PollBackoff

    def failed(self, failure: Failure, poll: InFlightPoll) -> None:
        """A query has failed, or was given up before."""


class PollSender:
    """The queries of one poller.

    :param polling: holds the queries in flight
    :ivar last_sent: monotonic seconds when the last query was sent
    """

    __slots__ = ("_budget", "_context", "_limit", "_owner", "_polling", "_requests", "last_sent")

    def __init__(self, context: Context, owner: PollOwner, polling: Polling[InFlightPoll], budget: PollBudget) -> None:
        self._context = context
        self._owner = owner
        self._polling = polling
        self._budget = budget
        self._requests = PollRequests(context.identities[owner.identity_index], owner.canister)
        # The send window, overlapping queries for the next nonce, and a probe. Any more are about messages that were
        # delivered meanwhile.
        self._limit = context.config.poll_window + MAX_OVERLAP + 1
        self.last_sent = 0.0

    def send(self, nonce: int, now: float, anchor: LastMessage | None = None) -> None:
        """Send a query.

        :param nonce: the nonce to poll from
        :param anchor: of a probe, or a look at the start: the message by which a reset is detected
        """
        polling, budget = self._polling, self._budget
        poll = InFlightPoll(nonce, now, anchor)
        if anchor is not None:
            polling.probing = poll
        if len(polling.in_flight) >= self._limit:
            self.abandon(polling.least())
        polling.in_flight[poll] = None
        poll.take(budget.slot_queue)
        if budget.quota is not None:
            budget.quota.sent(now)
        self.last_sent = now
        context, owner = self._context, self._owner
        if owner.backoff.failures:
            context.metrics.query_retries.inc()
        request = self._requests.get(nonce, context.network_ns())
        deferred = context.network.query(owner.canister, request, timeout=context.config.query_timeout)
        poll.deferred = deferred
        deferred.addCallbacks(context.answers.arrived, owner.failed, callbackArgs=(poll, owner), errbackArgs=(poll,))

    def abandon(self, poll: InFlightPoll) -> None:
        """Give up a query for another one."""
        self._context.metrics.queries.inc("abandoned")
        self._drop(poll)

    def drop_all(self) -> None:
        """Give up all queries in flight."""
        for poll in list(self._polling.in_flight):
            self._drop(poll)

    def ended(self, poll: InFlightPoll) -> bool:
        """Take a query out of those in flight; False if it was given up before."""
        if not self._polling.ended(poll):
            return False
        poll.leave()
        return True

    def _drop(self, poll: InFlightPoll) -> None:
        """Give up a query: its Deferred fails, and its errback finds that it is not in flight any more."""
        self.ended(poll)
        if poll.deferred is not None:
            poll.deferred.cancel()
