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
from typing import Any

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
        help_text: str,
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
        self.help = help_text
        self.kind = kind
        self.meter = meter
        self.label = label
        self.labels = dict(labels or {})

    @property
    def key(self) -> str:
        """The name with the constant labels: no other metric has the same."""
        return "".join((self.name, *(f";{name}={value}" for name, value in sorted(self.labels.items()))))

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


def counters_of(declared: Iterable[Declared]) -> dict[str, Any]:
    """What the counters and histograms have counted, as plain values, for the process that continues."""
    found: dict[str, Any] = {}
    for entry in declared:
        meter = entry.meter
        if isinstance(meter, Histogram):
            found[entry.key] = {"counts": list(meter.counts), "sum": meter.sum}
        elif entry.kind == "counter":
            found[entry.key] = dict(meter.values) if isinstance(meter, _WITH_LABELS) else meter.value
    return found


def continue_from(declared: Iterable[Declared], counted: Mapping[str, Any]) -> None:
    """Add what another process has counted, so that no counter steps back.

    :param counted: as :func:`counters_of` gives it; what this version does not know is left out
    """
    for entry in declared:
        before = counted.get(entry.key)
        meter = entry.meter
        if before is None:
            continue
        if isinstance(meter, Histogram):
            if len(before["counts"]) == len(meter.counts):
                meter.counts = [one + other for one, other in zip(meter.counts, before["counts"], strict=True)]
                meter.sum += before["sum"]
        elif isinstance(meter, Counter):
            meter.inc(before)
        elif isinstance(meter, LabelledCounter):
            for label, value in before.items():
                meter.inc(label, value)
        elif isinstance(meter, Gauge):
            meter.function = _after(before, meter.function)
        elif isinstance(meter, LabelledGauge):
            meter.function = _after_each(before, meter.function)


def _after(before: float, function: Callable[[], float | None] | None) -> Callable[[], float | None]:
    def total() -> float | None:
        return before + ((function() if function is not None else None) or 0)

    return total


def _after_each(
    before: Mapping[str, float], function: Callable[[], Mapping[str, float]]
) -> Callable[[], Mapping[str, float]]:
    def totals() -> Mapping[str, float]:
        now = function()
        return {label: before.get(label, 0) + now.get(label, 0) for label in {*before, *now}}

    return totals


_WITH_LABELS = (LabelledCounter, LabelledGauge, RankedGauge)


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
