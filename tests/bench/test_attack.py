from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bench.attack import ATTACKS, quantile
from bench.machine import ROOT


def test_quantiles_are_in_ms() -> None:
    assert quantile([0.001, 0.002, 0.003], 0.5) == 2.0
    assert quantile([0.001, 0.002, 0.003], 0.99) == 3.0


@pytest.mark.acceptance
def test_each_attack_runs_and_harms_nobody() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.attack", "--seconds", "4", "--honest", "5", "--together"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["attack"] for line in lines] == ["none", "+".join(ATTACKS), "after"]
    for line in lines:
        assert line["closed"] == 0, line["why"]
        assert line["echo p50"] > 0
