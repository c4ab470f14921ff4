"""Calls on their way: accepted, executed after a while, remembered until their envelope has expired.

A call is known by its request id: the same envelope again is the same call, whatever became of it. Calls are executed
in the order of their arrival, ``latency`` seconds after it, or with ``jitter`` in any order, as the IC allows itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random

from twisted.internet.defer import Deferred

from icwsgw.clock import Clock, Timer
from icwsgw.devnet.state_tree import StateTree
from icwsgw.errors import Rejected
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import leb128

#: Requests are swept out when they have expired for a while, at most this often.
_SWEEP_S = 10.0
_KEEP_NS = 60 * 1_000_000_000

Execute = Callable[[], bytes]
"""Runs the call: the reply, or raises Rejected."""


class Call:
    """One call by its request id.

    :ivar state: of the subnet that executes it
    :ivar sender: who may read its status
    :ivar done: whether it was executed
    """

    __slots__ = ("canister", "done", "execute", "expiry_ns", "request_id", "sender", "state", "waiters")

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
        self.execute = execute
        self.done = False
        self.waiters: list[Deferred[None]] = []


class Ingress:
    """All calls that the network knows.

    :param latency: seconds between acceptance and execution
    :param jitter: up to so many seconds more, at random; then order is lost
    """

    def __init__(
        self,
        clock: Clock,
        now_ns: Callable[[], int],
        random: Random,
        *,
        latency: float = 0.0,
        jitter: float = 0.0,
    ) -> None:
        self._clock = clock
        self._now_ns = now_ns
        self.latency = latency
        self.jitter = jitter
        self._random = random
        self._calls: dict[bytes, Call] = {}
        self._queue: deque[tuple[float, Call]] = deque()
        self._timer: Timer | None = None
        self._timers: set[Timer] = set()
        self._swept = clock.seconds()

    def __len__(self) -> int:
        return len(self._calls)

    def get(self, request_id: bytes) -> Call | None:
        """Return a call, if it is known."""
        return self._calls.get(request_id)

    def accept(self, call: Call) -> None:
        """Take a call that is not known yet; it is executed at once where there is no latency."""
        self._sweep()
        self._calls[call.request_id] = call
        if self.jitter:
            self._run_later(self.latency + self.jitter * self._random.random(), call)
        elif self.latency or self._queue:
            call.state.set_request(call.request_id, {b"status": b"received"})
            self._queue.append((self._clock.seconds() + self.latency, call))
            self._arm()
        else:
            self._run([call])

    def _run_later(self, delay: float, call: Call) -> None:
        call.state.set_request(call.request_id, {b"status": b"received"})

        def run() -> None:
            self._timers.discard(timer)
            self._run([call])

        timer = self._clock.callLater(delay, run)
        self._timers.add(timer)

    def _arm(self) -> None:
        if self._timer is None and self._queue:
            self._timer = self._clock.callLater(max(self._queue[0][0] - self._clock.seconds(), 0), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock.seconds() + 1e-6
        due = []
        while self._queue and self._queue[0][0] <= now:
            due.append(self._queue.popleft()[1])
        self._run(due)
        self._arm()

    def _run(self, calls: list[Call]) -> None:
        for call in calls:
            try:
                fields = {b"status": b"replied", b"reply": call.execute()}
            except Rejected as reject:
                fields = {
                    b"status": b"rejected",
                    b"reject_code": leb128(reject.code),
                    b"reject_message": reject.message.encode(),
                }
                if reject.error_code is not None:
                    fields[b"error_code"] = reject.error_code.encode()
            call.done = True
            call.state.set_request(call.request_id, fields)
        # Answered after all of them ran: one signature serves the whole block.
        for call in calls:
            waiters, call.waiters = call.waiters, []
            for waiter in waiters:
                waiter.callback(None)

    def wait(self, call: Call, timeout: float) -> Deferred[bool]:
        """Return whether the call was executed within a time, in seconds."""
        waiter: Deferred[None] = Deferred()
        result: Deferred[bool] = Deferred(lambda _: finish(False))

        def finish(done: bool) -> None:
            if timer.active():
                timer.cancel()
            if waiter in call.waiters:
                call.waiters.remove(waiter)
            if not result.called:
                result.callback(done)

        if call.done:
            result.callback(True)
            return result
        timer = self._clock.callLater(timeout, finish, False)
        waiter.addCallback(lambda _: finish(True))
        call.waiters.append(waiter)
        return result

    def _sweep(self) -> None:
        if self._clock.seconds() - self._swept < _SWEEP_S:
            return
        self._swept = self._clock.seconds()
        now = self._now_ns()
        for call in [call for call in self._calls.values() if call.done and call.expiry_ns + _KEEP_NS < now]:
            del self._calls[call.request_id]
            call.state.remove_request(call.request_id)

    def close(self) -> None:
        """Forget what was not executed."""
        for timer in (self._timer, *self._timers):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = None
        self._timers.clear()
        self._queue.clear()
