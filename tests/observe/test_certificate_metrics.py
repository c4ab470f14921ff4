import pytest
from prometheus_client import CollectorRegistry

from icwsgw.observe.metrics import Metrics, SupervisorMetrics


@pytest.mark.parametrize("metrics", [Metrics(), SupervisorMetrics(CollectorRegistry())], ids=["one", "several"])
def test_who_asks_counts(metrics: Metrics | SupervisorMetrics) -> None:
    metrics.acme_orders.inc("failed")
    metrics.acme_missing.set_function(lambda: 2)
    declared = {entry.name: entry for entry in metrics.declared}
    assert declared["icws_acme_orders_total"].meter.values == {"ok": 0, "failed": 1, "other": 0}
    assert declared["icws_acme_missing_certificates"].meter.value == 2


def test_certificates_of_workers_are_not_summed() -> None:
    declared = {entry.name: entry for entry in Metrics().declared}
    assert declared["icws_tls_certificates"].merge == "greatest", "each worker has the same certificates"
    assert declared["icws_tls_certificate_expiry_seconds"].merge == "least"
