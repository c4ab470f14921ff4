"""The table of targets: a run for each row that the bench can measure, and the comparison of results with targets.

The targets are those of issue 6 and of docs/performance.md. They apply to one machine (2 cores, AMD EPYC, Python 3.11)
with clients and replica on the same two cores. On another machine, compare ratios to another gateway instead
(``python -m bench compare``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from bench.compare import figure
from bench.options import DEFAULTS, RunOptions
from bench.results import Result


class Target(NamedTuple):
    """A figure and its bound."""

    path: str
    bound: float
    at_most: bool = True


class Case(NamedTuple):
    """A row of the table.

    :ivar gateway: options of our gateway for this case
    """

    key: str
    what: str
    options: RunOptions
    targets: tuple[Target, ...]
    gateway: tuple[str, ...] = ()


def _run(scenario: str, **changes: object) -> RunOptions:
    return replace(DEFAULTS[scenario], **changes)  # type: ignore[arg-type]


_NONE_LOST = (Target("losses", 0), Target("order_violations", 0), Target("unexpected_closes", 0))

CASES: tuple[Case, ...] = (
    Case(
        "idle-1000",
        "1,000 idle connections",
        _run("idle"),
        (Target("measures.bytes_per_connection", 12_288), Target("measures.bytes_kept_per_connection", 2_048)),
    ),
    Case("idle-5000", "5,000 idle connections", _run("idle", clients=5000), ()),
    Case(
        "many-500",
        "500 canisters",
        _run("many"),
        (Target("measures.bytes_per_canister", 40_960), Target("measures.gateway_percent", 62)),
    ),
    Case(
        "many-500-q100",
        "500 canisters, queries of 100 ms",
        _run("many", query_ms=100.0),
        (Target("latency_ms.p50", 110), Target("latency_ms.p99", 150)),
    ),
    Case("churn-200", "open and close, certificates", _run("churn", calls="200"), _NONE_LOST),
    *(
        Case(
            f"up-200ps-{calls}",
            f"200 client messages/s, calls answered {calls}",
            _run("up", calls=calls),
            (Target("measures.gateway_us_per_message", 180), *_NONE_LOST),
            (f"--relay-order={order}",),
        )
        for calls, order in (("202", "accepted"), ("200", "executed"))
    ),
    *(
        Case(
            f"up-flood-{calls}",
            f"50 messages from each of 100 clients at once, calls answered {calls}",
            _run("up", rate=0.0, calls=calls),
            (Target("measures.gateway_us_per_message", 70), *_NONE_LOST),
            (f"--relay-order={order}",),
        )
        for calls, order in (("202", "accepted"), ("200", "executed"))
    ),
    *(
        Case(
            f"up-2each-{order}-k{call:g}",
            f"two messages back to back from each of 100 clients, calls of {call:g} ms, order {order}",
            _run("up", rate=0.0, count=2, calls="200", call_ms=call),
            _NONE_LOST,
            (f"--relay-order={order}",),
        )
        for order in ("accepted", "executed")
        for call in (0.0, 100.0)
    ),
    Case(
        "down-max",
        "60,000 canister messages at once, real certificates",
        _run("down", count=60_000),
        (Target("measures.gateway_us_per_message", 16), *_NONE_LOST),
    ),
    Case(
        "down-max-fake",
        "the same, fixed certificates",
        _run("down", count=60_000, real=False),
        _NONE_LOST,
    ),
    Case(
        "down-max-10",
        "100,000 messages of 10 canisters at once",
        _run("down", canisters=10, count=100_000),
        _NONE_LOST,
    ),
    Case(
        "down-2000ps",
        "2,000 canister messages/s",
        _run("down", rate=2000.0, seconds=8.0),
        (Target("measures.gateway_us_per_message", 28), *_NONE_LOST),
    ),
    Case(
        "down-max-q100",
        "one canister, queries of 100 ms",
        _run("down", query_ms=100.0),
        (Target("measures.messages_per_second", 10_000, False), *_NONE_LOST),
    ),
    Case(
        "down-300ps",
        "300 canister messages/s",
        _run("down", rate=300.0, seconds=8.0),
        (Target("latency_ms.p50", 26), Target("replica.queries_per_second", 20), *_NONE_LOST),
    ),
    Case("down-300ps-q100", "the same, queries of 100 ms", _run("down", rate=300.0, seconds=8.0, query_ms=100.0), ()),
    Case("echo-closed", "echo, one at a time", _run("echo", rate=0.0), _NONE_LOST),
    Case(
        "echo-closed-q20-k100",
        "echo, one at a time, queries of 20 ms, calls of 100 ms, certificates",
        _run("echo", rate=0.0, query_ms=20.0, call_ms=100.0, calls="200"),
        (Target("latency_ms.p50", 135), *_NONE_LOST),
    ),
    Case("echo-100ps", "echo, 100 a second", _run("echo"), _NONE_LOST),
    Case("slow-none", "50 clients, none slow", _run("slow", slow=0), _NONE_LOST),
    Case(
        "slow-one",
        "one client of 50 stops reading",
        _run("slow"),
        (Target("measures.delivered_percent", 100, False), Target("measures.slow_closed", 1, False)),
    ),
    Case(
        "storm-1000",
        "three acknowledgement rounds of 1,000 clients",
        _run("storm"),
        (Target("measures.keep_alive_timeouts", 0), *_NONE_LOST),
    ),
)
BY_KEY = {case.key: case for case in CASES}


def choose(patterns: Sequence[str]) -> list[Case]:
    """Return the cases whose key begins with one of the patterns; all if there are no patterns.

    :raises ValueError: a pattern matches no case
    """
    for pattern in patterns:
        if not any(key.startswith(pattern) for key in BY_KEY):
            raise ValueError(f"no case {pattern!r}; there are {', '.join(BY_KEY)}")
    return [case for case in CASES if not patterns or case.key.startswith(tuple(patterns))]


def report(done: Sequence[tuple[Case, Result]]) -> str:
    """Return the table as Markdown. Of the figures that must be 0, it contains only those that are not."""
    lines = ["| case | figure | measured | target | |", "|---|---|---:|---:|---|"]
    for case, result in done:
        name = f"{case.what} (`{case.key}`)"
        rows = [row for target in case.targets if (row := _row(target, result)) is not None]
        if not rows:
            value = figure(result, "latency_ms.p50")
            rows = [f"ms, p50 | {value:.6g} | - | |"]
        for row in rows:
            lines.append(f"| {name} | {row}")
            name = ""
    return "\n".join(lines)


def _row(target: Target, result: Result) -> str | None:
    value = figure(result, target.path)
    met = value is not None and (value <= target.bound if target.at_most else value >= target.bound)
    if met and target.bound == 0:
        return None
    measured = "-" if value is None else f"{value:.6g}"
    sign = "at most" if target.at_most else "at least"
    what = target.path.removeprefix("measures.").removeprefix("replica.").replace("latency_ms.", "ms, ")
    return f"{what} | {measured} | {sign} {target.bound:g} | {'' if met else 'missed'} |"
