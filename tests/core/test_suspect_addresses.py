from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.suspect_addresses import FORGED, MEMORY, MOST, RATE, SuspectAddresses


def suspect(group: str = "a", now: float = 100.0) -> SuspectAddresses[Any]:
    suspects: SuspectAddresses[Any] = SuspectAddresses()
    for _ in range(FORGED):
        suspects.forged(group, now)
    return suspects


def test_one_wrong_signature_slows_no_address_and_several_slow_their_own_alone() -> None:
    suspects: SuspectAddresses[int] = SuspectAddresses()
    for _ in range(FORGED - 1):
        suspects.forged("a", 100.0)
    assert all(suspects.admits("a", 100.0) for _ in range(1000))
    suspects.forged("a", 100.0)
    assert [suspects.admits("a", 100.0) for _ in range(3)] == [True, False, False]
    assert all(suspects.admits("b", 100.0) for _ in range(1000))


def test_wrong_signatures_far_apart_make_no_suspect() -> None:
    suspects: SuspectAddresses[int] = SuspectAddresses()
    for number in range(50):
        suspects.forged("a", 100.0 + number * (MEMORY + 1))
        assert all(suspects.admits("a", 100.0 + number * (MEMORY + 1)) for _ in range(3))


def test_those_that_wait_have_their_turns_in_order_and_who_leaves_costs_none() -> None:
    suspects = suspect()
    assert suspects.admits("a", 100.0)
    for number in range(200):
        assert not suspects.admits("a", 100.0)
        suspects.wait("a", number)
    for number in range(0, 200, 2):
        suspects.leave("a", number)
        suspects.leave("a", number)
    assert suspects.waiting == 100
    order: list[int] = []
    for tick in range(1, 41):
        order += suspects.turns(100.0 + tick / RATE)
    assert order == list(range(1, 81, 2))
    # a look that comes very late admits a second's worth
    assert len(suspects.turns(108.0)) <= RATE + 1


def test_an_address_is_free_again_after_a_while_with_all_that_wait() -> None:
    suspects = suspect()
    suspects.admits("a", 100.0)
    for number in range(50):
        suspects.wait("a", number)
    assert suspects.turns(100.0 + MEMORY + 0.1) == list(range(50))
    assert suspects.waiting == 0
    assert all(suspects.admits("a", 100.0 + MEMORY + 0.1) for _ in range(100))
    assert len(suspects) == 0


def test_it_remembers_few_and_none_that_wait_is_forgotten() -> None:
    suspects = suspect("first")
    suspects.admits("first", 100.0)
    suspects.wait("first", "waiter")
    for number in range(MOST + 100):
        suspects.forged(str(number), 100.0)
    assert len(suspects) == MOST
    assert suspects.turns(101.0) == ["waiter"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["forged", "connect", "leave"]), st.sampled_from("ab"), st.integers(0, 9), st.floats(0, 3)
        ),
        max_size=200,
    )
)
def test_no_connection_is_lost_or_admitted_twice(events: list[tuple[str, str, int, float]]) -> None:
    suspects: SuspectAddresses[int] = SuspectAddresses()
    inside: dict[int, str] = {}
    now = 100.0
    for number, (what, group, which, pause) in enumerate(events):
        now += pause
        if what == "forged":
            suspects.forged(group, now)
        elif what == "connect":
            if not suspects.admits(group, now):
                suspects.wait(group, number)
                inside[number] = group
        elif inside:
            waiter = list(inside)[which % len(inside)]
            suspects.leave(inside.pop(waiter), waiter)
        for waiter in suspects.turns(now):
            del inside[waiter]
        assert suspects.waiting == len(inside)
    for waiter in suspects.turns(now + MEMORY + 1):
        del inside[waiter]
    assert not inside
    assert suspects.waiting == 0


def test_the_clock_may_begin_at_nothing() -> None:
    suspects = suspect(now=0.0)
    assert [suspects.admits("a", 0.0) for _ in range(2)] == [True, False]


def test_turns_come_just_so_often() -> None:
    suspects = suspect()
    assert suspects.admits("a", 100.0)
    assert suspects.admits("a", 100.0 + 1 / RATE)
    suspects.wait("a", "waiter")
    assert suspects.turns(100.0 + 1 / RATE + 1 / RATE) == ["waiter"]


def test_a_wrong_signature_counts_to_the_end_of_its_memory_and_no_longer() -> None:
    suspects = suspect()
    assert [suspects.admits("a", 100.0 + MEMORY) for _ in range(2)] == [True, False]
    # all of it is forgotten then, the first ones too
    later = 100.0 + MEMORY + 0.1
    for _ in range(FORGED - 1):
        suspects.forged("a", later)
    assert all(suspects.admits("a", later) for _ in range(10))
    suspects.forged("a", later)
    assert [suspects.admits("a", later) for _ in range(2)] == [True, False]


def test_the_one_that_has_been_quiet_for_longest_is_forgotten_for_a_new_one() -> None:
    suspects = suspect("again")
    for number in range(MOST - 1):
        suspects.forged(str(number), 100.0)
    suspects.forged("again", 101.0)
    for _ in range(FORGED):
        suspects.forged("new", 101.0)
    assert len(suspects) == MOST
    for group in ("again", "new"):
        assert [suspects.admits(group, 101.0) for _ in range(2)] == [True, False], group


def test_where_all_that_are_remembered_wait_a_new_one_is_not_slowed_down() -> None:
    suspects: SuspectAddresses[Any] = SuspectAddresses()
    for number in range(MOST):
        for _ in range(FORGED):
            suspects.forged(str(number), 100.0)
        suspects.wait(str(number), number)
    for _ in range(FORGED):
        suspects.forged("new", 100.0)
    assert len(suspects) == MOST
    assert all(suspects.admits("new", 100.0) for _ in range(10))
