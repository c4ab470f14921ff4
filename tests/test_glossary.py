"""docs/glossary.md: one term for one thing; retired words are gone; no two modules or classes share a name."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_layering import PACKAGE, ROOT

#: It reads sources and documents: nothing of the package runs.
pytestmark = [pytest.mark.no_cover, pytest.mark.once]

GLOSSARY = ROOT / "docs" / "glossary.md"
TERMS = GLOSSARY.read_text()

#: Words of an earlier vocabulary that name nothing any more, in no form.
RETIRED = "audience|deaf|farewell|foresight|hopeless|lifeline|obedience|only_forward|settle"
#: Everyday words that are fine in a sentence, but named modules, classes and attributes that have other names now.
RETIRED_NAMES = {"ahead", "repeats", "shares", "slice", "slices", "spread"}
#: The same, also as one of several words of a name.
RETIRED_PARTS = {"doubts", "patience", "whoever"}
#: Not even a variable or a parameter: it is a text, a reason, an event of the log, arguments, or parts of a line.
RETIRED_VARIABLES = {"words"}
#: twistd looks both up by this name.
SHARED = {"Options"}

FOLDERS = ("icwsgw", "tests", "bench", "scripts", "docs", "deploy", "twisted", "changes")
SUFFIXES = {".py", ".md", ".toml", ".patch", ".js", ".mjs", ".html", ".css", ".yml", ".service", ".1", ".did"}
#: The list of retired words, this list, and what fuzzers made.
EXCEPTIONS = (GLOSSARY, Path(__file__).resolve(), ROOT / "tests" / "fuzz" / "corpus")


def texts() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            skipped = "node_modules" in path.parts or any(path == one or one in path.parents for one in EXCEPTIONS)
            if path.suffix in SUFFIXES and path.is_file() and not skipped:
                yield path


def names(tree: ast.Module) -> Iterator[str]:
    """Names of classes, functions, constants of the module and attributes: what other code refers to."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_each_term_stands_once() -> None:
    terms = [term for row in re.findall(r"^\| (\*\*.*?) \|", TERMS, re.M) for term in re.findall(r"\*\*(.*?)\*\*", row)]
    assert len(terms) > 50
    assert sorted(terms) == sorted(set(terms))


def test_no_text_has_a_retired_word() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(RETIRED, line, re.I)
    ]
    assert found == []
    assert [path.relative_to(ROOT) for path in texts() if re.search(RETIRED, path.name, re.I)] == []


def test_no_name_is_a_retired_one() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in PACKAGE.rglob("*.py")
        for name in (path.stem, *names(ast.parse(path.read_text())))
        if name.strip("_").lower() in RETIRED_NAMES or RETIRED_PARTS.intersection(name.lower().split("_"))
    ]
    assert found == []


def test_no_variable_has_a_retired_name() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.arg) and node.arg in RETIRED_VARIABLES)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in RETIRED_VARIABLES)
    ]
    assert found == []


def test_no_two_modules_share_a_name() -> None:
    paths = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    packages = [path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    # a package and the module that it is named after, as in gateway/gateway.py, are one thing
    own = {path.stem for path in paths if path.stem == path.parent.name}
    counts = Counter([path.stem for path in paths] + [path.name for path in packages if path.name not in own])
    assert [name for name, count in counts.items() if count > 1] == []


def test_no_two_public_classes_share_a_name() -> None:
    counts = Counter(
        node.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, count in counts.items() if count > 1} == SHARED
