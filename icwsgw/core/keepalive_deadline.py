"""Will a client's keep-alive be too late? Watches the clients that send faster than their calls are executed.

The canister acknowledges at intervals (AckMessage) and removes a client whose keep-alive has not been executed
:data:`KEEP_ALIVE_SECONDS` later. Each call takes a block or two, so behind a queue of messages, here or in the socket
that is not read, the keep-alive comes too late. The gateway then says so before the canister removes the client: the
canister's own close message gives no reason.
"""

from __future__ import annotations

#: How long the CDK waits for a keep-alive after an acknowledgement.
KEEP_ALIVE_SECONDS = 60.0
#: How long before that it is decided whether the keep-alive can still be in time.
MARGIN = 5.0


class KeepAliveDeadline:
    """The keep-alive that one client owes its canister.

    :ivar due: when it has to be executed, in seconds of the clock; None when none is owed
    :ivar expected: when the one that has come will have been executed; None when it has not come
    """

    __slots__ = ("due", "expected")

    def __init__(self) -> None:
        self.due: float | None = None
        self.expected: float | None = None

    def acknowledged(self, now: float) -> bool:
        """The canister's acknowledgement goes to the client.

        :return: whether a keep-alive is owed from now on; False: one was already
        """
        if self.due is not None:
            return False
        self.due, self.expected = now + KEEP_ALIVE_SECONDS, None
        return True

    def came(self, now: float, wait: float) -> None:
        """The client's keep-alive has come, and will have been executed in ``wait`` seconds."""
        if self.due is not None and self.expected is None:
            self.expected = now + wait

    def executed(self) -> None:
        """A keep-alive has been executed."""
        self.due = self.expected = None

    def verdict(self, now: float) -> float | None:
        """Whether the keep-alive will be too late.

        :return: seconds until the next look; 0: it will be too late; None: none is owed
        """
        if self.due is None:
            return None
        left = self.due - MARGIN - now
        if left > 0:
            return left
        if self.expected is not None and self.expected <= self.due and now < self.due:
            return max(self.due - now, 0.001)
        return 0.0
