"""Returns freed memory to the operating system periodically.

glibc returns large blocks and the free memory at the top of its heap. Free memory below a block in use stays resident:
200 MB after the disconnection of 100 clients, each with 2 MB of an incomplete message. ``malloc_trim`` returns this
memory as well (decision 0049).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.task import LoopingCall

#: Seconds between two calls of ``malloc_trim``.
TRIM_SECONDS = 10.0

#: With either of these, the operator sets when glibc returns memory.
_VARIABLE, _TUNABLE = "MALLOC_TRIM_THRESHOLD_", "glibc.malloc.trim_threshold="


def find_malloc_trim() -> Callable[[int], int] | None:
    """Find the C library's ``malloc_trim(pad) -> int``, pad in bytes; None without glibc (musl, macOS)."""
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
    """Return freed memory every :data:`TRIM_SECONDS` once the reactor runs.

    Does nothing without glibc, or if the operator has set glibc's trim threshold.

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
