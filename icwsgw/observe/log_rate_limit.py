"""Log rate limit: a number of lines per minute for each reason and peer, then a count of the others.

A peer that is refused a thousand times a second must not cause a thousand lines a second, nor hide other peers' lines.
:class:`LogRateLimiter` decides which lines to write and, after each minute, returns how many were left out.
"""

from __future__ import annotations

WINDOW = 60.0

_OTHERS = "others"


class LogRateLimiter:
    """Decides which repeated lines are written.

    :param most: lines per minute for one reason and peer
    :param keys: largest number of pairs of reason and peer; further peers count together
    :ivar left_out: number of lines left out so far
    """

    __slots__ = ("_keys", "_most", "_seen", "left_out")

    def __init__(self, most: int = 10, keys: int = 1024) -> None:
        self._most = most
        self.left_out = 0
        self._keys = keys
        # (reason, peer) -> [start of its minute, lines so far]; oldest first
        self._seen: dict[tuple[str, str], list[float]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def allows(self, reason: str, peer: str, now: float) -> bool:
        """Count one line and return whether to write it; ``now`` in seconds."""
        key = (reason, peer)
        entry = self._seen.get(key)
        if entry is None:
            if len(self._seen) >= self._keys:
                key = (reason, _OTHERS)
                entry = self._seen.get(key)
            if entry is None:
                entry = self._seen[key] = [now, 0]
        entry[1] += 1
        if entry[1] <= self._most:
            return True
        self.left_out += 1
        return False

    def ended(self, now: float) -> list[tuple[str, str, int]]:
        """Forget the pairs whose minute is over; return (reason, peer, lines left out) for those over the limit."""
        over: list[tuple[str, str, int]] = []
        while self._seen:
            (reason, peer), (start, count) = next(iter(self._seen.items()))
            if now - start < WINDOW:
                break
            del self._seen[reason, peer]
            if count > self._most:
                over.append((reason, peer, int(count) - self._most))
        return over
