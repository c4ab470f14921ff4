"""Certificates of the devnet, verified by icwsgw.ic.certificate and by an oracle, icp-py-core."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.devnet.state_tree import StateTree
from icwsgw.devnet.topology import BY_VERSION, DELEGATIONS, FIRST_CANISTER, FLAT, LAST_CANISTER, Ranged, Topology
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


def make(seed: bytes = b"seed", form: str = "none") -> StateTree:
    topology = Topology(seed, form)
    subnet = topology.find(ECHO_ID)
    assert subnet is not None
    return StateTree(topology, subnet)


@pytest.fixture(params=DELEGATIONS)
def tree(request: pytest.FixtureRequest) -> StateTree:
    tree = make(form=request.param)
    tree.canister_changed(ECHO_ID, canister(b"data"))
    return tree


def test_certificates_verify_under_every_delegation(tree: StateTree) -> None:
    raw = tree.data_certificate(ECHO_ID, START_NS)
    certificate = verify_certificate(
        raw, root_key_der=tree._topology.root_key_der, canister_id=ECHO_ID, now_ns=START_NS
    )
    assert certificate.time_ns == START_NS
    assert certificate.lookup([b"canister", ECHO_ID.raw, b"certified_data"]) == Found(b"data")
    assert certificate.lookup([b"canister", ECHO_ID.raw, b"module_hash"]) is UNKNOWN
    assert subnet_of(certificate, tree._topology.root_key_der) == tree.subnet.id


@pytest.mark.parametrize("form", ["none", "sharded"])
def test_the_oracle_agrees(form: str) -> None:
    # It has mainnet's root key built in and no BLS at hand, and does not know legacy ranges: what it decides here is
    # the digest, the delegation's key and whether the ranges cover the canister; the signature is checked as it says.
    oracle = pytest.importorskip("icp_certificate.certificate")
    tree = make(form=form)
    tree.canister_changed(ECHO_ID, canister(b"data"))
    raw = cbor.loads(tree.data_certificate(ECHO_ID, START_NS), max_depth=64)
    found = oracle.Certificate(raw).verify_cert(ECHO_ID.raw, backend="return_materials")
    key = bls.der_unwrap(tree._topology.root_key_der) if form == "none" else found["bls_public_key"]
    assert bls.verify(key, found["signature"], found["message"])
    assert oracle.Certificate(raw).lookup_time() == START_NS
    if form == "sharded":
        with pytest.raises(ValueError, match="CertificateNotAuthorized"):
            oracle.Certificate(raw).verify_cert(LAST_CANISTER.raw + b"\0", backend="return_materials")


def test_ids_outside_the_subnet_are_not_covered() -> None:
    tree = make(form="sharded")
    raw = tree.certificate([], START_NS)
    unknown = Principal(LAST_CANISTER.raw + b"\0")
    assert tree._topology.find(unknown) is None
    assert tree._topology.find(FIRST_CANISTER) is tree.subnet
    with pytest.raises(CertificateInvalid, match="may not speak for"):
        verify_certificate(raw, root_key_der=tree._topology.root_key_der, canister_id=unknown, now_ns=START_NS)


def test_a_subnet_shows_its_own_nodes_and_the_keys_of_all(tree: StateTree) -> None:
    certificate = decode_certificate(tree.certificate([(b"subnet",)], START_NS))
    keys = {node.key.principal.raw: node.key.public_key_der for node in tree.subnet.nodes}
    assert node_keys(certificate, tree.subnet.id) == keys
    assert len(keys) == 4
    for other in tree._topology.subnets:
        assert certificate.lookup([b"subnet", other.id.raw, b"public_key"]) == Found(other.key_der)
        if other is not tree.subnet:
            assert certificate.lookup([b"subnet", other.id.raw, b"node"]) is ABSENT


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
    tree = make()
    tree.canister_changed(ECHO_ID, canister(b"1"))
    first = tree.data_certificate(ECHO_ID, START_NS)
    assert tree.data_certificate(ECHO_ID, START_NS + SECOND // 2) == first
    assert decode_certificate(tree.certificate([(b"subnet",)], START_NS + 1)).signature in first
    assert tree._topology.signatures == 1
    later = tree.data_certificate(ECHO_ID, START_NS + SECOND)
    assert decode_certificate(later).time_ns == START_NS + SECOND
    tree.canister_changed(ECHO_ID, canister(b"2"))
    changed = decode_certificate(tree.data_certificate(ECHO_ID, START_NS + SECOND + 1))
    assert changed.time_ns == START_NS + SECOND + 1
    assert changed.lookup([b"canister", ECHO_ID.raw, b"certified_data"]) == Found(b"2")
    assert tree._topology.signatures == 3


def test_requests_come_and_go() -> None:
    tree = make()
    tree.set_request(b"r" * 32, {b"status": b"replied", b"reply": b"x"})
    tree.remove_request(b"r" * 32)
    tree.remove_request(b"r" * 32)
    certificate = decode_certificate(tree.certificate([(b"request_status", b"r" * 32)], START_NS))
    assert certificate.lookup([b"request_status", b"r" * 32, b"status"]) is ABSENT


def test_whole_levels_can_be_shown() -> None:
    tree = make()
    tree.canister_changed(ECHO_ID, canister(b"1"))
    certificate = decode_certificate(tree.certificate([(b"canister",), (b"time",)], START_NS))
    assert certificate.lookup([b"canister", ECHO_ID.raw, b"module_hash"]) == Found(b"m")


def test_newer_endpoints_prune_the_flat_ranges_of_all_but_the_root() -> None:
    tree = make(form=BY_VERSION)
    shown = [tree.certificate([(b"subnet",)], START_NS, shown=each) for each in (FLAT, Ranged(False, ECHO_ID))]
    old, new = map(decode_certificate, shown)
    assert hashtree.reconstruct(old.tree) == hashtree.reconstruct(new.tree)
    for subnet in tree._topology.subnets:
        path = [b"subnet", subnet.id.raw, b"canister_ranges"]
        assert old.lookup(path) == Found(subnet.encoded_ranges)
        expected = Found(subnet.encoded_ranges) if subnet is tree._topology.root else UNKNOWN
        assert new.lookup(path) == expected


def test_an_older_block_stays_as_it_was() -> None:
    tree = make()
    tree.canister_changed(ECHO_ID, canister(b"1"))
    block = tree.new_block(START_NS)
    tree.canister_changed(ECHO_ID, canister(b"2"))
    tree.set_request(b"r" * 32, {b"status": b"received"})
    newer = tree.new_block(START_NS + 1)
    assert (block.height, newer.height) == (1, 2)
    paths = [(b"canister", ECHO_ID.raw, b"certified_data"), (b"request_status", b"r" * 32)]
    seen = []
    for each in (block, newer):
        raw = tree.certificate(paths, START_NS, block=each)
        root = tree._topology.root_key_der
        certificate = verify_certificate(raw, root_key_der=root, canister_id=ECHO_ID, now_ns=START_NS)
        status = certificate.lookup([b"request_status", b"r" * 32, b"status"])
        seen.append((certificate.time_ns, certificate.lookup(paths[0]), status))
    assert seen == [(START_NS, Found(b"1"), ABSENT), (START_NS + 1, Found(b"2"), Found(b"received"))]


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
