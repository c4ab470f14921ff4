"""How cost grows: one axis at a time, from next to nothing to what one machine can carry.

Each step is a short run of its own and one result, which says to which axis and place it belongs. Steps of a worker
more are run for ours only; where the process may not open enough descriptors, the largest numbers of connections are
cut down to what it may.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.axes import AXES, BY_KEY, Axis
from bench.gateway import GatewayOptions
from bench.options import RunOptions
from bench.results import Result, run, tell, write

#: Descriptors of a process that are not clients' connections.
_SPARE_DESCRIPTORS = 600


class Step(NamedTuple):
    """One run of a sweep."""

    axis: Axis
    at: float
    workers: int


def choose(keys: Sequence[str]) -> list[Axis]:
    """The axes of these keys; all for none.

    :raises ValueError: there is no such axis
    """
    for key in keys:
        if key not in BY_KEY:
            raise ValueError(f"no axis {key!r}; there are {', '.join(BY_KEY)}")
    return [axis for axis in AXES if not keys or axis.key in keys]


def steps(axes: Sequence[Axis], *, ours: bool = True, most: float | None = None) -> Iterator[Step]:
    """All steps, small ones first.

    :param ours: the gateway is ours, so that it can be run with two workers
    :param most: no step beyond this place
    """
    for axis in axes:
        for at in axis.at:
            if most is not None and at > most:
                continue
            yield Step(axis, at, 1)
            if ours and at in axis.both:
                yield Step(axis, at, 2)


def descriptors() -> int:
    """How many files a process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def fitting(options: RunOptions, workers: int, limit: int) -> RunOptions:
    """The same with no more clients than ``limit`` descriptors of each process can carry.

    A process may get somewhat more than its even part of the connections.
    """
    share = limit - _SPARE_DESCRIPTORS
    most = int(min(share * options.load_processes, share if workers == 1 else share * workers * 0.8))
    return options if options.clients <= most else replace(options, clients=most)


def sweep(
    chosen: Sequence[Step],
    gateway: GatewayOptions,
    folder: Path,
    *,
    seconds: float | None = None,
    linger: float | None = None,
    replica_port: int = 0,
    label: str = "",
) -> list[Result]:
    """Run the steps one after the other; each is written and told when it is done.

    :param seconds: how long each one is, instead of its own time, where it is not a number of messages
    :param linger: see :class:`bench.options.RunOptions`
    """
    done = []
    for step in chosen:
        options = fitting(step.axis.options(step.at), step.workers, descriptors())
        if seconds is not None and not options.count:
            options = replace(options, seconds=seconds)
        if linger is not None:
            options = replace(options, linger=linger)
        own = gateway
        if step.workers > 1:
            own = replace(gateway, options=[*gateway.options, f"--workers={step.workers}"])
        result = run(options, own, replica_port=replica_port, label=label)
        at = options.clients if step.axis.field == "clients" else step.at
        result["sweep"] = {"axis": step.axis.key, "at": at, "workers": step.workers}
        write(result, folder)
        tell(result)
        done.append(result)
    return done


def largest(passes: Callable[[int], bool], start: int, most: int) -> int:
    """The largest number that passes, to within a tenth; 0 where not even one does.

    :param start: the first one that is tried; those after it are twice as large, until one fails
    :param most: no larger one is tried
    """
    good, bad = 0, 0
    number = min(start, most)
    while not bad:
        if not passes(number):
            bad = number
        elif number == most:
            return most
        else:
            good, number = number, min(2 * number, most)
    while bad - good > max(1, good // 10):
        number = (good + bad) // 2
        if passes(number):
            good = number
        else:
            bad = number
    return good
