"""Resets the log's settings, which are global in the process that runs the tests."""

from __future__ import annotations

from icwsgw.observe import logs
from icwsgw.observe.levels import Levels


def reset_logs() -> None:
    """Reset the log's settings to those of a new process."""
    logs._overrides.clear()
    logs._mark.clear()
    logs.hide_clients("full")
    logs._Sinks.main = None
    logs._Sinks.file = None
    logs._Sinks.levels = Levels()
    logs._Sinks.writers = ()
    logs._Sinks.files = ()
    logs.set_levels(Levels())
