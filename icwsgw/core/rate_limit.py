"""How much of something a peer may do: token buckets, with the time as an argument.

A bucket holds up to ``burst`` tokens and gains ``per_second`` of them; what is done takes tokens, and where there are
none it is one too many.

For the messages of clients the bucket is read lazily (:class:`ClientRates`): a connection counts down what it has and
looks at the clock only when that is used up, so that an ordinary message costs one subtraction and one comparison.
The tokens gained meanwhile are capped at that moment rather than all along, so that after a quiet time a client may do
up to two bursts at once instead of one. What it did too much stays as a debt, which it waits out with its socket not
read (TCP pushes back). Only what one read brings can grow a debt; a debt of more than a burst, and of more than an
honest client's read can bring, is a flood.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

#: Seconds' worth of tokens a client that is pushed back waits for, so that it is not stopped again at each message.
RESUME_SECONDS = 0.05

#: What one read of 64 KiB may bring of an honest client, whose messages have 300 bytes and more.
HONEST_FRAMES = 256.0
HONEST_BYTES = 65_536.0


class Rate(NamedTuple):
    """A bound on a rate.

    :ivar per_second: tokens gained each second, more than 0
    :ivar burst: the most that a bucket holds, at least 1
    """

    per_second: float
    burst: float

    def refilled(self, level: float, elapsed: float) -> float:
        """What is in a bucket after ``elapsed`` seconds; no more than a burst is gained, even where there is a debt."""
        gained = min(self.burst, max(0.0, elapsed) * self.per_second)
        return min(self.burst, level + gained)


class TokenBucket:
    """A token bucket, full at first.

    :ivar level: tokens at the time ``stamp``
    """

    __slots__ = ("_rate", "level", "stamp")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self.level = rate.burst
        self.stamp = now

    def take(self, now: float) -> bool:
        """Take a token; whether there was one."""
        self.level = self._rate.refilled(self.level, now - self.stamp)
        self.stamp = now
        if self.level < 1.0:
            return False
        self.level -= 1.0
        return True


class Buckets:
    """One bucket for each key, a bounded number of them; the key that was not seen for longest is forgotten first."""

    __slots__ = ("_by_key", "_most", "_rate")

    def __init__(self, rate: Rate, most: int = 65_536) -> None:
        self._rate = rate
        self._most = most
        self._by_key: dict[str, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def take(self, key: str, now: float) -> bool:
        """Take a token of a key's bucket; whether there was one."""
        bucket = self._by_key.pop(key, None) or TokenBucket(self._rate, now)
        self._by_key[key] = bucket
        if len(self._by_key) > self._most:
            del self._by_key[next(iter(self._by_key))]
        return bucket.take(now)


class RateDecision(NamedTuple):
    """What a connection may do that has used up its tokens.

    :ivar frames_left: tokens for frames now, below 0 as a debt
    :ivar bytes_left: tokens for bytes now
    :ivar pause: seconds for which it is not to be read
    :ivar limit: what it is stopped by, ``frames`` or ``bytes``; empty when it may go on
    :ivar flood: it owes more than any honest client would
    """

    frames_left: float
    bytes_left: float
    pause: float
    limit: str
    flood: bool


class ClientRates:
    """The bounds on what one client sends: frames, whatever they are, and bytes.

    :param frames: None for no bound
    :param octets: None for no bound
    :ivar first_frames: tokens of a new connection
    :ivar first_bytes: tokens of a new connection
    """

    __slots__ = ("_bytes", "_frames", "first_bytes", "first_frames")

    def __init__(self, frames: Rate | None, octets: Rate | None) -> None:
        self._frames = frames
        self._bytes = octets
        self.first_frames = frames.burst if frames is not None else inf
        self.first_bytes = octets.burst if octets is not None else inf

    def judge(self, frames_left: float, bytes_left: float, elapsed: float) -> RateDecision:
        """Look at the clock: what has been gained, and what is still owed.

        :param frames_left: tokens, or a debt below 0, as counted down since the last look
        :param elapsed: seconds since the last look
        """
        frames, frames_pause, frames_flood = _look(self._frames, frames_left, elapsed, HONEST_FRAMES)
        octets, bytes_pause, bytes_flood = _look(self._bytes, bytes_left, elapsed, HONEST_BYTES)
        pause = max(frames_pause, bytes_pause)
        limit = "" if not pause else "frames" if frames_pause >= bytes_pause else "bytes"
        return RateDecision(frames, octets, pause, limit, frames_flood or bytes_flood)


def _look(rate: Rate | None, left: float, elapsed: float, honest: float) -> tuple[float, float, bool]:
    if rate is None:
        return inf, 0.0, False
    left = rate.refilled(left, elapsed)
    if left >= 0:
        return left, 0.0, False
    return left, RESUME_SECONDS - left / rate.per_second, left < -max(rate.burst, honest)
