"""Metrics of several processes as those of one.

A worker reports what a scrape of it would show. How its figures and the others' become one stands with each metric's
declaration: counters, histograms and most gauges are summed; a few gauges are no amounts and take the least or the
greatest; what the operating system says about a process is told apart by a ``worker`` label, whose values are as many
as there are workers.

Of figures by canister a worker reports many more rows than are shown, so that those with the most sessions in all
workers together are found: exactly as long as no worker has more canisters than it reports, else nearly.

A counter may never fall. So what a worker had counted stays in the sums when it has ended: with its last report, or
with the last one before it died, since which a few seconds' counts are lost.
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

#: A family as JSON: name, words, type, samples of (name, labels, value).
Family = list[Any]

_PER_PROCESS: Final = "process_"
_Key = tuple[str, tuple[tuple[str, str], ...]]


@cache
def _merges() -> dict[str, Callable[[Iterable[float]], float]]:
    """How figures of several workers become one, by the metric's name, where they are not summed."""
    return {entry.name: MERGES[entry.merge] for entry in Metrics().declared if entry.merge != "sum"}


@cache
def _ranked() -> tuple[str, ...]:
    """The metrics by canister, first the one that decides which canisters are shown."""
    return tuple(entry.name for entry in Metrics().declared if isinstance(entry.meter, RankedGauge))


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
        """Nothing: names are known once workers have reported."""
        return ()


def _cut(families: list[_Sum]) -> None:
    """Show the canisters with the most sessions in all workers, the others as one."""
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
    """One family, summed or merged in its own way."""

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
        name, words, kind, _ = self.family
        metric = Metric(name, words, kind)
        for (sample, labels), value in self.values.items():
            metric.add_sample(sample, dict(labels), value)
        return metric
