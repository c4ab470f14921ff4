"""How many polls of one queue are in flight, and from which nonces.

A canister answers with one page of messages at most (50 unless its owner chose another number), so a single poll at a
time moves page / round-trip-time messages a second. Polling beyond the end of a queue does no harm. So while the queue
is long, the window polls from n, n + page, n + 2 page ... at once (decision 0004).

Reading begins with as many polls as the pages that were needed last time, so a queue that fills at a steady rate is
read in one round trip without superfluous polls. If it is longer, each further full page doubles the number in flight,
up to the limit. At rest the window is 1, and an idle canister gets one query a tick.

Pages that reach no client let the window grow to :data:`USELESS_PAGES` only: an endless queue without clients is not
read at full speed, but messages of clients may be behind those of clients that have left.
"""

from __future__ import annotations

from collections.abc import Container

from icwsgw.core.written_state import Written

DEFAULT_PAGE = 50
#: Polls in flight while pages reach no client, a power of 2.
USELESS_PAGES = 16


class PollWindow(Written):
    """The window of one poller.

    :ivar size: number of pages that were needed last time
    :ivar page: messages in a full answer, learned from the answers
    """

    __slots__ = ("_limit", "_pages", "page", "size")
    WRITTEN = {"page": int, "size": int}

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pages = 0
        self.page = DEFAULT_PAGE
        self.size = 1

    @property
    def deep(self) -> bool:
        """Whether the queue holds more than a page, so that several answers are likely to arrive together."""
        return self.size > 1 or self._pages > 0

    def nonces(self, next_nonce: int, in_flight: Container[int]) -> list[int]:
        """The nonces of the window that no query in flight polls from, nearest first."""
        deeper = self._pages - self.size
        room = -deeper if deeper < 0 else 1 << min(deeper, 16)
        if room == 1:
            return [] if next_nonce in in_flight else [next_nonce]
        wanted = range(next_nonce, next_nonce + min(room, self._limit) * self.page, self.page)
        return [nonce for nonce in wanted if nonce not in in_flight]

    def answered(self, count: int, end: bool | None, useful: bool = True) -> bool:
        """Note an answer that moved the cursor or found the end of the queue.

        :param count: number of messages in it
        :param end: whether the queue ends here, by the canister's answer; None: the answer does not show it
        :param useful: a message of it has reached a client
        :return: whether more is waiting
        """
        if end is None or not count:
            # An empty answer is the end, whatever the canister claims: otherwise it would be polled again without a
            # pause.
            end = count < self.page
        if not end:
            self.page = count
            if useful:
                self._pages += 1
            else:
                self._pages, self.size = min(self._pages + 1, USELESS_PAGES.bit_length()), 1
            return True
        self.size = max(1, min(self._pages + (count > 0), self._limit))
        self._pages = 0
        return False
