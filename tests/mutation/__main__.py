"""The command: ``python -m tests.mutation [--sample N --seed S] [package | file | module] ...``."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path

from tests.mutation import PACKAGES
from tests.mutation.checked import refused
from tests.mutation.mutants import Mutant, mutants_of, selected
from tests.mutation.records import Figures, Result, Results, equivalents, figures
from tests.mutation.runner import Seen, Session, collect

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".mutation"
# Recorded for a survivor that mypy accepts.
TYPED = "mypy takes it"


def sources(name: str) -> tuple[str, list[Path]]:
    """Return the package and the files of a name: ``core``, ``core/fair_queue`` or ``icwsgw/core/fair_queue.py``."""
    name = name.removeprefix("icwsgw").strip("/.").removesuffix(".py").replace(".", "/")
    package = name.partition("/")[0]
    if package not in PACKAGES:
        raise SystemExit(f"{name}: one of {', '.join(PACKAGES)}, or a module of them")
    path = ROOT / "icwsgw" / name
    found = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    if not all(file.exists() for file in found):
        raise SystemExit(f"no {path}")
    return package, found


def dotted(file: Path) -> str:
    """Return the name of a file's module."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def state(paths: Iterable[str]) -> str:
    """Return a digest of all files below these paths."""
    whole = hashlib.sha256()
    for path in paths:
        for file in sorted((ROOT / path).rglob("*.py")):
            whole.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return whole.hexdigest()[:16]


class Run:
    """The mutants of one package, and the tests that judge them."""

    def __init__(self, package: str, files: list[Path], chosen: argparse.Namespace) -> None:
        self.package = package
        self._chosen = chosen
        self._results = Results(KEPT / f"{package}.jsonl")
        self._files = {dotted(file): str(file.relative_to(ROOT)) for file in files}
        made: list[Mutant] = []
        for file in files:
            made += mutants_of(dotted(file), file.read_text())
        self._all = made
        self.mutants = selected(made, chosen.sample, chosen.seed)
        self.tests: list[str] = chosen.tests or [f"tests/{package}"]
        self._state = state([*self.tests, "tests/support"])

    def due(self) -> list[Mutant]:
        """Return the mutants that have to be judged."""
        if self._chosen.again:
            return [mutant for mutant in self.mutants if self._is_open(mutant)]
        return [mutant for mutant in self.mutants if self._results.is_due(mutant, self._state)]

    def _is_open(self, mutant: Mutant) -> bool:
        result = self._results.of(mutant)
        return result is None or not result.noticed

    def run(self) -> None:
        """Judge the mutants that are due."""
        due = self.due()
        print(f"{self.package}: {len(self._all)} mutants, {len(self.mutants)} chosen, {len(due)} to judge", flush=True)
        if due:
            collect(self.tests, lambda session: self._judge(session, due))
        self._check_with_mypy()

    def _judge(self, session: Session, due: list[Mutant]) -> None:
        seen = self._seen(session)
        failed = set(seen.failed)
        if failed:
            print(f"left out, because they fail on the original: {sorted(failed)}")
        start = shown = time.monotonic()
        for done, mutant in enumerate(due, 1):
            file = self._files[mutant.module]
            tests = [test for test in session.tests_for(mutant, file, seen) if test not in failed]
            verdict = session.judge(mutant, tests, seen, self._chosen.time_limit)
            if verdict.status == "broken":
                # it does not compile, so no test has to notice it
                print(f"does not compile: {mutant.module} {mutant.function}: {mutant.change}: {verdict.by}", flush=True)
                continue
            seconds = round(verdict.seconds, 3)
            self._results.add(Result(*mutant.key, mutant.digest, self._state, verdict.status, verdict.by, seconds))
            if time.monotonic() - shown > 10 or done == len(due):
                shown = time.monotonic()
                pace = (shown - start) / done
                left = pace * (len(due) - done)
                print(
                    f"  {done} of {len(due)}, {pace:.2f} s each, {left / 60:.0f} min left: {self.figures()}", flush=True
                )

    def _check_with_mypy(self) -> None:
        """Count survivors that mypy refuses as noticed, because every change has to pass mypy as well."""
        survivors: dict[str, list[Mutant]] = {}
        for mutant, result in self.survivors():
            if result.by != TYPED:
                survivors.setdefault(mutant.module, []).append(mutant)
        for module, mutants in survivors.items():
            wrong = {mutant.key for mutant in refused(ROOT, ROOT / self._files[module], mutants, KEPT / "mypy")}
            for mutant in mutants:
                before = self._results.of(mutant)
                if before is not None:
                    typed = mutant.key not in wrong
                    self._results.add(
                        replace(before, by=TYPED) if typed else replace(before, status="types", by="mypy")
                    )

    def _seen(self, session: Session) -> Seen:
        """Return the lines that each test executes; from the last run, if nothing has changed."""
        # a file next to the results has the lines that these tests execute
        kept = KEPT / "-".join([self.package, *(test.replace("/", ".") for test in self.tests), "lines.pickle"])
        now = state([f"icwsgw/{self.package}", *self.tests, "tests/support", "tests/mutation"])
        if kept.exists():
            then, seen = pickle.loads(kept.read_bytes())
            if then == now:
                return seen
        print("  running the tests on the original", flush=True)
        seen = session.learn(ROOT, (ROOT / "icwsgw" / self.package).rglob("*.py"))
        KEPT.mkdir(exist_ok=True)
        kept.write_bytes(pickle.dumps((now, seen)))
        return seen

    def figures(self) -> str:
        """Return the figures of the run in one line."""
        return summary(figures(self.mutants, self._results, equivalents()), self._chosen.sample is not None)

    def survivors(self) -> list[tuple[Mutant, Result]]:
        """Return the mutants that no test notices and that are not listed as equivalent."""
        judged = equivalents()
        found = [(mutant, self._results.of(mutant)) for mutant in self.mutants if mutant.key not in judged]
        return [(mutant, result) for mutant, result in found if result is not None and not result.noticed]

    def misjudged(self) -> list[tuple[Mutant, Result]]:
        """Return the mutants that are listed as equivalent although a test notices them."""
        judged = equivalents()
        found = [(mutant, self._results.of(mutant)) for mutant in self.mutants if mutant.key in judged]
        return [(mutant, result) for mutant, result in found if result is not None and result.noticed]

    def modules(self) -> dict[str, Figures]:
        """Return the figures of each module."""
        judged = equivalents()
        return {
            module: figures([each for each in self.mutants if each.module == module], self._results, judged)
            for module in self._files
        }


def summary(count: Figures, sampled: bool) -> str:
    """Return figures as text."""
    low, high = count.interval()
    interval = f" (95 % confidence: {low:.1%} to {high:.1%})" if sampled else ""
    return f"{count.killed} of {count.counted} killed, {count.share:.1%}{interval}, {count.equivalent} equivalent"


def main() -> None:
    """Make mutants, judge them, and print the survivors."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=main.__doc__)
    parser.add_argument("names", nargs="*", default=list(PACKAGES), help="packages or modules: core, core/fair_queue")
    parser.add_argument("--sample", type=int, help="number of mutants of each, chosen at random")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--again", action="store_true", help="judge all survivors again")
    help = "tests that judge instead of the mirrored ones, to try survivors with others: tests/memory"
    parser.add_argument("--tests", action="append", metavar="PATH", help=help)
    help = "seconds of tests for a mutant, the fastest first (default 30); a few find most, --again tries the others"
    parser.add_argument("--time-limit", type=float, default=30.0, help=help)
    parser.add_argument("--report", action="store_true", help="run nothing: print the results so far")
    chosen = parser.parse_args()
    for name in chosen.names:
        run = Run(*sources(name), chosen)
        if not chosen.report:
            run.run()
        print(f"\n{name}, {date.today()}: {run.figures()}")
        for module, count in run.modules().items():
            if count.counted:
                print(f"  {module}: {summary(count, False)}")
        for mutant, result in run.misjudged():
            print(f"not equivalent, {result.by} notices it: {mutant.module} {mutant.function}: {mutant.change}")
        for mutant, result in run.survivors():
            print(f"{mutant.module}:{mutant.lines.start} {mutant.function}: {mutant.change}  [{result.status}]")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
