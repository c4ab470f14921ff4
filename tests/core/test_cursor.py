"""The cursor delivers each message once and in order, whatever answers come in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.cursor import (
    FORMER_SECONDS,
    FRESH_SECONDS,
    GAP_ANSWERS,
    GAP_SECONDS,
    KEEP_BYTES,
    Cursor,
    CursorUpdate,
    LastMessage,
    Message,
)
from icwsgw.errors import FormatError
from icwsgw.ic import cbor
from icwsgw.ic.ws.batch import MAX_NONCE


def message(nonce: int, content: bytes | None = None) -> Message:
    return (b"client", 1, b"gateway_%020d" % nonce, b"content %d" % nonce if content is None else content)


def page(*nonces: int) -> list[Message]:
    return [message(nonce) for nonce in nonces]


def take(cursor: Cursor, messages: list[Message], now: float, asked: float | None = None) -> CursorUpdate:
    """Take an answer that came at once, or to a question of then."""
    return cursor.take(messages, now, now if asked is None else asked)


def nonces(messages: list[Message]) -> list[int]:
    return [int(key[-20:]) for _, _, key, _ in messages]


def test_a_queue_read_from_its_start() -> None:
    cursor = Cursor()
    assert nonces(take(cursor, page(0, 1, 2), 0).deliver) == [0, 1, 2]
    assert cursor.next == 3
    assert nonces(take(cursor, page(3), 0).deliver) == [3]
    assert nonces(take(cursor, [], 0).deliver) == []
    assert cursor.next == 4


def test_a_fresh_cursor_takes_the_first_message_there_is() -> None:
    cursor = Cursor()
    taken = take(cursor, page(40, 41), 0)
    assert (nonces(taken.deliver), taken.missing, taken.lost) == ([40, 41], None, None)
    assert (cursor.next, cursor.fresh) == (42, False)


def test_the_last_message_is_kept_with_its_number() -> None:
    cursor = Cursor()
    for pages in ([0, 1, 2], [3], [3, 4], []):
        take(cursor, page(*pages), 0)
        assert cursor.last is not None
        assert cursor.last.nonce == cursor.next - 1
        assert cursor.last.is_same(b"content %d" % cursor.last.nonce)


def test_duplicates_are_skipped_wherever_they_stand() -> None:
    cursor = Cursor()
    take(cursor, page(0, 1), 0)
    taken = take(cursor, page(0, 1, 2, 2, 3), 0)
    assert (nonces(taken.deliver), taken.duplicates) == ([2, 3], 3)
    assert take(cursor, page(0, 1, 2, 3), 0).duplicates == 4
    assert cursor.next == 4


def test_a_gap_stops_the_delivery_until_it_is_filled() -> None:
    cursor = Cursor()
    take(cursor, page(0), 0)
    taken = take(cursor, page(1, 3, 4), 0)
    assert (nonces(taken.deliver), taken.missing) == ([1], (2, 3))
    taken = take(cursor, page(3), 0)
    assert (nonces(taken.deliver), taken.missing) == ([], (2, 3))
    assert nonces(take(cursor, page(2, 3), 0).deliver) == [2, 3]


def test_a_gap_that_stays_is_given_up_after_a_while_and_reported() -> None:
    cursor = Cursor()
    take(cursor, page(0), 0)
    for attempt in range(GAP_ANSWERS + 2):
        assert take(cursor, page(5, 6), attempt * 0.01).missing == (1, 5)
    taken = take(cursor, page(5, 6), GAP_SECONDS)
    assert (nonces(taken.deliver), taken.lost, taken.missing) == ([5, 6], (1, 5), None)
    assert cursor.next == 7


def test_a_gap_is_timed_from_the_first_answer_that_had_it() -> None:
    cursor = Cursor()
    take(cursor, page(0), 1000.0)
    for later in (0.0, 0.1, 0.5, GAP_SECONDS - 0.01):
        assert take(cursor, page(5), 1000.0 + later).missing == (1, 5)
    assert take(cursor, page(5), 1000.0 + GAP_SECONDS).lost == (1, 5)


def test_what_is_skipped_is_no_gap_and_a_gap_behind_it_is_a_new_one() -> None:
    cursor = Cursor()
    take(cursor, page(0), 0)
    for attempt in range(GAP_ANSWERS - 1):
        assert take(cursor, page(9), attempt).missing == (1, 9)
    cursor.skip(4)
    assert cursor.next == 4
    for attempt in range(GAP_ANSWERS - 1):
        assert take(cursor, page(9), 10 + attempt).missing == (4, 9)
    assert nonces(take(cursor, page(4, 5), 20).deliver) == [4, 5]


def test_time_alone_does_not_make_a_gap_accepted() -> None:
    cursor = Cursor()
    take(cursor, page(0), 0)
    assert take(cursor, page(5), 0).missing == (1, 5)
    assert take(cursor, page(5), 100).missing == (1, 5)
    assert take(cursor, page(5), 200).lost == (1, 5)


def test_answers_of_queries_in_flight_together_are_one_piece_of_evidence() -> None:
    cursor = Cursor()
    take(cursor, page(0), 0)
    for at in (2.0, 2.7, 3.4, 3.4):
        # all of them were asked before the first one came
        assert take(cursor, page(5), at, asked=1.0).missing == (1, 5)
    assert take(cursor, page(5), 3.5, asked=2.0).missing == (1, 5)
    assert take(cursor, page(5), 3.6, asked=3.4).missing == (1, 5)
    assert take(cursor, page(5), 3.7, asked=3.5).lost == (1, 5)


def test_a_good_answer_in_between_starts_the_count_again() -> None:
    cursor = Cursor()
    take(cursor, page(0), 0)
    take(cursor, page(5), 0)
    take(cursor, page(5), 10)
    take(cursor, page(1), 11)
    assert take(cursor, page(5), 12).missing == (2, 5)
    assert take(cursor, page(5), 13).missing == (2, 5)


def test_a_restart_forgets_all() -> None:
    cursor = Cursor()
    take(cursor, page(0, 1), 0)
    cursor.restart(0.0, cursor.last)
    assert (cursor.next, cursor.fresh, cursor.last) == (0, True, None)
    assert nonces(take(cursor, page(0), 0).deliver) == [0]


def dated(life: int, *nonces: int) -> list[Message]:
    """Messages of one of a canister's lives, each later than all of the life before."""
    return [message(nonce, cbor.dumps({"timestamp": life * 1000 + nonce, "content": b"x"})) for nonce in nonces]


def after_a_reset(*nonces: int, proven: bool = False) -> Cursor:
    """A cursor that has read messages up to 29 of the first life, and these of the second, which began at 100 s."""
    cursor = Cursor()
    take(cursor, dated(1, *range(30)), 99.0)
    cursor.restart(100.0, cursor.last, proven)
    take(cursor, dated(2, *nonces), 100.0)
    return cursor


@pytest.mark.parametrize("first", [1, 2, 20], ids=["what comes next", "a small gap", "a large gap"])
def test_answers_from_before_a_reset_neither_deliver_nor_count(first: int) -> None:
    cursor = after_a_reset(0)
    for attempt in range(50):
        taken = take(cursor, dated(1, first, first + 1), 100.0 + attempt)
        assert (taken.deliver, taken.missing, taken.lost, taken.former) == ([], None, None, True)
    # one answer from after it is no gap that stays, however many came before
    assert take(cursor, dated(2, 5), 151.0).missing == (1, 5)
    taken = take(cursor, dated(2, 1, 2), 152.0)
    assert (nonces(taken.deliver), taken.former) == ([1, 2], False)


def test_a_new_queue_does_not_begin_with_the_old_one() -> None:
    for answer in (dated(1, 0, 1), dated(1, 28, 29), dated(1, 29)):
        cursor = after_a_reset()
        assert take(cursor, answer, 100.0).former
        assert (cursor.next, cursor.fresh, cursor.last) == (0, True, None)
        assert nonces(take(cursor, dated(2, 3), 101.0).deliver) == [3]


def test_of_a_queue_that_has_grown_into_the_old_one_only_what_is_known_to_be_old_is_ignored() -> None:
    """Messages 5 to 9 of the second life were delivered behind those of the first, before the reset was found."""
    for answer, old in ((dated(1, 0, 1), True), (dated(1, 4), True), (dated(2, 0, 1), False)):
        cursor = Cursor()
        take(cursor, dated(1, *range(5)), 99.0)
        take(cursor, dated(2, *range(5, 10)), 99.5)
        assert cursor.last is not None
        cursor.restart(100.0, LastMessage(4, dated(1, 4)[0][3]))
        assert take(cursor, answer, 100.0).former == old


def test_a_queue_that_was_taken_for_a_new_one_is_read_again_soon() -> None:
    """It was absent for so long that the canister seemed to be reset."""
    cursor = after_a_reset()
    last = 100.0 + FRESH_SECONDS
    assert take(cursor, dated(1, 0, 1), last - 0.01).former
    assert nonces(take(cursor, dated(1, 0, 1), last).deliver) == [0, 1]
    assert nonces(take(cursor, dated(1, 2), last).deliver) == [2]
    # but from now on answers have to go on from there
    assert take(cursor, dated(0, 3), last).former


def test_a_queue_that_has_ended_for_certain_is_not_read_again() -> None:
    """A certified message has shown the reset, so the old queue does not come back."""
    cursor = after_a_reset(proven=True)
    last = 100.0 + FORMER_SECONDS
    assert take(cursor, dated(1, 0, 1), last - 0.01).former
    assert nonces(take(cursor, dated(2, 0), last - 0.01).deliver) == [0]


def test_a_position_that_an_earlier_version_has_written_is_that_after_an_unproven_reset() -> None:
    document = after_a_reset(proven=True).written()
    del document["_fresh_until"]
    cursor = Cursor()
    cursor.read(document)
    last = 100.0 + FRESH_SECONDS
    assert take(cursor, dated(1, 0, 1), last - 0.01).former
    assert nonces(take(cursor, dated(1, 0, 1), last).deliver) == [0, 1]


def test_a_position_of_which_nothing_was_known_gives_nothing_to_compare_with() -> None:
    cursor = Cursor()
    take(cursor, dated(1, *range(30)), 99.0)
    cursor.restart(100.0, None)
    assert nonces(take(cursor, dated(1, 0, 1), 100.0).deliver) == [0, 1]
    assert take(cursor, dated(0, 2), 100.0).former


def test_known_messages_before_the_new_ones_do_not_make_an_answer_old() -> None:
    cursor = after_a_reset(0, 1, 2)
    taken = take(cursor, dated(2, 1, 2, 3), 101.0)
    assert (nonces(taken.deliver), taken.duplicates, taken.former) == ([3], 2, False)


def test_an_old_answer_with_a_hole_in_it_is_old() -> None:
    cursor = after_a_reset(0)
    taken = take(cursor, dated(1, 1, 3), 101.0)
    assert (taken.deliver, taken.missing, taken.former, cursor.next) == ([], None, True, 1)


def test_a_gap_after_a_reset_is_accepted_as_any_other() -> None:
    cursor = after_a_reset(0)
    for at in (101.0, 101.5):
        take(cursor, dated(1, 20), at - 0.1)
        assert take(cursor, dated(2, 5), at).missing == (1, 5)
    assert take(cursor, dated(2, 5), 102.0).lost == (1, 5)


def test_answers_from_before_a_reset_that_this_cursor_has_not_seen_are_ignored() -> None:
    """The first client of a gateway comes after the reset, and a replica that lags behind has the former queue."""
    cursor = Cursor()
    assert nonces(take(cursor, dated(1, 0), 100.0).deliver) == [0]
    for first in (1, 2):
        taken = take(cursor, dated(0, first), 101.0)
        assert (taken.deliver, taken.missing, taken.lost, taken.former) == ([], None, None, True)
    assert nonces(take(cursor, dated(1, 1, 2), 102.0).deliver) == [1, 2]
    # later the age of a message does not count
    assert nonces(take(cursor, dated(0, 3), 100.0 + FORMER_SECONDS).deliver) == [3]


def test_a_canister_whose_clock_goes_back_is_read_a_while_after_its_reset() -> None:
    cursor = after_a_reset(0)
    last = 100.0 + FORMER_SECONDS
    assert take(cursor, dated(1, 1), last - 0.01).former
    assert nonces(take(cursor, dated(1, 1), last).deliver) == [1]
    assert take(cursor, dated(0, 2), last).deliver


def test_messages_without_a_time_are_distinguished_by_their_numbers_alone() -> None:
    cursor = Cursor()
    take(cursor, page(*range(30)), 99.0)
    cursor.restart(100.0, cursor.last)
    assert take(cursor, page(29), 100.0).former, "it is the last one"
    assert nonces(take(cursor, page(0, 1), 100.0).deliver) == [0, 1]


@given(st.integers(1, 60), st.data())
def test_exactly_once_and_in_order_under_any_answers(length: int, data: st.DataObject) -> None:
    """Each answer is any stretch of the queue as it stood at some time, possibly with holes or duplicates."""
    cursor = Cursor()
    delivered: list[int] = []
    for _ in range(30):
        grown = data.draw(st.integers(1, length))
        start = data.draw(st.integers(0, grown))
        answer = list(range(start, min(grown, start + 10)))
        if answer and data.draw(st.booleans()):  # type: ignore[arg-type]
            answer.insert(data.draw(st.integers(0, len(answer))), data.draw(st.sampled_from(answer)))
        if delivered == [] and (not answer or answer[0] != 0):
            continue
        delivered += nonces(take(cursor, page(*answer), 0).deliver)
    while cursor.next < length:
        delivered += nonces(take(cursor, page(*range(cursor.next, min(length, cursor.next + 10))), 0).deliver)
    assert delivered == list(range(length))


def test_the_last_message_is_recognised_short_or_long() -> None:
    for size in (10, KEEP_BYTES, KEEP_BYTES + 1, 100_000):
        content = cbor.dumps({"timestamp": 77, "content": bytes(size)})
        last = LastMessage(3, content)
        assert last.is_same(content)
        assert not last.is_same(content + b"\x00")
        assert last.timestamp == 77
    assert LastMessage(1, b"no CBOR at all").timestamp is None


def test_a_key_without_a_number_is_refused_and_changes_nothing() -> None:
    cursor = Cursor()
    take(cursor, page(0, 1), 0)
    with pytest.raises(FormatError):
        take(cursor, [message(2), (b"client", 1, b"no number", b"")], 0)
    assert cursor.next == 2
    assert nonces(take(cursor, page(2, 3), 0).deliver) == [2, 3]


@given(st.integers(0, MAX_NONCE - 100), st.integers(1, 40), st.integers(0, 40), st.data())
def test_a_gap_loses_what_is_in_it_and_nothing_else(start: int, before: int, missing: int, data: st.DataObject) -> None:
    """A queue from any number on, of which some messages in the middle were deleted before they were read."""
    queue = [n for n in range(start, start + before + missing + 10) if not 0 <= n - start - before < missing]
    cursor = Cursor()
    delivered: list[int] = []
    lost: list[tuple[int, int]] = []
    now = 0.0
    while cursor.next <= queue[-1]:
        size = data.draw(st.integers(1, 12))
        taken = take(cursor, page(*[n for n in queue if n >= cursor.next][:size]), now)
        delivered += nonces(taken.deliver)
        lost += [taken.lost] if taken.lost is not None else []
        now += data.draw(st.floats(0.05, 0.6))
    assert delivered == queue
    assert lost == ([(start + before, start + before + missing)] if missing else [])
