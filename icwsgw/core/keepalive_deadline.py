"""Predicts whether a client's keep-alive will reach its canister too late.

The canister sends acknowledgements at intervals and removes a client whose keep-alive was not executed within
:data:`KEEP_ALIVE_SECONDS` after one. Each call takes a block or two, so a keep-alive behind a long queue, in the relay
queue or in a socket that is not read, comes too late. The gateway then ends the session with a reason before the
canister removes the client; the canister's close message would give none.

A client is watched from the moment when it has to wait. The watch is over when the client owes no keep-alive and has
not waited for :data:`AFTER_WAIT_SECONDS`. A client that is too fast has to wait again before that.
"""

from __future__ import annotations

from icwsgw.core.written_state import Written

#: Seconds that the CDK waits for a keep-alive after an acknowledgement.
KEEP_ALIVE_SECONDS = 60.0
#: Seconds before that when the decision is made.
MARGIN = 5.0
#: Seconds after a wait in which messages may arrive that have waited: in the socket, or at the client.
AFTER_WAIT_SECONDS = 5.0


class KeepAliveDeadline(Written):
    """The keep-alive that one client owes its canister.

    :ivar due: seconds when it has to be executed; None if none is owed
    :ivar expected: seconds when it will probably be executed; None if it has not arrived here
    :ivar room_since: seconds when the client was first seen not to wait; None if it waits, or has not been seen since
    """

    __slots__ = ("due", "expected", "room_since")
    WRITTEN = {"due": float, "expected": float, "room_since": float}

    def __init__(self) -> None:
        self.due: float | None = None
        self.expected: float | None = None
        self.room_since: float | None = None

    def waits(self) -> None:
        """The client has to wait from now on: it is not read."""
        self.room_since = None

    def over(self, now: float, waits: bool) -> bool:
        """Whether the client need not be watched any more.

        :param waits: whether it has to wait now
        """
        if waits:
            self.room_since = None
            return False
        if self.room_since is None:
            self.room_since = now
        return self.due is None and now >= self.room_since + AFTER_WAIT_SECONDS

    def acknowledged(self, now: float) -> bool:
        """An acknowledgement is sent to the client.

        :return: whether the client owes a keep-alive from now on; False if it owed one before
        """
        if self.due is not None:
            return False
        self.due, self.expected = now + KEEP_ALIVE_SECONDS, None
        return True

    def came(self, now: float, wait: float) -> None:
        """The client's keep-alive has arrived; it will be executed in about ``wait`` seconds."""
        if self.due is not None and self.expected is None:
            self.expected = now + wait

    def executed(self) -> None:
        """A keep-alive was executed."""
        self.due = self.expected = None

    def verdict(self, now: float) -> float | None:
        """Whether the keep-alive will be too late.

        :return: seconds until the next check; 0: it will be too late; None: none is owed
        """
        if self.due is None:
            return None
        left = self.due - MARGIN - now
        if left > 0:
            return left
        if self.expected is not None and self.expected <= self.due and now < self.due:
            return max(self.due - now, 0.001)
        return 0.0
