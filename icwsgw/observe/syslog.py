"""Writes the main log to syslog, for twistd's ``--syslog``.

twistd's observer has only two priorities: alert for a traceback, and info for the rest. It also ignores --log-level.
This module writes the same lines as the other main logs.
"""

from __future__ import annotations

import syslog
from collections.abc import Callable
from typing import Final

from icwsgw.observe.writer import LogLine

_PRIORITIES: Final = {
    "debug": syslog.LOG_DEBUG,
    "info": syslog.LOG_INFO,
    "warn": syslog.LOG_WARNING,
    "error": syslog.LOG_ERR,
    "critical": syslog.LOG_CRIT,
}


def to_syslog(prefix: str, format: str) -> Callable[[LogLine], None]:
    """Return a function that writes lines to syslog with the process id, and each line of a traceback separately.

    The function blocks while the system's logger is stopped, and cannot detect the loss of a line.

    :param prefix: the prefix of each line, from twistd's ``--prefix``
    :param format: ``text`` or ``json``
    """
    # syslog puts its own time before each line.
    timed = format == "text"
    syslog.openlog(prefix, syslog.LOG_PID, syslog.LOG_USER)

    def write(line: LogLine) -> None:
        priority = _PRIORITIES.get(line.level, syslog.LOG_INFO)
        text = line.text.partition(" ")[2] if timed else line.text
        for part in text.split("\n"):
            syslog.syslog(priority, part)

    return write
