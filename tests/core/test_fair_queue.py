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


def test_a_new_flow_is_served_next_however_many_wait_all_the_time() -> None:
    line: FairQueue[str] = FairQueue()
    steady = "abcdefgh"

    def turns(count: int) -> list[str]:
        served = []
        for _ in range(count):
            served.append(line.pop())
            if served[-1] in steady:
                line.add(served[-1], served[-1])
        return served

    for flow in steady:
        line.add(flow, flow)
    assert turns(8) == [*steady]
    for _ in range(3):
        line.add("new", "n")
        assert turns(1) == ["n"]
        line.add("new", "too soon to be new again")
        assert turns(9) == [*steady, "too soon to be new again"]
        assert turns(16) == [*steady] * 2


def test_a_flow_that_comes_back_at_once_is_not_new() -> None:
    line: FairQueue[str] = FairQueue()
    for flow in "abc":
        line.add(flow, flow)
    served = []
    for _ in range(30):
        served.append(line.pop())
        line.add(served[-1], served[-1])
    assert served == [*"abc"] * 10


def test_a_flow_that_leaves_and_comes_back_is_not_new() -> None:
    line: FairQueue[str] = FairQueue()
    for flow in "abcd":
        line.add(flow, flow + "1")
        line.add(flow, flow + "2")
    assert [line.pop() for _ in range(4)] == ["a1", "b1", "c1", "d1"]
    line.remove("d", "d2")
    line.add("d", "d3")
    line.add("new", "n")
    assert [line.pop() for _ in range(5)] == ["n", "a2", "b2", "c2", "d3"]


@pytest.mark.parametrize("each", [1, 2, 5])
def test_flows_that_come_once_each_do_not_keep_out_one_that_waits_all_the_time(each: int) -> None:
    """It has a third of the turns at least that it would have if new flows joined behind all others."""
    line: FairQueue[str] = FairQueue()
    plain: list[str] = []
    turns = {"line": 0, "plain": 0}
    for number in range(2000):
        line.add("steady", f"s{number}")
    plain.append("steady")
    for number in range(1000):
        for once in range(each):
            line.add(f"once {number} {once}", "once")
            plain.append("once")
        turns["line"] += line.pop() != "once"
        if plain.pop(0) == "steady":
            turns["plain"] += 1
            plain.append("steady")
    assert turns["line"] >= turns["plain"] / 3 > 1


@given(st.lists(st.one_of(st.integers(0, 30), st.none(), st.tuples(st.integers(0, 30))), max_size=400))
def test_no_flow_waits_longer_than_two_rounds_and_what_is_remembered_is_bounded(
    events: list[int | tuple[int] | None],
) -> None:
    line: FairQueue[int] = FairQueue()
    waits: dict[int, int] = {}
    for event in events:
        if isinstance(event, int):
            line.add(event, event)
            waits.setdefault(event, 0)
        elif event is not None:
            assert line.remove(event[0], event[0]) is (event[0] in waits)
            waits.pop(event[0], None)
        elif waits:
            flow = line.pop()
            del waits[flow]
            waits = {each: turns + 1 for each, turns in waits.items()}
        assert all(turns <= 2 * 31 for turns in waits.values())
        assert len(line._served) + len(line._new) <= 31
        if not waits:
            assert not line._served


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


def test_the_first_is_seen_before_it_is_taken() -> None:
    ranked: PriorityQueue[str] = PriorityQueue()
    for waiter, rank in [("late", 2.0), ("early", 1.0), ("gone", 0.5)]:
        ranked.add(waiter, rank)
    ranked.remove("gone")
    assert ranked.first() == ranked.first() == (1.0, "early")
    assert [ranked.pop(), ranked.pop()] == ["early", "late"]
    with pytest.raises(KeyError):
        ranked.first()
