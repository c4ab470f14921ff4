"""Records about mutants: the results of all runs, and the survivors that are equivalent to the original."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutation.mutants import Mutant

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EQUIVALENT = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True)
class Result:
    """The result of one mutant."""

    module: str
    function: str
    change: str
    digest: str
    tests: str  # a digest of the tests; a survivor is judged again when they have changed
    status: str  # killed, timeout, types, survived, uncovered
    by: str  # the test that noticed it
    seconds: float

    @property
    def key(self) -> tuple[str, str, str]:
        """The key of the mutant."""
        return self.module, self.function, self.change

    @property
    def noticed(self) -> bool:
        """Whether a test failed because of the mutant, or did not end, or mypy refuses it."""
        return self.status in ("killed", "timeout", "types")


class Results:
    """The results of a package, in a file to which each one is appended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_key: dict[tuple[str, str, str], Result] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    result = Result(**json.loads(line))
                except (ValueError, TypeError):
                    # the last line of an interrupted run
                    continue
                self._by_key[result.key] = result

    def add(self, result: Result) -> None:
        """Store a result, on disk too."""
        self._by_key[result.key] = result
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")

    def of(self, mutant: Mutant) -> Result | None:
        """Return the result of a mutant, if there is one for the present source of its function."""
        result = self._by_key.get(mutant.key)
        return result if result is not None and result.digest == mutant.digest else None

    def is_due(self, mutant: Mutant, tests: str) -> bool:
        """Whether a mutant has to be judged: a killed one stays killed while its function is unchanged."""
        result = self.of(mutant)
        return result is None or (not result.noticed and result.tests != tests)


def equivalents(path: Path = EQUIVALENT) -> dict[tuple[str, str, str], str]:
    """Return the mutants that are listed as equivalent to the original, each with the reason.

    The file has a table for each module, in it a table for each function, in it the changes with their reasons.

    :raises ValueError: a mutant without a reason
    """
    judged: dict[tuple[str, str, str], str] = {}
    for module, functions in tomllib.loads(path.read_text()).items():
        for function, changes in functions.items():
            for change, reason in changes.items():
                if not isinstance(reason, str) or len(reason) < 10:
                    raise ValueError(f"{module} {function} {change}: no reason")
                judged[module, function, change] = reason
    return judged


@dataclass(frozen=True)
class Figures:
    """The figures of a package or a module."""

    killed: int
    survived: int
    equivalent: int

    @property
    def counted(self) -> int:
        """The number of mutants that tests could notice."""
        return self.killed + self.survived

    @property
    def share(self) -> float:
        """The share of them that tests noticed, 0 to 1."""
        return self.killed / self.counted if self.counted else 1.0

    def interval(self) -> tuple[float, float]:
        """Return the 95 % confidence interval of the share, if these mutants are a sample (Wilson's interval)."""
        n, z = self.counted, 1.959964
        if not n:
            return 0.0, 1.0
        middle = (self.share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(self.share * (1 - self.share) / n + z * z / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)


def figures(mutants: Iterable[Mutant], results: Results, judged: dict[tuple[str, str, str], str]) -> Figures:
    """Return the figures of these mutants; mutants without a result do not count."""
    count: Counter[str] = Counter()
    for mutant in mutants:
        result = results.of(mutant)
        if result is None:
            continue
        if result.noticed:
            count["killed"] += 1
        else:
            count["equivalent" if mutant.key in judged else "survived"] += 1
    return Figures(count["killed"], count["survived"], count["equivalent"])
