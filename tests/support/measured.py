"""Commands of tests that count for coverage, because what they run cannot run in the process of the tests."""

from __future__ import annotations

import sys

from tests.acceptance.processes import ROOT


def interpreter() -> list[str]:
    """The Python of the tests; under coverage where this process is."""
    coverage = sys.modules.get("coverage")
    if coverage is None or coverage.Coverage.current() is None:
        return [sys.executable]
    options = ["--parallel-mode", f"--rcfile={ROOT / 'pyproject.toml'}", f"--data-file={ROOT / '.coverage'}"]
    return [sys.executable, "-m", "coverage", "run", *options]
