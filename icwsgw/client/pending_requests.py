"""Matches replies with requests: the first message that a request's condition accepts is its reply.

Canisters answer with messages, and the application decides which belongs to which request. Requests are checked in the
order in which they were made. A reply is not given to the application as a message as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from icwsgw.client.client_errors import QueueFull

#: The most requests of one client that wait for a reply.
MAX_REQUESTS: Final = 10_000


class PendingRequests:
    """The requests of one client that wait for a reply."""

    def __init__(self) -> None:
        self._waiting: dict[object, tuple[Callable[[Any], bool], Callable[[Any], None]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: object, matches: Callable[[Any], bool], resolve: Callable[[Any], None]) -> None:
        """Add a request.

        :param key: identifies it
        :param matches: whether a message is its reply
        :param resolve: is called with the reply
        :raises QueueFull: too many wait
        """
        if len(self._waiting) >= MAX_REQUESTS:
            raise QueueFull(f"{MAX_REQUESTS} requests wait for a reply", "Give requests a time limit.")
        self._waiting[key] = (matches, resolve)

    def remove(self, key: object) -> None:
        """Forget a request; does nothing if it is not here."""
        self._waiting.pop(key, None)

    def take(self, message: Any) -> bool:
        """Give a message to the request that it answers, and return whether there is one."""
        for key, (matches, resolve) in list(self._waiting.items()):
            if matches(message):
                self.remove(key)
                resolve(message)
                return True
        return False

    def take_all(self) -> list[object]:
        """Forget all requests and return their keys, because their session has ended."""
        keys = list(self._waiting)
        self._waiting.clear()
        return keys
