"""The figures at the top of the status page, each with the curve of its last ten minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from icwsgw.admin import formatting
from icwsgw.admin.sparkline import sparkline
from icwsgw.config import quantities


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure and its curve.

    :ivar title: title of the figure
    :ivar series: name of its series in the history
    :ivar show: formats a value as text
    :ivar floor: smallest value for the top of the curve
    """

    title: str
    series: str
    show: Callable[[float], str]
    floor: float


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _a_second(value: float) -> str:
    return f"{formatting.rate(value)}/s"


TILES: Final = (
    Tile("Clients", "clients", formatting.count, 4),
    Tile("Messages up", "up", _a_second, 2),
    Tile("Messages down", "down", _a_second, 2),
    Tile("Message lag", "lag", quantities.short_time, 0.1),
    Tile("Polls", "polls", _a_second, 2),
    Tile("Event loop lag", "loop_lag", quantities.short_time, 0.02),
    Tile("CPU", "cpu", _percent, 0.1),
    Tile("Memory", "memory", quantities.size, 1),
)


def tiles(status: Mapping[str, Any]) -> str:
    """Return all tiles of a status document, as HTML."""
    return "<h2 class='unseen'>At a glance</h2>" + "".join(_tile(tile, status) for tile in TILES)


def _tile(tile: Tile, status: Mapping[str, Any]) -> str:
    series = status["history"]["series"].get(tile.series, [])
    values = [value for value in series if value is not None]
    latest = _latest(tile, status, series)
    greatest = f"max {tile.show(max(values))}" if values else "no figures yet"
    figure = _figure(tile.show(latest)) if latest is not None else "–"
    return (
        f'<div class="tile"><h3>{tile.title}</h3><p class="figure">{figure}</p>'
        f'<p class="note">{_note(tile, status)}</p>'
        f"{sparkline(series, tile.floor, f'{tile.title} in the last ten minutes: {greatest}')}"
        f'<p class="scale"><span>10 min</span><span>{greatest}</span></p></div>'
    )


def _latest(tile: Tile, status: Mapping[str, Any], series: list[float | None]) -> float | None:
    """Return the figure; the number of clients is always the present one, other figures are the last sample."""
    if tile.series == "clients":
        return float(sum(count for state, count in status["sessions"].items() if state != "closed"))
    return series[-1] if series else None


def _figure(text: str) -> str:
    """Return a figure as HTML, with its unit in small type."""
    for at, character in enumerate(text):
        if character not in "0123456789.,-":
            return f"{text[:at]}<small>{text[at:]}</small>"
    return text


def _note(tile: Tile, status: Mapping[str, Any]) -> str:
    """Return the note below the figure, or an empty string."""
    sessions, totals = status["sessions"], status["totals"]
    if tile.series == "clients":
        opening = sessions.get("init", 0) + sessions.get("setup", 0)
        return f"{formatting.count(opening)} opening"
    if tile.series == "polls":
        failed = status["history"]["series"].get("failed", [])
        return f"{_a_second((failed[-1] if failed else None) or 0)} failed"
    return {
        "up": f"{formatting.count(totals.get('failed_calls', 0))} failed so far",
        "down": f"{formatting.count(totals.get('unroutable', 0))} for clients gone",
        "lag": "canister to client",
        "loop_lag": "worst of 5 s",
        "cpu": "of one core",
        "memory": "of all workers" if len(status["workers"]) > 1 else "resident",
    }[tile.series]
