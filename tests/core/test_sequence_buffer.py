"""Envelopes ahead of their turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.sequence_buffer import MOST_HELD, MOST_HELD_BYTES, SequenceBuffer


def taken(sequence_buffer: SequenceBuffer[int], *numbers: int, size: int = 1, room: bool = True) -> list[list[int]]:
    return [list(sequence_buffer.take(number, number, size, room)) for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "gone"),
    [
        ([1, 2, 3], [[1], [2], [3]]),
        ([2, 1, 3], [[], [1, 2], [3]]),
        ([1, 4, 3, 2, 5], [[1], [], [], [2, 3, 4], [5]]),
        ([1, 1, 0], [[1], [1], [0]]),
        # far ahead: the canister decides, and what was held goes before it
        ([2, 1000], [[], [2, 1000]]),
        # twice the same number ahead
        ([3, 3, 4], [[], [3, 3], [4]]),
    ],
)
def test_what_goes_when(numbers: list[int], gone: list[list[int]]) -> None:
    assert taken(SequenceBuffer(), *numbers) == gone


def test_what_is_held_goes_when_the_missing_one_does_not_come() -> None:
    sequence_buffer: SequenceBuffer[int] = SequenceBuffer()
    assert taken(sequence_buffer, 1, 5, 3) == [[1], [], []]
    assert list(sequence_buffer.release()) == [3, 5]
    assert list(sequence_buffer.release()) == []
    # the missing ones come after all, and the next one in turn
    assert taken(sequence_buffer, 2, 4, 6) == [[2], [4], [6]]


def test_what_is_held_is_bounded_in_number_and_bytes() -> None:
    sequence_buffer: SequenceBuffer[int] = SequenceBuffer()
    assert taken(sequence_buffer, *range(2, MOST_HELD + 2)) == [[]] * MOST_HELD
    assert len(sequence_buffer) == MOST_HELD
    assert taken(sequence_buffer, MOST_HELD + 2) == [list(range(2, MOST_HELD + 3))]
    sequence_buffer = SequenceBuffer()
    assert taken(sequence_buffer, 2, 3, size=MOST_HELD_BYTES // 2) == [[], []]
    assert taken(sequence_buffer, 4) == [[2, 3, 4]]


@given(st.permutations(range(1, 16)))
def test_any_order_of_few_becomes_theirs(numbers: list[int]) -> None:
    assert [number for gone in taken(SequenceBuffer(), *numbers) for number in gone] == sorted(numbers)


@given(st.lists(st.one_of(st.integers(0, 40), st.just((1 << 64) - 1), st.none()), max_size=100))
def test_nothing_is_lost_or_doubled(script: list[int | None]) -> None:
    sequence_buffer: SequenceBuffer[int] = SequenceBuffer()
    gone: list[int] = []
    for number in script:
        gone += sequence_buffer.release() if number is None else sequence_buffer.take(number, number, 1, True)
        assert len(sequence_buffer) == sequence_buffer.octets <= MOST_HELD
    gone += sequence_buffer.release()
    assert sorted(gone) == sorted(number for number in script if number is not None)


def test_the_next_in_turn_is_the_one_behind_all_that_has_gone() -> None:
    sequence_buffer: SequenceBuffer[int] = SequenceBuffer()
    assert taken(sequence_buffer, 5, 3, 3) == [[], [], [3, 5, 3]]
    # 6 is the next: 7 waits for it, and 4 comes too late for any turn
    assert taken(sequence_buffer, 7, 4, 6) == [[], [4], [6, 7]]
    sequence_buffer = SequenceBuffer()
    assert taken(sequence_buffer, 2, 2, 4, 3) == [[], [2, 2], [], [3, 4]]
    sequence_buffer = SequenceBuffer()
    assert taken(sequence_buffer, 3) == [[]]
    assert list(sequence_buffer.release()) == [3]
    assert taken(sequence_buffer, 5, 4) == [[], [4, 5]]


def test_bytes_that_have_gone_make_room_for_as_many() -> None:
    half = MOST_HELD_BYTES // 2
    sequence_buffer: SequenceBuffer[int] = SequenceBuffer()
    for first in (1, 4):
        assert taken(sequence_buffer, first + 1, first + 2, size=half) == [[], []]
        assert taken(sequence_buffer, first, size=half) == [[first, first + 1, first + 2]]
    assert taken(sequence_buffer, 8, 9, size=half) == [[], []]
    assert list(sequence_buffer.release()) == [8, 9]
    assert taken(sequence_buffer, 11, 12, size=half) == [[], []]


def test_what_has_gone_takes_no_room() -> None:
    """A client whose frames cross all day long may hold as much the last time as the first."""
    sequence_buffer: SequenceBuffer[int] = SequenceBuffer()
    for first in range(1, 20, 4):
        assert taken(sequence_buffer, first, first + 2, size=MOST_HELD_BYTES // 2) == [[first], []]
        assert list(sequence_buffer.release()) == [first + 2]
        assert taken(sequence_buffer, first + 3) == [[first + 3]]


def test_where_all_clients_leave_no_room_one_envelope_waits_and_a_second_one_goes_on_with_it() -> None:
    """Two frames in the wrong order stay harmless; a client that holds more adds to what waits no longer."""
    sequence_buffer: SequenceBuffer[int] = SequenceBuffer()
    assert taken(sequence_buffer, 2, 1, room=False) == [[], [1, 2]]
    assert taken(sequence_buffer, 4, 6, room=False) == [[], [4, 6]]
    assert sequence_buffer.octets == 0
    assert taken(sequence_buffer, 8, 9) == [[], []]
    assert taken(sequence_buffer, 10, room=False) == [[8, 9, 10]]
    assert sequence_buffer.octets == 0
    assert taken(sequence_buffer, 11, room=False) == [[11]]
