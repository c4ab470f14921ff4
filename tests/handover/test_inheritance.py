"""Which process continues with which clients, and with which identities."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.handover.inheritance import Inheritance, share


def own(worker: int, identities: int) -> list[int]:
    return list(range(worker * identities, (worker + 1) * identities))


def test_the_same_number_of_workers_keeps_its_identities() -> None:
    assert share([[0, 1], [2, 3]], 2, 2) == [
        Inheritance((0,), ((0, 1),), ()),
        Inheritance((1,), ((0, 1),), ()),
    ]


def test_more_workers_begin_empty() -> None:
    assert share([[0]], 3, 1) == [Inheritance((0,), ((0,),), ()), Inheritance(), Inheritance()]


def test_fewer_workers_inherit_identities() -> None:
    assert share([[0], [1], [2]], 2, 1) == [
        Inheritance((0, 2), ((0,), (1,)), (2,)),
        Inheritance((1,), ((0,),), ()),
    ]


@given(st.integers(1, 5), st.integers(1, 3), st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), max_size=4))
def test_each_client_keeps_its_identity_whatever_follows(
    workers: int, identities: int, later: list[tuple[int, int]]
) -> None:
    numbers = [own(worker, identities) for worker in range(workers)]
    held = {each for worker in numbers for each in worker}
    for workers, identities in later:
        found = share(numbers, workers, identities)
        assert sorted(source for one in found for source in one.sources) == list(range(len(numbers)))
        after = [[*own(worker, identities), *one.inherited] for worker, one in enumerate(found)]
        for worker, one in enumerate(found):
            for source, mapped in zip(one.sources, one.identities, strict=True):
                assert [after[worker][index] for index in mapped] == numbers[source]
        assert held <= {each for worker in after for each in worker}
        numbers = after
