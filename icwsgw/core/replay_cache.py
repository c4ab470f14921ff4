"""Remembers relayed calls, so that an envelope that others have seen cannot be relayed again.

A call is recognised by its request id, which the signature covers and which is the same for every encoding of the
envelope. An id is kept for as long as a replica would accept the call, and at most three times as long: ids are in two
generations, and when the younger one is old or large enough, the older one is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from icwsgw.core.written_state import Written

#: Seconds for which a relayed call may still be accepted: its ingress expiry is at most 330 s ahead.
VALID_SECONDS: Final = 360.0
#: Maximum number of ids in a generation, 100 bytes each. More drop the older generation early; that takes 278 calls a
#: second.
MOST: Final = 100_000


class ReplayCache(Written):
    """The calls that were relayed.

    :param seconds: how long each is remembered at least
    :param most: maximum number of ids in a generation; there are two
    """

    WRITTEN = {"_began": float, "_younger": set, "_older": set}

    def __init__(self, now: float, seconds: float = VALID_SECONDS, most: int = MOST) -> None:
        self._seconds = seconds
        self._most = most
        self._began = now
        self._younger: set[bytes] = set()
        self._older: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the state of a document, and keep what is known: several processes may hand over to one.

        :raises FormatError: a value is of the wrong kind
        """
        began, younger, older = self._began, self._younger, self._older
        super().read(document)
        if younger or older:
            self._began = max(began, self._began)
            self._younger |= younger
            self._older |= older

    def repeated(self, request: bytes, now: float) -> bool:
        """Whether a call was relayed before; from now on it counts as relayed.

        :param request: its request id
        :param now: monotonic seconds
        """
        if now - self._began >= 2 * self._seconds:
            # nothing was relayed for so long that both are old
            self._younger.clear()
        if now - self._began >= self._seconds or len(self._younger) >= self._most:
            self._began = now
            self._older, self._younger = self._younger, set()
        if request in self._younger or request in self._older:
            return True
        self._younger.add(request)
        return False
