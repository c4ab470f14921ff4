"""Metrics are declared in their order, each with its meter."""

from __future__ import annotations

from icwsgw.observe.declaring import Declaring
from icwsgw.observe.meters import Counter, Gauge, Histogram, LabelledCounter, LabelledGauge


def test_what_is_declared_is_kept_in_order_with_its_group() -> None:
    declaring = Declaring()
    declaring._under("One")
    meters = [declaring._counter("a_total", "a"), declaring._counters("b_total", "b", "why", ("x", "y"))]
    declaring._under("Two")
    meters += [
        declaring._gauge("c", "c"),
        declaring._gauges("d", "d", "state", ("up",)),
        declaring._histogram("e", "e", (1.0,)),
    ]
    assert [type(meter) for meter in meters] == [Counter, LabelledCounter, Gauge, LabelledGauge, Histogram]
    assert [(entry.name, entry.group, entry.meter) for entry in declaring.declared] == [
        (name, group, meter)
        for (name, group), meter in zip(
            [("a_total", "One"), ("b_total", "One"), ("c", "Two"), ("d", "Two"), ("e", "Two")], meters, strict=True
        )
    ]
