from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from bench.attack import judged, quantile
from bench.attackers import ATTACKS
from bench.gateway import free_port
from bench.machine import ROOT


def test_quantiles_are_in_ms() -> None:
    assert quantile([0.001, 0.002, 0.003], 0.5) == 2.0
    assert quantile([0.001, 0.002, 0.003], 0.99) == 3.0


def figures(p99: float, closed: int = 0, rss: int = 70) -> dict[str, float]:
    return {"echo p99": p99, "closed": closed, "rss MB": rss}


@pytest.mark.parametrize(
    ("attacked", "after", "held"),
    [
        ([figures(200), figures(280, rss=300)], figures(140, rss=310), True),
        ([figures(281), figures(200)], figures(140), False),
        ([figures(200, closed=1)], figures(140), False),
        ([figures(200)], figures(140, closed=1), False),
        ([figures(200, rss=300)], figures(140, rss=331), False),
    ],
)
def test_the_verdict(attacked: list[dict[str, float]], after: dict[str, float], held: bool) -> None:
    assert judged(figures(140), attacked, after)["held"] is held


def attack(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.attack", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.acceptance
@pytest.mark.long
def test_attacks_do_not_stop_delivery_in_the_gateways_own_time() -> None:
    """Time is the gateway's CPU time, so that a busy machine changes little but how much is done in it.

    The bench's own limit is twice the time in calm; a busy second thread of the same core costs a part of it.
    """
    words = ["--stepped", "--together", "--seconds", "6", "--honest", "50"]
    *_, verdict = attack(*words, "--option=--max-pending=1500", "--option=--query-budget=500")
    assert verdict["closed"] == 0
    assert verdict["echo p99 times calm"] < 5


@pytest.mark.acceptance
@pytest.mark.long
def test_each_attack_runs_and_harms_no_client() -> None:
    *lines, _ = attack("--seconds", "4", "--honest", "5", "--together")
    assert [line["attack"] for line in lines] == ["none", "+".join(ATTACKS), "after"]
    for line in lines:
        assert line["closed"] == 0, line["why"]
        assert line["echo p50"] > 0


def test_attackers_that_are_ended_as_soon_as_they_have_begun_tell_their_steps() -> None:
    command = [sys.executable, "-m", "bench.attack", "--be-attackers", str(free_port()), "addresses"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as attackers:
        assert attackers.stdout is not None
        assert attackers.stdout.readline() == b"\n"
        attackers.terminate()
        assert list(json.loads(attackers.communicate()[0])) == ["addresses"]
