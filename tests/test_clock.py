from __future__ import annotations

from twisted.internet.task import Clock as FakeClock

from icwsgw.clock import Clock, Timer


def test_twisteds_clock_is_one() -> None:
    clock: Clock = FakeClock()
    timer: Timer = clock.callLater(1, list)
    assert timer.active()
    timer.reset(5)
    assert timer.getTime() == 5
    timer.cancel()
    assert not timer.active()
    assert clock.seconds() == 0
