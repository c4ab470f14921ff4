"""docs/private-apis.md is complete: each private name of a library is listed there, with a test of its module."""

from __future__ import annotations

import ast
import re

import pytest

from tests.test_layering import PACKAGE, ROOT

#: It reads sources and documents: nothing of the package runs.
pytestmark = [pytest.mark.no_cover, pytest.mark.once]

LIBRARIES = ("twisted", "treq", "autobahn")
ROWS = re.findall(
    r"^\| `([\w/]+\.py)` \| (.*?) \| `(tests/\S+\.py)` \|", (ROOT / "docs" / "private-apis.md").read_text(), re.M
)
LISTED = {module: set(re.findall(r"\w+", names)) for module, names, _ in ROWS}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names() -> set[str]:
    """Every name that begins with an underscore and that this package defines itself."""
    own: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                own.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                own.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.id)
    # of the standard library: NamedTuple, Enum
    return own | {"_replace", "_asdict", "_value_"}


def used() -> dict[str, set[str]]:
    """The private names of libraries, by module: those that are imported, and attributes that nobody here defines."""
    own = own_names()
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        names: set[str] = set()
        tree = ast.parse(path.read_text())
        libraries = False
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(LIBRARIES):
                libraries = True
                names |= {part for part in node.module.split(".") if private(part)}
                names |= {alias.name for alias in node.names if private(alias.name)}
        for node in ast.walk(tree):
            if libraries and isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own:
                names.add(node.attr)
        if names:
            found[path.relative_to(PACKAGE).as_posix()] = names
    return found


def test_each_private_name_is_listed() -> None:
    missing = {module: names - LISTED.get(module, set()) for module, names in used().items()}
    assert {module: names for module, names in missing.items() if names} == {}


@pytest.mark.parametrize(("module", "names", "test"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_listed_is_used_and_tested(module: str, names: str, test: str) -> None:
    source = (PACKAGE / module).read_text()
    listed = {name for name in re.findall(r"\w+", names) if private(name)}
    assert names
    assert {name for name in listed if not re.search(rf"\b{name}\b", source)} == set()
    assert (ROOT / test).is_file()
