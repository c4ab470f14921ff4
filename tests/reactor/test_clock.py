from __future__ import annotations

import subprocess
import sys
from typing import Any

from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock as FakeClock

from icwsgw.reactor.clock import Clock, Timer, use_monotonic_time


def test_twisteds_clock_is_one() -> None:
    clock: Clock = FakeClock()
    timer: Timer = clock.callLater(1, list)
    assert timer.active()
    timer.reset(5)
    assert timer.getTime() == 5
    timer.cancel()
    assert not timer.active()
    assert clock.seconds() == 0


def test_a_reactors_time_only_goes_forward() -> None:
    wall, steady, called = [1e9], [5.0], list[str]()
    reactor: Any = SelectReactor()
    reactor.seconds = lambda: wall[0]
    reactor.callLater(10, called.append, "before")
    reactor.callLater(20, called.append, "never").cancel()
    reactor.runUntilCurrent()
    reactor.callLater(12, called.append, "before, not looked at yet")
    use_monotonic_time(reactor, lambda: steady[0])
    use_monotonic_time(reactor, lambda: steady[0])
    later = reactor.callLater(30, called.append, "after")
    assert [call.getTime() for call in reactor.getDelayedCalls() if call is not later] == [15.0, 17.0]
    wall[0] -= 3600
    steady[0] = 16.0
    reactor.runUntilCurrent()
    assert called == ["before"]
    later.reset(1)
    steady[0] = 17.0
    reactor.runUntilCurrent()
    assert called == ["before", "before, not looked at yet", "after"]


def test_other_clocks_are_left_alone() -> None:
    clock = FakeClock()
    use_monotonic_time(clock)
    clock.advance(3)
    assert clock.seconds() == 3


#: Ticks, sets the wall clock back by an hour, and ticks on; sets it forward, and what is due in an hour does not come.
SCRIPT = """
import time
real, moved = time.time, [0.0]
time.time = lambda: real() + moved[0]
from twisted.internet import reactor
from twisted.internet.task import LoopingCall
from icwsgw.reactor.clock import use_monotonic_time

use_monotonic_time(reactor)
ticks = []

def tick():
    ticks.append(moved[0])
    moved[0] = {5: -3600.0, 10: 7200.0}.get(len(ticks), moved[0])
    if len(ticks) == 15:
        print(sum(ticks), "early" if not hour.active() else "in time")
        reactor.stop()

hour = reactor.callLater(3600, lambda: None)
LoopingCall(tick).start(0.01)
reactor.run()
"""


def test_setting_the_machines_clock_neither_holds_timers_up_nor_brings_them_forward() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=False)
    assert run.stdout.split() == ["18000.0", "in", "time"], run.stderr
