"""Decodes the known fields of untrusted CBOR maps and skips the others (RFC 8949).

A field that this version does not know may hold any well-formed item: tags, integer keys, deep nesting, many items. It
must not prevent the known fields from being decoded. :func:`icwsgw.ic.cbor.loads` decodes the known fields with its
usual strictness. The unknown fields are skipped without decoding, up to a number of items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from icwsgw.errors import FormatError
from icwsgw.ic import cbor

MAX_SKIPPED: Final = 131_072
"""The most items that are skipped in one message. Skipping this many takes about 40 ms."""

Shape: TypeAlias = Mapping[str, "Shape"] | Sequence["Shape"] | None
"""The known structure of a value.

None: the value is decoded as a whole. A mapping: the known fields of a map, by name. A sequence of one shape: a list
whose items all have that shape.
"""


_DELEGATION: Final = {"pubkey": None, "expiration": None, "targets": None, "permissions": None}
ENVELOPE: Final[Mapping[str, Shape]] = {
    "content": dict.fromkeys(
        (
            "request_type",
            "sender",
            "ingress_expiry",
            "nonce",
            "canister_id",
            "method_name",
            "arg",
            "paths",
            "sender_info",
        )
    ),
    "sender_pubkey": None,
    "sender_sig": None,
    "sender_delegation": [{"delegation": _DELEGATION, "signature": None}],
}
"""A request (interface specification, "Authentication")."""

CERTIFICATE: Final[Mapping[str, Shape]] = {
    "tree": None,
    "signature": None,
    "delegation": {"subnet_id": None, "certificate": None},
}
"""A certificate (interface specification, "Certification")."""

ANSWER: Final[Mapping[str, Shape]] = {
    **dict.fromkeys(("status", "certificate", "reject_code", "reject_message", "error_code", "root_key")),
    "reply": {"arg": None},
    "signatures": [{"timestamp": None, "signature": None, "identity": None}],
}
"""The answer to a query, call, read_state or status request (interface specification, "HTTPS Interface")."""


def loads_known(
    data: bytes,
    shape: Mapping[str, Shape],
    *,
    max_depth: int = 32,
    max_items: int = cbor.MAX_ITEMS,
    max_skipped: int = MAX_SKIPPED,
) -> Any:
    """Decode one CBOR map of which some fields are known.

    If :func:`icwsgw.ic.cbor.loads` accepts the whole item, its result is returned, including the unknown fields.
    Otherwise the result has only the known fields.

    :param data: a map, with or without self-describe tags before it
    :param shape: the known fields
    :param max_depth: the deepest nesting of known fields
    :param max_items: the most items in one known field, or in the whole map if it is decoded as a whole
    :param max_skipped: the most items that are skipped
    :raises FormatError: malformed, trailing bytes, a known field that :func:`icwsgw.ic.cbor.loads` refuses or that is
        there twice, or too many items to skip
    """
    try:
        return cbor.loads(data, max_depth=max_depth, max_items=max_items)
    except FormatError as error:
        return known_alone(data, shape, error, max_depth=max_depth, max_items=max_items, max_skipped=max_skipped)


def known_alone(
    data: bytes,
    shape: Mapping[str, Shape],
    error: FormatError,
    *,
    max_depth: int = 32,
    max_items: int = cbor.MAX_ITEMS,
    max_skipped: int = MAX_SKIPPED,
) -> Any:
    """Decode the known fields of a map that :func:`icwsgw.ic.cbor.loads` refuses.

    This is the second step of :func:`loads_known`, with the same arguments. A caller for which speed matters calls
    :func:`icwsgw.ic.cbor.loads` itself, and this function only after an error.

    :param error: the error of :func:`icwsgw.ic.cbor.loads`
    :raises FormatError: see :func:`loads_known`
    """
    reader = _Reader(data, max_depth, max_items, max_skipped)
    try:
        value, end = reader.value(0, shape)
    except FormatError as second:
        # for a map, report the second error: the first may concern an unknown field only
        raise (second if reader.inside else error) from None
    if end != len(data):
        raise FormatError("CBOR: bytes after the end")
    return value


def field_span(data: bytes, name: str, max_skipped: int = MAX_SKIPPED) -> tuple[int, int] | None:
    """Find the value of a map's field without decoding it.

    :param max_skipped: the most items in the map
    :returns: offsets (start, end) in ``data``; None: the map has no such field
    :raises FormatError: not a map, malformed, too many items, or the field is there twice
    """
    return _Reader(data, 1, max_skipped, max_skipped).span(name)


class _Reader:
    """Decodes one message. ``left`` is the number of items that may still be skipped in it.

    ``inside`` is set when the reader has entered a map of known fields.
    """

    __slots__ = ("data", "inside", "left", "max_depth", "max_items", "max_skipped")

    def __init__(self, data: bytes, max_depth: int, max_items: int, max_skipped: int) -> None:
        self.data = data
        self.max_depth = max_depth
        self.max_items = max_items
        self.left = self.max_skipped = max_skipped
        self.inside = False

    def value(self, position: int, shape: Shape) -> tuple[Any, int]:
        """Return the value at a position, and the offset of its end."""
        start = self._untagged(position)
        major = self.data[start] >> 5 if start < len(self.data) else -1
        if isinstance(shape, Mapping) and major == 5:
            self.inside = True
            return self._map(start, shape)
        if isinstance(shape, Sequence) and major == 4:
            return self._list(start, shape[0])
        end = cbor.item_end(self.data, position, self.max_items)
        return cbor.loads(self.data[position:end], max_depth=self.max_depth, max_items=self.max_items), end

    def span(self, name: str) -> tuple[int, int] | None:
        """Return the offsets of a field's value; the message must be a map."""
        start = self._untagged(0)
        if start >= len(self.data) or self.data[start] >> 5 != 5:
            raise FormatError("CBOR: not a map")
        found: tuple[int, int] | None = None
        count, position = cbor.container_head(self.data, start)
        while count and not (count < 0 and cbor.is_break(self.data, position)):
            key, position = self._key(position, (name,))
            begin, position = position, self._skip(position)
            if key is not None:
                if found is not None:
                    raise FormatError("CBOR: a map's key comes twice")
                found = begin, position
            count -= 1
        return found

    def _map(self, start: int, shape: Mapping[str, Shape]) -> tuple[dict[str, Any], int]:
        fields: dict[str, Any] = {}
        count, position = cbor.container_head(self.data, start)
        while count:
            if count < 0 and cbor.is_break(self.data, position):
                position += 1
                break
            key, position = self._key(position, shape)
            if key is None:
                position = self._skip(position)
            elif key in fields:
                raise FormatError("CBOR: a map's key comes twice")
            else:
                fields[key], position = self.value(position, shape[key])
            count -= 1
        return fields, position

    def _list(self, start: int, shape: Shape) -> tuple[list[Any], int]:
        items: list[Any] = []
        count, position = cbor.container_head(self.data, start)
        while count:
            if count < 0 and cbor.is_break(self.data, position):
                position += 1
                break
            if len(items) >= self.max_items:
                raise FormatError(f"CBOR: more than {self.max_items} items")
            item, position = self.value(position, shape)
            items.append(item)
            count -= 1
        return items, position

    def _key(self, position: int, known: Mapping[str, Shape] | Sequence[str]) -> tuple[str | None, int]:
        """Skip a key. Return it, or None if it is not a known one, and the offset of its end."""
        end = self._skip(position)
        if self.data[position] >> 5 != 3:
            return None, end
        try:
            key = cbor.loads(self.data[position:end])
        except FormatError:
            # text that is not UTF-8 is not the name of a known field
            return None, end
        return (key if key in known else None), end

    def _skip(self, position: int) -> int:
        end, self.left = cbor.walk(self.data, position, self.left)
        if self.left < 0:
            raise FormatError(f"CBOR: more than {self.max_skipped} items in fields that are not known")
        return end

    def _untagged(self, position: int) -> int:
        while self.data.startswith(cbor.SELF_DESCRIBE, position):
            position += 3
        return position
