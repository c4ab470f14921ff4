"""One call: its execution, and the requests that wait for its outcome."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from icwsgw.devnet.state_tree import StateTree
from icwsgw.errors import Rejected
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import leb128
from icwsgw.reactor.clock import Clock

Execute = Callable[[], bytes]
"""Executes the call; returns the reply or raises Rejected."""


class SubmittedCall:
    """One call, identified by its request id.

    :ivar state: state of the subnet that executes the call
    :ivar sender: the principal that may read its status
    :ivar done: whether the call was executed
    :ivar block: height of the block that executed it, if blocks are made at intervals
    """

    __slots__ = (
        "_execute",
        "_waiters",
        "block",
        "canister",
        "done",
        "expiry_ns",
        "request_id",
        "sender",
        "state",
    )

    def __init__(
        self,
        state: StateTree,
        request_id: bytes,
        sender: Principal,
        canister: Principal,
        expiry_ns: int,
        execute: Execute,
    ) -> None:
        self.state = state
        self.request_id = request_id
        self.sender = sender
        self.canister = canister
        self.expiry_ns = expiry_ns
        self.done = False
        self.block: int | None = None
        self._execute = execute
        self._waiters: dict[int, list[Deferred[None]]] = {}

    def run(self) -> None:
        """Execute the call unless it was executed before, and write its outcome into the state."""
        if self.done:
            return
        try:
            fields = {b"status": b"replied", b"reply": self._execute()}
        except Rejected as reject:
            fields = {
                b"status": b"rejected",
                b"reject_code": leb128(reject.code),
                b"reject_message": reject.message.encode(),
            }
            if reject.error_code is not None:
                fields[b"error_code"] = reject.error_code.encode()
        self.done = True
        self.state.set_request(self.request_id, fields)

    # -- waiting --------------------------------------------------------------------------------------------------

    @property
    def awaited_at(self) -> list[int]:
        """The numbers of the nodes at which requests wait for the outcome."""
        return list(self._waiters)

    def tell(self, node: int) -> None:
        """Notify the requests that wait at a node: its certified state now contains the outcome."""
        for waiter in self._waiters.pop(node, []):
            waiter.callback(None)

    def wait(self, clock: Clock, timeout: float, node: int) -> Deferred[bool]:
        """Return whether the call's outcome enters a node's certified state within ``timeout`` seconds."""
        waiter: Deferred[None] = Deferred()
        result: Deferred[bool] = Deferred(lambda _: finish(False))

        def finish(done: bool) -> None:
            if timer.active():
                timer.cancel()
            waiters = self._waiters.get(node, [])
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiters[node]
            if not result.called:
                result.callback(done)

        timer = clock.callLater(timeout, finish, False)
        waiter.addCallback(lambda _: finish(True))
        self._waiters.setdefault(node, []).append(waiter)
        return result
