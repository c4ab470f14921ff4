"""Calls in progress: accepted, executed after a while, remembered until their envelope expires.

A call is known by its request id: the same envelope again is the same call, whatever became of it. Where blocks are
made (:mod:`icwsgw.devnet.consensus`), calls wait for one. Otherwise they are executed in the order of their arrival,
``latency`` seconds after it, or with ``jitter`` in any order, as the IC allows itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import Random

from twisted.internet.defer import Deferred, succeed

from icwsgw.devnet.consensus import BlockTiming, Consensus
from icwsgw.devnet.state_tree import Block, StateTree
from icwsgw.devnet.submitted_call import SubmittedCall
from icwsgw.devnet.topology import Node
from icwsgw.reactor.clock import Clock, Timer

#: Requests are swept out when they have expired for a while, at most this often.
_SWEEP_S = 10.0
_KEEP_NS = 60 * 1_000_000_000


class Ingress:
    """All calls that the network knows.

    :param states: of all subnets
    :param latency: seconds between acceptance and execution, without blocks
    :param jitter: up to so many seconds more, at random; then order is lost
    """

    def __init__(
        self,
        clock: Clock,
        now_ns: Callable[[], int],
        random: Random,
        states: Iterable[StateTree] = (),
        *,
        latency: float = 0.0,
        jitter: float = 0.0,
    ) -> None:
        self._clock = clock
        self._now_ns = now_ns
        self.latency = latency
        self.jitter = jitter
        self.pace = BlockTiming()
        self._random = random
        self._calls: dict[bytes, SubmittedCall] = {}
        self._queue: deque[tuple[float, SubmittedCall]] = deque()
        self._timer: Timer | None = None
        self._timers: set[Timer] = set()
        self._swept = clock.seconds()
        self._subnets = {
            state.subnet.id: Consensus(clock, now_ns, state, self.pace, Random(f"{number} {random.random()}"))
            for number, state in enumerate(states)
        }

    def __len__(self) -> int:
        return len(self._calls)

    def set_pace(self, pace: BlockTiming) -> None:
        """Change how blocks are made; with an interval of 0 there are none, and what waits for one is executed."""
        self.pace.interval, self.pace.gossip, self.pace.lag = pace.interval, pace.gossip, pace.lag
        for subnet in self._subnets.values():
            if pace.interval and not subnet.running:
                subnet.start()
            elif not pace.interval and subnet.running:
                self._run(subnet.stop())

    def get(self, request_id: bytes) -> SubmittedCall | None:
        """Return a call, if it is known."""
        return self._calls.get(request_id)

    def certified(self, state: StateTree, node: Node) -> Block | None:
        """Return the certified block that a node has; None: there are no blocks, the state as it is."""
        subnet = self._subnets[state.subnet.id]
        return subnet.block_at(node) if subnet.running else None

    def height(self, state: StateTree) -> int:
        """Return the height of the newest certified state."""
        subnet = self._subnets[state.subnet.id]
        return subnet.height if subnet.running else state.height

    # -- acceptance -----------------------------------------------------------------------------------------------

    def accept(self, call: SubmittedCall, node: Node) -> None:
        """Take a call, new or again, at a node; it is executed at once where there is neither latency nor blocks."""
        subnet = self._subnets[call.state.subnet.id]
        known = self._calls.get(call.request_id)
        if known is not None:
            if subnet.running and not known.done:
                subnet.submit(known, node)
            return
        self._sweep()
        self._calls[call.request_id] = call
        if subnet.running:
            subnet.submit(call, node)
        elif self.jitter:
            self._run_later(self.latency + self.jitter * self._random.random(), call)
        elif self.latency or self._queue:
            call.state.set_request(call.request_id, {b"status": b"received"})
            self._queue.append((self._clock.seconds() + self.latency, call))
            self._arm()
        else:
            self._run([call])

    def _run_later(self, delay: float, call: SubmittedCall) -> None:
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

    def _run(self, calls: list[SubmittedCall]) -> None:
        for call in calls:
            call.run()
        # Answered after all of them ran: one signature serves the whole block.
        for call in calls:
            for node in call.awaited_at:
                call.tell(node)

    def wait(self, call: SubmittedCall, timeout: float, node: Node) -> Deferred[bool]:
        """Return whether a node's certified state tells of the call's end within a time, in seconds."""
        subnet = self._subnets[call.state.subnet.id]
        if subnet.is_known(call, node) if subnet.running else call.done:
            return succeed(True)
        if subnet.running:
            subnet.awaited(call)
        return call.wait(self._clock, timeout, node.number)

    def _sweep(self) -> None:
        if self._clock.seconds() - self._swept < _SWEEP_S:
            return
        self._swept = self._clock.seconds()
        now = self._now_ns()
        for call in [call for call in self._calls.values() if call.expiry_ns + _KEEP_NS < now and self._is_over(call)]:
            del self._calls[call.request_id]
            call.state.remove_request(call.request_id)

    def _is_over(self, call: SubmittedCall) -> bool:
        # What has expired is in no block; without blocks it is executed when its latency has passed.
        return call.done or self._subnets[call.state.subnet.id].running

    def close(self) -> None:
        """Forget what was not executed."""
        for timer in (self._timer, *self._timers):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = None
        self._timers.clear()
        self._queue.clear()
        for subnet in self._subnets.values():
            subnet.stop()
