"""The type of fuzz targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Target(NamedTuple):
    """A parser of foreign bytes that is fuzzed.

    :ivar run: parses any bytes. It ignores the errors that the parser documents; any other exception is a bug, and so
        is a difference from a second implementation
    :ivar samples: valid inputs, from which mutations are made
    :ivar dictionary: byte strings that are tokens of the format, for the fuzzer's dictionary
    """

    run: Callable[[bytes], None]
    samples: list[bytes]
    dictionary: tuple[bytes, ...] = ()


def in_pieces(data: bytes, size: int) -> list[bytes]:
    """Cut bytes into pieces of one size; 0: one piece."""
    size = size or len(data) or 1
    return [data[at : at + size] for at in range(0, len(data), size)]
