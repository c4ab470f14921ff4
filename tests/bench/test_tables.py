from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import plotting
from bench.tables import tables
from tests.bench.test_results import result


def swept(at: float, workers: int = 1, cost: float = 20.0, **more: Any) -> Any:
    return result(f"down {at}", cost, sweep={"axis": "messages", "at": at, "workers": workers}, **more)


def test_a_sweep_is_a_table_in_order() -> None:
    lines = tables({"ours": [swept(1000.0), swept(10.0, cost=1234.5), swept(1000.0, 2)]}).splitlines()
    assert lines[0] == "**Canister messages to 200 clients**"
    assert lines[2] == (
        "| messages/s | workers | delivered/s | CPU a message, us | CPU, % of a core | p50, ms | p99, ms | queries/s |"
    )
    assert [line.split(" | ")[0:2] + line.split(" | ")[3:4] for line in lines[4:]] == [
        ["| 10", "1", "1,234"],
        ["| 1,000", "1", "20"],
        ["| 1,000", "2", "20"],
    ]
    assert len({line.count("|") for line in lines[2:]}) == 1


def test_sets_stand_below_each_other_and_repeated_runs_are_one() -> None:
    sets = {"original": [swept(10.0, cost=cost) for cost in (1.0, 40.0, 900.0)], "ours": [swept(10.0)]}
    lines = tables(sets).splitlines()
    assert lines[2].startswith("| messages/s | gateway | delivered/s")
    assert lines[4].startswith("| 10 | original | 1,000 | 40 |")
    assert lines[5].startswith("| 10 | ours | 1,000 | 20 |")


def test_other_runs_stand_side_by_side() -> None:
    lines = tables({"a": [result(), result("up")], "b": [result(cost=10.0)]}).splitlines()
    assert lines[:2] == ["| run | figure | a | b | ratio |", "|---|---|---:|---:|---:|"]
    assert "|  | CPU a message, us | 20 | 10 | 0.50 |" in lines
    assert "| up | messages/s | 1,000 | - | - |" in lines
    assert len({line.count("|") for line in lines}) == 1


def test_tables_show_what_went_wrong() -> None:
    assert "faults" not in tables({"a": [swept(1.0)], "b": [result()]})
    shown = tables({"a": [swept(1.0), swept(2.0, losses=3), result(failed_opens=2, losses=1)]})
    assert "| losses 3 |" in shown
    assert "| faults | losses 1, failed opens 2 |" in shown


def test_a_sweep_is_a_picture_and_its_runs_are_in_no_other(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    sets = {"ours": [swept(10.0), swept(100.0), swept(100.0, 2)], "other": [swept(10.0), result()]}
    drawn = plotting.plot(sets, tmp_path)
    assert [path.name for path in drawn] == ["sweep-messages.svg", "latency-down.svg", "cpu.svg", "rate.svg"]
    picture = drawn[0].read_text()
    assert "ours, 2 workers" in picture
    assert "other" in picture
    assert "down 10" not in "".join(path.read_text() for path in drawn[1:])


def test_labels_of_an_axis_do_not_stand_in_each_other() -> None:
    marks = [1, 10, 100, 1000, 5000, 10_000, 19_400]
    assert plotting.tick_labels(marks, logarithmic=True) == ["1", "10", "100", "1,000", "5,000", "", "19,400"]  # type: ignore[arg-type]
    assert plotting.tick_labels([0, 20, 50, 300], logarithmic=False) == ["0", "", "50", "300"]
    assert plotting.tick_labels([7], logarithmic=True) == ["7"]
