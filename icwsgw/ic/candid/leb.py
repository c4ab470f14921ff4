"""LEB128 and SLEB128 integers (Candid spec, section Notation).

Candid allows overlong encodings (its tests require that ``80 00`` is read as 0), so the caller bounds the length in
bytes. Long numbers are assembled from two halves, recursively. Shifting single bytes into a growing integer would take
quadratic time, which a hostile message could exploit.
"""

from __future__ import annotations

from icwsgw.errors import FormatError

_PLAIN = 32  # up to this many bytes, a simple loop is faster than halving


def _join(data: bytes, start: int, end: int) -> int:
    """Return the unsigned number in the low seven bits of each byte of data[start:end], lowest first."""
    size = end - start
    if size <= _PLAIN:
        number = 0
        for i in range(end - 1, start - 1, -1):
            number = number << 7 | data[i] & 0x7F
        return number
    middle = start + size // 2
    return _join(data, middle, end) << 7 * (middle - start) | _join(data, start, middle)


def _number_end(data: bytes, start: int, max_bytes: int) -> int:
    """Return the offset after the first byte at or after ``start`` whose high bit is clear.

    :raises FormatError: cut short, or longer than max_bytes
    """
    end = start
    stop = min(len(data), start + max_bytes)
    while end < stop:
        if data[end] < 0x80:
            return end + 1
        end += 1
    if stop == len(data):
        raise FormatError(f"candid: number at byte {start} is cut short")
    raise FormatError(f"candid: number at byte {start} is longer than {max_bytes} bytes")


def read_unsigned(data: bytes, start: int, max_bytes: int) -> tuple[int, int]:
    """Read a LEB128 number.

    :param max_bytes: the most bytes of its encoding
    :returns: the number and the offset after it
    :raises FormatError: cut short, or longer than max_bytes
    """
    if start < len(data) and data[start] < 0x80:
        return data[start], start + 1
    end = _number_end(data, start, max_bytes)
    return _join(data, start, end), end


def read_signed(data: bytes, start: int, max_bytes: int) -> tuple[int, int]:
    """Read an SLEB128 number.

    :param max_bytes: the most bytes of its encoding
    :returns: the number and the offset after it
    :raises FormatError: cut short, or longer than max_bytes
    """
    end = _number_end(data, start, max_bytes)
    number = _join(data, start, end)
    if data[end - 1] & 0x40:
        number -= 1 << 7 * (end - start)
    return number, end


def write_unsigned(number: int) -> bytes:
    """Return the shortest LEB128 encoding of a number.

    :raises FormatError: the number is negative
    """
    if number < 0x80:
        if number < 0:
            raise FormatError("candid: a negative number has no unsigned form")
        return bytes((number,))
    size = (number.bit_length() + 6) // 7
    out = bytearray(_split(number, size))
    out[-1] &= 0x7F
    return bytes(out)


def write_signed(number: int) -> bytes:
    """Return the shortest SLEB128 encoding of a number."""
    size = (number if number >= 0 else ~number).bit_length() // 7 + 1
    out = bytearray(_split(number & (1 << 7 * size) - 1, size))
    out[-1] &= 0x7F
    return bytes(out)


def _split(number: int, size: int) -> bytes:
    """Return ``size`` groups of seven bits of a number, lowest first, each with the high bit set."""
    if size <= _PLAIN:
        return bytes(number >> 7 * i & 0x7F | 0x80 for i in range(size))
    low = size // 2
    return _split(number & (1 << 7 * low) - 1, low) + _split(number >> 7 * low, size - low)
