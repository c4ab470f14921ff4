"""Certificates of the devnet, verified by icwsgw.ic.certificate and by an oracle, icp-py-core."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.devnet.state_tree import DELEGATIONS, FIRST_CANISTER, LAST_CANISTER, StateTree
from icwsgw.errors import CertificateInvalid
from icwsgw.ic import bls, cbor, hashtree, ws
from icwsgw.ic.certificate import decode_certificate, node_keys, subnet_of, verify_certificate
from icwsgw.ic.hashtree import ABSENT, UNKNOWN, Found
from icwsgw.ic.principal import Principal
from tests.support.devnet import START_NS, Net, identity

ALICE = identity(1)
SECOND = 10**9


def canister(data: bytes) -> Any:
    return lambda: hashtree.from_mapping({b"certified_data": data, b"module_hash": b"m"})


@pytest.fixture(params=DELEGATIONS)
def tree(request: pytest.FixtureRequest) -> StateTree:
    tree = StateTree(b"seed", request.param)
    tree.canister_changed(ECHO_ID, canister(b"data"))
    return tree


def test_certificates_verify_under_every_delegation(tree: StateTree) -> None:
    raw = tree.data_certificate(ECHO_ID, START_NS)
    certificate = verify_certificate(raw, root_key_der=tree.root_key_der, canister_id=ECHO_ID, now_ns=START_NS)
    assert certificate.time_ns == START_NS
    assert certificate.lookup([b"canister", ECHO_ID.raw, b"certified_data"]) == Found(b"data")
    assert certificate.lookup([b"canister", ECHO_ID.raw, b"module_hash"]) is UNKNOWN
    assert subnet_of(certificate, tree.root_key_der) == tree.subnet_id


@pytest.mark.parametrize("form", ["none", "sharded"])
def test_the_oracle_agrees(form: str) -> None:
    # It has mainnet's root key built in and no BLS at hand, and does not know legacy ranges: what it decides here is
    # the digest, the delegation's key and whether the ranges cover the canister; the signature is checked as it says.
    oracle = pytest.importorskip("icp_certificate.certificate")
    tree = StateTree(b"seed", form)
    tree.canister_changed(ECHO_ID, canister(b"data"))
    raw = cbor.loads(tree.data_certificate(ECHO_ID, START_NS), max_depth=64)
    found = oracle.Certificate(raw).verify_cert(ECHO_ID.raw, backend="return_materials")
    key = bls.der_unwrap(tree.root_key_der) if form == "none" else found["bls_public_key"]
    assert bls.verify(key, found["signature"], found["message"])
    assert oracle.Certificate(raw).lookup_time() == START_NS
    if form == "sharded":
        with pytest.raises(ValueError, match="CertificateNotAuthorized"):
            oracle.Certificate(raw).verify_cert(LAST_CANISTER.raw + b"\0", backend="return_materials")


def test_ids_outside_the_subnet_are_not_covered() -> None:
    tree = StateTree(b"seed", "sharded")
    raw = tree.certificate([], START_NS)
    stranger = Principal(LAST_CANISTER.raw + b"\0")
    assert not tree.covers(stranger)
    assert tree.covers(FIRST_CANISTER)
    with pytest.raises(CertificateInvalid, match="may not speak for"):
        verify_certificate(raw, root_key_der=tree.root_key_der, canister_id=stranger, now_ns=START_NS)


def test_only_the_seed_makes_the_keys() -> None:
    assert StateTree(b"a").root_key_der == StateTree(b"a").root_key_der
    assert StateTree(b"a").root_key_der != StateTree(b"b").root_key_der
    assert StateTree(b"a").root_key_der == StateTree(b"a", "legacy").root_key_der
    assert StateTree(b"a").subnet_id != StateTree(b"a", "legacy").subnet_id
    with pytest.raises(ValueError, match="delegation is one of"):
        StateTree(b"a", "other")


def test_the_node_is_named_with_its_key(tree: StateTree) -> None:
    certificate = decode_certificate(tree.certificate([(b"subnet",)], START_NS))
    assert node_keys(certificate, tree.subnet_id) == {tree.node.principal.raw: tree.node.public_key_der}
    ranges = certificate.lookup([b"subnet", tree.subnet_id.raw, b"canister_ranges"])
    assert isinstance(ranges, Found)
    assert cbor.loads(ranges.value) == [[FIRST_CANISTER.raw, LAST_CANISTER.raw]]


def test_absence_is_proved(tree: StateTree) -> None:
    tree.set_request(b"b" * 32, {b"status": b"received"})
    paths = [
        (b"request_status", b"a" * 32),
        (b"request_status", b"b" * 32),
        (b"canister", LAST_CANISTER.raw),
        (b"zoo",),
    ]
    certificate = decode_certificate(tree.certificate(paths, START_NS))
    assert certificate.lookup([b"request_status", b"a" * 32, b"status"]) is ABSENT
    assert certificate.lookup([b"request_status", b"b" * 32, b"status"]) == Found(b"received")
    assert certificate.lookup([b"request_status", b"b" * 32, b"reply"]) is ABSENT
    assert certificate.lookup([b"request_status", b"c" * 32, b"status"]) is ABSENT
    assert certificate.lookup([b"canister", LAST_CANISTER.raw, b"certified_data"]) is ABSENT
    assert certificate.lookup([b"canister", ECHO_ID.raw, b"certified_data"]) is UNKNOWN
    assert certificate.lookup([b"zoo"]) is ABSENT
    assert certificate.lookup([b"subnet", b"x"]) is UNKNOWN


def test_one_signature_for_one_state_within_a_second() -> None:
    tree = StateTree(b"seed")
    tree.canister_changed(ECHO_ID, canister(b"1"))
    first = tree.data_certificate(ECHO_ID, START_NS)
    assert tree.data_certificate(ECHO_ID, START_NS + SECOND // 2) == first
    assert decode_certificate(tree.certificate([(b"subnet",)], START_NS + 1)).signature in first
    assert tree.signatures == 1
    later = tree.data_certificate(ECHO_ID, START_NS + SECOND)
    assert decode_certificate(later).time_ns == START_NS + SECOND
    tree.canister_changed(ECHO_ID, canister(b"2"))
    changed = decode_certificate(tree.data_certificate(ECHO_ID, START_NS + SECOND + 1))
    assert changed.time_ns == START_NS + SECOND + 1
    assert changed.lookup([b"canister", ECHO_ID.raw, b"certified_data"]) == Found(b"2")
    assert tree.signatures == 3


def test_requests_come_and_go() -> None:
    tree = StateTree(b"seed")
    tree.set_request(b"r" * 32, {b"status": b"replied", b"reply": b"x"})
    tree.remove_request(b"r" * 32)
    tree.remove_request(b"r" * 32)
    certificate = decode_certificate(tree.certificate([(b"request_status", b"r" * 32)], START_NS))
    assert certificate.lookup([b"request_status", b"r" * 32, b"status"]) is ABSENT


def test_whole_levels_can_be_shown() -> None:
    tree = StateTree(b"seed")
    tree.canister_changed(ECHO_ID, canister(b"1"))
    certificate = decode_certificate(tree.certificate([(b"canister",), (b"time",)], START_NS))
    assert certificate.lookup([b"canister", ECHO_ID.raw, b"module_hash"]) == Found(b"m")


def test_delegations_are_renewed_daily() -> None:
    tree = StateTree(b"seed", "sharded")
    first = tree.delegation(START_NS)
    assert tree.delegation(START_NS + 3600 * SECOND) is first
    assert tree.delegation(START_NS + 25 * 3600 * SECOND) != first


def test_the_oracle_reads_the_outcome_of_a_call() -> None:
    oracle = pytest.importorskip("icp_certificate.certificate")
    net = Net()
    request = net.call_request(ALICE, "ws_open", ws.encode_open_args(0, ALICE.principal.raw))
    answer: list[Any] = []
    net.submit(request).addCallback(answer.append)
    raw = cbor.loads(answer[0][2])["certificate"]
    certificate = oracle.Certificate(cbor.loads(raw, max_depth=64))
    assert certificate.lookup_request_status(request.request_id) in (b"replied", "replied")
    assert certificate.lookup_reply(request.request_id) == ws.encode_result_ok()
