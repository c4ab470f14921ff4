"""How calls get into blocks: pools, gossip, makers, certificates (dfinity/ic, ``rs/ingress_manager``, ``rs/p2p``).

A call goes to the pool of the one node that a boundary node chose, and spreads from there: each other node comes to
know it up to ``gossip`` seconds later. Every ``interval`` seconds a block is made, by another node each time, which
takes what is in *its* pool in the order in which it came to know it (``ingress_selector.rs``), so that two calls of a
client may be executed in the other order. What a block did is certified when the next block is made, and nobody sees
it before: queries and reads are answered from a certified state. Nodes may be up to ``lag`` blocks behind.

All chance comes from the seed. Time is the clock's, so that it can be a test's.
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

#: Blocks that a node may be behind before the boundary nodes leave it out.
MAX_LAG: Final = 50
#: How many blocks a node keeps its distance to the newest, on average.
_STEADY_BLOCKS: Final = 16


@dataclass
class BlockTiming:
    """How blocks are made; times in seconds. May be changed while they are.

    :ivar interval: between two blocks; 0: there are no blocks, calls are executed when their latency has passed
    :ivar gossip: until a call is known to all nodes, at most
    :ivar lag: blocks that nodes may be behind, at most
    :raises ValueError: out of bounds
    """

    interval: float = 0.0
    gossip: float = 0.0
    lag: int = 0

    def __post_init__(self) -> None:
        if self.interval < 0 or self.gossip < 0 or not 0 <= self.lag <= MAX_LAG:
            raise ValueError(f"block interval and gossip are at least 0, lag is 0 to {MAX_LAG}")


class _Pending:
    """A call that is in no block yet.

    :ivar known_at: when each node came, or will come, to know it
    """

    __slots__ = ("call", "known_at")

    def __init__(self, call: SubmittedCall, known_at: list[float]) -> None:
        self.call = call
        self.known_at = known_at


class Consensus:
    """The blocks of one subnet.

    :ivar height: of the newest block whose state is certified
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
        self._certified: deque[Block] = deque(maxlen=MAX_LAG + 1)
        self._behind = [0] * len(self._nodes)
        self._seen = [0] * len(self._nodes)
        self._awaited: dict[SubmittedCall, None] = {}
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to make blocks; the state as it is now is certified."""
        self._certified.clear()
        self._certify(self._state.new_block(self._now_ns(), keep_views=True))
        self._arm()

    def stop(self) -> list[SubmittedCall]:
        """Make no more blocks; return the calls that are in none, or in one that is not certified."""
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
        """Put a call into the pool of a node, from where it spreads."""
        now = self._clock.seconds()
        known_at = [now + self._pace.gossip * self._random.random() for _ in self._nodes]
        known_at[node.number] = now
        for pending in self._pool:
            if pending.call is call:
                pending.known_at = list(map(min, pending.known_at, known_at))
                return
        self._pool.append(_Pending(call, known_at))

    def awaited(self, call: SubmittedCall) -> None:
        """Note that somebody waits for a call at a node."""
        self._awaited[call] = None

    def block_at(self, node: Node) -> Block:
        """Return the newest certified block that a node has."""
        height = max(self._seen[node.number], self.height - self._behind[node.number])
        oldest = self._certified[0].height
        return self._certified[max(height - oldest, 0)]

    def is_known(self, call: SubmittedCall, node: Node) -> bool:
        """Return whether the state that a node has tells of a call that was executed."""
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
            # What has expired is in no block.
            if call.expiry_ns > now_ns:
                call.run()
                call.block = self._state.height + 1
        return self._state.new_block(now_ns, keep_views=True)

    def _certify(self, block: Block) -> None:
        self._certified.append(block)
        for number, behind in enumerate(self._behind):
            self._seen[number] = max(self._seen[number], block.height - behind)
            # The first node is never behind, or a subnet might have none that is not.
            if number and self._random.random() * _STEADY_BLOCKS < 1:
                self._behind[number] = self._random.randint(0, self._pace.lag)

    def _answer(self) -> None:
        for call in self._awaited:
            for number in call.awaited_at:
                if self.is_known(call, self._nodes[number]):
                    call.tell(number)
        self._awaited = {call: None for call in self._awaited if call.awaited_at}
