"""An ordered map that is a hash tree: what canisters certify and what the replica certifies about them.

The IC specifies how a tree is hashed and that its labels are in order, but not its shape. This one is a crit-bit tree:
each fork is at the first bit in which its two sides differ. The shape depends only on the keys. An insertion or removal
rebuilds one path. Digests are computed on demand, and only for new nodes: a queue that grows by one message needs only
a few hashes, whatever its length. Nodes never change, so copying a map is free; the states of older blocks are kept in
this way.

Each byte of a key has nine bits; the first says whether the byte exists. A key therefore sorts before every longer key
that starts with it, and the order is the byte order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import TypeAlias, Union

from icwsgw.ic import hashtree
from icwsgw.ic.hashtree import EMPTY, Tree, pruned, reconstruct

FORK = b"\x10ic-hashtree-fork"
_LABELED = b"\x13ic-hashtree-labeled"
EMPTY_DIGEST = reconstruct(EMPTY)


class TreeEntry:
    """A key and its subtree, with their digest once it was asked for."""

    __slots__ = ("_digest", "key", "subtree")

    def __init__(self, key: bytes, subtree: Tree) -> None:
        self.key = key
        self.subtree = subtree
        self._digest: bytes | None = None

    def digest(self) -> bytes:
        """The hash of the labelled subtree."""
        if self._digest is None:
            self._digest = sha256(_LABELED + self.key + reconstruct(self.subtree)).digest()
        return self._digest


class _Fork:
    __slots__ = ("_digest", "bit", "left", "right")

    def __init__(self, bit: int, left: _Node, right: _Node) -> None:
        self.bit = bit
        self.left = left
        self.right = right
        self._digest: bytes | None = None

    def digest(self) -> bytes:
        if self._digest is None:
            self._digest = sha256(FORK + self.left.digest() + self.right.digest()).digest()
        return self._digest


_Node: TypeAlias = Union[TreeEntry, "_Fork"]


def _is_set(key: bytes, bit: int) -> bool:
    at, within = divmod(bit, 9)
    if at >= len(key):
        return False
    return within == 0 or bool(key[at] & (256 >> within))


def _first_difference(one: bytes, other: bytes) -> int:
    """Return the first bit in which two different keys differ."""
    size = min(len(one), len(other))
    difference = int.from_bytes(one[:size], "big") ^ int.from_bytes(other[:size], "big")
    if not difference:
        return size * 9
    place = size * 8 - difference.bit_length()
    return (place >> 3) * 9 + (place & 7) + 1


def _lowest(node: _Node) -> bytes:
    while isinstance(node, _Fork):
        node = node.left
    return node.key


def _highest(node: _Node) -> bytes:
    while isinstance(node, _Fork):
        node = node.right
    return node.key


class MerkleMap:
    """An ordered map from labels to subtrees, hashed as the IC hashes a level of labels."""

    __slots__ = ("_root", "_size")

    def __init__(self) -> None:
        self._root: _Node | None = None
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        stack = [self._root] if self._root is not None else []
        while stack:
            node = stack.pop()
            if isinstance(node, TreeEntry):
                yield node.key
            else:
                stack += (node.right, node.left)

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def get(self, key: bytes) -> Tree | None:
        """Return the subtree under `key`, or None."""
        leaf = self._nearest(key)
        return leaf.subtree if leaf is not None and leaf.key == key else None

    def digest(self) -> bytes:
        """Return the 32-byte digest of the whole tree."""
        return EMPTY_DIGEST if self._root is None else self._root.digest()

    def _nearest(self, key: bytes) -> TreeEntry | None:
        node = self._root
        while isinstance(node, _Fork):
            node = node.right if _is_set(key, node.bit) else node.left
        return node

    def copy(self) -> MerkleMap:
        """Return an independent copy of this map, in constant time, because nodes never change."""
        copy = MerkleMap()
        copy._root, copy._size = self._root, self._size
        return copy

    def put(self, key: bytes, subtree: Tree) -> None:
        """Set the subtree under `key`."""
        new: _Node = TreeEntry(key, subtree)
        nearest = self._nearest(key)
        if nearest is None:
            self._root, self._size = new, 1
            return
        path: list[tuple[_Fork, bool]] = []
        node = self._root
        if nearest.key == key:
            self._descend(key, path)
        else:
            bit = _first_difference(nearest.key, key)
            while isinstance(node, _Fork) and node.bit < bit:
                right = _is_set(key, node.bit)
                path.append((node, right))
                node = node.right if right else node.left
            assert node is not None
            new = _Fork(bit, node, new) if _is_set(key, bit) else _Fork(bit, new, node)
            self._size += 1
        self._root = _rebuilt(path, new)

    def _descend(self, key: bytes, path: list[tuple[_Fork, bool]]) -> None:
        node = self._root
        while isinstance(node, _Fork):
            right = _is_set(key, node.bit)
            path.append((node, right))
            node = node.right if right else node.left

    def remove(self, key: bytes) -> bool:
        """Remove `key`; return whether it was there."""
        nearest = self._nearest(key)
        if nearest is None or nearest.key != key:
            return False
        path: list[tuple[_Fork, bool]] = []
        self._descend(key, path)
        if path:
            above, right = path.pop()
            self._root = _rebuilt(path, above.left if right else above.right)
        else:
            self._root = None
        self._size -= 1
        return True

    def neighbours(self, key: bytes) -> tuple[bytes | None, bytes | None]:
        """Return the greatest label below `key` and the smallest one above it; `key` should not be in the map."""
        nearest = self._nearest(key)
        if nearest is None or nearest.key == key:
            return None, None
        bit = _first_difference(nearest.key, key)
        below: _Node | None = None
        above: _Node | None = None
        node = self._root
        while isinstance(node, _Fork) and node.bit < bit:
            if _is_set(key, node.bit):
                below, node = node.left, node.right
            else:
                above, node = node.right, node.left
        if _is_set(key, bit):
            below = node
        else:
            above = node
        return None if below is None else _highest(below), None if above is None else _lowest(above)

    def tree(self) -> Tree:
        """Return the whole map as a hash tree."""
        return EMPTY if self._root is None else _whole(self._root)

    def range_witness(self, first: bytes, last: bytes) -> Tree:
        """Return the tree, pruned outside the labels from `first` to `last`, both included."""
        return EMPTY if self._root is None else _range(self._root, first, last)

    def witness(self, shown: Mapping[bytes, Tree | None], absent: Iterable[bytes] = ()) -> Tree:
        """Return a pruned tree with the same digest that shows some labels and proves the absence of others.

        :param shown: labels in the map, each with its subtree, which may be pruned; None for the complete subtree
        :param absent: labels that are not in the map; the labels of their neighbours stay visible
        """
        if self._root is None:
            return EMPTY
        keep: dict[bytes, Tree | None] = {}
        for key in absent:
            for neighbour in self.neighbours(key):
                if neighbour is not None:
                    subtree = self.get(neighbour)
                    assert subtree is not None
                    keep[neighbour] = pruned(reconstruct(subtree))
        keep.update(shown)
        return _select(self._root, sorted(keep), keep)


def _rebuilt(path: list[tuple[_Fork, bool]], node: _Node) -> _Node:
    """Return a path rebuilt with a new node at its end."""
    for above, right in reversed(path):
        node = _Fork(above.bit, above.left, node) if right else _Fork(above.bit, node, above.right)
    return node


def _whole(node: _Node) -> Tree:
    if isinstance(node, TreeEntry):
        return hashtree.labeled(node.key, node.subtree)
    return hashtree.fork(_whole(node.left), _whole(node.right))


def _range(node: _Node, first: bytes, last: bytes) -> Tree:
    low, high = _lowest(node), _highest(node)
    if high < first or low > last:
        return pruned(node.digest())
    if first <= low and high <= last:
        return _whole(node)
    assert isinstance(node, _Fork)
    return hashtree.fork(_range(node.left, first, last), _range(node.right, first, last))


def _select(node: _Node, keys: list[bytes], keep: Mapping[bytes, Tree | None]) -> Tree:
    if not keys:
        return pruned(node.digest())
    if isinstance(node, TreeEntry):
        subtree = keep[node.key]
        return hashtree.labeled(node.key, node.subtree if subtree is None else subtree)
    left = [key for key in keys if not _is_set(key, node.bit)]
    right = keys[len(left) :]
    return hashtree.fork(_select(node.left, left, keep), _select(node.right, right, keep))
