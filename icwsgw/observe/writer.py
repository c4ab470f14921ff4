"""Writes log lines in a thread, so that a log whose reader has stopped does not block the event loop.

``write`` can block without limit if the reader of a pipe, journald or syslog has stopped, or a disk hangs.
``O_NONBLOCK`` is no solution: it applies to the open file, not to the process, so it would also affect other processes
with the same terminal or pipe. Disks ignore it.

Lines wait in a buffer of :data:`MOST_WAITING` characters. Lines that do not fit are dropped and counted. Once the
buffer is at most half full, a line reports their number. So does one before the first line that can be written again
after others could not.
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

#: Size of the buffer in characters; each line counts :data:`OVERHEAD` more for the memory of its Python objects.
MOST_WAITING: Final = 1 << 20
OVERHEAD: Final = 64
#: Seconds for which the end of the process waits until all lines are written.
END_SECONDS: Final = 1.0
#: Seconds that the thread sleeps after it has written all lines. New lines do not wake it unless the buffer is over
#: half full: a wake-up costs more than a line, since two threads then compete for the interpreter.
REST: Final = 0.02


class LogLine(NamedTuple):
    """A log line without its line ending.

    :ivar level: name of its level
    """

    text: str
    level: str


#: What waits for the thread: a line, or what is to be done between the lines before and after it.
Item = LogLine | Callable[[], None]


class Writer:
    """One sink of lines, and the thread that writes to it.

    :param write: writes one line, and may block; if it raises OSError, the line is lost
    :param notice: formats the line that reports the number of dropped lines
    :param most: size of the buffer in characters
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
        # The thread waits on this condition while it sleeps.
        self._hurried = threading.Condition(lock)
        self._lines: deque[Item] = deque()
        self._waiting = 0
        self._unreported = 0
        #: lines that could not be written since the last one that could; only the thread uses it
        self._lost = 0
        self._thread: threading.Thread | None = None

    def put(self, line: LogLine) -> None:
        """Add a line to the buffer, or drop it if the buffer is full. Blocks only if no thread can be started."""
        cost = _cost(line)
        with self._changed:
            if self._unreported and 2 * self._waiting <= self._most:
                self._add_notice()
            # A single line always fits, regardless of its length.
            if self._unreported or (self._waiting and self._waiting + cost > self._most):
                self.dropped += 1
                self._unreported += 1
                return
            self._add(line)
            rest = self._wake()
        for each in rest:
            self._write_one(each)

    def call(self, act: Callable[[], None]) -> None:
        """Call a function in the thread, behind the lines that wait and before later ones, also if the buffer is full.

        :param act: may block; if it raises OSError, that counts as a line that could not be written
        """
        with self._changed:
            self._add(act)
            rest = self._wake()
            self._hurried.notify_all()
        for each in rest:
            self._write_one(each)

    def _wake(self) -> list[Item]:
        """Tell the thread of new items, and start it if necessary.

        :return: what the caller has to write, because no thread can be started
        """
        if self._thread is not None:
            self._changed.notify_all()
            if 2 * self._waiting > self._most:
                self._hurried.notify_all()
            return []
        thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        try:
            thread.start()
            self._thread = thread
            return []
        except RuntimeError:
            # No thread can be started: the thread limit is reached, or the process is ending. Write here and block.
            rest = list(self._lines)
            self._lines.clear()
            self._waiting = 0
            return rest

    def flush(self, seconds: float) -> bool:
        """Wait for at most ``seconds`` until all lines are written; return whether they are."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._waiting or self._unreported:
                left = deadline - time.monotonic()
                if left <= 0 or self._thread is None:
                    return False
                self._hurried.notify_all()
                self._changed.wait(left)
            return True

    def _add(self, item: Item) -> None:
        self._lines.append(item)
        self._waiting += _cost(item)

    def _add_notice(self) -> None:
        count, self._unreported = self._unreported, 0
        self._add(self._notice(count))

    def _run(self) -> None:
        # The main thread handles signals; it may be waiting for one.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        changed, hurried = self._changed, self._hurried
        while True:
            with changed:
                if not self._lines and not self._unreported:
                    changed.notify_all()
                    hurried.wait(REST)
                while not self._lines:
                    if self._unreported:
                        self._add_notice()
                    else:
                        changed.notify_all()
                        changed.wait()
                item = self._lines[0]
            self._write_one(item)
            with changed:
                self._lines.popleft()
                self._waiting -= _cost(item)

    def _write_one(self, item: Item) -> None:
        try:
            if isinstance(item, LogLine):
                if self._lost:
                    self._write(self._notice(self._lost))
                    self._lost = 0
                self._write(item)
            else:
                item()
        except (OSError, ValueError):
            # The disk is full, the reader has ended, or the file was closed.
            self.failed += 1
            self._lost += isinstance(item, LogLine)

    def _forked(self) -> None:
        """Reset in a child process, which has no writer thread; the parent writes the waiting lines."""
        self._begin()


def _cost(item: Item) -> int:
    return len(item.text) + OVERHEAD if isinstance(item, LogLine) else OVERHEAD


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


def _after_fork() -> None:
    for writer in list(_writers):
        writer._forked()


def flush(seconds: float = END_SECONDS) -> bool:
    """Wait for at most ``seconds`` in total until all sinks have written their lines; return whether they have."""
    deadline = time.monotonic() + seconds
    written = [writer.flush(max(0.0, deadline - time.monotonic())) for writer in list(_writers)]
    return all(written)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(flush)


def to_stream(stream: Any) -> Callable[[LogLine], None]:
    """Return a function that writes lines to a stream; if the stream has a file, it bypasses the stream's buffer.

    A thread inside ``stream.write`` at the end of the interpreter would hold the buffer's lock, and Python would abort.

    :param stream: takes ``write(str)`` and ``flush()``
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return _to_object(stream, encoding)

    torn = False

    def write(line: LogLine) -> None:
        nonlocal torn
        # A terminal or a locale may have another encoding than UTF-8.
        rest = (line.text + "\n").encode(encoding, "backslashreplace")
        if torn:
            # The disk became full within a line, which has no line ending.
            rest = b"\n" + rest
        while rest:
            try:
                written = os.write(stream.fileno(), rest)
                torn = rest[written - 1 : written] != b"\n"
                rest = rest[written:]
            except BlockingIOError:
                # Another process with the same open file has made it non-blocking.
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
