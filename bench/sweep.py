"""Measures how cost grows: increases one parameter (axis) from a small value to the limit of one machine.

Each step is a short separate run with one result, which contains its axis and value. Steps with two workers run only
for this checkout's gateway. If the process may not open enough descriptors, the largest numbers of connections are
reduced to the limit.
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
from bench.results import Result, print_line, run, write

#: The number of descriptors that a process needs besides the clients' connections.
_SPARE_DESCRIPTORS = 600


class Step(NamedTuple):
    """One run of a sweep."""

    axis: Axis
    at: float
    workers: int


def choose(keys: Sequence[str]) -> list[Axis]:
    """Return the axes with these keys; all if there are no keys.

    :raises ValueError: there is no such axis
    """
    for key in keys:
        if key not in BY_KEY:
            raise ValueError(f"no axis {key!r}; there are {', '.join(BY_KEY)}")
    return [axis for axis in AXES if not keys or axis.key in keys]


def steps(axes: Sequence[Axis], *, ours: bool = True, most: float | None = None) -> Iterator[Step]:
    """Return all steps in ascending order.

    :param ours: whether the gateway is this checkout's, which can run with two workers
    :param most: the largest value of a step
    """
    for axis in axes:
        for at in axis.at:
            if most is not None and at > most:
                continue
            yield Step(axis, at, 1)
            if ours and at in axis.both:
                yield Step(axis, at, 2)


def descriptors() -> int:
    """The maximum number of open files of a process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def fitting(options: RunOptions, workers: int, limit: int) -> RunOptions:
    """Return the options with at most as many clients as each process can serve with ``limit`` descriptors.

    Connections are not distributed exactly evenly over the workers, so there is a margin.
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
    """Run the steps one after the other; write and print each result when its run is complete.

    :param seconds: duration of each step instead of its default, unless the step has a fixed number of messages
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
        print_line(result)
        done.append(result)
    return done


def largest(passes: Callable[[int], bool], start: int, most: int) -> int:
    """Find the largest number that passes, to within a tenth; 0 if none does.

    :param start: the first number to try; it is doubled until one fails
    :param most: the largest number to try
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
