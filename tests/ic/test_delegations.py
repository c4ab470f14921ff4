"""Delegations in the place of others: mainnet's own, and those of a made-up network."""

from __future__ import annotations

import cbor2
import pytest

from icwsgw.errors import CertificateInvalid, FormatError
from icwsgw.ic import hashtree
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from icwsgw.ic.certificate import (
    MAX_DELEGATION_AGE_NS,
    DelegationCache,
    build_certificate,
    decode_certificate,
    verify_certificate,
)
from icwsgw.ic.certificate_format import Delegation
from icwsgw.ic.delegations import (
    MAX_SIZE,
    CompatibleDelegations,
    delegation_of,
    merged,
    read_delegation,
    tail_of,
    with_delegation,
)
from icwsgw.ic.request_id import leb128
from tests.support.certificates import (
    CANISTER,
    IVG37,
    NOW,
    RANGES,
    ROOT_KEY_DER,
    ROOT_SUBNET,
    SECOND,
    SUBNET,
    SUBNET_KEY_DER,
    canister,
    delegate,
    read_state_answer,
    sign_as_root,
    sign_as_subnet,
    state,
    verify,
)

SHARDED, FLAT = read_state_answer("ivg37_time.bin"), read_state_answer("ivg37_delegated_v2.bin")


def of(certificate: bytes) -> Delegation:
    delegation = delegation_of(certificate)
    assert delegation is not None
    return delegation


def made(delegation: Delegation | None) -> bytes:
    return build_certificate(state(), sign_as_subnet, delegation)


def both_forms() -> tuple[Delegation, Delegation]:
    """Two witnesses of one root tree, as v2 and v3 give them."""
    ranges = cbor2.dumps([[low.raw, high.raw] for low, high in RANGES])
    shard, last = (cbor2.dumps([[low.raw, high.raw]]) for low, high in RANGES)
    tree = hashtree.from_mapping(
        {
            b"canister_ranges": {SUBNET.raw: {canister(0).raw: shard, canister(250).raw: last}},
            b"subnet": {SUBNET.raw: {b"canister_ranges": ranges, b"public_key": SUBNET_KEY_DER}},
            b"time": leb128(NOW),
        }
    )
    key = (b"subnet", SUBNET.raw, b"public_key")
    flat = [(b"time",), key, (b"subnet", SUBNET.raw, b"canister_ranges")]
    sharded = [(b"time",), key, (b"canister_ranges", SUBNET.raw, canister(0).raw)]
    one, other = (build_certificate(hashtree.witness(tree, paths), sign_as_root) for paths in (flat, sharded))
    return Delegation(SUBNET.raw, one), Delegation(SUBNET.raw, other)


@pytest.mark.parametrize("certificate", [SHARDED, FLAT, read_state_answer("224od_subnet.bin")])
def test_mainnet_s_delegation_is_found_without_decoding_the_rest(certificate: bytes) -> None:
    assert delegation_of(certificate) == decode_certificate(certificate).delegation
    assert with_delegation(certificate, of(certificate)) == certificate
    assert certificate.endswith(tail_of(certificate))
    assert of(certificate).certificate in tail_of(certificate)


def test_mainnet_s_forms_are_distinguished() -> None:
    assert read_delegation(of(FLAT)).flat
    assert not read_delegation(of(SHARDED)).flat
    assert read_delegation(of(FLAT)).public_key == read_delegation(of(SHARDED)).public_key


def test_a_mainnet_certificate_verifies_with_the_older_delegation_of_its_subnet() -> None:
    """Three years lie between the two: a subnet's key stays."""
    kept = CompatibleDelegations(DelegationCache())
    now_ns = decode_certificate(of(FLAT).certificate).time_ns
    kept.keep(MAINNET_ROOT_KEY_DER, of(FLAT), now_ns)
    shown = read_delegation(of(SHARDED))
    other = kept.in_place_of(MAINNET_ROOT_KEY_DER, of(SHARDED), shown, IVG37.raw, now_ns)
    assert other == of(FLAT)
    changed = with_delegation(SHARDED, other)
    verified = verify_certificate(changed, root_key_der=MAINNET_ROOT_KEY_DER, canister_id=IVG37, now_ns=None)
    assert verified.tree == decode_certificate(SHARDED).tree
    assert verified.delegation == of(FLAT)
    # icp-py-core reads it too: its decoder was not made here
    assert cbor2.loads(changed)["delegation"]["certificate"] == of(FLAT).certificate


def test_certificates_without_a_delegation() -> None:
    bare = made(None)
    assert delegation_of(bare) is None
    assert tail_of(bare) == b""
    assert delegation_of(b"") is None
    assert delegation_of(cbor2.dumps({"delegation": None})) is None
    with pytest.raises(FormatError):
        with_delegation(bare, delegate())


@pytest.mark.parametrize(
    "value",
    [1, "x", [], {}, {"subnet_id": b"x"}, {"certificate": b"x"}, {"subnet_id": "x", "certificate": b"x"},
     {"subnet_id": b"x", "certificate": b"y" * (MAX_SIZE + 1)}, list(range(1000))],
)  # fmt: skip
def test_what_is_no_delegation(value: object) -> None:
    with pytest.raises(FormatError):
        delegation_of(cbor2.dumps({"delegation": value}))


def test_a_delegation_that_is_not_the_last_field() -> None:
    delegation = delegate(sharded=True)
    inner = {"certificate": delegation.certificate, "subnet_id": delegation.subnet_id}
    data = cbor2.dumps({"delegation": inner, "signature": b"s" * 48, "tree": [0]})
    assert delegation_of(data) == delegation
    other = delegate(sharded=False)
    assert cbor2.loads(with_delegation(data, other)) == {
        "delegation": {"subnet_id": other.subnet_id, "certificate": other.certificate},
        "signature": b"s" * 48,
        "tree": [0],
    }


def test_two_witnesses_of_one_tree_become_one_with_both_forms() -> None:
    flat, sharded = both_forms()
    both = merged(flat, sharded)
    assert merged(sharded, flat) == both
    read = decode_certificate(both.certificate)
    for path in ((b"subnet", SUBNET.raw, b"canister_ranges"), (b"canister_ranges", SUBNET.raw, canister(0).raw)):
        assert isinstance(read.lookup(path), hashtree.Found)
    assert verify(made(both)).delegation == both
    with pytest.raises(FormatError):
        merged(flat, delegate(sharded=True))
    with pytest.raises(FormatError):
        merged(flat, Delegation(ROOT_SUBNET.raw, sharded.certificate))


class TestFlatDelegations:
    def kept(self, delegation: Delegation) -> CompatibleDelegations:
        kept = CompatibleDelegations(DelegationCache())
        kept.keep(ROOT_KEY_DER, delegation, NOW)
        return kept

    def find(
        self, kept: CompatibleDelegations, delegation: Delegation, canister_id: bytes = CANISTER.raw, now_ns: int = NOW
    ) -> Delegation | None:
        return kept.in_place_of(ROOT_KEY_DER, delegation, read_delegation(delegation), canister_id, now_ns)

    def test_another_one_of_the_subnet(self) -> None:
        flat = delegate(NOW - 5 * SECOND, sharded=False)
        kept = self.kept(flat)
        assert self.find(kept, delegate()) == flat
        assert kept.time_of(ROOT_KEY_DER, SUBNET.raw) == NOW - 5 * SECOND
        assert verify(with_delegation(made(delegate()), flat)).delegation == flat

    def test_where_both_are_one_tree_both_forms_are_shown(self) -> None:
        flat, sharded = both_forms()
        found = self.find(self.kept(flat), sharded)
        assert found == merged(flat, sharded)
        assert verify(made(found)).delegation == found
        # the shard that is shown does not hold this one, where agents that know shards would look for it
        assert self.find(self.kept(flat), sharded, canister(300).raw) == flat

    def test_the_newest_is_kept(self) -> None:
        newer, older = delegate(NOW, sharded=False), delegate(NOW - SECOND, sharded=False)
        kept = self.kept(newer)
        kept.keep(ROOT_KEY_DER, older, NOW)
        assert self.find(kept, delegate()) == newer

    def test_it_is_not_used_for_what_it_does_not_cover_nor_for_ever(self) -> None:
        kept = self.kept(delegate(sharded=False))
        assert self.find(kept, delegate(), canister(201).raw) is None
        assert self.find(kept, delegate(), now_ns=NOW + MAX_DELEGATION_AGE_NS) is not None
        assert self.find(kept, delegate(), now_ns=NOW + MAX_DELEGATION_AGE_NS + 1) is None
        assert len(kept) == 0

    def test_it_is_not_used_for_another_key_subnet_or_network(self) -> None:
        kept = self.kept(delegate(sharded=False))
        assert self.find(kept, delegate(subnet_key_der=ROOT_KEY_DER)) is None
        assert self.find(kept, delegate(subnet_id=ROOT_SUBNET)) is None
        assert kept.in_place_of(SUBNET_KEY_DER, delegate(), read_delegation(delegate()), CANISTER.raw, NOW) is None

    @pytest.mark.parametrize(
        "delegation",
        [
            delegate(sharded=True),
            delegate(sharded=False, sign=sign_as_subnet),
            delegate(NOW - MAX_DELEGATION_AGE_NS - 1, sharded=False),
            Delegation(SUBNET.raw, b"nonsense"),
            Delegation(ROOT_SUBNET.raw, delegate(sharded=False).certificate),
        ],
    )
    def test_what_does_not_hold_is_not_kept(self, delegation: Delegation) -> None:
        kept = CompatibleDelegations(DelegationCache())
        with pytest.raises(CertificateInvalid):
            kept.keep(ROOT_KEY_DER, delegation, NOW)
        assert len(kept) == 0

    def test_subnets_are_bounded(self) -> None:
        kept = CompatibleDelegations(DelegationCache(), max_subnets=3)
        for number in range(5):
            kept.keep(ROOT_KEY_DER, delegate(subnet_id=canister(number), sharded=False), NOW)
        assert len(kept) == 3
        assert kept.time_of(ROOT_KEY_DER, canister(4).raw) == NOW
        assert kept.time_of(ROOT_KEY_DER, canister(0).raw) is None
