from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.request_budget import (
    BURST_SECONDS,
    HELD_TICKS,
    LONGEST_PAUSE,
    MOST_TICKS,
    SHORTEST_PAUSE,
    RequestBudget,
)
from icwsgw.core.request_kind import WAITING, WEIGHTS, RequestKind
from tests.support.poll_schedules import INTERVAL, joined, poll_times

TICK, EXTRA, CALL, CLOSE, OPEN, EAGER, OWN = RequestKind


class Waiter:
    def may_send(self) -> None:
        raise AssertionError("the caller's to do")


SHARED = tuple(RequestKind)[: len(WEIGHTS)]


def share(budget: float, kind: RequestKind) -> float:
    return budget * WEIGHTS[kind] / sum(WEIGHTS)


def flood(
    budget: RequestBudget, kinds: list[RequestKind], seconds: float, start: float = 100.0
) -> dict[RequestKind, int]:
    """Let so many of each kind want to leave that never all can; how many did."""
    sent = dict.fromkeys(kinds, 0)
    flow = 0
    for step in range(round(seconds * 1000)):
        now = start + step / 1000
        for kind in kinds:
            if kind in WAITING:
                while budget.waiting(kind) < 3:
                    flow += 1
                    budget.wait(kind, flow, Waiter())
            elif budget.take(kind, now):
                sent[kind] += 1
        before = list(budget.sent)
        while budget.next(now) is not None:
            pass
        for kind in kinds:
            if kind in WAITING:
                sent[kind] += budget.sent[kind] - before[kind]
    return sent


def test_without_a_budget_every_tick_polls_and_all_is_sent() -> None:
    budget = RequestBudget(None, INTERVAL)
    turns = joined(budget, 500)
    assert {len(times) for times in poll_times(turns, 2)} == {20}
    assert all(budget.take(kind, 1.0) for kind in RequestKind for _ in range(1000))
    assert budget.extras(1.0, 32) == 32
    assert budget.slot(1.0, 1.0) == 1.0
    assert budget.pause(1.0) is None


def test_ticks_give_way_to_calls_that_wait_and_come_back() -> None:
    budget = RequestBudget(160, INTERVAL)
    turns = joined(budget, 100)

    def rate(seconds: float, start: float, calls: bool) -> float:
        count = 0
        for tick in range(round(seconds / INTERVAL)):
            for index, turn in enumerate(turns):
                now = start + (tick + index / 100) * INTERVAL
                count += turn.next_poll_at(now)
                if calls:
                    while budget.waiting(CALL) < 2:
                        budget.wait(CALL, now, Waiter())
                while budget.next(now) is not None:
                    pass
        return count / seconds

    assert rate(10, 0.0, False) == pytest.approx(160 * MOST_TICKS, rel=0.1)
    rate(5, 10.0, True)
    assert rate(20, 15.0, True) <= share(160, TICK)
    assert budget.stretched
    budget_calls = budget.sent[CALL]
    rate(5, 35.0, True)
    # calls have all that ticks and their own share leave
    assert (budget.sent[CALL] - budget_calls) / 5 >= share(160, CALL) * 1.5
    while budget.next(100.0) is not None:
        pass
    rate(5, 101.0, False)
    assert rate(10, 106.0, False) == pytest.approx(160 * MOST_TICKS, rel=0.1)


def tokens(budget: RequestBudget, kind: RequestKind, now: float) -> int:
    """How many of a kind may leave now."""
    taken = 0
    while budget.take(kind, now):
        taken += 1
    return taken


def crowd(budget: RequestBudget, *kinds: RequestKind) -> None:
    """Let one of each kind wait, so that its share lends nothing."""
    for kind in kinds:
        budget.wait(kind, 0, Waiter())


def test_a_share_lends_down_to_its_half_and_to_those_who_come_last_a_quarter() -> None:
    # shares of 60, 20, 40, 10, 20 and 10: what lends goes one below its level
    assert tokens(RequestBudget(160, INTERVAL), EXTRA, 100.0) == 20 + 31 + 21 + 6 + 11 + 6
    assert tokens(RequestBudget(160, INTERVAL), CALL, 100.0) == 40 + 31 + 11 + 6 + 11 + 6
    assert tokens(RequestBudget(160, INTERVAL), OPEN, 100.0) == 20 + 16 + 6 + 11 + 3 + 3
    assert tokens(RequestBudget(160, INTERVAL), EAGER, 100.0) == 10 + 16 + 6 + 11 + 3 + 6


def test_in_a_small_budget_each_kind_may_send_one_at_once() -> None:
    for kind in (EXTRA, CALL, CLOSE, OPEN, EAGER):
        assert tokens(RequestBudget(4, INTERVAL), kind, 100.0) == 6
    budget = RequestBudget(4, INTERVAL)
    crowd(budget, CALL, CLOSE, OPEN, EAGER)
    # its own, and one of the ticks', which have 1.5
    assert tokens(budget, EXTRA, 100.0) == 2


def test_nothing_is_lent_while_requests_wait() -> None:
    budget = RequestBudget(160, INTERVAL)
    crowd(budget, CALL)
    assert tokens(budget, EXTRA, 100.0) == 20 + 31 + 6 + 11 + 6


def test_nothing_is_lent_while_ticks_owe() -> None:
    budget = RequestBudget(160, INTERVAL)
    for _ in range(1000):
        budget.charge(TICK, 100.0)
    # they have borrowed down to the half of each share, and owe a second's worth of their own
    assert tokens(budget, EXTRA, 100.5) == 9 + 10
    budget = RequestBudget(160, INTERVAL)
    for _ in range(1000):
        budget.charge(TICK, 100.0)
    assert tokens(budget, EXTRA, 101.0) == 20 + 21 + 6 + 11 + 6, "they owe nothing any more"


def test_a_burst_of_ws_open_is_a_second_of_their_own_rate() -> None:
    budget = RequestBudget(None, INTERVAL, opens=10)
    assert tokens(budget, OPEN, 100.0) == 10
    assert tokens(budget, OPEN, 100.35) == 3
    assert budget.sent[OPEN] == 13


def test_what_leaves_in_any_case_uses_up_its_own_share_first() -> None:
    budget = RequestBudget(160, INTERVAL)
    crowd(budget, CALL, CLOSE, OPEN, EAGER)
    for _ in range(20):
        budget.charge(EXTRA, 100.0)
    assert tokens(budget, TICK, 100.0) == 60


def test_the_agents_own_is_owed_by_the_share_that_has_most_left_of_its_size() -> None:
    budget = RequestBudget(160, INTERVAL)
    for _ in range(60):
        budget.charge(TICK, 100.0)
    for _ in range(5):
        budget.charge(OWN, 100.0)
    crowd(budget, CALL, CLOSE, OPEN, EAGER)
    # one of each: EXTRA, CALL, CLOSE, OPEN and EAGER are all full
    assert tokens(budget, EXTRA, 100.0) == 19


def test_the_agents_own_spares_kinds_that_wait_until_the_others_owe_half_a_second() -> None:
    budget = RequestBudget(160, INTERVAL)
    crowd(budget, CALL, CLOSE, OPEN, EAGER)
    for kind, count in ((TICK, 60), (EXTRA, 20)):
        for _ in range(count):
            budget.charge(kind, 100.0)
    # the halves of 60 and 20, and the one that goes beyond it
    for _ in range(30 + 1 + 10 + 1):
        budget.charge(OWN, 100.0)
    assert budget.sent[OWN] == 42
    assert [tokens(budget, kind, 100.0) for kind in (CALL, CLOSE, OPEN, EAGER)] == [40, 10, 20, 10]


def test_the_agents_own_is_owed_by_kinds_that_wait_when_the_others_owe_more() -> None:
    budget = RequestBudget(160, INTERVAL)
    crowd(budget, CALL, CLOSE, OPEN, EAGER)
    for kind, count in ((TICK, 60), (EXTRA, 20)):
        for _ in range(count):
            budget.charge(kind, 100.0)
    for _ in range(42 + 4):
        budget.charge(OWN, 100.0)
    assert [tokens(budget, kind, 100.0) for kind in (CALL, CLOSE, OPEN, EAGER)] == [39, 9, 19, 9]


def test_the_agents_own_that_repeats_each_poll_leaves_waiting_kinds_their_shares() -> None:
    budget = RequestBudget(20, INTERVAL, opens=20)
    turn = joined(budget, 100)[0]
    polls = 100.0
    begun: list[int] = []
    for step in range(12_000):
        now = 100.0 + step / 1000
        if step == 2000:
            # the bursts of the beginning are over
            begun = list(budget.sent)
        while budget.waiting(OPEN) < 3:
            budget.wait(OPEN, step, Waiter())
        if now >= polls:
            budget.charge(TICK, now)
            budget.charge(OWN, now)
            polls += turn.interval / 100
        while budget.next(now) is not None:
            pass
    sent = [after - before for after, before in zip(budget.sent, begun, strict=True)]
    assert sent[OPEN] >= 0.95 * 10 * share(20, OPEN)
    # all buckets full at the beginning, and all in debt at the end
    assert sum(budget.sent) <= 20 * 12 + 20 + 20


def test_ticks_pay_back_what_the_agents_own_has_taken() -> None:
    budget = RequestBudget(160, INTERVAL)
    turns = joined(budget, 100)
    assert turns[0].interval == pytest.approx(100 / (160 * MOST_TICKS))
    for _ in range(1000):
        budget.charge(OWN, 100.0)
    assert turns[0].interval == pytest.approx(100 / (160 * HELD_TICKS))


def test_ticks_are_held_from_half_a_second_of_debt_until_it_is_paid() -> None:
    budget = RequestBudget(160, INTERVAL)
    turn = joined(budget, 100)[0]
    free, held = 100 / (160 * MOST_TICKS), 100 / (160 * HELD_TICKS)
    # a second's worth of their own, what the others lend, and half a second's worth of debt
    for _ in range(60 + 11 + 21 + 6 + 11 + 6 + 30):
        budget.charge(TICK, 100.0)
    assert turn.interval == pytest.approx(free)
    budget.charge(TICK, 100.0)
    assert turn.interval == pytest.approx(held)
    budget.charge(TICK, 100.5)
    assert turn.interval == pytest.approx(held), "they still owe one"
    budget.charge(TICK, 100.0 + 32.5 / 60)
    assert turn.interval == pytest.approx(free)


def test_ticks_are_held_while_a_call_waits() -> None:
    budget = RequestBudget(160, INTERVAL)
    turn = joined(budget, 100)[0]
    crowd(budget, CLOSE, OPEN)
    assert turn.interval == pytest.approx(100 / (160 * MOST_TICKS))
    crowd(budget, CALL)
    assert turn.interval == pytest.approx(100 / (160 * HELD_TICKS))
    assert budget.next(100.0) is not None
    budget.charge(TICK, 100.0)
    assert turn.interval == pytest.approx(100 / (160 * MOST_TICKS))


def test_who_waits_is_looked_at_when_the_next_token_is_there() -> None:
    budget = RequestBudget(160, INTERVAL)
    tokens(budget, CALL, 100.0)
    crowd(budget, CALL)
    assert budget.pause(100.0) == pytest.approx(1 / 40)
    assert budget.pause(100.01) == pytest.approx(0.015)
    later = RequestBudget(160, INTERVAL)
    tokens(later, CLOSE, 100.0)
    crowd(later, CLOSE)
    assert later.pause(100.0) == LONGEST_PAUSE
    assert later.pause(100.08) == pytest.approx(0.02)


def test_ws_open_waits_for_its_own_rate_too() -> None:
    budget = RequestBudget(None, INTERVAL, opens=40)
    tokens(budget, OPEN, 100.0)
    crowd(budget, OPEN)
    assert budget.pause(100.0) == pytest.approx(1 / 40)
    assert budget.pause(100.01) == pytest.approx(0.015)
    both = RequestBudget(160, INTERVAL, opens=40)
    tokens(both, CALL, 100.0)
    tokens(both, OPEN, 100.0)
    crowd(both, CALL)
    assert both.pause(100.0) == pytest.approx(1 / 40), "a call does not wait for ws_open's rate"


def test_of_one_canister_the_lowest_rank_leaves_first_and_no_rank_before_all() -> None:
    budget = RequestBudget(160, INTERVAL)
    late, early, new = Waiter(), Waiter(), Waiter()
    budget.wait(CALL, 0, late, 2.0)
    budget.wait(CALL, 0, early, 1.0)
    budget.wait(CALL, 0, new)
    assert [budget.next(100.0) for _ in range(4)] == [new, early, late, None]


def test_a_call_leaves_at_once_while_there_are_tokens() -> None:
    budget = RequestBudget(160, INTERVAL)
    count = 0
    while budget.goes(CALL, 100.0):
        count += 1
    assert (count, budget.sent[CALL]) == (105, 105)
    unbounded = RequestBudget(None, INTERVAL, opens=1)
    assert all(unbounded.goes(CALL, 100.0) for _ in range(1000))
    assert [unbounded.goes(OPEN, 100.0) for _ in range(2)] == [True, False]
    assert (unbounded.sent[CALL], unbounded.sent[OPEN]) == (1000, 1)


def test_each_kind_has_all_that_the_others_leave() -> None:
    for kind in (EXTRA, CALL, CLOSE):
        budget = RequestBudget(160, INTERVAL)
        flood(budget, [kind], 3)
        assert flood(budget, [kind], 10, start=103.0)[kind] == pytest.approx(1600, rel=0.02)


def test_unauthenticated_ws_opens_have_what_is_left_and_a_rate_of_their_own() -> None:
    budget = RequestBudget(160, INTERVAL)
    flood(budget, [OPEN], 3)
    assert flood(budget, [OPEN], 10, start=103.0)[OPEN] == pytest.approx(1600, rel=0.02)
    bounded = RequestBudget(160, INTERVAL, opens=30)
    assert flood(bounded, [OPEN], 10)[OPEN] == pytest.approx(330, abs=3)
    unbounded = RequestBudget(None, INTERVAL, opens=30)
    assert flood(unbounded, [OPEN], 10)[OPEN] == pytest.approx(330, abs=3)


def test_when_all_want_all_each_has_its_share() -> None:
    budget = RequestBudget(160, INTERVAL)
    kinds = [EXTRA, CALL, CLOSE, OPEN]
    flood(budget, kinds, 3)
    sent = flood(budget, kinds, 20, start=103.0)
    assert sum(sent.values()) <= 160 * 20 + 2
    for kind in kinds:
        assert sent[kind] >= share(160, kind) * 20 * 0.98
    # what ticks leave goes to messages and polls, not to newcomers
    assert sent[OPEN] <= share(160, OPEN) * 20 * 1.1


def test_who_comes_back_to_its_share_finds_half_a_seconds_worth() -> None:
    budget = RequestBudget(160, INTERVAL)
    flood(budget, [EXTRA], 20)
    taken = 0
    while budget.take(CALL, 120.0):
        taken += 1
    assert taken >= share(160, CALL) * BURST_SECONDS / 2 - 1


def test_canisters_take_turns_and_who_gives_up_costs_nothing() -> None:
    budget = RequestBudget(16, INTERVAL)
    while budget.take(CALL, 100.0):
        pass
    flows: dict[int, int] = {}
    waiters = {}
    for number in range(60):
        # one canister has twenty waiters for each of another one
        flow = number % 20 // 19
        waiters[number] = waiter = Waiter()
        flows[id(waiter)] = flow
        budget.wait(CALL, flow, waiter)
    budget.forget(CALL, 0, waiters[0])
    budget.forget(CALL, 0, waiters[0])
    assert budget.waiting(CALL) == 59
    order = []
    now = 100.0
    while budget.waiting(CALL):
        pause = budget.pause(now)
        assert pause is not None
        assert pause > 0
        now += pause
        while (served := budget.next(now)) is not None:
            order.append(flows[id(served)])
    assert order[:6] in ([0, 1] * 3, [1, 0] * 3)
    assert len(order) == 59
    assert budget.held[CALL] == 60


def test_messages_leave_before_ws_close_and_ws_open() -> None:
    budget = RequestBudget(160, INTERVAL)
    for kind in (OPEN, CLOSE, CALL):
        budget.wait(kind, 0, Waiter())
    before = list(budget.sent)
    order = []
    while budget.next(100.0) is not None:
        order.append(next(kind for kind in WAITING if budget.sent[kind] > before[kind]))
        before = list(budget.sent)
    assert order == [CALL, CLOSE, OPEN]


def test_no_one_overtakes_a_waiting_call() -> None:
    budget = RequestBudget(160, INTERVAL)
    budget.wait(CALL, 0, Waiter())
    assert not budget.goes(CALL, 100.0)
    assert budget.goes(CLOSE, 100.0)
    assert budget.next(100.0) is not None
    assert budget.goes(CALL, 100.0)


def test_the_line_of_ws_open_has_a_bound_that_one_address_cannot_use_up() -> None:
    budget = RequestBudget(None, INTERVAL, opens=10)
    while budget.take(OPEN, 0.0):
        pass
    counts = {"a": 0, "b": 0, "c": 0}
    for address in counts:
        while budget.has_room(address):
            budget.wait(OPEN, address, Waiter())
            counts[address] += 1
    assert counts["a"] == 150
    assert counts["b"] == pytest.approx(75, abs=1)
    assert counts["c"] == pytest.approx(38, abs=1)


def test_a_deep_queue_takes_what_is_free() -> None:
    budget = RequestBudget(160, INTERVAL)
    first = budget.extras(10.0, 1000)
    assert share(160, EXTRA) <= first <= 160
    assert budget.extras(10.0, 5) == 0
    assert budget.held_queries == 1000 - first + 5


def test_wakes_get_one_slot_after_the_other_in_their_order() -> None:
    budget = RequestBudget(16, INTERVAL)
    turns = joined(budget, 60)
    now = 100.0
    for turn in turns:
        turn.due = now + 10
    budget.extras(now, 1000)
    pauses = [turn.wake(now) for turn in turns[:4]]
    assert pauses == pytest.approx([0.5, 1.0, 1.5, 2.0], abs=0.5)
    assert all(later > sooner for sooner, later in pairwise(pause for pause in pauses if pause is not None))
    # asking again neither costs another slot nor loses the one there is
    assert turns[1].wake(now) == pauses[1]
    assert [turn.wake(now + 3.0) for turn in turns[:4]] == [0.0] * 4


def test_slots_follow_each_other_at_the_rate_of_the_share_and_are_counted() -> None:
    budget = RequestBudget(160, INTERVAL)
    assert budget.slot(100.0, 200.0) == 100.0
    left = budget.extras(100.0, 1000)
    slots = [budget.slot(100.0, 200.0) for _ in range(3)]
    assert slots == pytest.approx([100.05, 100.1, 100.15])
    assert budget.held_wakes == 3
    assert budget.sent[EXTRA] == 1 + left + 3
    # the next one is free at 100.2, which is too late for a tick at that very time
    assert budget.slot(100.0, 100.2) is None
    assert budget.slot(100.0, 100.2001) == pytest.approx(100.2)
    assert budget.held_wakes == 5


def test_what_leaves_in_any_case_is_owed_but_not_for_ever() -> None:
    budget = RequestBudget(160, INTERVAL)
    for _ in range(10_000):
        budget.charge(EXTRA, 50.0)
    assert not budget.take(EXTRA, 50.0)
    assert budget.take(EXTRA, 50.0 + 3 * BURST_SECONDS)


def test_what_is_the_agents_own_leaves_at_once_and_others_wait_for_it() -> None:
    budget = RequestBudget(160, INTERVAL)
    flood(budget, [EXTRA, CALL, CLOSE, OPEN], 3)
    before = list(budget.sent)
    for step in range(10_000):
        now = 103.0 + step / 1000
        if step % 20 == 0:
            budget.charge(OWN, now)
        for kind in WAITING:
            while budget.waiting(kind) < 3:
                budget.wait(kind, step, Waiter())
        budget.take(EXTRA, now)
        while budget.next(now) is not None:
            pass
    sent = [after - earlier for after, earlier in zip(budget.sent, before, strict=True)]
    assert sent[OWN] == 500
    # a token of each kind may be left from before
    assert 160 * 10 * 0.97 <= sum(sent) <= 160 * 10 + len(WEIGHTS)
    # each kind has less by about its part
    assert all(sent[kind] >= share(160, kind) * 10 * 0.6 for kind in (EXTRA, CALL, CLOSE, OPEN))


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["tick", "wake", "deep", "call", "close", "open", "forget", "own"]),
        st.integers(0, 199),
        st.floats(0, 0.05),
    ),
    max_size=400,
)


@given(st.integers(1, 400), st.integers(0, 200), EVENTS)
def test_no_order_of_events_sends_more_than_the_budget(per_second: int, pollers: int, events: list[Any]) -> None:
    budget = RequestBudget(per_second, INTERVAL, opens=per_second / 2)
    turns = joined(budget, pollers)
    now = 1000.0
    for each in turns:
        each.due = now
    waiters: list[tuple[RequestKind, int, Waiter]] = []
    entered = 0
    for what, index, pause in events:
        now += pause
        turn = turns[index % pollers] if pollers else None
        if what == "deep":
            assert 0 <= budget.extras(now, 1 + index % 32) <= 1 + index % 32
        elif what == "own":
            # the agent's own are few
            if budget.sent[OWN] <= per_second * (now - 1000.0) / 2:
                budget.charge(OWN, now)
        elif what in ("call", "close", "open"):
            kind = RequestKind[what.upper()]
            entered += 1
            if not budget.goes(kind, now):
                waiters.append((kind, index, Waiter()))
                budget.wait(*waiters[-1])
        elif what == "forget" and waiters:
            before = sum(budget.waiting(kind) for kind in WAITING)
            budget.forget(*waiters.pop(index % len(waiters)))
            entered -= before - sum(budget.waiting(kind) for kind in WAITING)
        elif turn is not None and what == "wake":
            turn.wake(now)
        elif turn is not None and what == "tick":
            turn.next_poll_at(now)
        while budget.next(now) is not None:
            pass
    # all buckets full, the debts they may have, and the polls that were scheduled when calls came
    depths = sum(max(1.0, share(per_second, kind) * BURST_SECONDS) for kind in SHARED)
    debts = max(1.0, share(per_second, TICK)) + pollers
    assert sum(budget.sent) <= per_second * (now - 1000.0) + depths + debts + 1e-6
    # and nothing is lost
    assert entered == sum(budget.sent[kind] + budget.waiting(kind) for kind in WAITING)


def test_eager_clients_take_what_others_leave_and_no_more() -> None:
    budget = RequestBudget(160, INTERVAL)
    now = 100.0
    # alone, they have nearly all of it
    for step in range(4000):
        now = 100.0 + step / 1000
        while budget.waiting(EAGER) < 3:
            budget.wait(EAGER, step, Waiter())
        while budget.next(now) is not None:
            pass
    assert budget.sent[EAGER] >= 0.9 * 160 * 4
    # and yet there are tokens for many that have not sent lately
    burst = 0
    while budget.goes(CALL, now):
        burst += 1
    assert burst >= 0.7 * share(160, CALL)


def test_eager_clients_have_their_share_when_all_want_all() -> None:
    budget = RequestBudget(160, INTERVAL)
    before = 0
    for step in range(14_000):
        now = 100.0 + step / 1000
        if step == 4000:
            before = budget.sent[EAGER]
        for kind in WAITING:
            while budget.waiting(kind) < 3:
                budget.wait(kind, step, Waiter())
        budget.take(EXTRA, now)
        budget.take(TICK, now)
        while budget.next(now) is not None:
            pass
    assert budget.sent[EAGER] - before >= 0.97 * 10 * share(160, EAGER)


@pytest.mark.parametrize(("before", "after"), [(80, 160), (160, 80)])
def test_a_budget_that_was_changed_is_like_one_made_so(before: int, after: int) -> None:
    changed, made = RequestBudget(before, INTERVAL, before / 2), RequestBudget(after, INTERVAL, after / 2)
    changed.change(after, after / 2, 100.0)
    joined(changed, 50)
    joined(made, 50)
    assert changed.interval == made.interval
    counts = []
    for budget in (changed, made):
        # what was left of another depth is soon used up
        sent = 0
        for step in range(12_000):
            now = 100.0 + step / 1000
            for kind in (CALL, OPEN):
                while budget.waiting(kind) < 3:
                    budget.wait(kind, step, Waiter())
            while budget.next(now) is not None:
                sent += step >= 4000
        counts.append((sent, budget.sent[OPEN]))
    assert counts[0][0] == pytest.approx(counts[1][0], rel=0.02)


def test_a_limit_that_begins_grants_a_burst_and_holds_from_then_on() -> None:
    budget = RequestBudget(None, INTERVAL)
    joined(budget, 50)
    for step in range(1000):
        assert budget.take(EXTRA, step / 1000)
    budget.change(80, 40.0, 1.0)
    assert budget.interval == RequestBudget(80, INTERVAL, 40.0).interval or budget.stretched
    sent = [0, 0]
    for step in range(10_000):
        now = 1.0 + step / 1000
        for kind in (CALL, OPEN):
            while budget.waiting(kind) < 3:
                budget.wait(kind, step, Waiter())
        while budget.next(now) is not None:
            sent[step >= 5000] += 1
    # a burst of one second, and then the rate, of which ticks and wakes take nothing here
    assert 80 * 5 <= sent[0] <= 80 * 6 + 1
    assert sent[1] == pytest.approx(80 * 5, rel=0.02)
    assert budget.sent[OPEN] <= 40 * 10 + 41


def test_a_limit_that_ends_lets_all_go() -> None:
    budget = RequestBudget(8, INTERVAL, 4.0)
    schedules = joined(budget, 50)
    assert budget.stretched
    for number in range(100):
        for kind in (CALL, OPEN):
            budget.wait(kind, number, Waiter())
    while budget.next(0.0) is not None:
        pass
    assert budget.waiting(CALL) > 80
    budget.change(None, None, 0.0)
    pause = budget.pause(0.0)
    assert pause is not None
    assert pause <= SHORTEST_PAUSE
    while budget.next(pause) is not None:
        pass
    assert (budget.waiting(CALL), budget.waiting(OPEN)) == (0, 0)
    assert (budget.interval, budget.stretched) == (INTERVAL, False)
    # polls that were put off for long come at the next tick
    for schedule in schedules:
        schedule.shared.schedule(1.0)
    assert budget.join(2.0).due == 2.0
    assert all(budget.goes(kind, 2.0) for kind in (CALL, OPEN) for _ in range(1000))


def test_the_limit_of_ws_open_can_begin_and_end_alone() -> None:
    budget = RequestBudget(None, INTERVAL)
    budget.change(None, 5.0, 100.0)
    assert [budget.take(OPEN, 100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert all(budget.take(CALL, 100.0) for _ in range(50))
    budget.change(None, None, 100.0)
    assert all(budget.take(OPEN, 100.0) for _ in range(50))
    budget.change(None, None, 100.0)
    assert budget.per_second is None
