"""The bounds on counted costs, one table for all versions of Python: how figures are checked, and how bounds change.

``bounds.json`` has a column for each version. A figure may exceed its bound by very little (:data:`SLACK`), since the
counts do not depend on the machine. Nor may it fall far below its bound: an improvement has to be written down, or it
could be lost again unnoticed. There is more room if a library has another version than the bounds were made with, or
if Python has a version without a column.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
BOUNDS = HERE / "bounds.json"
PAGE = HERE.parents[1] / "docs" / "performance.md"
#: The version of Python whose figures the documents show.
SHOWN = "3.11"
LIBRARIES = ("Twisted", "autobahn", "cbor2", "treq")

#: How far a figure may exceed its bound: a share of it, and at least this much.
SLACK: dict[str, tuple[float, float]] = {"calls": (0.005, 0.5), "system": (0.0, 0.05), "bytes": (0.03, 100.0)}
#: The same if a library or Python has another version.
LOOSE: dict[str, tuple[float, float]] = {"calls": (0.05, 5.0), "system": (0.05, 1.0), "bytes": (0.15, 500.0)}
#: How far a figure may fall below its bound. Caches that other tests have filled make the bytes fewer.
GAIN: dict[str, tuple[float, float]] = {"calls": (0.05, 1.0), "system": (0.0, 0.05), "bytes": (0.2, 500.0)}

#: Figures by subject: "calls", "system" and "bytes" of an operation, "bytes" of a connection in a state.
Figures = dict[str, dict[str, float]]

_BEGIN, _END = "<!-- python -m tests.costs --write: from here -->", "<!-- to here -->"


class Verdict(NamedTuple):
    """The result of a comparison with a bound.

    :ivar sound: whether the figure is within the bound
    :ivar text: the result as text
    """

    sound: bool
    text: str


def judge(kind: str, figure: float, bound: float, loose: bool = False) -> Verdict:
    """Compare a figure with its bound.

    :param kind: calls, system or bytes
    :param loose: Python or a library has another version than the bound was made with
    """
    part, least = (LOOSE if loose else SLACK)[kind]
    if figure > bound + max(part * bound, least):
        return Verdict(False, f"{figure:g}, more than {bound:g}: make it cheaper, or --write it down if it is worth it")
    part, least = GAIN[kind]
    if figure < bound - max(part * bound, least) and not loose:
        return Verdict(False, f"{figure:g}, less than {bound:g}: --write it down, so that it stays so")
    return Verdict(True, f"{figure:g} of {bound:g}")


def libraries() -> dict[str, str]:
    """The installed versions of the libraries that affect the figures."""
    return {name: version(name) for name in LIBRARIES}


class Bounds:
    """All bounds, and their file."""

    def __init__(self, path: Path = BOUNDS) -> None:
        self._path = path
        self._columns: dict[str, Any] = json.loads(path.read_text())

    def column(self, python: str) -> tuple[Figures, bool]:
        """The bounds of a version of Python, or of the nearest before it; and whether they apply loosely."""
        own = [each for each in self._columns if _number(each) <= _number(python)]
        nearest = max(own, key=_number)
        column = self._columns[nearest]
        return column["figures"], nearest != python or column["with"] != libraries()

    def write(self, python: str, figures: Figures, alone: bool = False) -> None:
        """Make figures the bounds of a version of Python. The bounds of other versions move by the same differences.

        :param alone: the bounds of other versions stay
        """
        if python in self._columns and not alone:
            before = self._columns[python]["figures"]
            for column in self._columns.values():
                column["figures"] = moved(column["figures"], before, figures)
        self._columns[python] = {"with": libraries(), "figures": figures}
        self._path.write_text(_dump(dict(sorted(self._columns.items(), key=lambda each: _number(each[0])))))


def moved(figures: Figures, before: Figures, after: Figures) -> Figures:
    """Move the figures of one version by the differences of another's; new figures are copied."""
    return {
        name: {
            kind: round(figures[name][kind] + value - before[name][kind], 1)
            if _has(name, kind, figures, before)
            else value
            for kind, value in row.items()
        }
        for name, row in after.items()
    }


def _has(name: str, kind: str, *tables: Figures) -> bool:
    return all(kind in table.get(name, {}) for table in tables)


def _number(python: str) -> tuple[int, ...]:
    return tuple(map(int, python.split(".")))


def _dump(columns: dict[str, Any]) -> str:
    """JSON with a line for each row, so that diffs are easy to read."""
    lines = ["{"]
    for python, column in columns.items():
        lines += [f'  "{python}": {{', f'    "with": {json.dumps(column["with"])},', '    "figures": {']
        rows = [f"      {json.dumps(name)}: {json.dumps(row)}" for name, row in column["figures"].items()]
        lines += [",\n".join(rows), "    }", "  },"]
    lines[-1] = "  }"
    return "\n".join([*lines, "}", ""])


def running() -> str:
    """The version of the running Python."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def as_markdown(figures: Figures) -> str:
    """The tables of docs/performance.md."""
    operations = {name: row for name, row in figures.items() if "calls" in row}
    lines = ["| | calls of Python functions | system calls | bytes at the peak |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {row['calls']:,g} | {row['system']:g} | {row['bytes']:,g} |" for name, row in operations.items()
    ]
    lines += ["", "| a connection | bytes held |", "|---|---:|"]
    lines += [f"| {name} | {row['bytes']:,g} |" for name, row in figures.items() if name not in operations]
    return "\n".join(lines)


def page_with(figures: Figures, page: str) -> str:
    """The page with these figures in its tables."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    assert end, "the page has no place for the tables"
    return f"{before}{begin}\n\n{as_markdown(figures)}\n\n{end}{after}"
