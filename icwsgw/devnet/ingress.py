"""The calls of the network: accepted, executed after a delay, and kept until they have ended and are no longer valid.

The request id identifies a call: a resubmitted envelope is the same call, whatever its state. If blocks are made
(:mod:`icwsgw.devnet.consensus`), calls wait for a block. Otherwise each is executed ``latency`` seconds after its
arrival, in the order of arrival; with ``jitter`` the order is random, which the IC permits.
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

#: Minimum time between two removals of old calls (s); time for which calls are kept after their expiry and end (ns).
_SWEEP_S = 10.0
_KEEP_NS = 60 * 1_000_000_000


class Ingress:
    """All calls that the network has received.

    :param states: the states of all subnets
    :param latency: seconds between acceptance and execution, if there are no blocks
    :param jitter: the maximum random delay in addition, in seconds; if above 0, calls are not executed in order
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
        """Change the timing of blocks; an interval of 0 stops blocks and executes the calls that wait for one."""
        self.pace.interval, self.pace.gossip, self.pace.lag = pace.interval, pace.gossip, pace.lag
        for subnet in self._subnets.values():
            if pace.interval and not subnet.running:
                subnet.start()
            elif not pace.interval and subnet.running:
                self._run(subnet.stop())

    def get(self, request_id: bytes) -> SubmittedCall | None:
        """Return the call with this request id, or None."""
        return self._calls.get(request_id)

    def certified(self, state: StateTree, node: Node) -> Block | None:
        """Return the newest certified block that a node has; None if there are no blocks: use the present state."""
        subnet = self._subnets[state.subnet.id]
        return subnet.block_at(node) if subnet.running else None

    def height(self, state: StateTree) -> int:
        """Return the height of the newest certified state."""
        subnet = self._subnets[state.subnet.id]
        return subnet.height if subnet.running else state.height

    # -- acceptance -----------------------------------------------------------------------------------------------

    def accept(self, call: SubmittedCall, node: Node) -> None:
        """Accept a new or resubmitted call at a node; without latency and blocks, a new call is executed at once."""
        subnet = self._subnets[call.state.subnet.id]
        known = self._calls.get(call.request_id)
        if known is not None:
            if subnet.running and not known.done:
                subnet.submit(known, node)
            return
        self._sweep()
        self._calls[call.request_id] = call
        call.keep_until_ns = call.expiry_ns + _KEEP_NS
        call.finished_later = self._finished_later
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
        # Answer after all calls have run, so that one signature covers the whole block.
        for call in calls:
            if call.done:
                self._report(call)

    @staticmethod
    def _report(call: SubmittedCall) -> None:
        for node in call.awaited_at:
            call.notify(node)

    def _finished_later(self, call: SubmittedCall) -> None:
        # The canister may have waited until the envelope had expired.
        call.keep_until_ns = max(call.keep_until_ns, self._now_ns() + _KEEP_NS)
        subnet = self._subnets[call.state.subnet.id]
        if subnet.running:
            subnet.finished(call)
        else:
            self._report(call)

    def wait(self, call: SubmittedCall, timeout: float, node: Node) -> Deferred[bool]:
        """Wait until a node's certified state includes the call's result.

        :param timeout: time limit in seconds
        :return: fires with whether that happened within the time limit
        """
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
        for call in [call for call in self._calls.values() if call.keep_until_ns < now and self._is_over(call)]:
            del self._calls[call.request_id]
            call.state.remove_request(call.request_id)

    def _is_over(self, call: SubmittedCall) -> bool:
        # With blocks, an expired call is never executed; without blocks, it is executed after its latency.
        return call.done if call.started else self._subnets[call.state.subnet.id].running

    def close(self) -> None:
        """Discard the calls that were not executed, and cancel all timers."""
        for timer in (self._timer, *self._timers):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = None
        self._timers.clear()
        self._queue.clear()
        for subnet in self._subnets.values():
            subnet.stop()
