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

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def count(value: float) -> str:
    """A number of things: ``12,345``."""
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """A number with a fraction where it is small: ``0.4``, ``12``, ``12,345``."""
    return f"{value:.1f}" if 0 < value < 9.95 else count(value)


def size(value: float) -> str:
    """Bytes, by powers of 1024: ``812 B``, ``6.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 999.5 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"


def seconds(value: float) -> str:
    """A short time: ``3.2 ms``, ``240 ms``, ``1.4 s``, ``75 s``."""
    if value < 0.9995:
        thousandths = value * 1000
        return f"{thousandths:.0f} ms" if thousandths >= 9.95 or not thousandths else f"{thousandths:.1f} ms"
    return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"


def span(value: float) -> str:
    """A long time by its two greatest units: ``45 s``, ``3 min 20 s``, ``2 d 4 h``."""
    left = max(0, int(value))
    parts = []
    for length, unit in _UNITS:
        amount, left = divmod(left, length)
        if amount:
            parts.append(f"{amount} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def ago(value: float) -> str:
    """How long ago something was, by one unit: ``just now``, ``12 s ago``, ``3 min ago``."""
    for length, unit in _UNITS:
        if value >= length:
            return f"{int(value // length)} {unit} ago"
    return "just now"
