"""Answers wait for their turn, in order and within their bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core import reorder_buffer
from icwsgw.core.cursor import LastMessage
from icwsgw.core.reorder_buffer import ReorderBuffer
from icwsgw.ic import cbor
from icwsgw.ic.ws import Batch, nonce_of_key


def batch(first: int, count: int = 1, size: int = 0) -> Batch:
    messages = [(b"", 0, b"gw_%020d" % number, bytes(size)) for number in range(first, first + count)]
    return Batch(messages, b"cert", b"tree", None)


def first_of(found: tuple[Batch, float] | None) -> int | None:
    return None if found is None else nonce_of_key(found[0].messages[0][2])


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 5), st.integers(0, 30))), st.integers(0, 60))
def test_what_is_due_comes_out_in_order_once_and_nothing_else(entries: list[tuple[int, int, int]], number: int) -> None:
    store = ReorderBuffer()
    for asked, (first, count, size) in enumerate(entries):
        store.put(batch(first, count, size), float(asked))
    taken = []
    while (found := store.take(number)) is not None:
        taken.append(first_of(found))
    due = sorted({first for first, _, _ in entries if first <= number})
    assert taken == due
    assert set(store.kept) == {first for first, _, _ in entries if first > number}
    while store.take(100) is not None:
        pass
    assert store.size == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 3), st.integers(0, 40)), max_size=30))
def test_it_holds_no_more_than_its_bound(entries: list[tuple[int, int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reorder_buffer, "MAX_BYTES", 100)
        store = ReorderBuffer()
        for first, count, size in entries:
            store.put(batch(first, count, size), 0.0)
            assert store.size <= 100
            assert store.size == sum(size for _, _, size in store.kept.values())


def test_certificate_tree_and_contents_count_up_to_the_last_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reorder_buffer, "MAX_BYTES", 28)
    store = ReorderBuffer()
    store.put(batch(0, count=2, size=10), 0.0)
    assert store.size == len(b"cert") + len(b"tree") + 20 == 28
    assert first_of(store.take(0)) == 0
    store.put(batch(0, count=3, size=7), 0.0)
    assert store.take(0) is None


def test_the_first_answer_for_a_number_stays_with_the_time_of_its_question() -> None:
    store = ReorderBuffer()
    store.put(batch(5), 1.0)
    store.put(batch(5, 9), 2.0)
    assert store.take(4) is None
    found = store.take(5)
    assert found is not None
    assert (found[1], len(found[0].messages)) == (1.0, 1)
    store.put(batch(7), 3.0)
    store.clear()
    assert (store.take(7), store.size) == (None, 0)


def test_a_message_older_than_the_last_one_is_of_a_life_that_is_over() -> None:
    """A replica that lags behind answers from the queue that a reset has ended."""

    def dated(number: int, at: int) -> Batch:
        return Batch([(b"", 0, b"gw_%020d" % number, cbor.dumps({"timestamp": at}))], b"cert", b"tree", None)

    store, last = ReorderBuffer(), LastMessage(1, cbor.dumps({"timestamp": 700}))
    store.put(dated(4, 699), 0.0, last)
    assert (store.kept, store.size) == ({}, 0)
    for number, at in ((4, 700), (5, 701)):
        store.put(dated(number, at), 0.0, last)
    assert sorted(store.kept) == [4, 5]


def test_a_message_without_a_time_is_kept() -> None:
    store, without_time = ReorderBuffer(), LastMessage(1, b"no time")
    store.put(batch(4), 0.0, LastMessage(1, cbor.dumps({"timestamp": 700})))
    store.put(Batch([(b"", 0, b"gw_%020d" % 5, cbor.dumps({"timestamp": 1}))], b"", b"", None), 0.0, without_time)
    assert sorted(store.kept) == [4, 5]
