from __future__ import annotations

import subprocess
import sys
import time

import pytest

from bench.machine import ROOT

#: A stand-in for the gateway that works for some CPU time in each turn, and sleeps between two turns as a reactor does.
WORKS = """
import os, socket, time
from bench.stepped import SOCKET, GatewayTime, _Poller

class Nothing:
    register = modify = unregister = close = fileno = None
    def poll(self, timeout, most):
        return []

now = GatewayTime()
now.replace_clocks()
poller = _Poller(Nothing(), now, socket.socket(fileno=int(os.environ[SOCKET])))
for turn in range(4):
    poller.poll(1.0, 10)
    began = time.clock_gettime(now._clock)
    while time.clock_gettime(now._clock) - began < 0.05:
        pass
    assert 0.05 <= time.monotonic() - (1001 + turn * 1.05) < 0.5, time.monotonic()
poller.poll(0, 10)
"""

DRIVER = """
import asyncio, os, subprocess, sys, time
from bench.stepped import SOCKET, Driver

driver = Driver()
works = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]], env={**os.environ, SOCKET: str(driver.fileno())}, pass_fds=(driver.fileno(),)
)
driver.started()

async def main():
    started = time.monotonic()
    woken = []
    driver.replica.call_later(0.5, lambda: woken.append(time.monotonic() - started))
    for _ in range(40):
        await asyncio.sleep(0.1)
    return time.monotonic() - started, woken

passed, woken = driver.run(main())
works.kill()
assert 4.0 <= passed < 4.3, passed
assert 0.5 <= woken[0] < 0.7, woken
assert sum(turn >= 0.05 for turn in driver.turns) >= 3, driver.turns
print("ok")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="epoll and the clock of a thread are Linux's")
def test_time_is_what_the_gateway_computes_and_what_it_waits_for() -> None:
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", DRIVER, WORKS], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.stdout == "ok\n", run.stdout + run.stderr
    assert time.monotonic() > began, "the clocks of this process are its own"
