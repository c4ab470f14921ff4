import re

from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.internet.task import Clock

from icwsgw import errors
from icwsgw.core.closing import CloseCode
from icwsgw.core.session import State
from icwsgw.observe import metrics as declared
from icwsgw.observe.metrics import LagSampler, Metrics

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
    names = [entry.name for entry in Metrics().declared]
    assert len(names) == len(set(names))
    assert set(names) >= ORIGINALS
    for name in set(names) - ORIGINALS:
        assert re.fullmatch(r"icws_[a-z_]+", name)


def test_counters_end_in_total_and_everything_is_explained() -> None:
    for entry in Metrics().declared:
        assert (entry.kind == "counter") == entry.name.endswith("_total"), entry.name
        assert entry.help, entry.name


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


def test_label_values_cover_what_the_program_says() -> None:
    ours = {kind.cause for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "cause")}
    assert set(declared.CAUSES) == ours
    assert {str(int(code)) for code in CloseCode} <= set(declared.CLOSE_CODES)
    assert {state.name.lower() for state in State} == set(declared.STATES)


def test_lag_is_what_a_timer_comes_late_by() -> None:
    clock = Clock()
    metrics = Metrics()
    sampler = LagSampler(metrics, clock, interval=0.25)
    sampler.start()
    sampler.start()
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(0.25)
    clock.advance(0.35)
    assert metrics.event_loop_lag.count == 2
    assert abs(metrics.event_loop_lag.sum - 0.1) < 1e-9
    sampler.stop()
    sampler.stop()
    assert clock.getDelayedCalls() == []
