from twisted.internet.task import Clock

from icwsgw.observe.event_loop_lag import EventLoopLag
from icwsgw.observe.meters import Histogram


def test_lag_is_what_a_timer_comes_late_by() -> None:
    clock = Clock()
    histogram = Histogram((0.05, 1.0))
    sampler = EventLoopLag(histogram, clock, interval=0.25)
    sampler.start()
    sampler.start()
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(0.25)
    clock.advance(0.35)
    assert histogram.count == 2
    assert abs(histogram.sum - 0.1) < 1e-9
    sampler.stop()
    sampler.stop()
    assert clock.getDelayedCalls() == []


def test_the_worst_since_it_was_asked_for() -> None:
    clock = Clock()
    sampler = EventLoopLag(Histogram((1.0,)), clock, interval=0.25)
    assert sampler.take_worst() == 0
    sampler.start()
    for step in (0.25, 0.35, 0.25):
        clock.advance(step)
    assert round(sampler.take_worst(), 9) == 0.1
    assert sampler.take_worst() == 0
    clock.rightNow += 2.25
    assert sampler.take_worst() == 2, "the timer has not come yet"
