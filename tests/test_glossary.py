"""docs/glossary.md: one term for one thing."""

from __future__ import annotations

import re

from tests.test_layering import ROOT

TERMS = (ROOT / "docs" / "glossary.md").read_text()


def test_each_term_stands_once() -> None:
    terms = [term for row in re.findall(r"^\| (\*\*.*?) \|", TERMS, re.M) for term in re.findall(r"\*\*(.*?)\*\*", row)]
    assert len(terms) > 50
    assert sorted(terms) == sorted(set(terms))
