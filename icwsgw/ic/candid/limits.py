"""How much work a Candid message may ask for before it is refused.

Candid lets a few bytes stand for a great deal: ``vec null`` carries a length and no elements, a table of
twenty records can describe a value of a million fields, a type may contain itself without ever using up a
byte. The spec (section Deserialisation, note on implementation) asks decoders to meter themselves; these
are the meters. What a message is charged for is written beside each of them.
"""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Bounds of one decoding; going beyond any of them is a :class:`~icwsgw.errors.FormatError`."""

    depth: int = 100
    """Nesting of values. Each level takes at most two Python frames, a fifth of the interpreter's default."""
    table_items: int = 20_000
    """Types, fields, methods, function arguments and results in the type table: about 20 ms of parsing."""
    values: int = 200_000
    """Values read or skipped, those of no size too; a ``blob`` or ``text`` is one. About 0.2 s of decoding."""
    number_bytes: int = 65_536
    """Bytes of one ``nat`` or ``int`` on the wire."""
    subtype_pairs: int = 20_000
    """Pairs of types compared when function or service references are checked against the expected type."""


DEFAULT_LIMITS = Limits()
