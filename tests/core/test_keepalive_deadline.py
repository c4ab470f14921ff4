"""When a keep-alive will be too late."""

from __future__ import annotations

from icwsgw.core.keepalive_deadline import AFTER_WAIT_SECONDS, KEEP_ALIVE_SECONDS, MARGIN, KeepAliveDeadline


def test_nothing_is_owed_before_an_acknowledgement_and_after_the_keep_alive() -> None:
    watch = KeepAliveDeadline()
    assert watch.verdict(1000.0) is None
    watch.came(1.0, 100.0)
    assert watch.acknowledged(10.0)
    assert not watch.acknowledged(11.0)
    watch.executed()
    assert watch.verdict(1000.0) is None
    assert watch.acknowledged(20.0)


def test_one_that_has_not_come_shortly_before_the_canister_looks_is_too_late() -> None:
    watch = KeepAliveDeadline()
    watch.acknowledged(10.0)
    first = watch.verdict(10.0)
    assert first == KEEP_ALIVE_SECONDS - MARGIN
    assert watch.verdict(10.0 + first) == 0.0


def test_one_that_has_come_is_judged_by_the_queue_before_it() -> None:
    for wait, late in ((7.0, False), (9.0, True)):
        watch = KeepAliveDeadline()
        watch.acknowledged(0.0)
        watch.came(52.0, wait)
        verdict = watch.verdict(55.0)
        assert (verdict == 0.0) is late
    # it was expected in time, and is not there
    watch = KeepAliveDeadline()
    watch.acknowledged(0.0)
    watch.came(52.0, 7.0)
    assert watch.verdict(55.0) == 5.0
    assert watch.verdict(60.0) == 0.0


def test_the_first_keep_alive_that_comes_is_the_one_that_counts() -> None:
    watch = KeepAliveDeadline()
    watch.acknowledged(0.0)
    watch.came(52.0, 7.0)
    watch.came(53.0, 100.0)
    assert watch.verdict(55.0) == 5.0


def test_a_keep_alive_is_in_time_up_to_the_last_moment() -> None:
    watch = KeepAliveDeadline()
    watch.acknowledged(0.0)
    assert watch.verdict(KEEP_ALIVE_SECONDS - MARGIN - 0.5) == 0.5
    watch.came(50.0, 10.0)
    assert watch.verdict(55.0) == 5.0
    assert watch.verdict(60.0 - 1e-6) == 0.001
    assert watch.verdict(60.0) == 0.0


def test_the_watch_is_over_when_nothing_has_waited_for_a_while_and_none_is_owed() -> None:
    watch = KeepAliveDeadline()
    assert not watch.over(0.0, True)
    assert not watch.over(10.0, False), "until now something waited"
    assert not watch.over(10.0 + AFTER_WAIT_SECONDS - 0.1, False)
    assert watch.over(10.0 + AFTER_WAIT_SECONDS, False)
    watch.acknowledged(20.0)
    assert not watch.over(30.0, False), "a keep-alive is owed"
    watch.executed()
    assert watch.over(30.0, False)
    watch.waits()
    assert not watch.over(31.0, False)
    assert not watch.over(33.0, True)
    assert not watch.over(31.0 + AFTER_WAIT_SECONDS, False)
