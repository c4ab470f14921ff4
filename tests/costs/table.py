"""The bounds on counted costs, one table for all versions of Python: what is within them, and how they are changed.

``bounds.json`` has a column for each version. A figure may exceed its bound by next to nothing (:data:`SLACK`), since
what is counted does not depend on the machine. Nor may it fall far below it: a gain has to be written down, or it is
lost again unseen. Where a library has another version than the bounds were made with, or Python is a version that has
no column, there is more room.
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

#: By how much a figure may exceed its bound: a part of it, and at least so much.
SLACK: dict[str, tuple[float, float]] = {"calls": (0.005, 0.5), "system": (0.0, 0.05), "bytes": (0.03, 100.0)}
#: The same where a library or Python is another.
LOOSE: dict[str, tuple[float, float]] = {"calls": (0.05, 5.0), "system": (0.05, 1.0), "bytes": (0.15, 500.0)}
#: How far a figure may fall below its bound. What other tests have left behind in caches makes bytes fall.
GAIN: dict[str, tuple[float, float]] = {"calls": (0.05, 1.0), "system": (0.0, 0.05), "bytes": (0.2, 500.0)}

#: Figures by what they are of: "calls", "system" and "bytes" of an operation, "bytes" of a connection in a state.
Figures = dict[str, dict[str, float]]

_BEGIN, _END = "<!-- python -m tests.costs --write: from here -->", "<!-- to here -->"


class Verdict(NamedTuple):
    """What a figure is worth.

    :ivar sound: whether it is within the bound
    :ivar words: what it is, fit for people
    """

    sound: bool
    words: str


def judge(kind: str, figure: float, bound: float, loose: bool = False) -> Verdict:
    """Compare a figure with its bound.

    :param kind: calls, system or bytes
    :param loose: Python or a library is not what the bound was made with
    """
    part, least = (LOOSE if loose else SLACK)[kind]
    if figure > bound + max(part * bound, least):
        return Verdict(False, f"{figure:g}, more than {bound:g}: make it cheaper, or --write it down if it is worth it")
    part, least = GAIN[kind]
    if figure < bound - max(part * bound, least) and not loose:
        return Verdict(False, f"{figure:g}, less than {bound:g}: --write it down, so that it stays so")
    return Verdict(True, f"{figure:g} of {bound:g}")


def libraries() -> dict[str, str]:
    """The versions that are installed of the libraries that matter."""
    return {name: version(name) for name in LIBRARIES}


class Bounds:
    """All bounds, and the file they are in."""

    def __init__(self, path: Path = BOUNDS) -> None:
        self._path = path
        self._columns: dict[str, Any] = json.loads(path.read_text())

    def column(self, python: str) -> tuple[Figures, bool]:
        """The bounds of a version of Python, or of the nearest before it; and whether they are to be taken loosely."""
        own = [each for each in self._columns if _number(each) <= _number(python)]
        nearest = max(own, key=_number)
        column = self._columns[nearest]
        return column["figures"], nearest != python or column["with"] != libraries()

    def write(self, python: str, figures: Figures, alone: bool = False) -> None:
        """Make figures the bounds of a version of Python. Those of the others move by the same differences.

        :param alone: those of the others stay as they are
        """
        if python in self._columns and not alone:
            before = self._columns[python]["figures"]
            for column in self._columns.values():
                column["figures"] = moved(column["figures"], before, figures)
        self._columns[python] = {"with": libraries(), "figures": figures}
        self._path.write_text(_dump(dict(sorted(self._columns.items(), key=lambda each: _number(each[0])))))


def moved(figures: Figures, before: Figures, after: Figures) -> Figures:
    """Move the figures of one version by the differences of another's; what is new is taken as it is."""
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
    """As JSON with a line for each row, so that differences are easy to read."""
    lines = ["{"]
    for python, column in columns.items():
        lines += [f'  "{python}": {{', f'    "with": {json.dumps(column["with"])},', '    "figures": {']
        rows = [f"      {json.dumps(name)}: {json.dumps(row)}" for name, row in column["figures"].items()]
        lines += [",\n".join(rows), "    }", "  },"]
    lines[-1] = "  }"
    return "\n".join([*lines, "}", ""])


def running() -> str:
    """The version of Python that runs."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def as_markdown(figures: Figures) -> str:
    """The tables of the page."""
    operations = {name: row for name, row in figures.items() if "calls" in row}
    lines = ["| | calls of Python functions | system calls | bytes at the peak |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {row['calls']:,g} | {row['system']:g} | {row['bytes']:,g} |" for name, row in operations.items()
    ]
    lines += ["", "| a connection | bytes held |", "|---|---:|"]
    lines += [f"| {name} | {row['bytes']:,g} |" for name, row in figures.items() if name not in operations]
    return "\n".join(lines)


def page_with(figures: Figures, page: str) -> str:
    """The page with the tables of these figures."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    assert end, "the page has no place for the tables"
    return f"{before}{begin}\n\n{as_markdown(figures)}\n\n{end}{after}"
