"""The base class for declarations of metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from icwsgw.observe.meters import Counter, Declared, Gauge, Histogram, LabelledCounter, LabelledGauge, Meter


class Declaring:
    """Collects declarations of metrics in order, grouped under the headings of docs/metrics.md."""

    def __init__(self) -> None:
        self.declared: list[Declared] = []
        self._group = ""

    def _under(self, group: str) -> None:
        self._group = group

    def _declare(self, name: str, help_text: str, kind: str, meter: Meter, label: str = "", **more: Any) -> None:
        self.declared.append(Declared(name, help_text, kind, meter, label, group=self._group, **more))

    def _counter(self, name: str, help_text: str, **more: Any) -> Counter:
        meter = Counter()
        self._declare(name, help_text, "counter", meter, **more)
        return meter

    def _counters(self, name: str, help_text: str, label: str, values: Iterable[str], **more: Any) -> LabelledCounter:
        meter = LabelledCounter(values)
        self._declare(name, help_text, "counter", meter, label, **more)
        return meter

    def _gauge(self, name: str, help_text: str, kind: str = "gauge", **more: Any) -> Gauge:
        meter = Gauge()
        self._declare(name, help_text, kind, meter, **more)
        return meter

    def _gauges(
        self, name: str, help_text: str, label: str, values: Iterable[str], kind: str = "gauge", **more: Any
    ) -> LabelledGauge:
        meter = LabelledGauge(values)
        self._declare(name, help_text, kind, meter, label, **more)
        return meter

    def _histogram(self, name: str, help_text: str, bounds: Sequence[float], **more: Any) -> Histogram:
        meter = Histogram(bounds)
        self._declare(name, help_text, "histogram", meter, **more)
        return meter
