"""Verification: what must hold, and everything that must be refused."""

from __future__ import annotations

import random
from typing import Any

import cbor2
import pytest

from icwsgw.errors import CertificateInvalid
from icwsgw.ic import bls, hashtree
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from icwsgw.ic.certificate import (
    MAX_DELEGATION_AGE_NS,
    Delegation,
    DelegationCache,
    build_certificate,
    check_age,
    decode_certificate,
    subnet_of,
    subnet_ranges,
    verify_certificate,
)
from icwsgw.ic.hashtree import Found, Tree, from_mapping, leaf, witness
from icwsgw.ic.network_limits import MAX_AGE_NS, MAX_FUTURE_NS
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import leb128
from tests.support.certificates import (
    C224OD,
    CANISTER,
    IVG37,
    NOW,
    O3OW2,
    QXESV,
    ROOT_KEY_DER,
    ROOT_SECRET,
    ROOT_SUBNET,
    RYJL3,
    SECOND,
    SUBNET,
    SUBNET_KEY_DER,
    SUBNET_SECRET,
    UZR34,
    bare,
    canister,
    delegate,
    read_state_answer,
    sign_as_root,
    sign_as_subnet,
    state,
    verify,
    verify_mainnet,
)

# -- the mainnet's


@pytest.mark.parametrize(
    ("data", "canister_id", "subnet_id"),
    [
        (read_state_answer("ivg37_time.bin"), IVG37, QXESV),
        (read_state_answer("ivg37_delegated_v2.bin"), IVG37, QXESV),
        (bare("ivg37_request_status.bin"), IVG37, QXESV),
        (read_state_answer("224od_subnet.bin"), C224OD, O3OW2),
    ],
    ids=["sharded ranges", "ranges of the subnet", "request status", "shard of many"],
)
def test_mainnet_certificates(data: bytes, canister_id: Principal, subnet_id: Principal) -> None:
    certificate = verify_mainnet(data, canister_id=canister_id)
    assert subnet_of(certificate, MAINNET_ROOT_KEY_DER) == subnet_id
    verify_mainnet(data, subnet_id=subnet_id)
    for other in (RYJL3, Principal(b""), Principal(b"\xff" * 29)):
        with pytest.raises(CertificateInvalid, match="may not speak for"):
            verify_mainnet(data, canister_id=other)
    with pytest.raises(CertificateInvalid, match="another subnet"):
        verify_mainnet(data, subnet_id=UZR34)


@pytest.mark.parametrize("name", ["ivg37_time_pruned_ranges.bin", "ivg37_delegated_v2_pruned_subnet.bin"])
def test_pruned_ranges_cover_no_canister(name: str) -> None:
    data = read_state_answer(name)
    with pytest.raises(CertificateInvalid, match="may not speak for"):
        verify_mainnet(data, canister_id=IVG37)
    verify_mainnet(data, subnet_id=QXESV)


@pytest.mark.parametrize(("name", "subnet"), [("uzr34_node_keys.bin", UZR34), ("o3ow2_subnet_key.bin", O3OW2)])
def test_mainnet_certificates_of_subnets(name: str, subnet: Principal) -> None:
    certificate = verify_mainnet(read_state_answer(name), subnet_id=subnet)
    assert isinstance(certificate.lookup((b"subnet", subnet.raw, b"public_key")), Found)


def test_the_root_subnet_needs_no_delegation() -> None:
    certificate = verify_mainnet(bare("root_subnet.bin"), subnet_id=ROOT_SUBNET)
    assert certificate.delegation is None
    assert subnet_of(certificate, MAINNET_ROOT_KEY_DER) == ROOT_SUBNET
    verify_mainnet(bare("root_subnet.bin"), canister_id=RYJL3)


def test_the_ends_of_a_mainnet_range() -> None:
    data = bare("ivg37_request_status.bin")
    for number in ("00000000002000000101", "000000000020000c0101", "00000000002fffff0101"):
        verify_mainnet(data, canister_id=Principal(bytes.fromhex(number)))
    for number in ("00000000000000020101", "00000000003000020101", "00000000001fffff0101", "00000000002fffff010100"):
        with pytest.raises(CertificateInvalid, match="may not speak for"):
            verify_mainnet(data, canister_id=Principal(bytes.fromhex(number)))


def test_the_canisters_of_the_subnet_that_has_signed() -> None:
    ranges = subnet_ranges(verify_mainnet(read_state_answer("ivg37_time.bin"), canister_id=IVG37), MAINNET_ROOT_KEY_DER)
    assert ranges.covers(IVG37.raw)
    assert not ranges.covers(RYJL3.raw)
    root = subnet_ranges(verify_mainnet(bare("root_subnet.bin"), canister_id=RYJL3), MAINNET_ROOT_KEY_DER)
    assert root.subnet_id == ROOT_SUBNET.raw
    for sharded in (False, True):
        shown = verify(build_certificate(state(), sign_as_subnet, delegate(sharded=sharded)))
        ranges = subnet_ranges(shown, ROOT_KEY_DER)
        assert ranges.subnet_id == SUBNET.raw
        assert [ranges.covers(canister(number).raw) for number in (99, 100, 200, 201, 300)] == [
            *(False, True, True, False, True)
        ]


def test_another_root_key() -> None:
    data = read_state_answer("ivg37_time.bin")
    other = bls.der_wrap(bls.public_key(12345))
    for root_key_der in (other, other[:-1], b""):
        with pytest.raises(CertificateInvalid):
            verify_certificate(data, root_key_der=root_key_der, canister_id=IVG37, now_ns=None)


def test_no_flipped_bit_of_a_mainnet_certificate_verifies() -> None:
    data = read_state_answer("ivg37_time.bin")
    now_ns = decode_certificate(data).time_ns
    dice = random.Random(4)
    for position in dice.sample(range(3, len(data)), 150):
        flipped = bytearray(data)
        flipped[position] ^= 1 << dice.randrange(8)
        with pytest.raises(CertificateInvalid):
            verify_certificate(bytes(flipped), root_key_der=MAINNET_ROOT_KEY_DER, canister_id=IVG37, now_ns=now_ns)


def test_agrees_with_another_implementation() -> None:
    other = pytest.importorskip("icp_certificate.certificate")
    for name in ("ivg37_time.bin", "224od_subnet.bin"):
        data = read_state_answer(name)
        ours, theirs = decode_certificate(data), other.Certificate(cbor2.loads(data))
        assert theirs.root_hash() == hashtree.reconstruct(ours.tree)
        assert theirs.lookup_time() == ours.time_ns


# -- a network of our own


def test_without_delegation_the_root_key_signs() -> None:
    data = build_certificate(state(), sign_as_root)
    assert verify(data).time_ns == NOW
    with pytest.raises(CertificateInvalid, match="signature"):
        verify(build_certificate(state(), sign_as_subnet))


@pytest.mark.parametrize("sharded", [True, False])
def test_with_delegation_the_subnet_signs(sharded: bool) -> None:
    data = build_certificate(state(), sign_as_subnet, delegate(sharded=sharded))
    for covered in (canister(100), canister(150), canister(200), canister(300)):
        verify(data, covered)
    for other in (canister(99), canister(201), canister(299), canister(301)):
        with pytest.raises(CertificateInvalid, match="may not speak for"):
            verify(data, other)
    with pytest.raises(CertificateInvalid, match="signature"):
        verify(build_certificate(state(), sign_as_root, delegate(sharded=sharded)))


@pytest.mark.parametrize("sharded", [True, False])
def test_a_delegation_without_ranges_covers_nothing(sharded: bool) -> None:
    data = build_certificate(state(), sign_as_subnet, delegate(ranges=[], sharded=sharded))
    with pytest.raises(CertificateInvalid, match="may not speak for"):
        verify(data)


def delegation_over(tree: Tree) -> bytes:
    """Return a certificate of the subnet whose delegation certifies `tree`."""
    return build_certificate(state(), sign_as_subnet, Delegation(SUBNET.raw, build_certificate(tree, sign_as_root)))


def ranges_of(*pairs: tuple[int, int]) -> bytes:
    return cbor2.dumps([[canister(first).raw, canister(last).raw] for first, last in pairs])


SHARDED = state(
    subnet={SUBNET.raw: {b"public_key": SUBNET_KEY_DER}},
    canister_ranges={
        SUBNET.raw: {
            canister(100).raw: ranges_of((100, 120), (130, 150)),
            canister(200).raw: ranges_of((200, 210)),
            canister(300).raw: ranges_of((300, 310)),
        }
    },
)


@pytest.mark.parametrize("number", [100, 120, 130, 150, 200, 210, 300, 310])
def test_shards_cover(number: int) -> None:
    verify(delegation_over(SHARDED), canister(number))
    # The replica shows the one shard in question.
    shard = canister(number // 100 * 100).raw
    paths = [
        (b"time",),
        (b"subnet", SUBNET.raw, b"public_key"),
        (b"canister_ranges", SUBNET.raw, shard),
    ]
    verify(delegation_over(witness(SHARDED, paths)), canister(number))


@pytest.mark.parametrize("number", [0, 99, 121, 151, 199, 211, 299, 311])
def test_shards_do_not_cover(number: int) -> None:
    with pytest.raises(CertificateInvalid, match="may not speak for"):
        verify(delegation_over(SHARDED), canister(number))


def test_an_old_delegation_with_both_forms_goes_by_the_shards() -> None:
    tree = state(
        subnet={SUBNET.raw: {b"public_key": SUBNET_KEY_DER, b"canister_ranges": ranges_of((0, 1000))}},
        canister_ranges={SUBNET.raw: {canister(200).raw: ranges_of((200, 210))}},
    )
    verify(delegation_over(tree), canister(205))
    with pytest.raises(CertificateInvalid, match="may not speak for"):
        verify(delegation_over(tree), canister(150))


def test_ranges_of_another_subnet_do_not_count() -> None:
    tree = state(
        subnet={SUBNET.raw: {b"public_key": SUBNET_KEY_DER}},
        canister_ranges={QXESV.raw: {canister(100).raw: ranges_of((100, 200))}},
    )
    with pytest.raises(CertificateInvalid, match="may not speak for"):
        verify(delegation_over(tree))


@pytest.mark.parametrize(
    "ranges",
    [b"", b"\xff", cbor2.dumps({}), cbor2.dumps([1]), cbor2.dumps([[b"", b"\xff", b""]]), cbor2.dumps([["", "zz"]])],
)
def test_malformed_ranges(ranges: bytes) -> None:
    tree = state(subnet={SUBNET.raw: {b"public_key": SUBNET_KEY_DER, b"canister_ranges": ranges}})
    with pytest.raises(CertificateInvalid):
        verify(delegation_over(tree))


def test_shards_out_of_order_are_refused() -> None:
    disorder = hashtree.fork(
        hashtree.labeled(canister(200).raw, leaf(ranges_of((200, 210)))),
        hashtree.labeled(canister(100).raw, leaf(ranges_of((0, 1000)))),
    )
    tree = hashtree.label_map(
        [
            (b"canister_ranges", hashtree.labeled(SUBNET.raw, disorder)),
            (b"subnet", from_mapping({SUBNET.raw: {b"public_key": SUBNET_KEY_DER}})),
            (b"time", leaf(leb128(NOW))),
        ]
    )
    with pytest.raises(CertificateInvalid, match="out of order"):
        verify(delegation_over(tree))


@pytest.mark.parametrize(
    "subnet",
    [{}, {b"public_key": {}}, {b"public_key": b""}, {b"public_key": SUBNET_KEY_DER[:-1]}],
    ids=["none", "tree", "empty", "short"],
)
def test_a_delegation_names_a_key(subnet: Any) -> None:
    with pytest.raises(CertificateInvalid):
        verify(delegation_over(state(subnet={SUBNET.raw: {**subnet, b"canister_ranges": ranges_of((0, 1000))}})))


def test_a_delegation_signed_by_another() -> None:
    with pytest.raises(CertificateInvalid, match="delegation's signature"):
        verify(build_certificate(state(), sign_as_subnet, delegate(sign=sign_as_subnet)))


def test_a_delegation_within_a_delegation() -> None:
    outer = delegate()
    inner = Delegation(SUBNET.raw, build_certificate(SHARDED, sign_as_subnet, outer))
    with pytest.raises(CertificateInvalid, match="itself delegated"):
        verify(build_certificate(state(), sign_as_subnet, inner))
    # Also where the inner one is good for the root key without its delegation.
    inner = Delegation(SUBNET.raw, build_certificate(SHARDED, sign_as_root, outer))
    with pytest.raises(CertificateInvalid, match="itself delegated"):
        verify(build_certificate(state(), sign_as_subnet, inner))


def test_mainnet_certificate_as_its_own_delegation() -> None:
    data = read_state_answer("uzr34_node_keys.bin")
    certificate = decode_certificate(data)
    nested = build_certificate(certificate.tree, lambda _: certificate.signature, Delegation(UZR34.raw, data))
    with pytest.raises(CertificateInvalid, match="itself delegated"):
        verify_mainnet(nested, subnet_id=UZR34)


def test_a_delegation_to_another_subnet() -> None:
    delegation = delegate(subnet_id=QXESV)
    data = build_certificate(state(), sign_as_subnet, Delegation(SUBNET.raw, delegation.certificate))
    with pytest.raises(CertificateInvalid, match="does not name the subnet's key"):
        verify(data)


@pytest.mark.parametrize("options", [{}, {"canister_id": CANISTER, "subnet_id": SUBNET}])
def test_one_target_has_to_be_given(options: Any) -> None:
    with pytest.raises(ValueError, match="either"):
        verify_certificate(b"", root_key_der=ROOT_KEY_DER, now_ns=NOW, **options)


# -- time


@pytest.mark.parametrize("age", [0, MAX_AGE_NS, -MAX_FUTURE_NS])
def test_fresh_enough(age: int) -> None:
    verify(build_certificate(state(NOW - age), sign_as_root))


def test_too_old() -> None:
    data = build_certificate(state(NOW - MAX_AGE_NS - 1), sign_as_root)
    with pytest.raises(CertificateInvalid, match="300 s old"):
        verify(data)
    verify(data, max_age_ns=MAX_AGE_NS + 1)
    verify(data, now_ns=None)


def test_in_the_future() -> None:
    data = build_certificate(state(NOW + MAX_FUTURE_NS + 1), sign_as_root)
    with pytest.raises(CertificateInvalid, match="300 s ahead"):
        verify(data)
    verify(data, max_future_ns=MAX_FUTURE_NS + 1)
    verify(data, now_ns=None)


def test_delegations_may_be_weeks_old() -> None:
    verify(build_certificate(state(), sign_as_subnet, delegate(NOW - MAX_DELEGATION_AGE_NS)))
    with pytest.raises(CertificateInvalid, match=r"the delegation is .* old"):
        verify(build_certificate(state(), sign_as_subnet, delegate(NOW - MAX_DELEGATION_AGE_NS - 1)))
    with pytest.raises(CertificateInvalid, match=r"the delegation is .* ahead"):
        verify(build_certificate(state(), sign_as_subnet, delegate(NOW + MAX_FUTURE_NS + 1)))


def test_a_cached_delegation_grows_old_too() -> None:
    cache = DelegationCache()
    delegation = delegate(NOW)
    verify(build_certificate(state(), sign_as_subnet, delegation), cache=cache)
    later = NOW + MAX_DELEGATION_AGE_NS + SECOND
    with pytest.raises(CertificateInvalid, match="the delegation is"):
        verify(build_certificate(state(later), sign_as_subnet, delegation), now_ns=later, cache=cache)


@pytest.mark.parametrize(
    "time",
    [b"", b"\x80", leb128(1 << 64), leb128(NOW) + b"\0", b"\x80" * 10 + b"\0", {}],
    ids=["empty", "unfinished", "65 bits", "trailing", "endless", "tree"],
)
def test_unreadable_times(time: Any) -> None:
    data = build_certificate(from_mapping({b"time": time}), sign_as_root)
    for now_ns in (NOW, None):
        with pytest.raises(CertificateInvalid):
            verify(data, now_ns=now_ns)


def test_a_certificate_has_a_time() -> None:
    with pytest.raises(CertificateInvalid, match="no time"):
        verify(build_certificate(from_mapping({b"canister": {}}), sign_as_root), now_ns=None)


def test_a_kept_certificate_grows_old() -> None:
    certificate = verify(build_certificate(state(), sign_as_root))
    check_age(certificate, NOW + MAX_AGE_NS)
    with pytest.raises(CertificateInvalid, match="the certificate is 301 s old"):
        check_age(certificate, NOW + MAX_AGE_NS + SECOND)


# -- the cache


def test_a_cached_delegation_is_not_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[bytes] = []
    really = bls.verify

    def counting(key: bytes, signature: bytes, message: bytes) -> bool:
        checked.append(key)
        return really(key, signature, message)

    monkeypatch.setattr(bls, "verify", counting)
    cache = DelegationCache()
    delegation = delegate()
    for number in range(3):
        verify(build_certificate(state(NOW + number), sign_as_subnet, delegation), cache=cache)
    root, subnet = bls.public_key(ROOT_SECRET), bls.public_key(SUBNET_SECRET)
    assert checked == [root, subnet, subnet, subnet]
    assert len(cache) == 1
    # What is cached is what the delegation covers, not that it was good for one canister.
    with pytest.raises(CertificateInvalid, match="may not speak for"):
        verify(build_certificate(state(), sign_as_subnet, delegation), canister(201), cache=cache)


def test_a_cached_delegation_is_of_its_root_key_and_subnet() -> None:
    cache = DelegationCache()
    delegation = delegate()
    verify(build_certificate(state(), sign_as_subnet, delegation), cache=cache)
    with pytest.raises(CertificateInvalid, match="delegation's signature"):
        verify_certificate(
            build_certificate(state(), sign_as_subnet, delegation),
            root_key_der=MAINNET_ROOT_KEY_DER,
            canister_id=CANISTER,
            now_ns=NOW,
            cache=cache,
        )
    posing = Delegation(QXESV.raw, delegation.certificate)
    with pytest.raises(CertificateInvalid, match="does not name the subnet's key"):
        verify(build_certificate(state(), sign_as_subnet, posing), cache=cache)


def test_refused_delegations_are_not_cached() -> None:
    cache = DelegationCache()
    with pytest.raises(CertificateInvalid):
        verify(build_certificate(state(), sign_as_subnet, delegate(sign=sign_as_subnet)), cache=cache)
    assert len(cache) == 0


def test_the_cache_forgets_the_least_recently_used() -> None:
    cache = DelegationCache(max_entries=2)
    first, second, third = (delegate(NOW - number) for number in range(3))
    for delegation in (first, second, first, third):
        verify(build_certificate(state(), sign_as_subnet, delegation), cache=cache)
    assert len(cache) == 2
    assert cache.get(ROOT_KEY_DER, first) is not None
    assert cache.get(ROOT_KEY_DER, second) is None
    assert cache.get(ROOT_KEY_DER, third) is not None
    with pytest.raises(ValueError, match="at least one"):
        DelegationCache(0)


# -- bytes that are no certificate


@pytest.mark.parametrize("data", [b"", b"\xd9\xd9\xf7", b"\xff", bytes(100), b"\x81" * 100_000, bytes(5 << 20)])
def test_garbage(data: bytes) -> None:
    with pytest.raises(CertificateInvalid):
        verify(data)


@pytest.mark.parametrize("signature", [b"", bytes(48), b"\xc0" + bytes(47), bytes(96)])
def test_signatures_that_are_none(signature: bytes) -> None:
    with pytest.raises(CertificateInvalid, match="signature does not verify"):
        verify(build_certificate(state(), lambda _: signature))


def test_unknown_fields_and_null_are_ignored() -> None:
    certificate = decode_certificate(build_certificate(state(), sign_as_root))
    tree = cbor2.loads(hashtree.to_cbor(certificate.tree))
    data = cbor2.dumps({"tree": tree, "signature": certificate.signature, "delegation": None, "news": 1})
    assert verify(data).delegation is None


def test_a_decoded_certificate_can_be_verified() -> None:
    certificate = decode_certificate(build_certificate(state(), sign_as_root))
    assert verify_certificate(certificate, root_key_der=ROOT_KEY_DER, canister_id=CANISTER, now_ns=NOW) is certificate


def test_deep_trees_survive_the_trip() -> None:
    tree: Tree = leaf(b"deep")
    for _ in range(hashtree.MAX_DEPTH - 2):
        tree = hashtree.labeled(b"a", tree)
    certificate = verify(
        build_certificate(hashtree.fork(tree, hashtree.labeled(b"time", leaf(leb128(NOW)))), sign_as_root)
    )
    assert certificate.lookup([b"a"] * (hashtree.MAX_DEPTH - 2)) == Found(b"deep")
    too_deep = hashtree.fork(hashtree.labeled(b"a", tree), hashtree.labeled(b"time", leaf(leb128(NOW))))
    with pytest.raises(CertificateInvalid, match="deep"):
        verify(build_certificate(too_deep, sign_as_root))
