"""Writes the files that documents show into their blocks of code: ``python scripts/doc_blocks.py``.

A block belongs to a file if the line before it is ``<!-- PATH -->``. With ``<!-- part of PATH -->`` it stays as it is
and has to be a part of the file. tests/test_doc_blocks.py says when a document is stale.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
#: Documents with such blocks.
DOCUMENTS = sorted(
    [
        ROOT / "README.md",
        ROOT / "docs" / "python-client.md",
        *(ROOT / "docs" / "build").glob("*.md"),
        ROOT / "docs" / "python-ic.md",
    ]
)
_BLOCK = re.compile(r"^<!-- (part of )?(\S+) -->\n(```+)(\w*)\n(.*?)^\3$", re.M | re.S)


class Block(NamedTuple):
    """A block of code that shows a file.

    :ivar path: the file, from the root of the repository
    :ivar whole: whether it shows all of it
    :ivar language: of the block
    :ivar content: what the document shows
    """

    path: str
    whole: bool
    language: str
    content: str


def blocks(text: str) -> list[Block]:
    """Return the blocks of a document that show files."""
    return [Block(path, not part, language, content) for part, path, _, language, content in _BLOCK.findall(text)]


def filled(text: str) -> str:
    """Return a document with its whole blocks as the files are."""

    def block(found: re.Match[str]) -> str:
        part, path, fence, language, content = found.groups()
        if not part:
            content = (ROOT / path).read_text(encoding="utf-8")
        return f"<!-- {part or ''}{path} -->\n{fence}{language}\n{content}{fence}"

    return _BLOCK.sub(block, text)


def main() -> None:
    """Rewrite the documents."""
    for document in DOCUMENTS:
        document.write_text(filled(document.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
