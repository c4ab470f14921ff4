"""The bounded queue of an application's messages that wait to be sent.

A message gets its sequence number when it leaves the queue, not when it enters. So a keep-alive, which the canister
awaits within a minute, and messages that the application sends first after a reconnection, go ahead of those that wait.
What waits when a connection ends is sent in the next session.
"""

from __future__ import annotations

from collections import OrderedDict

from icwsgw.client.client_errors import QueueFull


class OutgoingQueue:
    """Messages that wait, with their handles.

    :param max_messages: the most messages
    :param max_bytes: the most bytes of them; one message may be longer if it is alone
    :ivar size: bytes that wait
    """

    __slots__ = ("_first", "_messages", "max_bytes", "max_messages", "size")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.size = 0
        # by handle
        self._messages: OrderedDict[int, bytes] = OrderedDict()
        self._first: OrderedDict[int, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._messages) + len(self._first)

    def __contains__(self, handle: int) -> bool:
        return handle in self._messages or handle in self._first

    def put(self, handle: int, content: bytes, *, first: bool = False) -> None:
        """Add a message behind the others, or ahead of those that are not ``first`` themselves.

        :raises QueueFull: it does not fit; nothing is added
        """
        waiting = len(self)
        if waiting >= self.max_messages or (waiting and self.size + len(content) > self.max_bytes):
            raise QueueFull(
                f"{waiting} messages with {self.size} bytes wait to be sent",
                "Send less often, or several things in one message: a canister executes about one message of a client "
                "a second.",
            )
        (self._first if first else self._messages)[handle] = content
        self.size += len(content)

    def take(self) -> tuple[int, bytes] | None:
        """Remove and return the next message with its handle; None: none waits."""
        queue = self._first or self._messages
        if not queue:
            return None
        handle, content = queue.popitem(last=False)
        self.size -= len(content)
        return handle, content

    def remove(self, handle: int) -> None:
        """Remove a message; does nothing if it does not wait here."""
        queue = self._first if handle in self._first else self._messages
        self.size -= len(queue.pop(handle, b""))

    def handles(self) -> tuple[int, ...]:
        """Return the handles of the messages that wait, in their order."""
        return (*self._first, *self._messages)
