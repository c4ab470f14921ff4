from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.histogram import PRECISION, Histogram

values = st.lists(st.integers(0, 10**12), min_size=1, max_size=200)


def of(numbers: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.update(numbers)
    return histogram


def test_an_empty_one_has_zeros() -> None:
    assert Histogram().summary() == {"count": 0, "mean": 0, "p50": 0, "p90": 0, "p99": 0, "p999": 0, "max": 0}
    assert Histogram().quantile(0.5) == 0


def test_small_values_are_exact() -> None:
    histogram = of(list(range(1, 101)))
    assert [histogram.quantile(share) for share in (0.01, 0.5, 0.9, 0.99, 1.0)] == [1, 50, 90, 99, 100]
    assert histogram.mean == 50.5


def test_a_negative_value_counts_as_nothing() -> None:
    histogram = of([-5, 3])
    assert (histogram.least, histogram.most, histogram.total) == (0, 3, 3)


def test_summary_is_in_milliseconds() -> None:
    assert of([2_000_000]).summary()["p50"] == 2.0


@given(values, st.floats(0.001, 1.0))
def test_quantiles_are_right_within_a_bucket(numbers: list[int], share: float) -> None:
    ranked = sorted(numbers)
    exact = ranked[max(1, -int(-share * len(ranked) // 1)) - 1]
    found = of(numbers).quantile(share)
    assert exact <= found <= exact + (exact >> PRECISION)


@given(values, values)
def test_merging_is_counting_both(one: list[int], other: list[int]) -> None:
    merged = of(one)
    merged.merge(of(other))
    both = of(one + other)
    assert merged.to_json() == both.to_json()
    assert merged.count == both.count


def test_merging_nothing_changes_nothing() -> None:
    histogram = of([5, 7])
    histogram.merge(Histogram())
    assert histogram.to_json() == of([5, 7]).to_json()
    empty = Histogram()
    empty.merge(histogram)
    assert empty.least == 5


@given(values)
def test_it_travels_as_json(numbers: list[int]) -> None:
    histogram = of(numbers)
    again = Histogram.from_json(json.loads(json.dumps(histogram.to_json())))
    assert again.summary() == histogram.summary()
    assert again.curve() == histogram.curve()


@given(values)
def test_the_curve_ends_at_the_greatest(numbers: list[int]) -> None:
    points = of(numbers).curve()
    assert points[-1] == (1.0, max(numbers))
    assert points == sorted(points)


def test_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="not a histogram"):
        Histogram.from_json({"buckets": []})
