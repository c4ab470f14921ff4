"""Which process gets which clients, and with which identities they continue there.

A client's canister knows it by an identity of the gateway, so it continues with the same one. In a gateway with ``k``
identities for each process, worker ``w`` has the identities ``w * k`` to ``w * k + k - 1``, and a process without
workers is worker 0. If the numbers of workers or identities become smaller, a process also gets identities that are not
its own. It gives them to no new client (:class:`icwsgw.core.identity_assignment.IdentityAssignment`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Inheritance(NamedTuple):
    """What one worker takes over.

    :ivar sources: the numbers of the processes that hand over to it
    :ivar identities: for each of these, the numbers that its identities have here
    :ivar inherited: the numbers of the identities that it has beside its own
    """

    sources: tuple[int, ...] = ()
    identities: tuple[tuple[int, ...], ...] = ()
    inherited: tuple[int, ...] = ()


def share(sources: Sequence[Sequence[int]], workers: int, identities: int) -> list[Inheritance]:
    """Decide which worker takes over from which process.

    :param sources: the numbers of the identities of each process that hands over
    :param workers: how many workers there are
    :param identities: how many identities each one has
    :return: by worker
    """
    found = []
    for worker in range(workers):
        own = range(worker * identities, (worker + 1) * identities)
        numbers = tuple(range(worker, len(sources), workers))
        inherited = sorted({each for number in numbers for each in sources[number]} - set(own))
        here = {each: index for index, each in enumerate((*own, *inherited))}
        maps = tuple(tuple(here[each] for each in sources[number]) for number in numbers)
        found.append(Inheritance(numbers, maps, tuple(inherited)))
    return found
