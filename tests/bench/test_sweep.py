"""The steps of sweeps, what becomes of their results, and the search for the largest number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import cli, results, sweep
from bench.axes import AXES
from bench.options import DEFAULTS
from bench.scenarios import SCENARIOS


def test_each_step_is_a_possible_run() -> None:
    steps = list(sweep.steps(AXES))
    assert len({(step.axis.key, step.at, step.workers) for step in steps}) == len(steps)
    for step in steps:
        options = step.axis.options(step.at)
        assert options.scenario in SCENARIOS
        assert 0 < options.canisters <= options.clients
        assert options.count or options.rate or options.scenario in ("idle", "many")
        assert step.axis.charts


def test_what_is_swept_is_what_changes() -> None:
    connections, canisters, messages, latency, throughput = AXES
    assert connections.options(10_000).clients == 10_000
    assert (canisters.options(30).clients, canisters.options(30).canisters) == (30, 30)
    assert (messages.options(10).rate, messages.options(10).clients) == (10.0, 10)
    assert messages.options(10_000).clients == 200
    assert (latency.options(50).query_ms, latency.options(50).rate) == (50.0, 300.0)
    assert (throughput.options(50).query_ms, throughput.options(50).rate) == (50.0, 0.0)


def test_steps_are_chosen() -> None:
    chosen = list(sweep.steps(sweep.choose(["canisters"]), most=100))
    assert [(step.at, step.workers) for step in chosen] == [(1, 1), (10, 1), (30, 1), (100, 1), (100, 2)]
    assert {step.workers for step in sweep.steps(AXES, ours=False)} == {1}
    with pytest.raises(ValueError, match="no axis 'colour'"):
        sweep.choose(["colour"])


def test_connections_are_as_many_as_descriptors_allow() -> None:
    options = replace(DEFAULTS["idle"], clients=20_000, load_processes=2)
    assert sweep.fitting(options, 1, 30_000) is options
    assert sweep.fitting(options, 1, 20_000).clients == 19_400
    assert sweep.fitting(options, 2, 20_000) is options
    assert sweep.fitting(replace(options, load_processes=1), 2, 20_000).clients == 19_400


@pytest.mark.parametrize(
    ("start", "limit", "most"), [(1000, 5300, 100_000), (1000, 300, 100_000), (10, 0, 100), (7, 1, 9)]
)
def test_the_largest_is_found_to_within_a_tenth(start: int, limit: int, most: int) -> None:
    found = sweep.largest(lambda number: number <= limit, start, most)
    assert found <= limit
    assert limit - found <= max(1, found // 10)


def test_no_larger_one_is_tried_than_there_may_be() -> None:
    tried: list[int] = []

    def passes(number: int) -> bool:
        tried.append(number)
        return True

    assert sweep.largest(passes, 1000, 5000) == 5000
    assert tried == [1000, 2000, 4000, 5000]


@given(st.integers(1, 5000), st.integers(0, 20_000), st.integers(1, 20_000))
def test_the_search_ends(start: int, limit: int, most: int) -> None:
    tried: list[int] = []

    def passes(number: int) -> bool:
        tried.append(number)
        return number <= limit

    found = sweep.largest(passes, start, most)
    assert found <= min(limit, most)
    assert len(tried) < 40
    assert max(tried) <= most


def runner(monkeypatch: pytest.MonkeyPatch, made: Callable[..., Any]) -> list[tuple[Any, Any]]:
    """Let no run take place; what would have been run."""
    seen: list[tuple[Any, Any]] = []

    def run(options: Any, gateway: Any, **_: Any) -> Any:
        seen.append((options, gateway))
        return made(options.name, reasons=[], gateway={"complaints": []})

    monkeypatch.setattr(sweep, "run", run)
    return seen


def test_a_sweep_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.bench.test_results import result

    seen = runner(monkeypatch, result)
    words = ["sweep", "throughput", "messages", "--most", "10", "--seconds", "0.5", "--results", str(tmp_path)]
    assert cli.main(words) == 0
    assert [options.seconds for options, _ in seen] == [0.5, 0.5, 10.0, 10.0]
    assert [gateway.options for _, gateway in seen] == [[], [], [], ["--workers=2"]]
    shown = capsys.readouterr().out
    assert "**Canister messages to 200 clients**" in shown
    assert shown.splitlines()[-1].startswith("| 0 | 2 | 1,000 | 20 |")
    assert len(list(tmp_path.iterdir())) == 4
    assert cli.main(["tables", str(tmp_path)]) == 0
    assert capsys.readouterr().out == shown
    assert cli.main(["sweep", "--list", "canisters"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["canisters", "1", "canisters,", "1", "worker"]


def test_the_largest_storm_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.bench.test_results import result

    def run(options: Any, gateway: Any, **_: Any) -> Any:
        losses = max(0, options.clients - 300)
        return result(options.name, reasons=[], gateway={"complaints": []}, losses=losses)

    monkeypatch.setattr(results, "run", run)
    words = ["run", "storm", "--clients", "100", "--latency", "0", "--find-largest", "--results", str(tmp_path)]
    assert cli.main(words) == 0
    assert capsys.readouterr().out == "queries of 0 ms, calls of 0 ms: 300 clients, 3 rounds\n"
    assert cli.main(["run", "storm", "down", "--find-largest"]) == 1
    assert "for storm alone" in capsys.readouterr().err
