"""Access lists from URLs, as Prometheus sees them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from icwsgw.observe.metrics import SupervisorMetrics


def test_without_a_list_there_is_no_age_and_one_never_fetched_is_infinitely_old() -> None:
    registry = CollectorRegistry()
    metrics = SupervisorMetrics(registry)
    assert b"\nicws_access_list_age_seconds " not in generate_latest(registry)
    metrics.access_list_age.set_function(lambda: float("inf"))
    metrics.access_list_fetches.set_function(lambda: {"failed": 3})
    text = generate_latest(registry).decode()
    assert "\nicws_access_list_age_seconds +Inf\n" in text
    assert '\nicws_access_list_fetches_total{outcome="failed"} 3.0\n' in text
    assert '\nicws_access_list_fetches_total{outcome="changed"} 0.0\n' in text
