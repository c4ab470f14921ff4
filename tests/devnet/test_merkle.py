"""The ordered map against a plain dict, its digests and witnesses against the hash trees of icwsgw.ic."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from icwsgw.devnet.merkle import MerkleMap
from icwsgw.ic import hashtree
from icwsgw.ic.hashtree import ABSENT, UNKNOWN, Found

KEYS = st.binary(max_size=4) | st.sampled_from([b"", b"\0", b"\0\0", b"a", b"ab", b"ab\0", b"\xff" * 5])


def filled(keys: set[bytes]) -> MerkleMap:
    built = MerkleMap()
    for key in keys:
        built.put(key, hashtree.leaf(b"<" + key + b">"))
    return built


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.map = MerkleMap()
        self.model: dict[bytes, bytes] = {}

    @rule(key=KEYS, value=st.binary(max_size=3))
    def put(self, key: bytes, value: bytes) -> None:
        self.map.put(key, hashtree.leaf(value))
        self.model[key] = value

    @rule(key=KEYS)
    def remove(self, key: bytes) -> None:
        assert self.map.remove(key) == (self.model.pop(key, None) is not None)

    @invariant()
    def same_content_and_digest(self) -> None:
        assert list(self.map) == sorted(self.model)
        assert len(self.map) == len(self.model)
        assert all(self.map.get(key) == hashtree.leaf(value) for key, value in self.model.items())
        tree = self.map.tree()
        assert hashtree.reconstruct(tree) == self.map.digest()
        assert hashtree.children(tree) == [(key, hashtree.leaf(self.model[key])) for key in sorted(self.model)]


TestModel = Model.TestCase
TestModel.settings = settings(deadline=None)


@settings(deadline=None)
@given(st.sets(KEYS), KEYS)
def test_neighbours_of_an_absent_key(keys: set[bytes], key: bytes) -> None:
    keys.discard(key)
    expected = (max((k for k in keys if k < key), default=None), min((k for k in keys if k > key), default=None))
    assert filled(keys).neighbours(key) == expected


@settings(deadline=None)
@given(st.sets(KEYS), st.sets(KEYS))
def test_a_witness_shows_what_is_there_and_proves_what_is_not(keys: set[bytes], wanted: set[bytes]) -> None:
    built = filled(keys)
    witness = built.witness(dict.fromkeys(wanted & keys), wanted - keys)
    assert hashtree.reconstruct(witness) == built.digest()
    for key in wanted:
        assert hashtree.lookup(witness, [key]) == (Found(b"<" + key + b">") if key in keys else ABSENT)


@settings(deadline=None)
@given(st.sets(KEYS, min_size=1), st.data())
def test_a_range_shows_all_of_it_and_nothing_else(keys: set[bytes], data: st.DataObject) -> None:
    ordered = sorted(keys)
    first, last = sorted(data.draw(st.lists(st.sampled_from(ordered), min_size=2, max_size=2)))
    built = filled(keys)
    witness = built.range_witness(first, last)
    assert hashtree.reconstruct(witness) == built.digest()
    assert [key for key, _ in hashtree.children(witness)] == [key for key in ordered if first <= key <= last]


def test_what_is_pruned_is_unknown() -> None:
    witness = filled({b"a", b"b", b"c", b"d"}).range_witness(b"b", b"c")
    assert hashtree.lookup(witness, [b"a"]) is UNKNOWN
    assert hashtree.lookup(witness, [b"bb"]) is ABSENT


def test_the_shape_does_not_depend_on_the_order_of_insertion() -> None:
    keys = [b"%020d" % n for n in range(100)]
    forward, backward = MerkleMap(), MerkleMap()
    for key, other in zip(keys, reversed(keys), strict=True):
        forward.put(key, hashtree.EMPTY)
        backward.put(other, hashtree.EMPTY)
    assert forward.digest() == backward.digest()
