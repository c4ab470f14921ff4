"""What a fuzz target is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Target(NamedTuple):
    """A reader of bytes from outside, under attack.

    :ivar run: reads any bytes. It swallows the errors that the reader documents; whatever else comes out is a bug, a
        disagreement with a second implementation too
    :ivar samples: valid inputs, which damaged ones are made of
    :ivar words: byte strings that mean something to the reader, for the fuzzer's dictionary
    """

    run: Callable[[bytes], None]
    samples: list[bytes]
    words: tuple[bytes, ...] = ()


def in_pieces(data: bytes, size: int) -> list[bytes]:
    """Cut bytes into pieces of one size; 0: one piece."""
    size = size or len(data) or 1
    return [data[at : at + size] for at in range(0, len(data), size)]
