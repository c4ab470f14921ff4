"""Formats figures, times and close codes for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from icwsgw.close_codes import CLOSE_CODES

#: What happened to a client, by close code as a metrics label.
CLOSES: Final[Mapping[str, str]] = {
    **{str(int(info.code)): info.summary for info in CLOSE_CODES},
    "other": "another code",
}

#: What failed, by kind of failure in the status document.
FAILURES: Final[Mapping[str, str]] = {
    "polls": "Polls that failed",
    "calls": "Messages to canisters that failed",
    "opens": "Sessions that did not open",
    "connections": "Connections refused",
}


def count(value: float) -> str:
    """Format a count: ``12,345``."""
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """Format a rate, with a fraction if it is small: ``0.4``, ``12``, ``12,345``."""
    return f"{value:.1f}" if 0 < value < 9.95 else count(value)
