"""Envelopes ahead of their turn wait for the missing one, a second at most.

The SDK can put two frames on the wire in the wrong order: its keep-alives bypass its queue, and signing with a
WebCrypto key takes a while that differs. A canister ends a client at the first wrong sequence number, so an envelope
whose number is ahead of the next one is held until those before it have come. Then, or after :data:`HOLD_SECONDS`, it
goes. What has no readable number, or one that is behind or far ahead, goes as it comes: the canister decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

#: How long an envelope waits for those before it.
HOLD_SECONDS = 1.0
#: Envelopes that are held for one client at most, and how far ahead they may be.
MOST_HELD = 16
#: Bytes that are held for one client at most.
MOST_HELD_BYTES = 256 << 10

T = TypeVar("T")


class SequenceBuffer(Generic[T]):
    """What one client has sent out of turn.

    :ivar following: the number that the next envelope in turn has
    :ivar held: those that wait, by their numbers, with their bytes; read-only
    """

    __slots__ = ("_octets", "following", "held")

    def __init__(self, following: int = 1) -> None:
        self.following = following
        self.held: dict[int, tuple[T, int]] = {}
        self._octets = 0

    def __len__(self) -> int:
        return len(self.held)

    def take(self, number: int, item: T, size: int) -> Sequence[T]:
        """Take what has come, and give what goes now, in order.

        :param size: its bytes
        """
        if number == self.following:
            self.following = number + 1
            return (item, *self._in_turn()) if self.held else (item,)
        ahead = number - self.following
        if 0 < ahead <= MOST_HELD and number not in self.held:
            if len(self.held) < MOST_HELD and self._octets + size <= MOST_HELD_BYTES:
                self.held[number] = (item, size)
                self._octets += size
                return ()
            # no room: it goes with all that is held
            self.held[number] = (item, size)
            return self.release()
        if ahead > 0:
            self.following = max(number, *self.held, number) + 1
            return (*self._drain(), item)
        return (item,)

    def release(self) -> Sequence[T]:
        """Give all that is held, in order of number; those before it have not come in time."""
        if self.held:
            self.following = max(self.held) + 1
        return self._drain()

    def _in_turn(self) -> list[T]:
        found = []
        while self.following in self.held:
            item, size = self.held.pop(self.following)
            self._octets -= size
            self.following += 1
            found.append(item)
        return found

    def _drain(self) -> tuple[T, ...]:
        held, self.held = self.held, {}
        self._octets = 0
        return tuple(item for _, (item, _) in sorted(held.items()))
