"""OrderedClock runs each call at its time."""

from __future__ import annotations

import pytest

from tests.support.ordered_clock import OrderedClock


@pytest.mark.parametrize("put_off", ["reset", "delay"])
def test_a_call_that_is_put_off_lets_others_run_first(put_off: str) -> None:
    clock = OrderedClock()
    ran: list[str | float] = []
    first = clock.callLater(1.0, ran.append, "first")
    for seconds in (2.0, 3.0, 4.0):
        clock.callLater(seconds, ran.append, seconds)
    getattr(first, put_off)(10.0)
    clock.callLater(2.5, ran.append, 2.5)
    for _ in range(4):
        clock.advance(1.0)
    assert ran == [2.0, 2.5, 3.0, 4.0]
    clock.advance(7.0)
    assert ran[-1] == "first"


def test_a_call_that_is_brought_forward_runs_before_others() -> None:
    clock = OrderedClock()
    ran: list[str | float] = []
    clock.callLater(2.0, ran.append, "early")
    clock.callLater(5.0, ran.append, "late").reset(1.0)
    clock.advance(1.5)
    assert ran == ["late"]
    clock.advance(1.0)
    assert ran == ["late", "early"]
