import itertools

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.acme_order import (
    FIRST_POLL,
    LONGEST_POLL,
    ORDER_SECONDS,
    AuthorizationStep,
    OrderStep,
    authorization_step,
    order_step,
    poll_pause,
)


def test_states_of_rfc_8555() -> None:
    """Section 7.1.6, the figures."""
    assert [order_step(status) for status in ("pending", "ready", "processing", "valid", "invalid")] == [
        *(OrderStep.AUTHORIZE, OrderStep.FINALIZE, OrderStep.WAIT, OrderStep.DOWNLOAD, OrderStep.FAIL)
    ]
    assert authorization_step("pending") is AuthorizationStep.ANSWER
    assert authorization_step("valid") is AuthorizationStep.DONE
    for status in ("invalid", "deactivated", "expired", "revoked"):
        assert authorization_step(status) is AuthorizationStep.FAIL


@given(st.text())
def test_unknown_states_end_the_order(status: str) -> None:
    if status not in ("pending", "ready", "processing", "valid", "invalid"):
        assert order_step(status) is OrderStep.FAIL
        assert authorization_step(f"x{status}") is AuthorizationStep.FAIL


@given(st.integers(0, 10_000), st.none() | st.floats(0, 1e9))
def test_pauses_are_bounded(asked: int, retry_after: float | None) -> None:
    pause = poll_pause(asked, retry_after)
    assert FIRST_POLL <= pause <= LONGEST_POLL
    assert pause >= min(retry_after or 0.0, LONGEST_POLL)
    assert poll_pause(asked + 1, retry_after) >= pause


def test_each_pause_is_twice_the_one_before() -> None:
    assert [poll_pause(asked) for asked in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


def test_few_questions_in_the_time_of_an_order() -> None:
    times = itertools.accumulate(poll_pause(asked) for asked in range(100))
    assert sum(time < ORDER_SECONDS for time in times) < 30
