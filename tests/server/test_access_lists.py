"""The access lists of one process: which process downloads them, and how it reports them."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock

from icwsgw.config.access_list import AccessRules
from icwsgw.config.schema import GatewayConfig
from icwsgw.observe.health import Health
from icwsgw.observe.metrics import Metrics, SupervisorMetrics
from icwsgw.server.access_lists import AccessLists
from icwsgw.server.access_urls import ALLOW, kept_path
from tests.server.test_access_files import keep
from tests.server.test_access_urls import SilentHttp

URL = "https://lists.example/allow"


def made(tmp_path: Path, *, fetch: bool = True, url: str | None = URL) -> tuple[AccessLists, Health, Metrics]:
    applied: list[AccessRules] = []
    lists = AccessLists(
        GatewayConfig(data_dir=tmp_path, allow_list_url=url), Clock(), applied.append, SilentHttp if fetch else None
    )
    health, metrics = Health(), Metrics()
    lists.watch(health, metrics)
    return lists, health, metrics


def test_without_a_list_from_a_url_there_is_nothing_to_tell(tmp_path: Path) -> None:
    lists, health, metrics = made(tmp_path, url=None)
    assert (lists.rules, health.ready, metrics.access_list_age.value) == (AccessRules(), True, None)
    lists.look()
    lists.look_at_copies()
    assert not tmp_path.joinpath("lists").exists()


@pytest.mark.parametrize(("fetch", "age"), [(True, float("inf")), (False, None)])
def test_a_worker_leaves_fetching_to_the_supervisor(tmp_path: Path, fetch: bool, age: float | None) -> None:
    lists, health, metrics = made(tmp_path, fetch=fetch)
    assert lists.rules.unknown
    assert [finding.reason for finding in health.findings()] == [
        "the allow list has not been fetched yet: no client may connect"
    ]
    assert metrics.access_list_age.value == age
    assert metrics.access_list_fetches.values == {"changed": 0, "unchanged": 0, "failed": 0}


def test_a_worker_reads_a_copy_when_an_order_says_that_it_has_changed(tmp_path: Path) -> None:
    lists, health, _ = made(tmp_path, fetch=False)
    path = kept_path(tmp_path, ALLOW)
    path.parent.mkdir(parents=True)
    keep(path, "192.0.2.0/24\n")
    assert lists.rules.unknown
    lists.look_at_copies()
    assert (lists.rules.unknown, lists.rules.admits_address("192.0.2.1"), health.ready) == (False, True, True)


def test_both_kinds_of_processes_declare_the_same() -> None:
    supervisor = SupervisorMetrics(CollectorRegistry())
    names = [{each.name: each.kind for each in metrics.declared} for metrics in (Metrics(), supervisor)]
    for name in ("icws_access_list_age_seconds", "icws_access_list_fetches_total"):
        assert names[0][name] == names[1][name]
