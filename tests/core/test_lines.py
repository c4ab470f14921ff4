from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.lines import Line


def test_flows_take_turns_and_each_keeps_its_order() -> None:
    line: Line[str] = Line()
    for flow, waiter in [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("c", "c2")]:
        line.add(flow, waiter)
    assert (len(line), line.count("a"), line.count("none")) == (6, 3, 0)
    assert [line.pop() for _ in range(6)] == ["a1", "b1", "c1", "a2", "c2", "a3"]
    with pytest.raises(KeyError):
        line.pop()


def test_who_leaves_is_not_served_and_who_waits_twice_waits_once() -> None:
    line: Line[str] = Line()
    line.add("a", "a1")
    line.add("a", "a1")
    line.add("b", "b1")
    assert len(line) == 2
    assert line.remove("a", "a1")
    assert not line.remove("a", "a1")
    assert not line.remove("none", "a1")
    assert [line.pop(), len(line)] == ["b1", 0]


@given(st.lists(st.one_of(st.tuples(st.integers(0, 4), st.integers(0, 9)), st.none(), st.integers(0, 49))))
def test_it_counts_right_whatever_comes_and_goes(events: list[tuple[int, int] | int | None]) -> None:
    line: Line[tuple[int, int]] = Line()
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
