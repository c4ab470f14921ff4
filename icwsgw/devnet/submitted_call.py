"""One call: its execution, and the requests that wait for its outcome."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from icwsgw.devnet.state_tree import StateTree
from icwsgw.errors import Rejected
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import leb128
from icwsgw.reactor.clock import Clock

_log = Logger()

Execute = Callable[[], "bytes | Deferred[bytes]"]
"""Executes the call; returns the reply, now or later, or raises or fails with Rejected."""


class SubmittedCall:
    """One call, identified by its request id.

    :ivar state: state of the subnet that executes the call
    :ivar sender: the principal that may read its status
    :ivar started: whether its execution has begun
    :ivar done: whether the call has an outcome
    :ivar keep_until_ns: when its status may be forgotten, ns since 1970, if it has an outcome
    :ivar block: height of the block that has the outcome, if blocks are made at intervals
    :ivar finished_later: called with the call when the outcome comes after :meth:`run` has returned
    """

    __slots__ = (
        "_execute",
        "_waiters",
        "block",
        "canister",
        "done",
        "expiry_ns",
        "finished_later",
        "keep_until_ns",
        "request_id",
        "sender",
        "started",
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
        self.keep_until_ns = expiry_ns
        self.started = False
        self.done = False
        self.finished_later: Callable[[SubmittedCall], object] = lambda call: None
        self.block: int | None = None
        self._execute = execute
        self._waiters: dict[int, list[Deferred[None]]] = {}

    def run(self) -> None:
        """Begin the execution of the call unless it has begun before, and write its outcome into the state.

        An exception other than Rejected is a mistake of this replica: it is logged, and the call is rejected with
        code 1 (SYS_FATAL), so that the other calls of the block are executed.
        """
        if self.started:
            return
        self.started = True
        try:
            outcome = self._execute()
        except Rejected as reject:
            self._finish(reject)
            return
        except Exception as error:
            self._finish(replica_failed(error))
            return
        if not isinstance(outcome, Deferred):
            self._finish(outcome)
            return
        self.state.set_request(self.request_id, {b"status": b"processing"})
        outcome.addCallbacks(self._finish_later, lambda failure: self._finish_later(failure.value))

    def _finish_later(self, outcome: bytes | BaseException) -> None:
        self._finish(outcome if isinstance(outcome, (bytes, Rejected)) else replica_failed(outcome))
        self.finished_later(self)

    def _finish(self, outcome: bytes | Rejected) -> None:
        if isinstance(outcome, Rejected):
            fields = {
                b"status": b"rejected",
                b"reject_code": leb128(outcome.code),
                b"reject_message": outcome.message.encode(),
            }
            if outcome.error_code is not None:
                fields[b"error_code"] = outcome.error_code.encode()
        else:
            fields = {b"status": b"replied", b"reply": outcome}
        self.done = True
        self.state.set_request(self.request_id, fields)

    # -- waiting --------------------------------------------------------------------------------------------------

    @property
    def awaited_at(self) -> list[int]:
        """The numbers of the nodes at which requests wait for the outcome."""
        return list(self._waiters)

    def notify(self, node: int) -> None:
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


def replica_failed(error: BaseException) -> Rejected:
    """Log an unexpected exception, and return the reject that the call gets."""
    _log.failure("the local replica failed to execute a call", Failure(error))
    return Rejected(1, f"The local replica failed: {type(error).__name__}: {error}")
