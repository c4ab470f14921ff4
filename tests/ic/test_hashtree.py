"""Hash trees: the spec's example, its lookup rules as an oracle, and witnesses of random trees."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic import hashtree
from icwsgw.ic.hashtree import (
    ABSENT,
    EMPTY,
    UNKNOWN,
    Found,
    Missing,
    Tree,
    children,
    decode,
    encode,
    fork,
    from_mapping,
    is_contiguous,
    label_map,
    labeled,
    leaf,
    list_labels,
    lookup,
    lookup_subtree,
    merge,
    pruned,
    reconstruct,
    to_cbor,
    witness,
)

# The example of the interface specification, section "Certification", whole and with parts pruned.
SPEC_DIGEST = bytes.fromhex("eb5c5b2195e62d996b84c9bcc8259d19a83786a2f59e0878cec84c811f669aa0")
SPEC_CBOR = bytes.fromhex(
    "8301830183024161830183018302417882034568656c6c6f810083024179820345776f726c64"
    "83024162820344676f6f648301830241638100830241648203476d6f726e696e67"
)
SPEC_PRUNED_CBOR = bytes.fromhex(
    "83018301830241618301820458201b4feff9bef8131788b0c9dc6dbad6e81e524249c879e9f1"
    "0f71ce3749f5a63883024179820345776f726c6483024162820458207b32ac0c6ba8ce35ac"
    "82c255fc7906f7fc130dab2a090f80fe12f9c2cae83ba6830182045820ec8324b8a1f1ac16"
    "bd2e806edba78006479c9877fed4eb464a25485465af601d830241648203476d6f726e696e67"
)
SPEC_TREE = fork(
    fork(
        labeled(b"a", fork(fork(labeled(b"x", leaf(b"hello")), EMPTY), labeled(b"y", leaf(b"world")))),
        labeled(b"b", leaf(b"good")),
    ),
    fork(labeled(b"c", EMPTY), labeled(b"d", leaf(b"morning"))),
)
DIGEST = bytes(range(32))


# -- the example of the spec


def test_decodes_the_example() -> None:
    assert decode(SPEC_CBOR) == SPEC_TREE
    assert decode(b"\xd9\xd9\xf7" + SPEC_CBOR) == SPEC_TREE


def test_encodes_the_example() -> None:
    assert to_cbor(SPEC_TREE) == SPEC_CBOR
    assert encode(SPEC_TREE) == b"\xd9\xd9\xf7" + SPEC_CBOR


def test_digest_of_the_example() -> None:
    assert reconstruct(SPEC_TREE) == SPEC_DIGEST
    assert reconstruct(decode(SPEC_PRUNED_CBOR)) == SPEC_DIGEST


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("a/x", UNKNOWN),
        ("a/y", Found(b"world")),
        ("a/z", ABSENT),
        ("a/y/more", ABSENT),
        ("b", UNKNOWN),
        ("b/x", UNKNOWN),
        ("bb", UNKNOWN),
        ("c", UNKNOWN),
        ("d", Found(b"morning")),
        ("e", ABSENT),
        ("e/f", ABSENT),
        ("a", UNKNOWN),
    ],
)
def test_lookups_in_the_pruned_example(path: str, result: Found | Missing) -> None:
    assert lookup(decode(SPEC_PRUNED_CBOR), path.encode().split(b"/")) == result


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("a/x", Found(b"hello")),
        ("a/a", ABSENT),
        ("b", Found(b"good")),
        ("bb", ABSENT),
        ("c", ABSENT),
        ("c/x", ABSENT),
        ("0", ABSENT),
        ("", ABSENT),
    ],
)
def test_lookups_in_the_whole_example(path: str, result: Found | Missing) -> None:
    assert lookup(SPEC_TREE, path.encode().split(b"/")) == result


def test_the_empty_path() -> None:
    assert lookup(leaf(b"v"), ()) == Found(b"v")
    assert lookup(EMPTY, ()) is ABSENT
    assert lookup(pruned(DIGEST), ()) is UNKNOWN
    assert lookup(SPEC_TREE, ()) is UNKNOWN
    assert lookup_subtree(SPEC_TREE, ()) == SPEC_TREE
    assert lookup_subtree(pruned(DIGEST), ()) is UNKNOWN


# -- absence has to be proved


def at(*labels: str) -> Tree:
    """Return one level of nodes, left to right: `#` is a pruned part, `=` a leaf."""
    nodes = [
        pruned(DIGEST) if name == "#" else leaf(b"") if name == "=" else labeled(name.encode(), leaf(name.encode()))
        for name in labels
    ]
    tree = nodes[0]
    for node in nodes[1:]:
        tree = fork(tree, node)
    return tree


@pytest.mark.parametrize(
    ("level", "result"),
    [
        (at("a", "z"), ABSENT),
        (at("a"), ABSENT),
        (at("z"), ABSENT),
        (at("#", "a", "z", "#"), ABSENT),
        (at("="), ABSENT),
        (at("#"), UNKNOWN),
        (at("a", "#"), UNKNOWN),
        (at("#", "z"), UNKNOWN),
        (at("a", "#", "z"), UNKNOWN),
        (at("a", "#", "z", "zz"), UNKNOWN),
        (at("a", "#", "#", "z"), UNKNOWN),
        (at("#", "m", "#"), Found(b"m")),
    ],
)
def test_neighbours_prove_absence(level: Tree, result: Found | Missing) -> None:
    assert lookup(level, (b"m",)) == result


@pytest.mark.parametrize(
    "level",
    [at("z", "a"), at("a", "z", "b"), at("a", "m", "a"), at("m", "m"), at("a", "=", "z"), at("=", "="), at("m", "=")],
)
def test_a_malformed_level_proves_nothing(level: Tree) -> None:
    assert lookup(level, (b"m",)) is UNKNOWN
    assert lookup(level, (b"c",)) is UNKNOWN


# -- the spec's definitions, word for word, for trees that are well-formed


def spec_flatten(tree: Tree) -> list[Tree]:
    if tree[0] == 0:
        return []
    if tree[0] == 1:
        return spec_flatten(tree[1]) + spec_flatten(tree[2])
    return [tree]


def spec_well_formed(tree: Tree) -> bool:
    if tree[0] == 3:
        return True
    trees = spec_flatten(tree)
    labels = [node[1] for node in trees if node[0] == 2]
    return (
        labels == sorted(set(labels))
        and all(spec_well_formed(node[2]) for node in trees if node[0] == 2)
        and not any(node[0] == 3 for node in trees)
    )


def spec_find(label: bytes, trees: list[Tree]) -> Tree | Missing:
    for node in trees:
        if node[0] == 2 and node[1] == label:
            return node[2]
    for one, other in pairwise(trees):
        if one[0] == 2 and other[0] == 2 and one[1] < label < other[1]:
            return ABSENT
    if not trees:
        return ABSENT
    first, last = trees[0], trees[-1]
    if first[0] == 2 and label < first[1]:
        return ABSENT
    if last[0] == 2 and last[1] < label:
        return ABSENT
    return ABSENT if len(trees) == 1 and first[0] == 3 else UNKNOWN


def spec_lookup(path: Sequence[bytes], tree: Tree) -> Found | Missing:
    for label in path:
        below = spec_find(label, spec_flatten(tree))
        if isinstance(below, Missing):
            return below
        tree = below
    if tree[0] == 3:
        return Found(tree[1])
    return ABSENT if tree[0] == 0 else UNKNOWN


LABELS = st.sampled_from([b"", b"a", b"aa", b"ab", b"b", b"c", b"d", b"\xff"])
ANY_TREE: st.SearchStrategy[Any] = st.recursive(
    st.just(EMPTY) | st.builds(leaf, st.binary(max_size=3)) | st.just(pruned(DIGEST)),
    lambda below: st.builds(fork, below, below) | st.builds(labeled, LABELS, below),
    max_leaves=12,
)
PATHS = st.lists(LABELS, max_size=3).map(tuple)


@given(ANY_TREE, PATHS)
def test_lookups_follow_the_spec(tree: Tree, path: tuple[bytes, ...]) -> None:
    result = lookup(tree, path)
    if spec_well_formed(tree):
        assert result == spec_lookup(path, tree)
    elif result is not UNKNOWN:
        # What is off the path may be malformed; what is on it is not, so the rules still hold there.
        assert result == spec_lookup(path, tree)


@given(ANY_TREE)
def test_encoding_is_reversible(tree: Tree) -> None:
    assert decode(encode(tree)) == tree
    assert decode(cbor2.loads(to_cbor(tree))) == tree
    assert to_cbor(tree) == cbor2.dumps(tree)


@given(ANY_TREE)
def test_digest_agrees_with_another_implementation(tree: Tree) -> None:
    other = pytest.importorskip("icp_certificate.certificate")
    certificate = other.Certificate({"tree": cbor2.loads(to_cbor(tree)), "signature": b""})
    assert certificate.root_hash() == reconstruct(tree)


# -- witnesses

BRANCHES: st.SearchStrategy[Any] = st.recursive(
    st.binary(max_size=4),
    lambda below: st.dictionaries(LABELS, below, max_size=6),
    max_leaves=25,
).filter(lambda branch: isinstance(branch, dict))


@given(BRANCHES, st.lists(PATHS, max_size=4), PATHS)
def test_a_witness_says_what_the_tree_says_or_nothing(
    branch: Any, paths: list[tuple[bytes, ...]], other: tuple[bytes, ...]
) -> None:
    tree = from_mapping(branch)
    partial = witness(tree, paths)
    assert reconstruct(partial) == reconstruct(tree)
    for path in paths:
        assert lookup(partial, path) == lookup(tree, path)
        assert lookup_subtree(partial, path) == lookup_subtree(tree, path)
    assert lookup(partial, other) in (lookup(tree, other), UNKNOWN)


@given(BRANCHES)
def test_a_tree_of_mappings_holds_them(branch: Any) -> None:
    def check(below: Any, path: tuple[bytes, ...]) -> None:
        if isinstance(below, bytes):
            assert lookup(tree, path) == Found(below)
            return
        assert list_labels(tree, path) == sorted(below)
        for label in below:
            check(below[label], (*path, label))

    tree = from_mapping(branch)
    assert spec_well_formed(tree)
    check(branch, ())


def test_a_witness_hides_what_was_not_asked_for() -> None:
    tree = from_mapping({b"%03d" % number: b"value %03d" % number for number in range(100)})
    partial = witness(tree, [(b"050",)])
    encoded = encode(partial)
    assert b"value 050" in encoded
    assert encoded.count(b"value") == 1
    assert len(children(partial)) == 1
    assert lookup(partial, (b"051",)) is UNKNOWN


def test_a_witness_of_absence_shows_labels_only() -> None:
    tree = from_mapping({b"a": b"secret", b"c": {b"x": b"secret"}, b"e": b"secret"})
    partial = witness(tree, [(b"b",)])
    assert lookup(partial, (b"b",)) is ABSENT
    assert list_labels(partial) == [b"a", b"c"]
    assert b"secret" not in encode(partial)


def test_a_witness_of_nothing_is_the_digest() -> None:
    assert witness(SPEC_TREE, []) == pruned(SPEC_DIGEST)


# -- building and listing


def test_label_map_is_balanced_and_ordered() -> None:
    items = [(b"%04d" % number, leaf(b"")) for number in range(1000)]
    tree = label_map(items)
    assert children(tree) == items
    depth = 0
    while tree[0] == 1:
        tree, depth = tree[2], depth + 1
    assert depth <= 10
    assert label_map([]) == EMPTY


@pytest.mark.parametrize("labels", [(b"b", b"a"), (b"a", b"a"), (b"a", b"c", b"b")])
def test_label_map_refuses_disorder(labels: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        label_map([(label, EMPTY) for label in labels])


@pytest.mark.parametrize("level", [at("b", "a"), at("a", "a"), at("a", "="), at("=")])
def test_children_refuses_malformed_levels(level: Tree) -> None:
    with pytest.raises(FormatError):
        children(level)


def test_list_labels_under_a_path() -> None:
    assert list_labels(SPEC_TREE) == [b"a", b"b", b"c", b"d"]
    assert list_labels(SPEC_TREE, (b"a",)) == [b"x", b"y"]
    assert list_labels(SPEC_TREE, (b"c",)) == []
    assert list_labels(SPEC_TREE, (b"zz",)) == []
    assert list_labels(decode(SPEC_PRUNED_CBOR), (b"b",)) == []


@pytest.mark.parametrize(
    ("level", "labels", "expected"),
    [
        (at("#", "b", "c", "d", "#"), "bcd", True),
        (at("#", "b", "c", "d", "#"), "cd", True),
        (at("#", "b", "c", "d", "#"), "bd", False),
        (at("b", "#", "d"), "bd", False),
        (at("b", "d"), "bdx", False),
        (at("b", "d"), "b", True),
        (at("b", "d"), "", True),
    ],
)
def test_is_contiguous(level: Tree, labels: str, expected: bool) -> None:
    assert is_contiguous(level, {label.encode() for label in labels}) is expected


# -- what is no tree


@pytest.mark.parametrize(
    "node",
    [
        None,
        7,
        b"",
        {},
        [],
        [[]],
        [True],
        [0, 0],
        [0.0],
        [-1],
        [1],
        [1, [0]],
        [1, [0], [0], [0]],
        [True, [0], [0]],
        [1, [0], None],
        [2, b"a"],
        [2, "a", [0]],
        [2, [0], b"a"],
        [3],
        [3, "text"],
        [3, b"", b""],
        [4, bytes(31)],
        [4, bytes(33)],
        [4, "x" * 32],
        [5, b""],
        [2**64, b""],
    ],
    ids=repr,
)
def test_refuses_what_is_no_tree(node: Any) -> None:
    with pytest.raises(FormatError):
        decode(cbor2.dumps(node))
    with pytest.raises(FormatError):
        decode(cbor2.dumps([2, b"label", node]))


def test_no_byte_less_and_no_byte_more() -> None:
    for end in range(len(SPEC_CBOR)):
        with pytest.raises(FormatError):
            decode(SPEC_CBOR[:end])
    with pytest.raises(FormatError):
        decode(SPEC_CBOR + b"\0")


def tower(levels: int) -> bytes:
    return b"\x83\x02\x41a" * (levels - 1) + b"\x81\x00"


def test_depth_is_bounded() -> None:
    deepest = decode(tower(hashtree.MAX_DEPTH))
    assert len(reconstruct(deepest)) == 32
    assert lookup(deepest, [b"a"] * (hashtree.MAX_DEPTH - 1)) is ABSENT
    assert encode(deepest) == b"\xd9\xd9\xf7" + tower(hashtree.MAX_DEPTH)
    for levels in (hashtree.MAX_DEPTH + 1, 1000, 100_000):
        with pytest.raises(FormatError):
            decode(tower(levels))
    nested: Any = [0]
    for _ in range(5000):
        nested = [1, nested, [0]]
    with pytest.raises(FormatError, match="too deep"):
        decode(nested)


def test_size_is_bounded() -> None:
    with pytest.raises(FormatError, match="bytes"):
        decode(to_cbor(leaf(bytes(100))), max_size=100)
    wide = from_mapping({b"%05d" % number: b"" for number in range(101)})
    assert decode(encode(wide), max_nodes=201) == wide
    with pytest.raises(FormatError, match="too many nodes"):
        decode(encode(wide), max_nodes=200)


# -- merging witnesses


@given(BRANCHES, st.lists(PATHS, max_size=4), st.lists(PATHS, max_size=4), PATHS)
def test_two_witnesses_merged_say_what_either_says(
    branch: hashtree.Branch, one: list[tuple[bytes, ...]], other: list[tuple[bytes, ...]], path: tuple[bytes, ...]
) -> None:
    tree = from_mapping(branch)
    first, second = witness(tree, one), witness(tree, other)
    both = merge(first, second)
    assert both == merge(second, first)
    assert reconstruct(both) == reconstruct(tree)
    for partial in (first, second):
        result = lookup(partial, path)
        if result is not UNKNOWN:
            assert lookup(both, path) == result
        assert merge(both, partial) == both
    assert merge(both, tree) == tree


@given(BRANCHES, st.lists(PATHS, max_size=3), st.lists(PATHS, max_size=3))
def test_what_is_merged_shows_no_more_than_both(
    branch: hashtree.Branch, one: list[tuple[bytes, ...]], other: list[tuple[bytes, ...]]
) -> None:
    tree = from_mapping(branch)
    first, second = witness(tree, one), witness(tree, other)

    def pruned_parts(node: Tree) -> set[bytes]:
        if node[0] == 1:
            return pruned_parts(node[1]) | pruned_parts(node[2])
        if node[0] == 2:
            return pruned_parts(node[2])
        return {node[1]} if node[0] == 4 else set()

    assert pruned_parts(merge(first, second)) <= pruned_parts(first) | pruned_parts(second)


@given(ANY_TREE, ANY_TREE)
def test_different_trees_are_not_merged(one: Tree, other: Tree) -> None:
    if reconstruct(one) == reconstruct(other):
        assert reconstruct(merge(one, other)) == reconstruct(one)
        return
    with pytest.raises(FormatError, match="different trees"):
        merge(one, other)


def test_the_spec_s_example_is_whole_again() -> None:
    partial = decode(SPEC_PRUNED_CBOR)
    assert merge(partial, SPEC_TREE) == merge(SPEC_TREE, partial) == SPEC_TREE
    assert merge(partial, witness(SPEC_TREE, [(b"b",)])) != partial


def test_a_witness_of_absence_shows_its_two_neighbours_and_no_others() -> None:
    letters = [bytes([letter]) for letter in b"abcdefghijklmnopqrstuvwxyz"]
    tree = from_mapping(dict.fromkeys(letters, b"value"))

    def shown(node: Tree) -> list[bytes]:
        if node[0] == 1:
            return shown(node[1]) + shown(node[2])
        return [node[1]] if node[0] == 2 else []

    for missing, neighbours in [(b"m5", [b"m", b"n"]), (b"A", [b"a"]), (b"zz", [b"z"])]:
        partial = witness(tree, [(missing,)])
        assert shown(partial) == neighbours
        assert lookup(partial, [missing]) is ABSENT
        assert reconstruct(partial) == reconstruct(tree)


def test_a_witness_of_absence_keeps_what_is_empty_between_the_neighbours() -> None:
    """A digest there would say that the part between them is unknown."""
    tree = fork(EMPTY, fork(labeled(b"a", leaf(b"1")), fork(EMPTY, labeled(b"z", leaf(b"2")))))
    shown = witness(tree, [[b"time"]])
    assert lookup(tree, [b"time"]) is lookup(shown, [b"time"]) is ABSENT
    assert reconstruct(shown) == reconstruct(tree)
    assert list_labels(shown) == [b"a", b"z"]
