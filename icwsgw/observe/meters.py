"""Counters, gauges and histograms that cost next to nothing to bump, and their way into a Prometheus scrape.

prometheus_client's own metrics take a lock and a call chain for each increment (0.5 to 1 us); the gateway
counts several times for each message. Everything here happens in the reactor's thread, so plain integers do.
The price is paid by the scrape: :class:`Exposition` is a custom collector that reads the plain values.

A label has a fixed set of values, declared with the metric; any other value counts as ``other``, so no
client, canister or network can grow the scrape. Where a label names canisters, whose ids clients choose, a
:class:`Ranking` shows the greatest few and sums up the rest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

OTHER = "other"


class Counter:
    """A number of events that only grows; ``counter.value += 1`` is fine where a call is too much."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class LabelledCounter:
    """Counters told apart by one label."""

    __slots__ = ("values",)

    def __init__(self, labels: Iterable[str]) -> None:
        self.values: dict[str, float] = dict.fromkeys(labels, 0)
        self.values[OTHER] = 0

    def inc(self, label: str, amount: float = 1) -> None:
        """Count under a label; an undeclared one counts as ``other``."""
        if label in self.values:
            self.values[label] += amount
        else:
            self.values[OTHER] += amount


class Gauge:
    """A quantity that rises and falls, kept here or asked for at each scrape; None is left out of the scrape."""

    __slots__ = ("_value", "function")

    def __init__(self) -> None:
        self._value: float | None = 0
        self.function: Callable[[], float | None] | None = None

    @property
    def value(self) -> float | None:
        return self._value if self.function is None else self.function()

    def set(self, value: float | None) -> None:
        self._value = value

    def set_function(self, function: Callable[[], float | None]) -> None:
        """Ask ``function`` at each scrape from now on."""
        self.function = function


class LabelledGauge:
    """Gauges told apart by one label, asked for at each scrape."""

    __slots__ = ("_labels", "function")

    def __init__(self, labels: Iterable[str]) -> None:
        self._labels = tuple(labels)
        self.function: Callable[[], Mapping[str, float]] = dict

    def set_function(self, function: Callable[[], Mapping[str, float]]) -> None:
        """Ask ``function`` for the values by label at each scrape from now on."""
        self.function = function

    @property
    def values(self) -> dict[str, float]:
        """The present values; what is undeclared is summed up as ``other``."""
        found = self.function()
        values = {label: found.get(label, 0) for label in self._labels}
        rest = sum(value for label, value in found.items() if label not in values)
        if rest:
            values[OTHER] = rest
        return values


class Histogram:
    """Counts of observations up to each bound, and their sum."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self.counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    @property
    def bounds(self) -> tuple[float, ...]:
        """Upper bounds of the buckets, without the last, infinite one."""
        return self._bounds

    @property
    def count(self) -> int:
        return sum(self.counts)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


#: One figure of a row, None where there is none at present.
Figure = float | None


class Ranking:
    """Rows of figures by canister, asked for at each scrape: the greatest by their first figure, and the rest.

    Canisters are compared by their first figure and, where it is equal, by name, so that the same ones are shown as
    long as nothing changes.

    :param keep: how many are shown by name
    """

    __slots__ = ("function", "keep")

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.function: Callable[[], Mapping[str, Sequence[Figure]]] = dict

    def set_function(self, function: Callable[[], Mapping[str, Sequence[Figure]]]) -> None:
        """Ask ``function`` for the rows by name from now on."""
        self.function = function

    def column(self, index: int, merge: Callable[[Iterable[float]], float]) -> dict[str, float]:
        """One figure of each row that is shown, and of the others together as ``other``, if there are any."""
        rows = self.function()
        firsts = {name: row[0] or 0 for name, row in rows.items()}
        return fold({name: row[index] for name, row in rows.items()}, top(firsts, self.keep), merge)


def top(values: Mapping[str, float], count: int) -> list[str]:
    """The names of the ``count`` greatest values; of equal ones the first by name."""
    return nsmallest(count, values, key=lambda name: (-values[name], name))


def fold(
    values: Mapping[str, Figure], shown: Iterable[str], merge: Callable[[Iterable[float]], float]
) -> dict[str, float]:
    """The values of the names that are shown, and those of all others merged into ``other``; None is left out."""
    names = set(shown)
    kept = {name: value for name in shown if (value := values.get(name)) is not None}
    rest = [value for name, value in values.items() if name not in names and value is not None]
    if rest:
        kept[OTHER] = merge(rest)
    return kept


class RankedGauge:
    """One figure of a ranking.

    :param merge: makes one figure of those that are not shown by name
    """

    __slots__ = ("_index", "_merge", "_ranking")

    def __init__(self, ranking: Ranking, index: int, merge: Callable[[Iterable[float]], float] = sum) -> None:
        self._ranking = ranking
        self._index = index
        self._merge = merge

    @property
    def values(self) -> dict[str, float]:
        return self._ranking.column(self._index, self._merge)


Meter = Counter | LabelledCounter | Gauge | LabelledGauge | RankedGauge | Histogram

#: How one figure is made of those of several processes.
MERGES: Mapping[str, Callable[[Iterable[float]], float]] = {"sum": sum, "least": min, "greatest": max}


class Declared:
    """One declared metric.

    :ivar name: as Prometheus knows it
    :ivar help: what it counts or measures
    :ivar kind: its type for Prometheus; a gauge's meter may stand for a counter that somebody else counts
    :ivar label: the label that tells its series apart, if there are several
    :ivar labels: labels that never change
    :ivar group: its heading in docs/metrics.md
    :ivar unit: what it counts; empty where the name says it
    :ivar advice: what to do when it moves
    :ivar merge: how it is made of several workers' figures, one of :data:`MERGES`
    """

    __slots__ = ("advice", "group", "help", "kind", "label", "labels", "merge", "meter", "name", "unit")

    def __init__(
        self,
        name: str,
        words: str,
        kind: str,
        meter: Meter,
        label: str = "",
        labels: Mapping[str, str] | None = None,
        *,
        group: str = "",
        unit: str = "",
        advice: str = "",
        merge: str = "sum",
    ) -> None:
        self.group = group
        self.unit = unit
        self.advice = advice
        self.merge = merge
        self.name = name
        self.help = words
        self.kind = kind
        self.meter = meter
        self.label = label
        self.labels = dict(labels or {})

    def empty_family(self) -> Metric:
        """Give the name, kind and words without values."""
        # prometheus_client adds _total to a counter's family itself, and keeps other names as they are.
        name = self.name.removesuffix("_total") if self.kind == "counter" else self.name
        return Metric(name, self.help, self.kind)

    def family(self) -> Metric:
        """Read the meter into samples."""
        meter = self.meter
        metric = self.empty_family()
        if isinstance(meter, Histogram):
            total = 0
            for bound, count in zip((*map(_bound, meter.bounds), "+Inf"), meter.counts, strict=True):
                total += count
                metric.add_sample(f"{self.name}_bucket", {"le": bound}, total)
            metric.add_sample(f"{self.name}_count", {}, total)
            metric.add_sample(f"{self.name}_sum", {}, meter.sum)
        elif isinstance(meter, (LabelledCounter, LabelledGauge, RankedGauge)):
            for label, value in meter.values.items():
                metric.add_sample(self.name, {self.label: label}, value)
        elif (single := meter.value) is not None:
            metric.add_sample(self.name, self.labels, single)
        return metric


def _bound(bound: float) -> str:
    return repr(float(bound))


class Exposition(Collector):
    """Shows declared metrics to a prometheus_client registry."""

    def __init__(self, declared: Sequence[Declared]) -> None:
        self._declared = declared

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with its present values."""
        for entry in self._declared:
            yield entry.family()

    def describe(self) -> Iterator[Metric]:
        """Yield the names without values, so that registering asks no callback."""
        for entry in self._declared:
            yield entry.empty_family()
