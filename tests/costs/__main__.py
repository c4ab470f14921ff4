"""Counts costs: ``python -m tests.costs``.

Prints each figure beside its bound, and exits with 1 if one is out of bounds. With ``--write`` the figures become the
bounds of this version of Python (bounds.json) and, if the documents show this version, the tables of
docs/performance.md. The bounds of other versions move by the same differences, unless ``--alone`` is given.
``--of OPERATION`` prints which functions an operation calls, and how often.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from tests.costs.measuring import counted, figures
from tests.costs.operations import OPERATIONS, TIMES
from tests.costs.table import PAGE, SHOWN, Bounds, judge, page_with, running


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.costs", description="Count costs.")
    parser.add_argument("--json", action="store_true", help="print the figures for programs")
    parser.add_argument("--write", action="store_true", help="make the figures the bounds")
    parser.add_argument("--alone", action="store_true", help="with --write: the other versions' bounds stay")
    parser.add_argument(
        "--of", choices=OPERATIONS, metavar="OPERATION", help=f"show its functions; one of: {'; '.join(OPERATIONS)}"
    )
    options = parser.parse_args()
    if options.of:
        show(options.of)
        return 0
    found = figures()
    if options.json:
        print(json.dumps(found))
        return 0
    bounds = Bounds()
    if options.write:
        bounds.write(running(), found, options.alone)
        if running() == SHOWN:
            PAGE.write_text(page_with(found, PAGE.read_text()))
    column, loose = bounds.column(running())
    sound = True
    for name, row in found.items():
        for kind, figure in row.items():
            bound = column.get(name, {}).get(kind)
            if bound is None:
                sound = False
                print(f"! {name}, {kind}: {figure:g}, which has no bound: --write it down")
                continue
            verdict = judge(kind, figure, bound, loose)
            sound = sound and verdict.sound
            print(f"{' ' if verdict.sound else '!'} {name}, {kind}: {verdict.text}")
    return 0 if sound else 1


def show(operation: str) -> None:
    """Print the functions and system calls of an operation, with the average number of calls."""
    calls = counted(operation)
    for code, times in calls.functions.most_common():
        path = os.path.relpath(code.co_filename) if "site-packages" not in code.co_filename else code.co_filename
        place = path.partition("site-packages/")[2] or path
        print(f"{times / TIMES:8.1f}  {place}:{code.co_firstlineno} {code.co_name}")
    for name, times in calls.system_calls.most_common():
        print(f"{times / TIMES:8.1f}  {name} (system call)")
    print(f"{sum(calls.functions.values()) / TIMES:8.1f}  functions in all")


sys.exit(main())
