from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.round_robin import QUANTUM, RoundRobin


def test_pieces_are_done_at_once_as_long_as_there_is_time() -> None:
    rounds: RoundRobin[str, int] = RoundRobin()
    now = 10.0
    done = 0
    while rounds.at_once(now):
        rounds.did(now, now + QUANTUM / 5)
        now += QUANTUM / 5
        done += 1
    assert 5 <= done <= 6
    # time that others had comes back, a quantum at most
    rounds.at_once(now + 100)
    rounds.did(now + 100, now + 100 + 3 * QUANTUM)
    now += 100 + 3 * QUANTUM
    for part in range(1, 8):
        assert not rounds.at_once(now + part * QUANTUM / 4)
    assert rounds.at_once(now + 2.5 * QUANTUM)


def test_nothing_overtakes_what_waits() -> None:
    rounds: RoundRobin[str, int] = RoundRobin()
    rounds.add("a", 1)
    assert not rounds.at_once(1000.0)
    assert rounds.next() == ("a", 1)
    rounds.took("a", 0.0)
    assert rounds.at_once(1000.0)
    with pytest.raises(KeyError):
        rounds.next()


def serve(rounds: RoundRobin[str, int], takes: dict[str, float], seconds: float) -> Counter[str]:
    """Keep all lanes full and do pieces; seconds by party."""
    spent: Counter[str] = Counter()
    while sum(spent.values()) < seconds:
        party, piece = rounds.next()
        rounds.add(party, piece)
        spent[party] += takes[party]  # type: ignore[assignment]
        rounds.took(party, takes[party])
    return spent


def test_parties_have_the_same_time_however_long_their_pieces_take() -> None:
    rounds: RoundRobin[str, int] = RoundRobin()
    takes = {"small": QUANTUM / 50, "page": QUANTUM / 5, "huge": QUANTUM * 7}
    for party in takes:
        for piece in range(3):
            rounds.add(party, piece)
    spent = serve(rounds, takes, QUANTUM * 3000)
    for party in takes:
        assert spent[party] == pytest.approx(QUANTUM * 1000, rel=0.03)


def test_who_comes_waits_for_a_turn_of_each_other_at_most() -> None:
    rounds: RoundRobin[str, int] = RoundRobin()
    takes = {f"hog {number}": QUANTUM / 5 for number in range(4)}
    for party in takes:
        for piece in range(100):
            rounds.add(party, piece)
    serve(rounds, takes, QUANTUM * 10)
    rounds.add("late", 0)
    waited = 0.0
    while (party := rounds.next()[0]) != "late":
        rounds.took(party, takes[party])
        waited += takes[party]
    assert waited <= QUANTUM * (len(takes) + 1)


@given(st.lists(st.one_of(st.tuples(st.sampled_from("abc"), st.integers()), st.floats(0, 0.01)), max_size=100))
def test_each_piece_is_done_once_and_each_party_keeps_its_order(events: list[tuple[str, int] | float]) -> None:
    rounds: RoundRobin[str, int] = RoundRobin()
    given_: dict[str, list[int]] = {party: [] for party in "abc"}
    done: dict[str, list[int]] = {party: [] for party in "abc"}
    for event in [*events, *[0.001] * len(events)]:
        if isinstance(event, tuple):
            rounds.add(*event)
            given_[event[0]].append(event[1])
        elif rounds.waiting:
            party, piece = rounds.next()
            done[party].append(piece)
            rounds.took(party, event)
    assert rounds.waiting == 0
    assert done == given_


def test_a_quantum_is_used_up_by_just_a_quantum() -> None:
    rounds: RoundRobin[str, int] = RoundRobin(1.0)
    assert rounds.at_once(0.0)
    rounds.did(0.0, 1.0)
    assert not rounds.at_once(1.0)
    assert rounds.at_once(1.5)


def test_two_parties_share_alike_when_one_has_owed() -> None:
    rounds: RoundRobin[str, int] = RoundRobin(1.0)
    for party in ("a", "b"):
        for piece in range(10):
            rounds.add(party, piece)
    order = []
    for _ in range(7):
        party, _ = rounds.next()
        order.append(party)
        rounds.took(party, 3.0 if party == "a" else 0.5)
    # six pieces of half a second for one of three
    assert order == ["a", "b", "b", "b", "b", "b", "b"]


def test_a_turn_lasts_as_long_as_the_quantum() -> None:
    rounds: RoundRobin[str, int] = RoundRobin(1.0)
    for party in ("a", "b"):
        for piece in range(4):
            rounds.add(party, piece)
    order = []
    for _ in range(6):
        party, _ = rounds.next()
        order.append(party)
        rounds.took(party, 0.5)
    assert order == ["a", "a", "b", "b", "a", "a"]


def test_what_was_owed_is_forgotten_when_nothing_waits() -> None:
    rounds: RoundRobin[str, int] = RoundRobin(1.0)
    rounds.add("a", 1)
    rounds.add("b", 1)
    for seconds in (5.0, 0.1):
        party, _ = rounds.next()
        rounds.took(party, seconds)
    rounds.add("a", 2)
    rounds.add("b", 2)
    assert [rounds.next()[0], rounds.next()[0]] == ["a", "b"]
