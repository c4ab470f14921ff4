from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.fair_queue import FairQueue, PriorityQueue


def test_flows_take_turns_and_each_keeps_its_order() -> None:
    line: FairQueue[str] = FairQueue()
    for flow, waiter in [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("c", "c2")]:
        line.add(flow, waiter)
    assert (len(line), line.count("a"), line.count("none")) == (6, 3, 0)
    assert [line.pop() for _ in range(6)] == ["a1", "b1", "c1", "a2", "c2", "a3"]
    with pytest.raises(KeyError):
        line.pop()


def test_who_leaves_is_not_served_and_who_waits_twice_waits_once() -> None:
    line: FairQueue[str] = FairQueue()
    line.add("a", "a1")
    line.add("a", "a1")
    line.add("b", "b1")
    assert len(line) == 2
    assert line.remove("a", "a1")
    assert not line.remove("a", "a1")
    assert not line.remove("none", "a1")
    assert [line.pop(), len(line)] == ["b1", 0]


def test_of_one_flow_the_lowest_rank_goes_first() -> None:
    line: FairQueue[str] = FairQueue()
    for waiter, rank in [("busy", 9.0), ("busy too", 9.0), ("sparse", 1.0), ("new", 0.0)]:
        line.add("a", waiter, rank)
    line.add("b", "other", 10.0)
    assert [line.pop() for _ in range(5)] == ["new", "other", "sparse", "busy", "busy too"]


def test_who_has_no_rank_goes_before_all_that_have_been_served() -> None:
    line: FairQueue[str] = FairQueue()
    line.add("a", "served", 0.5)
    line.add("a", "new")
    assert [line.pop(), line.pop()] == ["new", "served"]
    ranked: PriorityQueue[str] = PriorityQueue()
    ranked.add("served", 0.5)
    ranked.add("new")
    assert [ranked.pop(), ranked.pop()] == ["new", "served"]


def test_many_that_leave_are_not_held_and_the_others_keep_their_order() -> None:
    ranked: PriorityQueue[int] = PriorityQueue()
    for waiter in range(200):
        ranked.add(waiter, float(waiter * 37 % 200))
    left = list(range(200))
    for waiter in range(0, 200, 2):
        ranked.remove(waiter)
        ranked.remove(waiter)
        left.remove(waiter)
    for waiter in range(1, 101, 2):
        ranked.remove(waiter)
        left.remove(waiter)
        assert len(ranked._heap) <= 2 * len(left) + 20
    ranked.add(0, 1000.0)
    assert [ranked.pop() for _ in range(51)] == [*sorted(left, key=lambda waiter: waiter * 37 % 200), 0]


@given(st.lists(st.one_of(st.tuples(st.integers(0, 9), st.integers(0, 3)), st.none(), st.integers(0, 9)), max_size=300))
def test_ranked_is_a_sorted_list(events: list[tuple[int, int] | int | None]) -> None:
    ranked: PriorityQueue[int] = PriorityQueue()
    model: list[tuple[int, int, int]] = []
    for number, event in enumerate(events):
        if isinstance(event, tuple):
            waiter, rank = event
            is_new = all(waiter != each for _, _, each in model)
            assert ranked.add(waiter, rank) is is_new
            if is_new:
                model.append((rank, number, waiter))
                model.sort()
        elif event is None:
            if model:
                assert ranked.pop() == model.pop(0)[2]
            else:
                with pytest.raises(KeyError):
                    ranked.pop()
        else:
            kept = [entry for entry in model if entry[2] != event]
            assert ranked.remove(event) is (len(kept) < len(model))
            model = kept
        assert len(ranked) == len(model)
        assert all(entry[2] in ranked for entry in model)
        assert len(ranked._heap) <= 2 * len(model) + 20


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(1, 30))
def test_who_was_served_longest_ago_is_served_next_however_many_flood(sends: list[bool], floods: int) -> None:
    """Each party has one waiter, ranked by when it was served last; those that flood are back at once."""
    line: FairQueue[int] = FairQueue()
    served = dict.fromkeys(range(floods + 1), 0)
    waits = 0
    for now, sparse_sends in enumerate(sends, start=1):
        for party in range(1, floods + 1):
            line.add("canister", party, served[party])
        if sparse_sends:
            line.add("canister", 0, served[0])
        waits = waits + 1 if sparse_sends or waits else 0
        party = line.pop()
        served[party] = now
        if party == 0:
            waits = 0
        # it waits for those that were served before it was, at most; nobody waits longer than a round
        assert waits <= floods
        assert now - min(served[party] for party in range(1, floods + 1)) <= floods + 1 + sum(sends)


@given(st.lists(st.one_of(st.tuples(st.integers(0, 4), st.integers(0, 9)), st.none(), st.integers(0, 49))))
def test_it_counts_right_whatever_comes_and_goes(events: list[tuple[int, int] | int | None]) -> None:
    line: FairQueue[tuple[int, int]] = FairQueue()
    inside: set[tuple[int, int]] = set()
    for event in events:
        if isinstance(event, tuple):
            line.add(event[0], event)
            inside.add(event)
        elif isinstance(event, int):
            waiter = divmod(event, 10)
            assert line.remove(waiter[0], waiter) is (waiter in inside)
            inside.discard(waiter)
        elif inside:
            inside.remove(line.pop())
        assert len(line) == len(inside) == sum(line.count(flow) for flow in range(5))
