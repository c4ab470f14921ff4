from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from icwsgw.observe.meters import (
    OTHER,
    Counter,
    Declared,
    Exposition,
    Gauge,
    Histogram,
    LabelledCounter,
    LabelledGauge,
    Meter,
    RankedGauge,
    Ranking,
    continue_from,
    counters_of,
    top,
)


def scrape(name: str, kind: str, meter: Meter, label: str = "") -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    registry.register(Exposition([Declared(name, "Help", kind, meter, label)]))
    (family,) = parse(generate_latest(registry).decode())
    assert family.documentation == "Help"
    return {(sample.name, *sample.labels.values()): sample.value for sample in family.samples}


def test_counter() -> None:
    counter = Counter()
    counter.inc()
    counter.inc(2)
    counter.value += 1
    assert scrape("things_total", "counter", counter) == {("things_total",): 4}


def test_a_counter_under_an_old_name_keeps_it() -> None:
    assert scrape("client_connected_count", "unknown", Counter()) == {("client_connected_count",): 0}


def test_an_undeclared_label_counts_as_other() -> None:
    counter = LabelledCounter(("a", "b"))
    counter.inc("a")
    counter.inc("mallory-1")
    counter.inc("mallory-2", 2)
    assert scrape("things_total", "counter", counter, "outcome") == {
        ("things_total", "a"): 1,
        ("things_total", "b"): 0,
        ("things_total", OTHER): 3,
    }


def test_gauge() -> None:
    gauge = Gauge()
    assert scrape("level", "gauge", gauge) == {("level",): 0}
    gauge.set(2)
    assert scrape("level", "gauge", gauge) == {("level",): 2}
    gauge.set(None)
    assert scrape("level", "gauge", gauge) == {}
    gauge.set_function(lambda: 7)
    assert scrape("level", "gauge", gauge) == {("level",): 7}


def test_labelled_gauge() -> None:
    gauge = LabelledGauge(("init", "open"))
    assert scrape("sessions", "gauge", gauge, "state") == {("sessions", "init"): 0, ("sessions", "open"): 0}
    gauge.set_function(lambda: {"open": 2, "strange": 1, "stranger": 1})
    assert scrape("sessions", "gauge", gauge, "state") == {
        ("sessions", "init"): 0,
        ("sessions", "open"): 2,
        ("sessions", OTHER): 2,
    }


def test_histogram_buckets_add_up_and_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram((0.1, 1))
    for value in (0.05, 0.1, 0.5, 5.0):
        histogram.observe(value)
    assert histogram.count == 4
    assert scrape("took_seconds", "histogram", histogram) == {
        ("took_seconds_bucket", "0.1"): 2,
        ("took_seconds_bucket", "1.0"): 3,
        ("took_seconds_bucket", "+Inf"): 4,
        ("took_seconds_count",): 4,
        ("took_seconds_sum",): pytest.approx(5.65),
    }


def test_registering_asks_no_callback() -> None:
    gauge = Gauge()
    gauge.set_function(lambda: 1 / 0)
    CollectorRegistry(auto_describe=True).register(Exposition([Declared("broken", "Help", "gauge", gauge)]))


def test_a_name_cannot_be_registered_twice() -> None:
    registry = CollectorRegistry()
    registry.register(Exposition([Declared("things_total", "Help", "counter", Counter())]))
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(Exposition([Declared("things_total", "Help", "counter", Counter())]))


def test_a_ranking_shows_the_greatest_and_sums_up_the_rest() -> None:
    ranking = Ranking(2)
    count, worst = RankedGauge(ranking, 0), RankedGauge(ranking, 1, max)
    assert scrape("rows", "gauge", count, "canister") == {}
    ranking.set_function(lambda: {"a": [1, 5.0], "b": [3, None], "c": [2, 0.5], "d": [1, 7.0]})
    assert scrape("rows", "gauge", count, "canister") == {("rows", "b"): 3, ("rows", "c"): 2, ("rows", OTHER): 2}
    assert scrape("lag", "gauge", worst, "canister") == {("lag", "c"): 0.5, ("lag", OTHER): 7.0}
    ranking.keep = 9
    assert set(count.values) == {"a", "b", "c", "d"}


def test_of_equals_the_first_by_name_are_shown() -> None:
    assert top({"b": 1, "a": 1, "c": 2, "d": 1}, 3) == ["c", "a", "b"]


# the handover to another process


def test_no_counter_steps_back_in_the_process_that_goes_on() -> None:
    def make(given: float) -> tuple[list[Declared], Any]:
        counter, labelled, histogram = Counter(), LabelledCounter(["a"]), Histogram([1.0])
        counted, by_label, gauge = Gauge(), LabelledGauge(["x"]), Gauge()
        counted.set_function(lambda: given)
        by_label.set_function(lambda: {"x": given, "new": 1})
        gauge.set(given)
        declared = [
            Declared("c_total", "c", "counter", counter),
            Declared("l_total", "l", "counter", labelled, "label"),
            Declared("h", "h", "histogram", histogram),
            Declared("f_total", "f", "counter", counted, labels={"of": "1"}),
            Declared("f_total", "f", "counter", Gauge(), labels={"of": "2"}),
            Declared("g_total", "g", "counter", by_label, "label"),
            Declared("gauge", "a gauge", "gauge", gauge),
        ]
        return declared, (counter, labelled, histogram, counted, by_label, gauge)

    before, (counter, labelled, histogram, *_) = make(5.0)
    counter.inc(2)
    labelled.inc("a", 3)
    labelled.inc("unknown")
    histogram.observe(0.5)
    document = counters_of(before)
    after, (counter, labelled, histogram, counted, by_label, gauge) = make(1.0)
    counter.inc()
    continue_from(after, {**document, "gone_total": 7})
    histogram.observe(2.0)
    assert (counter.value, labelled.values["a"], labelled.values["other"]) == (3, 3, 1)
    assert (histogram.counts, histogram.sum) == ([1, 1], 2.5)
    assert (counted.value, by_label.values) == (6.0, {"x": 6.0, "other": 2})
    assert gauge.value == 1.0, "a gauge is of this process"
    continue_from(after, {"h": {"counts": [1, 2, 3], "sum": 9.0}})
    assert histogram.counts == [1, 1], "other buckets cannot be added"
