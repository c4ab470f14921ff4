"""Each scenario once, with tiny numbers, against our gateway in its own process: nothing lost, nothing out of order.

No figure is asserted: the machine may be as slow as it likes.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import cli, results
from bench.compare import figure
from bench.gateway import GatewayOptions, GatewayProcess
from bench.lab import Worker
from bench.options import DEFAULTS, RunOptions

pytestmark = pytest.mark.acceptance

FIELDS = {
    *("schema", "name", "label", "date", "machine", "software", "gateway", "options", "measures", "cpu", "replica"),
    *("latency_of", "latency_ms", "latency", "losses", "order_violations", "unexpected_closes", "failed_opens"),
    "reasons",
}
#: What each scenario has to measure, and how it is made small.
SCENARIOS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "idle": (
        {"clients": 8, "seconds": 0.3},
        ("bytes_per_connection", "gateway_us_per_open", "gateway_idle_percent", "memory"),
    ),
    "down": (
        {"clients": 6, "canisters": 2, "count": 300, "verify_every": 10, "query_ms": 20.0, "load_processes": 2},
        ("gateway_us_per_message", "messages_per_second", "verified"),
    ),
    "up": (
        {"clients": 5, "rate": 0.0, "count": 10, "calls": "200", "call_ms": 20.0},
        ("gateway_us_per_message", "calls_per_second"),
    ),
    "echo": ({"clients": 4, "rate": 60.0, "seconds": 0.5, "calls": "200"}, ("gateway_us_per_message",)),
    "churn": ({"clients": 4, "seconds": 0.4}, ("gateway_us_per_cycle", "opens_per_second")),
    "many": ({"clients": 6, "canisters": 6, "seconds": 0.5}, ("bytes_per_canister", "polls_per_second")),
    "slow": ({"clients": 5, "rate": 100.0, "seconds": 0.5}, ("delivered_percent", "slow_closed", "slow_ends")),
    "storm": (
        {"clients": 8, "rounds": 2, "query_ms": 20.0, "call_ms": 20.0},
        ("keep_alive_timeouts", "gateway_us_per_client", "survivors"),
    ),
}


def small(scenario: str, **changes: Any) -> RunOptions:
    return replace(DEFAULTS[scenario], **{"calm": 0.05, "stall": 30.0, "cycles": 1, **changes})


def check(result: results.Result, *measures: str) -> None:
    assert set(result) == FIELDS
    assert json.loads(json.dumps(result)) == result
    faults = ("losses", "order_violations", "unexpected_closes", "failed_opens")
    assert {name: result[name] for name in faults} == dict.fromkeys(faults, 0), result["reasons"]
    assert set(measures) <= set(result["measures"])
    assert result["latency_ms"]["count"] > 0
    assert figure(result, "cpu.gateway_percent") is not None
    assert figure(result, "replica.queries_per_second") is not None
    closing = result["measures"].get("closing")
    if closing is not None:
        assert closing["canister_told"] == closing["clients"]
        assert closing["not_answered"] == 0


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str) -> None:
    changes, measures = SCENARIOS[scenario]
    result = results.run(small(scenario, **changes), GatewayOptions())
    check(result, *measures)
    assert result["machine"]["cpus"] >= 1
    assert result["software"]["packages"]["Twisted"]
    assert result["gateway"]["complaints"] == []
    if scenario == "down":
        assert result["measures"]["verified"] > 0
    if scenario == "storm":
        assert [each["survivors"] for each in result["measures"]["rounds"]] == [8, 8]
        assert result["measures"]["keep_alives"] == 16


def test_a_gateway_that_runs_already(tmp_path: Path) -> None:
    """Any gateway can be measured: here ours, started by other hands, over TLS."""
    replica = Worker(["replica", "{}"], None)
    try:
        port = replica.reply(30.0)["port"]
        gateway = GatewayProcess(GatewayOptions(tls=True), port, tmp_path)
        try:
            where = GatewayOptions(url=gateway.url, pids=gateway.pids)
            for options in (
                small("churn", clients=2, seconds=0.3, rate=20.0, calls="200"),
                small("churn", clients=2, seconds=0.2, linger=0.0),
                small("echo", clients=2, seconds=0.2, rate=0.0, real=False),
                small("down", clients=2, seconds=0.3, rate=100.0, real=False, pin=True),
                small("up", clients=2, seconds=0.3, rate=50.0),
            ):
                result = results.run(options, where, replica_port=port)
                check(result)
                assert not result["gateway"]["ours"]
        finally:
            assert gateway.stop() == 0
    finally:
        replica.stop()


def test_the_command_line_writes_a_result_and_profiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--clients", "2", "--seconds", "0.1", "--calm", "0"]
    assert (
        cli.main(
            [
                "run",
                "many",
                "--latency",
                "5",
                *short,
                "--results",
                str(tmp_path),
                "--label",
                "x",
                "--option=--relay-order=executed",
            ]
        )
        == 0
    )
    (result,) = results.read(tmp_path / "x")
    assert result["options"]["query_ms"] == 5.0
    assert result["name"] == "many,clients=2,seconds=0.1,query_ms=5,relay-order=executed"
    assert cli.main(["profile", "churn", *short, "--top", "200"]) == 0
    assert "icwsgw/server/protocol.py" in capsys.readouterr().out
