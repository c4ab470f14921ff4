"""Subnets and delegations, read as clients read them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.devnet.topology import (
    BY_VERSION,
    DELEGATIONS,
    FIRST_CANISTER,
    FLAT,
    NO_RANGES,
    Ranged,
    Subnet,
    Topology,
    canister_id,
)
from icwsgw.errors import CertificateInvalid
from icwsgw.ic import bls, cbor, envelope, hashtree, ws
from icwsgw.ic.certificate import Certificate, decode_certificate, subnet_of, verify_certificate
from icwsgw.ic.hashtree import UNKNOWN, Found
from icwsgw.ic.principal import Principal
from tests.support.devnet import GATEWAY, START_NS, Net, identity, result_of

ALICE = identity(1)
SECOND = 10**9
ROOT_CANISTER = canister_id(7)


def subnet(topology: Topology, canister: Principal) -> Subnet:
    found = topology.find(canister)
    assert found is not None
    return found


def delegation_of(net: Net, raw: bytes) -> Certificate:
    """The delegation in a certificate, once it verified."""
    certificate = decode_certificate(raw)
    assert certificate.delegation is not None
    delegation = decode_certificate(certificate.delegation.certificate)
    key = bls.der_unwrap(net.replica.root_key_der)
    assert bls.verify(key, delegation.signature, b"\x0dic-state-root" + hashtree.reconstruct(delegation.tree))
    return delegation


def queried(net: Net, version: str) -> bytes:
    answer = net.ask(GATEWAY, "ws_get_messages", ws.encode_get_messages(0), version=version)
    return ws.parse_get_messages(cbor.loads(result_of(answer)[2])["reply"]["arg"]).cert


def called(net: Net, version: str) -> bytes:
    request = net.call_request(ALICE, "ws_close", ws.encode_close(b"", 0))
    certificate: bytes = cbor.loads(result_of(net.submit(request, version=version))[2])["certificate"]
    return certificate


def read(net: Net, version: str, at: str = f"canister/{ECHO_ID}") -> bytes:
    content = envelope.read_state_content(Principal(b"\x04"), [(b"time",)], net.now_ns() + 10**11)
    body = net.signed(None, content).body
    certificate: bytes = cbor.loads(result_of(net.handle("POST", f"/api/{version}/{at}/read_state", body))[2])[
        "certificate"
    ]
    return certificate


@pytest.mark.parametrize(
    ("ask", "version", "flat"),
    [
        (queried, "v2", True),
        (queried, "v3", False),
        (called, "v3", True),
        (called, "v4", False),
        (read, "v2", True),
        (read, "v3", False),
    ],
)
def test_the_endpoints_version_decides_what_the_delegation_shows(
    ask: Callable[[Net, str], bytes], version: str, flat: bool
) -> None:
    net = Net()
    net.open(ALICE)
    own = subnet(net.replica.topology, ECHO_ID)
    raw = ask(net, version)
    delegation = delegation_of(net, raw)
    assert delegation.lookup([b"subnet", own.id.raw, b"public_key"]) == Found(own.key_der)
    listed = delegation.lookup([b"subnet", own.id.raw, b"canister_ranges"])
    assert listed == (Found(own.encoded_ranges) if flat else UNKNOWN)
    label = own.shard_of(ECHO_ID)
    assert label is not None
    shard = delegation.lookup([b"canister_ranges", own.id.raw, label])
    assert shard == (UNKNOWN if flat else Found(own.shards[label]))
    others = [each for each in own.shards if each != label]
    assert len(others) >= 2
    assert {delegation.lookup([b"canister_ranges", own.id.raw, each]) for each in others} == {UNKNOWN}
    net.verified(raw)
    with pytest.raises(CertificateInvalid):
        net.verified(raw, CHAT_ID)


def test_the_subnets_own_endpoint_shows_ranges_in_the_older_version_alone() -> None:
    net = Net()
    own = subnet(net.replica.topology, ECHO_ID)
    for version, expected in (("v2", Found(own.encoded_ranges)), ("v3", UNKNOWN)):
        raw = read(net, version, f"subnet/{own.id}")
        assert delegation_of(net, raw).lookup([b"subnet", own.id.raw, b"canister_ranges"]) == expected
        root = net.replica.root_key_der
        verify_certificate(raw, root_key_der=root, subnet_id=own.id, now_ns=net.now_ns())


def test_the_forms_are_prunings_of_one_tree_under_one_time() -> None:
    topology = Topology(b"seed")
    own = subnet(topology, ECHO_ID)
    made = [
        topology.delegation(own, own.nodes[1], shown, START_NS)
        for shown in (FLAT, Ranged(False, ECHO_ID), Ranged(False, canister_id(1 << 20)), NO_RANGES)
    ]
    trees = [decode_certificate(each.certificate) for each in made if each is not None]
    assert len({each.certificate for each in made if each is not None}) == 4
    assert len({hashtree.reconstruct(tree.tree) for tree in trees}) == 1
    assert len({tree.signature for tree in trees}) == 1


def test_each_node_has_its_delegation_and_renews_it_every_five_minutes() -> None:
    topology = Topology(b"seed", nodes=13)
    own = subnet(topology, ECHO_ID)

    def all_at(now_ns: int) -> list[Any]:
        return [topology.delegation(own, node, FLAT, now_ns) for node in own.nodes]

    first = all_at(START_NS)
    assert len(set(first)) == 13
    assert all_at(START_NS) == first
    for each in first:
        assert 0 <= START_NS - decode_certificate(each.certificate).time_ns < 300 * SECOND
    assert not set(first) & set(all_at(START_NS + 300 * SECOND))


def test_the_root_subnet_has_no_delegation_and_shows_its_own_ranges() -> None:
    net = Net(echo_any=True)
    root = net.replica.topology.root
    net.open(ALICE, canister=ROOT_CANISTER)
    batch = net.poll(canister=ROOT_CANISTER)
    assert decode_certificate(batch.cert).delegation is None
    for version in ("v2", "v3"):
        for state in (root, subnet(net.replica.topology, ECHO_ID)):
            shown = FLAT if version == "v2" else NO_RANGES
            path = (b"subnet", root.id.raw, b"canister_ranges")
            raw = net.replica.state_of(state.id).certificate([path], START_NS, shown=shown)
            assert decode_certificate(raw).lookup(path) == Found(root.encoded_ranges)
    assert subnet_of(decode_certificate(batch.cert), net.replica.root_key_der) == root.id


def test_the_demo_canisters_are_neighbours_in_different_subnets() -> None:
    topology = Topology(b"seed")
    assert int.from_bytes(CHAT_ID.raw[:8], "big") == int.from_bytes(ECHO_ID.raw[:8], "big") + 1
    kinds = [each.kind for each in topology.subnets]
    assert kinds == ["system", "application", "application"]
    assert {subnet(topology, ECHO_ID), subnet(topology, CHAT_ID)} == set(topology.subnets[1:])


def test_ranges_are_in_order_apart_and_of_another_subnet_each() -> None:
    topology = Topology(b"seed")
    every = sorted((first.raw, last.raw, each.id) for each in topology.subnets for first, last in each.ranges)
    for (first, last, one), (following, _, other) in itertools.pairwise(every):
        assert first <= last < following
        assert one != other or int.from_bytes(last[:8], "big") + 1 == int.from_bytes(following[:8], "big")
    for each in topology.subnets:
        assert list(each.ranges) == sorted(each.ranges, key=lambda pair: pair[0].raw)
        for least, most in each.ranges:
            assert topology.find(least) is each
            assert topology.find(most) is each
        assert sum(len(cbor.loads(shard)) for shard in each.shards.values()) == len(each.ranges)
        assert max(len(cbor.loads(shard)) for shard in each.shards.values()) <= 5


@pytest.mark.parametrize(
    "unknown", [Principal(b""), Principal(b"\xff" * 8 + b"\1\1"), ALICE.principal, Principal(ECHO_ID.raw[:-1] + b"\2")]
)
def test_ids_of_no_subnet(unknown: Principal) -> None:
    assert Topology(b"seed").find(unknown) is None


@pytest.mark.parametrize("form", [form for form in DELEGATIONS if form != BY_VERSION])
def test_the_other_forms_have_one_subnet_and_one_form(form: str) -> None:
    topology = Topology(b"seed", form)
    (own,) = topology.subnets
    assert topology.find(FIRST_CANISTER) is own
    made = {topology.delegation(own, own.nodes[0], shown, START_NS) for shown in (FLAT, Ranged(False, ECHO_ID))}
    assert len(made) == 1
    (delegation,) = made
    assert (delegation is None) == (form == "none")


def test_only_the_seed_makes_the_keys() -> None:
    assert Topology(b"a").root_key_der == Topology(b"a").root_key_der
    assert Topology(b"a").root_key_der != Topology(b"b").root_key_der
    assert Topology(b"a").root_key_der == Topology(b"a", "legacy").root_key_der
    principals = [node.key.principal for each in Topology(b"a").subnets for node in each.nodes]
    assert len(set(principals)) == len(principals) == 12
    with pytest.raises(ValueError, match="delegation is one of"):
        Topology(b"a", "other")
    with pytest.raises(ValueError, match="1 to 100 nodes"):
        Topology(b"a", nodes=0)
