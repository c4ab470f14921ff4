import re

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from icwsgw.observe.meters import MERGES, LabelledCounter, RankedGauge
from icwsgw.observe.metrics import CANISTERS, CANISTERS_OF_A_WORKER, Metrics, SupervisorMetrics

ORIGINALS = {
    "client_connected_count",
    "clients_connected",
    "active_pollers",
    "connection_duration",
    "tls_resolution_time",
    "connection_opening_time",
    "poller_duration",
}


def test_names_are_the_originals_or_ours() -> None:
    supervisor = SupervisorMetrics(CollectorRegistry()).declared
    assert {entry.name for entry in supervisor} & {entry.name for entry in Metrics().declared} == {
        "icws_reloads_total",
        "icws_acme_orders_total",
        "icws_acme_missing_certificates",
        "icws_access_list_fetches_total",
        "icws_access_list_age_seconds",
        "icws_log_lines_dropped_total",
    }
    names = [entry.name for entry in supervisor]
    assert len(names) == len(set(names)), "a scrape with one family twice is refused"
    names = [entry.name for entry in Metrics().declared]
    assert len(names) == len(set(names))
    assert set(names) >= ORIGINALS
    for name in set(names) - ORIGINALS:
        assert re.fullmatch(r"icws_[a-z_]+", name)


def test_counters_end_in_total_and_everything_is_explained() -> None:
    for entry in Metrics().declared:
        assert (entry.kind == "counter") == entry.name.endswith("_total"), entry.name
        assert entry.help, entry.name
        assert entry.group, entry.name
        assert entry.merge in MERGES, entry.name
        assert entry.merge == "sum" or entry.kind == "gauge", f"{entry.name}: counts are summed"


def test_the_scrape_parses_in_both_formats() -> None:
    metrics = Metrics()
    metrics.closes.inc("4104")
    metrics.query_seconds.observe(0.02)
    families = {family.name: family for family in parse(generate_latest(metrics.registry).decode())}
    assert families["client_connected_count"].samples[0].value == 0
    assert {s.labels["cause"]: s.value for s in families["icws_closes"].samples}["4104"] == 1
    assert families["icws_build_info"].samples[0].labels["version"]
    assert families["process_resident_memory_bytes"].samples[0].value > 0
    assert "icws_tls_certificate_expiry_seconds" not in {s.name for f in families.values() for s in f.samples}
    assert {family.name for family in parse_openmetrics(generate_openmetrics(metrics.registry).decode())} >= ORIGINALS


def test_two_gateways_in_one_process_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.client_messages.inc()
    assert (one.client_messages.value, two.client_messages.value) == (1, 0)


def test_a_scrape_is_bounded_whatever_clients_do() -> None:
    metrics = Metrics()
    rows = {f"canister-{number}": [number, 1.0, 1.0, 1] for number in range(5000)}
    metrics.canisters.set_function(lambda: rows)
    for word in rows:
        for entry in metrics.declared:
            if isinstance(entry.meter, LabelledCounter):
                entry.meter.inc(word)
    series = sum(len(family.samples) for family in metrics.registry.collect())
    assert series < 600
    for entry in metrics.declared:
        if isinstance(entry.meter, RankedGauge):
            assert len(entry.meter.values) == CANISTERS + 1
    metrics.canisters.keep = CANISTERS_OF_A_WORKER
    # what a worker's report may weigh, every few seconds
    assert sum(len(family.samples) for family in metrics.registry.collect()) < 1500
