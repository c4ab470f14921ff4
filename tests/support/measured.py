"""Command lines for subprocesses of tests whose coverage counts, because their code cannot run in the test process."""

from __future__ import annotations

import sys

from tests.acceptance.processes import ROOT


def interpreter() -> list[str]:
    """The command line of the Python interpreter, under coverage if the test process is."""
    coverage = sys.modules.get("coverage")
    if coverage is None or coverage.Coverage.current() is None:
        return [sys.executable]
    options = ["--parallel-mode", f"--rcfile={ROOT / 'pyproject.toml'}", f"--data-file={ROOT / '.coverage'}"]
    return [sys.executable, "-m", "coverage", "run", *options]
