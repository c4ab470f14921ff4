"""Counters, gauges and histograms that cost next to nothing to bump, and their way into a Prometheus scrape.

prometheus_client's own metrics take a lock and a call chain for each increment (0.5 to 1 us); the gateway
counts several times for each message. Everything here happens in the reactor's thread, so plain integers do.
The price is paid by the scrape: :class:`Exposition` is a custom collector that reads the plain values.

A label has a fixed set of values, declared with the metric; any other value counts as ``other``, so no
client, canister or network can grow the scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

OTHER = "other"


class Counter:
    """A number of events that only grows; ``counter.value += 1`` is fine where a call is too much."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Count."""
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
        """The present value."""
        return self._value if self.function is None else self.function()

    def set(self, value: float | None) -> None:
        """Set it."""
        self._value = value

    def inc(self, amount: float = 1) -> None:
        """Raise it."""
        self._value = (self._value or 0) + amount

    def dec(self, amount: float = 1) -> None:
        """Lower it."""
        self._value = (self._value or 0) - amount

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
        """Observations so far."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Take one observation."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


Meter = Counter | LabelledCounter | Gauge | LabelledGauge | Histogram


class Declared:
    """One declared metric: its name and words, its kind for Prometheus, its label and meter."""

    __slots__ = ("help", "kind", "label", "labels", "meter", "name")

    def __init__(
        self,
        name: str,
        words: str,
        kind: str,
        meter: Meter,
        label: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> None:
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
        elif isinstance(meter, (LabelledCounter, LabelledGauge)):
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
