"""Merges the metrics of several workers into one set.

Each worker reports the samples that a scrape of it would show. The declaration of each metric says how to merge them:
counters, histograms and most gauges are summed; a few gauges take the minimum or maximum. Process metrics from the
operating system are not merged: a ``worker`` label, with one value per worker, keeps them apart.

For metrics by canister, a worker reports many more rows than the result shows. This finds the canisters with the most
sessions over all workers. The result is exact unless a worker has more canisters than it reports; then it is
approximate.

A counter must never decrease. The counts of a worker whose process has ended therefore stay in the sums, as of its last
report. If the process died, the counts of the seconds since that report are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from icwsgw.observe.meters import MERGES, OTHER, RankedGauge, fold, top
from icwsgw.observe.metrics import CANISTERS, Metrics

#: A metric family as JSON: name, documentation, type, samples of (name, labels, value).
Family = list[Any]

_PER_PROCESS: Final = "process_"
_Key = tuple[str, tuple[tuple[str, str], ...]]


@cache
def _merges() -> dict[str, Callable[[Iterable[float]], float]]:
    """Return the merge function by metric name, for the metrics that are not summed."""
    return {entry.name: MERGES[entry.merge] for entry in Metrics().declared if entry.merge != "sum"}


@cache
def _ranked() -> tuple[str, ...]:
    """Return the names of the metrics by canister; the first one decides which canisters are shown."""
    return tuple(entry.name for entry in Metrics().declared if isinstance(entry.meter, RankedGauge))


def snapshot(registry: CollectorRegistry) -> list[Family]:
    """Return the metric families that a scrape of ``registry`` would show, as JSON values."""
    return [
        [metric.name, metric.documentation, metric.type, [[s.name, s.labels, s.value] for s in metric.samples]]
        for metric in registry.collect()
    ]


class Aggregate(Collector):
    """The merged metrics, as a collector for a prometheus_client registry."""

    def __init__(self) -> None:
        self._latest: dict[str, list[Family]] = {}
        self._ended: dict[str, _Sum] = {}

    def report(self, worker: str, families: list[Family]) -> None:
        """Replace the worker's previous report."""
        self._latest[worker] = families

    def ended(self, worker: str) -> None:
        """Drop the gauges of a worker whose process has ended; keep its counts."""
        for family in self._latest.pop(worker, []):
            name, _, kind, _ = family
            if kind != "gauge" and not name.startswith(_PER_PROCESS):
                self._ended.setdefault(name, _Sum(family)).add(family)

    def kept(self, but: Iterable[str] = ()) -> list[Family]:
        """The counts of all workers, for the supervisor that continues.

        :param but: workers whose own successors have theirs
        """
        sums = Aggregate()
        for ended in self._ended.values():
            sums._ended[ended.family[0]] = copy = _Sum(ended.family)
            copy.values.update(ended.values)
        left_out = set(but)
        for worker, families in self._latest.items():
            if worker not in left_out:
                sums.report(worker, families)
        for worker in list(sums._latest):
            sums.ended(worker)
        return [
            [*ended.family[:3], [[sample, dict(labels), value] for (sample, labels), value in ended.values.items()]]
            for ended in sums._ended.values()
        ]

    def continue_from(self, families: Iterable[Family]) -> None:
        """Add what a former supervisor has kept."""
        for family in families:
            self._ended.setdefault(family[0], _Sum(family)).add(family)

    def value(self, sample: str) -> float:
        """Return the sum of the named sample over all labels and all running workers."""
        return sum(
            float(value)
            for families in self._latest.values()
            for family in families
            for name, _, value in family[3]
            if name == sample
        )

    def collect(self) -> Iterator[Metric]:
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
        _cut([sums[name] for name in _ranked() if name in sums])
        for entry in sums.values():
            yield entry.metric()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are unknown until workers have reported."""
        return ()


def _cut(families: list[_Sum]) -> None:
    """Keep the canisters with the most sessions over all workers; merge the others into one row."""
    if not families:
        return
    columns = [{labels[0][1]: value for (_, labels), value in family.values.items()} for family in families]
    others = [column.pop(OTHER, None) for column in columns]
    shown = top(columns[0], CANISTERS)
    for family, column, other in zip(families, columns, others, strict=True):
        cut = fold(column, shown, family.merge)
        if other is not None:
            cut[OTHER] = family.merge([other, cut[OTHER]]) if OTHER in cut else other
        name = family.family[0]
        family.values = {(name, (("canister", canister),)): value for canister, value in cut.items()}


class _Sum:
    """One metric family, merged as its declaration says."""

    __slots__ = ("family", "merge", "values")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.merge = _merges().get(family[0], sum)
        self.values: dict[_Key, float] = {}

    def add(self, family: Family, labels: dict[str, str] | None = None) -> None:
        for sample, own, value in family[3]:
            key = (sample, tuple(sorted({**own, **(labels or {})}.items())))
            known = self.values.get(key)
            self.values[key] = value if known is None else self.merge((known, value))

    def metric(self) -> Metric:
        name, help_text, kind, _ = self.family
        metric = Metric(name, help_text, kind)
        for (sample, labels), value in self.values.items():
            metric.add_sample(sample, dict(labels), value)
        return metric
