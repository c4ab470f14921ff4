"""The red-black tree of canisters in Rust. tests/devnet/wasm/test_real_cdk.py compares it with the crate's own."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.devnet import certified_map
from icwsgw.devnet.certified_map import CertifiedMap
from icwsgw.ic import hashtree
from icwsgw.ic.hashtree import ABSENT, EMPTY, Found

KEYS = st.integers(0, 40).map(lambda number: b"%02d" % number)


def value(key: bytes) -> hashtree.Tree:
    return hashtree.leaf(b"value " + key)


def check(made: CertifiedMap, keys: set[bytes]) -> None:
    """The invariants of the tree, and its content."""

    def black_height(node: certified_map._Link, low: bytes, high: bytes) -> int:
        if node is None:
            return 0
        assert low < node.entry.key < high
        assert node.right is None or not node.right.red, "leans to the right"
        assert not (node.red and node.left is not None and node.left.red), "two red nodes in a row"
        left, right = black_height(node.left, low, node.entry.key), black_height(node.right, node.entry.key, high)
        assert left == right
        return left + (not node.red)

    assert made._root is None or not made._root.red
    black_height(made._root, b"", b"\xff")
    assert len(made) == len(keys)
    whole = made.range_witness(b"", b"\xff")
    assert hashtree.reconstruct(whole) == made.digest()
    for number in range(41):
        key = b"%02d" % number
        assert (key in made) == (key in keys)
        assert hashtree.lookup(whole, [key]) == (Found(b"value " + key) if key in keys else ABSENT)


@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=60))
def test_any_order_of_insertions_and_removals(steps: list[tuple[bool, bytes]]) -> None:
    made, keys = CertifiedMap(), set[bytes]()
    for insert, key in steps:
        if insert:
            made.put(key, value(key))
            keys.add(key)
        else:
            assert made.remove(key) == (key in keys)
            keys.discard(key)
    check(made, keys)


@given(st.sets(KEYS, max_size=30), KEYS, KEYS)
def test_a_witness_shows_its_range_and_proves_what_is_absent_in_it(keys: set[bytes], one: bytes, other: bytes) -> None:
    first, last = min(one, other), max(one, other)
    made = CertifiedMap()
    for key in sorted(keys, key=lambda key: Random(key[1]).random()):
        made.put(key, value(key))
    witness = made.range_witness(first, last)
    assert hashtree.reconstruct(witness) == made.digest()
    for number in range(int(first), int(last) + 1):
        key = b"%02d" % number
        assert hashtree.lookup(witness, [key]) == (Found(b"value " + key) if key in keys else ABSENT)
    shown = {key for key in keys if isinstance(hashtree.lookup(witness, [key]), Found)}
    assert shown == {key for key in keys if first <= key <= last}


def test_a_copy_keeps_what_was() -> None:
    made = CertifiedMap()
    for number in range(20):
        made.put(b"%02d" % number, value(b"%02d" % number))
    before, copy = made.digest(), made.copy()
    for number in range(0, 20, 3):
        made.remove(b"%02d" % number)
    made.put(b"01", hashtree.leaf(b"other"))
    assert copy.digest() == before != made.digest()
    check(copy, {b"%02d" % number for number in range(20)})


def test_an_empty_map() -> None:
    made = CertifiedMap()
    assert made.range_witness(b"a", b"b") == EMPTY
    assert made.digest() == hashtree.reconstruct(EMPTY)
    assert not made.remove(b"a")


@pytest.mark.parametrize("count", [1, 2, 3, 50, 1000])
def test_the_shape_for_keys_in_order(count: int) -> None:
    """As queues grow: the depth is at most twice that of a perfect tree."""
    made = CertifiedMap()
    for number in range(count):
        made.put(b"%04d" % number, value(b"%04d" % number))

    def depth(node: certified_map._Link) -> int:
        return 0 if node is None else 1 + max(depth(node.left), depth(node.right))

    assert depth(made._root) <= 2 * count.bit_length()
