"""A fast parser for the most frequent kind of frame: whole, unfragmented and binary.

Autobahn parses every kind of frame at any cut of the stream, with about a dozen calls for each. A client's envelope
nearly always comes as one masked binary frame that is whole in one read. For that a few operations on the bytes are
enough: 2 us instead of 13 for 500 bytes. Autobahn parses everything else.
"""

from __future__ import annotations

#: Bytes. The parser unmasks by arithmetic on one large number; for larger frames Autobahn's native code is faster.
LONGEST = 16_384


def read_binary_frame(data: bytes, start: int) -> tuple[bytes, int] | None:
    """Parse the frame at ``start``.

    :return: the payload and where the next frame begins; None unless it is a whole, final, masked binary frame of at
        most :data:`LONGEST` bytes whose length is encoded as RFC 6455, section 5.2, demands
    """
    size = len(data)
    if size - start < 6 or data[start] != 0x82:
        return None
    length = data[start + 1] - 128
    at = start + 2
    if length == 126:
        length = data[at] << 8 | data[at + 1]
        at += 2
        if not 126 <= length <= LONGEST:
            return None
    elif not 0 <= length < 126:
        # not masked, or a length of eight bytes
        return None
    first = at + 4
    end = first + length
    if end > size:
        return None
    mask = data[at:first]
    key = int.from_bytes((mask * ((length + 3) >> 2))[:length], "little")
    payload = (int.from_bytes(data[first:end], "little") ^ key).to_bytes(length, "little")
    return payload, end
