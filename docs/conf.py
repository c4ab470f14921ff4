"""Sphinx configuration of the documentation site; ``scripts/site.sh`` builds it.

The source directory is the repository, so that README, CHANGELOG and the READMEs of bench/ and deploy/ are pages, and
so that each relative link works on the site as it does in the repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer

ROOT = Path(__file__).resolve().parents[1]

project = "IC WebSocket Gateway"
version = release = re.search(r'"(.*?)"', (ROOT / "icwsgw" / "_version.py").read_text())[1]  # type: ignore[index]
html_title = f"{project} {version}"

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["docs/**", "*.md", "bench/README.md", "examples/README.md", "examples/**/README.md", "changes/README.md", "deploy/README.md"]
myst_heading_anchors = 4

html_theme = "furo"
html_show_copyright = False
html_copy_source = False
html_extra_path = ["site"]



class CandidLexer(TextLexer):  # type: ignore[misc]
    """Candid is shown as it is: Pygments has no lexer for it."""

    name = "Candid"
    aliases = ("candid",)


class MotokoLexer(TextLexer):  # type: ignore[misc]
    """Motoko is shown as it is, too."""

    name = "Motoko"
    aliases = ("motoko",)


class MermaidLexer(TextLexer):  # type: ignore[misc]
    """Diagrams are shown as their source; GitHub draws them."""

    name = "Mermaid"
    aliases = ("mermaid",)


def setup(app: Any) -> None:
    """Register the lexers."""
    app.add_lexer("candid", CandidLexer)
    app.add_lexer("motoko", MotokoLexer)
    app.add_lexer("mermaid", MermaidLexer)
