"""The command for mutation testing: the mutants that it makes, their exchange in the process, the records."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("mutmut", reason="needs the extra: mutation")

from tests.mutation.__main__ import dotted, sources
from tests.mutation.checked import refused
from tests.mutation.exchange import exchange
from tests.mutation.mutants import Mutant, mutants_of, only_functions, selected
from tests.mutation.records import Figures, Result, Results, equivalents, figures

#: Coverage is that of icwsgw, none of which runs here, and would double the time.
pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''\
from __future__ import annotations

from functools import lru_cache

LIMIT = 3


class Base:
    def name(self) -> str:
        return "base"


class Counter(Base):
    __slots__ = ("__count", "_log")

    def __init__(self, log) -> None:
        self.__count = 0
        self._log = log

    def add(self, step: int = 2) -> int:
        """Add."""
        if self.__count > LIMIT:
            self.reset()
        self.__count += step
        self._log.info("it has grown", by=step)
        return self.__count

    def reset(self) -> None:
        self.__count = 0

    @property
    def full(self) -> bool:
        return self.__count >= LIMIT

    @classmethod
    def made(cls) -> Counter:
        return cls(None)

    def name(self) -> str:
        return super().name() + "!"


@lru_cache(maxsize=8)
def twice(number: int) -> int:
    return number * 2


def refuse(word):
    if word:
        raise ValueError("words are not wanted")
    return word == "key"
'''


def changes(function: str) -> list[str]:
    return [mutant.change for mutant in mutants_of("planted", SOURCE) if mutant.function == function]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("planted")
    module.__file__ = "planted.py"
    monkeypatch.setitem(sys.modules, "planted", module)
    exec(compile(SOURCE, "planted.py", "exec", dont_inherit=True), vars(module))
    return module


def mutant(function: str, part: str) -> Mutant:
    found = [each for each in mutants_of("planted", SOURCE) if each.function == function and part in each.change]
    assert len(found) == 1, [each.change for each in found]
    return found[0]


def test_operators_of_mutmut_and_our_own() -> None:
    made = changes("Counter.add")
    assert "if self.__count > LIMIT: | > LIMIT -> >= LIMIT" in made
    assert any("-> self.__count = step" in c for c in made)
    assert "self.reset() -> pass" in made
    assert any(change.endswith("| 2 -> 3") for change in made)
    assert any(change.endswith("return self.__count -> return None") for change in made)


def test_messages_for_people_are_not_mutated() -> None:
    assert not [change for change in changes("Counter.add") if "_log" in change]
    assert not [change for change in changes("refuse") if "ValueError" in change]
    assert any('"key" -> "XXkeyXX"' in change for change in changes("refuse"))


def test_conditions_without_an_operator_are_negated() -> None:
    assert any("if not (word): pass" in change for change in changes("refuse"))


def test_properties_class_methods_and_cached_functions_have_mutants() -> None:
    assert changes("Counter.full")
    assert changes("Counter.made")
    assert changes("twice")


def test_a_mutants_key_does_not_depend_on_line_numbers() -> None:
    before = {each.key for each in mutants_of("planted", SOURCE)}
    after = mutants_of("planted", SOURCE.replace("LIMIT = 3", "# more\n\nLIMIT = 3"))
    assert {each.key for each in after} == before
    assert len(after) == len(before)


def test_the_digest_is_that_of_the_function() -> None:
    changed = mutants_of("planted", SOURCE.replace("return number * 2", "return 2 * number"))
    before = {each.function: each.digest for each in mutants_of("planted", SOURCE)}
    assert {each.function for each in changed if each.digest != before[each.function]} == {"twice"}


def test_lines_are_those_of_the_statement() -> None:
    lines = SOURCE.splitlines()
    condition = mutant("Counter.add", "> LIMIT -> ")
    assert [lines[number - 1].strip() for number in condition.lines] == ["if self.__count > LIMIT:"]
    default = mutant("Counter.add", "| 2 -> 3")
    assert "self.__count += step" in [lines[number - 1].strip() for number in default.lines]


def test_references_to_the_function_call_the_mutant(planted: ModuleType) -> None:
    counter = planted.Counter(_Log())
    held = counter.add
    exchange(mutant("Counter.add", "| 2 -> 3"))
    assert held() == 3


def test_mangled_names_properties_and_super(planted: ModuleType) -> None:
    counter = planted.Counter(_Log())
    counter.add(3)
    assert counter.full
    exchange(mutant("Counter.full", ">= LIMIT -> > LIMIT"))
    assert not counter.full
    exchange(mutant("Counter.name", "XX!XX"))
    assert counter.name() == "baseXX!XX"
    exchange(mutant("Counter.name", "-> return None"))
    assert planted.Counter(_Log()).name() is None


def test_the_cache_of_a_cached_function_is_emptied(planted: ModuleType) -> None:
    assert planted.twice(3) == 6
    exchange(mutant("twice", "| 2 -> 3"))
    assert planted.twice(3) == 9


def test_every_mutant_of_the_source_can_be_made(planted: ModuleType) -> None:
    for each in mutants_of("planted", SOURCE):
        exchange(each)


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    made = mutants_of("planted", SOURCE)
    assert selected(made, 5, 1) == selected(made, 5, 1)
    assert selected(made, 5, 1) != selected(made, 5, 2)
    assert len(set(selected(made, 5, 1))) == 5
    assert selected(made, 500, 1) == selected(made, None, 1) == made
    # new and changed mutants replace only a few
    changed = mutants_of("planted", SOURCE.replace("return number * 2", "return number * 2 + 0"))
    before, after = ({each.key for each in selected(of, 20, 1)} for of in (made, changed))
    assert len(before & after) >= 15


def result(of: Mutant, status: str, tests: str = "t") -> Result:
    return Result(*of.key, of.digest, tests, status, "", 0.1)


def test_a_killed_mutant_is_not_judged_again_while_its_function_is_unchanged(tmp_path: Path) -> None:
    killed, survived, unknown, *_ = mutants_of("planted", SOURCE)
    results = Results(tmp_path / "results")
    results.add(result(killed, "killed"))
    results.add(result(survived, "survived"))
    again = Results(tmp_path / "results")
    assert not again.is_due(killed, "other tests")
    assert not again.is_due(survived, "t")
    assert again.is_due(survived, "other tests")
    assert again.is_due(unknown, "t")
    changed = mutants_of("planted", SOURCE.replace('"base"', '"base"  # another'))
    assert again.is_due(next(each for each in changed if each.key[1] == killed.function), "t")


def test_an_interrupted_run_loses_one_result(tmp_path: Path) -> None:
    first, second, *_ = mutants_of("planted", SOURCE)
    results = Results(tmp_path / "results")
    results.add(result(first, "killed"))
    results.add(result(second, "killed"))
    whole = (tmp_path / "results").read_text()
    (tmp_path / "results").write_text(whole[:-20])
    again = Results(tmp_path / "results")
    assert not again.is_due(first, "t")
    assert again.is_due(second, "t")


def test_figures_do_not_count_equivalent_mutants(tmp_path: Path) -> None:
    made = mutants_of("planted", SOURCE)
    results = Results(tmp_path / "results")
    for each, status in zip(made, ["killed", "timeout", "survived", "uncovered", "survived"], strict=False):
        results.add(result(each, status))
    count = figures(made, results, {made[2].key: "it means the same"})
    assert count == Figures(killed=2, survived=2, equivalent=1)
    assert count.share == 0.5


def test_the_interval_is_wilsons() -> None:
    # the example of the binomial proportion confidence interval with 90 of 100
    low, high = Figures(90, 10, 0).interval()
    assert low == pytest.approx(0.8256, abs=1e-4)
    assert high == pytest.approx(0.9448, abs=1e-4)


def test_each_equivalent_mutant_has_a_reason_and_still_exists() -> None:
    judged = equivalents()
    gone = []
    for module in sorted({key[0] for key in judged}):
        file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        named = {key[1] for key in judged if key[0] == module}
        source = only_functions(file.read_text(), named) if file.exists() else ""
        there = {each.key for each in mutants_of(module, source)}
        gone += [key for key in judged if key[0] == module and key not in there]
    assert gone == []


@pytest.mark.parametrize(
    "functions", [{"twice"}, {"Counter.full", "Counter.name"}, {"Base.name", "refuse"}, {"Counter.absent"}]
)
def test_a_source_with_some_of_its_functions_has_the_same_mutants_of_them(functions: set[str]) -> None:
    made = [each for each in mutants_of("planted", SOURCE) if each.function in functions]
    alone = mutants_of("planted", only_functions(SOURCE, functions))
    assert [(each.key, each.lines) for each in alone] == [(each.key, each.lines) for each in made]
    assert len(only_functions(SOURCE, functions).splitlines()) == len(SOURCE.splitlines())


def test_an_equivalent_mutant_without_a_reason_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text('["icwsgw.core.x"."f"]\n"1 -> 2" = ""\n')
    with pytest.raises(ValueError, match="no reason"):
        equivalents(tmp_path / "e.toml")


def test_mypy_refuses_mutants_of_another_type(tmp_path: Path) -> None:
    file = tmp_path / "typed.py"
    file.write_text(
        "class Held:\n"
        "    def __init__(self) -> None:\n"
        "        self.since: float = 0.0\n"
        "        self.other = 1\n"
        "\n"
        "    @property\n"
        "    def doubled(self) -> float:\n"
        "        return self.since * 2\n"
        "\n"
        "\n"
        "def first(words: list[str]) -> str:\n"
        "    return words[0]\n"
    )
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n")
    made = mutants_of("typed", file.read_text())
    wrong = {each.change for each in refused(tmp_path, file, made, tmp_path / "cache")}
    assert wrong == {
        "self.since: float = 0.0 -> self.since: float = None",
        "self.other = 1 -> self.other = None",
        "return self.since * 2 -> return None",
        "return words[0] -> return None",
    } & {each.change for each in made}
    assert len(wrong) >= 3


def test_names_of_packages_and_modules() -> None:
    package, files = sources("icwsgw/core/fair_queue.py")
    assert (package, [dotted(file) for file in files]) == ("core", ["icwsgw.core.fair_queue"])
    assert sources("core/fair_queue") == sources("icwsgw.core.fair_queue")
    assert len(sources("ic")[1]) > 20
    with pytest.raises(SystemExit):
        sources("devnet")
    with pytest.raises(SystemExit):
        sources("core/nothing")


def test_the_command_finds_tested_and_untested_mutants(tmp_path: Path) -> None:
    (tmp_path / "icwsgw" / "core").mkdir(parents=True)
    (tmp_path / "tests" / "core").mkdir(parents=True)
    (tmp_path / "icwsgw" / "__init__.py").touch()
    (tmp_path / "icwsgw" / "core" / "__init__.py").touch()
    (tmp_path / "icwsgw" / "core" / "small.py").write_text(
        "def larger(a, b):\n    return a if a > b else b\n\n\ndef unused():\n    return 1\n"
        "\n\ndef endless(n):\n    while n > 0:\n        n -= 1\n    return n\n"
    )
    (tmp_path / "tests" / "__init__.py").touch()
    (tmp_path / "tests" / "mutation").symlink_to(ROOT / "tests" / "mutation")
    (tmp_path / "tests" / "core" / "test_small.py").write_text(
        "import subprocess\nimport pytest\n\n"
        "from icwsgw.core.small import endless, larger\n\n\n"
        "@pytest.fixture\ndef program():\n"
        "    with subprocess.Popen(['sleep', '600']) as running, open('started', 'a') as started:\n"
        "        print(running.pid, file=started, flush=True)\n"
        "        yield running\n"
        "        running.kill()\n\n\n"
        "def test_larger():\n    assert larger(1, 2) == 2\n    assert larger(2, 1) == 2\n\n\n"
        "def test_endless(program):\n    assert endless(3) == 0\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", _COMMAND, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    survivors = [line for line in run.stdout.splitlines() if line.startswith("icwsgw.core.small:")]
    assert {line.split(": ", 1)[1] for line in survivors} == {
        "return a if a > b else b | > b -> >= b  [survived]",
        "return 1 -> return None  [uncovered]",
        "return 1 | 1 -> 2  [uncovered]",
    }
    started = (tmp_path / "started").read_text().split()
    assert len(started) > 2
    assert not [pid for pid in started if Path("/proc", pid, "cmdline").exists() and "sleep" in _command(pid)]


_COMMAND = """
import sys
from pathlib import Path
import tests.mutation.__main__ as command
command.ROOT = Path(sys.argv[1])
command.KEPT = command.ROOT / ".mutation"
sys.argv[1:] = ["core"]
command.main()
"""


def _command(pid: str) -> str:
    return Path("/proc", pid, "cmdline").read_bytes().decode()


class _Log:
    def info(self, *words: object, **fields: object) -> None:
        pass
