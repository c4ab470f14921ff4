"""Two graces, each for its own side."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.core.backoff import PollBackoff
from icwsgw.core.failure_source import FailureSource
from icwsgw.errors import HttpError
from icwsgw.gateway.polling.grace_periods import GracePeriods
from icwsgw.ic.principal import Principal
from tests.support.fake_network import make_context


def make(**options: Any) -> tuple[GracePeriods, PollBackoff]:
    context, _, _ = make_context(canister_grace=60.0, network_grace=600.0, **options)
    backoff = PollBackoff(0.1, lambda: 0.0, 0.0)
    return GracePeriods(context, backoff), backoff


@pytest.mark.parametrize(("side", "grace"), [(FailureSource.CANISTER, 60.0), (FailureSource.NETWORK, 600.0)])
def test_each_side_has_its_own(side: FailureSource, grace: float) -> None:
    grace_periods, backoff = make()
    assert grace_periods.ended(1e6, 0.1) is None, "nothing has failed"
    backoff.failed(1.0, side=side)
    assert grace_periods.ended(grace, 0.1) is None
    assert grace_periods.ended(grace + 0.1, 0.1) is side
    backoff.succeeded(grace, 0.1)
    assert grace_periods.ended(1e6, 0.1) is None


def test_an_outage_of_the_network_does_not_use_up_the_canisters() -> None:
    grace_periods, backoff = make()
    for second in range(30):
        backoff.failed(float(second), side=FailureSource.CANISTER)
    for second in range(30, 400):
        backoff.failed(float(second), side=FailureSource.NETWORK)
        assert grace_periods.ended(float(second), 0.1) is None
    backoff.failed(400.0, side=FailureSource.CANISTER)
    assert grace_periods.ended(429.0, 0.1) is None
    assert grace_periods.ended(431.0, 0.1) is FailureSource.CANISTER


@pytest.mark.parametrize(
    ("status", "retry_after", "pauses"), [(429, None, True), (503, None, True), (500, None, False), (500, 3.0, True)]
)
def test_who_says_that_it_is_overloaded_is_left_alone_at_once(
    status: int, retry_after: float | None, pauses: bool
) -> None:
    grace_periods, backoff = make()
    grace_periods.failed(HttpError(status, "busy", retry_after), 10.0, Principal(b"\x01"))
    assert (backoff.held_until > 10.0) is pauses


def test_beats_that_are_far_apart_make_it_longer() -> None:
    grace_periods, _ = make()
    assert grace_periods.grace(FailureSource.CANISTER, 30.0) == 90.0
    assert grace_periods.grace(FailureSource.NETWORK, 30.0) == 600.0


def test_words() -> None:
    grace_periods, _ = make()
    assert (
        grace_periods.report(FailureSource.CANISTER, 0.1, "aaaaa-aa", 3) == "the canister gave no valid answer for 60 s"
    )
    assert (
        grace_periods.report(FailureSource.NETWORK, 0.1, "aaaaa-aa", 3)
        == "the network has not reached the canister for 600 s"
    )
