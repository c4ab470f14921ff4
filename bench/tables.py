"""Formats results as Markdown tables: sweeps by axis, all other runs side by side."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from bench.axes import AXES, Axis
from bench.compare import figure
from bench.results import FAULTS, Result

Sets = Mapping[str, Sequence[Result]]
#: A line of a sweep: value of the axis, set, workers.
Place = tuple[float, str, int]

#: The figures of a run that is not part of a sweep, and their titles.
_FIGURES = {
    "measures.messages_per_second": "messages/s",
    "measures.calls_per_second": "calls/s",
    "measures.opens_per_second": "opens/s",
    "measures.delivered_percent": "% delivered",
    "measures.gateway_us_per_message": "CPU a message, us",
    "measures.gateway_us_per_cycle": "CPU of open and close, us",
    "measures.gateway_us_per_open": "CPU of an open, us",
    "measures.gateway_us_per_close": "CPU of a close, us",
    "measures.gateway_us_per_poll": "CPU a poll, us",
    "measures.gateway_us_per_client": "CPU a client, us",
    "measures.bytes_per_connection": "bytes a connection",
    "measures.bytes_kept_per_connection": "bytes kept a connection",
    "measures.bytes_per_canister": "bytes a canister",
    "measures.survivors": "sessions left",
    "measures.seconds": "seconds",
    "cpu.gateway_percent": "CPU, % of a core",
    "latency_ms.p50": "p50, ms",
    "latency_ms.p99": "p99, ms",
    "replica.queries_per_second": "queries/s",
}


def tables(sets: Sets) -> str:
    """Return the tables of all results.

    :param sets: results by the title of their set
    """
    parts = [part for axis in AXES if (part := _sweep(sets, axis))]
    if rest := _runs(sets):
        parts.append(rest)
    return "\n\n".join(parts)


def places(sets: Sets, axis: Axis) -> dict[Place, list[Result]]:
    """Return the results of an axis by their line, in order."""
    found: dict[Place, list[Result]] = {}
    for name, results in sets.items():
        for result in results:
            swept = result.get("sweep")
            if swept and swept["axis"] == axis.key:
                found.setdefault((swept["at"], name, swept["workers"]), []).append(result)
    order = list(sets)
    return dict(sorted(found.items(), key=lambda item: (item[0][0], order.index(item[0][1]), item[0][2])))


def middle(results: Sequence[Result], path: str) -> float | None:
    """The median of a figure; None if no result has it."""
    values = [value for result in results if (value := figure(result, path)) is not None]
    return statistics.median(values) if values else None


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _faults(results: Sequence[Result]) -> str:
    """Return the faults of all runs together; empty if there were none."""
    sums = {name: sum(result[name] for result in results) for name in FAULTS}
    return ", ".join(f"{name.replace('_', ' ')} {count:g}" for name, count in sums.items() if count)


def _sweep(sets: Sets, axis: Axis) -> str:
    found = places(sets, axis)
    if not found:
        return ""
    several = len({name for _, name, _ in found}) > 1
    workers = len({count for _, _, count in found}) > 1
    faults = {place: _faults(results) for place, results in found.items()}
    titles = [axis.unit, *(["gateway"] if several else []), *(["workers"] if workers else [])]
    titles += [each.title for each in axis.figures]
    titles += ["faults"] if any(faults.values()) else []
    lines = [f"**{axis.title[0].upper()}{axis.title[1:]}**", "", _row(titles), _rule(titles)]
    for place, results in found.items():
        at, name, count = place
        cells = [f"{at:,g}" if at < 1e6 else str(at)]
        cells += [name] if several else []
        cells += [str(count)] if workers else []
        for each in axis.figures:
            value = middle(results, each.path)
            cells.append(_number(None if value is None else value * each.factor))
        cells += [faults[place]] if any(faults.values()) else []
        lines.append(_row(cells))
    return "\n".join(lines)


def _runs(sets: Sets) -> str:
    """Return a line for each figure of each run, sets side by side; with two sets also the ratio second / first."""
    runs: dict[str, dict[str, list[Result]]] = {}
    for name, results in sets.items():
        for result in results:
            if "sweep" not in result:
                runs.setdefault(str(result["name"]), {}).setdefault(name, []).append(result)
    if not runs:
        return ""
    names = [name for name in sets if any(name in by_set for by_set in runs.values())]
    titles = ["run", "figure", *names, *(["ratio"] if len(names) == 2 else [])]
    lines = [_row(titles), _rule(titles, 2)]
    for run, by_set in runs.items():
        shown = run
        for path, title in _FIGURES.items():
            values = [middle(by_set.get(name, ()), path) for name in names]
            if not any(values):
                continue
            cells = [shown, title, *map(_number, values)]
            if len(names) == 2:
                first, second = values
                cells.append(f"{second / first:.2f}" if first and second is not None else "-")
            lines.append(_row(cells))
            shown = ""
        faults = [_faults(by_set.get(name, ())) for name in names]
        if any(faults):
            lines.append(_row([shown, "faults", *faults, *([""] if len(names) == 2 else [])]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(titles: Sequence[str], text_columns: int = 0) -> str:
    return "|" + "".join("---|" if at < text_columns else "---:|" for at in range(len(titles)))
