from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.ic import cbor, envelope, hashtree, ws
from icwsgw.ic.certificate import decode_certificate, node_keys, request_status
from icwsgw.ic.hashtree import ABSENT, Found
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import (
    IC_REQUEST_AUTH_DELEGATION_SEPARATOR,
    IC_REQUEST_SEPARATOR,
    request_id,
)
from tests.support.devnet import GATEWAY, Net, identity, result_of

ALICE, BOB = identity(1), identity(2)
OPEN = ws.encode_open_args(0, GATEWAY.principal.raw)


OWN = Net().replica.state_of(ECHO_ID).subnet.id
ROOT = Net().replica.topology.root.id
NEIGHBOUR = Principal(bytes(5) + b"\x10\x00\x05\1\1")
"""In the ranges of the echo canister's subnet."""


def answered(
    net: Net,
    paths: Sequence[Sequence[bytes]],
    who: Ed25519Identity = ALICE,
    at: str = f"canister/{ECHO_ID}",
    version: str = "v3",
) -> tuple[int, str]:
    content = envelope.read_state_content(who.principal, paths, net.now_ns() + 10**11)
    path = f"/api/{version}/{at}/read_state"
    status, _, body = result_of(net.handle("POST", path, net.signed(who, content).body))
    return status, "" if status == 200 else body.decode()


def read_status(*args: Any, **options: Any) -> int:
    return answered(*args, **options)[0]


def test_any_sender_may_read_the_time_the_subnet_and_a_canisters_own() -> None:
    net = Net()
    paths = [(b"time",), (b"subnet",), (b"canister", ECHO_ID.raw, b"module_hash")]
    certificate = net.read_state(None, [*paths, (b"canister", ECHO_ID.raw, b"controllers"), (b"api_boundary_nodes",)])
    assert len(node_keys(certificate, OWN)) == 4
    controllers = certificate.lookup([b"canister", ECHO_ID.raw, b"controllers"])
    assert isinstance(controllers, Found)
    assert cbor.loads(controllers.value) == []
    (node,) = hashtree.list_labels(certificate.tree, [b"api_boundary_nodes"])
    assert certificate.lookup([b"api_boundary_nodes", node, b"ipv4_address"]) == Found(b"127.0.0.1")
    assert certificate.lookup([b"subnet", OWN.raw, b"type"]) == Found(b"application")
    assert certificate.lookup([b"subnet", ROOT.raw, b"type"]) == Found(b"system")


BOTH = [
    (b"time",),
    (b"api_boundary_nodes",),
    (b"api_boundary_nodes", b"x"),
    (b"api_boundary_nodes", b"x", b"domain"),
    (b"subnet",),
    (b"subnet", b"x"),
    (b"subnet", b"x", b"public_key"),
    (b"subnet", b"x", b"type"),
    (b"subnet", b"x", b"node"),
    (b"subnet", b"x", b"node", b"n"),
    (b"subnet", b"x", b"node", b"n", b"public_key"),
    (b"subnet", ROOT.raw, b"canister_ranges"),
]
AT_CANISTERS = [
    (b"canister", ECHO_ID.raw, b"module_hash"),
    (b"canister", ECHO_ID.raw, b"controllers"),
    (b"canister", ECHO_ID.raw, b"metadata", b"candid:service"),
]
REQUESTS = [(b"request_status", b"r" * 32), (b"request_status", b"r" * 32, b"reply")]
AT_SUBNETS = [(b"canister_ranges", b"x"), (b"subnet", OWN.raw, b"metrics")]
NOWHERE: list[tuple[bytes, ...]] = [
    (),
    (b"time", b"x"),
    (b"canister",),
    (b"canister", ECHO_ID.raw),
    (b"canister", ECHO_ID.raw, b"certified_data"),
    (b"canister", ECHO_ID.raw, b"memory"),
    (b"canister", ECHO_ID.raw, b"metadata"),
    (b"subnet", b"x", b"other"),
    (b"subnet", b"x", b"node", b"n", b"address"),
    (b"api_boundary_nodes", b"x", b"y"),
    (b"api_boundary_nodes", b"x", b"domain", b"z"),
    (b"request_status",),
    (b"request_status", b"r" * 32, b"other"),
    (b"canister_ranges",),
    (b"canister_ranges", b"x", b"y"),
    (b"streams",),
    (b"metadata",),
]


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_paths_by_endpoint(version: str) -> None:
    net = Net()
    flat = (b"subnet", OWN.raw, b"canister_ranges")
    at_subnet = f"subnet/{OWN}"
    refusal = (404, "Invalid path requested.")
    for path in (*BOTH, *AT_CANISTERS, *REQUESTS):
        assert answered(net, [path], version=version)[0] == 200, path
    for path in (*BOTH, *AT_SUBNETS):
        assert answered(net, [path], at=at_subnet, version=version)[0] == 200, path
    for path in (*NOWHERE, *AT_SUBNETS):
        assert answered(net, [path], version=version) == refusal, path
    for path in (*NOWHERE, *AT_CANISTERS):
        assert answered(net, [path], at=at_subnet, version=version) == refusal, path
    for at in (f"canister/{ECHO_ID}", at_subnet):
        assert read_status(net, [flat], at=at, version=version) == (200 if version == "v2" else 404)
    for path in REQUESTS:
        assert read_status(net, [path], at=at_subnet, version=version) == (404 if version == "v2" else 200)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ((b"canister", CHAT_ID.raw, b"module_hash"), "Effective principal id in URL"),
        ((b"canister", b"x" * 30, b"module_hash"), "Could not parse principal ID"),
        ((b"canister", ECHO_ID.raw, b"metadata", b"\xff"), "Could not parse the custom section name"),
        ((b"request_status", b"short"), "Invalid request id in paths."),
    ],
)
def test_paths_that_are_malformed(path: Sequence[bytes], words: str) -> None:
    status, text = answered(Net(), [path])
    assert status == 400
    assert text.startswith(words)


def test_a_canister_that_is_absent_is_proved_to_be() -> None:
    net = Net()
    path = (b"canister", NEIGHBOUR.raw, b"module_hash")
    certificate = net.read_state(None, [path], NEIGHBOUR)
    assert certificate.lookup(path) is ABSENT


def test_ranges_by_shard_are_read_at_the_subnet() -> None:
    net = Net()
    content = envelope.read_state_content(Principal(b"\x04"), [(b"canister_ranges", OWN.raw)], net.now_ns() + 10**11)
    path = f"/api/v3/subnet/{OWN}/read_state"
    raw = cbor.loads(result_of(net.handle("POST", path, net.signed(None, content).body))[2])["certificate"]
    tree = decode_certificate(raw).tree
    shards = net.replica.state_of(ECHO_ID).subnet.shards
    assert hashtree.list_labels(tree, [b"canister_ranges", OWN.raw]) == sorted(shards)


def test_one_request_at_a_time() -> None:
    status, text = answered(Net(), [(b"request_status", b"r" * 32), (b"request_status", b"s" * 32)])
    assert (status, text.startswith("More than one non-unique request ID")) == (400, True)
    assert read_status(Net(), [(b"request_status", b"r" * 32), (b"request_status", b"r" * 32, b"reply")]) == 200


def test_the_status_of_a_call_is_for_its_sender() -> None:
    net = Net()
    request = net.call_request(ALICE, "ws_open", OPEN)
    net.submit(request)
    path = (b"request_status", request.request_id)
    assert request_status(net.read_state(ALICE, [path]), request.request_id).reply == ws.encode_result_ok()
    for at in (f"canister/{ECHO_ID}", f"canister/{NEIGHBOUR}", f"subnet/{OWN}"):
        assert read_status(net, [path], ALICE, at) == 200
        assert answered(net, [path], BOB, at) == (
            403,
            "The user tries to access Request ID not signed by the caller.",
        )
    # Another subnet does not know it.
    assert request_status(net.read_state(BOB, [path], CHAT_ID), request.request_id).status == "unknown"


def test_delegations_with_targets_read_what_is_theirs() -> None:
    net = Net()
    request = net.call_request(ALICE, "ws_open", OPEN)
    net.submit(request)
    session = identity(3)

    def read(targets: list[Principal]) -> int:
        delegation = {
            "pubkey": session.public_key_der,
            "expiration": net.now_ns() + 10**12,
            "targets": [each.raw for each in targets],
        }
        link = ALICE.sign(IC_REQUEST_AUTH_DELEGATION_SEPARATOR + request_id(delegation))
        path = (b"request_status", request.request_id)
        content = envelope.read_state_content(ALICE.principal, [path], net.now_ns() + 10**11)
        body = cbor.dumps_tagged(
            {
                "content": content,
                "sender_pubkey": ALICE.public_key_der,
                "sender_sig": session.sign(IC_REQUEST_SEPARATOR + request_id(content)),
                "sender_delegation": [{"delegation": delegation, "signature": link}],
            }
        )
        return result_of(net.handle("POST", f"/api/v3/canister/{ECHO_ID}/read_state", body))[0]

    assert read([CHAT_ID, ECHO_ID]) == 200
    assert read([CHAT_ID]) == 403


def test_another_subnet_is_refused() -> None:
    assert read_status(Net(), [(b"time",)], at=f"subnet/{Principal(b'other')}") == 400
