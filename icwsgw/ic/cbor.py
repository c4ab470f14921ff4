"""CBOR (RFC 8949) with a strict decoder, for bytes from untrusted senders.

:func:`loads` is cbor2's decoder with further limits. It refuses trailing bytes, duplicate map keys, and keys that are
neither text nor bytes. Depth and number of items are bounded. It accepts two tags: self-describe (55799), which it
ignores at any place as serde_cbor does, and bignums of at most 32 bytes, as which agents in JavaScript encode BigInt.
All errors are :class:`~icwsgw.errors.FormatError`.

:func:`item_end` finds the end of an item without decoding it, so that an envelope can be relayed unchanged. It keeps
its own stack: it cannot recurse, and cannot read outside the data. It checks that items are well-formed (RFC 8949,
appendix C), but not their content: text need not be UTF-8, and any tag is accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, Final

import cbor2

from icwsgw.errors import FormatError

SELF_DESCRIBE: Final[bytes] = b"\xd9\xd9\xf7"

UNDEFINED: Final = cbor2.undefined
"""What JavaScript writes for a field that is not there."""
MAX_ITEMS: Final = 65_536
"""Items in one message. An empty list costs 1 byte on the wire and 64 in memory: so many of them make 5 MB."""

_MAX_BIGNUM: Final = 32
_BREAK: Final = 0xFF

# What an open container waits for, where it is not a number of items (> 0): an indefinite one ends with a break.
_ARRAY_ITEM: Final = -1
_MAP_KEY: Final = -2
_MAP_VALUE: Final = -3
_BYTES_CHUNK: Final = -4
_TEXT_CHUNK: Final = -5
_INDEFINITE: Final = {2: _BYTES_CHUNK, 3: _TEXT_CHUNK, 4: _ARRAY_ITEM, 5: _MAP_KEY}


def loads(data: bytes, *, max_depth: int = 32, max_items: int = MAX_ITEMS) -> Any:
    """Decode one CBOR item that takes up the whole of ``data``.

    :param max_depth: how deep containers may nest
    :param max_items: the most items, including those in containers; data with fewer bytes is not counted
    :returns: int, bytes, str, list, dict, bool, None, float, UNDEFINED or cbor2's CBORSimpleValue
    :raises FormatError: not well-formed, trailing bytes, or more than this module allows
    """
    size = len(data)
    if size > max_items and item_end(data, 0, max_items) != size:
        raise FormatError("CBOR: bytes after the end")
    stream = BytesIO(data)
    if data.startswith(SELF_DESCRIBE):
        # cbor2 makes everything below this tag immutable (frozendict, tuple).
        stream.seek(3)
    try:
        value = cbor2.CBORDecoder(
            stream,
            tag_hook=_refuse_tag,
            semantic_decoders=_TAGS,
            max_depth=max_depth,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        ).decode()
    except cbor2.CBORError as error:
        raise FormatError(f"CBOR: {_plain(error)}") from None
    if stream.tell() != size:
        raise FormatError("CBOR: bytes after the end")
    return value


def optional(fields: Mapping[str, Any], name: str) -> Any:
    """Return a field of a decoded map; None if it is absent, null or undefined."""
    value = fields.get(name)
    return None if value is UNDEFINED else value


def dumps(value: Any) -> bytes:
    """Encode a value in CBOR, shortest forms, maps in their own order.

    :raises FormatError: a value that CBOR cannot hold
    """
    try:
        return cbor2.dumps(value)
    except (cbor2.CBORError, UnicodeEncodeError) as error:
        raise FormatError(f"CBOR: {error}") from None


def dumps_tagged(value: Any) -> bytes:
    """Encode a value in CBOR behind the self-describe tag, as the IC's endpoints expect it.

    :raises FormatError: a value that CBOR cannot hold
    """
    return SELF_DESCRIBE + dumps(value)


def head(major: int, argument: int) -> bytes:
    """Encode the head of an item, shortest form.

    :param major: major type, 0 to 7
    :param argument: the value, length, count or tag number, 0 to 2**64 - 1
    """
    top = major << 5
    if argument < 24:
        return bytes((top | argument,))
    if argument < 0x100:
        return bytes((top | 24, argument))
    if argument < 0x10000:
        return bytes((top | 25,)) + argument.to_bytes(2, "big")
    if argument < 0x100000000:
        return bytes((top | 26,)) + argument.to_bytes(4, "big")
    return bytes((top | 27,)) + argument.to_bytes(8, "big")


def item_end(data: bytes, start: int = 0, max_items: int = MAX_ITEMS) -> int:
    """Find where the item that begins at ``start`` ends, without decoding it.

    :returns: offset of the first byte after the item
    :raises FormatError: the item is not well-formed, is cut, or holds more than ``max_items`` items
    """
    end, left = walk(data, start, max_items)
    if left < 0:
        raise FormatError(f"CBOR: more than {max_items} items")
    return end


def walk(data: bytes, start: int, max_items: int) -> tuple[int, int]:
    """Find the end of the item that begins at ``start``, and count its items.

    :returns: offset of the first byte after the item; ``max_items`` less the number of items, -1 if there are more
    :raises FormatError: the item is not well-formed, or is cut
    """
    end = len(data)
    position = start
    outer: list[int] = []
    wanted = 1
    for left in range(max_items - 1, -1, -1):
        if position >= end:
            raise FormatError("CBOR: cut short")
        if data[position] == _BREAK:
            if wanted >= 0 or wanted == _MAP_VALUE:
                raise FormatError("CBOR: a break where an item was expected")
            position += 1
            wanted = outer.pop()
        else:
            major, argument, position = _read_head(data, position)
            if wanted > 0:
                wanted -= 1
            elif wanted == _MAP_KEY:
                wanted = _MAP_VALUE
            elif wanted == _MAP_VALUE:
                wanted = _MAP_KEY
            elif wanted <= _BYTES_CHUNK and (argument < 0 or wanted != _INDEFINITE.get(major)):
                raise FormatError("CBOR: a string's chunk of another type")
            if argument < 0:
                outer.append(wanted)
                wanted = _INDEFINITE[major]
            elif major == 2 or major == 3:
                position += argument
                if position > end:
                    raise FormatError("CBOR: cut short")
            elif 4 <= major <= 6:
                outer.append(wanted)
                wanted = argument if major == 4 else 2 * argument if major == 5 else 1
        while not wanted:
            if not outer:
                return position, left
            wanted = outer.pop()
    return position, -1


def container_head(data: bytes, position: int) -> tuple[int, int]:
    """Read the head of a list or map: how many items or pairs (-1: until a break), and where the first begins."""
    _, count, position = _read_head(data, position)
    return count, position


def is_break(data: bytes, position: int) -> bool:
    """Return whether a container of indefinite length ends here."""
    return position < len(data) and data[position] == _BREAK


def _read_head(data: bytes, position: int) -> tuple[int, int, int]:
    """Read an item's head: major type, argument (-1: indefinite length) and where the head ends.

    ``position`` must lie inside the data; where the head ends may not, which the next read finds.
    """
    initial = data[position]
    major, info = initial >> 5, initial & 31
    position += 1
    if info < 24:
        return major, info, position
    if info < 28:
        following = position + (1 << (info - 24))
        if following > len(data):
            raise FormatError("CBOR: cut short")
        argument = int.from_bytes(data[position:following], "big")
        if initial == 0xF8 and argument < 32:
            raise FormatError("CBOR: a simple value in two bytes instead of one")
        return major, argument, following
    if info == 31 and 2 <= major <= 5:
        return major, -1, position
    raise FormatError(f"CBOR: a reserved initial byte, {initial:#04x}")


def _plain(error: BaseException) -> str:
    """Return cbor2's reason as one line. If one of our callbacks failed, the reason is that of the error's cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def _refuse_tag(value: Any, immutable: bool) -> Any:
    raise FormatError("a tag that is not allowed here")


def _ignore_tag(value: Any, immutable: bool) -> Any:
    return value


def _natural_bignum(value: Any, immutable: bool) -> int:
    if not isinstance(value, bytes) or len(value) > _MAX_BIGNUM:
        raise FormatError(f"a bignum of more than {_MAX_BIGNUM} bytes, or of another type")
    return int.from_bytes(value, "big")


def _negative_bignum(value: Any, immutable: bool) -> int:
    return -1 - _natural_bignum(value, immutable)


_REFUSED_TAGS: Final = (0, 1, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000)
"""Those that cbor2 has a meaning for; all others reach ``tag_hook``."""
_TAGS: Final[dict[int, Callable[[Any, bool], Any]]] = {
    **dict.fromkeys(_REFUSED_TAGS, _refuse_tag),
    2: _natural_bignum,
    3: _negative_bignum,
    55799: _ignore_tag,
}
