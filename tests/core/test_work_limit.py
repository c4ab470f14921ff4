from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from icwsgw.core.work_limit import BURST_SECONDS, SHARE, WorkLimit


def test_a_little_is_free() -> None:
    waste = WorkLimit()
    assert waste.pause(5.0) == 0
    waste.spent(5.0, BURST_SECONDS / 2)
    assert waste.pause(5.0) == 0
    waste.spent(5.0, BURST_SECONDS / 2 + 0.001)
    assert waste.pause(5.0) == pytest.approx(0.001 / SHARE)


def test_what_goes_on_for_ever_takes_its_share_and_no_more() -> None:
    waste, now, spent = WorkLimit(), 100.0, 0.0
    while now < 160:
        now += 0.0004
        spent += 0.0004
        waste.spent(now, 0.0004)
        now += waste.pause(now)
    assert spent / 60 == pytest.approx(SHARE, rel=0.05)


def test_after_a_rest_a_little_is_free_again() -> None:
    waste = WorkLimit()
    waste.spent(0.0, 1.0)
    assert waste.pause(0.0) > 10
    assert waste.pause(1.0 / SHARE) == 0


@given(st.floats(0.0, 1e7), st.floats(0.0, 10.0))
@example(3.63075, 0.0137)
def test_a_pause_ends(now: float, seconds: float) -> None:
    """A pause that is lost when it is added to the time would follow itself for ever."""
    waste = WorkLimit()
    waste.spent(now, seconds)
    while (pause := waste.pause(now)) > 0:
        assert now + pause > now
        now += pause
