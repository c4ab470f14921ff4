"""Fuzz all parsers of foreign bytes, guided by coverage (needs the extra ``fuzz``: atheris).

    python -m tests.fuzz [TARGET ...] [--minutes 60] [--turn 120]

The targets share the minutes of CPU time: the next turn goes to the target with the least time over all runs on this
machine. A run may be stopped (^C) and continued at any time: ``.fuzz`` has the inputs found so far. At the end, the
inputs that increase coverage are added to ``tests/fuzz/corpus``. An input that breaks a target is added at once,
test_fuzz.py runs it from then on, and the target gets no more turns in this run. Exits with 1 if a target is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.target import Target
from tests.fuzz.targets import MODULES, every

NAMES = [name for names in MODULES.values() for name in names]
ROOT = Path(__file__).parents[2]
WORK = ROOT / ".fuzz"
#: CPU seconds of one turn of a target.
TURN_SECONDS = 120
#: Bytes of an input at most; seconds that one may take.
LONGEST, SLOWEST = 8192, 10


@dataclass
class Account:
    """How much a target has been fuzzed on this machine.

    :ivar seconds: CPU time, without the time of starts
    :ivar executions: inputs that were run
    """

    seconds: float = 0.0
    executions: int = 0


class Ledger:
    """The accounts of all targets, in a JSON file.

    :param path: the file
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        stored = json.loads(path.read_text()) if path.exists() else {}
        self.accounts = {name: Account(**stored.get(name, {})) for name in NAMES}

    def least(self, names: list[str]) -> str:
        """Return the target with the least time among these."""
        return min(names, key=lambda name: self.accounts[name].seconds)

    def add(self, name: str, seconds: float, executions: int) -> None:
        """Record a turn."""
        account = self.accounts[name]
        account.seconds += seconds
        account.executions += executions
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".new")
        partial.write_text(json.dumps({name: asdict(account) for name, account in self.accounts.items()}, indent=1))
        os.replace(partial, self._path)


def executions_in(output: str) -> int:
    """Return the number of inputs that libFuzzer reports."""
    counts = re.findall(r"^stat::number_of_executed_units: (\d+)|^#(\d+)\t", output, re.MULTILINE)
    return max((int(first or second) for first, second in counts), default=0)


def fuzz(name: str, target: Target, seconds: float, work: Path = WORK) -> tuple[int, bool, str]:
    """Fuzz a target for some seconds of CPU time.

    :returns: the number of inputs, whether all succeeded, and the output of libFuzzer
    """
    found = work / name
    kept = corpus.FOLDER / name
    for folder in (found, kept):
        folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(target.samples):
        (found / f"sample-{number}").write_bytes(sample)
    options = [f"-max_len={LONGEST}", f"-timeout={SLOWEST}", "-print_final_stats=1"]
    options.append(f"-artifact_prefix={kept}/")
    if target.dictionary:
        dictionary = work / f"{name}.dict"
        dictionary.write_text("".join(f'"{_escaped(token)}"\n' for token in target.dictionary))
        options.append(f"-dict={dictionary}")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz.child",
            name,
            str(seconds),
            *options,
            f"-artifact_prefix={kept}/",
            found,
            kept,
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return executions_in(done.stdout), done.returncode == 0, done.stdout


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02X}" for byte in token)


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--minutes", type=float, default=60.0, help="of CPU time for all targets together; default: 60")
    parser.add_argument(
        "--turn", type=float, default=TURN_SECONDS, help=f"CPU seconds of a turn; default: {TURN_SECONDS}"
    )
    given = parser.parse_args(arguments)
    names = given.targets or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    targets = every()
    ledger = Ledger(WORK / "ledger.json")
    broken: list[str] = []
    left = given.minutes * 60
    try:
        while left > 0 and len(broken) < len(names):
            name = ledger.least([name for name in names if name not in broken])
            seconds = min(given.turn, left)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            executions, succeeded, output = fuzz(name, targets[name], seconds)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            # a target that breaks early has not used its turn
            seconds = min(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            left -= max(seconds, 1)
            ledger.add(name, seconds, executions)
            print(f"{name}: {executions:,} inputs in {seconds:.0f} s", flush=True)
            if not succeeded:
                broken.append(name)
                print(output[-4000:], flush=True)
    except KeyboardInterrupt:
        print("stopped; inputs found so far are kept")
    for name in names:
        found = [path.read_bytes() for path in (WORK / name).glob("*") if path.is_file()]
        if found:
            corpus.keep(name, targets[name].run, found)
    print(f"{'target':<20} {'seconds':>8} {'inputs run':>12} {'kept':>5}")
    for name in names:
        account = ledger.accounts[name]
        print(f"{name:<20} {account.seconds:>8.0f} {account.executions:>12,} {len(corpus.kept(name)):>5}")
    if broken:
        print(f"broken: {', '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
