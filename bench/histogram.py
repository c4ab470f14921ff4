"""A histogram with logarithmic buckets, like HdrHistogram: bounded error, bounded size, and mergeable.

Each power of two has 2**PRECISION buckets, so the width of a bucket is at most 1/128 (0.8 %) of its values. Values are
integers, usually nanoseconds; values below 2**PRECISION are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PRECISION = 7
_SUB = 1 << PRECISION
QUANTILES = (0.5, 0.9, 0.99, 0.999)


class Histogram:
    """Counts of values.

    :ivar count: number of values
    :ivar total: sum of the values
    :ivar least: the smallest value, 0 if there are none
    :ivar most: the greatest value
    """

    __slots__ = ("buckets", "count", "least", "most", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.least = 0
        self.most = 0

    def add(self, value: int) -> None:
        """Count a value; a negative one as 0."""
        if value < _SUB:
            value = max(value, 0)
            index = value
        else:
            shift = value.bit_length() - PRECISION - 1
            index = (shift << PRECISION) + (value >> shift)
        buckets = self.buckets
        buckets[index] = buckets.get(index, 0) + 1
        if value > self.most:
            self.most = value
        if not self.count or value < self.least:
            self.least = value
        self.count += 1
        self.total += value

    def update(self, values: Iterable[int]) -> None:
        """Count several values."""
        for value in values:
            self.add(value)

    def merge(self, other: Histogram) -> None:
        """Add another's counts."""
        if not other.count:
            return
        for index, count in other.buckets.items():
            self.buckets[index] = self.buckets.get(index, 0) + count
        self.least = min(self.least, other.least) if self.count else other.least
        self.most = max(self.most, other.most)
        self.count += other.count
        self.total += other.total

    @property
    def mean(self) -> float:
        """The mean; 0 if there are no values."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> int:
        """The quantile: a share of the values (0 < share <= 1) is at most this. Rounded up to the bucket's end."""
        if not self.count:
            return 0
        wanted = max(1, -int(-share * self.count // 1))
        seen = 0
        for index in sorted(self.buckets):
            seen += self.buckets[index]
            if seen >= wanted:
                return min(_upper(index), self.most)
        return self.most

    def curve(self) -> list[tuple[float, int]]:
        """(share of values, value) at each filled bucket, for plots."""
        seen = 0
        points = []
        for index in sorted(self.buckets):
            seen += self.buckets[index]
            points.append((seen / self.count, min(_upper(index), self.most)))
        return points

    def summary(self, unit: float = 1e6) -> dict[str, float]:
        """Count, mean, quantiles and maximum, in ``unit`` nanoseconds (1e6: milliseconds)."""

        def scaled(value: float) -> float:
            return round(value / unit, 3)

        names = {0.5: "p50", 0.9: "p90", 0.99: "p99", 0.999: "p999"}
        return {
            "count": self.count,
            "mean": scaled(self.mean),
            **{names[share]: scaled(self.quantile(share)) for share in QUANTILES},
            "max": scaled(self.most),
        }

    def to_json(self) -> dict[str, object]:
        """Return the whole histogram, for another process or a file."""
        return {
            "buckets": {str(index): count for index, count in sorted(self.buckets.items())},
            "total": self.total,
            "least": self.least,
            "most": self.most,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Histogram:
        """Read the output of :meth:`to_json`.

        :raises ValueError: the data has another form
        """
        made = cls()
        buckets, total, least, most = (data.get(name) for name in ("buckets", "total", "least", "most"))
        if not isinstance(buckets, dict) or not all(isinstance(number, int) for number in (total, least, most)):
            raise ValueError("not a histogram")
        assert isinstance(total, int)
        assert isinstance(least, int)
        assert isinstance(most, int)
        made.buckets = {int(index): int(count) for index, count in buckets.items()}
        made.count = sum(made.buckets.values())
        made.total, made.least, made.most = total, least, most
        return made


def _upper(index: int) -> int:
    """The greatest value of a bucket."""
    if index < 2 * _SUB:
        return index
    shift = (index >> PRECISION) - 1
    return ((_SUB + (index & (_SUB - 1)) + 1) << shift) - 1
