"""Lanes: no canister can hold up the others, and whoever waits gets its turn."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.shares import Lane, Shares


class Call:
    """A call that stays under way until it is told to end."""

    def __init__(self, lane: Lane, began: list[Call]) -> None:
        self.lane = lane
        self._began = began
        self.under_way = False
        if lane.enter(self):
            self.granted()

    def granted(self) -> None:
        assert not self.under_way
        self.under_way = True
        self._began.append(self)

    def end(self) -> None:
        if self.under_way:
            self.under_way = False
            self.lane.leave()
        else:
            self.lane.forget(self)


def flood(lane: Lane, count: int) -> tuple[list[Call], list[Call]]:
    began: list[Call] = []
    return [Call(lane, began) for _ in range(count)], began


def test_a_canister_alone_may_take_half_and_each_further_one_half_of_the_rest() -> None:
    shares = Shares(64)
    lanes = [shares.lane(bytes([number])) for number in range(9)]
    floods = [flood(lane, 100) for lane in lanes]
    assert [lane.busy for lane in lanes] == [32, 16, 8, 4, 2, 1, 1, 1, 1]
    assert [len(began) for _, began in floods] == [lane.busy for lane in lanes]


def test_one_that_has_nothing_under_way_may_begin_whatever_the_others_do() -> None:
    shares = Shares(4)
    floods = [flood(shares.lane(bytes([number])), 100) for number in range(20)]
    assert all(len(began) >= 1 for _, began in floods)
    quiet, began = flood(shares.lane(b"quiet"), 10)
    for call in quiet:
        assert call.under_way
        call.end()
    assert began == quiet


def test_those_that_wait_begin_in_order_and_lanes_take_turns() -> None:
    shares = Shares(8)
    first, second = shares.lane(b"1"), shares.lane(b"2")
    ones, began_one = flood(first, 20)
    twos, began_two = flood(second, 20)
    assert (first.busy, second.busy) == (4, 2)
    for _ in range(60):
        for call in [*began_one, *began_two]:
            if call.under_way:
                call.end()
                assert first.busy + second.busy == shares.busy <= shares.limit
                break
    assert (began_one, began_two) == (ones, twos)
    assert (first.busy, second.busy, len(shares.line)) == (0, 0, 0)


def test_calls_that_end_as_they_begin_do_not_pile_up() -> None:
    class Short(Call):
        def granted(self) -> None:
            super().granted()
            self.end()

    shares = Shares(2)
    lane = shares.lane(b"1")
    began: list[Call] = []
    hanging, _ = flood(lane, 1)
    short = [Short(lane, began) for _ in range(5000)]
    assert began == []
    hanging[0].end()
    assert began == short
    assert (lane.busy, shares.busy, lane.waits) == (0, 0, False)


def test_a_lane_is_forgotten_with_the_last_who_holds_it() -> None:
    shares = Shares(2)
    lane = shares.lane(b"1")
    assert shares.lane(b"1") is lane
    del lane
    gc.collect()
    assert len(shares._lanes) == 0


@given(st.lists(st.tuples(st.sampled_from("bbbe"), st.integers(0, 4), st.integers(0, 50)), max_size=150))
def test_whatever_begins_and_ends(script: list[tuple[str, int, int]]) -> None:
    shares = Shares(6)
    lanes = [shares.lane(bytes([number])) for number in range(5)]
    calls: list[Call] = []
    began: list[Call] = []
    for word, which, number in script:
        if word == "b":
            calls.append(Call(lanes[which], began))
        elif calls:
            calls.pop(number % len(calls)).end()
        for lane in lanes:
            mine = [call for call in calls if call.lane is lane]
            assert lane.busy == sum(call.under_way for call in mine)
            # nobody waits in vain
            if any(not call.under_way for call in mine):
                assert lane.busy
                assert lane.busy >= shares.limit - shares.busy
        assert shares.busy == sum(lane.busy for lane in lanes)
        assert shares.busy <= shares.limit + len(lanes)
    for call in calls:
        call.end()
    assert (shares.busy, len(shares.line)) == (0, 0)


class Waiter:
    def granted(self) -> None:
        raise AssertionError("not in this test")


def test_what_is_taken_without_room_counts_like_any_other() -> None:
    shares = Shares(4)
    lane = shares.lane(b"a")
    rooms = []
    for taken in range(1, 5):
        rooms.append(lane.has_room)
        lane.take()
        assert (lane.busy, shares.busy) == (taken, taken)
    # two of four, as it leaves as many to others
    assert rooms == [True, True, False, False]
    assert not lane.try_enter()
    other = shares.lane(b"b")
    assert other.has_room, "the first one always begins"
    other.take()
    assert not other.has_room


def test_nobody_overtakes_those_that_wait_in_a_lane() -> None:
    shares = Shares(6)
    lane, other = shares.lane(b"a"), shares.lane(b"b")
    for _ in range(3):
        assert lane.try_enter()
    waiter = Waiter()
    assert not lane.enter(waiter)
    lane.busy -= 1
    assert not lane.has_room
    assert not lane.try_enter()
    lane.forget(waiter)
    assert lane.has_room
    assert not lane.waits
    assert not shares.line
    assert other.has_room


def test_a_call_of_another_lane_that_ends_gives_no_more_than_the_share() -> None:
    for limit, share in ((4, 2), (1, 1)):
        shares = Shares(limit)
        calls, began = flood(shares.lane(b"a"), 5)
        others, _ = flood(shares.lane(b"b"), 1)
        others[0].end()
        assert (len(began), calls[0].lane.busy) == (share, share)


def test_of_those_that_wait_in_a_lane_the_lowest_rank_begins_first() -> None:
    shares = Shares(1)
    lane = shares.lane(b"a")
    assert lane.try_enter()
    late, early, new = Waiter(), Waiter(), Waiter()
    assert not lane.enter(late, 2.0)
    assert not lane.enter(early, 1.0)
    assert not lane.enter(new)
    order = []
    for _ in range(3):
        lane.busy -= 1
        shares.busy -= 1
        order.append(lane.next())
    assert order == [new, early, late]


def test_a_lane_whose_last_waiter_has_gone_is_in_no_line() -> None:
    shares = Shares(2)
    lane = shares.lane(b"1")
    hanging = Call(lane, [])
    waiting = [Call(lane, []), Call(lane, [])]
    waiting[0].end()
    assert list(shares.line) == [lane]
    waiting[1].end()
    assert len(shares.line) == 0
    hanging.end()
    del lane, hanging, waiting
    gc.collect()
    assert len(shares._lanes) == 0
