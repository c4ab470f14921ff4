from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.client.client_errors import QueueFull
from icwsgw.client.outgoing_queue import OutgoingQueue


def drained(queue: OutgoingQueue) -> list[int]:
    out = []
    while (taken := queue.take()) is not None:
        out.append(taken[0])
    return out


def test_messages_leave_in_order_and_first_ones_before_the_others() -> None:
    queue = OutgoingQueue(10, 100)
    queue.put(1, b"a")
    queue.put(2, b"b")
    queue.put(3, b"c", first=True)
    queue.put(4, b"d", first=True)
    assert queue.handles() == (3, 4, 1, 2)
    assert drained(queue) == [3, 4, 1, 2]
    assert queue.size == 0


def test_both_bounds() -> None:
    queue = OutgoingQueue(2, 10)
    queue.put(1, b"a" * 6)
    with pytest.raises(QueueFull, match="1 messages with 6 bytes wait"):
        queue.put(2, b"b" * 5)
    queue.put(2, b"b" * 4)
    with pytest.raises(QueueFull):
        queue.put(3, b"")
    assert queue.handles() == (1, 2)


def test_one_long_message_passes_alone() -> None:
    queue = OutgoingQueue(2, 10)
    queue.put(1, b"a" * 100)
    with pytest.raises(QueueFull):
        queue.put(2, b"")
    assert drained(queue) == [1]


def test_a_message_is_withdrawn_while_it_waits() -> None:
    queue = OutgoingQueue(10, 100)
    queue.put(1, b"a" * 5)
    queue.put(2, b"b" * 7)
    queue.put(3, b"c" * 9, first=True)
    assert 3 in queue
    queue.remove(3)
    queue.remove(1)
    queue.remove(1)
    assert (1 in queue, 2 in queue, 3 in queue) == (False, True, False)
    assert (queue.size, queue.handles()) == (7, (2,))
    assert drained(queue) == [2]
    queue.remove(2)
    assert (queue.size, len(queue)) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), max_size=40))
def test_nothing_is_lost_or_reordered(steps: list[tuple[int, bool, bool]]) -> None:
    queue = OutgoingQueue(5, 12)
    waiting: dict[bool, list[int]] = {True: [], False: []}
    for handle, (size, first, take) in enumerate(steps):
        if take:
            taken = queue.take()
            expected = waiting[True] or waiting[False]
            assert (None if taken is None else taken[0]) == (expected.pop(0) if expected else None)
            continue
        try:
            queue.put(handle, bytes(size), first=first)
        except QueueFull:
            continue
        waiting[first].append(handle)
    assert list(queue.handles()) == waiting[True] + waiting[False]
    assert len(queue) <= 5
