"""Parses and formats sizes and durations; the only module that contains their units.

Operators write ``64K``, ``8MiB``, ``250ms`` or ``2m`` (:func:`parse_size`, :func:`parse_duration`). Documents that must
be exact use :func:`exact_size` and :func:`exact_duration`. Pages and tables use the rounding functions: :func:`size`,
:func:`duration` with its parts :func:`short_time` and :func:`long_time`, and :func:`ago`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from icwsgw.errors import ConfigError

_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|min|h)?")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SIZE: Final = re.compile(r"0*(\d{1,19})\s*(?:([KMG])(?:i?B)?|B)?", re.IGNORECASE)
_BYTES: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LONG: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def parse_duration(text: str, unit: float = 1.0) -> float:
    """Parse a duration.

    :param unit: the unit of a bare number, in seconds
    :returns: seconds
    :raises ConfigError: not a duration
    """
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ConfigError(f"{text!r} is not a duration such as 250ms, 10s, 2m or 1h")
    return float(match[1]) * (_SECONDS[match[2]] if match[2] else unit)


def parse_size(text: str) -> int:
    """Parse a number of bytes, with or without a unit; units are powers of 1024.

    :raises ConfigError: not a size
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ConfigError(f"{text!r} is not a number of bytes such as 65536, 64K, 8M or 1G")
    return int(match[1]) * _BYTES[(match[2] or "").upper()]


def digits(number: float) -> str:
    """Write a number in digits that ``float`` reads as the same number, without an exponent."""
    return f"{Decimal(repr(float(number))):f}".removesuffix(".0")


def exact_size(number: int) -> str:
    """Write bytes without rounding, in the largest unit that divides them: ``64 KiB``, ``1000 bytes``."""
    for prefix in "GMK":
        if number and number % _BYTES[prefix] == 0:
            return f"{number // _BYTES[prefix]} {prefix}iB"
    return f"{number} bytes"


def exact_duration(seconds: float) -> str:
    """Write a duration without rounding: ``100 ms``, ``90 s``, ``24 h``, ``0``."""
    for unit in ("h", "s"):
        if seconds >= _SECONDS[unit] and (unit == "s" or seconds % _SECONDS[unit] == 0):
            return f"{digits(seconds / _SECONDS[unit])} {unit}"
    return f"{seconds * 1000:g} ms" if seconds else "0"


def size(number: float) -> str:
    """Write bytes in two or three digits, by powers of 1024: ``812 B``, ``6.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 999.5 or unit == "GiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" or number >= 9.95 else f"{number:.1f} {unit}"


def short_time(seconds: float) -> str:
    """Write a short time in two or three digits: ``3.2 ms``, ``240 ms``, ``1.4 s``, ``75 s``."""
    if seconds < 0.9995:
        thousandths = seconds * 1000
        return f"{thousandths:.0f} ms" if thousandths >= 9.95 or not thousandths else f"{thousandths:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"


def long_time(seconds: float) -> str:
    """Write a long time in its two greatest units: ``45 s``, ``3 min 20 s``, ``2 d 4 h``."""
    left = max(0, int(seconds))
    parts = []
    for length, unit in _LONG:
        amount, left = divmod(left, length)
        if amount:
            parts.append(f"{amount} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def duration(seconds: float) -> str:
    """Write a time of any length: ``3.2 ms``, ``45 s``, ``3 min 20 s``."""
    return short_time(seconds) if seconds < 60 else long_time(seconds)


def ago(seconds: float) -> str:
    """Write how long ago something was, in one unit: ``just now``, ``12 s ago``, ``3 min ago``."""
    for length, unit in _LONG:
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"
