"""The certified map of canisters in Rust: a left-leaning red-black tree that is a hash tree.

The WebSocket CDK certifies its messages with ``RbTree`` of the crate ic-certification (2.6.0, ``rb_tree/mod.rs``). The
specification leaves the shape of a tree open, but the shape decides how long a witness is and what a client hashes.
This map makes the same trees and the same witnesses, byte for byte.

Nodes never change, so a copy is free and a transaction can be undone by putting the old root back. Digests are computed
on demand, and only for new nodes.

R. Sedgewick, "Left-leaning Red-Black Trees", 2008, describes insertion and deletion.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TypeAlias

from icwsgw.devnet.merkle import EMPTY_DIGEST, FORK, TreeEntry
from icwsgw.ic import hashtree
from icwsgw.ic.hashtree import EMPTY, Tree, pruned, reconstruct


class _Node:
    __slots__ = ("_digest", "entry", "left", "red", "right")

    def __init__(
        self, entry: TreeEntry, left: _Link = None, right: _Link = None, red: bool = True, digest: bytes | None = None
    ) -> None:
        self.entry = entry
        self.left = left
        self.right = right
        self.red = red
        self._digest = digest

    def digest(self) -> bytes:
        if self._digest is None:
            digest = self.entry.digest()
            if self.right is not None:
                digest = sha256(FORK + digest + self.right.digest()).digest()
            if self.left is not None:
                digest = sha256(FORK + self.left.digest() + digest).digest()
            self._digest = digest
        return self._digest

    def coloured(self, red: bool) -> _Node:
        return self if red == self.red else _Node(self.entry, self.left, self.right, red, self._digest)

    def with_left(self, left: _Link) -> _Node:
        return _Node(self.entry, left, self.right, self.red)

    def with_right(self, right: _Link) -> _Node:
        return _Node(self.entry, self.left, right, self.red)


_Link: TypeAlias = _Node | None


class CertifiedMap:
    """An ordered map from labels to subtrees."""

    __slots__ = ("_root", "_size")

    def __init__(self) -> None:
        self._root: _Link = None
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: bytes) -> bool:
        node = self._root
        while node is not None and node.entry.key != key:
            node = node.left if key < node.entry.key else node.right
        return node is not None

    def copy(self) -> CertifiedMap:
        """Return an independent copy of this map, in constant time."""
        copy = CertifiedMap()
        copy._root, copy._size = self._root, self._size
        return copy

    def digest(self) -> bytes:
        """Return the 32-byte digest of the whole tree."""
        return EMPTY_DIGEST if self._root is None else self._root.digest()

    def put(self, key: bytes, subtree: Tree) -> None:
        """Set the subtree under `key`."""
        if key not in self:
            self._size += 1
        self._root = _insert(self._root, TreeEntry(key, subtree)).coloured(False)

    def remove(self, key: bytes) -> bool:
        """Remove `key`; return whether it was there."""
        root = self._root
        if root is None or key not in self:
            return False
        if not _is_red(root.left) and not _is_red(root.right):
            root = root.coloured(True)
        rest = _delete(root, key)
        self._root = None if rest is None else rest.coloured(False)
        self._size -= 1
        return True

    def range_witness(self, first: bytes, last: bytes) -> Tree:
        """Return the tree, pruned outside the labels from `first` to `last`, both included.

        If one of them is not in the map, the label next to it outside the range shows that it is not there.
        """
        return _between(self._root, self._at_most(first), self._at_least(last), first, last)

    def _at_most(self, key: bytes) -> bytes | None:
        """Return the greatest label that is not above `key`."""
        node, best = self._root, None
        while node is not None:
            if node.entry.key > key:
                node = node.left
            else:
                best, node = node.entry.key, node.right
        return best

    def _at_least(self, key: bytes) -> bytes | None:
        """Return the smallest label that is not below `key`."""
        node, best = self._root, None
        while node is not None:
            if node.entry.key < key:
                node = node.right
            else:
                best, node = node.entry.key, node.left
        return best


# -- the tree ---------------------------------------------------------------------------------------------------------


def _is_red(node: _Link) -> bool:
    return node is not None and node.red


def _rotated_left(node: _Node) -> _Node:
    right = node.right
    assert right is not None
    return _Node(right.entry, _Node(node.entry, node.left, right.left), right.right, node.red)


def _rotated_right(node: _Node) -> _Node:
    left = node.left
    assert left is not None
    return _Node(left.entry, left.left, _Node(node.entry, left.right, node.right), node.red)


def _flipped(node: _Node) -> _Node:
    """Change the colours of a node and its two children."""
    left, right = node.left, node.right
    assert left is not None
    assert right is not None
    return _Node(node.entry, left.coloured(not left.red), right.coloured(not right.red), not node.red, node._digest)


def _balanced(node: _Node) -> _Node:
    if _is_red(node.right) and not _is_red(node.left):
        node = _rotated_left(node)
    left = node.left
    if left is not None and left.red:
        if _is_red(left.left):
            node = _rotated_right(node)
        if _is_red(node.right):
            node = _flipped(node)
    return node


def _insert(node: _Link, entry: TreeEntry) -> _Node:
    if node is None:
        return _Node(entry)
    if entry.key == node.entry.key:
        return _balanced(_Node(entry, node.left, node.right, node.red))
    if entry.key < node.entry.key:
        return _balanced(node.with_left(_insert(node.left, entry)))
    return _balanced(node.with_right(_insert(node.right, entry)))


def _two_black(node: _Link) -> bool:
    """Whether a node and its left child are black."""
    return not _is_red(node) and not _is_red(None if node is None else node.left)


def _red_moved_left(node: _Node) -> _Node:
    node = _flipped(node)
    right = node.right
    assert right is not None
    if _is_red(right.left):
        node = _flipped(_rotated_left(node.with_right(_rotated_right(right))))
    return node


def _red_moved_right(node: _Node) -> _Node:
    node = _flipped(node)
    assert node.left is not None
    if _is_red(node.left.left):
        node = _flipped(_rotated_right(node))
    return node


def _delete_first(node: _Node) -> _Link:
    if node.left is None:
        return None
    if _two_black(node.left):
        node = _red_moved_left(node)
    assert node.left is not None
    return _balanced(node.with_left(_delete_first(node.left)))


def _first(node: _Node) -> TreeEntry:
    while node.left is not None:
        node = node.left
    return node.entry


def _delete(node: _Node, key: bytes) -> _Link:
    """Remove a key that is in the tree."""
    if key < node.entry.key:
        if _two_black(node.left):
            node = _red_moved_left(node)
        assert node.left is not None
        return _balanced(node.with_left(_delete(node.left, key)))
    if _is_red(node.left):
        node = _rotated_right(node)
    if node.right is None:
        return None
    if _two_black(node.right):
        node = _red_moved_right(node)
    right = node.right
    assert right is not None
    if key == node.entry.key:
        return _balanced(_Node(_first(right), node.left, _delete_first(right), node.red))
    return _balanced(node.with_right(_delete(right, key)))


# -- witnesses --------------------------------------------------------------------------------------------------------


def _hidden(node: _Link) -> Tree:
    return EMPTY if node is None else pruned(node.digest())


def _joined(left: Tree, middle: Tree, right: Tree) -> Tree:
    """Return the tree of a node; parts that are all pruned become one."""
    if right == EMPTY:
        return middle if left == EMPTY else hashtree.fork(left, middle)
    if left == EMPTY:
        return hashtree.fork(middle, right)
    rest = hashtree.fork(middle, right)
    if middle[0] == right[0] == 4:
        rest = pruned(reconstruct(rest))
        if left[0] == 4:
            return pruned(reconstruct(hashtree.fork(left, rest)))
    return hashtree.fork(left, rest)


def _between(node: _Link, low: bytes | None, high: bytes | None, first: bytes, last: bytes) -> Tree:
    """Return the witness of a subtree.

    :param low: the bound below, which is shown without its value if it is not `first`; None: there is none
    :param high: the bound above, in the same way
    """
    if node is None:
        return EMPTY
    entry = node.entry
    key = entry.key
    above_low = low is None or key > low
    below_high = high is None or key < high
    left = _between(node.left, low, high, first, last) if above_low else _hidden(node.left)
    right = _between(node.right, low, high, first, last) if below_high else _hidden(node.right)
    if first <= key <= last:
        shown = hashtree.labeled(key, entry.subtree)
    elif key in (low, high):
        shown = hashtree.labeled(key, pruned(reconstruct(entry.subtree)))
    else:
        shown = pruned(entry.digest())
    return _joined(left, shown, right)
