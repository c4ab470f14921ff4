"""How old messages are when they come."""

from typing import Any

import pytest

from icwsgw.gateway.polling.queue_lag import EVERY, FRESH, LONGEST, QueueLag
from icwsgw.ic import cbor
from icwsgw.observe.labels import QUEUE_LAG
from icwsgw.observe.meters import Histogram
from tests.support.fake_network import NOW_NS, make_context, set_skew


def content(age: float, **more: Any) -> bytes:
    message = {"sequence_num": 3, "timestamp": NOW_NS - int(age * 1e9), "content": b"x", **more}
    return cbor.dumps(message)


def test_lag_is_the_age_of_the_message_by_the_networks_clock() -> None:
    context, _, clock = make_context()
    lag = QueueLag(histogram := Histogram(QUEUE_LAG))
    assert lag.latest(0.0) is None
    lag.look(content(1.5), context)
    assert lag.latest(clock.seconds()) == pytest.approx(1.5)
    # the network's clock is twenty seconds ahead of ours
    clock.advance(1)
    set_skew(context, 20_000_000_000)
    lag.look(content(-18.0), context)
    assert lag.latest(clock.seconds()) == pytest.approx(3.0)
    assert (histogram.count, histogram.sum) == (2, pytest.approx(4.5))


def test_it_is_never_negative() -> None:
    context, _, _ = make_context()
    lag = QueueLag(histogram := Histogram(QUEUE_LAG))
    lag.look(content(-1.0), context)
    assert (lag.latest(0.0), histogram.sum) == (0.0, 0.0)


def test_few_messages_are_looked_at() -> None:
    context, _, clock = make_context()
    lag = QueueLag(histogram := Histogram(QUEUE_LAG))
    for _ in range(100):
        lag.look(content(1.0), context)
        clock.advance(EVERY / 10)
    assert histogram.count == 10


@pytest.mark.parametrize(
    "other",
    [b"", b"\xff", b"\x01", cbor.dumps({}), cbor.dumps({"timestamp": "now"}), content(1.0, more=bytes(LONGEST))],
)
def test_what_tells_no_time_is_passed_over(other: bytes) -> None:
    context, _, _ = make_context()
    lag = QueueLag(histogram := Histogram(QUEUE_LAG))
    lag.look(other, context)
    assert (lag.latest(0.0), histogram.count) == (None, 0)


def test_an_old_figure_is_none() -> None:
    context, _, clock = make_context()
    lag = QueueLag(Histogram(QUEUE_LAG))
    lag.look(content(1.0), context)
    clock.advance(FRESH)
    assert lag.latest(clock.seconds()) == pytest.approx(1.0)
    assert lag.latest(clock.seconds() + 0.1) is None


def test_a_measurement_of_a_former_process_counts() -> None:
    lag, copy = QueueLag(Histogram([1.0])), QueueLag(Histogram([1.0]))
    copy.read(lag.written())
    assert copy.latest(0.0) is None
    lag._measured, lag._seconds = 100.0, 1.5
    copy.read(lag.written())
    assert (copy.latest(100.0), copy.latest(100.0 + FRESH + 1)) == (1.5, None)
