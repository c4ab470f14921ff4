"""Skips pages that are too large for an answer.

It finds the first page that fits (:mod:`icwsgw.core.oversize_search`) and reports what is lost.
"""

from __future__ import annotations

from icwsgw.core.cursor import Cursor
from icwsgw.core.oversize_search import OversizeSearch, too_large
from icwsgw.gateway.interfaces import Context
from icwsgw.gateway.polling.poll_requests import InFlightPoll
from icwsgw.observe.logs import get_logger

_log = get_logger("poller")


class OversizePages:
    """The search of one poller.

    :param canister: its id, for the log
    :ivar search: the search, from which :class:`icwsgw.core.poll_machine.Polling` gets the next nonce
    """

    __slots__ = ("_canister", "_context", "search")

    def __init__(self, context: Context, canister: str, search: OversizeSearch) -> None:
        self._context = context
        self._canister = canister
        self.search = search

    def failed(self, error: BaseException | None, poll: InFlightPoll, cursor: Cursor, now: float) -> int | None:
        """A poll failed; gives the nonce to continue from if that ends a search, else None."""
        if poll.anchor is not None or not too_large(error):
            return None
        before = self.search.seeking
        beyond = self.search.refused(poll.nonce, cursor.next, now, poll.sent)
        if self.search.seeking and not before and self._context.log_limiter.allows("too large", self._canister, now):
            _log.warn("a page of the canister's messages is too large", canister=self._canister, first=cursor.next)
        return beyond

    def fitted(self, poll: InFlightPoll, cursor: Cursor) -> None:
        """A page arrived."""
        if poll.anchor is None:
            self.search.fitted(poll.nonce, cursor.next)

    def deleted(self, first: int, beyond: int, now: float) -> None:
        """Report that the canister has deleted messages before they were read."""
        context = self._context
        context.metrics.gaps.inc(beyond - first)
        if context.log_limiter.allows("gap", self._canister, now):
            event = "messages are gone from the canister's queue"
            _log.error(event, first=first, last=beyond - 1, canister=self._canister)

    def lost(self, first: int, beyond: int, clients: int, now: float) -> None:
        """Report that messages were skipped."""
        context = self._context
        context.metrics.gaps.inc(beyond - first)
        if context.log_limiter.allows("skipped", self._canister, now):
            event = "messages skipped: no page with them is small enough"
            _log.error(event, first=first, last=beyond - 1, canister=self._canister, clients=clients)
