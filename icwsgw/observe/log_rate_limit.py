"""Log rate limit: so many lines a minute for each reason and peer, then a count.

A peer that is refused a thousand times a second must not write a thousand lines a second, nor hide other peers'
lines. :class:`LogRateLimiter` says which lines to write and, once their minute is over, how many were left out.
"""

from __future__ import annotations

WINDOW = 60.0

_OTHERS = "others"


class LogRateLimiter:
    """Decides which repeated lines are written.

    :param most: lines a minute for one reason and peer
    :param keys: pairs of reason and peer that are told apart; further peers count together
    :ivar left_out: lines that were not to be written so far
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
        """Whether to write one more line."""
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
        """Forget the pairs whose minute is over; (reason, peer, lines left out) of those that had too many."""
        over: list[tuple[str, str, int]] = []
        while self._seen:
            (reason, peer), (start, count) = next(iter(self._seen.items()))
            if now - start < WINDOW:
                break
            del self._seen[reason, peer]
            if count > self._most:
                over.append((reason, peer, int(count) - self._most))
        return over
