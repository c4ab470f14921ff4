"""Looks for one planted error in a copy of the tree: by the simulation alone, or by the suite of tests.

A finding counts only if the same scenario, or the same test, passes without the error: it is run again on a clean copy.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.planted.patches import ROOT, Planted

#: Seeds that neither CI nor anybody else runs.
FIRST_SEED = 3_000_000

#: What the suite is here: all that runs in one process, what mirrors the module first. Left out is what does not run
#: the code, and what starts processes.
UNITS = ("core", "gateway", "agent", "server")
LAST = ("tests/simulation",)
LEFT_OUT = ("tests/planted", "tests/test_layering.py", "tests/deploy", "tests/bench", "tests/acceptance")
MARKERS = "not acceptance and not sdk and not wstest and not deploy"

_NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", ".coverage*", ".planted", "build", "dist"),
    *("*.egg-info", "node_modules", "twistd.*", "_trial_temp*", "results"),
)


class Tree:
    """A copy of the tree, with one error in it at a time.

    :param place: where it is; an older copy there is replaced
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(ROOT, place, ignore=_NOT_COPIED, symlinks=True)
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("ICWS_")}
        self._env |= {"PYTHONPATH": str(place), "PYTHONHASHSEED": "0"}

    def plant(self, planted: Planted) -> None:
        """Put the error in.

        :raises DoesNotApply: it does not apply any more
        """
        self._write(planted, planted.planted_in(ROOT))

    def clean(self, planted: Planted) -> None:
        """Take it out again."""
        self._write(planted, (ROOT / planted.path).read_text(encoding="utf-8"))

    def _write(self, planted: Planted, text: str) -> None:
        module = self.place / planted.path
        module.write_text(text, encoding="utf-8")
        # its time and size may be those of the text before, by which Python knows what it has compiled
        for version in (sys.implementation.cache_tag, "*"):
            for old in (module.parent / "__pycache__").glob(f"{module.stem}.{version}.pyc"):
                old.unlink()

    def run(self, *arguments: str, seconds: float) -> tuple[int | None, str]:
        """Run Python in the copy.

        :param seconds: of CPU time, after which it is killed; ten times as many by the clock
        :return: its exit status, None when it was killed; and what it wrote
        """
        limit = int(seconds) + 1

        def bound() -> None:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))

        command = [sys.executable, *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self.place,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=10 * seconds + 60,
                preexec_fn=bound,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            return None, (late.stdout or b"").decode(errors="replace")
        status = done.returncode if done.returncode >= 0 else None
        return status, done.stdout.decode(errors="replace")


def by_simulation(planted: Planted, tree: Tree, clean: Tree, minutes: float, first: int = FIRST_SEED) -> dict[str, Any]:
    """Run scenarios until one fails, for so many minutes of CPU time.

    :param clean: a copy without the error: what fails there as well does not count
    :return: ``found``, ``by``, ``seconds`` of CPU, ``scenarios``
    """
    left, scenarios, spent, alarms = 60 * minutes, 0, 0.0, 0
    tree.plant(planted)
    try:
        while left > 0:
            status, text = tree.run("-m", "tests.planted.search", str(first), str(left), seconds=left + 180)
            told = _told(text)
            if told is None:
                words = "the simulation does not even start" if status else f"it died: {text[-300:]}"
                return _result(True, words, spent, scenarios)
            scenarios += told["ran"]
            spent += told["cpu"]
            if "seed" not in told:
                return _result(False, "", spent, scenarios)
            seed, words = told["seed"], _short(told["words"])
            _, text = clean.run("-m", "tests.planted.search", str(seed), "0.001", seconds=300)
            again = _told(text)
            if again is not None and "seed" not in again:
                found = _result(True, f"seed {seed}: {words}", spent, scenarios)
                return found | {"seed": seed, "steps": told["steps"], "false_alarms": alarms}
            # the scenario fails without the error as well: a fault of the simulation, or of the code
            print(f"!! seed {seed} fails on clean code as well: {words}", flush=True)
            alarms += 1
            first, left = seed + 1, left - told["cpu"]
        return _result(False, "", spent, scenarios) | {"false_alarms": alarms}
    finally:
        tree.clean(planted)


def _told(text: str) -> dict[str, Any] | None:
    for line in reversed(text.splitlines()):
        if line.startswith('{"ran"'):
            told: dict[str, Any] = json.loads(line)
            return told
    return None


def _short(words: str) -> str:
    return " ".join(words.split())[:240]


def _result(found: bool, by: str, seconds: float, scenarios: int = 0) -> dict[str, Any]:
    return {"found": found, "by": by, "seconds": round(seconds, 1), "scenarios": scenarios}


def stages_of(planted: Planted) -> list[list[str]]:
    """Give the targets of pytest, one list a stage: what is nearest to the module first."""
    package, name = planted.path.split("/")[1:3]
    mirrored = f"tests/{package}/test_{name}"
    stages = [[mirrored]] if (ROOT / mirrored).is_file() else []
    stages.append([f"tests/{package}"])
    stages.append([f"tests/{other}" for other in UNITS if other != package])
    stages.append(["tests/memory"])
    known = {*(f"tests/{unit}" for unit in UNITS), "tests/memory", *LAST, *LEFT_OUT}
    rest = sorted(path for path in (ROOT / "tests").iterdir() if path.is_dir() or path.name.startswith("test_"))
    targets = [path.relative_to(ROOT).as_posix() for path in rest]
    stages.append([target for target in targets if target not in known and _has_tests(ROOT / target)])
    stages.append(list(LAST))
    return stages


def _has_tests(path: Path) -> bool:
    return path.is_file() or any(path.glob("test_*.py"))


def by_suite(planted: Planted, tree: Tree, clean: Tree, minutes: float) -> dict[str, Any]:
    """Run the suite until a test fails, stage by stage, for so many minutes of CPU time in all.

    :return: as :func:`by_simulation`; ``scenarios`` is the number of stages
    """
    left, spent = 60 * minutes, 0.0
    options = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", MARKERS, "--no-header", "--tb=line"]
    if importlib.util.find_spec("pytest_randomly") is not None:
        options += ["-p", "no:randomly"]
    tree.plant(planted)
    try:
        for number, targets in enumerate(stages_of(planted), 1):
            if left <= 0:
                break
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            status, text = tree.run(*options, *targets, seconds=left)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            spent, left = spent + took, left - took
            if status in (0, 5):
                continue
            failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - (.*))?$", text, re.MULTILINE)
            if failed is None:
                # killed, or broken while tests were collected
                if status is None and left <= 0:
                    break
                words = "hangs" if status is None else _short(text[-300:])
                return _result(True, f"{' '.join(targets)[:80]}: {words}", spent, number)
            test, words = failed[1], _short(failed[2] or "")
            again, _ = clean.run(*options, test, seconds=300)
            if again == 0:
                return _result(True, f"{test}: {words}", spent, number)
            print(f"!! {test} fails on clean code as well", flush=True)
        return _result(False, "", spent, number)
    finally:
        tree.clean(planted)


def now() -> str:
    """The time, for results."""
    return time.strftime("%H:%M:%S")
