"""Plans stay within their limits, and grow with the load."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icwsgw.capacity import measured_costs as costs
from icwsgw.capacity.capacity_plan import MOST_CORES, MOST_WORKERS, CapacityLoad, make_plan
from icwsgw.config.option import options_of
from icwsgw.config.schema import GatewayConfig

LOADS = st.builds(
    CapacityLoad,
    clients=st.integers(1_000, 500_000),
    canisters=st.integers(1, 1_000),
    messages_up=st.floats(0, 5_000),
    messages_down=st.floats(0, 50_000),
    opens=st.floats(0, 500),
    polling_interval=st.sampled_from([0.1, 0.25, 1.0]),
    group=st.integers(1, 4),
    tls=st.booleans(),
    limited=st.booleans(),
)


@settings(max_examples=60)
@given(LOADS)
def test_a_plan_without_warnings_is_within_all_limits(load: CapacityLoad) -> None:
    plan = make_plan(load)
    assert plan.gateways % load.group == 0
    assert plan.gateways * plan.clients >= load.clients
    assert int(plan.options["max-connections"]) > plan.most_clients
    assert plan.descriptors >= plan.most_clients / plan.workers + costs.OTHER_DESCRIPTORS
    assert plan.most_requests >= plan.requests
    if plan.warnings:
        return
    assert plan.cores <= MOST_CORES * plan.workers
    if load.limited:
        assert plan.requests <= costs.BUDGET + 1e-6
        assert plan.most_requests <= costs.MOST_REQUESTS + 1e-6
    else:
        assert (plan.gateways, plan.options["query-budget"]) == (load.group, "0")


@settings(max_examples=60)
@given(LOADS, st.integers(2, 10))
def test_more_messages_up_never_need_fewer_gateways(load: CapacityLoad, times: int) -> None:
    more = replace(load, messages_up=load.messages_up * times)
    one, other = make_plan(load), make_plan(more)
    if one.workers == other.workers:
        assert other.gateways >= one.gateways


def test_a_small_load_needs_one_group() -> None:
    plan = make_plan(CapacityLoad(clients=100))
    assert (plan.gateways, plan.workers, plan.serving, plan.warnings) == (2, 1, 2, ())
    assert make_plan(CapacityLoad(clients=100, group=1)).gateways == 1
    assert plan.options == {
        "polling-interval": "100",
        "identities": "1",
        "max-connections": "120",
        "drain-timeout": "60",
    }


def test_addresses_and_then_cores_decide() -> None:
    calls = CapacityLoad(clients=10_000, canisters=10, messages_up=1_000)
    # (1,033 calls doubled while one is down, and 200 polls) / 300
    assert make_plan(calls).gateways == 8
    mine = make_plan(replace(calls, limited=False, messages_down=60_000))
    assert (mine.gateways, mine.workers > 1) == (2, True)
    assert mine.options["workers"] == str(mine.workers)
    assert mine.memory_bytes > mine.workers * costs.PROCESS_BYTES + costs.SUPERVISOR_BYTES


def test_one_huge_canister_causes_a_warning() -> None:
    plan = make_plan(CapacityLoad(clients=1_000_000))
    assert any("keep-alives within a minute: use more canisters" in warning for warning in plan.warnings)


def test_a_core_that_is_not_enough_causes_a_warning() -> None:
    plan = make_plan(CapacityLoad(clients=1_000, group=1, messages_down=5e6, limited=False))
    assert plan.workers == MOST_WORKERS
    assert any("--group" in warning for warning in plan.warnings)


@pytest.mark.parametrize(("clients", "warned"), [(400_000, False), (1_000_000, True)])
def test_a_drain_that_no_option_allows_causes_a_warning(clients: int, warned: bool) -> None:
    plan = make_plan(CapacityLoad(clients=clients, canisters=50, limited=False))
    (option,) = (each for each in options_of(GatewayConfig) if each.name == "drain-timeout")
    assert 0 <= option.parse(plan.options["drain-timeout"], "the plan") - min(2 * plan.drain_seconds + 20, 7_200) < 60
    assert any("upgrade by handover" in warning for warning in plan.warnings) is warned


def test_tls_costs_memory() -> None:
    load = CapacityLoad(clients=10_000, group=1, limited=False)
    tls = make_plan(replace(load, tls=True)).memory_bytes - make_plan(load).memory_bytes
    assert tls == 10_000 * (costs.TLS_CLIENT_BYTES - costs.CLIENT_BYTES)


def test_as_json() -> None:
    values = make_plan(CapacityLoad(clients=1_000, message_bytes=100, messages_down=10)).to_json()
    assert values["total_cores"] == round(2 * make_plan(CapacityLoad(clients=1_000, messages_down=10)).cores, 3)
    assert values["bits_down"] == 8 * 5 * 2_600
    assert values["warnings"] == []
