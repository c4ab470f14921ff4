from twisted.internet.task import Clock

from icwsgw.observe.lag import LagSampler
from icwsgw.observe.meters import Histogram


def test_lag_is_what_a_timer_comes_late_by() -> None:
    clock = Clock()
    histogram = Histogram((0.05, 1.0))
    sampler = LagSampler(histogram, clock, interval=0.25)
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
