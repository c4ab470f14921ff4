from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.client.reconnection import Pauses, Reconnection
from icwsgw.close_codes import CLOSE_CODES, CloseCode, Reconnect

PAUSES = Pauses(first=1.0, later=8.0, longest=60.0, stable=30.0)


def pauses(code: int, count: int, chance: float = 1.0) -> list[float | None]:
    reconnection = Reconnection(PAUSES)
    return [reconnection.pause(code, opened=True, open_for=0.0, chance=chance) for _ in range(count)]


def test_pauses_grow_up_to_the_longest() -> None:
    assert pauses(CloseCode.DRAINING, 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pauses(CloseCode.OVERLOADED, 5) == [8, 16, 32, 60, 60]


def test_pauses_are_random_over_half_of_their_length_and_the_first_over_all_of_it() -> None:
    assert pauses(CloseCode.DRAINING, 4, chance=0.0) == [0, 1, 2, 4]
    assert pauses(CloseCode.DRAINING, 4, chance=0.5) == [0.5, 1.5, 3, 6]


@pytest.mark.parametrize("info", CLOSE_CODES, ids=lambda info: str(int(info.code)))
def test_the_table_of_close_codes_decides(info: object) -> None:
    code, rule = int(info.code), info.reconnect  # type: ignore[attr-defined]
    for opened in (True, False):
        pause = Reconnection(PAUSES).pause(code, opened=opened, open_for=0.0, chance=1.0)
        if rule is Reconnect.NEVER or (rule is Reconnect.IF_OPENED and not opened):
            assert pause is None
        else:
            assert pause == (1.0 if rule is Reconnect.AGAIN else 8.0)


def test_a_replaced_client_does_not_connect_again() -> None:
    assert pauses(CloseCode.REPLACED, 1) == [None]


def test_an_unknown_code_connects_later() -> None:
    assert pauses(4999, 1) == [8]


def test_only_a_stable_session_resets_the_pauses() -> None:
    reconnection = Reconnection(PAUSES)
    for open_for in (0.0, 29.9, 29.9):
        last = reconnection.pause(1006, opened=True, open_for=open_for, chance=1.0)
    assert last == 4
    assert reconnection.pause(1006, opened=True, open_for=30.0, chance=1.0) == 1
    assert reconnection.attempts == 1


@given(st.lists(st.tuples(st.sampled_from([1006, 1013, 4100, 4105, 4999]), st.floats(0, 100), st.floats(0, 1))))
def test_no_pause_is_longer_than_the_longest_or_negative(losses: list[tuple[int, float, float]]) -> None:
    reconnection = Reconnection(PAUSES)
    for code, open_for, chance in losses:
        pause = reconnection.pause(code, opened=True, open_for=open_for, chance=chance)
        assert pause is not None
        assert 0 <= pause <= PAUSES.longest
        # whoever connects again and again waits
        if reconnection.attempts > 1:
            assert pause >= PAUSES.first / 2
