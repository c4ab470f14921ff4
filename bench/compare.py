"""Compares two sets of results: the ratio of each figure (B divided by A), and whether B is better.

Runs are matched by name. If several runs have the same name, their median counts. All figures that both sets have are
compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bench.results import Result

#: The figures to compare, and whether a smaller value is better.
FIGURES: dict[str, bool] = {
    "measures.messages_per_second": False,
    "measures.calls_per_second": False,
    "measures.opens_per_second": False,
    "measures.polls_per_second": False,
    "measures.delivered_percent": False,
    "measures.gateway_us_per_message": True,
    "measures.gateway_us_per_open": True,
    "measures.gateway_us_per_close": True,
    "measures.gateway_us_per_cycle": True,
    "measures.gateway_us_per_poll": True,
    "measures.gateway_us_per_client": True,
    "measures.gateway_idle_percent": True,
    "measures.bytes_per_connection": True,
    "measures.pss_bytes_per_connection": True,
    "measures.bytes_kept_per_connection": True,
    "measures.bytes_per_canister": True,
    "measures.seconds": True,
    "measures.closing.seconds_until_told": True,
    "cpu.gateway_percent": True,
    "latency_ms.p50": True,
    "latency_ms.p99": True,
    "latency_ms.max": True,
    "replica.queries_per_second": True,
    "losses": True,
    "order_violations": True,
    "unexpected_closes": True,
    "failed_opens": True,
}
_SAME = 0.03


class Row(NamedTuple):
    """One figure of one run in both sets."""

    run: str
    figure: str
    a: float
    b: float
    less_is_better: bool

    @property
    def ratio(self) -> float | None:
        """B divided by A; None if A is 0."""
        return self.b / self.a if self.a else None

    @property
    def verdict(self) -> str:
        """Better, worse, or neither if the difference is within 3 %."""
        if self.a == self.b or (self.ratio is not None and abs(self.ratio - 1) <= _SAME):
            return ""
        return "better" if (self.b < self.a) == self.less_is_better else "worse"


def figure(result: Mapping[str, Any], path: str) -> float | None:
    """A figure by its path; None if the result does not have it."""
    value: Any = result
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def compare(a: Iterable[Result], b: Iterable[Result]) -> list[Row]:
    """All figures of all runs that both sets have."""
    ones, others = _by_name(a), _by_name(b)
    rows = []
    for name, one in ones.items():
        if name not in others:
            continue
        for path, less in FIGURES.items():
            left, right = _median(one, path), _median(others[name], path)
            # Two zeros are not reported, unless the figure is the subject of the run.
            if left is not None and right is not None and (left or right):
                rows.append(Row(name, path.removeprefix("measures."), left, right, less))
    return rows


def _by_name(results: Iterable[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(str(result["name"]), []).append(result)
    return found


def _median(results: Sequence[Result], path: str) -> float | None:
    values = [value for result in results if (value := figure(result, path)) is not None]
    return statistics.median(values) if values else None


def table(rows: Sequence[Row], a: str = "A", b: str = "B") -> str:
    """The rows as Markdown."""
    lines = [f"| run | figure | {a} | {b} | ratio | |", "|---|---|---:|---:|---:|---|"]
    last = ""
    for row in rows:
        ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
        run = "" if row.run == last else row.run
        last = row.run
        lines.append(f"| {run} | {row.figure} | {row.a:.6g} | {row.b:.6g} | {ratio} | {row.verdict} |")
    return "\n".join(lines)


def unmatched(a: Iterable[Result], b: Iterable[Result]) -> tuple[list[str], list[str]]:
    """Names of runs that only one of the sets has."""
    ones, others = _by_name(a), _by_name(b)
    return sorted(ones.keys() - others.keys()), sorted(others.keys() - ones.keys())
