"""A log file that rotates by its size and on request, and that other programs may move or truncate.

The file is opened to append. So a program that copies and truncates it (logrotate's ``copytruncate``) leaves no hole.
The size that counts is that of the file, not the sum of what was written.

A file rotates when a line does not fit, and when it is asked to: FILE becomes FILE.1, FILE.1 becomes FILE.2, and so on;
those beyond the number to keep are overwritten. If another program has moved the file already, a new one is opened. If
rotating fails, lines still go to the present file, with one that says why.

All functions but the constructor run in the thread of :mod:`icwsgw.observe.writer`, because they may block.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from icwsgw.observe.writer import LogLine

#: Mode of a new file.
MODE = 0o640


class FileBounds(NamedTuple):
    """How large log files become.

    :ivar octets: bytes of one file; 0 for no limit
    :ivar kept: the number of older files that are kept
    """

    octets: int = 0
    kept: int = 0


class LogFile:
    """One log file.

    :param path: of the file; it is opened, and made if there is none
    :param bounds: its size, and how many older ones are kept
    :param failure_line: makes the line that says why it could not be rotated
    :param new: there must be no such file yet
    :raises OSError: it cannot be opened
    :ivar path: absolute, because a daemon changes its directory
    """

    def __init__(
        self, path: Path, bounds: FileBounds, failure_line: Callable[[str], LogLine], new: bool = False
    ) -> None:
        self.path = path.absolute()
        self._bounds = bounds
        self._failure_line = failure_line
        self._descriptor = _open(self.path, os.O_EXCL if new else 0)
        self._size = os.fstat(self._descriptor).st_size
        self._limit = bounds.octets
        #: the disk became full within a line
        self._torn = False

    def write(self, line: LogLine) -> None:
        """Append a line.

        :raises OSError: the disk is full, for example
        """
        data = (line.text + "\n").encode("utf-8", "backslashreplace")
        if self._limit and self._size + len(data) > self._limit:
            # another program may have truncated it
            self._size = os.fstat(self._descriptor).st_size
            if self._size and self._size + len(data) > self._limit:
                self.rotate()
        self._append(data)

    def rotate(self) -> None:
        """Begin a new file. If that fails, the present one says so and continues."""
        try:
            if self._is_mine():
                self._shift()
            else:
                self._open_again(MODE)
            self._limit = self._bounds.octets
        except OSError as error:
            # it is tried again when as much has been written again
            self._limit = self._size + self._bounds.octets if self._bounds.octets else 0
            line = self._failure_line(f"{error.filename or self.path}: {error.strerror or error}")
            self._append((line.text + "\n").encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Close it; nothing may be written any more."""
        os.close(self._descriptor)

    def _is_mine(self) -> bool:
        """Whether the path still leads to the open file."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._descriptor))

    def _shift(self) -> None:
        kept = self._bounds.kept
        if not kept:
            os.ftruncate(self._descriptor, 0)
            self._size = 0
            return
        mode = os.fstat(self._descriptor).st_mode & 0o777
        for number in range(kept - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self.path.replace(self._numbered(1))
        self._open_again(mode)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _open_again(self, mode: int) -> None:
        descriptor = _open(self.path, mode=mode)
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._torn = False

    def _append(self, data: bytes) -> None:
        if self._torn:
            # what was written of that line has no line ending
            data = b"\n" + data
        while data:
            written = os.write(self._descriptor, data)
            self._size += written
            self._torn = data[written - 1 : written] != b"\n"
            data = data[written:]


def _open(path: Path, flags: int = 0, mode: int = MODE) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | flags, mode)
