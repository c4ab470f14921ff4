"""Which calls have been relayed already, so that somebody who has seen one cannot have it relayed again.

A call is known by its request id, which its signature covers and no other form of the envelope changes. It is
remembered for as long as a replica would take it, and at most three times that long: ids are kept in two generations,
and when the younger one has had its time, or its bound, the older one is forgotten.
"""

from __future__ import annotations

from typing import Final

#: Seconds for which a call may be taken after it has been relayed: its expiry is at most 330 s ahead (facts 1.4).
VALID_SECONDS: Final = 360.0
#: Ids of a generation, 100 bytes each. Beyond, the older generation is forgotten early: it takes 278 calls a second.
MOST: Final = 100_000


class ReplayCache:
    """Remembers calls.

    :param seconds: for which each is remembered at least
    :param most: ids of a generation; twice as many are kept at most
    """

    def __init__(self, now: float, seconds: float = VALID_SECONDS, most: int = MOST) -> None:
        self._seconds = seconds
        self._most = most
        self._began = now
        self._younger: set[bytes] = set()
        self._older: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)

    def repeated(self, request: bytes, now: float) -> bool:
        """Whether a call has been seen before; it has from now on.

        :param request: its request id
        :param now: the time, seconds
        """
        if now - self._began >= 2 * self._seconds:
            # nobody asked for so long that both have had their time
            self._younger.clear()
        if now - self._began >= self._seconds or len(self._younger) >= self._most:
            self._began = now
            self._older, self._younger = self._younger, set()
        if request in self._younger or request in self._older:
            return True
        self._younger.add(request)
        return False
