from __future__ import annotations

from dataclasses import replace
from typing import Any

from icwsgw.core.in_flight_limits import InFlightLimits
from icwsgw.core.network_time import STEP_NS
from icwsgw.gateway.calls.close_notices import CloseNotices
from tests.support.fake_network import NOW_NS, make_context, set_skew


def test_calls_that_hang_leave_connections_for_queries() -> None:
    for limits in (InFlightLimits(), InFlightLimits.of(128)):
        # None: made anew, of these limits
        made: dict[str, Any] = dict.fromkeys(("calls", "queries", "newcomers_queries"))
        context = replace(make_context()[0], in_flight_limits=limits, **made)
        assert context.calls.limit == limits.messages
        assert context.queries.limit == limits.queries
        assert context.newcomers_queries.limit == limits.newcomers_queries
        assert context.call_scheduler.opens.limit == limits.opens
        assert CloseNotices(context).call_slots.limit == limits.closes


def test_without_a_budget_nothing_is_limited() -> None:
    context = replace(make_context(polling_interval=0.25)[0], budget=None)  # type: ignore[arg-type]
    assert context.budget is not None
    assert (context.budget.per_second, context.budget.interval) == (None, 0.25)
    assert context.call_scheduler.budget is context.budget


def test_the_networks_time_is_ours_unless_the_skew_is_real() -> None:
    for skew, shift in [
        (0, 0),
        (STEP_NS, 0),
        (-STEP_NS, 0),
        (STEP_NS + 1, STEP_NS + 1),
        (-10 * STEP_NS, -10 * STEP_NS),
    ]:
        context, _, _ = make_context()
        set_skew(context, skew)
        assert context.network_ns() == NOW_NS + shift
        earliest, latest = context.network.time.enclosed_ns(context.clock.seconds(), context.now_ns())
        assert earliest == context.earliest_network_ns() <= NOW_NS + skew <= latest
