"""Two graces, each for its own side."""

from __future__ import annotations

import pytest

from icwsgw.core.outages import Side
from icwsgw.core.pacing import Pacing
from icwsgw.errors import HttpError
from icwsgw.gateway.patience import Patience
from icwsgw.ic.principal import Principal
from tests.support.fake_network import make_context


def make(**options: float) -> tuple[Patience, Pacing]:
    context, _, _ = make_context(canister_grace=60.0, network_grace=600.0, **options)
    pacing = Pacing(0.1, lambda: 0.0, 0.0)
    return Patience(context, pacing), pacing


@pytest.mark.parametrize(("side", "grace"), [(Side.CANISTER, 60.0), (Side.NETWORK, 600.0)])
def test_each_side_has_its_own(side: Side, grace: float) -> None:
    patience, pacing = make()
    assert patience.ended(1e6, 0.1) is None, "nothing has failed"
    pacing.failed(1.0, side=side)
    assert patience.ended(grace, 0.1) is None
    assert patience.ended(grace + 0.1, 0.1) is side
    pacing.succeeded(grace, 0.1)
    assert patience.ended(1e6, 0.1) is None


def test_an_outage_of_the_network_does_not_use_up_the_canisters() -> None:
    patience, pacing = make()
    for second in range(30):
        pacing.failed(float(second), side=Side.CANISTER)
    for second in range(30, 400):
        pacing.failed(float(second), side=Side.NETWORK)
        assert patience.ended(float(second), 0.1) is None
    pacing.failed(400.0, side=Side.CANISTER)
    assert patience.ended(429.0, 0.1) is None
    assert patience.ended(431.0, 0.1) is Side.CANISTER


@pytest.mark.parametrize(
    ("status", "retry_after", "pauses"), [(429, None, True), (503, None, True), (500, None, False), (500, 3.0, True)]
)
def test_who_says_that_it_is_overloaded_is_left_alone_at_once(
    status: int, retry_after: float | None, pauses: bool
) -> None:
    patience, pacing = make()
    patience.failed(HttpError(status, "busy", retry_after), 10.0, Principal(b"\x01"))
    assert (pacing.held_until > 10.0) is pauses


def test_beats_that_are_far_apart_make_it_longer() -> None:
    patience, _ = make()
    assert patience.grace(Side.CANISTER, 30.0) == 90.0
    assert patience.grace(Side.NETWORK, 30.0) == 600.0


def test_words() -> None:
    patience, _ = make()
    assert patience.report(Side.CANISTER, 0.1, "aaaaa-aa", 3) == "the canister gave no valid answer for 60 s"
    assert patience.report(Side.NETWORK, 0.1, "aaaaa-aa", 3) == "the network has not reached the canister for 600 s"
