import json
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from icwsgw.observe.meters import OTHER
from icwsgw.observe.metrics import CANISTERS, CANISTERS_OF_A_WORKER, Metrics, SupervisorMetrics
from icwsgw.workers.aggregate import Aggregate, Family, snapshot


def report(metrics: Metrics) -> list[Family]:
    """A report as it arrives from the pipe."""
    families: list[Family] = json.loads(json.dumps(snapshot(metrics.registry)))
    return families


class Sums:
    def __init__(self) -> None:
        self.aggregate = Aggregate()
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self.aggregate)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


def test_sums() -> None:
    sums = Sums()
    workers = [Metrics(), Metrics()]
    for number, metrics in enumerate(workers):
        metrics.client_messages.inc(10 + number)
        metrics.closes.inc("4100", 2)
        metrics.outbox_bytes.set(5)
        metrics.query_seconds.observe(0.02)
        metrics.query_seconds.observe(7.0)
        metrics.network_ready.set(number)
        metrics.draining.set(number)
        metrics.sessions.set_function(lambda: {"open": 3})
        metrics.tls_certificate_expiry.set(1000.0 + number)
        metrics.identity_clients_max.set(30 + number)
        metrics.identities.set(2)
        sums.aggregate.report(str(number), report(metrics))
    assert sums.value("icws_client_messages_total") == 21
    assert sums.value("icws_closes_total", cause="4100") == 4
    assert sums.value("icws_outbox_bytes") == 10
    assert sums.value("icws_query_seconds_count") == 4
    assert sums.value("icws_query_seconds_sum") == 14.04
    assert sums.value("icws_query_seconds_bucket", le="0.025") == 2
    assert sums.value("icws_query_seconds_bucket", le="+Inf") == 4
    assert sums.value("icws_sessions", state="open") == 6
    assert sums.value("icws_network_ready") == 0
    assert sums.value("icws_draining") == 1
    assert sums.value("icws_tls_certificate_expiry_seconds") == 1000
    assert sums.value("icws_identity_clients_max") == 31
    assert sums.value("icws_identities") == 4
    for worker in "01":
        assert sums.value("process_resident_memory_bytes", worker=worker) is not None
    assert sums.aggregate.value("icws_sessions") == 6
    assert sums.aggregate.value("no_such") == 0
    # the next report replaces the one before
    workers[0].client_messages.inc()
    sums.aggregate.report("0", report(workers[0]))
    assert sums.value("icws_client_messages_total") == 22


def test_counters_of_ended_workers_are_kept_and_their_gauges_removed() -> None:
    sums = Sums()
    for _ in range(2):
        metrics = Metrics()
        metrics.client_messages.inc(5)
        metrics.client_connected_count.inc()
        metrics.query_seconds.observe(0.02)
        metrics.outbox_bytes.set(100)
        sums.aggregate.report("0", report(metrics))
        sums.aggregate.ended("0")
    sums.aggregate.ended("0")
    assert sums.value("icws_client_messages_total") == 10
    assert sums.value("client_connected_count") == 2
    assert sums.value("icws_query_seconds_count") == 2
    assert sums.value("icws_outbox_bytes") is None
    assert sums.value("process_resident_memory_bytes", worker="0") is None
    again = Metrics()
    again.client_messages.inc()
    sums.aggregate.report("0", report(again))
    assert sums.value("icws_client_messages_total") == 11
    assert sums.value("icws_client_messages_total") == 11, "a scrape changes nothing"


def test_both_formats_are_valid() -> None:
    sums = Sums()
    supervisor = CollectorRegistry(auto_describe=False)
    own = SupervisorMetrics(supervisor)
    own.workers.set(2)
    own.restarts.set(1)
    for number in "01":
        sums.aggregate.report(number, report(Metrics()))
    sums.aggregate.report("supervisor", snapshot(supervisor))
    text = generate_latest(sums.registry).decode()
    assert {family.name for family in parse(text)} >= {"icws_client_messages", "icws_workers", "icws_worker_restarts"}
    lines = [line.partition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines)), "no series appears twice"
    assert list(parse_openmetrics(openmetrics(sums.registry).decode()))


def rows(*canisters: tuple[str, float, float | None]) -> Metrics:
    """A worker with (canister, sessions, lag)."""
    metrics = Metrics()
    metrics.canisters.keep = CANISTERS_OF_A_WORKER
    metrics.canisters.set_function(lambda: {name: [count, lag, 0.1, 2] for name, count, lag in canisters})
    return metrics


def shown(sums: Sums, name: str) -> dict[str, float]:
    (family,) = [family for family in sums.registry.collect() if family.name == name]
    return {sample.labels["canister"]: sample.value for sample in family.samples}


def test_canisters_are_ranked_over_all_workers() -> None:
    sums = Sums()
    # "distribution" has the fewest sessions in each worker and the most in total
    for number in range(3):
        own = [(f"own-{number}-{index:02}", 5.0, 1.0) for index in range(CANISTERS)]
        sums.aggregate.report(str(number), report(rows(*own, ("distribution", 4.0, 0.5 + number))))
    sessions = shown(sums, "icws_canister_sessions")
    assert len(sessions) == CANISTERS + 1
    for metric in sums.aggregate.collect():
        if metric.type == "gauge":
            assert {sample.name for sample in metric.samples} <= {metric.name}
    assert sessions["distribution"] == 12
    assert sum(sessions.values()) == 3 * (5 * CANISTERS + 4)
    lags = shown(sums, "icws_canister_queue_lag_seconds")
    assert lags["distribution"] == 2.5
    assert lags[OTHER] == 1.0
    for name in ("icws_canister_query_seconds", "icws_canister_failed_polls"):
        assert set(shown(sums, name)) == set(sessions)
    assert shown(sums, "icws_canister_failed_polls")[OTHER] == 2


def test_counts_of_canisters_that_a_worker_does_not_name_are_kept() -> None:
    sums = Sums()
    many = [(f"c-{index:04}", 1.0, None) for index in range(CANISTERS_OF_A_WORKER + 7)]
    for number in range(2):
        sums.aggregate.report(str(number), report(rows(*many)))
    sessions = shown(sums, "icws_canister_sessions")
    assert len(sessions) == CANISTERS + 1
    assert sum(sessions.values()) == 2 * (CANISTERS_OF_A_WORKER + 7)
    assert shown(sums, "icws_canister_queue_lag_seconds") == {}
    # while no worker has a canister, nothing is shown
    for number in range(2):
        sums.aggregate.report(str(number), report(rows()))
    assert shown(sums, "icws_canister_sessions") == {}


def test_a_supervisor_that_takes_over_keeps_the_counts_of_ended_workers() -> None:
    def family(value: float) -> list[Any]:
        return ["icws_client_messages", "", "counter", [["icws_client_messages_total", {"a": "b"}, value]]]

    former = Aggregate()
    for worker, value in (("0", 1.0), ("1", 10.0), ("2", 100.0)):
        former.report(worker, [family(value)])
    former.ended("0")
    assert [row[3] for row in former.kept()] == [[["icws_client_messages_total", {"a": "b"}, 111.0]]], "one row"
    kept = json.loads(json.dumps(former.kept(but=["1"])))
    assert former.value("icws_client_messages_total") == 110.0, "a second report of the same counts changes nothing"
    later = Aggregate()
    later.continue_from(kept)
    later.report("1", [family(10.0)])
    values = [sample.value for metric in later.collect() for sample in metric.samples]
    assert values == [111.0]
