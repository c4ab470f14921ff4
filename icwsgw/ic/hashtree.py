"""The IC's hash trees: decode, hash, look up, build, prune (interface spec, section "Certification").

A tree is a nested tuple, as the CBOR form of the spec has it::

    (0,)                  empty
    (1, left, right)      fork
    (2, label, subtree)   labeled
    (3, value)            leaf
    (4, digest)           pruned: only its 32-byte hash is known

The digest of a tree is the SHA-256 of a domain separator and the parts of the tree. A pruned node holds the digest of
the tree that it replaces, so a *witness* (a tree with pruned parts) has the digest of the whole tree. The look-up of a
path in a witness has one of three results:

* *found*: the value;
* *absent*: the tree has no such path. The labels of a level are strictly increasing, so two visible neighbours with
  nothing pruned between them prove that no label lies between them;
* *unknown*: the path may be in a pruned part. A level whose labels are not strictly increasing, or that mixes leaves
  with labels, proves nothing either.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence, Set
from enum import Enum
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple, TypeAlias, Union

from icwsgw.errors import FormatError
from icwsgw.ic import cbor

#: The deepest nesting. Real state trees have 20 to 30 levels, the red-black tree of a canister a few more.
MAX_DEPTH = 128
#: The most bytes of CBOR. An answer of the IC has at most 3 MiB.
MAX_SIZE = 4 << 20
#: The most forks and labels. Hashing this many takes about 50 ms; a page of 50 messages has about 300.
MAX_NODES = 20_000

Tree: TypeAlias = (
    tuple[Literal[0]]
    | tuple[Literal[1], "Tree", "Tree"]
    | tuple[Literal[2], bytes, "Tree"]
    | tuple[Literal[3], bytes]
    | tuple[Literal[4], bytes]
)


class Missing(Enum):
    """Why a look-up found nothing."""

    ABSENT = "absent"
    UNKNOWN = "unknown"


#: The tree proves that it has no such path.
ABSENT: Final = Missing.ABSENT
#: The tree proves nothing: the path is pruned, a level is malformed, or a subtree is in place of the value.
UNKNOWN: Final = Missing.UNKNOWN


class Found(NamedTuple):
    """A value found by :func:`lookup`."""

    value: bytes


EMPTY: Final[Tree] = (0,)

_LEAF = b"\x10ic-hashtree-leaf"
_FORK = b"\x10ic-hashtree-fork"
_LABELED = b"\x13ic-hashtree-labeled"
_EMPTY_DIGEST = sha256(b"\x11ic-hashtree-empty").digest()


def fork(left: Tree, right: Tree) -> Tree:
    """Return the fork of two trees. The labels on the left must be lower than those on the right."""
    return (1, left, right)


def labeled(label: bytes, subtree: Tree) -> Tree:
    """Return `subtree` under `label`."""
    return (2, label, subtree)


def leaf(value: bytes) -> Tree:
    """Return the leaf that holds `value`."""
    return (3, value)


def pruned(digest: bytes) -> Tree:
    """Return the pruned node that replaces a tree with this 32-byte digest."""
    return (4, digest)


def decode(
    data: bytes | Sequence[Any],
    *,
    max_depth: int = MAX_DEPTH,
    max_size: int = MAX_SIZE,
    max_nodes: int = MAX_NODES,
) -> Tree:
    """Decode a tree.

    :param data: CBOR bytes, with or without a self-describe tag, or the result of a CBOR decoder
    :param max_depth: the most levels of nodes
    :param max_size: the most bytes, if `data` is bytes
    :param max_nodes: the most forks and labels
    :raises FormatError: not a tree, or beyond a limit
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        if len(data) > max_size:
            raise FormatError(f"hash tree: {len(data)} bytes, more than {max_size}")
        data = cbor.loads(bytes(data), max_depth=max_depth + 1)
    return _node(data, max_depth, [max_nodes])


def _node(node: Any, room: int, budget: list[int]) -> Tree:
    """Return one node. `room` is the number of levels still allowed, `budget` that of forks and labels."""
    if not room:
        raise FormatError("hash tree: too deep")
    if not isinstance(node, (list, tuple)) or not node:
        raise FormatError("hash tree: a node is not an array")
    kind = node[0]
    size = len(node)
    # In Python, True and 1.0 equal 1, but they are not valid kinds.
    if type(kind) is not int:
        raise FormatError("hash tree: a node without a kind")
    if size == 3:
        budget[0] -= 1
        if budget[0] < 0:
            raise FormatError("hash tree: too many nodes")
        if kind == 1:
            return (1, _node(node[1], room - 1, budget), _node(node[2], room - 1, budget))
        if kind == 2 and type(node[1]) is bytes:
            return (2, node[1], _node(node[2], room - 1, budget))
    elif size == 2 and type(node[1]) is bytes:
        if kind == 4 and len(node[1]) == 32:
            return (4, node[1])
        if kind == 3:
            return (3, node[1])
    elif size == 1 and kind == 0:
        return EMPTY
    raise FormatError(f"hash tree: malformed node of kind {kind}")


def encode(tree: Tree) -> bytes:
    """Return the CBOR of a tree with the self-describe tag, as canisters and replicas write it."""
    out = [cbor.SELF_DESCRIBE]
    _encode(tree, out)
    return b"".join(out)


def to_cbor(tree: Tree) -> bytes:
    """Return the CBOR of a tree without the tag, for use in a larger structure."""
    out: list[bytes] = []
    _encode(tree, out)
    return b"".join(out)


def _encode(tree: Tree, out: list[bytes]) -> None:
    if tree[0] == 1:
        out.append(b"\x83\x01")
        _encode(tree[1], out)
        _encode(tree[2], out)
    elif tree[0] == 2:
        out.extend((b"\x83\x02", cbor.head(2, len(tree[1])), tree[1]))
        _encode(tree[2], out)
    elif tree[0] == 0:
        out.append(b"\x81\x00")
    else:
        out.extend((b"\x82\x03" if tree[0] == 3 else b"\x82\x04", cbor.head(2, len(tree[1])), tree[1]))


def reconstruct(tree: Tree) -> bytes:
    """Return the 32-byte digest of a tree."""
    if tree[0] == 1:
        return sha256(_FORK + reconstruct(tree[1]) + reconstruct(tree[2])).digest()
    if tree[0] == 2:
        return sha256(_LABELED + tree[1] + reconstruct(tree[2])).digest()
    if tree[0] == 3:
        return sha256(_LEAF + tree[1]).digest()
    if tree[0] == 4:
        return tree[1]
    return _EMPTY_DIGEST


def _forest(tree: Tree) -> list[Tree]:
    """Return the nodes of one level from left to right, without forks and empty nodes."""
    out: list[Tree] = []
    stack = [tree]
    while stack:
        node = stack.pop()
        while node[0] == 1:
            stack.append(node[2])
            node = node[1]
        if node[0] != 0:
            out.append(node)
    return out


def _find(tree: Tree, label: bytes) -> Tree | Missing:
    forest = _forest(tree)
    if len(forest) == 1 and forest[0][0] == 3:
        return ABSENT
    found: Tree | None = None
    last: bytes | None = None
    hidden = False  # a pruned node was seen after the last label below `label`
    possible = False  # `label` may be in a pruned node
    passed = False  # a label above `label` was seen
    for node in forest:
        if node[0] == 2:
            here = node[1]
            if last is not None and here <= last:
                return UNKNOWN
            last = here
            if here == label:
                found = node[2]
            elif here < label:
                hidden = False
            elif not passed:
                passed = True
                possible = hidden
        elif node[0] == 4:
            hidden = True
        else:
            return UNKNOWN
    if found is not None:
        return found
    return UNKNOWN if (possible if passed else hidden) else ABSENT


def lookup_subtree(tree: Tree, path: Iterable[bytes]) -> Tree | Missing:
    """Return the subtree at `path`, or ABSENT, or UNKNOWN (also if the subtree is pruned)."""
    for label in path:
        below = _find(tree, label)
        if isinstance(below, Missing):
            return below
        tree = below
    return UNKNOWN if tree[0] == 4 else tree


def lookup(tree: Tree, path: Iterable[bytes]) -> Found | Missing:
    """Return the value at `path` as Found, or ABSENT, or UNKNOWN (also if a subtree is at `path`)."""
    node = lookup_subtree(tree, path)
    if isinstance(node, Missing):
        return node
    if node[0] == 3:
        return Found(node[1])
    return ABSENT if node[0] == 0 else UNKNOWN


def children(tree: Tree) -> list[tuple[bytes, Tree]]:
    """Return the visible labels of the first level with their subtrees, in order.

    :raises FormatError: the labels are not strictly increasing, or the level has a leaf
    """
    out: list[tuple[bytes, Tree]] = []
    for node in _forest(tree):
        if node[0] == 2:
            if out and node[1] <= out[-1][0]:
                raise FormatError("hash tree: labels out of order")
            out.append((node[1], node[2]))
        elif node[0] == 3:
            raise FormatError("hash tree: a leaf where labels belong")
    return out


def is_contiguous(tree: Tree, labels: Set[bytes]) -> bool:
    """Return whether these labels are neighbours on the first level, with no other node, shown or pruned, between."""
    forest = [node[1] if node[0] == 2 else None for node in _forest(tree)]
    at = [index for index, label in enumerate(forest) if label in labels]
    return len(at) == len(labels) and (not at or at[-1] - at[0] == len(at) - 1)


def list_labels(tree: Tree, path: Iterable[bytes] = ()) -> list[bytes]:
    """Return the visible labels under `path`, in order; an empty list if `path` is absent or unknown.

    :raises FormatError: see :func:`children`
    """
    node = lookup_subtree(tree, path)
    return [] if isinstance(node, Missing) else [label for label, _ in children(node)]


def label_map(items: Sequence[tuple[bytes, Tree]]) -> Tree:
    """Return the balanced tree of (label, subtree) pairs.

    :raises ValueError: the labels are not strictly increasing
    """
    for (before, _), (after, _) in pairwise(items):
        if before >= after:
            raise ValueError("labels are not strictly increasing")
    return _balanced(items, 0, len(items)) if items else EMPTY


def _balanced(items: Sequence[tuple[bytes, Tree]], start: int, end: int) -> Tree:
    if end - start == 1:
        return (2, *items[start])
    middle = (start + end) // 2
    return (1, _balanced(items, start, middle), _balanced(items, middle, end))


def merge(one: Tree, other: Tree) -> Tree:
    """Merge two witnesses of one tree: the result shows everything that either of them shows, with the same digest.

    :raises FormatError: the witnesses have different digests
    """
    if reconstruct(one) != reconstruct(other):
        raise FormatError("hash tree: two witnesses of different trees")
    return _merge(one, other)


def _merge(one: Tree, other: Tree) -> Tree:
    if one[0] == 4 or one == other:
        return other
    if one[0] == 1 and other[0] == 1:
        return (1, _merge(one[1], other[1]), _merge(one[2], other[2]))
    if one[0] == 2 and other[0] == 2:
        return (2, one[1], _merge(one[2], other[2]))
    # the digests are equal, so other is pruned here
    return one


Branch: TypeAlias = Mapping[bytes, Union[bytes, "Branch"]]


def from_mapping(branch: Branch) -> Tree:
    """Build the tree of nested mappings. A mapping becomes a level of labels, bytes become a leaf."""
    return label_map(
        [
            (label, leaf(below) if isinstance(below, bytes) else from_mapping(below))
            for label, below in sorted(branch.items())
        ]
    )


def witness(tree: Tree, paths: Iterable[Sequence[bytes]]) -> Tree:
    """Prune all parts of a tree that the paths do not need; the digest stays the same.

    The result shows the whole subtree at each path. If a path is absent, the labels of its neighbours stay visible to
    prove the absence.
    """
    wanted = [tuple(path) for path in paths]
    return _witness(tree, wanted) if wanted else pruned(reconstruct(tree))


def _witness(tree: Tree, paths: list[tuple[bytes, ...]]) -> Tree:
    if () in paths:
        return tree
    labels = [node[1] for node in _forest(tree) if node[0] == 2]
    if not labels:
        return tree
    keep: dict[bytes, list[tuple[bytes, ...]]] = {}
    for path in paths:
        at = bisect_left(labels, path[0])
        if at < len(labels) and labels[at] == path[0]:
            keep.setdefault(path[0], []).append(path[1:])
            continue
        for neighbour in labels[max(at - 1, 0) : at + 1]:
            keep.setdefault(neighbour, [])
    return _prune(tree, keep)[0]


def _prune(tree: Tree, keep: Mapping[bytes, list[tuple[bytes, ...]]]) -> tuple[Tree, bool]:
    """Prune the labels of one level that are not in `keep`. Also return whether the level has any that are."""
    if tree[0] == 1:
        left, left_kept = _prune(tree[1], keep)
        right, right_kept = _prune(tree[2], keep)
        if left_kept or right_kept:
            return (1, left, right), True
        return (4, sha256(_FORK + reconstruct(left) + reconstruct(right)).digest()), False
    if tree[0] == 0:
        # a digest in its place would be an unknown part of this level
        return tree, False
    if tree[0] == 2 and (below := keep.get(tree[1])) is not None:
        return (2, tree[1], _witness(tree[2], below) if below else pruned(reconstruct(tree[2]))), True
    return (4, reconstruct(tree)), False
