"""Planted errors as files: a reason, then a unified diff of one module."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PACKAGES = ("core", "gateway", "agent", "server")
#: Lines before and after a change: few, so that a change nearby leaves the patch as it is.
CONTEXT = 2

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")


class DoesNotApply(Exception):
    """The text that a patch replaces is not there, or is there more than once."""


@dataclass(frozen=True)
class Hunk:
    """One place that is changed.

    :ivar line: where it was, from 1; identifies one of several equal places
    :ivar old: the lines that have to be there
    :ivar new: the lines that take their place
    """

    line: int
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class Planted:
    """One error.

    :ivar name: package and name, for example ``core/one-flow-first``
    :ivar reason: what is wrong, and whom it costs what
    :ivar path: the module, relative to the root of the tree
    """

    name: str
    reason: str
    path: str
    hunks: tuple[Hunk, ...]

    def apply(self, text: str) -> str:
        """Give the module's text with the error in it.

        :raises DoesNotApply: the module has changed where the error is
        """
        lines = text.splitlines()
        # from the end, so that the numbers of the lines before stay right
        for hunk in reversed(self.hunks):
            at, size, new = _find(lines, hunk)
            lines[at : at + size] = new
        return "\n".join(lines) + "\n"

    def planted_in(self, root: Path) -> str:
        """Give the text of the module in a tree, with the error in it.

        :raises DoesNotApply: as :meth:`apply`, or there is no such module
        """
        module = root / self.path
        if not module.is_file():
            raise DoesNotApply(f"there is no {self.path}")
        return self.apply(module.read_text(encoding="utf-8"))


def _find(lines: list[str], hunk: Hunk) -> tuple[int, int, tuple[str, ...]]:
    """Give where a hunk applies, how many lines it replaces there, and with what.

    Where the lines around the change have changed, fewer of them have to fit, as long as there is one such place.
    """
    old, new = hunk.old, hunk.new
    above = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), len(new))
    below = next((at for at, (one, other) in enumerate(zip(old[::-1], new[::-1], strict=False)) if one != other), 0)
    for dropped in range(CONTEXT + 1):
        for top in range(dropped + 1):
            bottom = dropped - top
            if top > above or bottom > below or top + bottom >= len(old):
                continue
            part = old[top : len(old) - bottom]
            places = [at for at in range(len(lines) - len(part) + 1) if tuple(lines[at : at + len(part)]) == part]
            if len(places) == 1:
                return places[0], len(part), new[top : len(new) - bottom]
            if len(places) > 1 and not dropped:
                raise DoesNotApply(f"the lines at {hunk.line} are there {len(places)} times")
    raise DoesNotApply(f"the lines at {hunk.line} are not there")


def read(path: Path) -> Planted:
    """Read a patch.

    :raises ValueError: it is none
    """
    head, mark, diff = path.read_text(encoding="utf-8").partition("--- a/")
    first, _, rest = diff.partition("\n")
    to, _, body = rest.partition("\n")
    if not mark or to != f"+++ b/{first}":
        raise ValueError(f"{path}: a reason, then the diff of one module")
    hunks: list[Hunk] = []
    old: list[str] = []
    new: list[str] = []
    line = 0
    for text in body.splitlines():
        if match := _HUNK.match(text):
            if line:
                hunks.append(Hunk(line, tuple(old), tuple(new)))
            line, old, new = int(match[1]), [], []
            continue
        mark, text = text[:1] or " ", text[1:]
        if mark not in " +-" or not line:
            raise ValueError(f"{path}: a line that is none of a diff")
        if mark != "+":
            old.append(text)
        if mark != "-":
            new.append(text)
    if not line:
        raise ValueError(f"{path}: it changes nothing")
    hunks.append(Hunk(line, tuple(old), tuple(new)))
    name = path.relative_to(HERE).with_suffix("").as_posix() if path.is_relative_to(HERE) else path.stem
    return Planted(name, " ".join(head.split()), first, tuple(hunks))


def all_patches() -> Iterator[Planted]:
    """Read all of them, by package and name."""
    for package in PACKAGES:
        for path in sorted((HERE / package).glob("*.patch")):
            yield read(path)


def make(reason: str, path: str, before: str, after: str) -> str:
    """Make the text of a patch.

    Lines around a change are added until the place can be distinguished from all others in the module.

    :param path: the module, relative to the root of the tree
    :raises ValueError: nothing differs
    """
    old, new = before.splitlines(), after.splitlines()
    if old == new:
        raise ValueError("nothing differs")
    parts = [f"{reason.strip()}\n\n--- a/{path}\n+++ b/{path}\n"]
    shift = 0
    for above, below, start, end, begin, stop in _places(old, new):
        size = (start - above) + (stop - begin) + (below - end)
        parts.append(f"@@ -{above + 1},{below - above} +{above + 1 + shift},{size} @@\n")
        parts += [f" {line}\n" for line in old[above:start]]
        parts += [f"-{line}\n" for line in old[start:end]]
        parts += [f"+{line}\n" for line in new[begin:stop]]
        parts += [f" {line}\n" for line in old[end:below]]
        shift += (stop - begin) - (end - start)
    return "".join(parts)


def _places(old: list[str], new: list[str]) -> list[tuple[int, int, int, int, int, int]]:
    """Give the places that differ with the lines around them; those that would overlap are one."""
    places: list[tuple[int, int, int, int, int, int]] = []
    for kind, start, end, begin, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        above, below = _around(old, start, end)
        while places and above <= places[-1][1]:
            _, _, start, _, begin, _ = places.pop()
            above, below = _around(old, start, end)
        places.append((above, below, start, end, begin, stop))
    return places


def _around(old: list[str], start: int, end: int) -> tuple[int, int]:
    above, below = max(0, start - CONTEXT), min(len(old), end + CONTEXT)
    while sum(old[at : at + below - above] == old[above:below] for at in range(len(old))) > 1:
        above, below = max(0, above - 1), min(len(old), below + 1)
    return above, below
