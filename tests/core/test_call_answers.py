"""What attempts bring, and the pauses before the next one."""

from __future__ import annotations

import pytest

from icwsgw.core.call_answers import (
    FORBIDDEN_ATTEMPTS,
    Answer,
    after_failure,
    may_have_been_executed,
    refusal_in,
    resubmit_delay,
)
from icwsgw.errors import ConnectFailed, ConnectionLost, HttpError, IcwsError, NotReady, RequestTimeout
from icwsgw.ic.ws import UNIT_OK, encode_result_err


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


def test_resubmissions_come_about_once_a_second_or_as_asked() -> None:
    assert [resubmit_delay(lambda: 0.0), resubmit_delay(lambda: 0.5), resubmit_delay(lambda: 1.0)] == [0.75, 1.0, 1.25]
    assert resubmit_delay(lambda: 0.0, 7.0) == 7.0


def test_resubmissions_of_ws_open_come_as_far_apart_as_it_has_taken() -> None:
    """The longer its end is to come, the less often it is asked for; it is known no later than after twice the time."""
    assert [resubmit_delay(lambda: 0.5, took=took) for took in (0.0, 0.5, 4.0, 60.0)] == [1.0, 1.0, 4.0, 10.0]
    assert resubmit_delay(lambda: 0.5, 30.0, took=4.0) == 30.0


FORBIDDEN = HttpError(403, error_cause="forbidden")


@pytest.mark.parametrize(
    ("error", "attempts", "answer"),
    [
        (HttpError(400), 1, Answer()),
        (HttpError(429), 1, Answer(retryable=True)),
        (HttpError(502), 1, Answer(arrived=True, retryable=True)),
        (HttpError(429, resent=True), 1, Answer(arrived=True, retryable=True)),
        (FORBIDDEN, FORBIDDEN_ATTEMPTS - 1, Answer(retryable=True)),
        (FORBIDDEN, FORBIDDEN_ATTEMPTS, Answer()),
        (ConnectFailed("refused"), 1, Answer(retryable=True)),
        (ConnectionLost("lost"), 1, Answer(arrived=True, retryable=True)),
        (RequestTimeout("late"), 1, Answer(arrived=True, retryable=True)),
        (NotReady("no root key"), 1, Answer(retryable=True)),
        (IcwsError("internal error"), 1, Answer()),
    ],
)
def test_what_a_failure_shows(error: IcwsError, attempts: int, answer: Answer) -> None:
    assert after_failure(error, attempts) == answer


def test_only_a_reply_that_decodes_as_err_is_a_refusal() -> None:
    assert refusal_in(UNIT_OK) is None
    assert refusal_in(b"no Candid") is None
    refusal = refusal_in(encode_result_err("not registered"))
    assert refusal is not None
    assert "not registered" in str(refusal)
