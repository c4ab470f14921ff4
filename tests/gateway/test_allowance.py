from __future__ import annotations

from typing import Any

from icwsgw.core.budget import Traffic
from icwsgw.gateway.allowance import MAX_OVERLAP, NEWCOMER_LOOKS, NEWCOMER_OVERLAP, Allowance
from icwsgw.gateway.interfaces import MAX_NEWCOMERS_QUERIES, Context
from tests.support.fake_network import make_context


def newcomer(context: Context, canister: bytes = b"new", group: str = "a") -> Allowance:
    place = context.newcomers.lane(group)
    place.take()
    return Allowance(context, canister, place, group)


def made(**options: Any) -> Context:
    return make_context(**options)[0]


def test_a_known_canister_has_what_the_budget_allows() -> None:
    context = made(query_budget=160)
    allowance = Allowance(context, b"known")
    assert (allowance.newcomer, allowance.overlap, allowance.look_again()) == (False, MAX_OVERLAP, None)
    assert allowance.affordable([1, 51, 101], True, 5.0) == [1, 51, 101]
    assert context.budget.sent[Traffic.EXTRA] == 2
    assert len(allowance.affordable(list(range(1000)), True, 5.0)) < 300
    allowance.charge(5.0)
    allowance.end()
    assert context.budget.pollers == 0


def test_each_known_canister_has_a_lane_of_its_own() -> None:
    context = made()
    one, other = Allowance(context, b"one"), Allowance(context, b"other")
    assert one.lane is context.queries.lane(b"one")
    assert other.lane is context.queries.lane(b"other")
    assert one.lane is not other.lane


def test_a_newcomer_asks_for_one_page_at_a_time() -> None:
    allowance = newcomer(made())
    assert allowance.overlap == NEWCOMER_OVERLAP
    assert allowance.affordable([1, 51, 101], True, 5.0) == [1]
    assert allowance.affordable([1, 51, 101], False, 5.0) == [1]


def test_a_newcomer_is_looked_at_a_few_times_after_ws_open_was_taken() -> None:
    allowance = newcomer(made())
    assert allowance.look_again() is None
    allowance.looks = NEWCOMER_LOOKS
    pauses = [allowance.look_again() for _ in range(NEWCOMER_LOOKS)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert allowance.look_again() is None


def test_newcomers_queries_are_shared_by_address() -> None:
    context = made()
    allowances = [newcomer(context, b"%d" % number) for number in range(100)]
    for allowance in allowances:
        if allowance.room:
            allowance.lane.take()
    assert context.newcomers_queries.busy == MAX_NEWCOMERS_QUERIES // 2
    assert context.metrics.queries_crowded.value > 0
    assert newcomer(context, group="b").room
    assert Allowance(context, b"known").room


def test_a_newcomer_that_has_spoken_is_polled_like_all_others() -> None:
    context = made()
    allowance = newcomer(context)
    assert context.newcomers.busy == 1
    allowance.settle()
    allowance.settle()
    assert (allowance.newcomer, context.newcomers.busy) == (False, 0)
    assert allowance.lane is context.queries.lane(b"new")
    assert not allowance.turns.newcomer
    allowance.end()
    assert context.budget.pollers == 0


def test_one_that_ends_unheard_gives_its_place_back() -> None:
    context = made()
    newcomer(context).end()
    assert (context.newcomers.busy, context.budget.pollers) == (0, 0)
