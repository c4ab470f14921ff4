"""Writes log lines from a thread, so that a log that nobody reads does not block the event loop.

A pipe whose reader has stopped, a stopped journald or syslog, and a hung disk all make ``write`` block for as long as
they like. No file can be made non-blocking instead: ``O_NONBLOCK`` belongs to the open file and not to the process, so
it would change the terminal or pipe of every process that has it open, and disks ignore it.

Lines wait in a buffer of :data:`MOST_WAITING` characters. What does not fit is dropped and counted; a line says how
many once the buffer has emptied to a half.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

#: Characters that may wait to be written, each line with :data:`OVERHEAD` for what Python needs to keep it.
MOST_WAITING: Final = 1 << 20
OVERHEAD: Final = 64
#: Seconds that the end of the process waits for lines to be written.
LAST_WORDS: Final = 1.0
#: Seconds that the thread rests after it has written all lines. Those that come meanwhile wake nobody: a wake-up for
#: each costs more than the line itself, since two threads then want the interpreter.
REST: Final = 0.02


class LogLine(NamedTuple):
    """A line without its end.

    :ivar level: by name
    """

    text: str
    level: str


class Writer:
    """One sink of lines, and the thread that writes to it.

    :param write: writes one line, and may block; an OSError loses the line
    :param notice: makes the line that says how many were dropped
    :param most: characters that may wait
    """

    def __init__(
        self, write: Callable[[LogLine], None], notice: Callable[[int], LogLine], most: int = MOST_WAITING
    ) -> None:
        self._write = write
        self._notice = notice
        self._most = most
        #: lines that did not fit, and lines that could not be written
        self.dropped = 0
        self.failed = 0
        self._begin()
        _writers.add(self)

    def _begin(self) -> None:
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        # on which the thread waits while it rests
        self._hurried = threading.Condition(lock)
        self._lines: deque[LogLine] = deque()
        self._waiting = 0
        self._untold = 0
        self._thread: threading.Thread | None = None

    def put(self, line: LogLine) -> None:
        """Have a line written; never blocks."""
        cost = len(line.text) + OVERHEAD
        with self._changed:
            if self._untold and 2 * self._waiting <= self._most:
                self._tell()
            # one line always fits, however long it is
            if self._untold or (self._waiting and self._waiting + cost > self._most):
                self.dropped += 1
                self._untold += 1
                return
            self._add(line)
            if self._thread is not None:
                self._changed.notify_all()
                if 2 * self._waiting > self._most:
                    self._hurried.notify_all()
                return
            thread = threading.Thread(target=self._run, name="log writer", daemon=True)
            try:
                thread.start()
                self._thread = thread
                return
            except RuntimeError:
                # the process may have no more threads, or ends: better to wait than to lose what it says
                rest = list(self._lines)
                self._lines.clear()
                self._waiting = 0
        for each in rest:
            self._write_one(each)

    def flush(self, seconds: float) -> bool:
        """Wait until all lines are written, for ``seconds`` at most; whether they are."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._waiting or self._untold:
                left = deadline - time.monotonic()
                if left <= 0 or self._thread is None:
                    return False
                self._hurried.notify_all()
                self._changed.wait(left)
            return True

    def _add(self, line: LogLine) -> None:
        self._lines.append(line)
        self._waiting += len(line.text) + OVERHEAD

    def _tell(self) -> None:
        count, self._untold = self._untold, 0
        self._add(self._notice(count))

    def _run(self) -> None:
        # signals are the main thread's, which may be waiting for one
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        changed, hurried = self._changed, self._hurried
        while True:
            with changed:
                if not self._lines and not self._untold:
                    changed.notify_all()
                    hurried.wait(REST)
                while not self._lines:
                    if self._untold:
                        self._tell()
                    else:
                        changed.notify_all()
                        changed.wait()
                line = self._lines[0]
            self._write_one(line)
            with changed:
                self._lines.popleft()
                self._waiting -= len(line.text) + OVERHEAD

    def _write_one(self, line: LogLine) -> None:
        try:
            self._write(line)
        except (OSError, ValueError):
            # a full disk, a reader that has gone; a file that was closed
            self.failed += 1

    def _forked(self) -> None:
        """Begin anew in a child process, which has no thread; the lines that wait are the parent's."""
        self._begin()


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


def _after_fork() -> None:
    for writer in list(_writers):
        writer._forked()


def flush(seconds: float = LAST_WORDS) -> bool:
    """Wait until all sinks have written their lines, for ``seconds`` in all at most; whether they have."""
    deadline = time.monotonic() + seconds
    written = [writer.flush(max(0.0, deadline - time.monotonic())) for writer in list(_writers)]
    return all(written)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(flush)


def to_stream(stream: Any) -> Callable[[LogLine], None]:
    """Give a function that writes lines to a stream, past the stream's own buffer where it has a file.

    A thread that is in ``stream.write`` when the interpreter ends keeps the buffer's lock, and Python aborts on that.

    :param stream: takes ``write(str)`` and ``flush()``
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return _to_object(stream, encoding)

    def write(line: LogLine) -> None:
        # of another encoding than UTF-8: a terminal, or a locale
        rest = (line.text + "\n").encode(encoding, "backslashreplace")
        while rest:
            try:
                rest = rest[os.write(stream.fileno(), rest) :]
            except BlockingIOError:
                # another process with the same open file has made it non-blocking
                poll = select.poll()
                poll.register(stream.fileno(), select.POLLOUT)
                poll.poll()

    return write


def _to_object(stream: Any, encoding: str) -> Callable[[LogLine], None]:
    def write(line: LogLine) -> None:
        try:
            stream.write(line.text + "\n")
        except UnicodeEncodeError:
            stream.write(line.text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()

    return write
