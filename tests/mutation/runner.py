"""Runs the tests against each mutant, in a process forked from one that has imported and collected everything.

A run of pytest collects the tests once. A first child runs all of them on the original and records which lines each
test executes, and how long it takes. Then, for each mutant, a child exchanges the function and runs the tests that
execute the changed line, the fastest first, until one fails.
"""

from __future__ import annotations

import gc
import os
import pickle
import resource
import signal
import sys
import time
import unittest
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings

from tests.mutation.exchange import exchange
from tests.mutation.mutants import Mutant

# CPU seconds that a test may take, plus ten times its CPU time on the original.
GRACE = 0.5
# Seconds that a test may last, plus three times its duration on the original.
WAIT = 5.0
# Bytes of memory that a mutant's process may use: a mutant may allocate endlessly.
MEMORY = 4 << 30
_KILLED, _SURVIVED, _BROKEN = 10, 11, 12


@dataclass
class Seen:
    """The result of a run of all tests on the original."""

    tests_of: dict[tuple[str, int], set[str]] = field(default_factory=dict)  # by file and line
    seconds: dict[str, float] = field(default_factory=dict)  # CPU seconds
    elapsed: dict[str, float] = field(default_factory=dict)  # seconds
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """The result of a mutant: killed, timeout, survived, uncovered or broken, and by which test."""

    status: str
    by: str
    seconds: float  # CPU seconds


class Session:
    """A plugin of pytest that passes the collected tests to a function instead of running them."""

    def __init__(self, work: Callable[[Session], None]) -> None:
        self._work = work
        self.items: dict[str, pytest.Item] = {}
        self._judging = False
        self.error: BaseException | None = None

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Do the work instead of running the tests."""
        if session.testsfailed:
            raise session.Interrupted("tests cannot be collected")
        self.items = {item.nodeid: item for item in session.items}
        gc.collect()
        gc.freeze()
        try:
            self._work(self)
        except BaseException as error:
            self.error = error
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
        """End a mutant's process at the first failure, without a report: formatting that takes most of the time."""
        if not self._judging or call.excinfo is None or item.get_closest_marker("xfail") is not None:
            return
        if not isinstance(call.excinfo.value, (pytest.skip.Exception, pytest.xfail.Exception, unittest.SkipTest)):
            os._exit(_KILLED)

    def learn(self, root: Path, files: Iterable[Path]) -> Seen:
        """Run all tests on the original, in a child, and record which lines of these files each executes."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _quiet()
            with os.fdopen(writing, "wb") as out:
                pickle.dump(self._learnt(root, {str(file) for file in files}), out)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as into:
            found = into.read()
        os.waitpid(child, 0)
        seen: Seen = pickle.loads(found)
        return seen

    def _learnt(self, root: Path, files: set[str]) -> Seen:
        import coverage

        os.environ["COVERAGE_CORE"] = "ctrace"
        measured = coverage.Coverage(data_file=None, config_file=False, include=sorted(files))
        seen = Seen()
        measured.start()
        items = list(self.items.values())
        for item, after in zip(items, [*items[1:], None], strict=True):
            measured.switch_context(item.nodeid)
            start, began = time.process_time(), time.monotonic()
            if not _passes(item, after):
                seen.failed.append(item.nodeid)
            seen.seconds[item.nodeid] = time.process_time() - start
            seen.elapsed[item.nodeid] = time.monotonic() - began
            measured.switch_context("")
        measured.stop()
        data = measured.get_data()
        for file in data.measured_files():
            for line, tests in data.contexts_by_lineno(file).items():
                seen.tests_of[str(Path(file).relative_to(root)), line] = set(tests) - {""}
        return seen

    def tests_for(self, mutant: Mutant, file: str, seen: Seen) -> list[str]:
        """Return the tests that execute a changed line, the fastest first."""
        tests: set[str] = set()
        for line in mutant.lines:
            tests |= seen.tests_of.get((file, line), set())
        return sorted((test for test in tests if test in self.items), key=lambda test: (seen.seconds[test], test))

    def judge(self, mutant: Mutant, tests: list[str], seen: Seen, time_limit: float) -> Verdict:
        """Run tests against a mutant, in a child.

        :param time_limit: CPU seconds of the tests on the original; no test beyond them is run
        """
        if not tests:
            return Verdict("uncovered", "", 0.0)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            # processes that the tests have started end with the group: a noticed mutant skips their cleanup
            os.setpgid(0, 0)
            try:
                code = self._judged(mutant, _within(tests, seen.seconds, time_limit), seen, writing)
            except BaseException:
                code = _KILLED
            os._exit(code)
        os.close(writing)
        with os.fdopen(reading) as into:
            by = into.read().splitlines()
        # the group's number may be used again after the child has been waited for
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        os.killpg(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
        taken = used.ru_utime + used.ru_stime
        last = by[-1] if by else ""
        code = os.waitstatus_to_exitcode(status)
        if code == _SURVIVED:
            return Verdict("survived", "", taken)
        if code == _BROKEN:
            return Verdict("broken", last, taken)
        return Verdict("killed" if code == _KILLED else "timeout", last, taken)

    def _judged(self, mutant: Mutant, tests: list[str], seen: Seen, out: int) -> int:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _quiet()
        try:
            exchange(mutant)
        except Exception as error:
            os.write(out, f"{error!r}\n".encode())
            return _BROKEN
        self._judging = True
        for test, after in zip(tests, [*tests[1:], None], strict=True):
            os.write(out, f"{test}\n".encode())
            # CPU time, which does not depend on the load of the machine; and real time, for waits
            signal.setitimer(signal.ITIMER_VIRTUAL, GRACE + 10 * seen.seconds[test])
            signal.setitimer(signal.ITIMER_REAL, WAIT + 3 * seen.elapsed[test])
            if not _passes(self.items[test], self.items[after] if after else None):
                return _KILLED
        return _SURVIVED


def _within(tests: list[str], seconds: dict[str, float], time_limit: float) -> list[str]:
    begun = list(accumulate((seconds[test] for test in tests), initial=0.0))
    return [test for test, start in zip(tests, begun, strict=False) if start <= time_limit]


def _passes(item: pytest.Item, after: pytest.Item | None) -> bool:
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=after))


def _quiet() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)


def collect(tests: list[str], work: Callable[[Session], None]) -> None:
    """Collect these tests with pytest and call ``work`` with them.

    :raises RuntimeError: they cannot be collected
    """
    found_is_enough = (Phase.explicit, Phase.reuse, Phase.generate)
    settings.register_profile(
        "mutation", deadline=None, max_examples=30, derandomize=True, database=None, phases=found_is_enough
    )
    session = Session(work)
    quiet = ["-q", "--no-header", "--no-summary", "-s", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
    code: Any = pytest.main([*quiet, *tests], plugins=[session, _Profile()])
    sys.stdout.flush()
    if session.error is not None:
        raise session.error
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"pytest ended with {code}")


class _Profile:
    """Few examples, the same each time: replaces the profile that the conftest of the tests has loaded."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        settings.load_profile("mutation")
