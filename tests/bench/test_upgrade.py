"""Upgrades under load, with tiny numbers: nothing is closed, lost or out of order. No figure is asserted."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import upgrade


def test_the_spread_of_silences() -> None:
    assert upgrade.spread([]) == {}
    assert upgrade.spread([7.0]) == {"p50": 7.0, "p99": 7.0, "max": 7.0}
    assert upgrade.spread([float(number) for number in reversed(range(200))]) == {
        "p50": 100.0,
        "p99": 198.0,
        "max": 199.0,
    }


def test_silences_are_those_of_each_upgrade_of_all_and_of_each_client() -> None:
    silences = upgrade.Silences()
    assert silences.summary()["p99_of_the_worst_upgrade"] == 0.0
    assert silences.add({"1": 5.0, "2": 7.0}) == {"p50": 7.0, "p99": 7.0, "max": 7.0}
    assert silences.add({}) == {}
    assert silences.add({"2": 6.0, "3": 1.0}) == {"p50": 6.0, "p99": 6.0, "max": 6.0}
    assert silences.summary() == {
        "p99_of_each_upgrade": [7.0, 6.0],
        "p99_of_the_worst_upgrade": 7.0,
        "of_all_upgrades": {"p50": 6.0, "p99": 7.0, "max": 7.0},
        "longest_of_each_client": {"p50": 5.0, "p99": 7.0, "max": 7.0},
    }


def test_the_link_leads_to_one_installation_and_then_to_the_other(tmp_path: Path) -> None:
    link = tmp_path / "current"
    for name in ("old", "new", "old"):
        upgrade.point(link, tmp_path / name / "bin" / "python")
        assert link.readlink() == tmp_path / name


def test_a_process_that_was_not_waited_for_has_ended() -> None:
    assert not upgrade._has_ended(os.getpid())
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert upgrade._has_ended(child)
    os.waitpid(child, 0)
    assert upgrade._has_ended(child)


@pytest.mark.acceptance
def test_clients_notice_nothing(capsys: Any) -> None:
    words = ["--clients=6", "--canisters=2", "--rate=20", "--upgrades=2", "--pause=0.5", f"--other={sys.executable}"]
    assert upgrade.main(words) == 0
    *each, whole = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["upgrade"] for line in each] == [1, 2]
    assert {"seconds", "handed_over_s", "taken_over_s", "silence_ms", "late_ms", "rss_mb"} <= set(each[0])
    faults = ("failed_opens", "closed", "lost", "out_of_order_or_doubled")
    assert {name: whole[name] for name in faults} == dict.fromkeys(faults, 0), whole["reasons"]
    assert (whole["clients"], whole["sent"]) == (6, whole["received"])
    assert whole["sent"] > 0
    assert len(whole["rss_mb"]) == 3
