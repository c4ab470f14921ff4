"""Fuzz the readers of bytes from outside, guided by coverage (needs the extra ``fuzz``: atheris).

    python -m tests.fuzz [TARGET ...] [--minutes 60] [--turn 120]

The minutes are of CPU time and shared: the target that has been fuzzed least is next, a turn at a time, over all runs
on this machine.
So a run may be stopped (^C) and another begun at any time; what was found so far is in ``.fuzz``. At the end, what
is worth keeping is put into ``tests/fuzz/corpus``. What breaks a target is put there at once, test_fuzz.py runs it from
then on, and the target is not fuzzed any more until that is mended. Exits with 1 if anything is broken.
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
#: CPU seconds in which a target is fuzzed before it is another's turn.
TURN_SECONDS = 120
#: Bytes of an input, seconds that one may take.
LONGEST, SLOWEST = 8192, 10


@dataclass
class Account:
    """How much a target has been fuzzed on this machine.

    :ivar seconds: CPU time, without that of starts
    :ivar executions: inputs that were run
    """

    seconds: float = 0.0
    executions: int = 0


class Ledger:
    """The accounts of all targets, in a file.

    :param path: of the file, JSON
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        said = json.loads(path.read_text()) if path.exists() else {}
        self.accounts = {name: Account(**said.get(name, {})) for name in NAMES}

    def least(self, names: list[str]) -> str:
        """The one of these targets that has been fuzzed least."""
        return min(names, key=lambda name: self.accounts[name].seconds)

    def add(self, name: str, seconds: float, executions: int) -> None:
        """Enter a turn."""
        account = self.accounts[name]
        account.seconds += seconds
        account.executions += executions
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".new")
        partial.write_text(json.dumps({name: asdict(account) for name, account in self.accounts.items()}, indent=1))
        os.replace(partial, self._path)


def executions_in(output: str) -> int:
    """How many inputs libFuzzer says that it ran."""
    said = re.findall(r"^stat::number_of_executed_units: (\d+)|^#(\d+)\t", output, re.MULTILINE)
    return max((int(first or second) for first, second in said), default=0)


def fuzz(name: str, target: Target, seconds: float, work: Path = WORK) -> tuple[int, bool, str]:
    """Fuzz a target for some seconds of CPU time.

    :returns: inputs that were run, whether all is well, and what libFuzzer said
    """
    found = work / name
    kept = corpus.FOLDER / name
    for folder in (found, kept):
        folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(target.samples):
        (found / f"sample-{number}").write_bytes(sample)
    options = [f"-max_len={LONGEST}", f"-timeout={SLOWEST}", "-print_final_stats=1"]
    options.append(f"-artifact_prefix={kept}/")
    if target.words:
        words = work / f"{name}.dict"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        options.append(f"-dict={words}")
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


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02X}" for byte in word)


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--minutes", type=float, default=60.0, help="for all of them together; default: 60")
    parser.add_argument(
        "--turn", type=float, default=TURN_SECONDS, help=f"seconds for one at a time; default: {TURN_SECONDS}"
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
            executions, well, said = fuzz(name, targets[name], seconds)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            # what breaks at once has not used its time
            seconds = min(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            left -= max(seconds, 1)
            ledger.add(name, seconds, executions)
            print(f"{name}: {executions:,} inputs in {seconds:.0f} s", flush=True)
            if not well:
                broken.append(name)
                print(said[-4000:], flush=True)
    except KeyboardInterrupt:
        print("stopped; what was found is kept all the same")
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
