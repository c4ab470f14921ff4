"""Looks for one planted error in a copy of the tree: by the simulation alone, or by the suite of tests.

A finding counts only if the same scenario, or the same test, passes without the error: it is run again on a clean copy.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.planted.patches import HERE, ROOT, Planted
from tests.planted.survey import Survey, marked, save

#: Seeds that neither CI nor anybody else runs.
FIRST_SEED = 3_000_000

#: The suite: all tests that run in one process, those that mirror the module first. Tests that do not run the code, or
#: that start processes, are left out.
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
        env = {name: value for name, value in os.environ.items() if not name.startswith("ICWS_")}
        env |= {"PYTHONPATH": str(place), "PYTHONHASHSEED": "0"}
        self._warm = subprocess.Popen(
            [sys.executable, str(HERE / "warm.py")],
            cwd=place,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

        # of the module that has an error in it now
        self._before = ""

    def plant(self, planted: Planted) -> None:
        """Put the error in.

        :raises DoesNotApply: the module has changed where the error is
        """
        self._before = (self.place / planted.path).read_text(encoding="utf-8")
        self._write(planted, planted.apply(self._before))

    def clean(self, planted: Planted) -> None:
        """Remove the error again."""
        self._write(planted, self._before)

    def _write(self, planted: Planted, text: str) -> None:
        module = self.place / planted.path
        module.write_text(text, encoding="utf-8")
        # its time and size may be those of the text before, by which Python knows what it has compiled
        for version in (sys.implementation.cache_tag, "*"):
            for old in (module.parent / "__pycache__").glob(f"{module.stem}.{version}.pyc"):
                old.unlink()

    def run(self, *arguments: str, seconds: float) -> tuple[int | None, str, float]:
        """Run Python in the copy.

        :param arguments: ``-m``, a module, and its own
        :param seconds: of CPU time, after which it is killed; by the clock it may take ten times as long
        :return: its exit status, None when it was killed; what it wrote; the CPU time that it took
        """
        output = self.place.with_name(f"{self.place.name}.out")
        order = {"cwd": str(self.place), "arguments": arguments, "seconds": seconds, "output": str(output)}
        assert self._warm.stdin is not None
        assert self._warm.stdout is not None
        self._warm.stdin.write(json.dumps(order) + "\n")
        self._warm.stdin.flush()
        ended = json.loads(self._warm.stdout.readline())
        text = output.read_text(encoding="utf-8", errors="replace")
        return (ended["status"] if ended["status"] >= 0 else None), text, ended["seconds"]

    def close(self) -> None:
        """End the process that runs here."""
        self._warm.terminate()
        self._warm.wait()


def by_simulation(planted: Planted, tree: Tree, clean: Tree, minutes: float, first: int = FIRST_SEED) -> dict[str, Any]:
    """Run scenarios until one fails, for so many minutes of CPU time.

    :param clean: a copy without the error: what fails there as well does not count
    :return: ``found``, ``by``, ``seconds`` of CPU, ``scenarios``
    """
    left, scenarios, spent, alarms = 60 * minutes, 0, 0.0, 0
    tree.plant(planted)
    try:
        while left > 0:
            report, words = _search(tree, left, first)
            if report is None:
                return _result(True, words, spent, scenarios)
            scenarios += report["ran"]
            spent += report["cpu"]
            if "seed" not in report:
                return _result(False, "", spent, scenarios)
            if _passes(clean, report["seed"]):
                return _found(report, spent, scenarios, alarms)
            alarms += _alarm(report)
            first, left = report["seed"] + 1, left - report["cpu"]
        return _result(False, "", spent, scenarios) | {"false_alarms": alarms}
    finally:
        tree.clean(planted)


def by_survey(
    planted: Planted, tree: Tree, clean: Tree, minutes: float, survey: Survey, spend: float, after: int
) -> dict[str, Any]:
    """Run those scenarios of so many minutes that reach an error, until one fails.

    :param survey: knows which ones these are
    :param spend: CPU seconds that they may take
    :param after: the last seed that was run before
    :return: as :func:`by_simulation`; ``seconds`` is what all scenarios up to the one that fails take, or all,
        or all up to the last one that was run; ``last`` is that one, where there are more to run
    """
    alarms = 0
    seeds = [seed for seed in survey.seeds(planted.name, 60 * minutes) if seed > after]
    listed = tree.place.with_name(f"{tree.place.name}.seeds")
    tree.plant(planted)
    try:
        while seeds and spend > 0:
            listed.write_text(json.dumps(seeds), encoding="utf-8")
            report, words = _search(tree, spend, 0, str(listed))
            if report is None:
                return _result(True, words, 0.0)
            spend -= report["cpu"]
            if "seed" not in report:
                if report["ran"] == len(seeds):
                    break
                spent = survey.seconds_until(report["last"])
                return _result(False, "", spent, report["last"] - FIRST_SEED + 1) | {"last": report["last"]}
            seed = report["seed"]
            if _passes(clean, seed):
                return _found(report, survey.seconds_until(seed), seed - FIRST_SEED + 1, alarms)
            alarms += _alarm(report)
            seeds = [each for each in seeds if each > seed]
        return _result(False, "", min(survey.seconds, 60 * minutes), len(survey.scenarios)) | {"false_alarms": alarms}
    finally:
        tree.clean(planted)


def take_survey(tree: Tree, errors: list[Planted], minutes: float, path: Path) -> Survey:
    """Run the scenarios of so many minutes in a marked copy of the tree, and keep what they reach.

    :raises DoesNotApply: a module has changed where an error is
    """
    everywhere: set[str] = set()
    for module in sorted({error.path for error in errors}):
        target = tree.place / module
        text, unmarked = marked(target.read_text(encoding="utf-8"), [each for each in errors if each.path == module])
        target.write_text(text, encoding="utf-8")
        everywhere |= unmarked
    arguments = ("-m", "tests.planted.survey", str(FIRST_SEED), str(60 * minutes))
    _, text, _ = tree.run(*arguments, seconds=60 * minutes + 180)
    reports = [json.loads(line) for line in text.splitlines() if line.startswith('{"seed"')]
    for each in reports:
        if each["words"]:
            print(f"!! seed {each['seed']} fails on clean code: {each['words']}", flush=True)
    save(path, everywhere, reports)
    return Survey(path)


def _search(tree: Tree, seconds: float, first: int, *listed: str) -> tuple[dict[str, Any] | None, str]:
    """Search in a tree; returns the result, or the error message of a simulation that does not run."""
    arguments = ("-m", "tests.planted.search", str(first), str(seconds), *listed)
    status, text, _ = tree.run(*arguments, seconds=seconds + 180)
    report = _report_in(text)
    return report, "the simulation does not even start" if status else f"it died: {text[-300:]}"


def _passes(clean: Tree, seed: int) -> bool:
    """Whether a scenario passes without an error."""
    report, _ = _search(clean, 0.001, seed)
    return report is not None and "seed" not in report


def _found(report: dict[str, Any], spent: float, scenarios: int, alarms: int) -> dict[str, Any]:
    found = _result(True, f"seed {report['seed']}: {_short(report['words'])}", spent, scenarios)
    return found | {"seed": report["seed"], "steps": report["steps"], "false_alarms": alarms}


def _alarm(report: dict[str, Any]) -> int:
    """Report a scenario that also fails without the error: a fault of the simulation, or of the code."""
    print(f"!! seed {report['seed']} fails on clean code as well: {_short(report['words'])}", flush=True)
    return 1


def _report_in(text: str) -> dict[str, Any] | None:
    for line in reversed(text.splitlines()):
        if line.startswith('{"ran"'):
            report: dict[str, Any] = json.loads(line)
            return report
    return None


def _short(words: str) -> str:
    return " ".join(words.split())[:240]


def _result(found: bool, by: str, seconds: float, scenarios: int = 0) -> dict[str, Any]:
    return {"found": found, "by": by, "seconds": round(seconds, 1), "scenarios": scenarios}


def stages_of(planted: Planted) -> list[list[str]]:
    """Give the targets of pytest, one list a stage: what is nearest to the module first."""
    package = planted.path.split("/")[1]
    folder, _, name = planted.path.removeprefix("icwsgw/").rpartition("/")
    mirrored = f"tests/{folder}/test_{name}"
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


def _pytest(*options: str) -> list[str]:
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", MARKERS, "--no-header", "--tb=line", *options]
    if importlib.util.find_spec("pytest_randomly") is not None:
        command += ["-p", "no:randomly"]
    return command


def by_suite(planted: Planted, tree: Tree, minutes: float) -> dict[str, Any]:
    """Run the suite until a test fails, stage by stage; no stage begins after so many minutes of CPU time.

    :return: as :func:`by_simulation`; ``scenarios`` is the number of stages, ``test`` the one that failed, which
        :func:`fail_clean` is still to look at
    """
    left, spent, number = 60 * minutes, 0.0, 0
    tree.plant(planted)
    try:
        for number, targets in enumerate(stages_of(planted), 1):
            if left <= 0:
                break
            # what is killed hangs
            status, text, took = tree.run(*_pytest("-x"), *targets, seconds=60 if number == 1 else 900)
            spent, left = spent + took, left - took
            if status in (0, 5):
                continue
            failed = _FAILED.search(text)
            if failed is not None:
                found = _result(True, f"{failed[1]}: {_short(failed[2] or '')}", spent, number)
                return found | {"test": failed[1]}
            # or broken while tests were collected
            words = "hangs" if status is None else _short(text[-300:])
            return _result(True, f"{' '.join(targets)[:80]}: {words}", spent, number)
        return _result(False, "", spent, number)
    finally:
        tree.clean(planted)


_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - (.*))?$", re.MULTILINE)


def fail_clean(tests: list[str], clean: Tree) -> set[str]:
    """Run tests without any error, and return those that fail even so."""
    if not tests:
        return set()
    _, text, _ = clean.run(*_pytest(), *tests, seconds=1800)
    return {failed[1] for failed in _FAILED.finditer(text)}


def now() -> str:
    """The time, for results."""
    return time.strftime("%H:%M:%S")
