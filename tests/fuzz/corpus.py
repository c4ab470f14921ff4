"""The corpus: the inputs in ``corpus``, a folder for each target, and the choice among many inputs.

The corpus has the smallest input for each step from one line of the gateway's code to another. Other coverage that the
fuzzer counts (how often, which comparison nearly held) is only in its own folder, with hundreds of files for each
target, which the next run on the same machine uses.

Files that begin with ``crash-``, ``timeout-`` or ``oom-`` once broke a target. They are never removed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from hashlib import sha1
from pathlib import Path
from types import FrameType
from typing import Any

FOLDER = Path(__file__).parent / "corpus"
#: Files for each target at most, and bytes of each.
MOST_FILES = 40
MOST_BYTES = 4096
BROKE = ("crash-", "timeout-", "oom-")

_SOURCES = str(Path(__file__).parents[2] / "icwsgw")

#: A step from one line of a function to another: file, the line before, the line.
Step = tuple[str, int, int]


def kept(name: str, folder: Path = FOLDER) -> list[Path]:
    """Return the corpus files of a target, sorted."""
    return sorted(path for path in (folder / name).glob("*") if path.is_file())


def broke_something(path: Path) -> bool:
    """Whether a file has an input that once broke a target."""
    return path.name.startswith(BROKE)


def steps_of(run: Callable[[bytes], None], data: bytes) -> frozenset[Step] | None:
    """Return the steps through the gateway's code that an input covers; None if it breaks the target."""
    steps: set[Step] = set()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(_SOURCES):
            return None
        last = 0

        def go(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                steps.add((file, last, frame.f_lineno))
                last = frame.f_lineno
            return go

        return go

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        run(data)
    except Exception:
        return None
    finally:
        sys.settrace(before)
    return frozenset(steps)


def worth_keeping(run: Callable[[bytes], None], inputs: Iterable[bytes], most: int = MOST_FILES) -> list[bytes]:
    """Choose inputs that together cover every step that any of them covers, the smallest first.

    :param most: at most so many inputs; if there are more, those that add the most steps
    """
    chosen: list[tuple[bytes, frozenset[Step]]] = []
    seen: set[Step] = set()
    for data in sorted({data for data in inputs if len(data) <= MOST_BYTES}, key=lambda data: (len(data), data)):
        steps = steps_of(run, data)
        if steps is not None and not steps <= seen:
            seen |= steps
            chosen.append((data, steps))
    # a later input may cover all steps of earlier ones
    needed: list[tuple[int, bytes]] = []
    seen = set()
    for data, steps in reversed(chosen):
        if new := len(steps - seen):
            seen |= steps
            needed.append((new, data))
    needed.sort(key=lambda one: (-one[0], len(one[1]), one[1]))
    return sorted((data for _, data in needed[:most]), key=lambda data: (len(data), data))


def keep(name: str, run: Callable[[bytes], None], inputs: Iterable[bytes], folder: Path = FOLDER) -> int:
    """Choose the corpus of a target from its present files and these inputs; return the number of files."""
    old = {path: path.read_bytes() for path in kept(name, folder) if not broke_something(path)}
    chosen = {sha1(data).hexdigest()[:12]: data for data in worth_keeping(run, [*old.values(), *inputs])}
    (folder / name).mkdir(parents=True, exist_ok=True)
    for path in old:
        if path.name not in chosen:
            path.unlink()
    for hashed, data in chosen.items():
        if not (folder / name / hashed).exists():
            (folder / name / hashed).write_bytes(data)
    return len(kept(name, folder))
