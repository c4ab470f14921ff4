"""Links, paths and options of the documents that operators read beside the guide."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from icwsgw.devnet.command_line import Options as DevnetOptions
from icwsgw.tap import Options
from tests.support.guide import broken_links, prose
from tests.test_layering import ROOT

DOCUMENTS = [
    ROOT / "docs" / name
    for name in (
        *("features.md", "scaling.md", "options.md", "tracing.md", "reliability.md", "security.md", "build.md"),
        *("close-codes.md", "index.md", "log-rotation.md"),
    )
]
#: All that the documentation site has.
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    + [ROOT / folder / "README.md" for folder in ("bench", "changes", "deploy")]
)
OURS = {f"--{name.rstrip('=')}" for name in Options().longOpt}
DEVNET = {f"--{name.rstrip('=')}" for name in DevnetOptions().longOpt}


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(document: Path) -> None:
    assert broken_links(document) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_and_option_exists(document: Path) -> None:
    spans = re.findall(r"`([^`\n]+)`", prose(document.read_text()))
    named = {
        span.partition("::")[0] for span in spans if re.match(r"(?:deploy|docs|tests|scripts|bench|icwsgw)/\S*$", span)
    }
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    named = {word for span in spans for word in re.findall(r"^--[a-z][a-z-]*[a-z]\b(?!-)", span)}
    assert named - DEVNET <= OURS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_is_named_exists(document: Path) -> None:
    named = re.findall(r"`(tests/\S+?\.py)::(\S+?)`", prose(document.read_text()))
    assert [f"{path}::{name}" for path, name in named if name not in names_of(ROOT / path)] == []
    assert named or document.name != "security.md"


def names_of(path: Path) -> set[str]:
    """The tests of a file, those of a class as CLASS::TEST."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{method.name}" for method in node.body if isinstance(method, ast.FunctionDef)}
    return {name for name in found if name.rpartition("::")[2].startswith("test_")}


def test_each_row_on_security_names_its_tests_or_says_that_there_are_none() -> None:
    text = (ROOT / "docs" / "security.md").read_text().partition("\n## All of them at once\n")[0]
    rows = [row.split(" | ") for row in re.findall(r"^\| (.*) \|$", text, re.M)]
    assert len(rows) > 30
    for row in rows:
        assert len(row) == 4, row
        assert row[3] in ("test", "none") or row[3].startswith("`tests/"), row


def test_every_feature_is_described_or_tested() -> None:
    text = (ROOT / "docs" / "features.md").read_text()
    rows = [
        row.split(" | ") for row in re.findall(r"^\| (.*) \|$", text, re.M) if not row.startswith(("Rust gateway", "-"))
    ]
    assert len(rows) > 30
    for row in rows:
        assert len(row) in (2, 4), row
        assert len(row) == 2 or ("](" in "".join(row[1:3]) and "`tests/" in row[3]), row


def test_the_map_names_every_module() -> None:
    """In the row of its package, or with its path; a package without a row (``candid/``) stands for its modules."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = dict(re.findall(r"^\| `([\w/.]+)` \|(.*)\|$", page, re.M))
    missing = []
    for path in sorted((ROOT / "icwsgw").rglob("*.py")):
        place, name = path.parent.relative_to(ROOT / "icwsgw").as_posix() + "/", path.stem
        if name in ("__init__", "_version") or path.name in rows or f"`{place}{name}`" in page:
            continue
        named = re.findall(r"`([\w/*]+)`", rows.get(place, ""))
        parents = [] if place in rows else [f"{path.parent.name}/"]
        above = re.findall(r"`([\w/*]+)`", rows.get(f"{path.parent.parent.name}/", ""))
        shortened = any(word.endswith("*") and name.startswith(word[:-1]) for word in named)
        if name not in named and not shortened and not any(each in above for each in parents):
            missing.append(f"{place}{path.name}")
    assert missing == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    listed = set(re.findall(r"^(?:.*<)?([\w/.-]+?)>?$", index, re.M))
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if not page.startswith("decisions/0")} - listed == {"index"}
