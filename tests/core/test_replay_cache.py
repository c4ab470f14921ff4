"""Calls are remembered while they are valid, and their number is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.replay_cache import VALID_SECONDS, ReplayCache
from icwsgw.ic.network_limits import MAX_INGRESS_TTL_NS


def test_they_are_remembered_for_as_long_as_a_replica_takes_them() -> None:
    assert VALID_SECONDS * 1e9 > MAX_INGRESS_TTL_NS


@given(st.lists(st.tuples(st.floats(0, 15), st.integers(0, 5)), max_size=60))
def test_a_repetition_is_known_in_time_and_forgotten_in_time(script: list[tuple[float, int]]) -> None:
    """Against a plain list of all that has been seen."""
    replays, now = ReplayCache(5.0, seconds=10.0), 5.0
    seen: dict[int, float] = {}
    for pause, number in script:
        now += pause
        repeated = replays.repeated(b"%d" % number, now)
        age = now - seen.get(number, -1000.0)
        if age < 10.0:
            assert repeated
        if age >= 30.0:
            assert not repeated
        if not repeated:
            seen[number] = now


@given(st.integers(1, 20), st.integers(0, 100))
def test_their_number_is_bounded_and_the_latest_are_kept(most: int, count: int) -> None:
    replays = ReplayCache(0.0, most=most)
    for number in range(count):
        assert not replays.repeated(b"%d" % number, 0.0)
        assert len(replays) <= 2 * most
    for number in range(max(0, count - most), count):
        assert replays.repeated(b"%d" % number, 0.0)


def test_what_has_had_its_time_twice_is_forgotten_and_not_earlier() -> None:
    replays = ReplayCache(0.0, seconds=10.0)
    assert not replays.repeated(b"a", 0.0)
    assert not replays.repeated(b"a", 20.0)
    replays = ReplayCache(0.0, seconds=10.0)
    assert not replays.repeated(b"a", 0.0)
    assert not replays.repeated(b"b", 10.0)
    assert replays.repeated(b"b", 20.0)


def test_several_processes_hand_over_to_one() -> None:
    replays = [ReplayCache(float(number)) for number in range(4)]
    for number, cache in enumerate(replays[:3]):
        assert not cache.repeated(b"%d" % number, 10.0)
    for cache in replays[:3]:
        replays[3].read(cache.written())
    assert [replays[3].repeated(b"%d" % number, VALID_SECONDS) for number in range(3)] == [True] * 3
    assert len(replays[3]) == 3
    # an older document does not make what is known old
    late = ReplayCache(3 * VALID_SECONDS)
    assert not late.repeated(b"new", 3 * VALID_SECONDS)
    late.read(replays[0].written())
    assert late.repeated(b"new", 3 * VALID_SECONDS + 1)
