"""The files of the program that this process runs, and whether they were replaced since it started.

A process keeps the code that it has loaded, but a new process loads what is installed then. A supervisor that has
outlived an upgrade would therefore start workers of another version than its own, or ones that fail in the middle of
the upgrade.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

_Signature = tuple[int, int, int]


class ProgramFiles:
    """Remembers a program's files.

    Links are followed once, at the start: a link that leads to another version later changes nothing for this one.

    :param package: directory of the program's package; all sources in it count, loaded or not
    :param modules: loaded modules, whose files count too: the libraries
    :ivar python: the interpreter that runs this version
    """

    def __init__(self, package: Path, modules: Iterable[ModuleType | Any]) -> None:
        paths = {os.path.realpath(path) for path in package.rglob("*.py")}
        paths |= {os.path.realpath(file) for file in map(_file_of, modules) if file is not None}
        self.python = interpreter()
        self._known = {path: signature for path in sorted(paths) if (signature := _signature(path)) is not None}

    @classmethod
    def of_this_process(cls) -> ProgramFiles:
        """Remember the files of this package and of every module that is loaded."""
        return cls(Path(__file__).parents[1], list(sys.modules.values()))

    def __len__(self) -> int:
        return len(self._known)

    def changed(self) -> str | None:
        """Return the first file that is not what it was, or None."""
        return next((path for path, signature in self._known.items() if _signature(path) != signature), None)


def interpreter() -> str:
    """Return the Python of this process, with links to its environment followed, but not its own link.

    ``bin/python`` of a virtual environment is itself a link, by whose place Python finds the environment.
    """
    path = Path(sys.executable)
    return str(path.parent.resolve() / path.name)


def _file_of(module: ModuleType | Any) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None


def _signature(path: str) -> _Signature | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
