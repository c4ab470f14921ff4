"""docs/performance.md: its text and the README's table against its own tables."""

from __future__ import annotations

import re

from tests.test_layering import ROOT

PAGE = (ROOT / "docs" / "performance.md").read_text()
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text()
README = (ROOT / "README.md").read_text()


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.split("|")] for row in re.findall(r"^\| (.*) \|$", text, re.M)]


def numbers(text: str) -> list[float]:
    return [float(each.replace(",", "")) for each in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


def beside() -> list[list[str]]:
    return rows(PAGE.partition("## Beside the Rust gateway")[2].partition("\n## ")[0])[1:]


def test_ratios_are_about_what_the_figures_are() -> None:
    """Not exactly: a ratio is the median of pairs, the figures are medians of their own."""
    seen = 0
    for _, ours, original, ratio, _ in beside():
        for mine, its, stated in zip(numbers(ours), numbers(original), numbers(ratio), strict=False):
            assert abs(mine / its - stated) < 0.01 + 0.15 * stated, (ours, original, ratio)
            seen += 1
    assert seen > 15


def test_the_figures_of_the_readme_are_those_of_the_documents() -> None:
    table = README.partition("## Beside the Rust gateway")[2].partition("\n## ")[0]
    known = {number for row in beside() for cell in row[:3] for number in numbers(cell)}
    known |= set(numbers(RELIABILITY.partition("## Measured")[2]))
    # microseconds there, milliseconds here
    known |= {round(number / 1000, 1) for number in known}
    found = [number for _, ours, original in rows(table)[1:] for number in numbers(ours) + numbers(original)]
    assert len(found) > 8
    assert [number for number in found if number not in known] == []
