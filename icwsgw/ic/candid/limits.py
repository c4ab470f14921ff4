"""Limits on the work that one Candid message can cause. A message beyond a limit is refused.

In Candid, a few bytes can describe a very large value. A ``vec null`` has a length and no bytes for its elements. A
table of twenty records can describe a value of a million fields. A type can contain itself without taking any bytes.
Therefore the spec (section Deserialisation, note on implementation) requires decoders to count their work. Each limit
below says what it counts.
"""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """The limits for decoding one message. Beyond any of them, decoders raise :class:`~icwsgw.errors.FormatError`."""

    depth: int = 100
    """Levels of nested values. Each takes at most two Python frames; all take a fifth of Python's default limit."""
    table_items: int = 20_000
    """Types, fields, methods, function arguments and function results in the type table. About 20 ms of parsing."""
    values: int = 200_000
    """Values read or skipped, even without bytes. A ``blob`` or ``text`` is one value. About 0.2 s of decoding."""
    number_bytes: int = 65_536
    """Bytes of one ``nat`` or ``int`` on the wire."""
    subtype_pairs: int = 20_000
    """Pairs of types that are compared to check one function or service reference against its expected type."""


DEFAULT_LIMITS = Limits()
