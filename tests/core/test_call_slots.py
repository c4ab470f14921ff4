"""Call slots: no canister can hold up the others, and each waiting call gets its turn."""

from __future__ import annotations

import gc
import sys

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.call_slots import CallSlots, SlotQueue


class Call:
    """A call that stays under way until the test ends it."""

    def __init__(self, slot_queue: SlotQueue, began: list[Call]) -> None:
        self.slot_queue = slot_queue
        self._began = began
        self.under_way = False
        if slot_queue.enter(self):
            self.granted()

    def granted(self) -> None:
        assert not self.under_way
        self.under_way = True
        self._began.append(self)

    def end(self) -> None:
        if self.under_way:
            self.under_way = False
            self.slot_queue.leave()
        else:
            self.slot_queue.forget(self)


def flood(slot_queue: SlotQueue, count: int) -> tuple[list[Call], list[Call]]:
    began: list[Call] = []
    return [Call(slot_queue, began) for _ in range(count)], began


def test_a_canister_alone_may_take_half_and_each_further_one_half_of_the_rest() -> None:
    call_slots = CallSlots(64)
    slot_queues = [call_slots.slot_queue(bytes([number])) for number in range(9)]
    floods = [flood(slot_queue, 100) for slot_queue in slot_queues]
    assert [slot_queue.busy for slot_queue in slot_queues] == [32, 16, 8, 4, 2, 1, 1, 1, 1]
    assert [len(began) for _, began in floods] == [slot_queue.busy for slot_queue in slot_queues]


def test_one_that_has_nothing_under_way_may_begin_whatever_the_others_do() -> None:
    call_slots = CallSlots(4)
    floods = [flood(call_slots.slot_queue(bytes([number])), 100) for number in range(20)]
    assert all(len(began) >= 1 for _, began in floods)
    quiet, began = flood(call_slots.slot_queue(b"quiet"), 10)
    for call in quiet:
        assert call.under_way
        call.end()
    assert began == quiet


def test_those_that_wait_begin_in_order_and_lanes_take_turns() -> None:
    call_slots = CallSlots(8)
    first, second = call_slots.slot_queue(b"1"), call_slots.slot_queue(b"2")
    ones, began_one = flood(first, 20)
    twos, began_two = flood(second, 20)
    assert (first.busy, second.busy) == (4, 2)
    for _ in range(60):
        for call in [*began_one, *began_two]:
            if call.under_way:
                call.end()
                assert first.busy + second.busy == call_slots.busy <= call_slots.limit
                break
    assert (began_one, began_two) == (ones, twos)
    assert (first.busy, second.busy, len(call_slots.line)) == (0, 0, 0)


def test_calls_that_end_as_they_begin_do_not_pile_up() -> None:
    class Short(Call):
        def granted(self) -> None:
            super().granted()
            self.end()

    call_slots = CallSlots(2)
    slot_queue = call_slots.slot_queue(b"1")
    began: list[Call] = []
    hanging, _ = flood(slot_queue, 1)
    short = [Short(slot_queue, began) for _ in range(5000)]
    assert began == []
    hanging[0].end()
    assert began == short
    assert (slot_queue.busy, call_slots.busy, slot_queue.waits) == (0, 0, False)


def test_a_lane_is_forgotten_with_the_last_who_holds_it() -> None:
    call_slots = CallSlots(2)
    slot_queue = call_slots.slot_queue(b"1")
    assert call_slots.slot_queue(b"1") is slot_queue
    del slot_queue
    gc.collect()
    assert len(call_slots._slot_queues) == 0


@given(st.lists(st.tuples(st.sampled_from("bbbe"), st.integers(0, 4), st.integers(0, 50)), max_size=150))
def test_whatever_begins_and_ends(script: list[tuple[str, int, int]]) -> None:
    call_slots = CallSlots(6)
    slot_queues = [call_slots.slot_queue(bytes([number])) for number in range(5)]
    calls: list[Call] = []
    began: list[Call] = []
    for word, which, number in script:
        if word == "b":
            calls.append(Call(slot_queues[which], began))
        elif calls:
            calls.pop(number % len(calls)).end()
        for slot_queue in slot_queues:
            mine = [call for call in calls if call.slot_queue is slot_queue]
            assert slot_queue.busy == sum(call.under_way for call in mine)
            # nobody waits in vain
            if any(not call.under_way for call in mine):
                assert slot_queue.busy
                assert slot_queue.busy >= call_slots.limit - call_slots.busy
        assert call_slots.busy == sum(slot_queue.busy for slot_queue in slot_queues)
        assert call_slots.busy <= call_slots.limit + len(slot_queues)
    for call in calls:
        call.end()
    assert (call_slots.busy, len(call_slots.line)) == (0, 0)


class Scan:
    """The same decisions the slow way: looks at each waiting canister, the one that was served longest ago first.

    :param limit: of slots, as for :class:`CallSlots`
    :param least: slots of each canister
    """

    def __init__(self, limit: int, least: int, count: int) -> None:
        self.limit, self.least = limit, least
        self.busy = [0] * count
        self.waiting: list[list[int]] = [[] for _ in range(count)]
        self.line: list[int] = []
        self.began: list[int] = []

    def room(self, which: int) -> bool:
        return self.busy[which] < self.least or self.busy[which] < self.limit - sum(self.busy)

    def enter(self, which: int, call: int) -> None:
        if self.room(which) and not (self.waiting[which] and self.busy[which] >= self.least):
            self.busy[which] += 1
            self.began.append(call)
            return
        self.waiting[which].append(call)
        if which not in self.line:
            self.line.append(which)

    def forget(self, which: int, call: int) -> None:
        self.waiting[which].remove(call)
        if not self.waiting[which]:
            self.line.remove(which)

    def leave(self, which: int) -> None:
        self.busy[which] -= 1
        while (found := next(filter(self.room, self.line), None)) is not None:
            self.line.remove(found)
            self.busy[found] += 1
            self.began.append(self.waiting[found].pop(0))
            if self.waiting[found]:
                self.line.append(found)


class Numbered:
    def __init__(self, number: int, began: list[int]) -> None:
        self.number = number
        self._began = began

    def granted(self) -> None:
        self._began.append(self.number)


@given(
    st.integers(1, 12),
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from("bbbbeet"), st.integers(0, 5), st.integers(0, 50)), max_size=150),
)
def test_canisters_are_served_as_if_all_were_looked_at(
    limit: int, least: int, script: list[tuple[str, int, int]]
) -> None:
    call_slots, scan = CallSlots(limit, least), Scan(limit, least, 6)
    slot_queues = [call_slots.slot_queue(number) for number in range(6)]
    began: list[int] = []
    calls: dict[int, tuple[int, Numbered]] = {}
    for number, (word, which, choice) in enumerate(script):
        if word == "t":
            slot_queues[which].take()
            scan.busy[which] += 1
            calls[number] = which, Numbered(number, began)
            began.append(number)
            scan.began.append(number)
        elif word == "b":
            call = Numbered(number, began)
            calls[number] = which, call
            if slot_queues[which].enter(call):
                call.granted()
            scan.enter(which, number)
        elif calls:
            ended = sorted(calls)[choice % len(calls)]
            which, call = calls.pop(ended)
            if ended in began:
                slot_queues[which].leave()
                scan.leave(which)
            else:
                slot_queues[which].forget(call)
                scan.forget(which, ended)
        assert began == scan.began
        assert {slot_queues[which] for which in scan.line} == set(call_slots.line)


def work(waiting: int) -> int:
    """The number of function calls at the end of a call, while so many canisters wait for slots."""
    call_slots = CallSlots(64)
    slot_queues = [call_slots.slot_queue(number) for number in range(waiting)]
    for slot_queue in slot_queues:
        flood(slot_queue, 64)
    assert call_slots.slot_queue("quiet").try_enter()
    count = 0

    def seen(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        call_slots.slot_queue("quiet").leave()
        slot_queues[waiting // 2].leave()
    finally:
        sys.setprofile(None)
    return count


def test_the_end_of_a_call_costs_the_same_however_many_canisters_wait() -> None:
    assert work(1000) <= 2 * work(20)


class Waiter:
    def granted(self) -> None:
        raise AssertionError("not in this test")


def test_what_is_taken_without_room_counts_like_any_other() -> None:
    call_slots = CallSlots(4)
    slot_queue = call_slots.slot_queue(b"a")
    rooms = []
    for taken in range(1, 5):
        rooms.append(slot_queue.has_room)
        slot_queue.take()
        assert (slot_queue.busy, call_slots.busy) == (taken, taken)
    # two of four, as it leaves as many to others
    assert rooms == [True, True, False, False]
    assert not slot_queue.try_enter()
    other = call_slots.slot_queue(b"b")
    assert other.has_room, "the first one always begins"
    other.take()
    assert not other.has_room


def test_no_call_overtakes_those_that_wait_in_its_queue() -> None:
    call_slots = CallSlots(6)
    slot_queue, other = call_slots.slot_queue(b"a"), call_slots.slot_queue(b"b")
    for _ in range(3):
        assert slot_queue.try_enter()
    waiter = Waiter()
    assert not slot_queue.enter(waiter)
    slot_queue.busy -= 1
    assert not slot_queue.has_room
    assert not slot_queue.try_enter()
    slot_queue.forget(waiter)
    assert slot_queue.has_room
    assert not slot_queue.waits
    assert not call_slots.line
    assert other.has_room


def test_a_call_of_another_lane_that_ends_gives_no_more_than_the_share() -> None:
    for limit, share in ((4, 2), (1, 1)):
        call_slots = CallSlots(limit)
        calls, began = flood(call_slots.slot_queue(b"a"), 5)
        others, _ = flood(call_slots.slot_queue(b"b"), 1)
        others[0].end()
        assert (len(began), calls[0].slot_queue.busy) == (share, share)


def test_of_those_that_wait_in_a_lane_the_lowest_rank_begins_first() -> None:
    call_slots = CallSlots(1)
    slot_queue = call_slots.slot_queue(b"a")
    assert slot_queue.try_enter()
    late, early, new = Waiter(), Waiter(), Waiter()
    assert not slot_queue.enter(late, 2.0)
    assert not slot_queue.enter(early, 1.0)
    assert not slot_queue.enter(new)
    order = []
    for _ in range(3):
        slot_queue.busy -= 1
        call_slots.busy -= 1
        order.append(slot_queue.next())
    assert order == [new, early, late]


def test_a_lane_whose_last_waiter_has_gone_is_in_no_line() -> None:
    call_slots = CallSlots(2)
    slot_queue = call_slots.slot_queue(b"1")
    hanging = Call(slot_queue, [])
    waiting = [Call(slot_queue, []), Call(slot_queue, [])]
    waiting[0].end()
    assert list(call_slots.line) == [slot_queue]
    waiting[1].end()
    assert len(call_slots.line) == 0
    hanging.end()
    del slot_queue, hanging, waiting
    gc.collect()
    assert len(call_slots._slot_queues) == 0
