"""Mutates valid samples: their bytes, their lengths and numbers, and, for CBOR, any node of the decoded value."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic import cbor

#: Bytes with a meaning: ends of LEB128 groups, CBOR heads of great lengths, breaks, tags, signs.
# fmt: off
NOTABLE = [
    0x00, 0x01, 0x18, 0x1B, 0x3B, 0x5B, 0x5F, 0x7B, 0x7F, 0x80, 0x9B, 0x9F, 0xBB, 0xBF, 0xC0, 0xD9, 0xF7, 0xFB, 0xFF,
]
# fmt: on
LONG = [b"\x9b" + b"\xff" * 8, b"\x5b\x00\x00\x00\x01" + bytes(4), b"\xff" * 9 + b"\x01", b"\x80" * 20, b"\x81" * 400]
PIECES = [
    b"DIDL",
    b"\xd9\xd9\xf7",
    b"\x6d\x6f",
    b"\x6e\x00",
    b"\r\n\r\n",
    b"\x82\x04\x58\x20",
    b"\x83\x01",
    b"\x83\x02",
]
ODD_VALUES: list[Any] = [None, True, 0, -1, 2**64 - 1, -(2**64), 1.5, "", "x", b"", b"x" * 40, [], {}, [[]], {"x": b""}]


@st.composite
def mutated_bytes(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """Return a sample after a few random changes."""
    out = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(out)))
        kind = draw(st.integers(0, 8))
        if kind == 0 and at < len(out):
            out[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == 1 and at < len(out):
            out[at] = draw(st.sampled_from(NOTABLE))
        elif kind == 2:
            out[at:at] = draw(st.binary(min_size=1, max_size=6))
        elif kind == 3:
            del out[at : at + draw(st.integers(1, 12))]
        elif kind == 4:
            del out[at:]
        elif kind == 5:
            piece = out[max(0, at - draw(st.integers(1, 24))) : at]
            out[at:at] = piece * draw(st.sampled_from([1, 2, 50]))
        elif kind == 6:
            out[at:at] = draw(st.sampled_from(LONG + PIECES))
        elif kind == 7:
            other = draw(st.sampled_from(samples))
            out[at:] = other[draw(st.integers(0, len(other))) :]
        elif at < len(out):
            # lengths and small numbers plus or minus one or two
            out[at] = (out[at] + draw(st.sampled_from([1, -1, 2, -2]))) & 255
    return bytes(out)


@st.composite
def mutated_cbor(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """Return a sample that is still CBOR, with another structure."""
    value = cbor.loads(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 3))):
        value = _changed(draw, value)
    return cbor.dumps_tagged(value)


def _changed(draw: st.DrawFn, value: Any) -> Any:
    descend = draw(st.integers(0, 4)) > 0
    if descend and isinstance(value, dict) and value:
        key = draw(st.sampled_from(sorted(value, key=repr)))
        kind = draw(st.integers(0, 5))
        rest = {name: item for name, item in value.items() if name != key}
        if kind == 0:
            return rest
        if kind == 1:
            return {**rest, draw(st.sampled_from(["x", b"x", 5])): value[key]}
        return {**value, key: _changed(draw, value[key])}
    if descend and isinstance(value, list) and value:
        at = draw(st.integers(0, len(value) - 1))
        kind = draw(st.integers(0, 6))
        if kind == 0:
            return value[:at] + value[at + 1 :]
        if kind == 1:
            return [*value[:at], value[at], *value[at:]]
        return [*value[:at], _changed(draw, value[at]), *value[at + 1 :]]
    if isinstance(value, bytes) and draw(st.booleans()):
        inner = _inner(value)
        if inner is not None:
            return cbor.dumps_tagged(_changed(draw, inner))
        return draw(mutated_bytes([value]))
    if type(value) is int and draw(st.booleans()):
        return draw(st.sampled_from([value + 1, max(value - 1, 0), 0, 2**63, 2**64 - 1]))
    wrapped = [[value], {"x": value}, _deep(value)]
    return draw(st.sampled_from(ODD_VALUES + wrapped))


def _inner(value: bytes) -> Any:
    """Decode CBOR inside a byte string, such as a delegation's certificate."""
    try:
        inner = cbor.loads(value)
    except FormatError:
        return None
    return inner if isinstance(inner, (dict, list)) else None


def _deep(value: Any) -> Any:
    for _ in range(20):
        value = [value]
    return value


def is_cbor(samples: list[bytes]) -> bool:
    return all(_inner(sample) is not None for sample in samples)


def inputs(samples: list[bytes]) -> st.SearchStrategy[bytes]:
    """Mutated samples, and random bytes."""
    maps = [sample for sample in samples if _inner(sample) is not None]
    strategies = [mutated_bytes(samples), st.binary(max_size=60)]
    if maps:
        strategies.append(mutated_cbor(maps))
    return st.one_of(strategies)
