"""How many polls of one queue are in flight, and from which numbers.

A canister answers at most a page of messages (50 unless its owner chose another number), so one poll at a time moves
page / round-trip-time messages a second. Asking past the end of a queue is harmless, so while the queue is deep the
window asks for n, n + page, n + 2 page ... at once (decision 0004).

A drain begins with as many polls as the last one needed pages: a queue that fills at a steady rate is read in one
round trip, without a poll too many. Where it turns out to be deeper, each further full page doubles what is in flight,
up to the limit. At rest the window is 1, and an idle canister gets one query a tick.

Pages that reach no client let it grow to :data:`USELESS_PAGES` only: an endless queue for nobody must not be read at
full speed, and messages of clients may be behind those of clients that have left.
"""

from __future__ import annotations

from collections.abc import Container

DEFAULT_PAGE = 50
#: Polls in flight while pages reach no client, a power of 2.
USELESS_PAGES = 16


class PollWindow:
    """The window of one poller.

    :ivar size: pages that the last drain needed
    :ivar page: messages in a full answer, learned from the answers
    """

    __slots__ = ("_limit", "_pages", "page", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pages = 0
        self.page = DEFAULT_PAGE
        self.size = 1

    @property
    def deep(self) -> bool:
        """Whether the queue holds more than a page, so that several answers are likely to come together."""
        return self.size > 1 or self._pages > 0

    def asks(self, next_nonce: int, in_flight: Container[int]) -> list[int]:
        """The numbers to ask from now, nearest first: those of the window that nobody has asked yet."""
        deeper = self._pages - self.size
        room = -deeper if deeper < 0 else 1 << min(deeper, 16)
        if room == 1:
            return [] if next_nonce in in_flight else [next_nonce]
        wanted = range(next_nonce, next_nonce + min(room, self._limit) * self.page, self.page)
        return [nonce for nonce in wanted if nonce not in in_flight]

    def answered(self, count: int, end: bool | None, useful: bool = True) -> bool:
        """Take note of an answer that moved the cursor, or found its end.

        :param count: messages in it
        :param end: the canister's own word on whether the queue ends here; None when it says nothing
        :param useful: a message of it has reached a client
        :return: whether more is waiting
        """
        if end is None or not count:
            # an empty answer is the end, whatever the canister says: it would be asked again without a pause
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
