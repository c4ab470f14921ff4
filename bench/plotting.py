"""Charts of results as SVG: sweeps, and latencies, CPU times and rates of all other runs; sets side by side.

Needs matplotlib, which is in the extra ``icwsgw[bench]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.axes import AXES, Axis
from bench.compare import figure
from bench.gateway import BenchError
from bench.histogram import Histogram
from bench.results import Result
from bench.tables import Sets, middle, places

#: The width of an axis label as a share of the axis.
LABEL_SHARE = 0.09

#: For each bar chart: file, title, and figures. A run has one of these figures.
_BARS = (
    (
        "cpu",
        "CPU of the gateway, microseconds for each message, session or poll",
        (
            "measures.gateway_us_per_message",
            "measures.gateway_us_per_cycle",
            "measures.gateway_us_per_open",
            "measures.gateway_us_per_poll",
        ),
    ),
    ("rate", "messages a second", ("measures.messages_per_second", "measures.calls_per_second")),
    (
        "memory",
        "bytes for each connection or canister",
        ("measures.bytes_per_connection", "measures.bytes_per_canister"),
    ),
)


def plot(sets: Sets, folder: Path) -> list[Path]:
    """Draw all charts that the results allow; return the files.

    :raises BenchError: matplotlib is missing
    """
    try:
        import matplotlib
    except ImportError:
        raise BenchError("plots need matplotlib: pip install icwsgw[bench]") from None
    matplotlib.use("svg")
    # Keep text as text, and produce the same file for the same figures.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "icwsgw", "font.size": 9})
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    drawn = [path for axis in AXES for path in _sweep(sets, axis, folder, pyplot)]
    # The runs of a sweep are too many for the other charts.
    single = {label: [result for result in results if "sweep" not in result] for label, results in sets.items()}
    single = {label: results for label, results in single.items() if results}
    drawn += _latencies(single, folder, pyplot)
    for name, title, paths in _BARS:
        drawn += _bars(single, folder / f"{name}.svg", title, paths, pyplot)
    return drawn


def _sweep(sets: Sets, axis: Axis, folder: Path, pyplot: Any) -> list[Path]:
    """Draw an axis: its charts side by side, with a line for each set and number of workers."""
    found = places(sets, axis)
    if not found:
        return []
    lines = list(dict.fromkeys((name, workers) for _, name, workers in found))
    names = {name for name, _ in lines}
    picture, charts = pyplot.subplots(1, len(axis.charts), figsize=(4 * len(axis.charts), 3), squeeze=False)
    for axes, chart in zip(charts[0], axis.charts, strict=True):
        for name, workers in lines:
            points = [
                (at, value * chart.figure.factor)
                for (at, set_name, count), results in found.items()
                if (set_name, count) == (name, workers)
                and at >= chart.least
                and (value := middle(results, chart.figure.path)) is not None
            ]
            parts = [name] if len(names) > 1 else []
            parts += [f"{workers} worker{'s' * (workers > 1)}"] if len(lines) > len(names) else []
            xs, ys = [at for at, _ in points], [value for _, value in points]
            axes.plot(xs, ys, marker="o", markersize=3, label=", ".join(parts))
        if axis.field != "query_ms":
            axes.set_xscale("log")
            axes.minorticks_off()
        marks = sorted({at for at, _, _ in found if at >= chart.least})
        axes.set_xticks(marks, tick_labels(marks, logarithmic=axis.field != "query_ms"), fontsize=7)
        axes.margins(y=0.1)
        if chart.logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(axis.unit)
        axes.set_title(chart.figure.title, fontsize=9)
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend(fontsize=7)
    picture.suptitle(axis.title, fontsize=10)
    picture.tight_layout()
    saved = _save(picture, folder / f"sweep-{axis.key}.svg")
    pyplot.close(picture)
    return [saved]


def tick_labels(marks: list[float], *, logarithmic: bool) -> list[str]:
    """Return a label for each mark of an axis; a label is empty if it would overlap the one before."""
    spots = [math.log(mark) for mark in marks] if logarithmic else marks
    labels, last = [], -math.inf
    for mark, spot in zip(marks, spots, strict=True):
        fits = spot - last >= LABEL_SHARE * (spots[-1] - spots[0])
        labels.append(f"{mark:,g}" if fits else "")
        last = spot if fits else last
    return labels


def _save(picture: Any, path: Path) -> Path:
    picture.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    return path


def _latencies(sets: Sets, folder: Path, pyplot: Any) -> list[Path]:
    """Draw latency over percentile, one chart per scenario, with an expanded scale for the tail."""
    scenarios: dict[str, list[tuple[str, Result]]] = {}
    for label, results in sets.items():
        for result in results:
            shown = f"{label}: {result['name']}" if len(sets) > 1 else str(result["name"])
            scenarios.setdefault(result["options"]["scenario"], []).append((shown, result))
    drawn = []
    for scenario, runs in scenarios.items():
        picture, axes = pyplot.subplots(figsize=(7, 4))
        filled = False
        for shown, result in runs:
            histogram = Histogram.from_json(result["latency"])
            if not histogram.count:
                continue
            filled = True
            points = histogram.curve()
            # The x axis is 1 / (1 - share): at x = 100, one value in 100 is slower.
            axes.plot(
                [1 / max(1 - share, 0.5 / histogram.count) for share, _ in points],
                [value / 1e6 for _, value in points],
                label=shown,
                drawstyle="steps-pre",
            )
        if filled:
            axes.set_xscale("log")
            axes.set_xticks([1, 2, 10, 100, 1000, 10_000], ["0", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"])
            axes.set_xlim(left=1)
            axes.set_ylim(bottom=0)
            axes.set_ylabel("ms")
            axes.set_title(f"{scenario}: {runs[0][1]['latency_of']}")
            axes.grid(alpha=0.3)
            axes.legend(fontsize=7)
            drawn.append(_save(picture, folder / f"latency-{scenario}.svg"))
        pyplot.close(picture)
    return drawn


def _bars(sets: Sets, path: Path, title: str, paths: Sequence[str], pyplot: Any) -> list[Path]:
    """Draw one figure of each run as bars, sets side by side."""
    values: dict[str, dict[str, float]] = {}
    for label, results in sets.items():
        for result in results:
            found = [value for each in paths if (value := figure(result, each)) is not None]
            if found:
                values.setdefault(str(result["name"]), {})[label] = found[0]
    if not values:
        return []
    height = 0.8 / len(sets)
    picture, axes = pyplot.subplots(figsize=(7, 0.8 + 0.35 * len(values) * max(1, len(sets) * 0.6)))
    names = list(values)[::-1]
    for at, label in enumerate(sets):
        places = [row + 0.4 - height * (at + 0.5) for row in range(len(names))]
        bars = axes.barh(places, [values[name].get(label, 0.0) for name in names], height, label=label)
        axes.bar_label(bars, fmt="%.4g", fontsize=7, padding=2)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_title(title)
    if len(sets) > 1:
        axes.legend(fontsize=7)
    saved = _save(picture, path)
    pyplot.close(picture)
    return [saved]
