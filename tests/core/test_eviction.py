from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.eviction import EvictionTable


def test_the_largest_group_loses_its_oldest() -> None:
    room: EvictionTable[str] = EvictionTable(4)
    assert [room.enter(name, name[0]) for name in ("a1", "a2", "b1", "a3")] == [None] * 4
    assert room.enter("c1", "c") == "a1"
    assert room.enter("b2", "b") == "a2", "a had two first"
    assert room.enter("b3", "b") == "b1"
    assert "b1" not in room
    assert len(room) == 4


def test_who_fills_the_room_pushes_out_its_own() -> None:
    room: EvictionTable[tuple[str, int]] = EvictionTable(100)
    honest = [(f"honest{number}", 0) for number in range(40)]
    for member in honest:
        room.enter(member, member[0])
    gone = [room.enter(("crowd", number), "crowd") for number in range(1000)]
    assert all(left is None or left[0] == "crowd" for left in gone)
    assert all(member in room for member in honest)
    assert [room.enter(("late", number), f"late{number}") for number in range(50)] == [
        ("crowd", 940 + number) for number in range(50)
    ]


def test_of_many_that_are_alone_the_oldest_leaves() -> None:
    room: EvictionTable[int] = EvictionTable(3)
    assert [room.enter(number, str(number)) for number in range(6)] == [None, None, None, 0, 1, 2]


def test_a_member_of_which_more_is_known_changes_its_group() -> None:
    room: EvictionTable[str] = EvictionTable(3)
    for name in ("x", "y", "z"):
        room.enter(name, "proxy")
    room.move("x", "one")
    room.move("x", "one")
    room.move("nobody", "one")
    assert room.enter("w", "proxy") == "y"
    room.leave("nobody")
    for name in ("w", "x", "z"):
        room.leave(name)
    assert len(room) == 0


def test_who_would_have_as_many_does_not_make_others_leave() -> None:
    room: EvictionTable[int] = EvictionTable(0)
    assert not room.outnumbers("a")
    for member, group in enumerate("aab"):
        room.enter(member, group)
    assert [room.outnumbers(group) for group in "abc"] == [False, False, True]
    assert room.enter(3, "c", full=True) == 0
    assert [room.outnumbers(group) for group in "abcd"] == [False] * 4


def test_without_a_bound_no_entry_is_evicted() -> None:
    room: EvictionTable[int] = EvictionTable(0)
    assert {room.enter(number, "a") for number in range(1000)} == {None}


STEPS = st.lists(
    st.tuples(st.sampled_from(["enter", "leave", "move"]), st.integers(0, 20), st.sampled_from("abcd")), max_size=120
)


@given(STEPS, st.integers(1, 6))
def test_as_a_plain_list_would_do_it(steps: list[tuple[str, int, str]], most: int) -> None:
    room: EvictionTable[int] = EvictionTable(most)
    # (member, group), the oldest of each group first
    plain: list[tuple[int, str]] = []
    for what, member, group in steps:
        known = [each for each in plain if each[0] == member]
        if what == "enter" and not known:
            left = room.enter(member, group)
            plain.append((member, group))
            if len(plain) > most:
                sizes = {each: sum(other[1] == each for other in plain) for _, each in plain}
                oldest = {each: next(m for m, other in plain if other == each) for each in sizes}
                assert left in {oldest[each] for each, size in sizes.items() if size == max(sizes.values())}
                plain = [each for each in plain if each[0] != left]
            else:
                assert left is None
        elif what == "leave":
            room.leave(member)
            plain = [each for each in plain if each[0] != member]
        elif what == "move" and known and known[0][1] != group:
            room.move(member, group)
            plain = [each for each in plain if each[0] != member] + [(member, group)]
        assert len(room) == len(plain)
        assert all((each[0] in room) for each in plain)


def test_what_a_table_evicts_when_it_is_asked() -> None:
    table = EvictionTable[str](0)
    for member, group in ("a1", "a"), ("b1", "b"), ("b2", "b"), ("a2", "a"):
        table.enter(member, group)
    # of groups with the same size, the one that has had it for longest
    assert [table.evict() for _ in range(4)] == ["b1", "a1", "b2", "a2"]
    assert len(table) == 0
