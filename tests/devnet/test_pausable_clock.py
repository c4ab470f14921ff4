from __future__ import annotations

from twisted.internet.task import Clock

from icwsgw.devnet.pausable_clock import PausableClock


def test_without_a_pause_it_is_the_clock_below() -> None:
    below = Clock()
    called: list[str] = []
    clock = PausableClock(below)
    timer = clock.callLater(2, called.append, "a")
    assert timer.active()
    assert timer.getTime() == 2
    below.advance(1)
    assert clock.seconds() == 1
    timer.reset(2)
    below.advance(1.5)
    assert called == []
    assert timer.getTime() == 3
    below.advance(0.5)
    assert (called, timer.active()) == (["a"], False)


def test_what_is_due_in_a_pause_is_called_after_it_in_its_order() -> None:
    below = Clock()
    called: list[str] = []
    clock = PausableClock(below)
    clock.callLater(2, called.append, "second")
    clock.callLater(1, called.append, "first")
    later = clock.callLater(9, called.append, "later")
    clock.paused = True
    below.advance(3)
    assert called == []
    clock.paused = False
    below.advance(0)
    assert called == ["first", "second"]
    assert later.active()
    below.advance(6)
    assert called == ["first", "second", "later"]
    assert below.getDelayedCalls() == []


def test_what_waits_can_be_cancelled_and_moved() -> None:
    below = Clock()
    called: list[str] = []
    clock = PausableClock(below)
    cancelled, moved = (clock.callLater(1, called.append, name) for name in ("cancelled", "moved"))
    clock.paused = True
    below.advance(1)
    assert cancelled.active()
    cancelled.cancel()
    moved.reset(5)
    assert (cancelled.active(), moved.active()) == (False, True)
    clock.paused = False
    below.advance(0)
    assert called == []
    below.advance(5)
    assert called == ["moved"]
    moved.cancel()
