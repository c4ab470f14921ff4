"""The programs that documents show are files of the repository, each run by a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.scripts import load_script
from tests.test_layering import ROOT

doc_blocks = load_script("doc_blocks")
DOCUMENTS, blocks, filled = doc_blocks.DOCUMENTS, doc_blocks.blocks, doc_blocks.filled

#: Languages of programs. A block of one of them shows a file, or is named below with what runs it.
PROGRAMS = {"python", "js", "html", "rust", "motoko", "json5"}
#: How blocks begin that are no files: whole programs would be too much for what they show.
EXCERPTS = (
    # options of a socket, which the client's own tests pass
    'new CanisterSocket({ gateway: ["wss://one',
    # tests/client/test_twisted_client.py
    "from icwsgw.client.twisted_client import",
)
FENCED = re.compile(r"^(<!-- [^\n]* -->\n)?```(\w+)\n(.*?)^```$", re.M | re.S)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_it_shows_files_as_they_are(document: Path) -> None:
    text = document.read_text()
    assert filled(text) == text, "run python scripts/doc_blocks.py"
    for block in blocks(text):
        assert block.content in (ROOT / block.path).read_text(), block.path
        assert block.content.strip(), block.path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_program_is_a_file(document: Path) -> None:
    loose = [
        content
        for marker, language, content in FENCED.findall(document.read_text())
        if language in PROGRAMS and not marker and not content.startswith(EXCERPTS)
    ]
    assert loose == []


def test_each_example_is_shown_or_has_a_readme() -> None:
    shown = {block.path for document in DOCUMENTS for block in blocks(document.read_text())}
    tracked = [path for path in (ROOT / "examples").rglob("*") if path.suffix in {".py", ".mjs", ".js", ".html", ".mo"}]
    alone = [
        path.relative_to(ROOT).as_posix()
        for path in tracked
        if not {"target", "node_modules", "__pycache__"} & set(path.parts)
        and path.relative_to(ROOT).as_posix() not in shown
        and not (path.parent / "README.md").exists()
    ]
    assert alone == []
