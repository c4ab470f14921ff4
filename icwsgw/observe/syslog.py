"""The main log in syslog, where twistd's ``--syslog`` wants it.

twistd's own observer knows two priorities, alert for a traceback and info for the rest, writes what Twisted says at
info, and whatever --log-level says of it; this one writes the lines that another log would have.
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
    """Give a function that writes lines to syslog, with the number of the process; a traceback's lines one by one.

    It blocks while the system's logger is stopped, and whether a line has arrived is not known.

    :param prefix: what the lines begin with, of twistd's ``--prefix``
    :param format: ``text`` or ``json``
    """
    # syslog has a time of its own, which stands before
    timed = format == "text"
    syslog.openlog(prefix, syslog.LOG_PID, syslog.LOG_USER)

    def write(line: LogLine) -> None:
        priority = _PRIORITIES.get(line.level, syslog.LOG_INFO)
        text = line.text.partition(" ")[2] if timed else line.text
        for part in text.split("\n"):
            syslog.syslog(priority, part)

    return write
