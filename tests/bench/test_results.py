"""Results on disk, their comparison, the table of targets, the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import cli, compare, results, suite
from bench.histogram import Histogram
from bench.options import DEFAULTS, LATENCIES, scaled
from bench.scenarios import SCENARIOS


def result(name: str = "down", cost: float = 20.0, date: str = "2026-01-01T00:00:00+00:00", **more: Any) -> Any:
    latency = Histogram()
    latency.update([1_000_000, 2_000_000])
    return {
        "schema": results.SCHEMA,
        "name": name,
        "date": date,
        "options": {"scenario": "down"},
        "measures": {"gateway_us_per_message": cost, "messages_per_second": 1000.0, "opened": 5},
        "cpu": {"gateway_percent": 5.0},
        "latency_of": "something",
        "latency_ms": latency.summary(),
        "latency": latency.to_json(),
        "losses": 0,
        "order_violations": 0,
        "unexpected_closes": 0,
        "failed_opens": 0,
        "replica": {"queries_per_second": 10.0},
        **more,
    }


def test_results_are_appended_and_read_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    later, earlier = result(date="2026-01-02T00:00:00+00:00"), result()
    paths = {results.write(each, folder) for each in (later, earlier, earlier)}
    assert len(paths) == 3
    assert results.read(folder) == [earlier, earlier, later]
    assert results.read(min(paths)) in ([earlier], [later])


def test_something_else_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no results"):
        results.read(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="not a result"):
        results.read(tmp_path)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json"):
        results.read(tmp_path)


def test_a_line_shows_what_is_wrong() -> None:
    line = results.line(result(losses=3))
    assert "gateway us per message 20" in line
    assert "losses 3!" in line
    assert "!" not in results.line(result())


def test_ratios_have_a_direction() -> None:
    rows = {row.figure: row for row in compare.compare([result()], [result(cost=10.0, losses=2)])}
    cost = rows["gateway_us_per_message"]
    assert (cost.ratio, cost.verdict) == (0.5, "better")
    assert rows["messages_per_second"].verdict == ""
    assert (rows["losses"].ratio, rows["losses"].verdict) == (None, "worse")
    assert "order_violations" not in rows
    assert "opened" not in rows


def test_more_is_better_where_it_is() -> None:
    faster = result()
    faster["measures"]["messages_per_second"] = 2000.0
    (row,) = [row for row in compare.compare([result()], [faster]) if row.figure == "messages_per_second"]
    assert row.verdict == "better"


def test_the_median_of_repeated_runs_counts() -> None:
    rows = compare.compare([result(cost=cost) for cost in (1.0, 10.0, 99.0)], [result(cost=20.0)])
    assert [row.a for row in rows if row.figure == "gateway_us_per_message"] == [10.0]


def test_runs_are_matched_by_name() -> None:
    one, other = [result(), result("up")], [result(), result("echo")]
    assert {row.run for row in compare.compare(one, other)} == {"down"}
    assert compare.unmatched(one, other) == (["up"], ["echo"])


def test_the_table_is_markdown() -> None:
    text = compare.table(compare.compare([result()], [result(cost=10.0)]), "old", "new")
    assert "| down | messages_per_second | 1000 | 1000 | 1 |  |" in text.splitlines()
    assert "|  | gateway_us_per_message | 20 | 10 | 0.5 | better |" in text.splitlines()
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_names_say_what_is_special() -> None:
    assert DEFAULTS["down"].name == "down"
    assert replace(DEFAULTS["down"], rate=300.0, real=False).name == "down,rate=300,real=no"
    assert DEFAULTS.keys() == LATENCIES.keys() == SCENARIOS.keys()


def test_scaling_keeps_a_run_possible() -> None:
    for options in DEFAULTS.values():
        small = scaled(options, 0.001)
        assert small.clients > small.slow
        assert 0 < small.canisters <= small.clients
        assert scaled(options, 1) is options


def test_cases_have_names_of_their_own() -> None:
    assert len(suite.BY_KEY) == len(suite.CASES)
    assert [case.key for case in suite.choose(["idle"])] == ["idle-1000", "idle-5000"]
    assert suite.choose([]) == list(suite.CASES)
    with pytest.raises(ValueError, match="no case 'nothing'"):
        suite.choose(["nothing"])


def test_the_report_says_what_was_missed() -> None:
    case = suite.BY_KEY["down-max"]
    good, bad = suite.report([(case, result(cost=15.0))]), suite.report([(case, result(cost=17.0))])
    assert "missed" not in good
    assert "| gateway_us_per_message | 17 | at most 16 | missed |" in bad
    assert "losses | 2 | at most 0 | missed |" in suite.report([(case, result(cost=15.0, losses=2))])
    assert "order_violations" not in good
    assert "| ms, p50 | 1.004 | - | |" in suite.report([(suite.BY_KEY["idle-5000"], result())])


def test_options_of_the_command_line() -> None:
    words = ["run", "down", "--latency", "0", "100/20", "--clients", "7", "--rate", "2.5", "--certificates", "fake"]
    args = cli._parser().parse_args(words)
    assert args.latency == [(0.0, 0.0), (100.0, 20.0)]
    options = cli._options("down", args.latency[1], args)
    assert (options.clients, options.rate, options.real) == (7, 2.5, False)
    assert (options.query_ms, options.call_ms, options.calls) == (100.0, 20.0, "200")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["run", "slow", "--rate", "0"], "slow needs a rate"),
        (["run", "down", "--count", "1000000"], "keeps 200,000 messages"),
        (["run", "down", "--gateway", "ws://127.0.0.1:1"], "--gateway needs --pid"),
        (["run", "down", "--latency", "0", "--gateway", "ws://127.0.0.1:1", "--pid", "1"], "needs --replica-port"),
        (["profile", "down", "--command", "true"], "only our own"),
        (["suite", "nothing"], "no case"),
        (["compare", "/nonexistent/a", "/nonexistent/b"], "nonexistent"),
    ],
)
def test_mistakes_are_reported(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 1
    assert error in capsys.readouterr().err


def test_compare_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results.write(result(), tmp_path / "a")
    results.write(result(cost=5.0), tmp_path / "b")
    results.write(result("up"), tmp_path / "b")
    assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    shown = capsys.readouterr()
    assert "0.25 | better" in shown.out
    assert "only in" in shown.err


def test_the_suite_names_its_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["suite", "--list", "storm"]) == 0
    assert capsys.readouterr().out.startswith("storm-1000")


def test_plots_are_the_same_for_the_same_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench import plotting

    sets = {"a": [result()], "b": [json.loads(json.dumps(result(cost=9.0)))]}
    drawn = plotting.plot(sets, tmp_path / "one")
    again = plotting.plot(sets, tmp_path / "two")
    assert [path.name for path in drawn] == ["latency-down.svg", "cpu.svg", "rate.svg"]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(drawn, again, strict=True))
