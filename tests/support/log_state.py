"""Resets the log's settings, which are global in a process that many tests share."""

from __future__ import annotations

from icwsgw.observe import logs
from icwsgw.observe.levels import Levels


def reset_logs() -> None:
    """Make the log's settings those of a process that has just begun."""
    logs._overrides.clear()
    logs._mark.clear()
    logs.hide_clients("full")
    logs._Sinks.main = None
    logs._Sinks.file = None
    logs._Sinks.levels = Levels()
    logs._Sinks.writers = ()
    logs._Sinks.files = ()
    logs.set_levels(Levels())
