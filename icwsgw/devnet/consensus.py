"""Simulates consensus: pools, gossip, block makers, certificates (dfinity/ic, ``rs/ingress_manager``, ``rs/p2p``).

The boundary node sends a call to one node, which adds it to its pool. Gossip brings it to each other node up to
``gossip`` seconds later. Every ``interval`` seconds, a randomly chosen node makes a block. It takes the calls in *its*
pool, in the order in which it received them (``ingress_selector.rs``). The network may therefore execute two calls of a
client in reverse order. The state after a block is certified when the next block is made. It is not visible earlier,
because nodes answer queries and reads from a certified state. Nodes may be up to ``lag`` blocks behind.

All random numbers come from the seed. Time comes from the clock, so that tests can control it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from icwsgw.devnet.state_tree import Block, StateTree
from icwsgw.devnet.submitted_call import SubmittedCall
from icwsgw.devnet.topology import Node
from icwsgw.reactor.clock import Clock, Timer

#: Maximum number of blocks that a node may be behind; boundary nodes do not use nodes that are further behind.
MAX_LAG: Final = 50
#: Average number of blocks for which a node's lag stays the same.
_STEADY_BLOCKS: Final = 16


@dataclass
class BlockTiming:
    """The timing of blocks. Times are in seconds; they may change while blocks are made.

    :ivar interval: the time between two blocks; 0: there are no blocks, and calls are executed after their latency
    :ivar gossip: the maximum time until all nodes have received a call
    :ivar lag: the maximum number of blocks that a node may be behind
    :raises ValueError: a value is out of bounds
    """

    interval: float = 0.0
    gossip: float = 0.0
    lag: int = 0

    def __post_init__(self) -> None:
        if self.interval < 0 or self.gossip < 0 or not 0 <= self.lag <= MAX_LAG:
            raise ValueError(f"block interval and gossip are at least 0, lag is 0 to {MAX_LAG}")


class _Pending:
    """A call that is not yet in a block.

    :ivar known_at: for each node, the clock's time at which it receives the call
    """

    __slots__ = ("call", "known_at")

    def __init__(self, call: SubmittedCall, known_at: list[float]) -> None:
        self.call = call
        self.known_at = known_at


class Consensus:
    """The blocks of one subnet.

    :ivar height: the height of the newest certified block
    """

    def __init__(
        self, clock: Clock, now_ns: Callable[[], int], state: StateTree, pace: BlockTiming, random: Random
    ) -> None:
        self._clock = clock
        self._now_ns = now_ns
        self._state = state
        self._pace = pace
        self._random = random
        self._nodes = state.subnet.nodes
        self._pool: list[_Pending] = []
        self._executed: Block | None = None
        # from the oldest that a node still answers from; with a WebAssembly canister, a block has a copy of its memory
        self._certified: deque[Block] = deque()
        self._behind = [0] * len(self._nodes)
        self._seen = [0] * len(self._nodes)
        self._awaited: dict[SubmittedCall, None] = {}
        self._timer: Timer | None = None

    def start(self) -> None:
        """Start to make blocks; the present state is certified at once."""
        self._certified.clear()
        self._certify(self._state.new_block(self._now_ns(), keep_views=True))
        self._arm()

    def stop(self) -> list[SubmittedCall]:
        """Stop making blocks; return the calls that are not in a certified block."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        left = [pending.call for pending in self._pool]
        left += [call for call in self._awaited if call.done]
        self._pool.clear()
        self._awaited.clear()
        self._executed = None
        return left

    @property
    def running(self) -> bool:
        return self._timer is not None

    @property
    def height(self) -> int:
        """The height of the newest certified block."""
        return self._certified[-1].height if self._certified else 0

    def submit(self, call: SubmittedCall, node: Node) -> None:
        """Add a call to the pool of a node; gossip brings it to the other nodes."""
        now = self._clock.seconds()
        known_at = [now + self._pace.gossip * self._random.random() for _ in self._nodes]
        known_at[node.number] = now
        for pending in self._pool:
            if pending.call is call:
                pending.known_at = list(map(min, pending.known_at, known_at))
                return
        self._pool.append(_Pending(call, known_at))

    def awaited(self, call: SubmittedCall) -> None:
        """Register a call for whose result a request waits."""
        self._awaited[call] = None

    def finished(self, call: SubmittedCall) -> None:
        """Put the outcome of a call that came after its block into the next one."""
        call.block = self._state.height + 1

    def block_at(self, node: Node) -> Block:
        """Return the newest certified block that a node has."""
        return self._certified[max(self._height_at(node.number) - self._certified[0].height, 0)]

    def is_known(self, call: SubmittedCall, node: Node) -> bool:
        """Return whether the node's certified state includes the call's execution."""
        return call.block is not None and call.block <= self.block_at(node).height

    # -- blocks ---------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        self._timer = self._clock.callLater(self._pace.interval, self._tick)

    def _tick(self) -> None:
        self._arm()
        if self._executed is not None:
            self._certify(self._executed)
        self._executed = self._make_block()
        self._answer()

    def _make_block(self) -> Block:
        now = self._clock.seconds() + 1e-9
        maker = self._random.randrange(len(self._nodes))
        taken = [pending for pending in self._pool if pending.known_at[maker] <= now]
        taken.sort(key=lambda pending: pending.known_at[maker])
        if taken:
            self._pool = [pending for pending in self._pool if pending.known_at[maker] > now]
        now_ns = self._now_ns()
        for pending in taken:
            call = pending.call
            # An expired call is not put into a block.
            if call.expiry_ns > now_ns:
                call.run()
                if call.done:
                    call.block = self._state.height + 1
        return self._state.new_block(now_ns, keep_views=True)

    def _certify(self, block: Block) -> None:
        self._certified.append(block)
        for number, behind in enumerate(self._behind):
            self._seen[number] = max(self._seen[number], block.height - behind)
            # The first node is never behind, so that each subnet has at least one such node.
            if number and self._random.random() * _STEADY_BLOCKS < 1:
                self._behind[number] = self._random.randint(0, self._pace.lag)
            self._behind[number] = min(self._behind[number], self._pace.lag)
        oldest = min(map(self._height_at, range(len(self._nodes))))
        while self._certified[0].height < oldest:
            self._certified.popleft()

    def _height_at(self, number: int) -> int:
        """Return the height of the newest certified block that a node has."""
        return max(self._seen[number], self.height - self._behind[number])

    def _answer(self) -> None:
        for call in self._awaited:
            for number in call.awaited_at:
                if self.is_known(call, self._nodes[number]):
                    call.notify(number)
        self._awaited = {call: None for call in self._awaited if call.awaited_at}
