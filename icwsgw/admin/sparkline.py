"""A series as a small curve: SVG without a script, a style or a colour of its own.

The page's style sheet draws it (class ``spark``: a line and the area below it). Its shape is stretched to the room
there is, so it has no text in it.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from icwsgw.admin.history import SLOTS, Series

#: Units of the drawing: two for each slot, and the height, of which a bit is left free for the line's thickness.
STEP, HEIGHT, MARGIN = 2, 40, 2


def sparkline(series: Sequence[float | None], floor: float, label: str) -> str:
    """Draw a series, whose end is at the right.

    :param series: at most :data:`SLOTS` values; None leaves a gap
    :param floor: the height of the drawing at least, so that a quiet series is a quiet curve
    :param label: what it shows, for those who do not see it
    """
    top = max([floor, *(value for value in series if value is not None)]) or 1.0
    first = SLOTS - len(series)
    lines: list[str] = []
    areas: list[str] = []
    for run in _runs(series):
        points = [((first + at) * STEP, _height(value, top)) for at, value in run]
        # one value alone is a dot, which a line of some length shows
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
    """The stretches without a gap, each as (index, value)."""
    runs: list[list[tuple[int, float]]] = [[]]
    for at, value in enumerate(series):
        if value is not None:
            runs[-1].append((at, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
