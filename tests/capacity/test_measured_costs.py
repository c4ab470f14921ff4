"""The planner's costs are the figures of the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.capacity import measured_costs as costs
from icwsgw.config.schema import MAINNET_BUDGET, GatewayConfig
from icwsgw.process.rlimits import NETWORK, OTHERS

ROOT = Path(__file__).resolve().parents[2]
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text()
SCALING = (ROOT / "docs" / "scaling.md").read_text()


def rows(title: str, rate: str, cost: str) -> set[tuple[float, float]]:
    """Two columns of a table of docs/performance.md, for one worker."""
    table = PERFORMANCE.partition(f"\n**{title}**\n")[2].strip("\n").split("\n\n")[0].splitlines()
    heads = [head.strip() for head in table[0].strip("|").split("|")]
    found = set()
    for line in table[2:]:
        cells = dict(zip(heads, (cell.strip().replace(",", "") for cell in line.strip("|").split("|")), strict=True))
        if cells["workers"] == "1":
            found.add((float(cells[rate]), float(cells[cost])))
    return found


def test_polls_and_deliveries_cost_what_was_measured() -> None:
    assert set(costs.POLL_COSTS) <= rows(
        "Canisters with an idle client each, polled every 100 ms", "polls/s", "CPU a poll, us"
    )
    measured = rows("Canister messages to 200 clients", "delivered/s", "CPU a message, us")
    assert set(costs.DELIVERY_COSTS) <= measured


def test_the_other_figures_are_those_of_the_documents() -> None:
    (_, slow), (_, flood) = costs.CALL_COSTS
    assert re.search(rf"\| the same, calls answered by certificates \| {slow} us ", PERFORMANCE)
    assert re.search(rf"\| the same, calls answered by certificates \| \*?\*?{flood} us ", PERFORMANCE)
    for text in (
        f"{costs.PROCESS_BYTES / 1e6:.0f} MB; the supervisor of `--workers` {costs.SUPERVISOR_BYTES / 1e6:.0f} MB",
        f"{costs.CLIENT_BYTES / 1e3:g} kB; {costs.TLS_CLIENT_BYTES / 1e3:.0f} kB with TLS at the gateway",
        f"21 to {costs.CANISTER_BYTES / 1e3:.0f} kB",
        f"{costs.OPEN_SECONDS * 1e3:g} ms, plus a TLS handshake",
        f"{costs.PING_SECONDS * 1e6:.0f} us; one per idle client",
        f"its clients, plus {costs.OTHER_DESCRIPTORS:,}",
        f"every {costs.ACKNOWLEDGEMENT_SECONDS} s to all clients",
        f"within {costs.KEEP_ALIVE_SECONDS} s",
        f"about {costs.MOST_REQUESTS} a second",
        "one for each thousand of its clients",
        f"*n* / {costs.REOPENED} seconds",
    ):
        assert text in SCALING, text


def test_limits_are_those_of_the_gateway() -> None:
    assert costs.BUDGET == MAINNET_BUDGET
    assert GatewayConfig().ping_interval == costs.PING_INTERVAL
    assert costs.OTHER_DESCRIPTORS == NETWORK + OTHERS


@pytest.mark.parametrize("figures", [costs.POLL_COSTS, costs.DELIVERY_COSTS, costs.CALL_COSTS])
def test_measured_points_are_met(figures: tuple[tuple[float, float], ...]) -> None:
    for rate, micros in figures:
        assert costs.cost(figures, rate) == pytest.approx(micros / 1e6)
    assert costs.cost(figures, 0) == figures[0][1] / 1e6
    assert costs.cost(figures, 1e9) == figures[-1][1] / 1e6


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_work_never_takes_less_time(one: float, other: float) -> None:
    low, high = sorted((one, other))
    for figures in (costs.POLL_COSTS, costs.CALL_COSTS):
        assert costs.time_of(figures, low) <= costs.time_of(figures, high) + 1e-9
