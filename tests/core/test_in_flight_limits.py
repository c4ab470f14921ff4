from __future__ import annotations

import pytest

from icwsgw.agent.http.transport import MAX_CONNECTIONS
from icwsgw.core.in_flight_limits import MAX_REQUESTS, InFlightLimits


def test_all_connections_give_the_full_limits() -> None:
    assert MAX_REQUESTS == MAX_CONNECTIONS
    assert InFlightLimits.of(MAX_CONNECTIONS) == InFlightLimits()
    assert InFlightLimits.of(2 * MAX_CONNECTIONS) == InFlightLimits()
    assert InFlightLimits().total == MAX_REQUESTS


def test_limits_are_no_more_than_the_connections() -> None:
    before = InFlightLimits.of(6)
    for connections in range(6, MAX_CONNECTIONS + 1):
        limits = InFlightLimits.of(connections)
        assert limits.total <= connections
        assert min(limits) >= 1
        assert limits.opens_of_newcomer <= limits.newcomers_opens
        assert limits.total >= before.total
        before = limits


@pytest.mark.parametrize("connections", [1, 2, 5])
def test_too_few_connections_still_give_each_kind_one(connections: int) -> None:
    assert set(InFlightLimits.of(connections)) == {1}


def test_the_limits_of_a_thousand_open_files() -> None:
    # 1,024 files leave 128 connections to the network
    limits = InFlightLimits.of(128)
    assert limits == InFlightLimits(28, 32, 16, 16, 16, 32, 4)
    assert limits.total == 128
