import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.identity_assignment import TARGET, IdentityAssignment


def test_one_identity_takes_all() -> None:
    identity_assignment = IdentityAssignment(1, target=2)
    assert [identity_assignment.take(0.999) for _ in range(5)] == [0] * 5
    assert identity_assignment.loads == [5]


def test_the_first_that_has_room() -> None:
    identity_assignment = IdentityAssignment(3, target=2)
    assert [identity_assignment.take(0.5) for _ in range(5)] == [0, 0, 1, 1, 2]
    identity_assignment.leave(0)
    assert identity_assignment.take(0.5) == 0
    assert identity_assignment.take(0.5) == 2
    assert identity_assignment.loads == [2, 2, 2]


def test_of_two_by_chance_the_less_loaded_when_all_are_full() -> None:
    identity_assignment = IdentityAssignment(3, target=0)
    identity_assignment.loads[:] = [5, 3, 4]
    assert identity_assignment.take(0.0) == 0
    assert identity_assignment.take(1 / 9) == 1
    assert identity_assignment.take(5 / 9) == 1
    assert identity_assignment.loads == [6, 5, 4]


@given(st.integers(1, 6), st.lists(st.one_of(st.floats(0, 1, exclude_max=True), st.none())))
def test_no_identity_is_over_its_target_while_another_has_room(identities: int, steps: list[float | None]) -> None:
    identity_assignment = IdentityAssignment(identities, target=3)
    clients: list[int] = []
    for step in steps:
        if step is None:
            if clients:
                identity_assignment.leave(clients.pop(0))
            continue
        had_room = min(identity_assignment.loads) < 3
        index = identity_assignment.take(step)
        clients.append(index)
        if had_room:
            assert identity_assignment.loads[index] <= 3
        assert identity_assignment.loads == [clients.count(index) for index in range(identities)]


@pytest.mark.parametrize("canisters", [2, 3])
def test_clients_that_come_in_step_are_spread_too(canisters: int) -> None:
    chance = random.Random(7)
    identity_assignment = IdentityAssignment(4)
    for _ in range(4 * TARGET):
        identity_assignment.take(chance.random())
    by_canister = [[0] * 4 for _ in range(canisters)]
    for number in range(8000):
        by_canister[number % canisters][identity_assignment.take(chance.random())] += 1
    for loads in by_canister:
        assert max(loads) < 1.15 * sum(loads) / 4
    assert max(identity_assignment.loads) - min(identity_assignment.loads) < 40


def test_identities_fall_idle_from_the_top() -> None:
    chance = random.Random(7)
    identity_assignment = IdentityAssignment(3, target=10)
    clients = [identity_assignment.take(0.5) for _ in range(30)]
    chance.shuffle(clients)
    for _ in range(400):
        identity_assignment.leave(clients.pop())
        if len(clients) > 8:
            identity_assignment.leave(clients.pop())
        clients.append(identity_assignment.take(chance.random()))
        chance.shuffle(clients)
    assert all(lower >= upper for lower, upper in pairwise(identity_assignment.loads))


def test_inherited_identities_get_no_new_client() -> None:
    identity_assignment = IdentityAssignment(2, target=1, inherited=1)
    identity_assignment.loads[2] += 1
    assert {identity_assignment.take(chance) for chance in (0.0, 0.1, 0.5, 0.9, 0.99)} == {0, 1}
    identity_assignment.leave(2)
    assert identity_assignment.loads[2] == 0
