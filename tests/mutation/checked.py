"""Checks mutants that no test notices with mypy: a change that mypy refuses never reaches the tests."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mutation.mutants import Mutant

_ERROR = re.compile(r"(?P<file>[^:]+):(?P<line>\d+): error: (?P<text>.*)")


def refused(root: Path, file: Path, mutants: Sequence[Mutant], cache: Path) -> list[Mutant]:
    """Return those of a module's mutants that have a type error that their original does not have.

    Each is inserted next to its original under another name, all of them into one copy of the module.

    :param root: the directory of mypy's configuration
    :param file: the module
    :param mutants: of this module
    :param cache: the directory of mypy's cache
    """
    source = file.read_text()
    copies = [(_original(source, mutant), mutant) for mutant in mutants]
    text, places = _beside(source, [each for pair in copies for each in (pair[0], pair[1].source)], mutants)
    with TemporaryDirectory() as directory:
        shadow = Path(directory, file.name)
        shadow.write_text(text)
        run = subprocess.run(
            [
                *(sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", "--cache-dir", str(cache)),
                *("--shadow-file", str(file), str(shadow), str(file)),
            ],
            cwd=root,
            capture_output=True,
            text=True,
        )
    if run.returncode not in (0, 1) or run.stderr:
        raise RuntimeError(f"mypy: {run.stderr or run.stdout}")
    errors: dict[int, set[str]] = {}
    for line in run.stdout.splitlines():
        found = _ERROR.fullmatch(line)
        if found is not None and Path(found["file"]).name == file.name:
            errors.setdefault(int(found["line"]), set()).add(re.sub(r"__copy_\d+", "", found["text"]))
    if set(errors) - {line for place in places for line in place}:
        raise RuntimeError(f"mypy finds errors outside of the changed functions:\n{run.stdout}")

    def of(place: range) -> set[str]:
        return {text for line in place for text in errors.get(line, ())}

    return [
        mutant
        for mutant, before, after in zip(mutants, places[::2], places[1::2], strict=True)
        if of(after) - of(before)
    ]


def _original(source: str, mutant: Mutant) -> str:
    """Return the original function in the form that the mutant has."""
    owner, _, name = mutant.function.rpartition(".")
    lines = source.splitlines()
    body: Sequence[ast.stmt] = ast.parse(source).body
    if owner:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == owner)
    node = next(
        each for each in body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)) and each.name == name
    )
    text = "\n".join(lines[node.lineno - 1 : node.end_lineno]) + "\n"
    return f"class {owner}:\n{text}" if owner else text


def _beside(source: str, copies: Sequence[str], mutants: Sequence[Mutant]) -> tuple[str, list[range]]:
    """Return the source with each copy inserted after its function, and the lines of each copy."""
    lines = source.splitlines()
    ends = {node.name: node.end_lineno for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    behind: dict[int, list[int]] = {}
    for number in range(len(copies)):
        owner = mutants[number // 2].function.rpartition(".")[0]
        behind.setdefault(ends.get(owner) or len(lines), []).append(number)
    text: list[str] = []
    places: dict[int, range] = {}
    for number, line in enumerate(lines, 1):
        text.append(line)
        for copy in behind.get(number, ()):
            owner, _, name = mutants[copy // 2].function.rpartition(".")
            own = copies[copy].rstrip("\n").split("\n")[1 if owner else 0 :]
            renamed = re.sub(rf"\bdef {name}\(", f"def {name.strip('_')}__copy_{copy}(", "\n".join(own), count=1)
            text.append("")
            places[copy] = range(len(text) + 1, len(text) + len(own) + 1)
            text += renamed.split("\n")
    return "\n".join(text) + "\n", [places[number] for number in range(len(copies))]
