"""What attempts bring, and the pauses before the next one."""

from __future__ import annotations

import pytest

from icwsgw.core.call_answers import may_have_been_executed, resubmit_delay


@pytest.mark.parametrize(
    ("code", "error_code", "may"),
    [
        (4, None, True),
        (4, "IC0406", True),
        (5, "IC0503", False),
        (5, "IC0506", True),
        (3, None, False),
        (2, None, False),
    ],
)
def test_only_an_explicit_reject_may_have_kept_the_number(code: int, error_code: str | None, may: bool) -> None:
    assert may_have_been_executed(code, error_code) is may


def test_repostings_come_about_once_a_second_or_as_asked() -> None:
    assert [resubmit_delay(lambda: 0.0), resubmit_delay(lambda: 0.5), resubmit_delay(lambda: 1.0)] == [0.75, 1.0, 1.25]
    assert resubmit_delay(lambda: 0.0, 7.0) == 7.0


def test_repostings_of_ws_open_come_as_far_apart_as_it_has_taken() -> None:
    """The longer its end is to come, the less often it is asked for; it is known no later than after twice the time."""
    assert [resubmit_delay(lambda: 0.5, took=took) for took in (0.0, 0.5, 4.0, 60.0)] == [1.0, 1.0, 4.0, 10.0]
    assert resubmit_delay(lambda: 0.5, 30.0, took=4.0) == 30.0
