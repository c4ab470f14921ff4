"""The axes of a sweep: for each, the parameter that is increased and the figures to show."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from bench.options import DEFAULTS, RunOptions


class Figure(NamedTuple):
    """A column of a table.

    :ivar factor: the figure is multiplied by this before it is shown
    """

    path: str
    title: str
    factor: float = 1.0


class Chart(NamedTuple):
    """A chart of one figure over the axis.

    :ivar logarithmic: whether the scale of the figure is logarithmic
    :ivar least: no point is drawn below this value of the axis, where the base cost of a process dominates the figure
    """

    figure: Figure
    logarithmic: bool = False
    least: float = 0


class Axis(NamedTuple):
    """A parameter that a sweep increases.

    :ivar at: its values with one worker
    :ivar both: the values that run with two workers as well
    """

    key: str
    title: str
    unit: str
    base: RunOptions
    field: str
    at: tuple[float, ...]
    both: tuple[float, ...]
    figures: tuple[Figure, ...]
    charts: tuple[Chart, ...]

    def options(self, value: float) -> RunOptions:
        """The options of the run at a value of the axis."""
        whole = int(value)
        if self.field == "canisters":
            return replace(self.base, clients=whole, canisters=whole)
        if self.field == "clients":
            return replace(self.base, clients=whole, load_processes=1 if whole <= 5_000 else 2)
        if self.field == "rate":
            return replace(self.base, rate=float(value), clients=min(self.base.clients, max(1, whole)))
        return replace(self.base, query_ms=float(value))


_CPU = Figure("cpu.gateway_percent", "CPU, % of a core")
_MESSAGE = Figure("measures.gateway_us_per_message", "CPU a message, us")
_SECONDS = {"seconds": 5.0, "calm": 0.5}
_P50, _P99 = Figure("latency_ms.p50", "p50, ms"), Figure("latency_ms.p99", "p99, ms")
_QUERIES = Figure("replica.queries_per_second", "queries/s")

AXES: tuple[Axis, ...] = (
    Axis(
        "connections",
        "idle connections of one canister",
        "connections",
        replace(DEFAULTS["idle"], cycles=1, **_SECONDS),  # type: ignore[arg-type]
        "clients",
        (1, 10, 100, 1_000, 5_000, 10_000, 20_000),
        (1_000, 10_000, 20_000),
        (
            Figure("measures.bytes_per_connection", "kB each", 1 / 1024),
            Figure("measures.bytes_kept_per_connection", "kept after closing, kB each", 1 / 1024),
            Figure("measures.gateway_idle_percent", "idle CPU, % of a core"),
            Figure("measures.gateway_us_per_open", "CPU of an open, us"),
            Figure("measures.gateway_us_per_close", "CPU of a close, us"),
            Figure("measures.opens_per_second", "opens/s"),
        ),
        (
            Chart(Figure("measures.bytes_per_connection", "kB for each connection", 1 / 1024), least=100),
            Chart(Figure("measures.gateway_idle_percent", "CPU of all at rest, % of a core")),
        ),
    ),
    Axis(
        "canisters",
        "canisters with an idle client each, polled every 100 ms",
        "canisters",
        replace(DEFAULTS["many"], **_SECONDS),  # type: ignore[arg-type]
        "canisters",
        (1, 10, 30, 100, 300, 1_000),
        (100, 1_000),
        (
            Figure("measures.bytes_per_canister", "kB each", 1 / 1024),
            _CPU,
            Figure("measures.gateway_us_per_poll", "CPU a poll, us"),
            Figure("measures.polls_per_second", "polls/s"),
            Figure("latency_ms.p50", "gap p50, ms"),
            Figure("latency_ms.p99", "gap p99, ms"),
        ),
        (Chart(_CPU), Chart(Figure("latency_ms.p99", "gap between polls, p99, ms"))),
    ),
    Axis(
        "messages",
        "canister messages to 200 clients",
        "messages/s",
        replace(DEFAULTS["down"], count=0, **_SECONDS),  # type: ignore[arg-type]
        "rate",
        (1, 10, 100, 300, 1_000, 3_000, 10_000),
        (1_000, 10_000),
        (Figure("measures.messages_per_second", "delivered/s"), _MESSAGE, _CPU, _P50, _P99, _QUERIES),
        (Chart(_MESSAGE, True), Chart(_P50)),
    ),
    Axis(
        "latency",
        "query latency, with 300 canister messages/s to 200 clients",
        "ms",
        replace(DEFAULTS["down"], rate=300.0, count=0, **_SECONDS),  # type: ignore[arg-type]
        "query_ms",
        (0, 20, 50, 100, 200, 300),
        (),
        (_P50, _P99, _QUERIES, _MESSAGE),
        (Chart(_P50), Chart(_QUERIES)),
    ),
    Axis(
        "throughput",
        "query latency, with 20,000 canister messages at once",
        "ms",
        replace(DEFAULTS["down"], calm=0.5),
        "query_ms",
        (0, 20, 50, 100, 200, 300),
        (0, 100, 300),
        (
            Figure("measures.messages_per_second", "messages/s"),
            _MESSAGE,
            Figure("replica.most_queries_in_flight", "queries in flight"),
        ),
        (Chart(Figure("measures.messages_per_second", "messages/s")), Chart(_MESSAGE)),
    ),
)
BY_KEY = {axis.key: axis for axis in AXES}
