"""docs/glossary.md against the code: each planned rename names an identifier that exists and is free afterwards."""

from __future__ import annotations

import re

import pytest

from tests.test_layering import PACKAGE, ROOT

DOCUMENT = (ROOT / "docs" / "glossary.md").read_text()
TERMS, _, PLAN = DOCUMENT.partition("\n## Renames\n")
ROWS = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(\S+\.py)` \| (?:`(\S+\.py)`|=) \|$", PLAN, re.M)


def test_the_plan_is_read_whole() -> None:
    rows = [line for line in PLAN.splitlines() if line.startswith("| `")]
    assert len(rows) == len(ROWS)


@pytest.mark.parametrize(("old", "new", "module", "_target"), ROWS, ids=[f"{row[2]}-{row[0]}" for row in ROWS])
def test_a_planned_rename_is_still_to_be_done(old: str, new: str, module: str, _target: str) -> None:
    source = (PACKAGE / module).read_text()
    assert re.search(rf"\b{old}\b", source), "renamed: take the row out of docs/glossary.md"
    assert old == new or not re.search(rf"^\s*(?:class|def|async def) {new}\b", source, re.M), f"{new} is taken"


def test_new_names_of_classes_are_unique() -> None:
    renamed = [new for old, new, _, _ in ROWS if new[0].isupper() and old != new]
    assert sorted(renamed) == sorted(set(renamed))
    sources = (path.read_text() for path in PACKAGE.rglob("*.py"))
    existing = {name for source in sources for name in re.findall(r"^class (\w+)", source, re.M)}
    assert existing & set(renamed) == {old for old, _, _, _ in ROWS} & set(renamed)


def test_each_term_stands_once() -> None:
    terms = [term for row in re.findall(r"^\| (\*\*.*?) \|", TERMS, re.M) for term in re.findall(r"\*\*(.*?)\*\*", row)]
    assert len(terms) > 50
    assert sorted(terms) == sorted(set(terms))
