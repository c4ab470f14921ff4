"""Which of the gateway's identities a new client gets.

A canister keeps one queue for each gateway principal, and its work for a queue grows with the square of the clients in
it (decision 0018), so no identity should have more than about a thousand clients of one canister. But a client is told
its gateway principal in the handshake, before anybody knows which canister it wants. So clients of all canisters count
together, and identities are filled one after the other: each to :data:`TARGET` clients, first fit. Then no identity has
more clients of any canister than the target; canisters with few clients are polled under few identities; and when
clients leave, the lower identities fill up again and the upper ones fall idle.

When all are full, of two identities chosen by chance the one with fewer clients is taken: nearly as even as taking the
least loaded, without the patterns that clients connecting in step (two canisters from each page) would make of it.
"""

from __future__ import annotations

from typing import Final

#: Clients of one identity, whatever their canisters, before the next identity is used.
TARGET: Final = 1000


class IdentityAssignment:
    """Counts the clients of each identity.

    :ivar loads: clients by identity index
    """

    __slots__ = ("_target", "loads")

    def __init__(self, identities: int, target: int = TARGET) -> None:
        self._target = target
        self.loads = [0] * identities

    def take(self, chance: float) -> int:
        """Give the identity index of a new client, and count the client.

        :param chance: a random number in [0, 1)
        """
        loads = self.loads
        target = self._target
        index = next((index for index, load in enumerate(loads) if load < target), -1)
        if index < 0:
            count = len(loads)
            one, other = divmod(int(chance * count * count), count)
            index = one if loads[one] <= loads[other] else other
        loads[index] += 1
        return index

    def leave(self, index: int) -> None:
        """A client of that identity has gone."""
        self.loads[index] -= 1
