"""Returns freed memory to the operating system from time to time.

glibc returns what is free at the top of its heap, and large blocks. Free memory below a block in use stays resident:
200 MB after 100 clients with 2 MB of an incomplete message each have left. ``malloc_trim`` returns that as well
(decision 0049).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.task import LoopingCall

#: Seconds between two calls of ``malloc_trim``.
TRIM_SECONDS = 10.0

#: By these the operator decides when glibc returns memory.
_VARIABLE, _TUNABLE = "MALLOC_TRIM_THRESHOLD_", "glibc.malloc.trim_threshold="


def find_malloc_trim() -> Callable[[int], int] | None:
    """Find ``malloc_trim(pad: bytes) -> int`` of the C library; None without glibc (musl, macOS)."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return trim


def trim_heap(
    reactor: Any,
    environment: Mapping[str, str] = os.environ,
    find: Callable[[], Callable[[int], int] | None] = find_malloc_trim,
) -> None:
    """Return freed memory every :data:`TRIM_SECONDS`, from when the reactor runs.

    Without glibc, or where the operator has set glibc's trim threshold, nothing is done.

    :param environment: environment variables of this process
    :param find: finds ``malloc_trim``
    """
    if _VARIABLE in environment or _TUNABLE in environment.get("GLIBC_TUNABLES", ""):
        return
    trim = find()
    if trim is None:
        return
    loop = LoopingCall(trim, 0)
    loop.clock = reactor
    reactor.callWhenRunning(loop.start, TRIM_SECONDS, now=False)
