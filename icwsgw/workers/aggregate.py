"""Metrics of several processes as those of one.

A worker reports what a scrape of it would show. Counters, histograms and most gauges are summed; a few gauges are no
amounts and take the least or the greatest; what the operating system says about a process is told apart by a
``worker`` label, whose values are as many as there are workers.

A counter may never fall. So what a worker had counted stays in the sums when it has ended: with its last report, or
with the last one before it died, since which a few seconds' counts are lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

#: A family as JSON: name, words, type, samples of (name, labels, value).
Family = list[Any]

#: Gauges that are no amounts.
LEAST: Final = frozenset({"icws_network_ready", "icws_tls_certificate_expiry_seconds"})
GREATEST: Final = frozenset({"icws_draining", "icws_build_info"})

_PER_PROCESS = "process_"
_Key = tuple[str, tuple[tuple[str, str], ...]]


def snapshot(registry: CollectorRegistry) -> list[Family]:
    """What a scrape of ``registry`` would show, as JSON has it."""
    return [
        [metric.name, metric.documentation, metric.type, [[s.name, s.labels, s.value] for s in metric.samples]]
        for metric in registry.collect()
    ]


class Aggregate(Collector):
    """The sums; shows them to a prometheus_client registry."""

    def __init__(self) -> None:
        self._latest: dict[str, list[Family]] = {}
        self._ended: dict[str, _Sum] = {}

    def report(self, worker: str, families: list[Family]) -> None:
        """Take a worker's report in place of its last."""
        self._latest[worker] = families

    def ended(self, worker: str) -> None:
        """A worker's process has ended: its gauges are gone, its counts stay."""
        for family in self._latest.pop(worker, []):
            name, _, kind, _ = family
            if kind != "gauge" and not name.startswith(_PER_PROCESS):
                self._ended.setdefault(name, _Sum(family)).add(family)

    def value(self, sample: str) -> float:
        """The sum over all labels of a sample of living workers, by name."""
        return sum(
            float(value)
            for families in self._latest.values()
            for family in families
            for name, _, value in family[3]
            if name == sample
        )

    def collect(self) -> Iterator[Metric]:
        """Yield the sums."""
        sums: dict[str, _Sum] = {}
        for name, ended in self._ended.items():
            sums[name] = _Sum(ended.family)
            sums[name].values.update(ended.values)
        for worker, families in sorted(self._latest.items()):
            for family in families:
                name = family[0]
                if name not in sums:
                    sums[name] = _Sum(family)
                sums[name].add(family, {"worker": worker} if name.startswith(_PER_PROCESS) else {})
        for entry in sums.values():
            yield entry.metric()

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are known once workers have reported."""
        return ()


class _Sum:
    """One family, summed."""

    __slots__ = ("family", "values")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.values: dict[_Key, float] = {}

    def add(self, family: Family, labels: dict[str, str] | None = None) -> None:
        name, _, _, samples = family
        for sample, own, value in samples:
            key = (sample, tuple(sorted({**own, **(labels or {})}.items())))
            if key not in self.values:
                self.values[key] = value
            elif name in LEAST:
                self.values[key] = min(self.values[key], value)
            elif name in GREATEST:
                self.values[key] = max(self.values[key], value)
            else:
                self.values[key] += value

    def metric(self) -> Metric:
        name, words, kind, _ = self.family
        metric = Metric(name, words, kind)
        for (sample, labels), value in self.values.items():
            metric.add_sample(sample, dict(labels), value)
        return metric
