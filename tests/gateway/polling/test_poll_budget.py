from __future__ import annotations

from dataclasses import replace
from typing import Any

from icwsgw.core.call_slots import CallSlots
from icwsgw.core.request_kind import RequestKind
from icwsgw.gateway.interfaces import MAX_NEWCOMERS_QUERIES, Context
from icwsgw.gateway.polling.poll_budget import MAX_OVERLAP, NEWCOMER_LOOKS, NEWCOMER_OVERLAP, PollBudget
from tests.support.fake_network import make_context


def newcomer(context: Context, canister: bytes = b"new", group: str = "a") -> PollBudget:
    place = context.newcomers.slot_queue(group)
    place.take()
    return PollBudget(context, canister, place, group)


def made(**options: Any) -> Context:
    return make_context(**options)[0]


def test_a_known_canister_has_what_the_budget_allows() -> None:
    context = made(query_budget=160)
    poll_budget = PollBudget(context, b"known")
    assert (poll_budget.newcomer, poll_budget.may_overlap, poll_budget.look_again()) == (False, MAX_OVERLAP, None)
    assert poll_budget.affordable([1, 51, 101], True, 5.0) == [1, 51, 101]
    assert context.budget.sent[RequestKind.EXTRA] == 2
    assert len(poll_budget.affordable(list(range(1000)), True, 5.0)) < 300
    poll_budget.charge(5.0)
    poll_budget.end()
    assert context.budget.pollers == 0


def test_what_messages_for_nobody_have_cost_is_handed_over() -> None:
    context = made()
    poll_budget, copy = PollBudget(context, b"known"), PollBudget(context, b"known")
    poll_budget.answered(0, 10, 5.0, 0.5)
    assert poll_budget.rest(5.0) > 0
    copy.read({})
    assert copy.rest(5.0) == 0
    copy.read(poll_budget.written())
    assert copy.rest(5.0) == poll_budget.rest(5.0)


def test_each_known_canister_has_a_lane_of_its_own() -> None:
    context = made()
    one, other = PollBudget(context, b"one"), PollBudget(context, b"other")
    assert one.slot_queue is context.queries.slot_queue(b"one")
    assert other.slot_queue is context.queries.slot_queue(b"other")
    assert one.slot_queue is not other.slot_queue


def test_a_newcomer_asks_for_one_page_at_a_time() -> None:
    poll_budget = newcomer(made())
    assert poll_budget.may_overlap == NEWCOMER_OVERLAP
    assert poll_budget.affordable([1, 51, 101], True, 5.0) == [1]
    assert poll_budget.affordable([1, 51, 101], False, 5.0) == [1]


def test_a_newcomer_is_looked_at_a_few_times_after_ws_open_was_taken() -> None:
    poll_budget = newcomer(made())
    assert poll_budget.look_again() is None
    poll_budget.looks = NEWCOMER_LOOKS
    pauses = [poll_budget.look_again() for _ in range(NEWCOMER_LOOKS)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert poll_budget.look_again() is None


def test_newcomers_queries_are_shared_by_address() -> None:
    context = made()
    allowances = [newcomer(context, b"%d" % number) for number in range(100)]
    for poll_budget in allowances:
        if poll_budget.room:
            poll_budget.slot_queue.take()
    assert context.newcomers_queries.busy == MAX_NEWCOMERS_QUERIES // 2
    assert context.metrics.queries_crowded.value > 0
    assert newcomer(context, group="b").room
    assert PollBudget(context, b"known").room


def test_a_known_canister_has_some_queries_however_many_others_have() -> None:
    context = replace(made(), queries=CallSlots(0, least=3))
    poll_budget = PollBudget(context, b"known")
    for number in range(3):
        assert poll_budget.room
        poll_budget.slot_queue.take()
        assert poll_budget.slot_queue.busy == number + 1
    assert context.metrics.queries_crowded.value == 0
    assert not poll_budget.room
    assert context.metrics.queries_crowded.value == 1


def test_a_newcomer_that_has_spoken_is_polled_like_all_others() -> None:
    context = made()
    poll_budget = newcomer(context)
    assert context.newcomers.busy == 1
    poll_budget.canister_has_spoken()
    poll_budget.canister_has_spoken()
    assert (poll_budget.newcomer, context.newcomers.busy) == (False, 0)
    assert poll_budget.slot_queue is context.queries.slot_queue(b"new")
    assert not poll_budget.poll_schedule.newcomer
    poll_budget.end()
    assert context.budget.pollers == 0


def test_one_that_ends_unheard_gives_its_place_back() -> None:
    context = made()
    newcomer(context).end()
    assert (context.newcomers.busy, context.budget.pollers) == (0, 0)
