from __future__ import annotations

import gc

import pytest
from twisted.internet.task import Clock

from icwsgw.core.call_slots import CallSlots
from icwsgw.core.in_flight_limits import MAX_NEWCOMERS_OPENS, MAX_OPENS_OF_NEWCOMER, InFlightLimits
from icwsgw.core.request_budget import RequestBudget
from icwsgw.core.request_kind import RequestKind
from icwsgw.gateway.calls.scheduler import CallQueue, CallScheduler

CANISTER, OTHER = b"one", b"two"


class Call:
    def __init__(self, world: World, exit: CallQueue, sent: float = 0.0) -> None:
        self.world = world
        self.sent = sent
        self.exit = exit
        self.left = exit.enter(self)

    def granted(self) -> None:
        assert not self.left
        self.left = True

    def ends(self) -> None:
        assert self.left
        self.exit.leave()


class World:
    def __init__(self, per_second: float | None = None, opens: float | None = None, places: int = 1000) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.budget = RequestBudget(per_second, 0.1, opens)
        self.calls = CallSlots(places)
        self.call_scheduler = CallScheduler(self.clock, self.budget, self.calls, InFlightLimits())

    def call(self, canister: bytes = CANISTER, sent: float = 0.0) -> Call:
        return Call(self, self.call_scheduler.messages(canister), sent)

    def open(self, canister: bytes = CANISTER, group: str = "a", newcomer: bool = True, proved: bool = True) -> Call:
        return Call(self, self.call_scheduler.opening(canister, group, newcomer, proved))

    def run(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds * 100))


def test_while_nothing_waits_there_is_no_timer_and_no_ticket() -> None:
    world = World(per_second=1600)
    calls = [world.call() for _ in range(500)]
    assert all(call.left for call in calls)
    assert not world.clock.getDelayedCalls()
    assert world.budget.sent[RequestKind.CALL] == 500
    for call in calls:
        call.ends()
    assert world.calls.busy == 0


def test_the_line_of_ws_open_has_a_bound_that_one_address_cannot_use_up() -> None:
    world = World(opens=10)
    counts = {"a": 0, "b": 0}
    for group in counts:
        # what was sent at once does not wait
        while world.call_scheduler.may_open(group) and counts[group] < 400:
            number = sum(counts.values())
            call = world.open(number.to_bytes(2, "big"), group, newcomer=False, proved=number % 3 > 0)
            counts[group] += not call.left
    assert counts == {"a": 150, "b": 75}


def test_what_the_budget_holds_back_leaves_in_its_order_and_nothing_is_lost() -> None:
    world = World(per_second=160, places=10_000)
    calls = [world.call() for _ in range(600)]
    at_once = sum(call.left for call in calls)
    assert 50 <= at_once <= 160
    assert [call.left for call in calls] == [True] * at_once + [False] * (600 - at_once)
    assert world.call_scheduler.budget.waiting(RequestKind.CALL) == 600 - at_once
    world.run(1)
    then = sum(call.left for call in calls)
    assert then <= at_once + 160
    assert [call.left for call in calls] == [True] * then + [False] * (600 - then)
    world.run(10)
    assert all(call.left for call in calls)
    assert not world.clock.getDelayedCalls()


def test_canisters_take_turns_for_the_budget() -> None:
    world = World(per_second=160)
    many = [world.call() for _ in range(900)]
    few = [world.call(OTHER) for _ in range(20)]
    assert not any(call.left for call in few)
    world.run(1.5)
    assert all(call.left for call in few)
    assert not all(call.left for call in many)


@pytest.mark.parametrize("per_second", [160, None])
def test_of_one_canister_who_has_not_sent_lately_goes_first(per_second: float | None) -> None:
    # tokens are short, or places
    world = World(per_second=per_second, places=20)
    at_once = [world.call(sent=100.0) for _ in range(900 if per_second else 60)]
    late = [world.call(sent=100.0), world.call(sent=90.0), world.call(sent=95.0), world.call(sent=100.0)]
    order: list[Call] = []
    waiting = [*at_once, *late]
    for _ in range(2000):
        gone = [call for call in waiting if call.left]
        waiting = [call for call in waiting if call not in gone]
        for call in gone:
            order.append(call)
            call.ends()
        world.run(0.01)
    places = [order.index(call) for call in late]
    assert places[1] < places[2] < 200
    assert places[0] == len(order) - 2
    assert places[3] == len(order) - 1
    assert world.calls.busy == 0


def test_clients_that_have_just_sent_leave_enough_for_a_burst_of_those_that_have_not() -> None:
    world = World(per_second=160)
    floods = [world.call(sent=999.5) for _ in range(300)]
    for _ in range(300):
        world.run(0.01)
        for number, call in enumerate(floods):
            if call.left:
                call.ends()
                floods[number] = world.call(sent=world.clock.seconds())
    assert world.budget.waiting(RequestKind.EAGER) > 100
    burst = [world.call() for _ in range(20)]
    assert all(call.left for call in burst)
    assert world.budget.sent[RequestKind.EAGER] >= 160, "what others leave is theirs"


def test_a_ws_open_that_is_sent_again_is_not_overtaken_by_new_ones() -> None:
    world = World(opens=10)
    exit = world.call_scheduler.opening(CANISTER, "a", False, True)
    while Call(world, exit).left:
        pass
    again = Call(world, exit, sent=100.0)
    new = [Call(world, exit) for _ in range(50)]
    world.run(2)
    assert again.left
    assert not all(call.left for call in new)


def test_who_gives_up_waits_for_nothing_and_gives_its_place_back() -> None:
    world = World(per_second=16, places=40)
    calls = [world.call() for _ in range(60)]
    waiting = [call for call in calls if not call.left]
    assert world.calls.line
    for call in waiting:
        call.exit.forget(call)
        call.exit.forget(call)
    assert world.budget.waiting(RequestKind.CALL) == 0
    for call in calls:
        if call not in waiting:
            call.ends()
    assert (world.calls.busy, len(world.calls.line)) == (0, 0)
    world.run(1)
    assert not world.clock.getDelayedCalls()


def test_a_newcomer_has_few_places_and_one_address_half_of_all() -> None:
    world = World()
    calls = [world.open() for _ in range(200)]
    assert sum(call.left for call in calls) == MAX_OPENS_OF_NEWCOMER // 2
    assert world.open(OTHER).left
    calls += [world.open(b"made up %d" % number) for number in range(500)]
    assert world.open(b"unlucky").left is False, "the address has its half"
    assert world.open(b"elsewhere", "b").left
    busy = world.call_scheduler._by_address
    assert busy.slot_queue("a").busy <= MAX_NEWCOMERS_OPENS // 2
    assert world.open(b"known", newcomer=False).left


def test_one_that_has_waited_for_a_newcomer_s_place_takes_one_of_its_address_too() -> None:
    world = World()
    calls = [world.open() for _ in range(20)]
    assert sum(call.left for call in calls) < 20
    ended: list[Call] = []
    while len(ended) < 20:
        (call, *_) = (each for each in calls if each.left and each not in ended)
        under_way = sum(each.left for each in calls) - len(ended)
        assert world.call_scheduler._by_address.busy == under_way
        ended.append(call)
        call.ends()
    assert (world.call_scheduler._by_newcomer.busy, world.call_scheduler._by_address.busy) == (0, 0)


def test_what_waits_for_a_newcomer_moves_over_when_it_answers() -> None:
    world = World()
    calls = [world.open(group="ab"[number % 2]) for number in range(40)]
    bystander = world.open(OTHER)
    assert sum(call.left for call in calls) < 20
    world.call_scheduler.canister_has_spoken(CANISTER)
    assert all(call.left for call in calls)
    assert world.call_scheduler.opens.busy == 40
    assert world.call_scheduler._by_address.busy == 1
    assert world.call_scheduler._by_newcomer.busy == 1
    world.call_scheduler.canister_has_spoken(CANISTER)
    later = world.open(newcomer=False)
    for call in [*calls, bystander, later]:
        call.ends()
    for call_slots in (world.call_scheduler.opens, world.call_scheduler._by_address, world.call_scheduler._by_newcomer):
        assert (call_slots.busy, len(call_slots.line)) == (0, 0)


@pytest.mark.parametrize("given_up", [0, 3])
def test_what_waits_for_a_token_moves_over_too(given_up: int) -> None:
    world = World(opens=2)
    calls = [world.open() for _ in range(12)]
    assert sum(call.left for call in calls) == 2
    for call in calls[2 : 2 + given_up]:
        call.exit.forget(call)
    world.call_scheduler.canister_has_spoken(CANISTER)
    world.run(10)
    left = [call for call in calls if call.left]
    assert len(left) == 12 - given_up
    for call in left:
        call.ends()
    assert (world.call_scheduler.opens.busy, world.call_scheduler._by_address.busy) == (0, 0)


def test_addresses_take_turns_and_of_one_those_whose_signatures_hold() -> None:
    world = World(opens=10)
    while world.open(newcomer=False, group="x").left:
        pass
    forged = [world.open(newcomer=False, proved=False) for _ in range(40)]
    honest = [world.open(newcomer=False) for _ in range(5)]
    other = [world.open(newcomer=False, group="b") for _ in range(5)]
    world.run(2)
    assert all(call.left for call in [*honest, *other])
    assert not all(call.left for call in forged)


def test_one_canister_s_ws_close_leave_places_for_those_of_others() -> None:
    world, places = World(), CallSlots(20)
    calls = [Call(world, world.call_scheduler.closing(CANISTER, places)) for _ in range(40)]
    assert 0 < sum(call.left for call in calls) < 20
    other = Call(world, world.call_scheduler.closing(OTHER, places))
    assert other.left
    assert world.call_scheduler.closing(OTHER, places) is other.exit
    waits = next(call for call in calls if not call.left)
    other.ends()
    calls[0].ends()
    assert waits.left


def test_unused_queues_are_removed() -> None:
    world = World()
    for number in range(100):
        call = world.open(b"%d" % number)
        call.ends()
    del call
    gc.collect()
    assert len(world.call_scheduler._call_queues) == 0
    assert len(world.call_scheduler._newcomers) == 0
