"""Token buckets, which limit rates; the time is an argument.

A bucket holds up to ``burst`` tokens and gains ``per_second``. An action takes a token; without one it exceeds the
limit.

For clients' messages the bucket is read lazily (:class:`ClientRates`): a connection counts its tokens down and looks at
the clock only when they are used up, so an ordinary message costs one subtraction and one comparison. Gained tokens are
capped at that moment, so a client may use up to two bursts at once after a quiet time. Tokens below 0 are a debt, and
the client's socket is not read until it is paid (TCP backpressure). Only what one read brings can add to a debt. A debt
of more than a burst, and of more than a read of an honest client can bring, is a flood.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

from icwsgw.core.written_state import Document, Written, read_as

#: Seconds' worth of tokens a client that is pushed back waits for, so that it is not stopped again at each message.
RESUME_SECONDS = 0.05

#: Frames that one read of 64 KiB may bring from an honest client, whose messages have at least 300 bytes.
HONEST_FRAMES = 256.0
HONEST_BYTES = 65_536.0


class Rate(NamedTuple):
    """A rate limit.

    :ivar per_second: tokens gained each second, more than 0
    :ivar burst: capacity of the bucket, at least 1
    """

    per_second: float
    burst: float

    def refilled(self, level: float, elapsed: float) -> float:
        """The tokens after ``elapsed`` seconds. At most a burst is gained, even if there is a debt."""
        gained = min(self.burst, max(0.0, elapsed) * self.per_second)
        return min(self.burst, level + gained)


class TokenBucket(Written):
    """A token bucket, full at first.

    :ivar level: tokens at the time ``stamp``
    """

    __slots__ = ("_rate", "level", "stamp")
    WRITTEN = {"level": float, "stamp": float}

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self.level = rate.burst
        self.stamp = now

    def take(self, now: float) -> bool:
        """Take a token; False if there is none."""
        self.level = self._rate.refilled(self.level, now - self.stamp)
        self.stamp = now
        if self.level < 1.0:
            return False
        self.level -= 1.0
        return True

    def full(self, now: float) -> bool:
        """Whether it is full, as a new one is."""
        return self._rate.refilled(self.level, now - self.stamp) >= self._rate.burst


class Buckets:
    """One bucket for each key, in a bounded table: the key that was not used for longest is dropped first."""

    __slots__ = ("_by_key", "_most", "_rate")

    def __init__(self, rate: Rate, most: int = 65_536) -> None:
        self._rate = rate
        self._most = most
        self._by_key: dict[str, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def take(self, key: str, now: float) -> bool:
        """Take a token of a key's bucket; False if there is none."""
        bucket = self._by_key.pop(key, None) or TokenBucket(self._rate, now)
        self._by_key[key] = bucket
        if len(self._by_key) > self._most:
            del self._by_key[next(iter(self._by_key))]
        return bucket.take(now)

    def written(self, now: float) -> Document:
        """The buckets that are not full, as plain values."""
        return {key: [bucket.level, bucket.stamp] for key, bucket in self._by_key.items() if not bucket.full(now)}

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the buckets of a document, the last ones if there are too many.

        :raises FormatError: a value is of the wrong kind
        """
        for key, (level, stamp) in list(document.items())[-self._most :]:
            bucket = self._by_key[key] = TokenBucket(self._rate, 0.0)
            bucket.level, bucket.stamp = read_as(float, level, "level"), read_as(float, stamp, "stamp")


class DebtBucket(Written):
    """A token bucket for what has happened already: it may owe tokens, and what it owes is paid by waiting.

    :ivar rate: the limit
    :ivar level: tokens at the time ``stamp``; below 0 for a debt
    """

    __slots__ = ("level", "rate", "stamp")
    WRITTEN = {"level": float, "stamp": float}

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self.level = rate.burst
        self.stamp = now

    def change(self, rate: Rate, now: float) -> None:
        """Apply another limit; a debt stays."""
        self.level = min(rate.burst, self.refill(now))
        self.rate = rate

    def refill(self, now: float) -> float:
        """The tokens now."""
        rate = self.rate
        self.level = min(rate.burst, self.level + max(0.0, now - self.stamp) * rate.per_second)
        self.stamp = now
        return self.level

    def spend(self, tokens: float, now: float) -> float:
        """Take tokens, whether they are there or not; returns those that are left."""
        self.level = self.refill(now) - tokens
        return self.level

    def wait(self, level: float) -> float:
        """Seconds after the last look until there are ``level`` tokens, which may not be more than the burst."""
        return max(0.0, (level - self.level) / self.rate.per_second)


class RateDecision(NamedTuple):
    """What a connection that has used up its tokens may do.

    :ivar frames_left: tokens for frames, below 0 for a debt
    :ivar bytes_left: tokens for bytes
    :ivar pause: seconds for which its socket is not read
    :ivar limit: which limit stops it, ``frames`` or ``bytes``; empty if none does
    :ivar flood: it owes more than any honest client would
    """

    frames_left: float
    bytes_left: float
    pause: float
    limit: str
    flood: bool


class ClientRates:
    """The limits on what one client sends: frames of all kinds, and bytes.

    :param frames: None: no limit
    :param octets: None: no limit
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
        """Add the tokens that were gained since the last look, and decide.

        :param frames_left: tokens as the connection has counted them down, below 0 for a debt
        :param bytes_left: the same for bytes
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
