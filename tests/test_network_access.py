"""The access to the network gets the values of the configuration, and reports its metrics and health."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.samples import Sample
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from icwsgw.agent.ic_agent import IcAgent
from icwsgw.config.schema import GatewayConfig
from icwsgw.core.request_kind import RequestKind
from icwsgw.network_access import NetworkAccess
from icwsgw.observe.health import Health
from icwsgw.observe.metrics import Metrics

LOCAL = GatewayConfig(ic_network_url="http://127.0.0.1:9", query_budget=100)


def access(config: GatewayConfig = LOCAL) -> NetworkAccess:
    return NetworkAccess(config, MemoryReactorClock(), 7)


def watched(made: NetworkAccess, config: GatewayConfig = LOCAL) -> tuple[Metrics, Health]:
    metrics, health = Metrics(), Health()
    made.watch(metrics, health, lambda: config)
    return metrics, health


def samples(metrics: Metrics) -> dict[str, Sample]:
    return {sample.name: sample for family in metrics.registry.collect() for sample in family.samples}


def test_each_request_of_the_gateway_itself_is_charged() -> None:
    made = access()
    made.transport.counts.charge()
    assert made.budget.sent[RequestKind.OWN] == 1


def test_another_budget_is_applied() -> None:
    made = access()
    assert made.budget.per_second == 100
    made.change(replace(LOCAL, query_budget=50))
    assert made.budget.per_second == 50


def test_a_local_network_has_a_time_of_its_own() -> None:
    elsewhere = replace(LOCAL, ic_network_url="https://bn.example")
    assert [access(config).monitor.own_time for config in (LOCAL, elsewhere)] == [True, False]
    # mainnet behind a proxy on this machine
    assert not access(replace(LOCAL, root_key="mainnet")).monitor.own_time


@pytest.mark.parametrize(("given", "verifies"), [("auto", True), ("on", True), ("off", False)])
def test_signatures_on_queries_are_verified_as_configured(given: str, verifies: bool) -> None:
    made = access(replace(LOCAL, root_key="mainnet", verify_queries=given))
    assert made.agent.verify_query_signatures is verifies


def test_its_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, _ = watched(access())
    monkeypatch.setattr(IcAgent, "clock_skew_ns", 2_000_000_000)
    found = samples(metrics)
    assert found["icws_network_ready"].value == 0
    assert found["icws_clock_skew_seconds"].value == 2.0


def test_its_health() -> None:
    _, health = watched(access())
    assert [finding.name for finding in health.findings()] == ["network", "clock"]
    assert "http://127.0.0.1:9" in str(health.findings()[0].reason)


def test_its_concerns_follow_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "the network has no synchronous call: clients' messages leave in accepted order"
    for version, order, concerned in ((None, "executed", True), (None, "accepted", False), (4, "executed", False)):
        monkeypatch.setattr(IcAgent, "api_versions", {"sync_call": version})
        _, health = watched(access(), replace(LOCAL, relay_order=order))
        assert (text in health.concerns()) == concerned
    public = replace(LOCAL, ic_network_url="https://bn.example")
    _, health = watched(access(public), public)
    assert "the root key of https://bn.example is taken from that network itself" in str(health.concerns())


def test_it_stops() -> None:
    stopped: list[Any] = []
    Deferred.fromCoroutine(access().stop()).addBoth(stopped.append)
    assert stopped == [None]
