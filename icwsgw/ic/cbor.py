"""CBOR (RFC 8949), strict where it reads, for bytes that strangers send.

``loads`` is cbor2's decoder with its generosity taken away: no trailing bytes, no duplicate map keys, only text and byte
strings as keys, bounded depth and number of items, and of all tags only the self-describe one (55799, ignored wherever
it stands, as serde_cbor does) and bignums of at most 32 bytes (which agents in JavaScript use for BigInt). Everything
that is wrong is one exception, :class:`~icwsgw.errors.FormatError`.

``item_end`` and ``map_spans`` find items in the bytes without decoding them, so that an envelope can be relayed as it
came. They keep their own stack and can neither recurse nor read outside the data.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

import cbor2

from icwsgw.errors import FormatError

SELF_DESCRIBE: Final = b"\xd9\xd9\xf7"

MAX_ITEMS: Final = 65_536
"""Items in one message. An empty list costs 1 byte on the wire and 64 in memory: 65,536 of them make 5 MB at most."""
_MAX_BIGNUM: Final = 32
_SELF_DESCRIBE_TAG: Final = 55799
_BREAK: Final = 0xFF


def loads(data: bytes, *, max_depth: int = 32) -> Any:
    """Decode one CBOR item that takes up the whole of ``data``.

    :param max_depth: how deep containers and tags may nest
    :returns: int, bytes, str, list, dict, bool, None, float, or cbor2's undefined and CBORSimpleValue
    :raises FormatError: not well-formed, trailing bytes, or more than this module allows
    """
    if len(data) > MAX_ITEMS:
        item_end(data, 0)
    stream = BytesIO(data)
    while data[stream.tell() : stream.tell() + 3] == SELF_DESCRIBE:
        stream.seek(3, 1)
    try:
        value = cbor2.CBORDecoder(
            stream,
            tag_hook=_refuse_unknown_tag,
            semantic_decoders=_TAGS,
            max_depth=max_depth,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        ).decode()
    except cbor2.CBORError as error:
        raise FormatError(f"CBOR: {error}") from None
    if stream.tell() != len(data):
        raise FormatError(f"CBOR: {len(data) - stream.tell()} bytes after the end")
    return value


def dumps(value: Any) -> bytes:
    """Encode a value in CBOR, shortest forms, maps in their own order.

    :raises FormatError: a value that CBOR cannot hold
    """
    try:
        return cbor2.dumps(value)
    except cbor2.CBORError as error:
        raise FormatError(f"CBOR: {error}") from None


def dumps_tagged(value: Any) -> bytes:
    """Encode a value in CBOR behind the self-describe tag, as the IC's endpoints want it."""
    return SELF_DESCRIBE + dumps(value)


def head(major: int, argument: int) -> bytes:
    """Encode the head of an item: major type 0 to 7 and its argument (value, length or count), shortest form."""
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


def item_end(data: bytes, start: int = 0) -> int:
    """Find where the item that begins at ``start`` ends, without decoding it.

    :returns: offset of the first byte after the item
    :raises FormatError: the item is not well-formed, is cut, or has more than MAX_ITEMS items inside
    """
    end = len(data)
    position = start
    # How many items each open container still wants; None: indefinite, ends with a break. The odd half of an
    # indefinite map is watched in the same stack: -1 none yet, -2 a key waits for its value, -3 byte chunks, -4 text.
    stack: list[int] = []
    wanted = 1
    for _ in range(MAX_ITEMS):
        if position >= end:
            raise FormatError("CBOR: cut short")
        initial = data[position]
        position += 1
        if initial == _BREAK:
            if wanted >= 0 or wanted == _MAP_VALUE:
                raise FormatError("CBOR: break where an item was expected")
            wanted = stack.pop()
        else:
            major, info = initial >> 5, initial & 31
            if info < 24:
                argument = info
            elif info < 28:
                width = 1 << (info - 24)
                argument = int.from_bytes(data[position : position + width], "big")
                position += width
                if position > end:
                    raise FormatError("CBOR: cut short")
                if major == 7 and info == 24 and argument < 32:
                    raise FormatError("CBOR: malformed simple value")
            elif info == 31 and 2 <= major <= 5:
                argument = -1
            else:
                raise FormatError(f"CBOR: reserved initial byte {initial:#04x}")
            if wanted <= _CHUNKS_OF_BYTES and (argument < 0 or major != (2 if wanted == _CHUNKS_OF_BYTES else 3)):
                raise FormatError("CBOR: a chunk of another type in a string")
            if wanted > 0:
                wanted -= 1
            elif wanted == _MAP_KEY:
                wanted = _MAP_VALUE
            elif wanted == _MAP_VALUE:
                wanted = _MAP_KEY
            if argument < 0:
                stack.append(wanted)
                wanted = _INDEFINITE[major]
            elif major == 2 or major == 3:
                position += argument
                if position > end:
                    raise FormatError("CBOR: cut short")
            elif 4 <= major <= 6:
                stack.append(wanted)
                wanted = argument * 2 if major == 5 else 1 if major == 6 else argument
        while wanted == 0:
            if not stack:
                return position
            wanted = stack.pop()
    raise FormatError(f"CBOR: more than {MAX_ITEMS} items")


_ARRAY: Final = -1
_MAP_KEY: Final = -2
_MAP_VALUE: Final = -3
_CHUNKS_OF_BYTES: Final = -4
_CHUNKS_OF_TEXT: Final = -5
_INDEFINITE: Final = {2: _CHUNKS_OF_BYTES, 3: _CHUNKS_OF_TEXT, 4: _ARRAY, 5: _MAP_KEY}


def map_spans(data: bytes, start: int = 0) -> dict[str, tuple[int, int]]:
    """Find the values of a map with text keys, without decoding them.

    A self-describe tag before the map is skipped.

    :returns: for each key the offsets (start, end) of its value in ``data``
    :raises FormatError: not such a map, cut, or a key twice
    """
    while data[start : start + 3] == SELF_DESCRIBE:
        start += 3
    if start >= len(data) or data[start] >> 5 != 5:
        raise FormatError("CBOR: not a map")
    spans: dict[str, tuple[int, int]] = {}
    count, position = _count(data, start)
    while count:
        if position < len(data) and data[position] == _BREAK and count < 0:
            break
        if position >= len(data) or data[position] >> 5 != 3:
            raise FormatError("CBOR: a map key that is not text")
        value = item_end(data, position)
        key = loads(data[position:value])
        if key in spans:
            raise FormatError("CBOR: a map key twice")
        position = item_end(data, value)
        spans[key] = (value, position)
        count -= 1
    return spans


def _count(data: bytes, start: int) -> tuple[int, int]:
    """Give a container's count (-1: indefinite) and where its first item begins."""
    info = data[start] & 31
    if info == 31:
        return -1, start + 1
    if info < 24:
        return info, start + 1
    if info > 27:
        raise FormatError("CBOR: reserved initial byte")
    first = start + 1 + (1 << (info - 24))
    return int.from_bytes(data[start + 1 : first], "big"), first


def _refuse_unknown_tag(tag: cbor2.CBORTag, immutable: bool) -> Any:
    raise cbor2.CBORDecodeError(f"tag {tag.tag} is not allowed")


def _refuse_tag(decoder: cbor2.CBORDecoder, immutable: bool) -> Any:
    raise cbor2.CBORDecodeError("a tag that is not allowed")


_TAGS: Final = {
    tag: _refuse_tag for tag in (0, 1, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000)
}
