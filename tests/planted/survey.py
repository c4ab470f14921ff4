"""Finds out which scenarios reach the lines of which planted error, so that a hunt can skip the others.

A scenario that never reaches the lines that an error changes runs as it does without the error. So the scenarios of
ten minutes are run once, in a copy of the tree with a mark in front of each such place, and a hunt for an error runs
only those that reached its own. It finds what a hunt through all scenarios finds, and the survey says how much CPU
time the skipped ones would have taken.

``python -m tests.planted.survey FIRST SECONDS`` runs in the marked copy and writes a line of JSON for each scenario.
"""

from __future__ import annotations

import ast
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from tests.planted.marks import reached
from tests.planted.patches import Planted, _find

_MARK = "_reached_places"


def marked(text: str, errors: Iterable[Planted]) -> tuple[str, set[str]]:
    """Give a module's text with a mark before each place that is changed, and the names of errors without a mark.

    :param errors: those of this module
    :return: what has no mark runs when the module is loaded: its changes are outside of any function
    """
    tree = ast.parse(text)
    lines = text.splitlines()
    blocks = list(_blocks(tree))
    marks: list[tuple[list[ast.stmt], ast.stmt, str]] = []
    everywhere: set[str] = set()
    for error in errors:
        for line in _changed(lines, error):
            found = _innermost(blocks, line)
            if found is None:
                everywhere.add(error.name)
            else:
                marks.append((*found, error.name))
    for block, statement, name in marks:
        block.insert(block.index(statement), ast.parse(f"{_MARK}.add({name!r})").body[0])
    last = max(
        (at for at, each in enumerate(tree.body) if isinstance(each, ast.ImportFrom) and each.module == "__future__"),
        default=-1,
    )
    tree.body.insert(last + 1, ast.parse(f"from tests.planted.marks import reached as {_MARK}").body[0])
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n", everywhere


def _changed(lines: list[str], error: Planted) -> Iterator[int]:
    """The numbers of lines, from 1, whose statements have to be reached for a change to matter."""
    for hunk in error.hunks:
        at, size, new = _find(lines, hunk)
        old = lines[at : at + size]
        for kind, start, end, begin, _ in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if kind in ("replace", "delete"):
                yield from (at + line + 1 for line in range(start, end) if old[line].strip())
            elif kind == "insert":
                # what stands before it in the same block, or else what comes behind it
                above = old[start - 1] if start else ""
                same = above and _indent(above) == _indent(new[begin])
                yield at + start + (0 if same else 1)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _blocks(tree: ast.AST, inside: bool = False) -> Iterator[list[ast.stmt]]:
    """All blocks of statements inside of functions, the outer ones first."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(tree, field, None)
        if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
            if inside:
                yield block
            for statement in block:
                is_function = isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef))
                yield from _blocks(statement, inside or is_function)
    for handler in getattr(tree, "handlers", ()):
        yield from _blocks(handler, inside)


def _innermost(blocks: list[list[ast.stmt]], line: int) -> tuple[list[ast.stmt], ast.stmt] | None:
    found = None
    for block in blocks:
        for statement in block:
            if statement.lineno <= line <= (statement.end_lineno or 0):
                found = block, statement
    return found


@dataclass(frozen=True)
class Scenario:
    """One scenario of a survey.

    :ivar seconds: of CPU that it and all before it took
    :ivar places: names of errors whose places it reached
    """

    seed: int
    seconds: float
    places: frozenset[str]


class Survey:
    """The results of a survey.

    :param path: the file
    """

    def __init__(self, path: Path) -> None:
        document = json.loads(path.read_text(encoding="utf-8"))
        self.everywhere = frozenset(document["everywhere"])
        self.scenarios: list[Scenario] = []
        total = 0.0
        for seed, seconds, places in document["scenarios"]:
            total += seconds
            self.scenarios.append(Scenario(seed, total, frozenset(places)))

    @property
    def seconds(self) -> float:
        """CPU time of all scenarios."""
        return self.scenarios[-1].seconds if self.scenarios else 0.0

    def seeds(self, name: str, seconds: float) -> list[int]:
        """The scenarios within this CPU time that can find an error, in order."""
        return [
            each.seed
            for each in self.scenarios
            if each.seconds <= seconds and (name in self.everywhere or name in each.places)
        ]

    def seconds_until(self, seed: int) -> float:
        """CPU time of all scenarios up to this one."""
        return next(each.seconds for each in self.scenarios if each.seed == seed)


def save(path: Path, everywhere: Iterable[str], reports: list[dict[str, Any]]) -> None:
    """Save the results of a survey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scenarios = [(each["seed"], each["cpu"], each["places"]) for each in reports]
    path.write_text(json.dumps({"everywhere": sorted(everywhere), "scenarios": scenarios}) + "\n", encoding="utf-8")


def main(first: int, seconds: float) -> None:
    """Run scenarios and print what they reach."""
    # which loads the gateway
    from tests.planted.search import print_fields, run

    seed, spent = first, 0.0
    while spent < seconds:
        reached.clear()
        began = time.process_time()
        words = ""
        try:
            run(seed)
        except Exception as error:
            words = f"{type(error).__name__}: {error}"[:200]
        took = time.process_time() - began
        spent += took
        print_fields(seed=seed, cpu=round(took, 4), places=sorted(reached), words=words)
        seed += 1


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
