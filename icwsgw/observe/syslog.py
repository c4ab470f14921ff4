"""The main log in syslog, where twistd's ``--syslog`` wants it.

twistd's own observer knows two priorities, alert for a traceback and info for the rest, writes what Twisted says at
info, and whatever --log-level says of it; this one writes the lines that another log would have.
"""

from __future__ import annotations

import syslog
from typing import Final

from icwsgw.observe.levels import Levels
from icwsgw.observe.logs import Lines

_PRIORITIES: Final = {
    "debug": syslog.LOG_DEBUG,
    "info": syslog.LOG_INFO,
    "warn": syslog.LOG_WARNING,
    "error": syslog.LOG_ERR,
    "critical": syslog.LOG_CRIT,
}


class SyslogObserver(Lines):
    """Writes events to syslog, with the number of the process; each line of a traceback by itself.

    :param prefix: what the lines begin with, of twistd's ``--prefix``
    :param levels: which events
    :param format: ``text`` or ``json``
    """

    def __init__(self, prefix: str, levels: Levels, format: str) -> None:
        super().__init__(levels, format, counts=True)
        # syslog has a time of its own, which stands before
        self._timed = format == "text"
        syslog.openlog(prefix, syslog.LOG_PID, syslog.LOG_USER)

    def write(self, line: str, level: str = "info") -> None:
        """Write a ready line; whether it has arrived is not known."""
        priority = _PRIORITIES.get(level, syslog.LOG_INFO)
        text = line.partition(" ")[2] if self._timed else line
        for part in text.split("\n"):
            syslog.syslog(priority, part)
