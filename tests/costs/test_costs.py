"""Counted costs are within their bounds; ``python -m tests.costs`` prints them, and changes the bounds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.costs.counting import Counted, Meter
from tests.costs.operations import OPERATIONS
from tests.costs.table import (
    BOUNDS,
    PAGE,
    SHOWN,
    Bounds,
    Figures,
    as_markdown,
    judge,
    libraries,
    moved,
    page_with,
    running,
)
from tests.test_layering import ROOT

#: The fixture counts for a minute: one process of tests does it, not each.
pytestmark = pytest.mark.xdist_group("costs")

BOUND_OF = [(name, kind) for name, row in Bounds().column(running())[0].items() for kind in row]


@pytest.fixture(scope="module")
def figures() -> Figures:
    """Counted in their own process, without coverage and without objects of other tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE"))}
    environment |= {"PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.costs", "--json"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    found: Figures = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize(("name", "kind"), BOUND_OF, ids=[f"{kind} of {name}" for name, kind in BOUND_OF])
def test_a_cost_is_within_its_bound(figures: Figures, name: str, kind: str) -> None:
    column, loose = Bounds().column(running())
    verdict = judge(kind, figures[name][kind], column[name][kind], loose)
    assert verdict.sound, f"{name}, {kind}: {verdict.text} (python -m tests.costs)"


def test_everything_that_is_counted_has_a_bound(figures: Figures) -> None:
    column, _ = Bounds().column(running())
    assert {name: set(row) for name, row in figures.items()} == {name: set(row) for name, row in column.items()}
    assert set(OPERATIONS) < set(figures)


@pytest.mark.parametrize(
    ("kind", "figure", "bound", "loose", "sound"),
    [
        ("calls", 100.0, 100.0, False, True),
        ("calls", 101.0, 100.0, False, False),
        ("calls", 604.0, 600.0, False, False),
        ("calls", 602.0, 600.0, False, True),
        ("calls", 96.0, 100.0, False, True),
        ("calls", 94.0, 100.0, False, False),
        ("calls", 104.0, 100.0, True, True),
        ("calls", 106.0, 100.0, True, False),
        ("calls", 10.0, 100.0, True, True),
        ("system", 6.0, 5.0, False, False),
        ("system", 4.0, 5.0, False, False),
        ("bytes", 10_200.0, 10_000.0, False, True),
        ("bytes", 10_400.0, 10_000.0, False, False),
        ("bytes", 7_900.0, 10_000.0, False, False),
    ],
)
def test_what_is_within_a_bound(kind: str, figure: float, bound: float, loose: bool, sound: bool) -> None:
    assert judge(kind, figure, bound, loose).sound is sound


def test_writing_moves_the_bounds_of_other_versions_by_the_same(tmp_path: Path) -> None:
    path = tmp_path / "bounds.json"
    one = {"with": libraries(), "figures": {"an operation": {"calls": 100.0, "bytes": 5000}}}
    other = {"with": {}, "figures": {"an operation": {"calls": 90.0, "bytes": 4000}}}
    path.write_text(json.dumps({"3.11": one, "3.12": other}))
    Bounds(path).write("3.11", {"an operation": {"calls": 97.0, "bytes": 5100}, "another": {"calls": 7.0}})
    after = Bounds(path)
    assert after.column("3.11") == ({"an operation": {"calls": 97.0, "bytes": 5100}, "another": {"calls": 7.0}}, False)
    assert after.column("3.12") == ({"an operation": {"calls": 87.0, "bytes": 4100}, "another": {"calls": 7.0}}, True)
    Bounds(path).write("3.11", {"an operation": {"calls": 1.0}, "another": {"calls": 7.0}}, alone=True)
    assert after.column("3.12") == Bounds(path).column("3.12")
    Bounds(path).write("3.13", {"an operation": {"calls": 1.0}})
    assert after.column("3.12") == Bounds(path).column("3.12")
    # an operation without a bound gets the figure as it is, but with more room
    assert after.column("3.14") == after.column("3.12")
    assert moved({}, {}, {"new": {"calls": 1.0}}) == {"new": {"calls": 1.0}}


def test_the_file_is_as_writing_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "bounds.json"
    path.write_text(BOUNDS.read_text())
    column = json.loads(path.read_text())[SHOWN]
    Bounds(path).write(SHOWN, column["figures"])
    assert json.loads(path.read_text())["3.13"] == json.loads(BOUNDS.read_text())["3.13"]
    assert path.read_text().count("\n") == BOUNDS.read_text().count("\n")


def test_the_page_shows_the_bounds() -> None:
    shown = json.loads(BOUNDS.read_text())[SHOWN]["figures"]
    assert PAGE.read_text() == page_with(shown, PAGE.read_text()), "python -m tests.costs --write"
    assert as_markdown(shown).count("\n") > 12


class Gateway:
    """A stand-in for the gateway whose work is counted."""

    def __init__(self) -> None:
        self.ends = socket.socketpair()
        self.kept: list[Any] = []

    def works(self) -> None:
        for _ in range(3):
            self.helps()
        self.ends[0].send(b"x")
        self.ends[1].recv(1)

    def helps(self) -> None:
        self.ends[0].fileno()

    def calls_unknown(self) -> None:
        os.getppid()

    def keeps(self) -> None:
        passing = bytes(300_000)
        self.kept.append(bytes(100_000))
        del passing
        # a reference cycle that nothing else refers to
        lost: list[Any] = [bytes(50_000)]
        lost.append(lost)

    def close(self) -> None:
        for end in self.ends:
            end.close()


def counts_of(code_of: Any, counted: Counted) -> int:
    return counted.functions[code_of.__code__]


def test_calls_are_counted_where_the_gateway_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.costs.counting._HERE", "/nowhere")
    gateway, meter, counted = Gateway(), Meter(), Counted()
    meter.watch(gateway.works)
    with meter.calls(counted):
        gateway.works()
        meter.watch(gateway.works)
        with meter.unwatched():
            meter.watch(gateway.works)
    gateway.close()
    assert counts_of(Gateway.works, counted) == 1
    assert counts_of(Gateway.helps, counted) == 3
    assert counted.system_calls == {"socket.send": 1, "socket.recv": 1}
    assert not counted.unknown


def test_what_may_be_a_system_call_is_not_passed_over() -> None:
    gateway, meter, counted = Gateway(), Meter(), Counted()
    with meter.calls(counted):
        meter.watch(gateway.calls_unknown)
    gateway.close()
    assert counted.unknown == {"posix.getppid"}


def test_memory_is_counted_without_garbage() -> None:
    gateway, meter = Gateway(), Meter()
    with meter.memory():
        others = bytes(1_000_000)
        meter.watch(gateway.keeps)
    gateway.close()
    assert len(others) == 1_000_000
    assert 100_000 <= meter.held < 110_000
    assert 400_000 <= meter.peak < 460_000
