"""Reorder buffer for a client's envelopes, by sequence number, with a time limit of a second.

The SDK can send two frames in the wrong order: its keep-alives bypass its queue, and signing with a WebCrypto key takes
a time that varies. A canister removes a client at the first wrong sequence number. So an envelope whose number is ahead
waits until those before it have arrived, at most :data:`HOLD_SECONDS`. An envelope whose number cannot be read, is
behind, or is far ahead is passed on as it arrives, and the canister decides.

A full buffer passes on all that waits, with the envelope that does not fit: the relay queue behind it is full next, and
the client's socket is not read. Where the messages of all clients leave no room, one envelope makes a buffer full: two
frames in the wrong order stay harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

#: Seconds that an envelope waits for those before it.
HOLD_SECONDS = 1.0
#: Maximum number of envelopes that wait for one client, and how far ahead they may be.
MOST_HELD = 16
#: Maximum number of bytes that wait for one client.
MOST_HELD_BYTES = 256 << 10

T = TypeVar("T")


class SequenceBuffer(Generic[T]):
    """The envelopes of one client that have arrived ahead of others.

    :ivar following: the next sequence number
    :ivar held: the waiting envelopes with their bytes, by sequence number; read-only
    :ivar octets: bytes of the waiting envelopes; read-only
    """

    __slots__ = ("following", "held", "octets")

    def __init__(self, following: int = 1) -> None:
        self.following = following
        self.held: dict[int, tuple[T, int]] = {}
        self.octets = 0

    def __len__(self) -> int:
        return len(self.held)

    def take(self, number: int, item: T, size: int, room: bool) -> Sequence[T]:
        """Take an envelope that has arrived, and give those that can be passed on now, in order.

        :param number: its sequence number
        :param size: its number of bytes
        :param room: whether the messages of all clients leave room for it
        """
        if number == self.following:
            self.following = number + 1
            return (item, *self._in_turn()) if self.held else (item,)
        ahead = number - self.following
        if 0 < ahead <= MOST_HELD and number not in self.held:
            if len(self.held) < (MOST_HELD if room else 1) and self.octets + size <= MOST_HELD_BYTES:
                self.held[number] = (item, size)
                self.octets += size
                return ()
            # It does not fit: pass it on with all that wait.
            self.held[number] = (item, size)
            return self.release()
        if ahead > 0:
            self.following = max(number, *self.held, number) + 1
            return (*self._drain(), item)
        return (item,)

    def hold(self, number: int, item: T, size: int) -> None:
        """Hold an envelope that another process has held before.

        :param number: its sequence number
        :param size: its bytes
        """
        self.held[number] = (item, size)
        self.octets += size

    def release(self) -> Sequence[T]:
        """Return all waiting envelopes in order, because those before them have not arrived in time."""
        if self.held:
            self.following = max(self.held) + 1
        return self._drain()

    def _in_turn(self) -> list[T]:
        found = []
        while self.following in self.held:
            item, size = self.held.pop(self.following)
            self.octets -= size
            self.following += 1
            found.append(item)
        return found

    def _drain(self) -> tuple[T, ...]:
        held, self.held = self.held, {}
        self.octets = 0
        return tuple(item for _, (item, _) in sorted(held.items()))
