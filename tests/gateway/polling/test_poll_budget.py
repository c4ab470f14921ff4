from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from icwsgw.core.call_slots import CallSlots
from icwsgw.core.in_flight_limits import MAX_NEWCOMERS_QUERIES
from icwsgw.core.poll_quota import PollQuota
from icwsgw.core.rate_limit import Rate
from icwsgw.core.request_kind import RequestKind
from icwsgw.gateway.interfaces import Context
from icwsgw.gateway.polling.poll_budget import MAX_OVERLAP, NEWCOMER_LOOKS, NEWCOMER_OVERLAP, PollBudget
from tests.gateway.test_log_lines import Lines
from tests.support.fake_network import make_context


@pytest.fixture
def lines() -> Iterator[Lines]:
    observer = Lines()
    globalLogPublisher.addObserver(observer)  # type: ignore[arg-type]
    yield observer
    globalLogPublisher.removeObserver(observer)  # type: ignore[arg-type]


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
    assert not poll_budget.extra(5.0)
    assert poll_budget.extra(6.0)
    poll_budget.end()
    assert context.budget.pollers == 0


def test_the_cost_of_messages_without_a_client_is_handed_over() -> None:
    context = made()
    poll_budget, copy = PollBudget(context, b"known"), PollBudget(context, b"known")
    poll_budget.useless = copy.useless = True
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


def test_a_known_canister_always_has_some_queries() -> None:
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


def test_a_newcomer_that_ends_gives_its_place_back() -> None:
    context = made()
    newcomer(context).end()
    assert (context.newcomers.busy, context.budget.pollers) == (0, 0)


PAGES = list(range(1, 1000, 50))


def test_the_log_names_what_polls_wait_for(lines: Lines) -> None:
    """The request budget and the canister's quota each have a line; a newcomer's one page at a time has none."""
    context = made(query_budget=2000)
    limited = PollBudget(context, b"limited")
    limited.quota = PollQuota()
    limited.quota.change(None, Rate(100.0, 200.0), None, 5.0)
    assert limited.quota.exceeded(5.0) == ""
    assert 0 < len(limited.affordable(PAGES, True, 5.0)) < len(PAGES)
    assert newcomer(context).affordable(PAGES, True, 5.0) == [1]
    assert [text for text, _ in lines.recorded] == ["polls wait for their canister's quota"]
    assert lines.recorded[0][1]["canister"]
    while len(PollBudget(context, b"other").affordable(PAGES, True, 5.0)) == len(PAGES):
        assert len(lines.recorded) == 1
    assert [text for text, _ in lines.recorded[1:]] == ["polls wait for the query budget"]
