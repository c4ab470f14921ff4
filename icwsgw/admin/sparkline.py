"""Draws a series as a small SVG curve without script, style or colour.

The page's style sheet sets its appearance (class ``spark``: a line and the area below it). The drawing is stretched to
the available space, so it contains no text.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from icwsgw.admin.history import SLOTS, Series

#: Units of the drawing: the width of a slot, the height, and a margin for the thickness of the line.
STEP, HEIGHT, MARGIN = 2, 40, 2


def sparkline(series: Sequence[float | None], floor: float, label: str) -> str:
    """Return a series as SVG, with the latest value at the right.

    :param series: at most :data:`SLOTS` values; None leaves a gap
    :param floor: smallest value for the top of the drawing, so that small values do not fill its height
    :param label: description of the curve, for screen readers
    """
    top = max([floor, *(value for value in series if value is not None)]) or 1.0
    first = SLOTS - len(series)
    lines: list[str] = []
    areas: list[str] = []
    for run in _runs(series):
        points = [((first + at) * STEP, _height(value, top)) for at, value in run]
        # A line needs two points, so a single value becomes a short line.
        points = points if len(points) > 1 else [*points, (points[0][0] + STEP // 2, points[0][1])]
        path = "L".join(f"{x} {y}" for x, y in points)
        lines.append(f"M{path}")
        areas.append(f"M{points[0][0]} {HEIGHT}L{path}L{points[-1][0]} {HEIGHT}Z")
    drawing = f'<path class="area" d="{"".join(areas)}"/><path class="line" d="{"".join(lines)}"/>' if lines else ""
    return (
        f'<svg class="spark" viewBox="0 0 {(SLOTS - 1) * STEP} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{html.escape(label)}">{drawing}</svg>'
    )


def _height(value: float, top: float) -> str:
    height = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * max(0.0, value) / top
    return f"{height:.1f}".removesuffix(".0")


def _runs(series: Series | Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Return the runs of values without a gap, each as a list of (index, value)."""
    runs: list[list[tuple[int, float]]] = [[]]
    for at, value in enumerate(series):
        if value is not None:
            runs[-1].append((at, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
