"""Does what must not stop what comes after it: a fault costs a line in the log."""

from __future__ import annotations

from collections.abc import Callable

from icwsgw.observe.logs import Logger


def tolerate(log: Logger, failed: str, act: Callable[[], object]) -> None:
    """Do something; log an exception with its traceback, and continue.

    :param failed: the words for the log
    """
    try:
        act()
    except Exception:
        log.failure(failed)
