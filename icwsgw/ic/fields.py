"""Reads the known fields of CBOR maps that strangers send, and passes over the others (RFC 8949).

A field that this version does not know may hold anything that is well-formed: tags, integer keys, deep nesting, many
items. It must not make what stands beside it unreadable. Known fields are read by :func:`icwsgw.ic.cbor.loads`, as
strictly as ever; the others are walked over without decoding, within a bound on items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from icwsgw.errors import FormatError
from icwsgw.ic import cbor

MAX_SKIPPED: Final = 131_072
"""Items that are passed over in one message; walking over so many takes some 40 ms."""

Shape: TypeAlias = Mapping[str, "Shape"] | Sequence["Shape"] | None
"""What is known of a value: None, all of it is read; a map, its fields by name; a list of one, what each item is."""


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
"""What queries, calls, read_state and status answer (interface specification, "HTTPS Interface")."""


def loads_known(
    data: bytes,
    shape: Mapping[str, Shape],
    *,
    max_depth: int = 32,
    max_items: int = cbor.MAX_ITEMS,
    max_skipped: int = MAX_SKIPPED,
) -> Any:
    """Decode one CBOR item of which some fields are known.

    What is all well-formed and within the bounds of :func:`icwsgw.ic.cbor.loads` is decoded as that does, the unknown
    fields too; only else are those left out.

    :param data: a map, with or without self-describe tags before it
    :param shape: the fields that are known
    :param max_depth: how deep known fields may nest
    :param max_items: items that one known field, or the whole, may have
    :param max_skipped: items that may be passed over
    :raises FormatError: not well-formed, trailing bytes, a known field that :func:`icwsgw.ic.cbor.loads` refuses or
        that comes twice, or too much to pass over
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
    """Decode what :func:`icwsgw.ic.cbor.loads` refuses: the second half of :func:`loads_known`, with its arguments.

    For whoever tries the first half on the spot, since every message comes by there.

    :param error: why it was refused
    :raises FormatError: see :func:`loads_known`
    """
    reader = _Reader(data, max_depth, max_items, max_skipped)
    try:
        value, end = reader.value(0, shape)
    except FormatError as second:
        # of the two reasons the second one is that of a known field, or says that there is no map
        raise (second if reader.inside else error) from None
    if end != len(data):
        raise FormatError("CBOR: bytes after the end")
    return value


def field_span(data: bytes, name: str, max_skipped: int = MAX_SKIPPED) -> tuple[int, int] | None:
    """Find the value of a map's field without decoding it.

    :returns: offsets (start, end) in ``data``; None: the map has no such field
    :raises FormatError: not a map, not well-formed, or the field comes twice
    """
    return _Reader(data, 1, max_skipped, max_skipped).span(name)


class _Reader:
    """Reads values of one message; ``left`` is how many more items may be passed over, in all."""

    __slots__ = ("data", "inside", "left", "max_depth", "max_items", "max_skipped")

    def __init__(self, data: bytes, max_depth: int, max_items: int, max_skipped: int) -> None:
        self.data = data
        self.max_depth = max_depth
        self.max_items = max_items
        self.left = self.max_skipped = max_skipped
        self.inside = False

    def value(self, position: int, shape: Shape) -> tuple[Any, int]:
        """Read the value at a position, and say where it ends."""
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
        """Find a field of the map that the message is."""
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
        """Pass over a key, and give it if it is known."""
        end = self._skip(position)
        if self.data[position] >> 5 != 3:
            return None, end
        try:
            key = cbor.loads(self.data[position:end])
        except FormatError:
            # text that is no UTF-8 is nobody's name
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
