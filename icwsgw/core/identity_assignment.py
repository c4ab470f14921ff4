"""Chooses the identity of the gateway for a new client.

A canister keeps one queue for each gateway principal, and its work for a queue grows with the square of its clients
(decision 0018). So an identity should have at most about a thousand clients of one canister. But the handshake message
names the gateway principal before the client has named its canister. So the clients of all canisters count
together, and identities are filled one after the other, each up to :data:`TARGET` clients (first fit). Then no identity
has more than that many clients of one canister, canisters with few clients are polled under few identities, and when
clients leave, the lower identities fill up again and the upper ones become idle.

If all are full, two identities are drawn and the one with fewer clients is taken. That is nearly as even as taking the
least loaded of all, but makes no patterns when clients connect in step (two canisters from each page).
"""

from __future__ import annotations

from typing import Final

#: Number of clients of one identity, of all canisters, before the next identity is used.
TARGET: Final = 1000


class IdentityAssignment:
    """Counts the clients of each identity.

    :param inherited: number of further identities, whose clients came from another process; no new client gets one
    :ivar loads: number of clients by identity
    """

    __slots__ = ("_count", "_target", "loads")

    def __init__(self, identities: int, target: int = TARGET, inherited: int = 0) -> None:
        self._target = target
        self._count = identities
        self.loads = [0] * (identities + inherited)

    def take(self, chance: float) -> int:
        """Choose the identity of a new client, and count the client.

        :param chance: a random number in [0, 1)
        """
        loads, count = self.loads, self._count
        target = self._target
        index = next((index for index in range(count) if loads[index] < target), -1)
        if index < 0:
            one, other = divmod(int(chance * count * count), count)
            index = one if loads[one] <= loads[other] else other
        loads[index] += 1
        return index

    def leave(self, index: int) -> None:
        """A client has left.

        :param index: the index of its identity, from 0
        """
        self.loads[index] -= 1
