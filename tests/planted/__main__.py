"""Looks for the planted errors and says what finds them.

    python -m tests.planted                                   by the simulation, ten minutes of CPU for each
    python -m tests.planted --by suite                        by the suite of tests, nearest tests first
    python -m tests.planted --minutes 1 core/one-flow-first   one of them, for a minute
    python -m tests.planted --missed                          again those that were missed, or searched for less long
    python -m tests.planted --survey                          find out first which scenarios reach which errors, and run
                                                              only those for each; kept in .planted/survey.json
    python -m tests.planted --aimed --spend 6                 each error only in those scenarios of ten minutes that
                                                              have the steps and options that it needs (needs.toml)
    python -m tests.planted --every 5                         only every fifth by name, as a sample
    python -m tests.planted --unreached                       which errors no scenario of that survey reaches
    python -m tests.planted --table                           what is known so far
    python -m tests.planted --check                           which patches do not apply to the tree any more
    python -m tests.planted --rebase                          make those anew that apply, against the tree as it is
    python -m tests.planted --make core/NAME "REASON"         make a patch of what git sees as changed in one module,
                                                              and restore the module

A name may be that of a package, too. Each error is put into a copy of the tree, in a temporary folder; a finding counts
only if the same scenario or test passes on a clean copy. Results are written to ``.planted/results.json`` as they come:
what is there is not looked for again, unless the patch has changed, or ``--missed`` or ``--again`` ask for it. CPU time
counts, not the clock.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from math import inf
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.planted.aimed import SECONDS, Aimed
from tests.planted.hunt import FIRST_SEED, Tree, by_simulation, by_suite, by_survey, fail_clean, now, take_survey
from tests.planted.patches import HERE, PACKAGES, ROOT, DoesNotApply, Planted, all_patches, make
from tests.planted.survey import Survey

RESULTS = ROOT / ".planted" / "results.json"
SURVEY = ROOT / ".planted" / "survey.json"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.planted", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--by", choices=("simulation", "suite"), default="simulation")
    parser.add_argument("--minutes", type=float, default=10.0, help="of CPU time, for each error")
    parser.add_argument("--jobs", type=int, default=1, help="so many at a time")
    parser.add_argument("--missed", action="store_true")
    parser.add_argument("--again", action="store_true", help="look for all that are named, whatever is known")
    parser.add_argument("--survey", action="store_true")
    parser.add_argument("--aimed", action="store_true")
    parser.add_argument("--unreached", action="store_true")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth error")
    parser.add_argument("--spend", type=float, default=inf, help="CPU seconds for each error, where there is a survey")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--rebase", action="store_true")
    parser.add_argument("--make", nargs=2, metavar=("NAME", "REASON"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--surveyed", type=Path, default=SURVEY, help="where the survey is kept")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.make:
        return make_patch(*options.make)
    planted = [each for each in all_patches() if _chosen(each.name, options.names)]
    # in the order in which they are named
    planted.sort(key=lambda each: options.names.index(each.name) if each.name in options.names else 0)
    planted = planted[options.every // 2 :: options.every]
    if options.check or options.rebase:
        return check(planted, options.rebase)
    if options.survey:
        survey(options)
    if options.unreached:
        return unreached(planted, Survey(options.surveyed))
    results = Results(options.results)
    if not options.table:
        hunt(planted, results, options)
    table(planted, results)
    return 0


def _chosen(name: str, names: list[str]) -> bool:
    return not names or name in names or name.partition("/")[0] in names


class Results:
    """What is known, by way of looking and name.

    :param path: the file
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, dict[str, Any]]] = {"simulation": {}, "suite": {}}
        if path.exists():
            self._known |= json.loads(path.read_text(encoding="utf-8"))

    def get(self, by: str, planted: Planted) -> dict[str, Any] | None:
        """What was found, unless the patch has changed since."""
        result = self._known[by].get(planted.name)
        return result if result is not None and result["patch"] == _digest(planted) else None

    def put(self, by: str, planted: Planted, result: dict[str, Any]) -> None:
        """Remember a result."""
        with self._lock:
            self._known[by][planted.name] = result | {"patch": _digest(planted)}
            self._save()

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self._known, indent=1, sort_keys=True)
        self._path.write_text(text + "\n", encoding="utf-8")

    def forget(self, by: str, planted: Planted) -> None:
        """Look again the next time."""
        with self._lock:
            self._known[by].pop(planted.name, None)
            self._save()


def _digest(planted: Planted) -> str:
    changes = [(hunk.old, hunk.new) for hunk in planted.hunks]
    return hashlib.sha256(repr(changes).encode()).hexdigest()[:16]


def hunt(planted: list[Planted], results: Results, options: argparse.Namespace) -> None:
    """Look for errors, several at a time."""

    def is_open(each: Planted) -> bool:
        known = results.get(options.by, each)
        if known is None or options.again:
            return True
        return options.missed and not known["found"]

    surveyed = Survey(options.surveyed) if options.surveyed.exists() else None
    if options.aimed:
        surveyed = Aimed(FIRST_SEED, int(60 * options.minutes / SECONDS))
    wanted = [each for each in planted if is_open(each)]
    print(f"{len(wanted)} of {len(planted)} to look for, by the {options.by}", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="icwsgw-planted-")))
        clean = Tree(folder / "clean")
        stack.callback(clean.close)
        trees: SimpleQueue[Tree] = SimpleQueue()
        for number in range(options.jobs):
            tree = Tree(folder / f"tree-{number}")
            stack.callback(tree.close)
            trees.put(tree)

        def one(each: Planted) -> None:
            tree = trees.get()
            try:
                if options.by == "simulation" and surveyed is not None:
                    known = results.get(options.by, each) or {}
                    after = 0 if options.again else known.get("last", 0)
                    result = by_survey(each, tree, clean, options.minutes, surveyed, options.spend, after)
                elif options.by == "simulation":
                    result = by_simulation(each, tree, clean, options.minutes)
                else:
                    result = by_suite(each, tree, options.minutes)
            except DoesNotApply as error:
                print(f"{each.name}: does not apply: {error}", flush=True)
                return
            finally:
                trees.put(tree)
            results.put(options.by, each, result | {"minutes": options.minutes})
            word = "found" if result["found"] else "MISSED"
            print(f"{now()} {each.name}: {word}, {result['seconds']} s, {result['by']}", flush=True)

        if options.jobs == 1:
            # in this thread, so that an end of this process ends the one that it has started
            for each in wanted:
                one(each)
        else:
            with ThreadPoolExecutor(options.jobs) as pool:
                list(pool.map(one, wanted))
        if options.by == "suite":
            _look_at_clean(planted, results, clean)


def survey(options: argparse.Namespace) -> None:
    """Find out which scenarios reach the places of which errors."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="icwsgw-planted-")))
        tree = Tree(folder / "marked")
        stack.callback(tree.close)
        made = take_survey(tree, list(all_patches()), options.minutes, options.surveyed)
    print(f"{len(made.scenarios)} scenarios in {made.seconds:.0f} s of CPU")


def unreached(planted: list[Planted], made: Survey) -> int:
    """Print which errors no scenario reaches, and which few do."""
    for each in planted:
        seeds = made.seeds(each.name, inf)
        if len(seeds) < 10:
            print(f"{each.name:44} {len(seeds)} of {len(made.scenarios)}")
    return 0


def _look_at_clean(planted: list[Planted], results: Results, clean: Tree) -> None:
    """Take back what was found by tests that fail without an error as well; each is looked at once."""
    known = [(each, results.get("suite", each) or {}) for each in planted]
    open_ones = [(each, result) for each, result in known if "test" in result and not result.get("clean")]
    alarms = fail_clean(sorted({result["test"] for _, result in open_ones}), clean)
    for each, result in open_ones:
        if result["test"] in alarms:
            print(f"!! {result['test']} fails on clean code as well, so it has not found {each.name}", flush=True)
            results.forget("suite", each)
        else:
            results.put("suite", each, result | {"clean": True})


def table(planted: list[Planted], results: Results) -> None:
    """Print what is known."""
    print(f"{'error':44} {'simulation':>22}  {'suite':>10}  by")
    counts: dict[tuple[str, str], list[int]] = {}
    for each in planted:
        cells = []
        words = ""
        for by in ("simulation", "suite"):
            result = results.get(by, each)
            if result is None:
                cells.append("")
                continue
            for package in (each.name.partition("/")[0], "all"):
                count = counts.setdefault((by, package), [0, 0])
                count[0] += result["found"]
                count[1] += 1
            runs = f" {result['scenarios']:5}" if by == "simulation" else ""
            cells.append(f"{'' if result['found'] else 'MISSED '}{result['seconds']:.0f} s{runs}")
            words = words or result["by"]
        print(f"{each.name:44} {cells[0]:>22}  {cells[1]:>10}  {words[:110]}")
    for (by, package), (found, looked) in sorted(counts.items()):
        print(f"{by:10} {package:8} {found:3} of {looked:3} found, {100 * found / looked:.0f} %")


def check(planted: list[Planted], rebase: bool) -> int:
    """Say which patches do not apply; make the others anew where that is wanted."""
    wrong = 0
    for each in planted:
        try:
            before = (ROOT / each.path).read_text(encoding="utf-8") if (ROOT / each.path).exists() else ""
            after = each.planted_in(ROOT)
        except DoesNotApply as error:
            wrong += 1
            print(f"{each.name}: {error}")
            continue
        if rebase:
            _write(each.name, each.reason, each.path, before, after)
    print(f"{len(planted) - wrong} of {len(planted)} apply")
    return int(wrong > 0)


def _write(name: str, reason: str, path: str, before: str, after: str) -> None:
    (HERE / f"{name}.patch").write_text(make(textwrap.fill(reason, 100), path, before, after), encoding="utf-8")


def make_patch(name: str, reason: str) -> int:
    """Make a patch of what has been changed in one module since the last commit, and take the change back."""
    changed = subprocess.run(
        ["git", "diff", "--name-only", "HEAD", "--", "icwsgw"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    if len(changed) != 1 or name.partition("/")[0] not in PACKAGES:
        print("one module has to be changed, and the name is PACKAGE/NAME")
        return 2
    path = changed[0]
    after = (ROOT / path).read_text(encoding="utf-8")
    before = subprocess.run(
        ["git", "show", f"HEAD:{path}"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    _write(name, reason, path, before, after)
    (ROOT / path).write_text(before, encoding="utf-8")
    print(f"tests/planted/{name}.patch")
    return 0


if __name__ == "__main__":
    sys.exit(main())
