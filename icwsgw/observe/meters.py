"""Counters, gauges and histograms with cheap updates, and their collector for Prometheus.

The metrics of prometheus_client take a lock and several calls for each increment (0.5 to 1 us), and the gateway counts
several times per message. All updates here happen in the reactor's thread, so plain numbers are enough. The work is
done at each scrape: :class:`Exposition` is a custom collector that reads the plain values.

A label has a fixed set of values, declared with the metric. Any other value counts as ``other``, so no client, canister
or network can enlarge the scrape. Clients choose the ids of canisters; for a label with canister ids, a
:class:`Ranking` shows the greatest few and merges the rest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

OTHER = "other"


class Counter:
    """A count of events that only grows; time-critical code may use ``counter.value += 1``."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class LabelledCounter:
    """Counters with one label."""

    __slots__ = ("values",)

    def __init__(self, labels: Iterable[str]) -> None:
        self.values: dict[str, float] = dict.fromkeys(labels, 0)
        self.values[OTHER] = 0

    def inc(self, label: str, amount: float = 1) -> None:
        """Add ``amount`` to the counter of a label value; an undeclared value counts as ``other``."""
        if label in self.values:
            self.values[label] += amount
        else:
            self.values[OTHER] += amount


class Gauge:
    """A value that rises and falls, stored here or computed at each scrape; None is left out of the scrape."""

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
        """Set the function that computes the value at each scrape."""
        self.function = function


class LabelledGauge:
    """Gauges with one label, computed at each scrape."""

    __slots__ = ("_labels", "function")

    def __init__(self, labels: Iterable[str]) -> None:
        self._labels = tuple(labels)
        self.function: Callable[[], Mapping[str, float]] = dict

    def set_function(self, function: Callable[[], Mapping[str, float]]) -> None:
        """Set the function that computes the values by label at each scrape."""
        self.function = function

    @property
    def values(self) -> dict[str, float]:
        """Return the present values; those with undeclared labels are summed as ``other``."""
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


#: One figure of a row; None if it has no value at present.
Figure = float | None


class Ranking:
    """Rows of figures by canister, computed at each scrape: the rows with the greatest first figure, and the rest.

    Canisters are ordered by their first figure, and equal ones by name, so that the selection is stable.

    :param keep: number of canisters that are shown by name
    """

    __slots__ = ("function", "keep")

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.function: Callable[[], Mapping[str, Sequence[Figure]]] = dict

    def set_function(self, function: Callable[[], Mapping[str, Sequence[Figure]]]) -> None:
        """Set the function that computes the rows by name."""
        self.function = function

    def column(self, index: int, merge: Callable[[Iterable[float]], float]) -> dict[str, float]:
        """Return one figure of each row that is shown, and the merged figure of all others, if any, as ``other``."""
        rows = self.function()
        firsts = {name: row[0] or 0 for name, row in rows.items()}
        return fold({name: row[index] for name, row in rows.items()}, top(firsts, self.keep), merge)


def top(values: Mapping[str, float], count: int) -> list[str]:
    """Return the names of the ``count`` greatest values; equal values are ordered by name."""
    return nsmallest(count, values, key=lambda name: (-values[name], name))


def fold(
    values: Mapping[str, Figure], shown: Iterable[str], merge: Callable[[Iterable[float]], float]
) -> dict[str, float]:
    """Return the values of the shown names, and those of all others merged as ``other``; None is left out."""
    names = set(shown)
    kept = {name: value for name in shown if (value := values.get(name)) is not None}
    rest = [value for name, value in values.items() if name not in names and value is not None]
    if rest:
        kept[OTHER] = merge(rest)
    return kept


class RankedGauge:
    """One figure of a ranking.

    :param merge: merges the figures of the canisters that are not shown by name
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

#: Functions that merge the figures of several processes.
MERGES: Mapping[str, Callable[[Iterable[float]], float]] = {"sum": sum, "least": min, "greatest": max}


class Declared:
    """One declared metric.

    :ivar name: its name in Prometheus
    :ivar help: what it counts or measures
    :ivar kind: its type in Prometheus; a counter may have a gauge as its meter, if other code counts
    :ivar label: the label that distinguishes its series, if there are several
    :ivar labels: labels with constant values
    :ivar group: its heading in docs/metrics.md
    :ivar unit: what it counts; empty if the name says it
    :ivar advice: what to do when the value changes
    :ivar merge: how the figures of several workers are merged, a key of :data:`MERGES`
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
        """Return the metric family without values."""
        # prometheus_client appends _total to the name of a counter's family, and keeps other names.
        name = self.name.removesuffix("_total") if self.kind == "counter" else self.name
        return Metric(name, self.help, self.kind)

    def family(self) -> Metric:
        """Return the metric family with the present values of the meter."""
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
    """A collector that exposes declared metrics to a prometheus_client registry."""

    def __init__(self, declared: Sequence[Declared]) -> None:
        self._declared = declared

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with its present values."""
        for entry in self._declared:
            yield entry.family()

    def describe(self) -> Iterator[Metric]:
        """Yield the metrics without values, so that registration calls no functions of gauges."""
        for entry in self._declared:
            yield entry.empty_family()
