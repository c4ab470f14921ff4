"""Writes the main log to systemd's journal with priorities, so that ``journalctl -p warning`` finds warnings.

The journal reads a priority from the beginning of each line, as ``<4>`` (sd-daemon(3); ``SyslogLevelPrefix=`` is on by
default). systemd names the journal's stream in ``$JOURNAL_STREAM``, as device and inode (systemd.exec(5)). Elsewhere
such a prefix would only disturb readers, so it is written only where the standard output is that stream.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from icwsgw.observe.writer import LogLine

#: Priorities of syslog(3) by level.
PRIORITIES: Final = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}


def is_journal(stream: Any, environment: Mapping[str, str] | None = None) -> bool:
    """Return whether a stream leads to the journal.

    :param environment: by default that of this process
    """
    device, colon, inode = (os.environ if environment is None else environment).get("JOURNAL_STREAM", "").partition(":")
    if not colon or not device.isdecimal() or not inode.isdecimal():
        return False
    try:
        status = os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return (status.st_dev, status.st_ino) == (int(device), int(inode))


def with_priorities(write: Callable[[LogLine], None]) -> Callable[[LogLine], None]:
    """Return a function that writes lines with their priority; each line of a traceback has one of its own."""

    def write_prefixed(line: LogLine) -> None:
        prefix = f"<{PRIORITIES.get(line.level, PRIORITIES['info'])}>"
        write(LogLine(prefix + line.text.replace("\n", "\n" + prefix), line.level))

    return write_prefixed
