from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gateway import BenchError, GatewayOptions, GatewayProcess, make_certificate
from bench.machine import commit, machine, software
from bench.procfs import CpuMeter, machine_seconds, memory, tree


def test_a_process_and_its_children_are_found() -> None:
    command = "import subprocess, sys; p = subprocess.Popen(['cat'], stdin=0); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen(
        [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        child = int(process.stdout.readline())
        assert set(tree([process.pid])) == {process.pid, child}
        both, one = memory([process.pid]), memory([child])
        assert both["rss_kb"] > one["rss_kb"] > 0
        assert both["pss_kb"] > 0
        process.stdin.close()
    assert tree([process.pid]) == []


def test_cpu_time_only_grows() -> None:
    meter = CpuMeter([os.getpid()])
    before, machine_before = meter.seconds(), machine_seconds()
    sum(number * number for number in range(200_000))
    assert meter.seconds() > before > 0
    assert all(after >= then for after, then in zip(machine_seconds(), machine_before, strict=True))


def test_the_surroundings_are_named() -> None:
    assert machine()["cpus"] >= 1
    assert machine()["memory_kb"] > 0
    found = software(sys.executable)
    assert found["python"] == sys.version.split()[0]
    assert "Twisted" in found["packages"]
    assert set(commit()) == {"id", "changed"}


def test_a_gateway_that_ends_is_reported_with_its_output(tmp_path: Path) -> None:
    words = f"{sys.executable} -c 'raise SystemExit(\"no replica at {{replica}}\")'"
    with pytest.raises(BenchError, match="status 1") as caught:
        GatewayProcess(GatewayOptions(command=words), 1234, tmp_path)
    assert "no replica at http://127.0.0.1:1234" in str(caught.value)


def test_a_running_gateway_is_left_alone(tmp_path: Path) -> None:
    gateway = GatewayProcess(GatewayOptions(url="ws://127.0.0.1:1", pids=[os.getpid()]), 1, tmp_path)
    assert gateway.stop() is None
    assert gateway.complaints() == []


def test_a_certificate_of_our_own(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    assert certificate.read_bytes().startswith(b"-----BEGIN CERTIFICATE")
    assert b"PRIVATE KEY" in key.read_bytes()
