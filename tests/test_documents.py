"""Links, paths and options of the documents that operators read beside the guide."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from icwsgw.tap import Options
from tests.support.guide import broken_links, prose
from tests.test_layering import ROOT

DOCUMENTS = [
    ROOT / "docs" / name for name in ("features.md", "scaling.md", "options.md", "tracing.md", "reliability.md")
]
OURS = {f"--{name.rstrip('=')}" for name in Options().longOpt}


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "README.md"], ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    assert broken_links(document) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_and_option_exists(document: Path) -> None:
    spans = re.findall(r"`([^`\n]+)`", prose(document.read_text()))
    named = {span for span in spans if re.match(r"(?:deploy|docs|tests|scripts|bench|icwsgw)/\S*$", span)}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    assert {word for span in spans for word in re.findall(r"^--[a-z][a-z-]*[a-z]\b(?!-)", span)} <= OURS


def test_every_feature_is_described_or_tested() -> None:
    text = (ROOT / "docs" / "features.md").read_text()
    rows = [
        row.split(" | ") for row in re.findall(r"^\| (.*) \|$", text, re.M) if not row.startswith(("the original", "-"))
    ]
    assert len(rows) > 30
    for row in rows:
        assert len(row) in (2, 4), row
        assert len(row) == 2 or ("](" in "".join(row[1:3]) and "`tests/" in row[3]), row
