"""Parses a guide in Markdown: headings with anchors, links, commands with their output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)
_VERSION = re.compile(r"\d+\\\.\d+\\\.\d+")


class Command(NamedTuple):
    """A command of a ``console`` block, and the lines below it."""

    text: str
    printed: list[str]


def prose(document: str) -> str:
    """The document without its code blocks."""
    return _FENCE.sub("", document)


def anchors(document: str) -> list[str]:
    """The anchors that GitHub makes for the headings of a document."""
    headings = re.findall(r"^#{1,6} (.+)$", prose(document), re.M)
    return [re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in headings]


def links(document: str) -> list[tuple[str, str]]:
    """Links within the repository: path (empty for the document itself) and anchor (or empty)."""
    found = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)", prose(document))
    return [(path, anchor) for path, anchor in found]


def broken_links(file: Path) -> list[str]:
    """The links of a file whose target or anchor does not exist."""
    broken = []
    for path, anchor in links(file.read_text()):
        target = (file.parent / path) if path else file
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(f"{path}#{anchor}" if anchor else path)
    return broken


def commands(document: str, info: str) -> Iterator[Command]:
    """The commands of all blocks with this info string, in order."""
    for found, content in _FENCE.findall(document):
        if found.strip() != info:
            continue
        command: Command | None = None
        for line in content.splitlines():
            if line.startswith("$ "):
                if command is not None:
                    yield command
                command = Command(line[2:], [])
            else:
                assert command is not None, f"output before a command: {line}"
                command.printed.append(line)
        if command is not None:
            yield command


def missing_line(expected: list[str], printed: list[str]) -> str | None:
    """The first expected line that the output lacks, in this order; ``...`` matches anything, a version any version."""
    rest = iter(printed)
    for line in expected:
        pattern = _VERSION.sub(r"\\d+\\.\\d+\\.\\d+", re.escape(line).replace(re.escape("..."), ".*"))
        if not any(re.fullmatch(pattern, candidate) for candidate in rest):
            return line
    return None
