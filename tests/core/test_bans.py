"""Who may not open a session for a while."""

from __future__ import annotations

import pytest

from icwsgw.core.bans import Ban, Bans

A, B, X, Y = b"canister a", b"canister b", b"principal x", b"principal y"


@pytest.mark.parametrize(
    ("ban", "banned"),
    [
        ((A, X), {(A, X)}),
        ((None, X), {(A, X), (B, X)}),
        ((A, None), {(A, X), (A, Y)}),
    ],
)
def test_a_ban_is_for_whom_it_names(ban: tuple[bytes | None, bytes | None], banned: set[tuple[bytes, bytes]]) -> None:
    bans = Bans()
    bans.replace([Ban(*ban, until=110.0)])
    pairs = [(canister, principal) for canister in (A, B) for principal in (X, Y)]
    assert {pair for pair in pairs if bans.seconds_left(*pair, now=100.0)} == banned


def test_a_ban_has_an_end() -> None:
    bans = Bans()
    bans.replace([Ban(A, X, 110.0)])
    assert [bans.seconds_left(A, X, now) for now in (100.0, 109.5, 110.0, 200.0)] == [10.0, 0.5, 0.0, 0.0]
    bans.replace([Ban(A, X, 110.0), Ban(None, X, 110.0), Ban(A, None, 110.0)])
    assert bans.seconds_left(A, X, 200.0) == 0.0


def test_the_longest_of_several_counts_and_later_ones_replace_them() -> None:
    bans = Bans()
    assert bans.seconds_left(A, X, 0.0) == 0.0
    bans.replace([Ban(A, X, 5.0), Ban(None, X, 20.0), Ban(A, None, 10.0)])
    assert bans.seconds_left(A, X, 0.0) == 20.0
    assert bans.seconds_left(B, X, 0.0) == 20.0
    assert bans.seconds_left(A, Y, 0.0) == 10.0
    bans.replace([Ban(B, None, 1.0)])
    assert bans.seconds_left(A, X, 0.0) == 0.0
